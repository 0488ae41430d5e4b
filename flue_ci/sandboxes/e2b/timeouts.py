"""How long the E2B adapter waits, and how often it tries again."""

from __future__ import annotations

from dataclasses import dataclass, field

from flue_ci.core.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Times in seconds. Tests shorten them."""

    ttl: float = 300.0  # after which E2B ends a sandbox whose life is not extended
    heartbeat: float = 80.0  # between extensions
    create: float = 120.0  # one attempt to start a sandbox
    start: RetryPolicy = field(default=RetryPolicy(timeout=180.0))  # all attempts to start one
    repeat: RetryPolicy = field(default=RetryPolicy(attempts=3, first_wait=0.3))  # calls that may be repeated
    reconnect: RetryPolicy = field(default=RetryPolicy(attempts=4, first_wait=0.3))  # to a command; its start is one
    kill: RetryPolicy = field(default=RetryPolicy(timeout=6.0, first_wait=0.3, growth=1.0))  # the end of a sandbox

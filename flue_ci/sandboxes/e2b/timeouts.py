"""How long the E2B adapter waits, and how often it tries again."""

from __future__ import annotations

from dataclasses import dataclass

from flue_ci.core.retry import RetryPolicy

_START = RetryPolicy(timeout=180.0)
_REPEAT = RetryPolicy(attempts=3, first_wait=0.3)
_RECONNECT = RetryPolicy(attempts=4, first_wait=0.3)
_KILL = RetryPolicy(timeout=6.0, first_wait=0.3, growth=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Times in seconds. Tests shorten them."""

    ttl: float = 300.0  # after which E2B ends a sandbox whose life is not extended
    heartbeat: float = 80.0  # between extensions
    create: float = 120.0  # one attempt to start a sandbox
    start: RetryPolicy = _START  # all attempts to start one
    repeat: RetryPolicy = _REPEAT  # calls that may be repeated
    reconnect: RetryPolicy = _RECONNECT  # to a running command; its start is the first attempt
    kill: RetryPolicy = _KILL  # the end of a sandbox

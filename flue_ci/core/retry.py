"""One policy for everything that is tried again: services out of reach, rate limits, commands that could not start.

The caller decides what may be retried and sleeps itself; here is only when, and when no more.
"""

import email.utils
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long an operation is tried. All times in seconds.

    `timeout` bounds the time from the start (or the last `Retry.restart`) to the next attempt; `attempts` the number
    of attempts, the first included. The wait before attempt n + 1 is `first_wait * growth ** (n - 1)`, at most
    `max_wait`, times a random factor within 1 ± `jitter`, so that many clients do not return at the same moment.
    """

    timeout: float = math.inf
    attempts: float = math.inf
    first_wait: float = 1.0
    max_wait: float = 30.0
    growth: float = 2.0
    jitter: float = 0.25


class Retry:
    """The attempts of one operation. `clock` gives seconds, `chance` a number in [0, 1)."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._start = clock()
        self._failures = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the start or the last `restart`."""
        return self._clock() - self._start

    def restart(self) -> None:
        """The service answered before it failed: `timeout` counts from now."""
        self._start = self._clock()

    def next_wait(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next attempt, or None when the operation is to be given up.

        Call it once after each failure. `retry_after` is the wait that the service asked for; it is taken as it is.
        """
        policy = self._policy
        if (wait := retry_after) is None:
            wait = min(policy.first_wait * policy.growth**self._failures, policy.max_wait)
            wait *= 1 + policy.jitter * (2 * self._chance() - 1)
        self._failures += 1
        if self._failures >= policy.attempts or self.elapsed + wait > policy.timeout:
            return None
        return wait


def parse_retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds of the headers `retry-after-ms` or `retry-after` (lower case), the latter in seconds or as a date; None
    when they are absent or unreadable. `now` is seconds since the epoch.

    Source: RFC 9110, section 10.2.3
    """
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(float(milliseconds) / 1000, 0.0)
        text = headers.get("retry-after", "").strip()
        if not text:
            return None
        if text[0].isdigit():
            return max(float(text), 0.0)
        date = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return max(date - (time.time() if now is None else now), 0.0)

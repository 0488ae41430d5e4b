"""How long a sandbox lives: extended in small steps, and never longer than the plan allows."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from flue_ci.core.text import human_seconds
from flue_ci.sandboxes.e2b.errors import Timeouts, VendorError, vendor_call

PLAN_HINT = "E2B's plan allows no more: lower `sandbox.timeout` and `limits.minutes`, or take a larger plan"
_TOLERANCE = 0.1  # of what was asked for, by which the real end may be earlier


class Lifetime:
    """`seconds` is the whole life that was asked for; less where the plan allows less, once that `is_capped`. `notify`
    takes what people should know, which may hold secrets."""

    def __init__(self, vendor: Any, seconds: float, timeouts: Timeouts, notify: Callable[[str], None]) -> None:
        self._vendor, self._timeouts, self._notify = vendor, timeouts, notify
        self._start = time.monotonic()
        self.seconds, self.is_capped = seconds, False

    def remaining_seconds(self) -> float:
        return self._start + self.seconds - time.monotonic()

    async def extend(self) -> None:
        """Extends it in small steps until its whole time is used up."""
        ttl = self._timeouts.ttl
        pause = self._timeouts.heartbeat
        while self.remaining_seconds() > ttl - pause and not self.is_capped:
            await asyncio.sleep(pause)
            pause = self._timeouts.heartbeat
            seconds = max(1, math.ceil(min(ttl, self.remaining_seconds())))
            try:
                async with vendor_call(60):
                    await self._vendor.set_timeout(seconds, request_timeout=20)
                    await self._compare(seconds)
            except VendorError as error:
                if error.is_gone:
                    return
                if error.is_refusal:
                    self._notify(f"E2B does not extend the sandbox's life: {error}")
                    return
                pause = self._timeouts.heartbeat / 4

    async def _compare(self, seconds: float) -> None:
        """E2B grants what the plan allows, without a word where that is less than `seconds` from now. Both times are
        the server's, whose clock may differ from ours."""
        info = await self._vendor.get_info(request_timeout=20)
        lifetime_seconds = (info.end_at - info.started_at).total_seconds()
        remaining = self._start + lifetime_seconds - time.monotonic()
        if remaining >= seconds * (1 - _TOLERANCE):
            return
        limit, wish = human_seconds(round(lifetime_seconds)), human_seconds(self.seconds)
        self.seconds, self.is_capped = lifetime_seconds, True
        self._notify(f"the sandbox ends {limit} after its start, in {human_seconds(remaining)}, and not after {wish}")
        self._notify(PLAN_HINT)

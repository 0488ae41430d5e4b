"""The limits of a run, counted: when one is reached, and when the agent should be told to come to an end. Pure, but
for the clock."""

from __future__ import annotations

from collections.abc import Callable

from flue_ci.core.messages import Usage
from flue_ci.core.ports import Limits
from flue_ci.core.text import human_cost

_LAST_WORDS = (
    "Finish what you are doing, leave the repository in a consistent state, and say what is done and what is not."
)


class Budget:
    """Counts from its making. The agent is warned once, when about one more turn fits."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._start = clock()
        self._before = Usage()
        self._warned = False

    def seconds_left(self) -> float | None:
        if self._limits.minutes is None:
            return None
        return max(self._limits.minutes * 60 - (self._clock() - self._start), 0.0)

    def exhausted_limit(self, used: Usage) -> str | None:
        """The name of the limit that is used up, or None."""
        limits = self._limits
        if limits.turns is not None and used.turns >= limits.turns:
            return "turns"
        if limits.tokens is not None and used.total_tokens >= limits.tokens:
            return "tokens"
        if limits.cost_usd is not None and used.cost_usd is not None and used.cost_usd >= limits.cost_usd:
            return "cost_usd"
        left = self.seconds_left()
        return "minutes" if left is not None and left <= 0 else None

    def warning(self, used: Usage) -> str | None:
        """What to tell the agent when another turn like the last one would be the last; None otherwise, and after
        the first time."""
        before, self._before = self._before, used
        if self._warned:
            return None
        near = self._near(used, before)
        self._warned = near is not None
        return f"{near} {_LAST_WORDS}" if near else None

    def _near(self, used: Usage, before: Usage) -> str | None:
        limits, left = self._limits, self.seconds_left()
        if limits.turns is not None and used.turns == limits.turns - 1:
            return "This run's limit of turns leaves you one more."
        if limits.tokens is not None:
            ahead = used.total_tokens + 2.2 * (used.total_tokens - before.total_tokens)
            if ahead >= limits.tokens > used.total_tokens:
                return f"This run's limit of {limits.tokens:,} tokens leaves you about one more turn."
        if limits.cost_usd is not None and used.cost_usd is not None:
            ahead = used.cost_usd + 2.2 * (used.cost_usd - (before.cost_usd or 0.0))
            if ahead >= limits.cost_usd > used.cost_usd:
                return f"This run's limit of {human_cost(limits.cost_usd)} leaves you about one more turn."
        if (
            limits.minutes is not None
            and left is not None
            and left <= max(0.1 * limits.minutes * 60, min(60.0, 0.5 * limits.minutes * 60))
        ):
            return f"This run's limit of {limits.minutes:g} minutes leaves you {left:.0f} seconds."
        return None

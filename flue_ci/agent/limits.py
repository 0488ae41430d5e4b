"""The limits of a run, counted: when one is reached, and when the agent should come to an end. Pure, but for the
clock."""

import math
from collections.abc import Callable

from flue_ci.core.messages import Conversation, Prompt, Reply, Usage
from flue_ci.core.ports import Limits
from flue_ci.core.text import human_cost

_LAST_WORDS = (
    "Finish what you are doing, leave the repository in a consistent state, and say what is done and what is not."
)
# The warning costs a turn: the one that reads it. It comes when two turns like the last one would reach a limit, plus
# a tenth each, because a turn sends again all that came before it.
_TURNS_AHEAD = 2.2
# Of a limit of time, the last tenth is for the ending; of a short one a minute, but not more than half of it.
_LAST_SHARE = 0.1
_LAST_SECONDS = 60.0
_LAST_SHARE_OF_SHORT = 0.5
# Of the sandbox's life, for bringing the work back; of a short one a share.
_RESERVE_SECONDS = 60.0
_RESERVE_SHARE = 0.1
_CHARACTERS = 4  # of a token, for the estimate where a server reports none
_NOT_REPORTED = "the model's server does not report what was used"


class Budget:
    """Counts from the moment it is made. The agent is warned once, when about one more turn fits. `life` gives the
    seconds that the sandbox still lives, which may turn out to be fewer than were asked for (None: not known)."""

    def __init__(
        self, limits: Limits, clock: Callable[[], float], life: Callable[[], float | None] = lambda: None
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._life = life
        self._whole_life = life() or math.inf
        self._start = clock()
        self._estimate = 0  # tokens that were not reported
        self._previous = Usage()
        self._previous_tokens = 0
        self._has_warned = False

    def count(self, reply: Reply, request: Conversation) -> None:
        """Estimates the tokens of a turn whose server did not report them."""
        if not is_reported(reply.usage):
            self._estimate += max(estimated_tokens(request, reply) - reply.usage.total_tokens, 0)

    def seconds_left(self) -> float | None:
        """Until the limit of minutes, or until the work has to leave the sandbox before that ends; at least 0. None
        when there is neither."""
        seconds = min(self._minutes_left(), self._life_left())
        return None if seconds == math.inf else max(seconds, 0.0)

    def time_limit(self) -> str:
        """The limit that `seconds_left` counts down to."""
        if self._life_left() < self._minutes_left():
            return "the sandbox's time"
        return "minutes"

    def _minutes_left(self) -> float:
        if self._limits.minutes is None:
            return math.inf
        return self._limits.minutes * 60 - (self._clock() - self._start)

    def _life_left(self) -> float:
        seconds = self._life()
        if seconds is None:
            return math.inf
        return seconds - min(_RESERVE_SECONDS, _RESERVE_SHARE * self._whole_life)

    def exhausted_limit(self, usage: Usage) -> str | None:
        """The name of the limit that is used up, or None. It says so where it was counted by an estimate, or cannot be
        counted, which ends the run as well."""
        limits = self._limits
        if limits.turns is not None and usage.turns >= limits.turns:
            return "turns"
        if limits.tokens is not None and usage.total_tokens >= limits.tokens:
            return "tokens"
        if limits.tokens is not None and usage.total_tokens + self._estimate >= limits.tokens:
            return f"tokens, counted by an estimate ({_NOT_REPORTED})"
        if limits.cost_usd is not None and usage.cost_usd is None:
            cause = _NOT_REPORTED if self._estimate else "the model's price is not known"
            return f"dollars, which cannot be counted ({cause})"
        if limits.cost_usd is not None and usage.cost_usd is not None and usage.cost_usd >= limits.cost_usd:
            return "cost_usd"
        return self.time_limit() if self.seconds_left() == 0 else None

    def warning(self, usage: Usage) -> str | None:
        """What to tell the agent when another turn like the last one would be the last; None otherwise, and after
        the first time. `usage` is the total after a turn."""
        previous, self._previous = self._previous, usage
        tokens = usage.total_tokens + self._estimate
        previous_tokens, self._previous_tokens = self._previous_tokens, tokens
        if self._has_warned:
            return None
        limit = self._limits.tokens
        reason = self._nearest_limit(usage, previous)
        if limit is not None and _is_near(limit, tokens, previous_tokens):
            reason = f"This run's limit of {limit:,} tokens leaves you about one more turn."
        self._has_warned = bool(reason)
        return f"{reason} {_LAST_WORDS}" if reason else None

    def _nearest_limit(self, usage: Usage, previous: Usage) -> str | None:
        limits, seconds = self._limits, self.seconds_left()
        if limits.turns is not None and usage.turns == limits.turns - 1:
            return "This run's limit of turns leaves you one more."
        costs = usage.cost_usd, previous.cost_usd or 0.0
        if limits.cost_usd is not None and costs[0] is not None and _is_near(limits.cost_usd, costs[0], costs[1]):
            return f"This run's limit of {human_cost(limits.cost_usd)} leaves you about one more turn."
        total, limit = self._whole_life, "The end of this run's sandbox"
        if limits.minutes is not None and self.time_limit() == "minutes":
            total, limit = limits.minutes * 60, f"This run's limit of {limits.minutes:g} minutes"
        if seconds is not None and seconds <= max(
            _LAST_SHARE * total, min(_LAST_SECONDS, _LAST_SHARE_OF_SHORT * total)
        ):
            return f"{limit} leaves you {seconds:.0f} seconds."
        return None


def _is_near(limit: float, total: float, previous: float) -> bool:
    return total < limit <= total + _TURNS_AHEAD * (total - previous)


def is_reported(usage: Usage) -> bool:
    """Whether a server reported the tokens of a turn. (Adapters leave the cost open where it did not.)"""
    prompt = usage.total_tokens - usage.output_tokens
    return usage.has_counts and (usage.cost_usd is not None or (prompt > 0 and usage.output_tokens > 0))


def estimated_tokens(request: Conversation, reply: Reply) -> int:
    """About the tokens of a turn: of its request and its reply."""
    size = len(request.system) + sum(len(f"{tool.description}{tool.input_schema}") for tool in request.tools)
    for message in (*request.messages, reply):
        if isinstance(message, Prompt):
            size += len(message.text)
        elif isinstance(message, Reply):
            size += sum(len(str(block)) for block in message.blocks)
        else:
            size += sum(len(result.content) for result in message.results)
    return size // _CHARACTERS + 1

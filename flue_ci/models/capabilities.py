"""What is known of models besides their prices: which effort and thinking they take. Pure, with the date of the
knowledge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from flue_ci.models.prices import family

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Thinking = Literal["summarized", "omitted", "between_tools", "none"]

# From Anthropic's thinking and effort pages, 2026-11. Of models that are not listed nothing is known: what the spec
# says is sent as it is, and nothing else.
ADAPTIVE = (
    *("claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-5", "claude-opus-5"),
    *("claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6"),
)
ALWAYS_THINK = ("claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-", "claude-mythos-")
_OLDER = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5")  # thinking by budgets only: not used here
_NO_EFFORT = ("claude-sonnet-4-5", "claude-haiku-4-5")


def conflict(model: str, effort: Effort | None, thinking: Thinking | None) -> str:
    """Which of a model's rules the choice breaks, as a sentence; empty when none, or when the model is not known."""
    return next((problem for broken, problem in _rules(family(model), effort, thinking) if broken), "")


def _rules(model: str, effort: Effort | None, thinking: Thinking | None) -> Iterator[tuple[bool, str]]:
    between, off = thinking == "between_tools", thinking == "none"
    known = model in ADAPTIVE or model in _OLDER or model.startswith(ALWAYS_THINK)
    yield bool(effort) and model in _NO_EFFORT, f"{model} has no `effort`"
    yield (
        between and model != "claude-sonnet-5-5" and known,
        f"`thinking: between_tools` is for claude-sonnet-5-5 only, not for {model}",
    )
    yield (
        between and effort in ("xhigh", "max"),
        f"`thinking: between_tools` needs an `effort` of low, medium or high, not {effort}",
    )
    yield (
        off and model.startswith(ALWAYS_THINK),
        f"the thinking of {model} cannot be turned off; a low `effort` makes it short",
    )
    yield off and effort in ("xhigh", "max"), f"`thinking: none` and `effort: {effort}` do not go together"
    yield (
        thinking in ("summarized", "omitted") and model in _OLDER,
        f"{model} has no adaptive thinking; leave `thinking` away",
    )

"""What is known of models besides their prices: which effort and thinking they take. Pure."""

from flue_ci.core.ports import Effort, Thinking
from flue_ci.models.prices import CLAUDE_PROVIDERS, family

# From Anthropic's thinking and effort pages, 2026-11. Of models that are not listed nothing is known: what the spec
# asks for is sent as it is, and nothing else.
ADAPTIVE = (
    *("claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-5", "claude-opus-5"),
    *("claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-4-6"),
)
ALWAYS_THINK = ("claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-", "claude-mythos-")
_OLDER = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5")  # thinking by budgets only: not used here
_HIGHEST = ("xhigh", "max")
_NO_EFFORT = ("claude-sonnet-4-5", "claude-haiku-4-5")


def conflict(provider: str, model: str, effort: Effort | None, thinking: Thinking | None) -> str:
    """Which of a model's rules the choice breaks, as a sentence; empty when none, or when the model is not known.

    Only the models of Anthropic have rules here; the adapters of others check what they get.
    """
    if provider not in CLAUDE_PROVIDERS:
        return ""
    model = family(model)
    between, off = thinking == "between_tools", thinking == "none"
    is_listed = model in ADAPTIVE or model in _OLDER or model.startswith(ALWAYS_THINK)
    rules = {
        f"{model} has no `effort`": effort and model in _NO_EFFORT,
        f"`thinking: between_tools` is for claude-sonnet-5-5 only, not for {model}": (
            between and model != "claude-sonnet-5-5" and is_listed
        ),
        f"`thinking: between_tools` needs an `effort` of low, medium or high, not {effort}": (
            between and effort in _HIGHEST
        ),
        f"the thinking of {model} cannot be turned off; a low `effort` makes it short": (
            off and model.startswith(ALWAYS_THINK)
        ),
        f"`thinking: none` and `effort: {effort}` do not go together": off and effort in _HIGHEST,
        f"{model} has no adaptive thinking; leave `thinking` away": (
            thinking in ("summarized", "omitted") and model in _OLDER
        ),
    }
    return next((problem for problem, is_broken in rules.items() if is_broken), "")

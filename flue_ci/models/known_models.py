"""What is known of models: what their tokens cost (`prices.json`), and which effort and thinking they take.

Prices change; a model that is not listed has no price rather than a guessed one, unless the spec gives it. The table is
written by `scripts/update_prices.py`. Providers are those of `model.provider`.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from flue_ci.core.messages import Usage
from flue_ci.core.ports import Effort, Prices, Thinking

CLAUDE_PROVIDERS = ("anthropic", "bedrock", "vertex")  # who serve Anthropic's models, at the same prices
_FILE = Path(__file__).with_name("prices.json")
_VERSION_SUFFIX = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
_Steps = list[list[float]]  # [longest prompt in tokens or null, input, output, cache write, cache read]
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


@cache
def _table(provider: str) -> Mapping[str, _Steps]:
    """Model → the steps of its prices, in the order of their prompts."""
    provider = "anthropic" if provider in CLAUDE_PROVIDERS else provider
    table: Mapping[str, _Steps] = json.loads(_FILE.read_text("utf-8")).get(provider, {})
    return table


def known_models(provider: str) -> tuple[str, ...]:
    """The names of the models whose prices are known; empty for a provider without a table."""
    return tuple(_table(provider))


def family(model: str) -> str:
    """The name without a date or `-latest`: `claude-sonnet-4-5-20250929` is `claude-sonnet-4-5`."""
    return _VERSION_SUFFIX.sub("", model)


def price_of(provider: str, model: str, prompt_tokens: int = 0) -> Prices | None:
    """Prices of a request with `prompt_tokens` (input, cache reads and cache writes); None for an unlisted model."""
    table = _table(provider)
    for longest, *prices in table.get(model) or table.get(family(model), []):
        if longest is None or prompt_tokens <= longest:
            return Prices(input=prices[0], output=prices[1], cache_write=prices[2], cache_read=prices[3])
    return None


def cost(provider: str, model: str, usage: Usage, override: Prices | None = None) -> float | None:
    """US dollars of one request's tokens, by `override` when the spec gives prices; None when the price is unknown.

    Some prices depend on the length of a request's prompt, so sum the costs of requests, not their tokens.
    """
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    prices = override or price_of(provider, model, prompt)
    if prices is None:
        return None
    return (
        usage.input_tokens * prices.input
        + usage.output_tokens * prices.output
        + usage.cache_write_tokens * prices.cache_write
        + usage.cache_read_tokens * prices.cache_read
    ) / 1_000_000


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

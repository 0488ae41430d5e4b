"""What tokens cost: a dated table of the models whose prices we know, and the sum for one request.

Prices change; a model that is not listed has no price rather than a guessed one, unless the spec gives it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

PRICES_DATE = "2026-11"

_VERSION_SUFFIX = re.compile(r"-(?:\d{8}|latest)$")


class Tokens(Protocol):
    """What is counted of a request: a `Usage`. `input_tokens` are those that the cache had no part in."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cache_read_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars per million tokens. `cache_write` is for entries that live five minutes, the only ones we write."""

    input: float
    output: float
    cache_write: float
    cache_read: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Prices of a whole request whose prompt has at most `prompt_tokens` (None: any length)."""

    prompt_tokens: int | None = None
    prices: Prices


def _flat(input_: float, output: float, cache_write: float, cache_read: float) -> tuple[_Step, ...]:
    return (_Step(prices=Prices(input=input_, output=output, cache_write=cache_write, cache_read=cache_read)),)


_OPUS = _flat(5.00, 25.00, 6.25, 0.50)
_SONNET_4 = _flat(3.00, 15.00, 3.75, 0.30)

# Anthropic's price list as of PRICES_DATE. The cache writes of fable and opus 5.5 follow the rule of 1.25 × input.
_TABLE: dict[str, tuple[_Step, ...]] = {
    "claude-sonnet-5-5": _flat(2.00, 10.00, 2.50, 0.10),
    "claude-opus-5-5": _flat(4.00, 20.00, 5.00, 0.20),
    "claude-fable-5-1": _flat(10.00, 50.00, 12.50, 0.25),
    "claude-haiku-5-5": (
        _Step(prompt_tokens=100_000, prices=Prices(input=0.10, output=0.50, cache_write=0.125, cache_read=0.01)),
        _Step(prices=Prices(input=0.50, output=2.50, cache_write=0.625, cache_read=0.05)),
    ),
    "claude-opus-5": _OPUS,
    "claude-opus-4-8": _OPUS,
    "claude-opus-4-7": _OPUS,
    "claude-opus-4-6": _OPUS,
    "claude-opus-4-5": _OPUS,
    "claude-sonnet-5": _flat(2.00, 10.00, 2.50, 0.20),
    "claude-sonnet-4-6": _SONNET_4,
    "claude-sonnet-4-5": _SONNET_4,
    "claude-haiku-4-5": _flat(1.00, 5.00, 1.25, 0.10),
}

KNOWN_MODELS: tuple[str, ...] = tuple(_TABLE)


def family(model: str) -> str:
    """The name without a date or `-latest`: `claude-sonnet-4-5-20250929` is `claude-sonnet-4-5`."""
    return _VERSION_SUFFIX.sub("", model)


def price_of(model: str, prompt_tokens: int = 0) -> Prices | None:
    """Prices of a request with `prompt_tokens` (input, cache reads and cache writes); None for an unlisted model."""
    for step in _TABLE.get(family(model), ()):
        if step.prompt_tokens is None or prompt_tokens <= step.prompt_tokens:
            return step.prices
    return None


def cost(model: str, usage: Tokens, override: Prices | None = None) -> float | None:
    """US dollars of one request's tokens, by `override` when the spec gives prices; None when the price is unknown.

    Some prices depend on the length of a request's prompt, so sum the costs of requests, not their tokens.
    """
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    prices = override or price_of(model, prompt)
    if prices is None:
        return None
    return (
        usage.input_tokens * prices.input
        + usage.output_tokens * prices.output
        + usage.cache_write_tokens * prices.cache_write
        + usage.cache_read_tokens * prices.cache_read
    ) / 1_000_000

"""Writes flue_ci/models/prices.json from the package `genai-prices`, which collects the price lists of the vendors.

`python scripts/update_prices.py`. To bring the prices up to date, raise the version in pyproject.toml and `AS_OF` here,
then read the difference. The package is needed here and in one test only: to import it takes 0.3 s.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr, ModelInfo, ModelPrice, TieredPrices

from flue_ci.models.known_models import family

FILE = Path(__file__).parents[1] / "flue_ci" / "models" / "prices.json"
AS_OF = date(2026, 11, 28)  # prices that are announced for later do not count
PROVIDERS = ("anthropic", "google", "openai")  # names of `model.provider`, which are those of the package

# Where we know better: (provider, model) → the steps of its prices.
OVERRIDES: dict[tuple[str, str], list[list[float | None]]] = {
    # Prompts above 200,000 tokens cost more, but need a beta header that we do not send: they are refused instead.
    ("anthropic", "claude-sonnet-4-5"): [[None, 3.0, 15.0, 3.75, 0.3]],
}


def price_table() -> dict[str, dict[str, list[list[float | None]]]]:
    """provider → model → steps of [longest prompt in tokens or null, input, output, cache write, cache read], in US
    dollars per million tokens. The first step whose prompt is long enough holds for the whole request."""
    return {name: _short(_models(name)) for name in PROVIDERS}


def _models(provider: str) -> dict[str, list[list[float | None]]]:
    table = {}
    for info in next(entry for entry in providers if entry.id == provider).models:
        price = _current(info)
        if not isinstance(price, ModelPrice) or price.input_mtok is None or price.output_mtok is None:
            continue  # not for text
        if provider == "anthropic" and price.cache_write_mtok is None:
            continue  # older than prompt caching, which every request of ours asks for
        for name in _names(info):
            table[name] = OVERRIDES.get((provider, name)) or _steps(price)
    return table


def _short(table: dict[str, list[list[float | None]]]) -> dict[str, list[list[float | None]]]:
    """The same by names without dates, but for a dated name that has prices of its own."""
    short = {family(name): steps for name, steps in table.items()} | {
        name: steps for name, steps in table.items() if family(name) == name
    }
    own = {name: steps for name, steps in table.items() if steps != short[family(name)]}
    return dict(sorted((short | own).items()))


def _current(info: ModelInfo) -> ModelPrice:
    """The last price that is in force; the list is in the order of time."""
    if isinstance(info.prices, ModelPrice):
        return info.prices
    return [
        entry.prices
        for entry in info.prices
        if entry.constraint is None or getattr(entry.constraint, "start_date", date.max) <= AS_OF
    ][-1]


def _names(info: ModelInfo) -> set[str]:
    """The model's name and the aliases that stand for it alone."""
    clauses: list[Any] = [info.match]
    if isinstance(info.match, ClauseOr):
        clauses = list(info.match.or_)
    return {info.id, *(clause.equals for clause in clauses if isinstance(clause, ClauseEquals))}


def _steps(price: ModelPrice) -> list[list[float | None]]:
    """Input that is written to or read from a cache costs what other input costs, unless there is a price for it."""
    kinds = (
        price.input_mtok,
        price.output_mtok,
        price.cache_write_mtok or price.input_mtok,
        price.cache_read_mtok or price.input_mtok,
    )
    starts = {tier.start for kind in kinds if isinstance(kind, TieredPrices) for tier in kind.tiers}
    steps: list[list[float | None]] = []
    for longest in (*sorted(starts), None):
        steps.append([longest, *(_at(kind, longest) for kind in kinds)])
    return steps


def _at(price: Any, longest: int | None) -> float:
    """The price of a prompt of `longest` tokens (None: of any length). A tier begins above its start."""
    if not isinstance(price, TieredPrices):
        return float(price)
    current = price.base
    for tier in price.tiers:
        if longest is None or tier.start < longest:
            current = tier.price
    return float(current)


def price_file() -> str:
    """The text of the file: one model on a line."""
    parts = []
    for provider, models in price_table().items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(steps)}" for name, steps in models.items())
        parts.append(f"  {json.dumps(provider)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(price_file(), encoding="utf-8")

"""Prices: the table, its steps, names with dates, and the sum."""

from __future__ import annotations

import pytest

from flue_ci.core.messages import Usage
from flue_ci.models.prices import KNOWN_MODELS, PRICES_DATE, Prices, cost, price_of

MILLION = Usage(
    input_tokens=1_000_000, output_tokens=1_000_000, cache_write_tokens=1_000_000, cache_read_tokens=1_000_000
)


def test_each_kind_of_token_has_its_own_price() -> None:
    assert cost("claude-sonnet-5-5", MILLION) == pytest.approx(2.00 + 10.00 + 2.50 + 0.10)


def test_every_known_model_has_a_price_and_reading_the_cache_is_the_cheapest() -> None:
    for model in KNOWN_MODELS:
        prices = price_of(model)
        assert prices is not None
        assert prices.cache_read < prices.input < prices.cache_write < prices.output


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-opus-5-5-latest", "claude-opus-5-5"),
    ],
)
def test_a_dated_name_costs_what_its_family_costs(name: str, family: str) -> None:
    assert price_of(name) == price_of(family)
    assert price_of(name) is not None


@pytest.mark.parametrize("name", ["gpt-6", "claude-sonnet-55", "claude-sonnet-5-5-new", "claude-sonnet-4-5-2025", ""])
def test_an_unlisted_model_has_no_price_and_no_guessed_cost(name: str) -> None:
    assert price_of(name) is None
    assert cost(name, MILLION) is None


def test_a_long_prompt_makes_every_token_of_that_request_dearer() -> None:
    short = Usage(input_tokens=10_000, cache_read_tokens=80_000, cache_write_tokens=10_000, output_tokens=1000)
    longer = Usage(input_tokens=10_001, cache_read_tokens=80_000, cache_write_tokens=10_000, output_tokens=1000)
    assert cost("claude-haiku-5-5", short) == pytest.approx(0.001 + 0.0008 + 0.00125 + 0.0005)
    assert cost("claude-haiku-5-5", longer) == pytest.approx(0.0050005 + 0.004 + 0.00625 + 0.0025)


def test_prices_from_the_spec_replace_the_table_and_serve_unlisted_models() -> None:
    own = Prices(input=1, output=2, cache_write=3, cache_read=4)
    assert cost("claude-sonnet-5-5", MILLION, own) == pytest.approx(10)
    assert cost("house-model", MILLION, own) == pytest.approx(10)


def test_prices_of_nothing_are_prices() -> None:
    free = Prices(input=0, output=0, cache_write=0, cache_read=0)
    assert cost("claude-sonnet-5-5", MILLION, free) == 0.0


def test_the_table_says_when_it_was_read() -> None:
    year, month = PRICES_DATE.split("-")
    assert int(year) >= 2026
    assert 1 <= int(month) <= 12

"""Prices: the table, its steps, names with dates, and the sum."""

from __future__ import annotations

import pytest

from flue_ci.core.messages import Usage
from flue_ci.core.ports import Prices
from flue_ci.models.known_models import cost, known_models, price_of
from scripts.update_prices import FILE, price_file

MILLION = Usage(
    input_tokens=1_000_000, output_tokens=1_000_000, cache_write_tokens=1_000_000, cache_read_tokens=1_000_000
)


def test_each_kind_of_token_has_its_own_price() -> None:
    assert cost("anthropic", "claude-sonnet-5-5", MILLION) == pytest.approx(2.00 + 10.00 + 2.50 + 0.10)


def test_every_known_model_has_a_price_and_reading_the_cache_is_the_cheapest() -> None:
    for model in known_models("anthropic"):
        prices = price_of("anthropic", model)
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
    assert price_of("anthropic", name) == price_of("anthropic", family)
    assert price_of("anthropic", name) is not None


@pytest.mark.parametrize("name", ["gpt-6", "claude-sonnet-55", "claude-sonnet-5-5-new", "claude-sonnet-4-5-2025", ""])
def test_an_unlisted_model_has_no_price_and_no_guessed_cost(name: str) -> None:
    assert price_of("anthropic", name) is None
    assert cost("anthropic", name, MILLION) is None


def test_a_long_prompt_makes_every_token_of_that_request_dearer() -> None:
    short = Usage(input_tokens=10_000, cache_read_tokens=80_000, cache_write_tokens=10_000, output_tokens=1000)
    longer = Usage(input_tokens=10_001, cache_read_tokens=80_000, cache_write_tokens=10_000, output_tokens=1000)
    assert cost("anthropic", "claude-haiku-5-5", short) == pytest.approx(0.001 + 0.0008 + 0.00125 + 0.0005)
    assert cost("anthropic", "claude-haiku-5-5", longer) == pytest.approx(0.0050005 + 0.004 + 0.00625 + 0.0025)


def test_prices_from_the_spec_replace_the_table_and_serve_unlisted_models() -> None:
    own = Prices(input=1, output=2, cache_write=3, cache_read=4)
    assert cost("anthropic", "claude-sonnet-5-5", MILLION, own) == pytest.approx(10)
    assert cost("anthropic", "house-model", MILLION, own) == pytest.approx(10)


def test_prices_of_nothing_are_prices() -> None:
    free = Prices(input=0, output=0, cache_write=0, cache_read=0)
    assert cost("anthropic", "claude-sonnet-5-5", MILLION, free) == 0.0


def test_the_table_is_what_the_script_makes_of_the_published_prices() -> None:
    assert FILE.read_text("utf-8") == price_file(), "run python scripts/update_prices.py"


@pytest.mark.parametrize("provider", ["bedrock", "vertex"])
def test_other_providers_of_the_same_models_have_the_same_prices(provider: str) -> None:
    assert price_of(provider, "claude-opus-5-5") == price_of("anthropic", "claude-opus-5-5")


def test_a_model_of_another_provider_is_priced_by_that_providers_table_only() -> None:
    assert price_of("openai", "claude-sonnet-5-5") is None
    assert price_of("anthropic", "gpt-5") is None
    assert price_of("nobody", "gpt-5") is None
    assert price_of("openai", "gpt-5") == Prices(input=1.25, output=10, cache_write=1.25, cache_read=0.125)


def test_a_dated_name_with_prices_of_its_own_has_them() -> None:
    assert price_of("openai", "gpt-4o-2024-05-13") != price_of("openai", "gpt-4o")
    assert price_of("openai", "gpt-4o-2024-08-06") == price_of("openai", "gpt-4o")

"""Models by provider: ours, those of other packages, and what a spec may say about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_ci.core.errors import SpecError, UsageError
from flue_ci.core.ports import ModelOptions, Prices
from flue_ci.models.claude.client import Claude
from flue_ci.models.known_models import conflict
from flue_ci.models.registry import MODELS
from flue_ci.settings import Settings
from flue_ci.spec.load import load_spec, not_supported_yet
from tests.support.conversations import Watcher, request
from tests.support.messages_server import API_KEY, MessagesServer, Turn, text

ADAPTER = """
class Acme:
    spec = None
"""
ENTRY_POINTS = """
[flue_ci.models]
acme = acme_models:Acme

[flue_ci.tools]
fly = acme_models:Acme
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that brings a model provider and a tool."""
    site = tmp_path / "site"
    info = site / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "acme_models.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(str(site))


def spec_with(keys: str) -> object:
    return load_spec(Path("a.yml"), f"version: 1\n{keys}\n".encode())


def problem(keys: str) -> tuple[str, str]:
    with pytest.raises(SpecError) as error:
        spec_with(keys)
    return error.value.diagnostics[0].message, error.value.diagnostics[0].hint


def test_our_provider_is_found_by_its_name() -> None:
    assert MODELS.load("anthropic") is Claude


@pytest.mark.usefixtures("acme")
def test_a_registered_provider_and_a_registered_tool_may_stand_in_a_spec() -> None:
    assert MODELS.load("acme").__name__ == "Acme"
    spec = load_spec(Path("a.yml"), b"version: 1\nmodel: {name: m1, provider: acme}\ntools: [bash, fly]\n")
    assert (spec.model.provider, spec.tools) == ("acme", ("bash", "fly"))
    assert not_supported_yet(spec) == ()


@pytest.mark.usefixtures("acme")
def test_a_registered_provider_may_have_an_address_and_its_models_no_rules_of_ours() -> None:
    spec_with("model: {name: claude-haiku-4-5, provider: acme, effort: low, base_url: 'https://llm.example.com'}")


@pytest.mark.usefixtures("acme")
def test_the_cost_of_a_registered_provider_is_unknown_unless_prices_are_given() -> None:
    model = "name: claude-sonnet-5-5, provider: acme"
    message, _ = problem(f"model: {{{model}}}\nlimits: {{cost_usd: 1}}")
    assert message == "the price of `claude-sonnet-5-5` is not known, so its cost cannot be limited"
    spec_with(f"model: {{{model}, prices: {{input: 1, output: 2}}}}\nlimits: {{cost_usd: 1}}")


@pytest.mark.parametrize(
    ("keys", "message", "hint"),
    [
        (
            "model: {provider: antropic}",
            "must be `anthropic`, `bedrock` or `vertex`, found the text `antropic`",
            "did you mean `anthropic`?",
        ),
        ("model: {provider: 7}", "must be `anthropic`, `bedrock` or `vertex`, found the number 7", ""),
        (
            "tools: [bash, raed]",
            "must be `bash`, `read`, `write`, `edit`, `grep` or `glob`, found the text `raed`",
            "did you mean `read`?",
        ),
    ],
)
def test_an_unknown_name_is_refused_in_the_same_words_as_ever(keys: str, message: str, hint: str) -> None:
    assert problem(keys) == (message, hint)


def test_models_of_other_providers_have_no_rules() -> None:
    assert conflict("anthropic", "claude-haiku-4-5", "low", None)
    assert conflict("acme", "claude-haiku-4-5", "low", None) == ""


async def test_options_and_settings_become_the_request() -> None:
    with MessagesServer([Turn(blocks=[text("ok")])]) as server:
        options = ModelOptions(
            name="claude-haiku-5-5",
            max_output_tokens=1234,
            effort="low",
            thinking="omitted",
            prices=Prices(input=1e6, output=0, cache_write=0, cache_read=0),
        )
        settings = Settings(anthropic_api_key=API_KEY, anthropic_base_url=server.url)
        model = Claude.from_options(options, settings)
        reply = await model.turn(request(), Watcher())
        await model.close()
        body = server.requests[0].json
    assert (body["model"], body["max_tokens"]) == ("claude-haiku-5-5", 1234)
    assert body["output_config"] == {"effort": "low"}
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert reply.usage.cost_usd == reply.usage.input_tokens


async def test_the_address_of_the_spec_comes_before_that_of_the_environment() -> None:
    with MessagesServer([Turn(blocks=[text("ok")])]) as server:
        options = ModelOptions(name="claude-sonnet-5-5", base_url=server.url)
        model = Claude.from_options(
            options, Settings(anthropic_api_key=API_KEY, anthropic_base_url="http://127.0.0.1:9")
        )
        assert (await model.turn(request(), Watcher())).text == "ok"
        await model.close()


def test_options_that_the_api_would_refuse_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="has no `effort`"):
        Claude.from_options(ModelOptions(name="claude-haiku-4-5", effort="low"), Settings())


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (Settings(), ("ANTHROPIC_API_KEY",)),
        (Settings(anthropic_api_key=" "), ("ANTHROPIC_API_KEY",)),
        (Settings(anthropic_api_key="k"), ()),
        (Settings(anthropic_auth_token="t"), ()),
    ],
)
def test_the_keys_that_are_missing_are_named(settings: Settings, names: tuple[str, ...]) -> None:
    assert Claude.missing_keys(settings) == names


async def test_a_diagnosis_says_what_works_and_what_to_do() -> None:
    missing = await Claude.diagnose(Settings(), offline=False)
    assert (missing.key, missing.severity) == ("Anthropic", "error")
    assert missing.hint == "export ANTHROPIC_API_KEY=…"
    offline = await Claude.diagnose(Settings(anthropic_api_key=API_KEY), offline=True)
    assert (offline.severity, offline.message) == ("ok", "the key is set (not asked)")
    with MessagesServer([]) as server:
        good = Settings(anthropic_api_key=API_KEY, anthropic_base_url=server.url)
        bad = Settings(anthropic_api_key="sk-ant-wrong", anthropic_base_url=server.url)
        answers = [await Claude.diagnose(settings, offline=False) for settings in (good, bad)]
        address = server.url
    assert (answers[0].severity, answers[0].message) == (
        "ok",
        f"{address} answers, the key is good for claude-sonnet-5-5",
    )
    assert answers[1].severity == "error"
    assert "refused the key" in answers[1].message
    odd = await Claude.diagnose(Settings(anthropic_api_key="schlüssel"), offline=False)
    assert odd.severity == "error"

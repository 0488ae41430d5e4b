"""The table of sandboxes, and what every adapter in it brings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flue_ci.core.errors import UsageError
from flue_ci.core.ports import WithoutIsolation
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.local.provider import LocalProvider
from flue_ci.sandboxes.registry import SANDBOXES, SandboxAdapter
from flue_ci.settings import Settings
from tests.support.e2b_server import E2BServer

ADAPTERS: dict[str, SandboxAdapter] = {"e2b": E2BProvider, "local": LocalProvider}


def test_the_table_has_our_adapters_by_name() -> None:
    assert {name: SANDBOXES.load(name) for name in SANDBOXES.built_in} == ADAPTERS


def test_an_unknown_sandbox_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="there is no sandbox 'e2d'") as refusal:
        SANDBOXES.load("e2d")
    assert "did you mean `e2b`" in refusal.value.hint


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_provider_is_named_as_it_is_registered_and_needs_nothing_to_be_made(name: str) -> None:
    assert ADAPTERS[name].from_settings(Settings()).name == name
    ADAPTERS[name].preload()


def test_only_the_local_sandbox_can_do_without_isolation() -> None:
    able = [
        name for name, adapter in ADAPTERS.items() if isinstance(adapter.from_settings(Settings()), WithoutIsolation)
    ]
    assert able == ["local"]


def test_loading_an_adapter_loads_no_vendor_package() -> None:
    code = (
        "import sys; from flue_ci.sandboxes.registry import SANDBOXES; from flue_ci.settings import Settings;"
        "SANDBOXES.load('e2b').from_settings(Settings()); print('e2b' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "key", "missing"),
    [("e2b", "", ("E2B_API_KEY",)), ("e2b", " \n", ("E2B_API_KEY",)), ("e2b", "e2b_x", ()), ("local", "", ())],
)
def test_missing_keys_are_named(name: str, key: str, missing: tuple[str, ...]) -> None:
    assert ADAPTERS[name].missing_keys(Settings(e2b_api_key=key)) == missing


async def test_the_diagnosis_of_e2b_tells_a_good_key_from_a_wrong_one_and_from_silence() -> None:
    with E2BServer() as server:
        good = Settings(e2b_api_key=server.api_key, e2b_api_url=server.url)
        diagnosis = await E2BProvider.diagnose(good, offline=False)
        assert (diagnosis.key, diagnosis.severity) == ("E2B", "ok")
        assert "sandboxes of flue-ci running: 0" in diagnosis.message
        wrong = await E2BProvider.diagnose(Settings(e2b_api_key="e2b_no", e2b_api_url=server.url), offline=False)
        assert (wrong.severity, "did not accept" in wrong.message) == ("error", True)
        requests = len(server.requests)
        offline = await E2BProvider.diagnose(good, offline=True)
        assert (offline.severity, offline.message) == ("ok", "the key is set (not asked)")
        missing = await E2BProvider.diagnose(Settings(), offline=False)
        assert (missing.severity, missing.message) == ("error", "E2B_API_KEY is not set")
        assert len(server.requests) == requests


async def test_the_time_that_settings_give_bounds_the_attempts_to_start() -> None:
    settings = Settings(e2b_api_key="e2b_x", retry_timeout_seconds=7.0)
    assert E2BProvider.from_settings(settings).timeouts.start.timeout == 7.0
    assert E2BProvider.from_settings(Settings()).timeouts.start.timeout == 180.0

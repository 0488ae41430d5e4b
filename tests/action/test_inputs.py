"""The inputs of action.yml: what they can be, and what is said about the rest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flue_ci.action.agent_run import agent_minutes
from flue_ci.action.inputs import read_inputs
from flue_ci.core.errors import UsageError


def test_without_inputs_the_defaults_count() -> None:
    inputs = read_inputs({})
    assert (inputs.sandbox, inputs.rate_limit, inputs.comment, inputs.dry_run) == ("e2b", 20, True, False)
    assert inputs.fail_on == {"failed", "cancelled", "partial"}
    assert len(inputs.run_token) == 32


def test_the_sandbox_is_a_registered_name() -> None:
    assert read_inputs({"FLUE_CI_SANDBOX": " folder "}).sandbox == "folder"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("SANDBOX", "local", "input `sandbox`: `local` shares a kernel with the runner and its secrets"),
        ("FAIL_ON", "failed, red", "input `fail-on`: there is no conclusion `red`"),
        ("RATE_LIMIT", "-1", "input `rate-limit` is '-1', not a number"),
        ("RATE_LIMIT", "many", "input `rate-limit` is 'many', not a number"),
        ("TIMEOUT_MINUTES", "1h", "input `timeout-minutes` is '1h', not a number of minutes"),
        ("TIMEOUT_MINUTES", "0", "input `timeout-minutes` is '0', not a number of minutes"),
        ("DRY_RUN", "yes", "input `dry-run` is 'yes'"),
        ("PUBLISH", "everywhere", "input `publish` is 'everywhere'"),
    ],
)
def test_an_input_that_cannot_be_is_refused_by_its_name(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_inputs({f"FLUE_CI_{name}": text})
    assert str(refusal.value) == message
    assert refusal.value.hint


def test_an_agent_ends_before_its_job_does(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text("{}")
    environ = {"GITHUB_EVENT_PATH": str(event)}
    os.utime(event, (time.time() - 600,) * 2)  # the job has run for ten minutes
    assert agent_minutes(None, environ) is None
    assert agent_minutes(45, environ) == pytest.approx(31.5, abs=0.11)
    assert agent_minutes(15, environ) == pytest.approx(3.0, abs=0.11)
    assert agent_minutes(10, environ) == 0.5
    assert agent_minutes(10, {}) == 8.0
    assert read_inputs({"FLUE_CI_TIMEOUT_MINUTES": "45"}).timeout_minutes == 45.0


def test_fail_on_none_fails_on_nothing_that_happens() -> None:
    assert read_inputs({"FLUE_CI_FAIL_ON": "none"}).fail_on == {"none"}

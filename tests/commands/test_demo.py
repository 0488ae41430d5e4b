"""The demo runs on every machine. What it may run without isolation is fixed, and nothing else gets there."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from flue_ci.cli import cli
from flue_ci.commands import demo
from flue_ci.core.errors import Diagnostic
from flue_ci.run.plan import RunOptions
from flue_ci.sandboxes.local.provider import LocalProvider

PACKAGE = files("flue_ci") / "demo"
COMMANDS = ["python3 -m unittest", "python3 -m unittest", "git diff --stat"]
CHECKS = ["python3 -m unittest -q"]


def use(monkeypatch: pytest.MonkeyPatch, *, severity: str) -> list[RunOptions]:
    """The runs that are asked for instead of being made."""
    runs: list[RunOptions] = []

    async def diagnose(settings: object, *, offline: bool) -> Diagnostic:
        return Diagnostic(key="local sandbox", severity=severity, message="bubblewrap is not installed")

    def run(options: RunOptions, environ: object) -> int:
        assert options.replay
        assert options.replay.read_bytes() == (PACKAGE / "recording.jsonl").read_bytes()
        runs.append(options)
        return 0

    monkeypatch.setattr(LocalProvider, "diagnose", diagnose)
    monkeypatch.setattr(demo, "run_locally", run)
    return runs


def test_the_recording_runs_only_these_commands_on_these_files() -> None:
    lines = [json.loads(line) for line in (PACKAGE / "recording.jsonl").read_text().splitlines()]
    calls = [call for line in lines[1:] for call in line["reply"].get("calls", ())]
    assert [call["input"]["command"] for call in calls if call["name"] == "bash"] == COMMANDS
    assert {call["name"] for call in calls} == {"bash", "read", "edit"}
    assert {call["input"]["path"] for call in calls if call["name"] != "bash"} == {"slugs.py"}
    spec = yaml.safe_load((PACKAGE / "fix-tests.yml").read_text())
    assert [check["run"] for check in spec["checks"]] == CHECKS
    assert spec["sandbox"] == {"env": {"PYTHONDONTWRITEBYTECODE": "1"}, "network": {"agent": "none"}}
    assert sorted(file.name for file in (PACKAGE / "repo").iterdir() if file.is_file()) == [
        "README.md",
        "slugs.py",
        "test_slugs.py",
    ]


def test_it_runs_without_isolation_where_bubblewrap_makes_no_sandbox(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = use(monkeypatch, severity="note")
    assert demo.run_demo({}, isolation=True, out=None) == 0
    assert [(run.no_isolation, run.sandbox, run.agent) for run in runs] == [(True, "local", "fix-tests")]
    lines = [line for line in capsys.readouterr().err.splitlines() if "isolation" in line]
    assert len(lines) == 1
    assert "bubblewrap is not installed" in lines[0]
    assert all(command in lines[0] for command in COMMANDS)


def test_it_is_isolated_where_bubblewrap_works_and_else_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = use(monkeypatch, severity="ok")
    demo.run_demo({}, isolation=True, out=None)
    demo.run_demo({}, isolation=False, out=None)
    assert [run.no_isolation for run in runs] == [False, True]


def test_no_option_and_no_variable_brings_another_recording_or_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {parameter.name for parameter in cli.commands["demo"].params} == {"no_isolation", "out"}
    runs = use(monkeypatch, severity="note")
    names = {f"FLUE_CI_{name}": str(tmp_path) for name in ("REPLAY", "REPO", "DEMO", "AGENT", "SANDBOX")}
    assert demo.run_demo(names, isolation=True, out=tmp_path / "out") == 0
    expected = RunOptions(agent="fix-tests", repo=runs[0].repo, sandbox="local", no_isolation=True, show_diff=True)
    assert runs[0].repo.parent.name.startswith("flue-ci-demo-")
    assert {name for name in RunOptions.__slots__ if getattr(runs[0], name) != getattr(expected, name)} == {
        "replay",
        "out",
    }

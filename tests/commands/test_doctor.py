"""`flue-ci doctor` shows a line for everything, also where everything is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flue_ci.commands.doctor import examine


def test_doctor_survives_everything_and_shows_a_problem_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {
        "ANTHROPIC_API_KEY": "k",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    environ |= {"ALL_PROXY": "socks5://127.0.0.1:1", "FLUE_CI_IDLE_SECONDS": "soon"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".local/state/flue-ci").mkdir(parents=True)
    (tmp_path / ".flue/agents/x.yml").mkdir(parents=True)
    assert examine(tmp_path, environ, offline=False, as_json=True) == 1
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["Anthropic"]["state"] == rows["E2B"]["state"] == "problem"
    assert "ALL_PROXY" in rows["Anthropic"]["text"]
    assert "ALL_PROXY" in rows["Anthropic"]["hint"]
    assert rows["settings"]["state"] == "problem"
    assert rows["git"]["state"] == "ok"

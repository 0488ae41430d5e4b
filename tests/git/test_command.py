"""git for short questions without an event loop, and which git is good enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.git.command import git_version, run_git
from tests.support.repos import new_repo


def test_an_answer_and_a_failure_are_both_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = new_repo(tmp_path / "repo", {"a": ("file", b"a\n")})
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    assert run_git("rev-parse", "HEAD", cwd=repo.path).line == repo.line("rev-parse", "HEAD")
    assert run_git("config", "x.y", cwd=repo.path, config=("x.y=z",)).line == "z"
    result = run_git("rev-parse", "--verify", "missing", cwd=repo.path)
    assert result.code == 128
    assert "fatal" in result.err


@pytest.mark.parametrize(
    ("output", "message"), [("git version 2.33.9", "git version 2.33.9 is too old"), ("", "git is too old")]
)
def test_an_old_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str) -> None:
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho '{output}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkspaceError) as caught:
        git_version()
    assert str(caught.value) == message
    assert "2.34" in caught.value.hint


def test_a_new_git_is_named_and_a_missing_one_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_version().startswith("git version ")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkspaceError, match="git is not installed"):
        git_version()

"""No home, no entry in passwd, no working directory, nothing that can be written: a sentence, and never a traceback."""

from __future__ import annotations

import errno
import os
import pwd
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from flue_ci import __main__
from flue_ci.__main__ import run_command_line
from flue_ci.core.errors import EXIT_BUG, EXIT_DONE, EXIT_USAGE
from flue_ci.core.ports import ExecResult
from flue_ci.git.source import open_checkout
from flue_ci.report.folder import RunFolder
from flue_ci.safety.redact import Redactor
from tests.support.reports import report
from tests.support.repos import EVERY_KIND, new_repo, open_box

COMMANDS = (
    ("list",),
    ("validate",),
    ("run", "fix-tests"),
    ("run", "fix-tests", "--dry-run"),
    ("doctor", "--offline"),
    ("doctor", "--forget"),
    ("init", "another", "--github"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_deleted_working_directory_is_named(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        code = run_command_line([*command])
    finally:
        os.chdir(tmp_path)
    output = capsys.readouterr()
    if command == ("doctor", "--offline"):  # which has a line for everything
        assert (code, output.out.count("the working directory does not exist any more")) == (1, 2)
    else:
        assert code == EXIT_USAGE
        assert "the working directory does not exist any more\n  → cd" in output.err


def test_what_needs_no_working_directory_works_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = new_repo(tmp_path / "repo", {".flue/agents/x.yml": ("file", b"version: 1\nprompt: Do it.\n")})
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        assert run_command_line(["validate", "--repo", str(repo.path)]) == EXIT_DONE
        assert run_command_line(["list", "--repo", str(repo.path)]) == EXIT_DONE
        assert run_command_line(["doctor", "--offline", "--repo", str(repo.path)]) != EXIT_BUG
    finally:
        os.chdir(tmp_path)
    assert "Traceback" not in capsys.readouterr().err


async def test_a_user_without_home_and_entry_in_passwd_runs_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", fail)
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    assert not source.dirty
    async with open_box("plain", tmp_path) as box:
        result: ExecResult = await box.exec("echo $USER", timeout=20)
    assert result.output == b"user\n"


def test_a_machine_without_place_for_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    for command in (["run", "x"], ["run", "x", "--dry-run"], ["demo"], ["sandboxes", "list", "--sandbox", "local"]):
        assert run_command_line(command) == EXIT_USAGE
        assert "set TMPDIR to a directory that can be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/x/report"), EXIT_USAGE, "flue-ci: /x/report: Read-only file"),
        (OSError(errno.ENOSPC, "No space left on device"), EXIT_USAGE, "make space"),
        (OSError(errno.EACCES, "Permission denied", b"/x"), EXIT_USAGE, "flue-ci: /x: Permission denied"),
        (OSError(errno.ENOENT, "No such file or directory", "/x"), EXIT_BUG, "this is a bug"),
        (OSError("odd"), EXIT_BUG, "this is a bug"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(
    error: OSError, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("flue_ci.cli.cli", SimpleNamespace(main=fail))
    assert __main__.run_command_line(["schema"]) == code
    text = capsys.readouterr().err
    assert message in text
    assert ("Traceback" in text) is (code == EXIT_BUG)


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    redact = Redactor([])
    first = RunFolder(tmp_path / "out", redact)
    with pytest.raises(BlockingIOError, match="another run is writing into it"):
        RunFolder(tmp_path / "out", redact)
    assert (tmp_path / "out/transcript.jsonl").exists()
    first.save(report(), b"")
    RunFolder(tmp_path / "out", redact).save(report(), b"")

"""The end of a run on terminals of every width, and where nobody watches."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from flue_ci.core.changes import ChangedFile
from flue_ci.core.messages import Usage
from flue_ci.report.report import Changes, Report
from flue_ci.terminal.result import print_result
from flue_ci.terminal.screen import Line, Screen
from tests.support.reports import FAILED, FULL

FOLDER = Path("/home/ada/.local/state/flue-ci/runs/20261128 with a space/20261128-121644-471752-fix-tests")
PATCH = b"""diff --git a/a.py b/a.py
index 4a2ee3024d47790dbcc016598005f2c23eb9a39e..a6c5f6357bcb24d5c6fde2a54ee62a563b73ab40 100644
--- a/a.py
+++ b/a.py
@@ -1,2 +1,2 @@
-index of -- things
+index 12
 same
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(report: Report, width: int, monkeypatch: pytest.MonkeyPatch, patch: bytes = PATCH) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    print_result(report, patch, FOLDER, diff=True, out=out)
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).splitlines()]


@pytest.mark.parametrize("width", [40, 80, 140, 200])
def test_what_is_copied_is_whole_at_every_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    summary = "It was `python3 -m unittest -q tests`, in /home/ada/a/very/long/path/to/the/file/that/was/changed.py."
    lines = shown(replace(FULL, summary=f"{summary * 3}\n\n```sh\ngit diff --stat HEAD~1\n```"), width, monkeypatch)
    copied = (f"{FOLDER}/report.md", f"git apply '{FOLDER}/changes.patch'", "git diff --stat HEAD~1")
    for text in (*copied, "python3 -m unittest -q tests", "/home/ada/a/very/long/path/to/the/file/that/was/changed.py"):
        assert any(text in line for line in lines), text
    rest = [line for line in lines if not any(text in line for text in (*copied[:2], "/home/ada/a/very"))]
    assert max(map(cell_len, rest)) <= width
    assert not any(re.fullmatch(r"\s*[(\d.hms)]+", line) for line in lines)


def test_the_diff_has_no_hashes_and_every_line_of_the_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.strip() for line in shown(FULL, 80, monkeypatch)]
    assert not any("4a2ee302" in line for line in lines)
    assert {"+index 12", "-index of -- things", "same", "--- a/a.py", "@@ -1,2 +1,2 @@"} <= set(lines)


def test_numbers_that_mean_nothing_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = replace(FAILED, usage=Usage(), model="", timings={"total": 0.0004})
    text = "\n".join(shown(nothing, 80, monkeypatch, b""))
    assert not re.search(r"(?<![\d.])0 ?(ms|s|tokens|turns)\b|\$0\.00|no model", text)


def test_names_of_every_script_stand_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["src/日本語のファイル名.py", "a.py", f"{'deep/' * 30}leaf.py"]
    files = tuple(ChangedFile(path=name, kind="modified", added=400, deleted=3, binary=False) for name in names)
    for width in (40, 80):
        lines = shown(replace(FULL, changes=Changes(files=files, added=3, deleted=0)), width, monkeypatch, b"")
        bars = [line for line in lines if " │ " in line]
        assert len({cell_len(line.partition("│")[0]) for line in bars}) == 1
        assert any("/leaf.py │" in line for line in bars)
        assert max(map(cell_len, bars)) <= width


def test_there_is_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    for out in (Terminal(), io.StringIO()):
        Screen(out).show([Line("x", "red")])
        assert "\x1b[3" not in out.getvalue()

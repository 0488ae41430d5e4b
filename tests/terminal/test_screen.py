"""Lines on terminals of every width: words whole, what is copied in one piece, and nothing lost."""

from __future__ import annotations

import io
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from flue_ci.terminal.screen import Line, Screen, print_document, print_json, say, wrap
from tests.support.actions_runner import Runner, command_lines

WORDS = st.sampled_from(
    ["a", "word", "`flue-ci run x`", "/tmp/a/long/path/to/report.md", "日本語の文、", "·", "(0.6s)", "é"]
)
TEXTS = st.builds(lambda indent, words: " " * indent + " ".join(words), st.integers(0, 6), st.lists(WORDS, max_size=30))


@given(TEXTS, st.integers(1, 200), st.sampled_from(["", "git apply /tmp/x y"]))
def test_nothing_is_lost_and_no_line_is_longer_than_a_piece_that_is_whole(text: str, width: int, copy: str) -> None:
    lines = list(wrap(text, width, copy))
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text + copy)
    for line in lines:
        if cell_len(line) > width >= 20:
            assert re.fullmatch(r" *(`.*`|/\S+|git apply /tmp/x y)( \(0.6s\))?", line)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("  ✗ bash python3 -m unittest → 1 (0.2s)", ["  ✗ bash python3 -m unittest", "    → 1 (0.2s)"]),
        ("▸ Collecting all of the changes (0.6s)", ["▸ Collecting all of the", "  changes (0.6s)"]),
        ("- tests: exit code 0 · now · 3m 05s", ["- tests: exit code 0 ·", "  now · 3m 05s"]),
        ("agents   three agents and one that is broken", ["agents   three agents and one", "         that is broken"]),
        ("begin `flue-ci run fix-tests` now", ["begin", "`flue-ci run fix-tests` now"]),
        ("  → a single run: --allow-secret X", ["  → a single run:", "    --allow-secret X"]),
        ("  見出しが長いので途中で折り返します。", ["  見出しが長いので途中で折り返", "  します。"]),
    ],
)
def test_a_line_is_continued_below_what_follows_its_mark_or_label(text: str, lines: list[str]) -> None:
    assert list(wrap(text, max(map(cell_len, lines)))) == lines


def shown(lines: list[Line], width: int) -> str:
    out = io.StringIO()
    Screen(out, Console(file=out, width=width, highlight=False, markup=False)).show(lines)
    return out.getvalue()


def test_a_path_that_does_not_fit_stands_on_a_line_of_its_own_and_code_stays_as_it_is() -> None:
    path = f"/home/{'x' * 60}/report.md"
    assert shown([Line("  report  ", copy=path)], 40) == f"  report\n  {path}\n"
    assert shown([Line("  report  ", copy="/x")], 40) == "  report  /x\n"
    assert shown([Line("+    a  b" * 10, wrap=False)], 40) == "+    a  b" * 10 + "\n"


def test_where_nobody_watches_a_line_stays_one_line() -> None:
    out = io.StringIO()
    say("word " * 100 + "\nnext", out)
    assert out.getvalue() == "word " * 100 + "\nnext\n"


@given(st.lists(command_lines() | st.text(max_size=20), max_size=4))
def test_in_a_job_nothing_that_is_printed_is_a_command(lines: list[str]) -> None:
    text = "\n".join(lines).encode("utf-8", "replace").decode()
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile("w") as pipe:
        patch.setenv("GITHUB_ACTIONS", "true")
        patch.setattr("sys.stdout", printed)
        patch.setattr(printed, "fileno", pipe.fileno, raising=False)
        patch.setattr("stat.S_ISREG", lambda _: False)
        say(text, printed)
        print_json(json.dumps({"text": text}, ensure_ascii=False, indent=2))
        print_document(text)
    output = printed.getvalue()
    assert Runner().read(output).executed == []
    document = output[output.index('{\n  "text"') :]
    assert json.JSONDecoder().raw_decode(document)[0] == {"text": text}


def test_a_document_goes_into_a_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with (tmp_path / "summary.md").open("w") as file:
        monkeypatch.setattr("sys.stdout", file)
        print_document("::x::\n##[y]\n")
    assert (tmp_path / "summary.md").read_text() == "::x::\n##[y]\n"

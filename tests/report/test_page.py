"""The page of a run: what it shows, that hostile text stays text, and that its size is bounded."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.core.text import reveal
from flue_ci.report.folder import RunFolder, write_page
from flue_ci.report.page import render
from flue_ci.report.page.colours import MAX_CHARACTERS, Highlighter
from flue_ci.report.page.diff import FileChange, file_changes
from flue_ci.report.page.timeline import MAX_ITEMS, MAX_LINE, MAX_LINES, MAX_TEXT, Command, read_timeline
from flue_ci.report.page.words import words_to_html
from flue_ci.report.report import Changes
from flue_ci.safety.markdown import untrusted_markdown
from flue_ci.safety.redact import Redactor
from tests.support import pages
from tests.support.pages import ReadPage
from tests.support.reports import FAILED, FULL, PATCH, report

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}&lt;b&gt;<!--]]>"
OWN_TAGS = frozenset(
    re.findall(
        r"\w+",
        """
        html head meta title style script body a header p h1 h2 h3 h4 b dl div dt dd nav form label input output ul ol
        li button kbd main section blockquote pre details summary span code table caption tbody tr td i figure
        figcaption svg rect em strong s hr br sup h5 h6 th
        """,
    )
)


def files(patch: bytes) -> list[FileChange]:
    return file_changes((), patch, Highlighter())


def plain_rows(diff: FileChange) -> list[list[str]]:
    """The cells of each row, as a reader sees them."""
    rows = diff.rows.split("<tr")[1:]
    return [
        [unescape(re.sub("<[^>]*>", "", cell)).rstrip("\n") for cell in re.split(r"<td[^>]*>", row)[1:]] for row in rows
    ]


# What it shows


def test_a_page_shows_the_whole_run() -> None:
    text = ReadPage(pages.page()).text
    for words in (
        "returns a list for every input",
        "only the parser, please",
        "root cause",
        "pytest -q",
        "4 passed",
        "Verified in a clean sandbox",
        "src/parser.py",
        "Turn 2",
        "Now the parser.",
        "1 failed",
        "You are careful.",
        "bob: please",
        "NPM_TOKEN",
        "setup: open, agent: none",
        "pip install -e .",
        "trying again in 2.0s",
        "main@3f786850e387 and uncommitted work",
    ):
        assert words in text, words


def test_a_failed_run_says_where_and_what_to_do_and_shows_the_output() -> None:
    html = pages.page(FAILED)
    assert "Failed at checks." in html
    assert "look at it" in html
    assert re.search(r'class="command bad" data-find open>.*?assert 1 == 2', html, re.DOTALL)


def test_a_run_without_a_transcript_has_a_page() -> None:
    html = render.render_page(report(), b"", None, Redactor())
    assert "There is no transcript beside the report." in html


def test_numbers_that_mean_nothing_are_left_out() -> None:
    html = pages.page(events=pages.turn(1, "Hello.", tokens=0) + pages.turn(2, "Bye.", tokens=0))
    assert "Context" not in html
    assert pages.page().count("<svg") == 3


# Hostile text


def test_hostile_text_in_every_field_stays_text() -> None:
    hostile = pages.with_text(replace(FAILED, trigger=pages.RUN.trigger), HOSTILE)
    html = pages.page(hostile, pages.hostile_patch(HOSTILE), pages.transcript(HOSTILE))
    page = ReadPage(html)
    assert {tag for tag, _ in page.tags} <= OWN_TAGS
    tags = [tag for tag, _ in page.tags]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (1, 1, 0)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("style", "src") for name in attributes), (tag, attributes)
        assert (attributes.get("href") or "#").startswith(("#", "https://github.com/")), attributes
    assert page.text.count("onerror=alert(2)") > 60
    assert "49" not in page.text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "file:///etc/passwd", ""])
def test_an_address_that_could_act_is_no_link(url: str) -> None:
    assert pages.RUN.trigger
    trigger = replace(pages.RUN.trigger, run_url=url, url=url)
    targets = [values["href"] for tag, values in ReadPage(pages.page(report(trigger=trigger))).tags if tag == "a"]
    assert all(target and target.startswith("#") for target in targets)


def test_the_policy_lets_only_the_pages_own_style_and_script_work() -> None:
    page = ReadPage(pages.page())
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": page.hashes["style"],
        "script-src": page.hashes["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_secrets_are_masked_also_where_cleaning_joins_them() -> None:
    secret = "hunter2-hunter2"
    split = "hunter2\u200b-hunter2"
    hostile = pages.with_text(FULL, split)
    for text in (secret, split):
        html = pages.page(hostile, pages.hostile_patch(secret), pages.transcript(text), secrets=(secret,))
        assert secret not in html


# The timeline


def read(text: str | bytes) -> list[object]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_timeline(io.BytesIO(data), str).items)


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "7", "null", '{"event": 7}', '{"event": "turn_ended"}', '{"event": "turn_ended", "data": []}',
     '{"event": "tool_ended", "data": {"call": {"id": []}}}', "[" * 100_000, '{"event": "notice", "t": 1e999}',
     f'{{"event": "turn_ended", "data": {{"turn": {10**400}}}}}', '{"event": "stage_ended", "t": NaN, "data": {}}',
     '{"event": "turn_ended", "data": {"turn": -1, "reply": {"calls": [7, null, {"input": {"a": [1]}}], "usage": []}}}',
     '{"event": "command_ended", "data": {"exit_code": 99999999999999999999999999}}', "\ud800"],
)  # fmt: skip
def test_no_line_of_a_transcript_is_an_error(line: str) -> None:
    data = f"{line}\n{pages.transcript()}{line}".encode("utf-8", "surrogatepass")
    timeline = read_timeline(io.BytesIO(data), str)
    assert [turn.text for turn in timeline.turns][-2:] == ["I look at the tests. ", "Now the parser. "]
    render.render_page(FULL, b"", io.BytesIO(data), Redactor())


@pytest.mark.parametrize(
    ("data", "ending"),
    [
        ({"exit_code": 0}, "exit code 0"),
        ({"exit_code": 0, "known": False}, "exit code not known"),
        ({"exit_code": 124, "timed_out": True}, "timed out"),
        ({"exit_code": -1}, "exit code -1"),
        ({"exit_code": 10**30}, "exit code not known"),
        ({"exit_code": False}, "exit code not known"),
        ({}, "exit code not known"),
    ],
)
def test_a_command_has_passed_only_where_the_transcript_says_so(data: dict[str, Any], ending: str) -> None:
    events = pages.line("command_started", name="t", command="x") + pages.line("command_ended", name="t", **data)
    (command,) = read(events)
    assert isinstance(command, Command)
    assert (command.ending, command.has_passed) == (ending, ending == "exit code 0")


def test_a_large_transcript_is_cut_and_says_so() -> None:
    long_line = pages.line("notice", text="x" * (MAX_LINE + 10))
    timeline = read_timeline(io.BytesIO((long_line + pages.turn(1, "after it")).encode()), str)
    assert [turn.text for turn in timeline.turns] == ["after it"]
    assert timeline.omission
    many = read_timeline(io.BytesIO(pages.turn(1, "again").encode() * (MAX_ITEMS + 50)), str)
    assert len(many.items) == MAX_ITEMS
    assert "transcript.jsonl" in many.omission
    empty = read_timeline(io.BytesIO(b"\n" * (MAX_LINES + 50) + pages.turn(1, "too late").encode()), str)
    assert empty.items == []


def test_long_outputs_keep_their_head_and_their_tail() -> None:
    events = pages.turn(1, "go", pages.call("c1", command="make")) + pages.result("c1", f"first{'x' * 50_000}last")
    ((turn,),) = (read_timeline(io.BytesIO(events.encode()), str).turns,)
    output = turn.calls[0].output
    assert len(output) < MAX_TEXT + 100
    assert output.startswith("first")
    assert output.endswith("last")
    assert "characters left out" in output


def test_a_page_is_small_whatever_was_written() -> None:
    events = "".join(
        pages.turn(number, "go " * 3_000, pages.call("c", command="make" * 2_000)) + pages.result("c", "<&>\n" * 10_000)
        for number in range(120)
    )
    patch = pages.hostile_patch("<") + b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n" + b"+<>& 1 def\n" * 11_900
    texts = pages.with_text(FULL, "<&> " * 6_000)
    html = pages.page(replace(texts, checks=texts.checks * 300, notes=texts.notes * 300), patch, events)
    assert len(html.encode()) < 5_000_000


# The changes


def test_lines_have_their_numbers_and_signs() -> None:
    (diff,) = files(PATCH)
    assert (diff.folder, diff.name, diff.plus, diff.minus) == ("src", "parser.py", 2, 1)
    assert plain_rows(diff)[1:] == [
        ["1", "1", " def parse(text):"],
        ["2", "", "-    return text.split()"],
        ["", "2", "+    # ``` a fence in a comment"],
        ["", "3", "+    return text.split() or []"],
    ]


def test_what_tools_wrote_comes_last_and_is_folded() -> None:
    def part(name: str) -> bytes:
        return f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-a\n+b\n".encode()

    assert [(file.name, file.label, file.is_open) for file in files(part("uv.lock") + part("x.py"))] == [
        ("x.py", "", True),
        ("uv.lock", "lock file", False),
    ]


def test_nothing_in_the_changes_is_invisible() -> None:
    (diff,) = files("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+if a\u202e\u200b:\x1b[2K\r\n".encode())
    assert plain_rows(diff)[1] == ["", "1", "+if a⟨U+202E⟩⟨U+200B⟩:⟨U+001B⟩[2K"]
    assert reveal("👩\u200d💻 \u0d28\u0d4d\u200d x\u200dy") == "👩\u200d💻 \u0d28\u0d4d\u200d x⟨U+200D⟩y"


def test_the_smallest_files_are_shown_when_there_is_too_much() -> None:
    def part(name: str, lines: int) -> bytes:
        return f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -0,0 +1 @@\n".encode() + b"+x\n" * lines

    code, lock = files(part("package-lock.json", 20_000) + part("code.py", 20))
    assert (lock.rows, bool(lock.omission)) == ("", True)
    assert code.rows.count("<tr class=a>") == 20


@settings(max_examples=30)
@given(st.text(alphabet="+- @\\\n\"'<&\u2028\r\x00abc", max_size=300))
def test_any_patch_has_rows_without_markup_of_its_own(body: str) -> None:
    patch = f"diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n{body}".encode()
    for diff in files(patch):
        assert not re.sub(r"<tr( class=[adh])?>|<td>|<i class=\w>|</i>", "", diff.rows).count("<")


# Colours

CODE = 'def a(b: int) -> str:\n    """two\n    lines"""\n    return f\'{b}\' # <end>'


@pytest.mark.parametrize("path", ["x.py", "a/b.TS", "Dockerfile", "Makefile", "x.php", "x.rs", "x.yml", "x.html"])
def test_colours_change_no_letter(path: str) -> None:
    lines = CODE.split("\n")
    rows = Highlighter().lines(path, lines)
    assert [unescape(re.sub(r"</?i[^>]*>", "", row)) for row in rows] == lines


def test_code_is_coloured_and_what_is_no_code_is_not() -> None:
    lines = CODE.split("\n")
    assert "<i class=k>def</i>" in Highlighter().lines("x.py", lines)[0]
    for path in ("x.unknown", "x", "notes"):
        assert Highlighter().lines(path, lines)[0] == "def a(b: int) -&gt; str:"


def test_what_is_too_large_or_takes_too_long_stays_plain() -> None:
    ticks: Iterator[float] = count(0.0, 0.3)
    late = Highlighter(clock=lambda: next(ticks))
    assert late.lines("x.py", ["def a(): ..."] * 3) == ["def a(): ..."] * 3
    large = ["x = 1"] * (MAX_CHARACTERS // 6 + 1)
    assert Highlighter().lines("x.py", large)[0] == "x = 1"
    assert Highlighter().lines("x.py", ["x" * 501])[0] == "x" * 501


# Words


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**a** _b_ ~~c~~ `<d>` & e", "<strong>a</strong> <em>b</em> <s>c</s> <code>&lt;d&gt;</code> &amp; e"),
        ("# One\n\n## Two", "<h4>One</h4><h5>Two</h5>"),
        ("- [x] a\n- [ ] b", "☑</span> <p>a</p>"),
        ("3. a\n4. b", '<ol start="3"><li><p>a</p>'),
        ("| a | b |\n|--|--|\n| 1 | 2 |", "<tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr>"),
        ("```python\ndef a():\n```", "<i class=k>def</i>"),
        ("[a](https://github.com/x)", '<a href="https://github.com/x" rel="noreferrer noopener">a</a>'),
        ("![a](https://github.com/x.png)", "a (<code>https://github.com/x.png</code>)"),
        ("a\nb", "a<br>\nb"),
        ("> q", "<blockquote><p>q</p></blockquote>"),
    ],
)
def test_markdown_is_rendered(text: str, html: str) -> None:
    assert html in words_to_html(untrusted_markdown(text, ("github.com",)), Highlighter())


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "<b onclick=x>y</b>",
        "[a](javascript:x)",
        "![a](//h)",
        "<details open>",
        "> " * 500 + "x",
        "[x]: javascript:alert(1)\n\n[x]",
        "<a href=javascript:x>y</a>",
    ],
)
def test_no_markdown_acts(text: str) -> None:
    for words in (text, untrusted_markdown(text)):
        page = ReadPage(words_to_html(words, Highlighter()))
        assert {tag for tag, _ in page.tags} <= OWN_TAGS - {"script", "style"}
        assert not any(
            name in ("src", "style", "href") or name[:2] == "on" for _, values in page.tags for name in values
        )


# The folder


def test_every_folder_has_the_page_and_none_of_a_former_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor(["hunter2-hunter2"]))
    folder.save(report(summary="It was hunter2-hunter2."), PATCH)
    html = (tmp_path / "report.html").read_text()
    assert "It was ***" in html
    RunFolder(tmp_path, Redactor())
    assert not (tmp_path / "report.html").exists()


def test_what_the_page_joins_is_redacted_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor(["hunter2-hunter2"]))
    folder.save(report(summary="Done.\n\nIt was hunter2-**hunter2** and `hunter2`-hunter2."), PATCH)
    text = re.sub("<[^>]*>", "", (tmp_path / "report.html").read_text())
    assert "It was *** and ***." in text


def test_no_run_fails_for_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(render, "render_page", fail)
    folder = RunFolder(tmp_path, Redactor())
    saved = folder.save(folder.save(FULL, PATCH), PATCH)
    assert (saved.exit_code, folder.trouble) == (0, "")
    assert saved.notes == (*FULL.notes, "report.html could not be written: RuntimeError: no ink")
    assert json.loads((tmp_path / "report.json").read_text())["notes"] == list(saved.notes)


def test_the_page_is_made_when_the_result_is_safe(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, Redactor())
    saved = folder.save(FULL, PATCH, page=False)
    assert {path.name for path in tmp_path.iterdir()} >= {"report.json", "report.md", "changes.patch"}
    assert not (tmp_path / "report.html").exists()
    assert folder.add_page(saved, PATCH) == saved
    assert (tmp_path / "report.html").exists()


def test_no_link_in_a_folder_is_followed_for_the_page(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(pages.transcript("precious"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "transcript.jsonl").symlink_to(tmp_path / "secret")
    page = write_page(tmp_path / "out", FULL, PATCH, Redactor()).read_text()
    assert "There is no transcript beside the report." in page
    assert "precious" not in page
    (tmp_path / "out" / "transcript.jsonl").unlink()
    os.mkfifo(tmp_path / "out" / "transcript.jsonl")
    assert "There is no transcript" in write_page(tmp_path / "out", FULL, PATCH, Redactor()).read_text()


def test_a_refused_patch_is_not_on_the_page() -> None:
    html = pages.page(report(changes=Changes(refused="a link leads out")), PATCH)
    assert "a link leads out" in html
    assert "a fence in a comment" not in html

"""The report as Markdown, and as the terminal's last words."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from flue_ci.publish.comment import report_comment
from flue_ci.report.links import Commit
from flue_ci.report.markdown import markdown, title_and_summary, without_binary
from flue_ci.report.report import Changes, CommandResult, Failure, Report, SandboxUsed
from flue_ci.safety.markdown import code_block
from flue_ci.terminal import result as closing
from tests.support.reports import FAILED, FULL, PATCH, report


def title_of(report: Report) -> str:
    return title_and_summary(report, Commit(url="", sha=""))[0]


def test_everything_that_matters_is_there() -> None:
    text = markdown(FULL, PATCH)
    for words in (
        "### ✅ `parse` returns a list for every input.\n\n> only the parser, please\n\n- Changed: `src/parser.py`",
        "#### 2 files, +2 −1\n\n`src/parser.py` +2 −1\n\n````diff\n@@ -1,3 +1,4 @@",
        "`old.png` → <code>new name&#124;with pipe&#46;png</code> renamed · binary",
        "✅ **tests** `pytest -q` → 0 · *4 passed* · 1.2s · in a clean sandbox",
        "| root cause | no default |",
        "claude-sonnet-5-5 · 5 turns · 41.9K tokens (31.0K cached, 900 out)",
        "network setup: open · agent: none",
        "**fix-tests** on `main@3f78685` + uncommitted work · 31s · $0.040 · network closed · secrets inside: `NPM_",
    ):
        assert words in text


def test_protected_paths_are_named_everywhere_in_a_short_line() -> None:
    names = tuple(f".github/workflows/w{number}.yml" for number in range(7))
    touching = replace(FULL, changes=replace(FULL.changes, protected=(".envrc|`x`", *names)))
    for text in (markdown(touching, PATCH), report_comment(touching, PATCH, server_url="https://github.com")):
        lines = [line for line in text.splitlines() if "Protected paths" in line]
        assert len(lines) == 1
        assert "<code>&#46;envrc&#124;&#96;x&#96;</code>, `.github/workflows/w0.yml`" in lines[0]
        assert lines[0].endswith(", 3 more")
    out = io.StringIO()
    closing.print_result(touching, PATCH, None, out=out)
    assert "protected paths, look at them: .envrc|`x`, .github/workflows/w0.yml" in out.getvalue()
    assert "rotected paths" not in markdown(FULL, PATCH)


def test_a_failure_shows_stage_hint_and_the_failing_output() -> None:
    text = markdown(FAILED, PATCH)
    assert "**Failed at checks.** it went wrong\n\nlook at it" in text
    assert "❌ **tests** `pytest -q` → 1 · *E assert 1 == 2*" in text
    assert "\n````\nE  assert 1 == 2\n```\n````\n" in text


@pytest.mark.parametrize("text", ["plain", "``` inside", "~~~ and ````` inside", "`"])
def test_a_fence_is_longer_than_any_inside(text: str) -> None:
    first, *_, last = code_block(text, "diff").splitlines()
    ticks = first.removesuffix("diff")
    assert set(ticks) == {"`"}
    assert last == ticks
    assert len(ticks) > max((len(run) for run in re.findall("`+", text)), default=0)


def test_details_are_balanced_and_names_cannot_break_out() -> None:
    nasty = report(
        agent="<b>x</b>",
        reason="**bold** | <script>",
        changes=Changes(refused="a </details> in a name"),
        failure=Failure(stage="collect", message="a </details> <img>", hint=""),
    )
    text = markdown(nasty, PATCH)
    assert text.count("<details>") == len(re.findall(r"(?<!\\<)</details>", text))
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "\\<b\\>x" in text


def test_a_refusal_says_where_the_bytes_are_and_shows_no_diff() -> None:
    text = markdown(report(changes=Changes(refused="it is a submodule")), PATCH)
    assert "**The changes were refused:** it is a submodule. What came back is kept in `changes.refused.patch`." in text
    assert "```diff" not in text


def test_the_last_words_are_plain_where_nobody_watches() -> None:
    out = io.StringIO()
    closing.print_result(FAILED, PATCH, None, diff=True, out=out)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "❌ fix-tests: check `tests` failed with exit code 1 (31s)" in text
    assert "failed at checks: it went wrong" in text
    assert "✗ tests: pytest -q · exit code 1 · 1.0s" in text
    assert "      E  assert 1 == 2" in text
    assert "2 files changed, +2 −1" in text


def test_terminal_sequences_of_the_model_do_not_reach_the_terminal() -> None:
    out = io.StringIO()
    closing.print_result(report(summary="a\x1b[2Jb\x07"), b"+\x1b]0;x\x07y\n", None, diff=True, out=out)
    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()


@pytest.mark.parametrize(
    ("summary", "shown"),
    [
        ("All passed.\n\n<!--", "All passed.\n\n&lt;!--"),
        ("<details><summary>x", "&lt;details>&lt;summary>x"),
        ("```py\n<!--", "```py\n<!--\n```"),
        ("~~~~\n<b>\n~~~", "~~~~\n<b>\n~~~\n~~~~"),
        ("````\n```\n<b>\n````\n<b>", "````\n```\n<b>\n````\n&lt;b>"),
        ("| a | <!-- |\n|--|--|", "| a | &lt;!-- |\n|--|--|"),
    ],
)
def test_a_summary_swallows_nothing_of_what_follows(summary: str, shown: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).parse(markdown(report(summary=summary)))
    headings = [
        tokens[index + 1].content for index, token in enumerate(tokens) if token.tag == "h4" and token.level == 0
    ]
    assert headings[::2] == ["Checks", "2 files, +2 −1"]


def test_no_text_of_a_report_opens_a_block_or_html() -> None:
    nasty = "x\x1b[2J\u202e\n\n~~~\n<!-- `"
    text = markdown(
        report(
            agent=nasty,
            reason=nasty,
            model=nasty,
            spec=nasty,
            instruction=nasty,
            summary="",
            result={"a": "\x9b\u202e"},
            notes=(nasty,),
            changes=Changes(refused=nasty),
            checks=(CommandResult(name=nasty, command=nasty, exit_code=1, output=nasty),),
            sandbox=SandboxUsed(provider=nasty, template=nasty, network={nasty: nasty}, secrets=(nasty,)),
            failure=Failure(stage=nasty, message=nasty, hint=nasty),
        )
    )
    assert not re.search("[\x1b\x9b\u202e]", text)
    outside = re.sub(r"(?s)```.*?```", "", text)
    assert not re.search(r"(?m)^~~~", outside)
    assert "<!--" not in re.sub(r"``.*?``", "", outside).replace("\\<!--", "")


def test_a_refusal_that_kept_nothing_points_to_nothing() -> None:
    assert "is kept in" not in markdown(report(changes=Changes(refused="it holds a secret")), b"")


def test_the_diff_cannot_move_the_cursor() -> None:
    assert "\x1b" not in markdown(FULL, PATCH + b"+\x1b[2J\n")


@pytest.mark.parametrize("field", ["agent", "model", "reason", "stage", "check", "network", "result"])
def test_no_field_of_a_saved_report_reaches_the_terminal_as_it_is(field: str) -> None:
    nasty = "\x1b]0;x\x07\x9b2J\u202e\nnext"
    changed: dict[str, Any] = {
        "stage": {"failure": Failure(stage=nasty, message="m")},
        "check": {"checks": (CommandResult(name=nasty, command="c", exit_code=1, output=nasty),)},
        "network": {"sandbox": SandboxUsed(provider=nasty, network={"agent": nasty})},
    }
    out = io.StringIO()
    closing.print_result(report(**changed.get(field, {field: nasty})), b"", None, out=out)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out.getvalue())
    if field not in ("check", "result"):
        assert "\nnext" not in out.getvalue()


@pytest.mark.parametrize("reason", ["~~~ @ada", "``` @ada", "- @ada", "> @ada", "`` @ada `", "check `@x` failed: @ada"])
def test_a_title_calls_nobody_however_its_reason_begins(reason: str) -> None:
    shown = title_of(replace(FULL, reason=reason, agent=""))
    assert "\n" not in shown
    tokens = MarkdownIt("commonmark").parse(shown)
    assert [token.type for token in tokens] == ["heading_open", "inline", "heading_close"]
    words = "".join(child.content for child in tokens[1].children or () if child.type == "text")
    assert "@" not in words


def test_data_of_binary_files_is_left_out_and_nothing_beside_it() -> None:
    data = "GIT binary patch\nliteral 3\nKcmZQzU|?nd00IC2\n\ndelta 2\nJcmZQz00IC2\n\n"
    patch = f"diff --git a/a b/a\n{data}diff --git a/b b/b\n@@ -1 +1 @@\n-GIT binary patch\n+literal 1\n"
    assert without_binary(patch.encode()) == (
        "diff --git a/a b/a\nBinary data, in changes.patch\ndiff --git a/b b/b\n"
        "@@ -1 +1 @@\n-GIT binary patch\n+literal 1\n"
    )


def test_a_patch_of_very_many_binary_headers_takes_a_moment() -> None:
    start = time.thread_time()
    without_binary(b"GIT binary patch\nliteral 1\n" * 20_000)
    assert time.thread_time() - start < 3

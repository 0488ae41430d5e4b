"""The report as Markdown, and as the terminal's last words."""

from __future__ import annotations

import io
import re

import pytest

from flue_ci import closing
from flue_ci.render import fenced, markdown
from flue_ci.report import Changes, Failure
from tests.support.reports import FAILED, FULL, PATCH, report


def test_everything_that_matters_is_there() -> None:
    text = markdown(FULL, PATCH)
    for words in (
        "### ✅ fix-tests: 2 files changed, 1 check passed · 31s",
        "> only the parser, please",
        "| `src/parser.py` | +2 | −1 |",
        "`old.png` → `new name\\|with pipe.png` (binary)",
        "| ✅ tests | `pytest -q` | 0 | 1.2s |",
        '"root_cause": "no default"',
        "<summary><code>src/parser.py</code></summary>",
        "claude-sonnet-5-5 · 5 turns · 41.9K tokens (31.0K cached, 900 out) · $0.040",
        "network setup: open · agent: none · secrets inside: NPM_TOKEN",
        "base main@3f786850e + uncommitted work",
    ):
        assert words in text


def test_a_failure_shows_stage_hint_and_the_failing_output() -> None:
    text = markdown(FAILED, PATCH)
    assert "**Failed at checks.** it went wrong\n\nlook at it" in text
    assert "| ❌ tests | `pytest -q` | 1 |" in text
    assert "<summary>Output of tests, failed with exit code 1</summary>" in text


@pytest.mark.parametrize("text", ["plain", "``` inside", "~~~ and ````` inside", "`"])
def test_a_fence_is_longer_than_any_inside(text: str) -> None:
    first, *_, last = fenced(text, "diff").splitlines()
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
    closing.show(FAILED, PATCH, None, diff=True, out=out, redact=lambda text: text.replace("parser", "***"))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "❌ fix-tests: check `tests` failed with exit code 1 (31s)" in text
    assert "failed at checks: it went wrong" in text
    assert "✗ tests: pytest -q · exit code 1 · 1.0s" in text
    assert "      E  assert 1 == 2" in text
    assert "2 files changed, +2 −1" in text
    assert "parser" not in text


def test_terminal_sequences_of_the_model_do_not_reach_the_terminal() -> None:
    out = io.StringIO()
    closing.show(report(summary="a\x1b[2Jb\x07"), b"+\x1b]0;x\x07y\n", None, diff=True, out=out)
    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()

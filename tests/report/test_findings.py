"""Findings as people see them: hostile words do nothing, suggestions are to the letter, and a terminal lists places."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from flue_ci.core.proposals import Proposal, ReviewComment
from flue_ci.publish.findings import finding_marker, is_dismissal
from flue_ci.report.findings import count_findings, new_findings, suggestion_block, thread_comment
from flue_ci.report.markdown import markdown
from flue_ci.report.report import Published, Report, SandboxUsed
from flue_ci.safety.markdown import LinkPolicy
from flue_ci.terminal.result import print_result
from tests.support.github_comment import github_html, shown_text

REPORT = Report(conclusion="success", reason="done", exit_code=0, agent="review", sandbox=SandboxUsed(provider="e2b"))


def comment(**more: Any) -> ReviewComment:
    values: dict[str, Any] = {"path": "a b.py", "line": 3, "title": "It is wrong", "category": "data"}
    return ReviewComment(**(values | more))


def report(*proposals: Proposal, **more: Any) -> Report:
    return replace(REPORT, proposals=proposals, **more)


@pytest.mark.parametrize(
    "words",
    [
        "<!-- flue-ci finding agent=review severity=low category=data -->",
        "**x** @mona #1 <img src=x> [a](https://evil.example/) ![b](https://evil.example/)",
        "```\nno end",
        "<details><summary>s\n\n# Big",
        "`` ` ``\n| a | b |",
        "x\u202e\u200b",
    ],
)
def test_hostile_words_do_nothing_and_end_in_their_comment(words: str) -> None:
    text = thread_comment(comment(title=words, body=words, category=words), LinkPolicy())
    assert text.endswith("it is not raised again.</sub>")
    page = github_html(text)
    assert "<img" not in page
    assert "<h1>" not in page
    assert "evil.example/)" not in page.replace("<code>", "")
    assert "@mona" not in shown_text(text).replace("`@mona`", "") or "<code>@mona</code>" in page
    assert page.rstrip().endswith("it is not raised again.</sub></p>")
    assert not any(line.startswith("<!--") for line in text.splitlines() if "flue-ci" in line)


def test_a_marker_takes_nothing_that_could_end_it() -> None:
    marker = finding_marker("review", comment(category="x -->", fingerprint="--> @mona"))
    assert marker == "<!-- flue-ci finding agent=review severity=medium category=x -->"
    assert finding_marker("review", comment(fingerprint="aaaaaa:bbbbbb.cccccc")).endswith(
        " code=aaaaaa:bbbbbb.cccccc -->"
    )


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("\tx = 1", "```suggestion\n\tx = 1\n```"),
        ("a\r\nb", "```suggestion\na\nb\n```"),
        ("", "```suggestion\n```"),
        ("```py\nx\n```", "````suggestion\n```py\nx\n```\n````"),
        ("\n  \n", "```suggestion\n\n  \n\n```"),
        ("x\u202ey", "```\nxy\n```"),
    ],
)
def test_a_suggestion_is_to_the_letter_in_a_fence_that_it_cannot_end(text: str, block: str) -> None:
    assert suggestion_block(text) == block


def test_findings_are_counted_and_the_gravest_come_first() -> None:
    low, high, again = comment(severity="low"), comment(severity="high"), comment(finding="F7")
    rejected = comment(accepted=False)
    findings = new_findings(report(low, again, high, rejected, comment(severity="low", finding="new")))
    assert [each.severity for each in findings] == ["high", "low", "low"]
    assert count_findings(findings) == "3 findings (1 high, 2 low)"
    assert (count_findings([]), count_findings([low], "new finding")) == ("no finding", "1 new finding (low)")


def test_a_review_that_is_nowhere_else_is_in_the_report() -> None:
    finding = comment(severity="critical", body="Because.\n\n```\nx\n```")
    text = markdown(report(finding))
    assert "#### 1 finding (critical)\n\n- 🔴 `a b.py:3` **It is wrong**\n\n  Because.\n\n  ```\n  x\n  ```" in text
    done = Published(publisher="review", detail="1 new finding (critical)")
    assert "It is wrong" not in markdown(report(finding, published=(done,)))
    assert "It is wrong" in markdown(report(finding, published=(replace(done, state="refused"),)))


def test_a_terminal_lists_places_as_compilers_do() -> None:
    out = StringIO()
    print_result(report(comment(severity="low"), comment(severity="high", title="x\n\x1b[31m")), b"", None, out=out)
    assert "  a b.py:3: x [high]\n  a b.py:3: It is wrong [low]\n" in out.getvalue()
    assert out.getvalue().count("It is wrong") == 1


@pytest.mark.parametrize(
    "words", ["Won't fix", "won’t-fix!", "WONTFIX", "**wont fix**", "We will not fix this", "@bot won't fix"]
)
def test_words_that_dismiss(words: str) -> None:
    assert is_dismissal(words)


def test_words_that_dismiss_may_follow_a_command() -> None:
    assert is_dismissal("/flue review won't fix", "review")
    assert not is_dismissal("/flue it won't fix anything", "review")


@pytest.mark.parametrize("words", ["", "I won", "This is fixed", "> wontfix", "It won't fix the rest", "wontfixture"])
def test_words_that_do_not(words: str) -> None:
    assert not is_dismissal(words)

"""Findings as the tool takes them: places of the diff, suggestions that can be applied, and what the model is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flue_ci.core.proposals import FindingOutcome, ReviewComment
from flue_ci.core.review_scope import DiffFile, EarlierFinding, Hunk, ReviewScope, fingerprint, match_findings
from tests.publish.reviewing import call_tools, finding

TEXT = [f"    line_{number} = {number}\r\n" for number in range(1, 101)]
FILE = DiffFile(
    path="app.py",
    old_path="old.py",
    hunks=(Hunk((10, 17), (10, 18)), Hunk((40, 46), (41, 41))),
    old_lines=TEXT,
    new_lines=TEXT,
)
SCOPE = ReviewScope(
    base="a" * 40,
    head="b" * 40,
    files={"app.py": FILE},
    findings=(
        EarlierFinding(id="F7", thread="T7", path="app.py"),
        EarlierFinding(id="F8", thread="T8", path="app.py", state="closed"),
    ),
)


async def comments(*calls: dict[str, Any], scope: ReviewScope = SCOPE) -> tuple[list[ReviewComment], list[str]]:
    proposals, answers = await call_tools(scope, calls)
    return [each for each in proposals if isinstance(each, ReviewComment)], answers


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (finding(18), "Line 18 of the new file is not part of the diff; the nearest line that is: 17"),
        (finding(9), "the nearest line that is: 10 (the diff shows 10-17)"),
        (finding(1), "nearest line that is: 10"),
        (finding(0), "Lines count from 1"),
        (finding(10**16), "Lines count from 1"),
        (finding(12, start_line=-3), "Lines count from 1"),
        (finding(30, side="LEFT"), "of the old file is not part of the diff; the nearest line that is: 40"),
        (finding(12, start_line=5), "Begin at line 10"),
        (finding(45, side="LEFT", start_line=12), "are not in one hunk"),
        (finding(12, start_line=13), "`start_line` is not behind `line`"),
        (finding(1, path="apq.py"), "apq.py is not part of the diff, so it can have no comment. Did you mean app.py?"),
        (finding(41, path="old.py", side="LEFT"), "old.py is app.py now"),
        (finding(12, severity="fatal"), "`severity` is one of critical, high, medium, low"),
        (finding(12, side="BOTH"), "`side` is one of"),
        (finding(12, title=" "), "title is empty"),
        (finding(12, finding="F9"), "There is no earlier finding 'F9'. There are: F7."),
        (finding(12, suggestion="    line_12 = 12"), "what stands there already"),
        (finding(12, side="LEFT", suggestion="x"), "use side RIGHT"),
        (finding(12, suggestion="x = '\u202e'"), "characters that nobody sees"),
    ],
)
async def test_what_is_wrong_is_said_with_what_is_right(call: dict[str, Any], words: str) -> None:
    proposals, (answer,) = await comments(call)
    assert words in answer
    assert all(not each.accepted and each.reason for each in proposals)


@pytest.mark.parametrize("path", ["app.py", "./app.py", "/home/user/tools/app.py"])
async def test_a_place_of_the_diff_is_taken_as_it_is(path: str) -> None:
    (comment,), answers = await comments(finding(17, path=path, start_line=17, suggestion="a\r\nb\n"))
    assert answers == ["Noted."]
    assert (comment.path, comment.line, comment.start_line, comment.suggestion) == ("app.py", 17, None, "a\nb")


@pytest.mark.parametrize(
    ("call", "line", "start", "in_summary"),
    [
        (finding(20), 17, None, False),
        (finding(20, start_line=19), 17, None, False),
        (finding(14, start_line=2), 14, 10, False),
        (finding(90), 90, None, True),
        (finding(42, side="LEFT", start_line=3), 42, 40, False),
    ],
)
async def test_a_place_that_is_given_again_is_moved_or_goes_into_the_summary(
    call: dict[str, Any], line: int, start: int | None, in_summary: bool
) -> None:
    (refused, comment), (_, answer) = await comments(call, call)
    assert not refused.accepted
    assert comment.accepted
    assert (comment.line, comment.start_line, comment.in_summary) == (line, start, in_summary)
    assert answer.startswith("Noted")


@pytest.mark.parametrize(
    ("category", "name"), [("Data Race", "data-race"), ("", "other"), ("--> é", "other"), ("x" * 80, "x" * 40)]
)
async def test_a_category_is_any_word(category: str, name: str) -> None:
    (comment,), _ = await comments(finding(12, category=category))
    assert comment.category == name


async def test_the_same_words_twice_are_one_and_there_is_a_most() -> None:
    proposals, answers = await comments(finding(12), finding(12, severity="low"))
    assert ([each.accepted for each in proposals], answers[1]) == ([True, False], "This finding is noted already.")
    proposals, answers = await comments(
        *(finding(12, title=f"Bug {number}") for number in range(31)), finding(12, finding="F7")
    )
    assert "30 new findings are the most" in answers[30]
    assert [each.accepted for each in proposals] == [*[True] * 30, False, True]


async def test_a_second_bug_on_the_line_of_a_dismissed_one_is_another() -> None:
    code = fingerprint(TEXT, 12, 12)
    dismissed = EarlierFinding(
        id="F7", thread="T", path="app.py", category="correctness", fingerprint=code, state="dismissed", by="ada"
    )
    scope = replace(SCOPE, findings=(dismissed,))
    proposals, answers = await comments(finding(12), finding(12, title="Another"), scope=scope)
    assert [(each.accepted, each.finding) for each in proposals] == [(False, "F7"), (True, "")]
    assert "ada dismissed this finding (F7)" in answers[0]
    proposals, _ = await comments(finding(12, finding="new"), scope=scope)
    assert [(each.accepted, each.finding) for each in proposals] == [(True, "new")]


async def test_a_finding_whose_thread_is_over_is_raised_again() -> None:
    (comment,), _ = await comments(finding(12, finding="F8"))
    assert (comment.accepted, comment.finding) == (True, "")


async def test_where_no_diff_is_known_every_place_counts() -> None:
    (comment,), _ = await comments(finding(9_999, path="any.py"), scope=ReviewScope())
    assert (comment.accepted, comment.in_summary) == (True, False)


@pytest.mark.parametrize(("identity", "outcome"), [("F7", "gone"), ("F8", "fixed"), ("F9", "withdrawn")])
async def test_only_an_open_finding_can_be_closed(identity: str, outcome: str) -> None:
    proposals, _ = await call_tools(SCOPE, ({"finding": identity, "outcome": outcome, "explanation": "So."},))
    assert proposals == []
    proposals, _ = await call_tools(SCOPE, ({"finding": "F7", "outcome": "fixed", "explanation": " So. "},))
    assert proposals == [FindingOutcome(finding="F7", outcome="fixed", explanation="So.")]


def test_a_fingerprint_knows_the_code_and_what_encloses_it() -> None:
    lines = ["def a():\n", "    return 1\n", "\n", "def b():\n", "    return 1\n", "  }\n"]
    assert fingerprint(lines, 2, 2) == fingerprint(["x\n", "def  a():\r\n", "\treturn  1\r\n"], 3, 3)
    assert fingerprint(lines, 2, 2) != fingerprint(lines, 5, 5)
    assert [fingerprint(lines, start, line) for start, line in ((0, 1), (2, 1), (1, 7))] == ["", "", ""]


def test_each_finding_is_matched_once_and_the_nearest_first() -> None:
    code = fingerprint(TEXT, 5, 5)

    def earlier(number: int, line: int, **more: Any) -> EarlierFinding:
        values = {"path": "a", "category": "data", "fingerprint": code} | more
        return EarlierFinding(id=f"F{number}", thread="", line=line, **values)

    findings = [earlier(1, 50), earlier(2, 7), earlier(3, 7, category="tests"), earlier(4, 7, path="gone")]
    places = [("a", 8, "data", code), ("a", 9, "data", code), ("a", 9, "data", code), ("a", 8, "data", "")]
    matches = [match and match.id for match in match_findings(places, findings)]
    assert matches == ["F2", "F1", None, None]
    matches = [match and match.id for match in match_findings(places, findings, ["a"])]
    assert matches == ["F2", "F4", "F1", None]

"""The earlier answers stay below the newest one, the oldest give way first, and no text pretends to be one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flue_ci.publish.comment import (
    LONGEST_BODY,
    RunProgress,
    keep_answers,
    killed_run_comment,
    marker,
    progress_comment,
    report_comment,
)
from flue_ci.publish.earlier_answers import (
    MAX_ANSWERS,
    SIGN,
    EarlierAnswer,
    EarlierAnswers,
    add_earlier,
    remember,
    split_answers,
)
from flue_ci.report.report import Report
from tests.support.golden import FAILED_CHECK, PATCH, SERVER, SUCCESS, TRIGGER

RUNS = f"{SERVER}/ada/tools/actions/runs"


def run(number: int, summary: str = "", **values: object) -> Report:
    trigger = replace(TRIGGER, run_url=f"{RUNS}/{number}")
    request = {"instruction": f"request {number}", "reason": f"reason {number}"}
    return replace(
        SUCCESS, conclusion="partial", trigger=trigger, summary=summary or f"answer {number}", **request, **values
    )  # type: ignore[arg-type]


def post(*reports: Report, patch: bytes = PATCH) -> str:
    """The body after these runs, one after the other."""
    body = ""
    for report in reports:
        body = report_comment(report, patch, server_url=SERVER, previous=body)
    return body


def earlier(body: str) -> EarlierAnswers:
    return split_answers(body)[1]


def test_every_answer_is_kept_with_its_request_and_its_patch() -> None:
    body = post(run(1), replace(FAILED_CHECK, summary="a failure"), run(3))
    newest, kept = split_answers(body)
    assert newest == post(run(3)).strip()
    assert [re.sub(r".*: (.*) · (“.*”)", r"\1 \2", answer.title) for answer in kept.answers] == [
        "check `tests` failed with exit code 1 “only the parser, please”",
        "reason 1 “request 1”",
    ]
    assert kept.answers[1].text in post(run(1))
    assert "flue-ci-fix-tests-9-1" in kept.answers[1].text
    assert "+NUMBER = DIGITS" in kept.answers[1].text


def test_the_oldest_shrink_to_a_line_with_a_link_and_the_newest_never_does() -> None:
    long = "word " * 3_000
    body = post(*(run(number, long) for number in range(1, 8)))
    assert len(body) <= LONGEST_BODY
    newest, kept = split_answers(body)
    assert newest == post(run(7, long)).strip()
    assert [bool(answer.text) for answer in kept.answers] == [True, True, False, False, False, False]
    assert [re.findall(r"runs/(\d+)\)", answer.title) for answer in kept.answers[2:]] == [["4"], ["3"], ["2"], ["1"]]
    assert "6 earlier answers" in body


def test_an_answer_that_fills_the_comment_keeps_all_of_its_text() -> None:
    full = run(2, "word " * 12_700, checks=(), verification=None)
    assert len(post(full)) > LONGEST_BODY - 2_000
    body = post(run(1), full)
    assert split_answers(body)[0] == post(full).strip()
    assert len(body.encode("utf-16-le")) // 2 <= LONGEST_BODY


def test_of_very_many_the_oldest_are_only_counted() -> None:
    body = post(*(run(number) for number in range(1, MAX_ANSWERS + 5)))
    kept = earlier(body)
    assert kept.older + len(kept.answers) == MAX_ANSWERS + 3
    assert kept.older >= 3
    assert f"{MAX_ANSWERS + 3} earlier answers" in body


def test_a_run_at_work_is_no_answer_and_hides_none() -> None:
    first = post(run(1))
    working = keep_answers(progress_comment("fix-tests", RunProgress(), run(2).trigger or TRIGGER, "again"), first)
    assert working.startswith(f"{marker('fix-tests')}\n### ⏳")
    assert [answer.text for answer in earlier(working).answers] == [earlier(post(run(1), run(2))).answers[0].text]
    assert keep_answers("x", working) == add_earlier("x", earlier(working), LONGEST_BODY)
    killed = killed_run_comment(working, f"{RUNS}/2")
    assert killed.startswith(f"{marker('fix-tests')}\n### 🛑")
    assert earlier(killed) == earlier(working)
    assert killed_run_comment(working, f"{RUNS}/1") == ""  # the link of an earlier answer is not the run's own
    assert len(earlier(post(run(1), run(2))).answers) == 1


FORGED = [
    f"</details>{SIGN}",
    f"<details><summary>{SIGN}{SIGN}9 earlier answers</summary>",
    f"<details><summary>{SIGN}\n\n#### forged\n\n</summary>\n\nx\n\n</details>{SIGN}",
    f"- {SIGN}forged",
    f"- {SIGN}{SIGN}99 older",
    f"```\n</details>{SIGN}\n```\n\n<details><summary>{SIGN}",
    f"@ada{SIGN}@bob </details></details></details> <summary>",
]


@pytest.mark.parametrize("text", FORGED)
def test_no_text_can_pretend_to_be_an_earlier_answer(text: str) -> None:
    hostile = run(2, f"before\n\n{text}\n\nafter", notes=(text,), model=text)
    body = post(run(1), hostile, run(3), patch=PATCH + f"+{text}\n".encode())
    kept = earlier(body)
    assert kept.older == 0
    assert [re.findall(r"reason (\d)", answer.title) for answer in kept.answers] == [["2"], ["1"]]
    assert kept.answers[0].text.count("after") == 1
    assert not any("forged" in answer.title for answer in kept.answers)


PIECES = ["a", "`", "<details>", "</details>", SIGN, "\n", "- ", "> ", "#", "\r\n", "😀"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), st.integers(0, 900))
def test_what_was_written_is_read_again(answers: list[tuple[str, str]], limit: int) -> None:
    known = EarlierAnswers()
    for title, text in answers:
        known = remember(f"### {title} {text}".replace(SIGN, "").replace("\r", "").strip(), known)
    body = add_earlier("newest", known, limit)
    assert body == "newest" or len(body.encode("utf-16-le")) // 2 <= limit
    newest, read = split_answers(body)
    assert newest == "newest"
    if body == add_earlier("newest", known, 10**9):
        assert read == known
    elif body != "newest":
        assert read.older + len(read.answers) == len(known.answers)


def test_each_answer_is_a_fold_of_its_own() -> None:
    body = post(run(1), run(2), run(3))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert html.count("<details>") == html.count("</details>")
    outer, first, second = re.findall(rf"<details><summary>{SIGN}+", html)
    assert (len(outer) - len(first), first) == (1, second)
    assert re.search(rf"<summary>{SIGN}\n<h4>.*reason 2 .*</h4>\n</summary>", html)


def test_one_answer_is_an_entry_even_without_a_heading() -> None:
    assert remember("words", EarlierAnswers()).answers == (EarlierAnswer("words", "_Nothing more._"),)

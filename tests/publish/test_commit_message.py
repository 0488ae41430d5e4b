"""Messages of commits: nothing that an agent wrote acts on GitHub, and only our trailers are trailers."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.proposals import ChangeDescription
from flue_ci.publish.commit_message import commit_message, describe_change, run_of
from flue_ci.safety.active_text import active_spans
from tests.support.reports import report as make_report

RUN = "https://github.com/ada/tools/actions/runs/7"
TRAILERS = f"Flue-Run: {RUN}\nCo-authored-by: mona <1003+mona@users.noreply.github.com>"


def message(title: str, body: str = "") -> str:
    return commit_message(title, body, run=RUN, author="mona", author_id=1003)


def test_a_plain_message_stays_as_it_is() -> None:
    body = "The parser stopped at `a:b`.\n\n- one\n- two: with a colon\n\nNote: größer als vorher, 20% [see below]."
    body += "\npre-commit: new hooks"
    assert message("Read the last line too", body) == f"Read the last line too\n\n{body}\n\n{TRAILERS}"


@pytest.mark.parametrize(
    ("words", "clean"),
    [
        ("Fix it, fixes #12", "Fix it, fixes 12"),
        ("Closes ada/tools#3 and GH-4", "Closes ada/tools 3 and 4"),
        ("resolves https://github.com/ada/tools/issues/1", "resolves github.com/ada/tools/issues/1"),
        ("Thanks @ada and @org/team", "Thanks ada and org/team"),
        ("x [skip ci]", "x (skip ci)"),
        ("x [CI SKIP] [no ci] [skip actions] [actions skip]", "x (CI SKIP) (no ci) (skip actions) (actions skip)"),
        ("x [ci-skip] [skip-ci] [skip netlify] [azurepipelines skip]", None),
        ("x [skip_ci] [no-build]", "x (skip_ci) (no-build)"),
        ("x [skipper] [noci]", "x [skipper] (noci)"),
        ("x ***NO_CI***", "x NO CI"),
        ("x [sk\u200bip ci]", "x (skip ci)"),
        ("x [[skip ci]]", "x ((skip ci))"),
        ("fixup! squash! Repair it", "Repair it"),
        ("Co-authored-by: eve <eve@example.com>", "Co-authored-by eve <eve@example.com>"),
        ("a\nb\r\nc", "a b c"),
        ("", "Changes of an agent"),
        ("\u202e \u200b", "Changes of an agent"),
    ],
)
def test_what_acts_in_a_title_is_plain_text(words: str, clean: str | None) -> None:
    title = message(words).split("\n")[0]
    assert not re.search(r"\[[^\]]*(?:skip|no.ci)(?![a-z])", title, re.IGNORECASE)
    assert clean is None or title == clean
    assert message("T", words).count("\n\n") in (1, 2)
    assert not list(active_spans(title.replace("eve@example.com", "")))


@pytest.mark.parametrize(
    "line",
    [
        "Co-authored-by: eve <eve@example.com>",
        "co-Authored-By : eve <1+eve@users.noreply.github.com>",
        "Signed-off-by: Linus <l@example.com>",
        "Flue-Run: https://github.com/ada/tools/actions/runs/1",
        "skip-checks: true",
        "  skip-checks: true",
        "> Flue-Run: 1\n  goes on",
        "Reviewed-by: Linus",
        "On-behalf-of: @org <a@example.com>",
        "Change-Id: I1",
        "Release-As: 9.0.0",
    ],
)
@pytest.mark.parametrize("place", ["{}", "Because.\n\n{}", "{}\n\nBecause.", "Because.\n{}\nMore."])
def test_an_agent_writes_no_trailers(line: str, place: str) -> None:
    text = message("Title", place.format(line))
    command = ["git", "interpret-trailers", "--parse"]
    parsed = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    assert parsed.strip() == TRAILERS
    assert line.partition(":")[0].strip() + ":" not in text.removesuffix(TRAILERS)
    assert run_of(text) == RUN


@given(st.text(alphabet="aB1 @#\n[]:-*fixes/skipcigh.＠\u200b\t", max_size=60), st.text(max_size=60))
def test_nothing_in_any_message_acts(title: str, body: str) -> None:
    text = message(title, body + title)
    assert text.endswith(f"\n\n{TRAILERS}")
    words = text.removesuffix(TRAILERS)
    assert not [kind for _, _, kind in active_spans(words)]
    assert not re.search(r"\[[^\[\]\n]*\bskip\b[^\[\]\n]*\]", words, re.IGNORECASE)
    first, *rest = words.split("\n")
    assert 0 < len(first) <= 72
    assert rest[0] == ""


def test_the_length_is_bounded_and_the_host_named() -> None:
    text = commit_message("word " * 100, "line\n" * 10_000, run=RUN, author="a", author_id=1, host="git.example.com")
    assert len(text) < 5_400
    assert text.endswith("a <1+a@users.noreply.git.example.com>")
    for author, number in (("dependabot[bot]", 1), ("", 1), ("a b", 1), ("mona", 0), ("x\ny", 1)):
        assert "Co-authored-by" not in commit_message("T", "", run=RUN, author=author, author_id=number)


def test_a_trailer_counts_in_the_last_paragraph_only() -> None:
    assert run_of(f"T\n\nFlue-Run: {RUN}") == RUN
    for text in ("Flue-Run: 1", "T\n\nFlue-Run: 1\n\nmore", "T\n\nx Flue-Run: 1", "", "T"):
        assert run_of(text) == ""


def test_the_last_proposal_is_the_message_and_else_the_answer() -> None:
    report = make_report(summary="All done.\n\nThe parser reads the last line. It did not.")
    assert describe_change(report) == ("The parser reads the last line", "")
    assert describe_change(make_report(agent="fix-tests", summary="")) == ("Changes of fix-tests", "")
    proposals = (
        ChangeDescription(title="First"),
        ChangeDescription(title="Second", body="Why."),
        ChangeDescription(title="Third", accepted=False),
    )
    assert describe_change(make_report(proposals=proposals)) == ("Second", "Why.")

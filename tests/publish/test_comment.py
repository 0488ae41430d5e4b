"""Every comment fits, is whole, and is found again; the golden files show what people see."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flue_ci.core.changes import ChangedFile
from flue_ci.publish.comment import LONGEST_BODY, LONGEST_SUMMARY, is_ours, marker, report_comment, summary_page
from flue_ci.report.report import Changes, CommandResult, Failure, Report, Verification
from tests.support.golden import FOLDER, NASTY, PATCH, SERVER, SUCCESS, comments

NAMES = sorted(path.stem for path in FOLDER.glob("*.md"))


def test_each_kind_of_comment_has_a_golden_file() -> None:
    assert sorted(comments()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_comment_looks_as_the_golden_file_shows(name: str) -> None:
    golden = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert f"{comments()[name]}\n" == golden, "look at it, then: python -m tests.support.golden"


def assert_whole(body: str, agent: str = "fix-tests") -> None:
    assert len(body) <= LONGEST_BODY
    assert len(body.encode("utf-16-le")) // 2 <= LONGEST_BODY
    assert body.startswith(marker(agent) + "\n")
    assert body.count("<!-- flue-ci") == 1
    assert "\n<sub>" in body
    outside = []
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    for token in tokens:
        if token.type == "html_block":
            outside.append(token.content)
        outside += [child.content for child in token.children or () if child.type == "html_inline"]
    html = "".join(outside)
    assert html.count("<details>") == html.count("</details>")
    assert html.count("<!--") == 1, html
    assert set(re.findall(r"</?([a-z]+)", html)) <= {"details", "summary", "code", "sub"}
    assert [token.type for token in tokens if token.content.startswith("<sub>")] or html.rstrip().endswith("</sub>")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("help", "unknown") and not name.startswith("working")]
)
def test_a_comment_is_whole(name: str) -> None:
    assert_whole(comments()[name])


TEXTS = st.sampled_from(
    [NASTY, "", "ok", "`" * 50, "<details>" * 9, "😀" * 9_000, "x" * 70_000, "| a |\n" * 500, "~~~\n" * 9]
)
RESULTS = st.builds(CommandResult, name=TEXTS, command=TEXTS, exit_code=st.just(1), output=TEXTS)
FILES = st.builds(ChangedFile, path=TEXTS, kind=st.just("modified"), added=st.just(1))


VERIFICATIONS = st.builds(
    Verification,
    where=st.sampled_from(["fresh", "same"]),
    ready=st.booleans(),
    root=st.booleans(),
    setup=st.lists(RESULTS, max_size=2).map(tuple),
    beside=st.lists(TEXTS, max_size=21).map(tuple),
)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    files = draw(st.lists(FILES, max_size=4)) * draw(st.sampled_from([1, 300]))
    return replace(
        SUCCESS,
        conclusion=draw(st.sampled_from(["success", "failed", "cancelled", "partial"])),
        reason=draw(TEXTS),
        instruction=draw(TEXTS),
        summary=draw(TEXTS),
        result=draw(st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2)),
        checks=tuple(draw(st.lists(RESULTS, max_size=3)) * draw(st.sampled_from([1, 100]))),
        notes=tuple(draw(st.lists(TEXTS, max_size=3))),
        changes=Changes(files=tuple(files), added=1, patch="changes.patch", refused=draw(st.none() | TEXTS)),
        failure=draw(st.none() | st.builds(Failure, stage=TEXTS, message=TEXTS, hint=TEXTS)),
        model=draw(TEXTS),
        verification=draw(st.none() | VERIFICATIONS),
    )


@settings(max_examples=settings().max_examples // 30)  # each is up to a megabyte, read once more by a Markdown parser
@given(
    report=reports(), patch=st.sampled_from([b"", PATCH, PATCH * 2_000, PATCH + NASTY.encode()]), previous=st.booleans()
)
def test_whatever_is_reported_the_comment_is_whole(report: Report, patch: bytes, previous: bool) -> None:
    body = report_comment(report, patch, server_url=SERVER, previous=comments()["success"] if previous else "")
    assert_whole(body)
    assert len(summary_page(report, patch, server_url=SERVER).encode()) <= LONGEST_SUMMARY


def test_what_is_left_out_is_said() -> None:
    assert "_Left out here, for want of room:_ the diffs of `src/part5.py`" in comments()["huge"]


def test_a_patch_that_would_be_another_one_here_is_not_shown_to_be_copied() -> None:
    whole = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+<!-- flue-ci agent=x -->\n"
    assert "END_OF_PATCH" in report_comment(SUCCESS, whole.replace(b"flue-ci", b"else"), server_url=SERVER)
    assert "END_OF_PATCH" not in report_comment(SUCCESS, whole, server_url=SERVER)


def test_only_a_first_line_is_a_marker() -> None:
    assert is_ours("<!-- flue-ci agent=fix-tests -->\r\nx", "fix-tests")
    assert not is_ours("x\n<!-- flue-ci agent=fix-tests -->", "fix-tests")
    assert not is_ours("<!-- flue-ci agent=fix-tests -->", "fix")
    with pytest.raises(ValueError, match="no agent's name"):
        marker("a --> b")

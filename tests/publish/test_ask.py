"""The box in the comment: where it stands, when there is one, and that nobody else can make one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from flue_ci.gate.push_box import find_tick, replace_boxes
from flue_ci.publish.ask import AskPublisher, box_of, outcome_line, without_boxes
from flue_ci.publish.comment import (
    LONGEST_BODY,
    RunProgress,
    keep_answers,
    progress_comment,
    report_comment,
    revised_comment,
    summary_page,
)
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.markdown import markdown
from flue_ci.report.report import Artifact, Published, Publishing, Report, Trigger
from tests.support.github_comment import github_html
from tests.support.reports import FULL, PATCH

URL = "https://github.com/ada/tools/actions/runs/7"
TRIGGER = Trigger(event="issue_comment.created", repo="ada/tools", number=3, head_sha="a" * 40, run_url=URL)
PULL = replace(TRIGGER, is_pull_request=True)
WAITING = Published(publisher="commit", state="waiting", detail="waits for somebody who ticks the box in the comment")
REPORT = replace(
    FULL,
    trigger=replace(TRIGGER, workflow="flue.yml"),
    published=(WAITING,),
    publish=Publishing(changes="commit", when="ask", roles=("admin", "write")),
    artifact=Artifact(name="flue-ci-fix-tests-7-1", digest="b" * 64, days=30),
)


def body_of(report: Report, patch: bytes = PATCH, previous: str = "") -> str:
    return report_comment(report, patch, server_url="https://github.com", previous=previous)


def tick(body: str) -> str:
    return body.replace("- [ ] <!-- flue-ci push", "- [x] <!-- flue-ci push")


def test_the_box_names_what_was_saved_and_stands_above_the_way_to_take_it() -> None:
    body = body_of(REPORT)
    box = find_tick(body, tick(body))
    assert box
    assert (box.agent, box.workflow, box.run, box.attempt, box.head) == ("fix-tests", "flue.yml", 7, 1, "a" * 40)
    assert (box.artifact, box.patch) == ("b" * 64, hashlib.sha256(PATCH).hexdigest())
    assert body.index("**Push this change**") < body.index("**Take the changes**")
    assert "for people with the role admin or write" in body
    assert "waits for" not in body
    assert "<li>" in github_html(body)


def test_only_the_comment_has_a_box() -> None:
    for text in (markdown(REPORT, PATCH), summary_page(REPORT, PATCH, server_url="https://github.com")):
        assert "flue-ci push" not in text
        assert "waits for somebody" in text


TRIGGERS: dict[str, Any] = {
    "in_thread": 5,
    "workflow": "",
    "run_url": "https://github.com/ada/tools/actions/runs/x",
    "head_sha": "main",
}


@pytest.mark.parametrize(("name", "value"), TRIGGERS.items())
def test_there_is_no_box_without_what_it_has_to_name(name: str, value: Any) -> None:
    assert REPORT.trigger
    assert box_of(replace(REPORT, trigger=replace(REPORT.trigger, **{name: value})), PATCH) == ""


def test_there_is_no_box_before_the_upload_nor_for_what_does_not_wait() -> None:
    assert box_of(replace(REPORT, artifact=replace(REPORT.artifact, digest="")), PATCH) == ""
    assert box_of(replace(REPORT, artifact=replace(REPORT.artifact, digest="x")), PATCH) == ""
    assert box_of(replace(REPORT, published=(replace(WAITING, state="done"),)), PATCH) == ""
    assert box_of(replace(REPORT, trigger=None), PATCH) == ""
    failure = without_boxes(REPORT, "the upload failed")
    assert box_of(failure, PATCH) == ""
    assert failure.published[0].detail == "no box is offered: the upload failed"


def test_no_text_of_an_agent_or_a_command_makes_a_box() -> None:
    body = body_of(REPORT)
    (line,) = [line for line in body.split("\n") if "flue-ci push" in line]
    forged = line.replace("run=7", "run=8")
    check = replace(FULL.checks[0], exit_code=1, output=f"x\n{forged}\n")
    text = f"{forged}\n\n```\n{forged}\n```\n<details>\n\n{forged}\n"
    for report in (
        replace(REPORT, summary=text, checks=(check,), notes=(forged,), instruction=forged),
        replace(REPORT, summary=text, checks=(check,), published=()),
    ):
        body = body_of(report, PATCH.replace(b"# ```", b"x\n+" + forged.encode()))
        assert body.count("<!-- flue-ci push") <= bool(report.published)
        box = find_tick(body, tick(body))
        assert (box.run if box else 0) == (7 if report.published else 0)


def test_a_box_stays_where_there_is_hardly_room() -> None:
    body = body_of(replace(REPORT, summary="word " * 60_000))
    assert len(body) <= LONGEST_BODY
    assert find_tick(body, tick(body))


def test_a_box_ends_when_another_run_begins_and_with_another_answer() -> None:
    body = body_of(REPORT)
    again = body_of(replace(REPORT, published=(), summary="Another."), previous=body)
    assert "earlier answer" in again
    assert "flue-ci push" not in again
    progress = progress_comment("fix-tests", RunProgress(), TRIGGER, "")
    assert "flue-ci push" not in keep_answers(progress, body)
    newer = body_of(REPORT, previous=tick(body))
    box = find_tick(newer, tick(newer))
    assert box and newer.count("<!-- flue-ci push") == 1


def test_the_box_comes_with_the_artifact() -> None:
    before = body_of(replace(REPORT, artifact=replace(REPORT.artifact, digest="")))
    assert "waits for somebody" in before
    after = revised_comment(before, REPORT, PATCH, server_url="https://github.com")
    assert find_tick(after, tick(after))


def test_what_became_of_it_stands_in_the_place_of_the_box() -> None:
    done = replace(WAITING, state="done", url="https://github.com/a/b/commit/1", commit="abc123def456", detail="Done.")
    line = outcome_line(done, "mona", "/flue fix-tests")
    assert line.startswith("✅ [**commit**](https://github.com/a/b/commit/1) · `abc123def` · Done.")
    refused = outcome_line(replace(WAITING, state="refused", detail="Not pushed: @ada <b>"), "mona", "/flue fix-tests")
    assert refused.endswith(" · ticked by `mona` · for a fresh run write `/flue fix-tests`")
    assert "<b>" not in refused
    body = replace_boxes(tick(body_of(REPORT)), line)
    assert f"\n\n{line}\n\n**Take the changes**" in body
    assert find_tick(body, tick(body)) is None


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another branch": ({}, {"ask_refusal": "GitHub ran this elsewhere"}, "elsewhere"),
    "no artifact": ({"artifact": Artifact(missing="the input `artifact` is false")}, {}, "is false"),
    "a local run": ({"artifact": Artifact()}, {}, "no artifact"),
    "an issue": ({"trigger": replace(TRIGGER, is_pull_request=False)}, {}, "no pull request with a branch"),
    "a fork": ({"trigger": replace(TRIGGER, is_pull_request=True, from_fork=True)}, {}, "from a fork"),
    "a fork's own pull request": (
        {"trigger": replace(TRIGGER, is_pull_request=True, from_fork=True)},
        {"publishing": replace(REPORT.publish, changes="pull-request")},
        "a fork's pull request",
    ),
    "a pull request of the default branch": (
        {"trigger": PULL},
        {"branch": ""},
        "nothing is pushed to a default branch",
    ),
    "a failed check": (
        {"trigger": PULL, "checks": (replace(FULL.checks[0], exit_code=1),)},
        {},
        "the check tests was not run or did not pass",
    ),
    "not a clean sandbox": (
        {"trigger": PULL, "verification": None},
        {},
        "they count",
    ),
}


@pytest.mark.parametrize(("parts", "place", "words"), REFUSALS.values(), ids=REFUSALS)
async def test_what_could_not_be_pushed_gets_no_box(parts: dict[str, Any], place: dict[str, Any], words: str) -> None:
    target = PublishTarget(publishing=REPORT.publish, notify=print, show_error=print, patch=PATCH, branch="topic")
    entry = await AskPublisher().publish(replace(REPORT, **parts), PATCH, replace(target, **place))
    assert entry.state == "refused"
    assert entry.detail.startswith("no box is offered: ")
    assert words in entry.detail


async def test_suggestions_of_a_fork_get_a_box_without_a_commit_to_push_them_on() -> None:
    report = replace(REPORT, trigger=replace(PULL, from_fork=True), publish=replace(REPORT.publish, changes="suggest"))
    target = PublishTarget(publishing=report.publish, notify=print, show_error=print, patch=PATCH)
    assert (await AskPublisher().publish(report, PATCH, target)).state == "waiting"
    failure = replace(report, checks=(replace(FULL.checks[0], exit_code=1),))
    assert (await AskPublisher().publish(failure, PATCH, target)).state == "refused"

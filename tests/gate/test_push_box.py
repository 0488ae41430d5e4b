"""The one edit of a comment that counts: a person ticks our box, and changes nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.gate.event import Event, parse_event
from flue_ci.gate.policy import Allow, GateSettings, Skip, decide
from flue_ci.gate.preflight import decide_outputs
from flue_ci.gate.push_box import PushBox, box_line, find_tick, is_same_text, replace_boxes
from tests.support.github_server import BOT, GitHubServer

BOX = PushBox(
    agent="fix-tests", workflow="flue.yml", run=7, attempt=1, head="a" * 40, artifact="b" * 64, patch="c" * 64
)
LINE = box_line(BOX, "**Push this change** to `topic`")
BODY = (
    f"<!-- flue-ci agent=fix-tests -->\n### ✅ Done\n\n- [ ] an item of the agent's\n\n{LINE}\n\n**Take the changes**\n"
)
TICKED = BODY.replace("- [ ] <!--", "- [x] <!--")
SETTINGS = GateSettings(workflow="flue.yml")


def test_a_tick_names_the_saved_run() -> None:
    assert find_tick(BODY, TICKED) == BOX
    assert find_tick(BODY.replace("\n", "\r\n"), TICKED) == BOX
    assert find_tick(BODY, TICKED.replace("\n", "\r\n").rstrip()) == BOX


OTHER_LINE = LINE.replace("run=7", "run=8")
EDITS = {
    "nothing": (BODY, BODY),
    "unticked": (TICKED, BODY),
    "more text": (BODY, f"{TICKED}\nmore"),
    "text before": (BODY, f"x{TICKED}"),
    "another sign": (BODY, BODY.replace("- [ ] <!--", "- [X] <!--")),
    "another item too": (BODY, TICKED.replace("- [ ] an", "- [x] an")),
    "another item only": (BODY, BODY.replace("- [ ] an", "- [x] an")),
    "other words": (BODY, TICKED.replace("`topic`", "`main`")),
    "another run": (BODY, TICKED.replace("run=7", "run=8")),
    "two boxes": (f"{BODY}\n{OTHER_LINE}", f"{TICKED}\n{OTHER_LINE}"),
    "two boxes, one ticked": (f"{BODY}\n{OTHER_LINE.replace('[ ]', '[x]')}", f"{TICKED}\n{OTHER_LINE}"),
    "no marker": (BODY.replace("agent=fix-tests", "help"), TICKED.replace("agent=fix-tests", "help")),
    "a thread's marker": (BODY.replace("tests -->", "tests to=5 -->"), TICKED.replace("tests -->", "tests to=5 -->")),
    "marker not first": (f"\n{BODY}", f"\n{TICKED}"),
    "quoted": (BODY.replace("- [ ] <!--", "> - [ ] <!--"), TICKED.replace("- [x] <!--", "> - [x] <!--")),
    "indented": (BODY.replace("- [ ] <!--", " - [ ] <!--"), TICKED.replace("- [x] <!--", " - [x] <!--")),
    "short digest": (BODY.replace("b" * 64, "b" * 63), TICKED.replace("b" * 64, "b" * 63)),
    "no text before": ("", TICKED),
    "deleted": (BODY, ""),
}


@pytest.mark.parametrize(("before", "after"), EDITS.values(), ids=EDITS)
def test_any_other_edit_is_none(before: str, after: str) -> None:
    assert find_tick(before, after) is None


@given(st.text("[ ]x- \r\n<>!ab", max_size=12), st.integers(0, len(BODY)), st.integers(0, 9))
def test_no_other_change_passes_for_a_tick(text: str, place: int, length: int) -> None:
    after = TICKED[:place] + text + TICKED[place + length :]
    if find_tick(BODY, after) is not None:
        assert is_same_text(after, TICKED)


@pytest.mark.parametrize("workflow", ["a b.yml", "", "x\n.yml", "-->.yml", "ü.yml", "a/b.yml"])
def test_a_name_that_cannot_stand_in_a_marker_gets_no_box(workflow: str) -> None:
    assert box_line(replace(BOX, workflow=workflow), "x") == ""


def test_words_with_a_line_break_get_no_box() -> None:
    assert box_line(BOX, "a\nb") == ""


def test_a_box_is_replaced_open_or_ticked() -> None:
    for body in (BODY, TICKED, TICKED.replace("\n", "\r\n")):
        text = replace_boxes(body, r"pushed \1")
        assert "\npushed \\1\n\n**Take" in text
        assert "flue-ci push" not in text
        assert "- [ ] an item" in text


def payload(**more: Any) -> dict[str, Any]:
    comment = {"id": 9, "body": TICKED, "user": {"id": 1, "login": "github-actions[bot]", "type": "Bot"}}
    event = {"action": "edited", "comment": comment, "changes": {"body": {"from": BODY}}, "issue": {"number": 3}}
    return event | {"sender": {"id": 2, "login": "ada", "type": "User"}, "repository": {"id": 42}} | more


def event(name: str = "issue_comment", **more: Any) -> Event:
    return parse_event(name, payload(**more), {"GITHUB_REPOSITORY": "ada/tools"})


def test_a_person_ticks_the_box_of_this_workflow() -> None:
    assert decide(event(), SETTINGS) == Allow(tick=BOX)
    assert decide(event(), replace(SETTINGS, agent="fix-tests")) == Allow(tick=BOX)


OURS = {"id": 1, "login": "github-actions[bot]", "type": "Bot"}
REFUSED: dict[str, Event] = {
    "our account": event(sender=OURS),
    "our account without a type": event(sender={"id": 1, "login": "me", "type": "User"}),
    "our login": event(sender={"id": 5, "login": "GitHub-Actions[bot]", "type": "User"}),
    "a bot": event(sender={"id": 2, "login": "renovate[bot]", "type": "Bot"}),
    "a bot that may ask": event(sender={"id": 2, "login": "friend[bot]", "type": "Bot"}),
    "no type": event(sender={"id": 2, "login": "ada"}),
    "nobody": event(sender=None),
    "created": event(action="created"),
    "deleted": event(action="deleted"),
    "no changes": event(changes={}),
    "odd changes": event(changes={"body": BODY}),
    "no comment": event(comment={"body": TICKED, "user": OURS}),
    "no author": event(comment={"id": 9, "body": TICKED, "user": None}),
    "a review comment": event("pull_request_review_comment"),
    "a review": event("pull_request_review", review={"id": 9, "body": TICKED, "user": OURS}),
    "a discussion": event("discussion_comment"),
}


@pytest.mark.parametrize("what", REFUSED.values(), ids=REFUSED)
def test_everything_else_is_ignored(what: Event) -> None:
    settings = replace(SETTINGS, allowed_bots=frozenset({"friend[bot]"}))
    decision = decide(what, settings)
    assert not (isinstance(decision, Allow) and decision.tick)
    assert isinstance(decision, Skip)


def test_another_workflow_or_agent_leaves_the_box_alone() -> None:
    assert isinstance(decide(event(), replace(SETTINGS, workflow="nightly.yml")), Skip)
    assert isinstance(decide(event(), replace(SETTINGS, agent="review")), Skip)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as github:
        github.repo("ada/tools", {".flue/agents/fix-tests.yml": "version: 1\n"})
        yield github


def outputs(github: GitHubServer, who: str, author: Any = BOT, **environ: str) -> dict[str, str]:
    sender = github.accounts.get(who) or {"id": 5, "login": who, "type": "User"}
    comment = {"id": 9, "body": TICKED, "user": author}
    return decide_outputs(github.env("issue_comment", payload(sender=sender, comment=comment), sha="a" * 40) | environ)


def test_the_gate_lets_a_tick_of_our_box_through_and_reacts(github: GitHubServer) -> None:
    found = outputs(github, "mona")
    assert (found["proceed"], github.reactions) == ("true", [("issues", 9, "eyes")])
    assert found["run-token"] == "", "no sandbox is looked for afterwards"
    assert len(github.requests) == 3


@pytest.mark.parametrize("author", [{"id": 77, "login": "github-actions[bot]", "type": "Bot"}, {"id": 1, "login": "x"}])
def test_a_box_in_the_comment_of_somebody_else_is_ignored(github: GitHubServer, author: dict[str, Any]) -> None:
    assert outputs(github, "ada", author)["proceed"] == "false"
    assert github.reactions == []


def test_without_graphql_our_comments_are_those_of_the_jobs_own_account(github: GitHubServer) -> None:
    github.faults.add("POST graphql", status=403, times=2)
    assert outputs(github, "ada")["proceed"] == "true"
    assert outputs(github, "ada", {"id": 7, "login": "evil[bot]", "type": "Bot"})["proceed"] == "false"


def test_who_may_ask_for_no_agent_ticks_in_vain(github: GitHubServer) -> None:
    for login in ("stranger", "nobody"):
        found = outputs(github, login)
        assert (found["proceed"], found["reacted"]) == ("false", "false")
    assert {content for _, _, content in github.reactions} == {"confused"}


@pytest.mark.parametrize("fault", ["GET permission", "POST graphql"])
def test_no_clear_answer_means_no(github: GitHubServer, fault: str) -> None:
    github.faults.add(fault, status=404 if fault == "GET permission" else 422)
    found = outputs(github, "ada")
    assert found["proceed"] == "false"


def test_an_edit_that_is_no_tick_costs_no_request(github: GitHubServer) -> None:
    environ = github.env("issue_comment", payload(changes={"body": {"from": f"{BODY}x"}}), sha="a" * 40)
    assert decide_outputs(environ)["proceed"] == "false"
    assert github.requests == []
    assert json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text())["comment"]["body"] == TICKED

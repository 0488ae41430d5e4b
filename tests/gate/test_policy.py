"""Who may start what: the decisions that need no network."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.gate import policy as gate
from flue_ci.gate.comment_command import CommentCommand, find_command
from flue_ci.gate.event import AGENT_EVENTS, Event, parse_event

ENVIRON = {"GITHUB_REPOSITORY": "ada/tools", "GITHUB_REPOSITORY_ID": "42", "GITHUB_TRIGGERING_ACTOR": "ada"}
SETTINGS = gate.GateSettings()
PACKAGE = Path(__file__).parents[2] / "flue_ci"
CORE = ("hidden_characters", "network_variables", "text")  # what the gate takes of it


def said(text: str = "/flue fix-tests", *, actor: str = "ada", kind: str = "User", **more: Any) -> Event:
    parts = {"name": "issue_comment", "action": "created", "repo_id": 42, "number": 7, "comment_id": 9}
    people = {"actor": actor, "actor_kind": kind, "author": actor, "author_kind": kind, "triggering_actor": actor}
    return Event(**{**parts, **people, "comment_kind": "issue", "text": text, **more})


def pulled(action: str = "opened", **more: Any) -> Event:
    parts = {"name": "pull_request", "action": action, "repo_id": 42, "number": 7, "is_pull_request": True}
    head = {"head_sha": "a" * 40, "head_repo_id": 42, "actor": "ada", "actor_kind": "User", "pr_author": "ada"}
    return Event(**{**parts, **head, **more})


def agent(name: str = "fix-tests", **more: Any) -> gate.AgentTriggers:
    return gate.AgentTriggers(**{"name": name, "comment": name, **more})


def test_a_new_comment_with_a_request_goes_on() -> None:
    decision = gate.decide(said(), SETTINGS)
    assert isinstance(decision, gate.Allow)
    assert decision.command is not None
    assert decision.command.name == "fix-tests"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (said(name="star"), "starts no agent"),
        (said(action="edited"), "edited one never does"),
        (said(action="deleted"), "edited one never does"),
        (said("<!-- flue-ci agent=fix-tests -->\n/flue fix-tests"), "our own"),
        (said(kind="Bot", actor="renovate[bot]"), "bots ask for no agent"),
        (said(kind="Bot", actor="ada"), "bots ask for no agent"),
        (said("hello"), "not for us"),
        (pulled(head_repo_id=77), "Two ways work"),
        (pulled(head_repo_id=None), "Two ways work"),
        (pulled(actor="dependabot[bot]"), "Dependabot"),
    ],
)
def test_what_is_not_for_us_is_ignored_with_the_reason(event: Event, reason: str) -> None:
    decision = gate.decide(event, SETTINGS)
    assert isinstance(decision, gate.Skip)
    assert reason in decision.reason


def test_somebody_who_acts_on_the_text_of_another_is_denied() -> None:
    assert isinstance(gate.decide(said(author="mona"), SETTINGS), gate.Deny)


def test_a_bot_passes_by_its_exact_login_only() -> None:
    event = said(kind="Bot", actor="renovate[bot]")
    assert isinstance(gate.decide(event, gate.GateSettings(allowed_bots=frozenset({"renovate[bot]"}))), gate.Allow)
    for near in ("renovate", "[bot]", "evil-renovate[bot]"):
        assert isinstance(gate.decide(event, gate.GateSettings(allowed_bots=frozenset({near}))), gate.Skip)


@pytest.mark.parametrize(
    ("words", "agents", "chosen", "instruction"),
    [
        ("/flue fix-tests now", ["fix-tests", "review"], "fix-tests", "now"),
        ("/flue REVIEW", ["fix-tests", "review"], "review", ""),
        ("/flue make it faster", ["fix-tests"], "fix-tests", "make it faster"),
        ("/flue", ["fix-tests"], "fix-tests", ""),
    ],
)
def test_a_comment_names_its_agent(words: str, agents: list[str], chosen: str, instruction: str) -> None:
    found = gate.choose_agent(said(words), find_command(words), [agent(name) for name in agents])
    assert isinstance(found, gate.SelectedAgent)
    assert (found.agent.name, found.instruction) == (chosen, instruction)


def test_a_name_that_is_none_gets_the_nearest() -> None:
    both = [agent("fix-tests"), agent("review")]
    found = gate.choose_agent(said(), CommentCommand("reviw", "", "reviw"), both)
    assert found == gate.Unknown(name="reviw", near="review")
    assert isinstance(gate.choose_agent(said(), CommentCommand("help", "", "help"), both), gate.Help)
    assert isinstance(gate.choose_agent(said(), CommentCommand("", "", ""), both), gate.Help)
    assert isinstance(gate.choose_agent(said(), CommentCommand("fix-test", "", "fix-test"), both[:1]), gate.Unknown)


def test_the_workflow_can_fix_the_agent() -> None:
    both = [agent("fix-tests"), agent("review", events=("push",))]
    found = gate.choose_agent(Event(name="schedule"), None, both, workflow_agent="fix-tests")
    assert isinstance(found, gate.SelectedAgent)
    assert found.agent.name == "fix-tests"
    assert isinstance(gate.choose_agent(Event(name="schedule"), None, both, workflow_agent="fix"), gate.Unknown)


def test_events_and_labels_start_those_that_listen() -> None:
    listening = [agent("a", events=("pull_request.opened",)), agent("b", labels=("go",))]
    opened = gate.choose_agent(pulled("opened"), None, listening)
    labelled = gate.choose_agent(pulled("labeled", label="go"), None, listening)
    assert isinstance(opened, gate.SelectedAgent)
    assert isinstance(labelled, gate.SelectedAgent)
    assert (opened.agent.name, labelled.agent.name) == ("a", "b")
    assert isinstance(gate.choose_agent(pulled("labeled", label="GO"), None, listening), gate.Skip)
    assert isinstance(gate.choose_agent(pulled("closed"), None, listening), gate.Skip)
    two = [agent("a", events=("push",)), agent("b", events=("push",))]
    found = gate.choose_agent(Event(name="push"), None, two)
    assert isinstance(found, gate.Skip)
    assert "a, b" in found.reason


@pytest.mark.parametrize("role", ["triage", "read", "none", "", "Write", "custom-writer", "admin "])
@pytest.mark.parametrize("event", [said(), pulled(), Event(name="workflow_dispatch", actor="ada", actor_kind="User")])
def test_other_roles_than_the_agents_own_are_denied(event: Event, role: str) -> None:
    people = gate.ActorRoles(actor_role=role, triggering_role="admin")
    assert isinstance(gate.authorize(event, agent(), people), gate.Deny)


@pytest.mark.parametrize("role", ["admin", "maintain", "write"])
def test_the_usual_roles_pass(role: str) -> None:
    assert gate.authorize(said(), agent(), gate.ActorRoles(actor_role=role, triggering_role="none")) == gate.Allow()


def test_who_runs_a_job_again_has_to_pass_as_well() -> None:
    event = said(triggering_actor="stranger")
    assert isinstance(gate.authorize(event, agent(), gate.ActorRoles(actor_role="admin")), gate.Deny)
    people = gate.ActorRoles(actor_role="admin", triggering_role="write")
    assert gate.authorize(event, agent(), people) == gate.Allow()


def test_a_push_to_somebody_elses_pull_request_needs_the_right_to_write() -> None:
    loose = agent(roles=("read", "write"))
    own = pulled("synchronize", actor="mona", pr_author="mona")
    other = pulled("synchronize", actor="mona", pr_author="ada")
    reader = gate.ActorRoles(actor_role="read")
    assert gate.authorize(own, loose, reader) == gate.Allow()
    assert isinstance(gate.authorize(other, loose, reader), gate.Deny)
    assert gate.authorize(other, loose, gate.ActorRoles(actor_role="write")) == gate.Allow()


def test_bots_need_to_be_named_by_the_spec_or_the_workflow() -> None:
    event = pulled(actor="renovate[bot]", actor_kind="Bot", triggering_actor="renovate[bot]")
    people = gate.ActorRoles(actor_role="admin", triggering_role="admin")
    assert isinstance(gate.authorize(event, agent(), people), gate.Deny)
    assert gate.authorize(event, agent(bots=("renovate[bot]",)), people) == gate.Allow()
    allowed = frozenset({"renovate[bot]"})
    assert gate.authorize(event, agent(), people, allowed_bots=allowed) == gate.Allow()


def test_an_agent_may_refuse_forks() -> None:
    event = pulled(name="pull_request_target", head_repo_id=None)
    people = gate.ActorRoles(actor_role="write", triggering_role="write")
    assert isinstance(gate.authorize(event, agent(forks=False), people), gate.Skip)
    assert gate.authorize(event, agent(), people) == gate.Allow()


@pytest.mark.parametrize("name", ["schedule", "push", "merge_group"])
def test_what_nobody_in_particular_does_needs_no_role(name: str) -> None:
    assert gate.authorize(Event(name=name), agent(), gate.ActorRoles()) == gate.Allow()


def test_requests_of_the_last_hour_are_counted() -> None:
    times = ["2026-11-25T10:00:00Z", "2026-11-25T11:10:00Z", "2026-11-25T11:20:00Z"]
    assert gate.rate_end(times, "2026-11-25T12:05:00Z", 2) == ""
    assert gate.rate_end(times, "2026-11-25T12:05:00Z", 1) == "2026-11-25T12:20:00Z"


WORDS = (
    "action number sender login type comment body id issue pull_request head base repo sha ref label name review",
    "repository full_name workflow_run head_repository inputs client_payload agent user created_at",
)
KEYS = st.sampled_from([word for line in WORDS for word in line.split()])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=40,
)


@given(name=st.sampled_from([*AGENT_EVENTS, "star", ""]), payload=JUNK)
def test_no_payload_breaks_the_decision(name: str, payload: object) -> None:
    event = parse_event(name, payload, ENVIRON)
    decision = gate.decide(event, SETTINGS)
    assert isinstance(decision, gate.Allow | gate.Skip | gate.Deny)
    gate.authorize(event, agent(), gate.ActorRoles())
    gate.choose_agent(event, None, [agent(events=(event.signature,))])


@pytest.mark.parametrize("payload", [None, [], "x", 7, {"comment": []}, {"issue": None, "sender": "ada"}])
def test_a_payload_of_another_shape_is_an_event_without_parts(payload: object) -> None:
    event = parse_event("issue_comment", payload, ENVIRON)
    assert (event.number, event.text, event.repo) == (None, "", "ada/tools")


def test_a_payload_is_read_as_github_writes_it() -> None:
    payload = {
        "action": "created",
        "issue": {"number": 7, "title": "t", "pull_request": {}, "user": {"login": "mona", "type": "User"}},
        "comment": {"id": 5, "body": "/flue x", "user": {"login": "ada", "type": "User"}, "created_at": "2026-01-01"},
        "sender": {"login": "ada", "type": "User"},
        "repository": {"id": 1, "full_name": "other/name", "default_branch": "trunk"},
    }
    payload["issue"]["pull_request"] = {"url": "x"}
    event = parse_event("issue_comment", json.loads(json.dumps(payload)), ENVIRON)
    assert (event.number, event.is_pull_request, event.author, event.asked_at) == (7, True, "ada", "2026-01-01")
    assert (event.repo, event.default_branch, event.signature) == ("ada/tools", "trunk", "issue_comment.created")


@pytest.mark.parametrize(
    "module",
    [
        "__init__",
        "core/__init__",
        *(f"core/{name}" for name in CORE),
        "gate/__init__",
        "gate/event",
        "gate/comment_command",
        "gate/policy",
        "gate/preflight",
        "gate/push_box",
        "gate/workflow_commands",
    ],
)
def test_the_gate_runs_on_an_old_python_with_nothing_installed(module: str) -> None:
    source = (PACKAGE / f"{module}.py").read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            assert not isinstance(node, ast.Match)
            continue
        for name in names:
            ours = ("flue_ci.gate", *(f"flue_ci.core.{name}" for name in CORE))
            assert name.split(".")[0] != "flue_ci" or name.startswith(ours), name
    assert "slots=True" not in source
    assert "kw_only=True" not in source
    assert "from __future__ import annotations" in source or module.endswith("__init__")

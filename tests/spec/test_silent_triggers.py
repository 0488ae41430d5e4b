"""Triggers that start nothing, because no workflow listens to them, are said with their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from flue_ci.cli import cli
from flue_ci.spec.load import load_spec
from flue_ci.spec.silent_triggers import find_silent_triggers

COMMENTS = "issue_comment: {types: [created]}"


def workflow(on: str, agent: str = "") -> bytes:
    lines = ["on:", *(f"  {line}" for line in on.splitlines()), "jobs:", "  a:", "    steps:"]
    lines += ["      - uses: flue-ci/flue-ci@v1", "        with:", "          anthropic-api-key: k"]
    return "\n".join([*lines, f"          agent: {agent}" if agent else ""]).encode()


def judge(triggers: str, *workflows: bytes, other: str = "") -> list[tuple[str, str, str]]:
    """Severity, key and message of the problems of the agent `a`."""
    specs = [load_spec(Path("a.yml"), f"version: 1\ntriggers: {{{triggers}}}\n".encode())]
    if other:
        specs.append(load_spec(Path("b.yml"), f"version: 1\ntriggers: {{{other}}}\n".encode()))
    files = {f"{number}.yml": text for number, text in enumerate(workflows)}
    found = [each for each in find_silent_triggers(specs, files) if each.file == "a.yml"]
    assert all(each.hint and each.line == 2 for each in found)
    return [(each.severity, each.key, each.message) for each in found]


@pytest.mark.parametrize(
    ("triggers", "on", "agent"),
    [
        ("comment: fix", COMMENTS, ""),
        ("comment: fix", "pull_request_review_comment:", ""),
        ("comment: fix", COMMENTS, "a"),
        ("events: [pull_request.opened]", "pull_request:", ""),
        ("events: [pull_request.closed]", "pull_request: {types: [opened, closed]}", ""),
        ("events: [pull_request.closed]", "pull_request: {types: closed}", ""),
        ("labels: [flue]", "issues: {types: [labeled]}", ""),
        ("labels: [flue]", "issues:", ""),
        ("events: [schedule]", "schedule: [{cron: '1 1 * * *'}]", "a"),
        ("events: [push]", "push: {branches: [main]}", "${{ matrix.agent }}"),
        ("events: [release.published]", "release:", ""),
        ("", COMMENTS, ""),
    ],
)
def test_a_trigger_that_a_workflow_listens_to_is_no_problem(triggers: str, on: str, agent: str) -> None:
    assert judge(triggers, workflow(on, agent)) == []


@pytest.mark.parametrize(
    ("triggers", "on", "agent", "key", "words"),
    [
        ("events: [schedule]", COMMENTS, "", "triggers.events[0]", "0.yml does not listen to schedule"),
        ("events: [pull_request.closed]", "pull_request:", "", "triggers.events[0]", "not listen to pull_request.clos"),
        ("labels: [flue]", "pull_request:", "", "triggers.labels[0]", "does not listen to pull_request.labeled"),
        ("labels: [flue]", "issues: {types: [opened]}", "", "triggers.labels[0]", "does not listen"),
        ("comment: fix", "pull_request:\nissues:", "", "triggers.comment", "does not listen to issue_comment.created"),
        ("comment: fix", "issue_comment: {types: [edited]}", "", "triggers.comment", "does not listen"),
        ("events: [push]", "push:", "b", "triggers.events[0]", "the workflows for it run b only"),
    ],
)
def test_a_trigger_that_no_workflow_listens_to_is_an_error_where_there_is_no_other(
    triggers: str, on: str, agent: str, key: str, words: str
) -> None:
    ((severity, place, message),) = judge(triggers, workflow(on, agent))
    assert (severity, place) == ("error", key)
    assert words in message
    assert [row[0] for row in judge(f"{triggers}, bots: [x]", workflow(on, agent), workflow(on, agent))] == ["error"]


def test_one_of_several_triggers_is_a_note() -> None:
    triggers = "comment: fix, labels: [flue], events: [push, schedule]"
    rows = judge(triggers, workflow(COMMENTS), workflow("push:", "a"))
    assert [row[:2] for row in rows] == [("note", "triggers.labels[0]"), ("note", "triggers.events[1]")]


def test_a_box_that_no_workflow_hears_of_is_a_note() -> None:
    spec = load_spec(Path("a.yml"), b"version: 1\ntriggers: {comment: fix}\npublish: {changes: commit, when: ask}\n")
    (problem,) = find_silent_triggers([spec], {"0.yml": workflow(COMMENTS)})
    assert (problem.severity, problem.key, problem.line) == ("note", "publish.when", 3)
    assert "0.yml does not listen to issue_comment.edited" in problem.message
    for on in ("issue_comment: {types: [created, edited]}", f"{COMMENTS}\npush:"):
        files = {"0.yml": workflow(on), "1.yml": workflow("issue_comment: {types: edited}")}
        assert find_silent_triggers([spec], files) == []


def test_of_two_agents_that_listen_to_one_event_none_starts() -> None:
    ((severity, _, message),) = judge("events: [push]", workflow("push:"), other="events: [push]")
    assert (severity, "because b would start too" in message) == ("error", True)
    assert judge("events: [push]", workflow("push:"), workflow("push:", "a"), other="events: [push]") == []
    assert judge("labels: [x]", workflow("issues:"), other="labels: [y]") == []
    assert judge("comment: x", workflow(COMMENTS), other="comment: y") == []


@pytest.mark.parametrize(
    "files",
    [
        (),
        (b"on: push\njobs: {a: {steps: [{run: x}]}}",),
        (b"on: [unclosed",),
        (workflow(f"{COMMENTS}\nworkflow_call:"),),
        (b"- a list",),
    ],
)
def test_where_it_is_not_certain_nothing_is_said(files: tuple[bytes, ...]) -> None:
    assert judge("events: [schedule]", *files) == []


def test_validate_shows_them_with_their_place(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for path, text in {
        ".flue/agents/a.yml": b"version: 1\ntriggers:\n  comment: fix\n  events: [schedule]\n",
        ".github/workflows/flue.yml": workflow(COMMENTS),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text)
    done = CliRunner().invoke(cli, ["validate", "--repo", str(tmp_path)], standalone_mode=False)
    assert done.return_value == 0
    assert ".flue/agents/a.yml:4:12: triggers.events[0]: starts nothing" in done.output
    assert done.output.startswith("note: ")
    (tmp_path / ".flue/agents/a.yml").write_bytes(b"version: 1\ntriggers: {events: [schedule]}\n")
    done = CliRunner().invoke(cli, ["validate", "--repo", str(tmp_path), "--json"], standalone_mode=False)
    assert done.return_value == 2
    assert '"valid": false' in done.output

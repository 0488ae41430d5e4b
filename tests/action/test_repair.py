"""Which runs of CI lead to a repair, how often, and with what of their logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flue_ci.action.repair import count_attempts, failed_part, refuse_run, refuse_target
from flue_ci.action.target import Target
from flue_ci.core.commits import CommitRecord
from flue_ci.core.discussion import Account, PullRequest
from flue_ci.core.workflow_runs import WorkflowRun, WorkflowStep
from flue_ci.gate.event import Event, parse_event

HEAD = "a" * 40
RUN = WorkflowRun(
    id=7,
    attempt=2,
    workflow=".github/workflows/ci.yml",
    status="completed",
    conclusion="failure",
    branch="topic",
    head_sha=HEAD,
    repo_id=42,
    head_repo_id=42,
)
EVENT = Event(
    name="workflow_run",
    action="completed",
    repo_id=42,
    workflow="repair-ci.yml",
    run_id=7,
    run_attempt=2,
    checked_repo_id=42,
)
PULL = PullRequest(
    number=1,
    title="",
    body="",
    author=Account(),
    base_ref="main",
    head_ref="topic",
    head_sha=HEAD,
    head_repo_id=42,
    base_repo_id=42,
)
TARGET = Target(number=1, pull=PULL, head=HEAD, ref="topic", trusted_sha="b" * 40)


@pytest.mark.parametrize(
    ("run", "event", "words"),
    [
        ({"head_repo_id": None}, {}, "this very repository only"),
        ({"head_repo_id": 77}, {}, "this very repository only"),
        ({"repo_id": 77, "head_repo_id": 77}, {}, "this very repository only"),
        ({"repo_id": 0, "head_repo_id": None}, {"repo_id": 0, "checked_repo_id": None}, "this very repository only"),
        ({}, {"checked_repo_id": None}, "this very repository only"),
        ({"workflow": ""}, {}, "not known which workflow"),
        ({}, {"workflow": ""}, "not known which workflow"),
        ({"workflow": ".github/workflows/Repair-CI.yml"}, {}, "itself repairs nothing"),
        ({"attempt": 3}, {}, "another attempt by now"),
        ({"status": "in_progress"}, {}, "another attempt by now"),
        ({}, {"run_attempt": 0}, "another attempt by now"),
        ({"head_sha": "c" * 40}, {}, "another commit"),
        ({"head_sha": ""}, {}, "another commit"),
    ],
)
def test_only_a_run_of_ci_on_a_branch_of_this_repository_counts(
    run: dict[str, Any], event: dict[str, Any], words: str
) -> None:
    assert refuse_run(EVENT, TARGET, RUN) == ""
    assert words in refuse_run(replace(EVENT, **event), TARGET, replace(RUN, **run))


def test_only_the_open_pull_request_of_that_branch_and_commit_is_repaired() -> None:
    assert refuse_target(TARGET, RUN) == ""
    others = [
        replace(TARGET, number=None, pull=None),
        replace(TARGET, pull=replace(PULL, head_ref="another")),
        replace(TARGET, pull=replace(PULL, head_sha="c" * 40)),
        replace(TARGET, head_has_moved=True),
    ]
    for target in others:
        assert "no open pull request has topic at aaaaaaa" in refuse_target(target, RUN)
    fork = replace(TARGET, pull=replace(PULL, head_repo_id=77))
    assert "comes from a fork" in refuse_run(EVENT, fork, RUN)


def commits(*names: str) -> list[CommitRecord]:
    """Oldest first: `r1` is a commit of run 1, another name is an author."""
    return [
        CommitRecord(sha="1", tree="2", message=f"x\n\nFlue-Run: {name}")
        if name.startswith("r")
        else CommitRecord(sha="1", tree="2", message="x", author=name)
        for name in names
    ]


@pytest.mark.parametrize(
    ("names", "squash", "keep"),
    [
        ([], 0, 0),
        (["ada"], 0, 0),
        (["r1", "ada"], 0, 0),
        (["ada", "r1", "r2"], 2, 2),
        (["r1", "r1", "r2"], 3, 2),
        (["r1", "ada", "r2", "fmt[bot]", "r3", "fmt[bot]"], 2, 2),
        (["r1", "", "r2"], 1, 1),  # whose address no account has
    ],
)
def test_attempts_are_the_commits_of_agents_since_a_persons(names: list[str], squash: int, keep: int) -> None:
    assert count_attempts(commits(*names), keep=False) == squash
    assert count_attempts(commits(*names), keep=True) == keep


def log(*lines: str) -> str:
    return "\ufeff" + "\n".join(f"2026-11-28T10:00:{index:02}.1234567Z {line}" for index, line in enumerate(lines))


def test_of_a_log_the_failed_steps_are_read() -> None:
    text = log("##[group]Run a", "fine", "##[group]Run b", "wrong", "##[error]1", "Post job cleanup.")
    step = WorkflowStep(name="b", started_at="2026-11-28T10:00:02Z", completed_at="2026-11-28T10:00:04Z")
    expected = "##[group]Run b\nwrong\n##[error]1"
    assert failed_part(text, [step]) == expected
    assert failed_part(text, [replace(step, completed_at="")]) == f"{expected}\nPost job cleanup."
    assert failed_part(text, [WorkflowStep(name="b")]) == expected  # by the error
    assert failed_part(text, [replace(step, started_at="2027-01-01T00:00:00Z", completed_at="")]) == expected
    assert failed_part(text, []) == expected


def test_a_log_without_times_or_errors_is_read_as_a_whole() -> None:
    assert failed_part("a\nb", []) == "a\nb"
    assert failed_part("", []) == ""
    assert failed_part(log("one", "two\nof two lines"), []) == "one\ntwo\nof two lines"


def test_a_rerun_by_a_job_counts_as_asked_for_by_whoever_started_the_run() -> None:
    bot = {"login": "github-actions[bot]", "id": 41898282, "type": "Bot"}
    run = {"run_attempt": 2, "actor": {"login": "ada", "id": 1, "type": "User"}, "triggering_actor": bot}
    payload = {"sender": bot, "workflow_run": run}
    environ = {"GITHUB_TRIGGERING_ACTOR": bot["login"], "GITHUB_ACTOR": bot["login"]}
    event = parse_event("workflow_run", payload, environ)
    assert (event.actor, event.actor_kind, event.triggering_actor) == ("ada", "User", "")
    for other in ({"run_attempt": 1}, {"triggering_actor": {"login": "other[bot]"}}):
        event = parse_event("workflow_run", payload | {"workflow_run": run | other}, environ)
        assert (event.actor, event.actor_kind) == (bot["login"], "Bot")

"""The examples whose runs are two jobs, under `act`: a fork's pull request, and CI that is repaired."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.e2e.test_act import Act, Ran, act
from tests.e2e.test_action import CHECKED
from tests.e2e.test_repair import LOG, SPEC, Repair
from tests.support.fork_server import PROJECT

pytestmark = pytest.mark.outside

__all__ = ["act"]


def run_example(act: Act, name: str, event: str, payload: dict[str, Any]) -> Ran:
    """The example as it is; act takes the checkout's action for the commit that it names."""
    act.workflow = (PROJECT / "examples" / "workflows" / name).read_text()
    ran = act.run(event, payload)
    assert ran.code == 0, ran.log
    return ran


def writes(act: Act) -> list[tuple[str, str]]:
    """The requests so far that change something in the repository."""
    requests = [(method, path.partition("/repos/ada/tools/")[2]) for method, path, _ in act.job.github.requests]
    return [(method, path) for method, path in requests if path and method != "GET"]


def refs(act: Act) -> str:
    command = ["git", "--git-dir", str(act.job.github.root / "ada" / "tools.git"), "for-each-ref"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_forks_pull_request_is_answered_by_the_second_job_and_nothing_is_pushed(act: Act) -> None:
    github = act.job.github
    github.permissions |= {"contents": "write", "pull_requests": "write"}
    spec = CHECKED | {"triggers": {"labels": ["flue:fix"]}, "publish": {"changes": "commit"}}
    pull = github.pull(act.job.start(fix_tests=spec), {"other.txt": "x\n"}, author="stranger", fork=True)
    before = refs(act)
    payload = github.pulled(pull, "labeled", "ada", label={"name": "flue:fix"})
    ran = run_example(act, "forks.yml", "pull_request_target", payload)
    jobs = {line.partition("]")[0] for line in ran.log.splitlines() if "#issuecomment-" in line}
    assert jobs == {"[flue forks/Publish"}, ran.log
    assert writes(act) == [("POST", f"issues/{pull['number']}/comments")]  # once, and with the result
    (answer,) = github.ours()
    assert "### ✅ fix-tests: 1 file changed, 1 check passed in a clean sandbox" in answer["body"]
    assert "the pull request comes from a fork, where nothing is ever pushed" in answer["body"]
    assert "-n flue-ci-fix-tests-1-1 -D flue-ci-fix-tests-1-1 && git apply" in answer["body"]
    assert refs(act) == before


def test_ci_is_run_again_then_repaired_and_left_after_as_many_commits_as_the_spec_says(act: Act) -> None:
    repair = Repair(act.job, SPEC | {"repair": {"attempts": 1}})
    github, actions, model = repair.github, repair.github.actions_runs, act.job.model
    broken = repair.pull["head"]["sha"]
    run = repair.ci()
    first = run_example(act, "repair-ci.yml", "workflow_run", repair.payload(run))
    assert "the failed jobs run once more; an agent starts when they fail again" in first.log
    assert writes(act) == [("POST", f"actions/runs/{run['id']}/rerun-failed-jobs")]
    assert (run["run_attempt"], model.requests, github.ours()) == (2, [], [])
    run |= {"status": "completed", "conclusion": "failure"}
    actions.job(github, run["id"], "test", LOG, run_attempt=2)
    second = run_example(act, "repair-ci.yml", "workflow_run", repair.payload(run))
    assert "E   assert 'hello' == 'changed'" in json.dumps(model.requests[0].json)
    assert repair.pull["head"]["sha"] != broken
    assert "Flue-Run: " in repair.message()
    assert f"[flue repair/Publish]   | ✅ commit · {repair.pull['head']['sha'][:9]}" in second.log
    assert f"`{repair.pull['head']['sha'][:9]}` · verified by GitHub" in github.ours()[0]["body"]
    assert "CI does not start on it" not in github.ours()[0]["body"]  # a token of its own pushed it
    turns, before = len(model.requests), refs(act)
    third = run_example(act, "repair-ci.yml", "workflow_run", repair.payload(repair.ci(2)))
    sentence = "1 commit of an agent since a person's last one, and CI still fails"
    assert sentence in third.log
    assert sentence in github.ours()[-1]["body"], [each["body"] for each in github.ours()]
    assert (len(model.requests), refs(act), actions.reruns) == (turns, before, [run["id"]])

"""GitHub goes wrong at every route that a run asks, once and for good: nothing is lost, nothing is falsely green.

What each lasting fault on each route comes to. More kinds of faults, at the stages of a job: `test_fault_matrix`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.job import Done, Job
from tests.e2e.test_action import MakeJob, make_job

__all__ = ["make_job"]
PASSING: dict[str, dict[str, Any]] = {
    "500 once": {"status": 500, "body": b"<html>oops"},
    "503 once": {"status": 503, "retry_after": 1},
    "429 once": {"status": 429, "retry_after": 1},
    "secondary limit once": {"status": 403, "retry_after": 1, "message": "You have exceeded a secondary rate limit"},
    "no answer once": {"drop": "before"},
}
LASTING: dict[str, dict[str, Any]] = {
    "403": {"status": 403, "message": "Resource not accessible by integration"},
    "404": {"status": 404, "message": "Not Found"},
    "500": {"status": 500, "body": b"oops"},
}
# Where each lasting fault comes to something else: the route, and the conclusion for each fault that it is tried with.
# That the adapter recognises each status is proven in its own tests.
ENDS: dict[str, dict[str, str]] = {
    "GET permission": {"403": "failed", "404": "skipped"},  # nobody of that name: no role
    "GET pulls": {"404": "failed"},
    "GET comments": {"500": "failed"},
    "GET reviews": {"403": "success", "500": "failed"},
    "GET files": {"404": "success", "500": "failed"},
    "GET check-runs": {"403": "success", "500": "failed"},
    "POST graphql": {"404": "success"},
    "POST reactions": {"500": "success"},
    "POST comments": {"403": "failed", "404": "failed"},
    "PATCH comments": {"404": "success", "500": "failed"},  # 404: somebody removed the comment, it is posted anew
}
LASTED = [(route, fault) for route, ends in ENDS.items() for fault in ends]


def asked(job: Job) -> Done:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    comment = job.github.say(pull["number"], "ada", "/flue fix-tests")
    return job.act(job.github.env("issue_comment", job.github.commented(pull, comment)))


@pytest.mark.family(1)
@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.long
def test_a_fault_that_passes_changes_nothing_on_whatever_route(make_job: MakeJob, fault: str) -> None:
    job = make_job()
    for route in ENDS:
        job.github.faults.add(route, **PASSING[fault])
    done = asked(job)
    assert (done.code, done.outputs["conclusion"]) == (0, "success"), done.log
    (answer,) = job.github.ours()
    assert "### ✅ I changed the greeting." in answer["body"]
    assert len(job.model.requests) == 2


@pytest.mark.family(2)
@pytest.mark.parametrize(("route", "fault"), LASTED, ids=[f"{route}-{fault}" for route, fault in LASTED])
def test_a_fault_that_lasts_is_told_and_loses_nothing(make_job: MakeJob, route: str, fault: str) -> None:
    job = make_job()
    job.github.faults.add(route, times=None, **LASTING[fault])
    job.more["FLUE_CI_PATIENCE_SECONDS"] = "2"
    done = asked(job)
    expected = ENDS[route][fault]
    assert done.outputs["conclusion"] == expected, done.log
    assert done.code == (1 if expected == "failed" else 0)
    if expected == "failed":
        assert "::error title=flue-ci::" in done.log or "❌" in job.github.ours()[-1]["body"]
        report = json.loads((Path(job.home) / "job" / "flue-ci-report" / "report.json").read_text())
        assert report["conclusion"] == "failed"
        assert report["failure"]["message"]
        assert "❌" in done.summary
    if route in ("POST comments", "PATCH comments") and expected == "failed":  # the work was done, and is not lost
        assert "+changed" in done.summary
        assert "+changed" in Path(done.outputs["patch-path"]).read_text()
    if route in ("GET permission", "GET pulls"):
        assert job.model.requests == []
        assert job.e2b.requests == []


def test_a_comment_and_a_summary_that_both_fail_leave_the_folder_and_the_log(make_job: MakeJob) -> None:
    job = make_job()
    job.github.faults.add("POST comments", times=None, status=403)
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    comment = job.github.say(pull["number"], "ada", "/flue fix-tests")
    environ = job.github.env("issue_comment", job.github.commented(pull, comment))
    Path(environ["GITHUB_STEP_SUMMARY"]).write_text("")
    job.more["GITHUB_STEP_SUMMARY"] = str(job.home)  # a directory: it takes no text
    done = job.act(environ)
    assert done.code == 1
    assert "the job summary cannot be written" in done.log
    assert "could not be posted" in done.log
    assert "+changed" in Path(done.outputs["patch-path"]).read_text()

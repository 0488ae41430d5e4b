"""Events that are no comments, from the gate to the answer: reviews, checks of other services, releases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import bash, say
from tests.e2e.job import Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import GitHubServer
from tests.support.messages_server import MessagesServer

WORK = [bash("echo changed > greeting.txt"), say("I changed the greeting.")]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with MessagesServer(WORK) as model, GitHubServer(tmp_path) as github, E2BServer() as e2b:
        yield Job(github=github, model=model, e2b=e2b, home=tmp_path)


def listening_to(event: str) -> dict[str, Any]:
    return {"triggers": {"events": [event]}}


def review_of(job: Job, pull: dict[str, Any], reviewer: str, body: str) -> dict[str, str]:
    """The environment of a job that a submitted review starts."""
    review = {
        "id": 5,
        "node_id": "R_5",
        "user": job.github.accounts[reviewer],
        "body": body,
        "state": "CHANGES_REQUESTED",
        "submitted_at": "2026-11-25T10:00:00Z",
        "html_url": pull["html_url"] + "#pullrequestreview-5",
    }
    job.github.reviews.append(review | {"_number": pull["number"]})
    return job.github.env("pull_request_review", job.github.pulled(pull, "submitted", reviewer, review=review))


def test_a_submitted_review_starts_the_agent_that_listens_and_is_told_to_it(job: Job) -> None:
    work = job.start(address=listening_to("pull_request_review.submitted"))
    pull = job.github.pull(work, {"other.txt": "new\n"})
    environ = review_of(job, pull, "ada", "Please use another greeting.")
    assert job.gate(environ).outputs["proceed"] == "true"
    done = job.act(environ)
    assert done.code == 0, done.log
    (answer,) = job.github.ours()
    assert answer["body"].startswith("<!-- flue-ci agent=address -->\n### ✅ I changed the greeting.")
    assert "Please use another greeting." in json.dumps([request.json for request in job.model.requests])


def test_a_review_to_which_no_agent_listens_ends_at_the_gate(job: Job) -> None:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    done = job.gate(review_of(job, pull, "ada", "Nice."))
    assert done.outputs["proceed"] == "false"
    assert "this review is not for us" in done.log


def test_nothing_is_started_by_a_review_when_the_agents_cannot_be_read(job: Job) -> None:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    environ = review_of(job, pull, "ada", "Nice.")
    job.github.faults.add("GET agents", status=403)
    done = job.gate(environ)
    assert done.outputs["proceed"] == "false"
    assert "the agents could not be read" in done.log


def test_a_review_by_a_stranger_starts_nothing(job: Job) -> None:
    work = job.start(address=listening_to("pull_request_review.submitted"))
    pull = job.github.pull(work, {"other.txt": "new\n"})
    done = job.act(review_of(job, pull, "stranger", "Run!"))
    assert done.outputs["conclusion"] == "skipped"
    assert "has the role read" in done.log
    assert job.model.requests == []


def test_failed_checks_of_another_service_start_an_agent_on_their_pull_request(job: Job) -> None:
    agent = {"triggers": {"events": ["check_suite.completed"], "bots": ["ci-service[bot]"]}}
    pull = job.github.pull(job.start(repair=agent), {"other.txt": "new\n"})
    job.github.account("ci-service[bot]", "none", kind="Bot")
    suite = {"head_sha": pull["head"]["sha"], "head_branch": pull["head"]["ref"], "conclusion": "failure"}
    payload = job.github.payload("ci-service[bot]", action="completed", check_suite=suite)
    environ = job.github.env("check_suite", payload)
    assert job.gate(environ).outputs["proceed"] == "true"
    done = job.act(environ)
    assert done.code == 0, done.log
    assert "### ✅ I changed the greeting." in job.github.ours()[0]["body"]


def test_a_release_starts_an_agent_on_the_commit_of_its_tag(job: Job) -> None:
    agent = listening_to("release.published") | {"prompt": "Write the notes of {{ repo.ref }}."}
    work = job.start(notes=agent)
    sha = job.github.commit(work, {"greeting.txt": "released\n"}, "release")
    job.github.put("refs/tags/v1.0", sha)
    payload = job.github.payload("ada", action="published", release={"tag_name": "v1.0", "html_url": "https://x"})
    environ = job.github.env("release", payload, sha=sha, ref="refs/tags/v1.0")
    assert job.gate(environ).outputs["proceed"] == "true"
    done = job.act(environ)
    assert done.code == 0, done.log
    assert "-released" in Path(done.outputs["patch-path"]).read_text()
    assert "Write the notes of v1.0." in json.dumps([request.json for request in job.model.requests])

"""The repository's budget: reserved before the first call of the model, settled at the end, and never passed by two."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flue_ci.forges.github.ledger import _name
from tests.e2e.flow import say
from tests.e2e.job import Done, Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import GitHubServer
from tests.support.messages_server import MessagesServer

SPEC = {"limits": {"cost_usd": 1.0}, "tools": ["read"]}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with ExitStack() as stack:
        github = stack.enter_context(GitHubServer(tmp_path))
        github.permissions["checks"] = "write"
        model = stack.enter_context(MessagesServer([say("Looked at it.")] * 3))
        yield Job(github=github, model=model, e2b=stack.enter_context(E2BServer()), home=tmp_path)


def start(job: Job, config: str, spec: dict[str, Any] = SPEC) -> dict[str, str]:
    """The environment of a comment on a pull request, in a repository with that configuration."""
    work = job.start(look=spec)
    job.github.commit(work, {".flue/config.yml": config}, "limits")
    subprocess.run(["git", "push", "-q", "origin", "main"], cwd=work, check=True)
    pull = job.github.pull(work, {"other.txt": "new\n"})
    comment = job.github.say(pull["number"], "ada", "/flue look")
    return job.github.env("issue_comment", job.github.commented(pull, comment))


def records(job: Job) -> list[dict[str, Any]]:
    return [json.loads(run["output"]["text"].strip("`json\n")) for run in job.github.checks]


def answer(job: Job) -> str:
    body: str = job.github.ours()[-1]["body"]
    return body


def act(job: Job, environ: dict[str, str]) -> tuple[Done, int]:
    """The run, and how many requests it took for the budget."""
    done = job.act(environ)
    endings = ("tools/commits", "/check-runs")
    asked = [path for _, path, _ in job.github.requests if path.endswith(endings) or "check-runs/" in path]
    return done, len(asked)


def test_a_run_reserves_and_settles_within_five_requests_and_says_what_was_left(job: Job) -> None:
    environ = start(job, "version: 1\nlimits: {per_day_usd: 2.0, per_pull_request_usd: 1.5}\n")
    done, requests = act(job, environ)
    assert done.code == 0, done.log
    (record,) = records(job)
    assert record["reserved_usd"] > 1.0  # the sandbox's time is in it
    assert 0 < record["spent_usd"] < 0.2
    assert "$2.00 of $2.00 for this repository" in answer(job)
    assert requests <= 5 + 1  # one of them looks for failing checks, as in every run
    # What the first run cost is counted when the next one reserves: the reservation itself no longer is. Nor is
    # what was reserved years ago.
    check = job.github.checks[0]
    old = record | {"started": "2020-01-01T00:00:00Z", "spent_usd": None}
    job.github.checks.append(
        check | {"id": 5, "output": check["output"] | {"text": f"```json\n{json.dumps(old)}\n```"}}
    )
    assert job.act(environ).code == 0
    assert len(records(job)) == 3
    assert _name("2026-01-31").endswith("2026-01-31")


def test_a_record_without_an_end_counts_in_full_and_nothing_is_started(job: Job) -> None:
    environ = start(job, "version: 1\nlimits: {per_day_usd: 2.0}\n")
    assert job.act(environ).code == 0
    record = records(job)[0] | {"spent_usd": None}
    job.github.checks[0]["output"]["text"] = f"```json\n{json.dumps(record)}\n```"
    before = len(job.model.requests)
    done = job.act(environ)
    assert done.code == 1
    assert len(job.model.requests) == before
    assert "the budget of this repository is used up" in done.log
    assert "1 of these runs have not ended" in answer(job)
    assert "limits.per_day_usd" in answer(job).replace("\\", "")
    assert records(job)[-1]["spent_usd"] == 0.0  # what was refused costs nothing


@pytest.mark.parametrize("count", [1_300, 5_000])
def test_runs_that_cost_nothing_do_not_hide_one_that_did(job: Job, count: int) -> None:
    """Each refused run leaves a record, so that a day's list can become long."""
    environ = start(job, "version: 1\nlimits: {per_day_usd: 2.0}\n")
    assert job.act(environ).code == 0
    (check,) = job.github.checks
    texts = [f"```json\n{json.dumps(records(job)[0] | {'spent_usd': cost})}\n```" for cost in (0.0, 1.9)]
    more = [check | {"id": 10_000 + number, "output": check["output"] | {"text": texts[0]}} for number in range(count)]
    last = check | {"id": 9_000, "output": check["output"] | {"text": texts[1]}}
    job.github.checks[:] = [*more, last]
    before = len(job.model.requests)
    done = job.act(environ)
    assert (done.code, len(job.model.requests)) == (1, before), done.log
    assert "budget" in answer(job)


@pytest.mark.parametrize(
    ("config", "spec", "words"),
    [
        ("version: 1\nlimits: {per_day_usd: 0.5}\n", SPEC, "and this run may cost $1."),
        ("version: 1\nlimits: {per_day: 5}\n", SPEC, "unknown key"),
        ("version: 1\nlimits: {per_day_usd: -1}\n", SPEC, "above 0"),
        ("limits: [1]\n", SPEC, "version"),
        ("version: 1\nlimits: {per_day_usd: 5}\n", {"tools": ["read"]}, "needs `limits.cost_usd`"),
    ],
)
def test_what_cannot_be_kept_starts_nothing(job: Job, config: str, spec: dict[str, Any], words: str) -> None:
    done = job.act(start(job, config, spec))
    assert done.code != 0
    assert words in done.log
    assert job.model.requests == []


def test_a_budget_that_cannot_be_read_is_a_refusal_with_the_permission_that_is_missing(job: Job) -> None:
    job.github.permissions["checks"] = "read"
    done = job.act(start(job, "version: 1\nlimits: {per_day_usd: 5}\n"))
    assert done.code == 1
    assert "cannot be kept, so nothing was started" in done.log
    assert "checks: write" in answer(job)
    assert job.model.requests == []


def test_another_trusted_branch_has_no_say_in_the_budget(job: Job) -> None:
    """Its agents count, its configuration does not."""
    work = job.start(look=SPEC)
    job.github.commit(work, {".flue/config.yml": "version: 1\nlimits: {per_day_usd: 0.5}\n"}, "limits")
    subprocess.run(["git", "push", "-q", "origin", "main"], cwd=work, check=True)
    subprocess.run(["git", "checkout", "-q", "-b", "release"], cwd=work, check=True)
    job.github.commit(work, {".flue/config.yml": "version: 1\n"}, "no limits")
    subprocess.run(["git", "push", "-q", "origin", "release"], cwd=work, check=True)
    subprocess.run(["git", "checkout", "-q", "main"], cwd=work, check=True)
    pull = job.github.pull(work, {"other.txt": "new\n"})
    pull["base"]["ref"] = "release"
    comment = job.github.say(pull["number"], "ada", "/flue look")
    job.more["FLUE_CI_TRUSTED_BRANCHES"] = "release"
    done = job.act(job.github.env("issue_comment", job.github.commented(pull, comment)))
    assert done.code == 1
    assert "the budget of this repository is used up" in done.log
    assert job.model.requests == []

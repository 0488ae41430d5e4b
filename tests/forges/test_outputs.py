"""Assignees and check runs by GitHub's API: complete, and never twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flue_ci.core.errors import ForgeError
from flue_ci.core.outputs import CheckRun, OutputsForge
from flue_ci.core.proposals import Annotation
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from tests.support.github_server import TOKEN, GitHubServer

SHA = "ab" * 20
NOTES = tuple(Annotation(path="a.py", start_line=n, end_line=n, message=f"note {n}") for n in range(1, 121))
CHECK = CheckRun(sha=SHA, name="flue-ci: review", key="k1", conclusion="neutral", title="t", annotations=NOTES)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.permissions["checks"] = "write"
        yield server


@pytest.fixture
async def forge(github: GitHubServer) -> AsyncIterator[GitHub]:
    retry = RetryPolicy(timeout=5.0, first_wait=0.01)
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3", retry=retry)
    assert isinstance(forge, OutputsForge)
    yield forge
    await forge.close()


async def test_every_annotation_arrives_and_a_second_attempt_adds_none(github: GitHubServer, forge: GitHub) -> None:
    url = await forge.write_check_run(CHECK)
    assert await forge.write_check_run(CHECK) == url
    (run,) = github.checks
    assert [note["message"] for note in github.annotations[run["id"]]] == [note.message for note in NOTES]


async def test_a_check_run_that_lacks_annotations_is_completed(github: GitHubServer, forge: GitHub) -> None:
    github.faults.add("PATCH check-runs", status=404)
    with pytest.raises(ForgeError):
        await forge.write_check_run(CHECK)
    await forge.write_check_run(CHECK)
    (run,) = github.checks
    assert len(github.annotations[run["id"]]) == len(NOTES)


async def test_an_answer_that_got_lost_makes_no_second_check_run(github: GitHubServer, forge: GitHub) -> None:
    github.faults.add("POST check-runs", drop="after")
    await forge.write_check_run(CHECK)
    assert len(github.checks) == 1


async def test_people_who_cannot_be_assigned_are_missing_in_the_answer(github: GitHubServer, forge: GitHub) -> None:
    issue = github.issue(title="An issue")
    assert await forge.assign(issue["number"], ["ada", "nobody"]) == ("ada",)
    assert [account["login"] for account in github.issues[issue["number"]]["assignees"]] == ["ada"]

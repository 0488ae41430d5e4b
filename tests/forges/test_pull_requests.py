"""Pull requests by GitHub's API: opened once, found again, and every refusal in GitHub's own words."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.discussion import PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.core.outputs import PullRequestForge
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from tests.support.github_server import TOKEN, GitHubServer


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        work = server.repo("ada/tools", {"a.txt": "a\n"})
        server.permissions |= {"contents": "write", "pull_requests": "write"}
        subprocess.run(["git", "checkout", "-q", "-b", "flue/x"], cwd=work, check=True)
        server.commit(work, {"a.txt": "b\n"}, "change")
        subprocess.run(["git", "push", "-q", "origin", "flue/x", "main:same"], cwd=work, check=True)
        yield server


@pytest.fixture
async def forge(github: GitHubServer) -> AsyncIterator[GitHub]:
    retry = RetryPolicy(timeout=5.0, first_wait=0.01)
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3", retry=retry)
    assert isinstance(forge, PullRequestForge)
    yield forge
    await forge.close()


async def open_one(forge: GitHub, **changes: Any) -> PullRequest:
    request = {"title": "A fix", "body": "What for.", "head": "flue/x", "base": "main", "draft": False}
    return await forge.create_pull(**{**request, **changes})


async def test_a_pull_request_is_opened_found_and_edited(github: GitHubServer, forge: GitHub) -> None:
    pull = await open_one(forge, draft=True)
    assert (pull.title, pull.head_ref, pull.base_ref, pull.draft) == ("A fix", "flue/x", "main", True)
    assert not pull.from_fork
    assert pull.url == f"{github.url}/ada/tools/pull/{pull.number}"
    assert [each.number for each in await forge.open_pulls()] == [pull.number]
    assert [each.number for each in await forge.pulls_from("flue/x")] == [pull.number]
    assert await forge.pulls_from("flue/y") == []
    edited = await forge.edit_pull(pull.number, title="Another", body="text")
    assert (edited.title, edited.body) == ("Another", "text")
    github.pulls[pull.number]["state"] = "closed"
    assert await forge.open_pulls() == []
    assert [each.state for each in await forge.pulls_from("flue/x")] == ["closed"]
    assert await forge.default_branch() == "main"


async def test_the_newest_pull_requests_come_first(forge: GitHub) -> None:
    first = await open_one(forge)
    second = await open_one(forge, base="same")
    assert [each.number for each in await forge.open_pulls()] == [second.number, first.number]


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_a_pull_request_whose_answer_is_lost_is_there_once(
    github: GitHubServer, forge: GitHub, drop: str
) -> None:
    github.faults.add("POST pulls", times=1, drop=drop)
    pull = await open_one(forge)
    assert [*github.pulls] == [pull.number]


async def test_one_that_is_there_already_is_taken(github: GitHubServer, forge: GitHub) -> None:
    first = await open_one(forge)
    assert (await open_one(forge, title="Other")).number == first.number
    assert [pull["title"] for pull in github.pulls.values()] == ["A fix"]


@pytest.mark.family(2)
@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"head": "same"}, 422, "No commits between main and same"),
        ({"head": "nowhere"}, 422, "invalid"),
        ({"base": "nowhere"}, 422, "invalid"),
        ({"title": "x" * 300}, 422, "title is too long"),
        ({"body": "x" * 70_000}, 422, "body is too long"),
    ],
)
async def test_what_github_does_not_take_is_an_error_in_its_words(
    forge: GitHub, changes: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(ForgeError, match=words) as caught:
        await open_one(forge, **changes)
    assert caught.value.status == status


async def test_actions_that_may_open_none_and_plans_without_drafts(github: GitHubServer, forge: GitHub) -> None:
    github.pull_settings.has_drafts = False
    with pytest.raises(ForgeError, match="Draft pull requests are not supported in this repository"):
        await open_one(forge, draft=True)
    github.pull_settings.may_create = False
    with pytest.raises(ForgeError, match="GitHub Actions is not permitted to create or approve pull requests"):
        await open_one(forge)
    github.permissions["pull_requests"] = "read"
    with pytest.raises(ForgeError, match="Resource not accessible by integration") as caught:
        await open_one(forge)
    assert "pull-requests: write" in caught.value.hint


async def test_reviewers_are_asked_all_or_none(github: GitHubServer, forge: GitHub) -> None:
    pull = await open_one(forge)
    for name, words in (
        ("github-actions[bot]", "cannot be requested from pull request author"),
        ("nobody", "only be requested from collaborators"),
        ("ada/team", "only be requested from collaborators"),
    ):
        with pytest.raises(ForgeError, match=words):
            await forge.request_reviewers(pull.number, ["ada", name])
    assert github.pulls[pull.number]["requested_reviewers"] == []
    await forge.request_reviewers(pull.number, ["ada", "mona"])
    assert (await forge.pull(pull.number)).reviewers == ("ada", "mona")


async def test_labels_are_added_to_those_that_are_there(github: GitHubServer, forge: GitHub) -> None:
    pull, issue = await open_one(forge), github.issue()
    await forge.add_labels(pull.number, ["one"])
    await forge.add_labels(pull.number, ["one", "two"])
    assert (await forge.pull(pull.number)).labels == ("one", "two")
    await forge.add_labels(issue["number"], ["three"])
    assert (await forge.issue(issue["number"])).labels == ("three",)
    assert len(await forge.changed_files(pull.number)) == 0

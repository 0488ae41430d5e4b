"""Pull requests that we open and keep up to date, with their reviewers and labels. Each is written once, also when an
answer is lost.

Source: https://docs.github.com/rest/pulls/pulls
"""

from collections.abc import Sequence
from typing import Any

from flue_ci.core.discussion import FileDiff, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import ApiCalls, ApiRequest

_MAX_PAGES = 3  # of open pull requests, the newest first


class PullRequestCalls(ApiCalls):
    """The part of `GitHub` that opens pull requests: a `PullRequestForge`."""

    async def default_branch(self) -> str:
        """Its name."""
        response = await self._send(ApiRequest("read the repository", "GET", f"/repos/{self._repo}"))
        return parse.text(response.data, "default_branch")

    async def open_pulls(self) -> list[PullRequest]:
        """The newest 300 of this repository, also those from forks."""
        query = {"state": "open", "sort": "created", "direction": "desc"}
        return [
            parse.pull(item)
            for item in await self._list("find our pull request", "/pulls", max_pages=_MAX_PAGES, **query)
        ]

    async def pulls_from(self, branch: str) -> list[PullRequest]:
        """Those that came from a branch of this repository, open or not."""
        query: dict[str, Any] = {"state": "all", "head": f"{self._repo.partition('/')[0]}:{branch}"}
        pulls = [parse.pull(item) for item in await self._list("find the branch's pull request", "/pulls", **query)]
        return [pull for pull in pulls if pull.head_ref == branch and not pull.from_fork]

    async def create_pull(self, *, title: str, body: str, head: str, base: str, draft: bool) -> PullRequest:
        """A pull request of the branch `head` of this repository. One that is there already, for instance because an
        earlier answer was lost, is returned as it is."""

        async def find_existing() -> dict[str, Any] | None:
            query: dict[str, Any] = {"state": "open", "head": f"{self._repo.partition('/')[0]}:{head}", "base": base}
            return next(iter(await self._list("look for the pull request", "/pulls", **query)), None)

        request = {"title": title, "body": body, "head": head, "base": base, "draft": draft}
        try:
            data = await self._fetch("open a pull request", "/pulls", "POST", request, find_existing)
        except ForgeError as error:
            if error.status != 422 or "already exists" not in str(error):
                raise
            existing = await find_existing()
            if existing is None:
                raise
            data = existing
        return parse.pull(data)

    async def edit_pull(self, number: int, *, title: str, body: str) -> PullRequest:
        """The pull request with another title and body."""
        request = {"title": title, "body": body}
        return parse.pull(await self._fetch("edit the pull request", f"/pulls/{number}", "PATCH", request))

    async def request_reviewers(self, number: int, names: Sequence[str]) -> None:
        """Logins, and teams as `owner/team`. GitHub takes all of them or none."""
        people = [name for name in names if "/" not in name]
        teams = [name.partition("/")[2] for name in names if "/" in name]
        request = {"reviewers": people, "team_reviewers": teams}
        await self._fetch("ask for a review", f"/pulls/{number}/requested_reviewers", "POST", request)

    async def has_reviews(self, number: int) -> bool:
        """Whether somebody has reviewed the pull request."""
        return bool(await self._list("read the reviews", f"/pulls/{number}/reviews", max_pages=1))

    async def add_labels(self, number: int, labels: Sequence[str]) -> None:
        """To an issue or pull request; a label that it has already stays."""
        path = f"/repos/{self._repo}/issues/{number}/labels"
        await self._send(ApiRequest("add labels", "POST", path, body={"labels": list(labels)}))

    async def changed_files(self, number: int) -> list[FileDiff]:
        """The files of a pull request with their diffs, at most 300; one that is large has none."""
        items = await self._list("read the changed files", f"/pulls/{number}/files", max_pages=_MAX_PAGES)
        return [parse.file(item) for item in items]

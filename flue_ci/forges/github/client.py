"""GitHub as a `Forge`: few requests, every page, bounded retries, and no write twice.

PyGithub is used for its requests only: its objects ask again for fields that they were not given.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from flue_ci.core.concurrency import together
from flue_ci.core.discussion import Account, Comment, Discussion, Issue, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Reaction
from flue_ci.core.retry import Retry, RetryPolicy
from flue_ci.core.text import human_seconds
from flue_ci.forges.github import parse
from flue_ci.forges.github.actions import ActionsCalls
from flue_ci.forges.github.git_data import GitDataCalls
from flue_ci.forges.github.http import (
    PER_PAGE,
    ApiRequest,
    ApiResponse,
    ConnectionPool,
    FindExisting,
    Items,
)
from flue_ci.forges.github.ledger import LedgerCalls
from flue_ci.forges.github.outputs import OutputCalls
from flue_ci.forges.github.pull_history import HistoryCalls
from flue_ci.forges.github.pull_requests import PullRequestCalls
from flue_ci.forges.github.retry import RETRY_POLICY, requested_wait, to_forge_error
from flue_ci.forges.github.reviews import ReviewCalls

Kind = Literal["issue", "review"]

MAX_FILES = 300
_FOLDERS = {"issue": "issues", "review": "pulls"}  # where the API has comments of that kind
_SHA = re.compile(r"[0-9a-f]{40}")
_BOT = "github-actions[bot]"  # the author of what a job's own token writes
_MAX_CLOCK_SKEW = 300  # seconds between our clock and GitHub's
_VIEWER_QUERY = "query{viewer{login databaseId}}"
_MINIMIZED_QUERY = "query($ids:[ID!]!){nodes(ids:$ids){id ... on Minimizable{isMinimized}}}"


class GitHub(GitDataCalls, HistoryCalls, PullRequestCalls, ReviewCalls, ActionsCalls, OutputCalls, LedgerCalls):
    """A `Forge` for `repo` (`owner/name`).

    `graphql_url` is derived from `api_url` when empty. `retry` bounds the repetitions of one call; `notify` is called
    with a line about each wait.
    """

    def __init__(
        self,
        *,
        repo: str,
        token: str,
        api_url: str = "https://api.github.com",
        graphql_url: str = "",
        retry: RetryPolicy = RETRY_POLICY,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._repo, self._token = repo, token.strip()
        self._api_url = api_url
        self._user_url = f"{api_url.rstrip('/')}/user"
        self._graphql_url = graphql_url or f"{api_url.rstrip('/').removesuffix('/v3')}/graphql"
        self._retry_policy, self._notify = retry, notify
        self._rest_connections = ConnectionPool(api_url, self._token)
        self._graphql_connections = ConnectionPool(self._graphql_url, self._token)
        self._me: Account | None = None
        self._me_lock = asyncio.Lock()
        self._roles: dict[str, str] = {}
        self.requests = 0

    async def me(self) -> Account:
        """The token's account. One request, however many callers there are."""
        async with self._me_lock:
            self._me = self._me or await self._fetch_me()
        return self._me

    async def role(self, login: str) -> str:
        """Asked once for each user: a run takes minutes.

        Source: https://docs.github.com/rest/collaborators/collaborators#get-repository-permissions-for-a-user
        """
        if login not in self._roles:
            self._roles[login] = await self._fetch_role(login)
        return self._roles[login]

    async def _fetch_role(self, login: str) -> str:
        try:
            data = await self._fetch("read a role", f"/collaborators/{quote(login, safe='')}/permission")
        except ForgeError as error:
            if error.status == 404:
                return "none"
            raise
        return parse.text(data, "role_name") or parse.text(data, "permission") or "none"

    async def pull(self, number: int) -> PullRequest:
        """The pull request. Raises `ForgeError` with status 404 when there is none."""
        return parse.pull(await self._fetch("read the pull request", f"/pulls/{number}"))

    async def issue(self, number: int) -> Issue:
        """The issue. Raises `ForgeError` with status 404 when there is none."""
        return parse.issue(await self._fetch("read the issue", f"/issues/{number}"))

    async def pulls_of(self, sha: str) -> list[PullRequest]:
        """GitHub's index of commits does not know those of forks: then the open pull requests are searched, the most
        recently updated ones first."""
        items = await self._list("find the commit's pull requests", f"/commits/{quote(sha, safe='')}/pulls")
        if not items:
            items = await self._list(
                "read the pull requests", "/pulls", state="open", sort="updated", direction="desc", max_pages=3
            )
        names = [parse.text(parse.mapping(parse.mapping(item, "base"), "repo"), "full_name") for item in items]
        items = [item for item, name in zip(items, names, strict=True) if name.lower() == self._repo.lower()]
        return [pull for pull in map(parse.pull, items) if pull.state == "open" and pull.head_sha == sha]

    async def commits_of(self, number: int) -> list[str]:
        """Source: https://docs.github.com/rest/pulls/pulls#list-commits-on-a-pull-request"""
        items = await self._list("read the commits", f"/pulls/{number}/commits")
        return [sha for item in items if _SHA.fullmatch(sha := parse.text(item, "sha"))]

    async def comments(self, number: int, kind: Kind = "issue") -> list[Comment]:
        """Oldest comment first. Of very many the first page and the newest ones."""
        first, newest, _ = await self._ends("read the comments", f"/{_FOLDERS[kind]}/{number}/comments")
        return [parse.comment(item, kind) for item in (*first, *newest)]

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        """At most the newest 300 comments of each kind are looked at."""

        async def fetch(kind: Kind) -> list[Comment]:
            query = {"since": since, "sort": "created", "direction": "desc"}
            items = await self._list("count recent requests", f"/{_FOLDERS[kind]}/comments", max_pages=3, **query)
            comments = [parse.comment(item, kind) for item in items]
            return [comment for comment in comments if comment.author.login == login and comment.created_at >= since]

        issue_comments, review_comments = await together(fetch("issue"), fetch("review"))
        return [*issue_comments, *review_comments]

    async def recent_runs(self, workflow: str, login: str, since: str) -> list[str]:
        """Source: https://docs.github.com/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow"""
        path = f"/actions/workflows/{quote(workflow, safe='')}/runs"
        query = {"actor": login, "created": f">={since}", "exclude_pull_requests": "true"}
        items = await self._list("count recent runs", path, key="workflow_runs", max_pages=3, **query)
        return [parse.text(item, "created_at") for item in items if parse.text(item.get("actor"), "login") == login]

    async def discussion(self, number: int, pull: PullRequest | None) -> Discussion:
        """The parts are read at the same time; of very many comments only the newest. What the token may not read is
        missing, with a note."""
        notes: list[str] = []

        async def part(name: str, path: str, read: Callable[..., Awaitable[Any]] = self._list, **options: Any) -> Any:
            try:
                return await read(f"read the {name}", path, **options)
            except ForgeError as error:
                if error.status not in (403, 404):
                    raise
                notes.append(f"the {name} could not be read ({error.status})")
                return []

        async def newest(name: str, path: str) -> Items:
            first, items, count = await part(name, path, self._ends) or ([], [], 0)
            if count == len(first) + len(items):
                return [*first, *items]
            notes.append(f"of about {count:,} {name} only the newest {len(items)} are read")
            return items

        issue_comments = newest("comments", f"/issues/{number}/comments")
        if pull is None:
            comments, issue = await together(issue_comments, self.issue(number))
            hidden_ids = await self._minimized_ids(comments, notes)
            values = tuple(parse.comment(item, "issue", hidden_ids) for item in comments)
            return Discussion(issue=issue, comments=values, notes=tuple(notes))
        comments, reviews, review_comments, files, checks = await together(
            issue_comments,
            newest("reviews", f"/pulls/{number}/reviews"),
            newest("review comments", f"/pulls/{number}/comments"),
            part("changed files", f"/pulls/{number}/files", max_pages=MAX_FILES // PER_PAGE),
            self._failed_checks(pull.head_sha, notes),
        )
        hidden_ids = await self._minimized_ids([*comments, *review_comments, *reviews], notes)
        if len(files) == MAX_FILES:
            notes.append(f"only the first {MAX_FILES} changed files are listed")
        return Discussion(
            pull=pull,
            comments=(
                *(parse.comment(item, "issue", hidden_ids) for item in comments),
                *(parse.comment(item, "review", hidden_ids) for item in review_comments),
            ),
            reviews=tuple(parse.review(item, hidden_ids) for item in reviews if item.get("state") != "PENDING"),
            files=tuple(parse.file(item) for item in files),
            checks=checks,
            notes=tuple(sorted(notes)),
        )

    async def comment(self, number: int, body: str) -> Comment:
        """A new comment below an issue or pull request."""
        path = f"/issues/{number}/comments"
        return await self._create_comment(path, path, "issue", body)

    async def reply(self, number: int, to: int, body: str) -> Comment:
        """GitHub takes replies only to the first comment of a thread: a reply to another one goes to the first."""
        path = f"/pulls/{number}/comments"
        try:
            return await self._create_comment(f"{path}/{to}/replies", path, "review", body)
        except ForgeError as error:
            if error.status not in (404, 422):
                raise
            data = await self._fetch("read the comment to reply to", f"/pulls/comments/{to}")
            first = parse.comment(data, "review").reply_to
            if first is None:
                raise
        return await self._create_comment(f"{path}/{first}/replies", path, "review", body)

    async def reread(self, comment: Comment) -> Comment:
        """The comment as it is now. Raises `ForgeError` with status 404 when it was deleted."""
        path = f"/{_FOLDERS[comment.kind]}/comments/{comment.id}"
        return parse.comment(await self._fetch("read the comment again", path), comment.kind)

    async def edit(self, comment: Comment, body: str) -> Comment:
        """The comment as it is now. Raises `ForgeError` with status 404 when it was deleted."""
        path = f"/{_FOLDERS[comment.kind]}/comments/{comment.id}"
        return parse.comment(await self._fetch("edit a comment", path, "PATCH", {"body": body}), comment.kind)

    async def react(self, number: int, comment: Comment | None, reaction: Reaction) -> None:
        """GitHub keeps one reaction of a kind by the same account."""
        path = f"/{_FOLDERS[comment.kind]}/comments/{comment.id}" if comment else f"/issues/{number}"
        await self._fetch("react", f"{path}/reactions", "POST", {"content": reaction})

    async def close(self) -> None:
        """Ends the connections. Idempotent."""
        await self._rest_connections.close()
        await self._graphql_connections.close()

    async def _fetch_me(self) -> Account:
        """A person's token knows its account. A job's own token learns it from GraphQL only; where that is closed to
        it, it is the account that all of them have."""
        if not self._token.startswith("ghs_"):
            try:
                return parse.account(await self._fetch("find out who we are", self._user_url))
            except ForgeError as error:
                if error.status not in (403, 404):
                    raise
        try:
            viewer = parse.mapping(await self._graphql(_VIEWER_QUERY, {}), "viewer")
        except ForgeError as error:
            if error.status == 401:
                raise
            viewer = {}
        login = parse.text(viewer, "login") or _BOT
        me = Account(id=parse.number(viewer, "databaseId"), login=login)
        return replace(me, kind="Bot") if login.endswith("[bot]") else me

    async def _minimized_ids(self, items: Items, notes: list[str]) -> frozenset[str]:
        """The node ids of those items that people have hidden. Only GraphQL knows."""
        ids = [item["node_id"] for item in items if isinstance(item.get("node_id"), str)]
        hidden_ids: set[str] = set()
        try:
            for start in range(0, len(ids), PER_PAGE):
                data = await self._graphql(_MINIMIZED_QUERY, {"ids": ids[start : start + PER_PAGE]})
                nodes = [node for node in data.get("nodes") or () if isinstance(node, dict)]
                hidden_ids |= {parse.text(node, "id") for node in nodes if node.get("isMinimized") is True}
        except ForgeError:
            notes.append("which comments are hidden could not be read")
        return frozenset(hidden_ids)

    async def _create_comment(self, path: str, list_path: str, kind: Kind, body: str) -> Comment:
        """Writes a comment once: when the response is lost, it is searched for before it is written again."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - _MAX_CLOCK_SKEW))

        async def find_existing() -> dict[str, Any] | None:
            me = await self.me()
            items = await self._list("look for the comment", list_path, since=since)
            return next((item for item in items if parse.is_same_comment(item, body, me)), None)

        return parse.comment(await self._fetch("write a comment", path, "POST", {"body": body}, find_existing), kind)

    async def _send(self, request: ApiRequest, find_existing: FindExisting | None = None) -> ApiResponse:
        """The response, after retries. `find_existing` looks for what an earlier attempt may have written. Raises
        `ForgeError`."""
        retry = Retry(self._retry_policy)
        connections = {self._graphql_url: self._graphql_connections}.get(request.url, self._rest_connections)
        while True:
            self.requests += 1
            response = await connections.send(request)
            if response.ok or (request.redirects and response.status == 302):
                return response
            wait = None
            if response.rate_limited or response.retryable:
                wait = retry.next_wait(requested_wait(response))
            if wait:
                status = response.status or "no answer"
                self._notify(f"waiting {human_seconds(wait)} for GitHub ({request.purpose}: {status})")
                await asyncio.sleep(wait)
            if find_existing and response.retryable:
                try:
                    if item := await find_existing():
                        return ApiResponse(200, {}, item)
                except ForgeError:
                    if wait is not None:
                        raise
            if wait is None:
                raise to_forge_error(request.purpose, response)


def preload() -> None:
    """Imports PyGithub, which takes a while."""
    import github  # noqa: F401


class DryRunGitHub(GitHub):
    """`record` gets a line for each request that would write; its answer is an object without anything."""

    def __init__(self, record: Callable[[str], None], **options: Any) -> None:
        super().__init__(**options)
        self._record = record

    async def _send(self, request: ApiRequest, find_existing: FindExisting | None = None) -> ApiResponse:
        is_query = request.url == self._graphql_url and str(request.body["query"]).lstrip().startswith("query")
        if request.verb == "GET" or is_query:
            return await super()._send(request)
        self._record(f"{request.verb:<6} {urlsplit(request.url).path} ({request.purpose})")
        return ApiResponse(200, {}, {})

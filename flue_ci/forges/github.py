"""GitHub, over PyGithub's requests: few calls, every page, patience with refusals, no write done twice.

The one home of `github`. Its objects are not used, because they ask again for what they were not told; the answers' own
fields are.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from flue_ci.discussion import Account, Comment, Discussion, FailedCheck, Issue, PullRequest
from flue_ci.errors import ForgeError
from flue_ci.forges.answers import (
    account_of,
    annotation_of,
    comment_of,
    file_of,
    is_ours,
    issue_of,
    pull_of,
    review_of,
    said_of,
    text_of,
)
from flue_ci.forges.patience import refused, wait_for
from flue_ci.ports import Reaction
from flue_ci.text import human_seconds

if TYPE_CHECKING:
    from github.Requester import Requester

TIMEOUT_SECONDS = 20
PER_PAGE, MOST_PAGES = 100, 50
MOST_FILES, MOST_CHECKS, ANNOTATIONS = 300, 10, 10
_BAD_ENDS = ("failure", "timed_out", "action_required", "startup_failure")
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
_BOT = "github-actions[bot]"  # whom a job's own token writes as
_MINIMIZED = "query($ids:[ID!]!){nodes(ids:$ids){id ... on Minimizable{isMinimized}}}"


class GitHub:
    """A `Forge`. `patience_seconds` bounds all waiting of one call; `notify` is told of it."""

    def __init__(
        self,
        *,
        repo: str,
        token: str,
        api_url: str = "https://api.github.com",
        patience_seconds: float = 120.0,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._repo, self._token, self._api_url = repo, token, api_url
        self._patience, self._notify = patience_seconds, notify
        self._requester: Requester | None = None
        self._me: Account | None = None
        self._lock = asyncio.Lock()  # PyGithub's connection is for one thread at a time

    async def me(self) -> Account:
        if self._me is None:
            self._me = await self._ask_me()
        return self._me

    async def role(self, login: str) -> str:
        try:
            found = await self._get("read a role", f"/collaborators/{quote(login, safe='')}/permission")
        except ForgeError as error:
            if error.status == 404:
                return "none"
            raise
        return str(found.get("role_name") or found.get("permission") or "none")

    async def account(self, login: str) -> Account:
        return account_of(await self._call("read an account", "GET", f"/users/{quote(login, safe='')}"))

    async def pull(self, number: int) -> PullRequest:
        return pull_of(await self._get("read the pull request", f"/pulls/{number}"))

    async def issue(self, number: int) -> Issue:
        return issue_of(await self._get("read the issue", f"/issues/{number}"))

    async def pulls_of(self, sha: str) -> list[PullRequest]:
        found = await self._list("find the commit's pull requests", f"/commits/{quote(sha, safe='')}/pulls")
        return [pull_of(each) for each in found if each.get("state") == "open"]

    async def comments(self, number: int) -> list[Comment]:
        found = await self._list("read the comments", f"/issues/{number}/comments")
        return [comment_of(each, "issue") for each in found]

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        several: list[Comment] = []
        kinds: tuple[tuple[Literal["issue", "review"], str], ...] = (("issue", "issues"), ("review", "pulls"))
        for kind, path in kinds:
            found = await self._list(
                "count recent requests", f"/{path}/comments", since=since, sort="created", direction="desc", pages=3
            )
            several += [comment_of(each, kind) for each in found]
        return [each for each in several if each.author.login == login and each.created >= since]

    async def discussion(self, number: int, pull: PullRequest | None) -> Discussion:
        """What the token may not read is missing, with a note."""
        notes: list[str] = []

        async def part(what: str, path: str, **how: Any) -> list[dict[str, Any]]:
            try:
                return await self._list(f"read {what}", path, **how)
            except ForgeError as error:
                if error.status not in (403, 404):
                    raise
                notes.append(f"{what} could not be read ({error.status})")
                return []

        comments = await part("the comments", f"/issues/{number}/comments")
        if pull is None:
            hidden = await self._minimized(comments, notes)
            issue = await self.issue(number)
            told = tuple(comment_of(each, "issue", hidden) for each in comments)
            return Discussion(issue=issue, comments=told, notes=tuple(notes))
        reviews = await part("the reviews", f"/pulls/{number}/reviews")
        lines = await part("the review comments", f"/pulls/{number}/comments")
        files = await part("the changed files", f"/pulls/{number}/files", pages=MOST_FILES // PER_PAGE)
        hidden = await self._minimized([*comments, *lines, *reviews], notes)
        return Discussion(
            pull=pull,
            comments=(
                *(comment_of(each, "issue", hidden) for each in comments),
                *(comment_of(each, "review", hidden) for each in lines),
            ),
            reviews=tuple(review_of(each, hidden) for each in reviews),
            files=tuple(file_of(each) for each in files),
            checks=await self._failed_checks(pull.head_sha, notes),
            notes=tuple(notes),
        )

    async def comment(self, number: int, body: str) -> Comment:
        return await self._create(f"/issues/{number}/comments", f"/issues/{number}/comments", "issue", {"body": body})

    async def reply(self, number: int, to: int, body: str) -> Comment:
        path = f"/pulls/{number}/comments"
        return await self._create(f"{path}/{to}/replies", path, "review", {"body": body})

    async def edit(self, comment: Comment, body: str) -> Comment:
        kind = "pulls" if comment.kind == "review" else "issues"
        path = f"/{kind}/comments/{comment.id}"
        return comment_of(await self._get("edit a comment", path, "PATCH", {"body": body}), comment.kind)

    async def react(self, number: int, comment: Comment | None, reaction: Reaction) -> None:
        path = f"/issues/{number}"
        if comment:
            path = f"/{'pulls' if comment.kind == 'review' else 'issues'}/comments/{comment.id}"
        await self._get("react", f"{path}/reactions", "POST", {"content": reaction})

    async def close(self) -> None:
        """Ends the connections."""
        if self._requester is not None:
            await asyncio.to_thread(self._requester.close)
            self._requester = None

    async def _ask_me(self) -> Account:
        """A user's token knows its user; a job's own token is told by GraphQL, or goes by the name it always has."""
        if not self._token.startswith("ghs_"):
            try:
                return account_of(await self._call("find out who we are", "GET", "/user"))
            except ForgeError as error:
                if error.status not in (403, 404):
                    raise
        try:
            viewer = (await self._graphql("query{viewer{login databaseId}}", {})).get("viewer") or {}
        except ForgeError:
            viewer = {}
        login, number = viewer.get("login"), viewer.get("databaseId")
        return Account(id=number if isinstance(number, int) else 0, login=login or _BOT, kind="Bot")

    async def _failed_checks(self, sha: str, notes: list[str]) -> tuple[FailedCheck, ...]:
        try:
            found = await self._list("read the checks", f"/commits/{sha}/check-runs", key="check_runs", pages=3)
            bad = [each for each in found if each.get("conclusion") in _BAD_ENDS][:MOST_CHECKS]
            return tuple([await self._failed_check(each) for each in bad])
        except ForgeError as error:
            if error.status not in (403, 404):
                raise
            notes.append(f"the checks of the head could not be read ({error.status}; `checks: read` allows it)")
            return ()

    async def _failed_check(self, run: Mapping[str, Any]) -> FailedCheck:
        output = run.get("output") or {}
        several: list[dict[str, Any]] = []
        if output.get("annotations_count"):
            several = await self._list("read annotations", f"/check-runs/{run['id']}/annotations", pages=5)
        return FailedCheck(
            name=text_of(run, "name"),
            conclusion=text_of(run, "conclusion"),
            url=text_of(run, "html_url"),
            summary=text_of(output, "summary") or text_of(output, "title"),
            annotations=tuple(annotation_of(each) for each in several[-ANNOTATIONS:]),
        )

    async def _minimized(self, things: list[dict[str, Any]], notes: list[str]) -> frozenset[str]:
        """The node ids of what somebody has hidden; only GraphQL tells."""
        ids = [each["node_id"] for each in things if isinstance(each.get("node_id"), str)]
        hidden: set[str] = set()
        try:
            for at in range(0, len(ids), PER_PAGE):
                found = await self._graphql(_MINIMIZED, {"ids": ids[at : at + PER_PAGE]})
                hidden |= {node["id"] for node in found.get("nodes") or () if node and node.get("isMinimized")}
        except ForgeError:
            notes.append("which comments are hidden could not be read")
        return frozenset(hidden)

    # How to ask

    async def _create(self, path: str, among: str, kind: Literal["issue", "review"], body: dict[str, str]) -> Comment:
        """A write whose answer got lost may have been done: what is there is looked at before it is done again."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))

        async def done() -> dict[str, Any] | None:
            me = await self.me()
            there = await self._list("look for the comment", among, since=since)
            return next((each for each in there if is_ours(each, body["body"], me)), None)

        return comment_of(await self._get("write a comment", path, "POST", body, done=done), kind)

    async def _get(
        self, what: str, path: str, verb: str = "GET", body: Any = None, *, done: Any = None
    ) -> dict[str, Any]:
        return await self._call(what, verb, f"/repos/{self._repo}{path}", body=body, done=done)

    async def _list(
        self, what: str, path: str, *, key: str = "", pages: int = MOST_PAGES, **parameters: str
    ) -> list[dict[str, Any]]:
        """All items of all pages (at most `pages`), by the links that GitHub gives."""
        found: list[dict[str, Any]] = []
        url: str = f"/repos/{self._repo}{path}"
        query: dict[str, Any] | None = {"per_page": PER_PAGE, **parameters}
        for _ in range(pages):
            headers, data = await self._patiently(what, "GET", url, query, None, None)
            items = data.get(key) if key and isinstance(data, dict) else data
            found += [each for each in items or () if isinstance(each, dict)]
            following = _NEXT.search(headers.get("link", ""))
            if not following:
                break
            url, query = following[1], None
        return found

    async def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        url = (await asyncio.to_thread(self._connection)).graphql_url
        answer = await self._call("ask GraphQL", "POST", url, body={"query": query, "variables": variables})
        if not isinstance(answer.get("data"), dict):
            raise ForgeError("GraphQL gave no data", status=400)
        data: dict[str, Any] = answer["data"]
        return data

    async def _call(self, what: str, verb: str, url: str, *, body: Any = None, done: Any = None) -> dict[str, Any]:
        _, data = await self._patiently(what, verb, url, None, body, done)
        return data if isinstance(data, dict) else {}

    async def _patiently(
        self, what: str, verb: str, url: str, query: dict[str, Any] | None, body: Any, done: Any
    ) -> tuple[dict[str, str], Any]:
        until = time.monotonic() + self._patience
        attempt = 0
        while True:
            status, headers, answer = await self._once(verb, url, query, body)
            if 200 <= status < 300:
                return headers, answer
            message = said_of(answer)
            wait = wait_for(status, headers, message, attempt)
            if wait is None or time.monotonic() + wait > until:
                raise refused(what, status, headers, message)
            if wait > 5:
                self._notify(f"GitHub asks us to wait {human_seconds(wait)} ({what}: {status})")
            await asyncio.sleep(wait)
            attempt += 1
            if done and (status == 0 or status >= 500) and (there := await done()):
                return {}, there

    async def _once(self, verb: str, url: str, query: Any, body: Any) -> tuple[int, dict[str, str], Any]:
        """Status, headers with small names, and the answer. Status 0: there was none."""

        def ask() -> tuple[int, dict[str, str], Any]:
            from github import GithubException

            try:
                headers, data = self._connection().requestJsonAndCheck(verb, url, parameters=query, input=body)
                return 200, {str(name).lower(): str(value) for name, value in headers.items()}, data
            except GithubException as error:
                return error.status, {str(k).lower(): str(v) for k, v in (error.headers or {}).items()}, error.data
            except (OSError, ValueError) as error:  # `requests` says OSError for whatever happens on the way
                return 0, {}, {"message": f"{type(error).__name__}: {error}"}

        async with self._lock:
            asking = asyncio.ensure_future(asyncio.to_thread(ask))
            try:
                return await asyncio.shield(asking)
            except asyncio.CancelledError:
                await asyncio.wait([asking])  # a thread cannot be stopped; the next call must not meet it
                raise

    def _connection(self) -> Requester:
        if self._requester is None:
            import github

            self._requester = github.Github(
                auth=github.Auth.Token(self._token) if self._token else None,
                base_url=self._api_url,
                timeout=TIMEOUT_SECONDS,
                user_agent="flue-ci",
                retry=None,  # ours looks at what was written before it writes again
                seconds_between_requests=0,
                seconds_between_writes=0,  # a run writes a few comments, ten seconds apart
            ).requester
        return self._requester

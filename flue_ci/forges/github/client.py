"""GitHub, over PyGithub's requests: few calls, every page, patience with refusals, no write done twice.

The one home of `github`. Its objects are not used, because they ask again for what they were not told; the answers' own
fields are.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from flue_ci.core.discussion import Account, Comment, Discussion, FailedCheck, Issue, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Reaction
from flue_ci.core.text import human_seconds
from flue_ci.forges.github.http import ApiRequest, ApiResponse, send
from flue_ci.forges.github.parse import (
    is_ours,
    parse_account,
    parse_annotation,
    parse_comment,
    parse_file,
    parse_issue,
    parse_number,
    parse_object,
    parse_pull,
    parse_review,
    parse_text,
)
from flue_ci.forges.github.retry import to_forge_error, wait_for

if TYPE_CHECKING:
    from github.Requester import Requester

AlreadyDone = Callable[[], Awaitable["dict[str, Any] | None"]]
Kind = Literal["issue", "review"]

TIMEOUT_SECONDS = 20
PER_PAGE, MOST_PAGES = 100, 300
MOST_FILES, MOST_CHECKS, ANNOTATIONS = 300, 10, 10
# Not `cancelled`: a newer push or a person ended it, which says nothing about the code.
_BAD_ENDS = ("failure", "timed_out", "action_required", "startup_failure")
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
_BOT = "github-actions[bot]"  # whom a job's own token writes as
_CLOCKS_DIFFER = 300  # seconds, at most, between ours and GitHub's
_MINIMIZED = "query($ids:[ID!]!){nodes(ids:$ids){id ... on Minimizable{isMinimized}}}"


class GitHub:
    """A `Forge`. `retry_timeout_seconds` bounds all waiting of one call; `notify` is told of it."""

    def __init__(
        self,
        *,
        repo: str,
        token: str,
        api_url: str = "https://api.github.com",
        retry_timeout_seconds: float = 120.0,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._repo, self._token, self._api_url = repo, token.strip(), api_url
        self._retry_timeout, self._notify = retry_timeout_seconds, notify
        self._idle: list[Requester] = []  # PyGithub's are for one call at a time
        self._me: Account | None = None
        self.requests = 0
        self._asking_me = asyncio.Lock()

    async def me(self) -> Account:
        async with self._asking_me:
            self._me = self._me or await self._ask_me()
        return self._me

    async def role(self, login: str) -> str:
        try:
            found = await self._get("read a role", f"/collaborators/{quote(login, safe='')}/permission")
        except ForgeError as error:
            if error.status == 404:
                return "none"
            raise
        return parse_text(found, "role_name") or parse_text(found, "permission") or "none"

    async def account(self, login: str) -> Account:
        return parse_account(await self._call("read an account", "GET", f"/users/{quote(login, safe='')}"))

    async def pull(self, number: int) -> PullRequest:
        return parse_pull(await self._get("read the pull request", f"/pulls/{number}"))

    async def issue(self, number: int) -> Issue:
        return parse_issue(await self._get("read the issue", f"/issues/{number}"))

    async def pulls_of(self, sha: str) -> list[PullRequest]:
        """A fork's commit belongs to no pull request in GitHub's index of commits: the open ones are looked through,
        those with news first."""
        found = await self._list("find the commit's pull requests", f"/commits/{quote(sha, safe='')}/pulls")
        if not found:
            found = await self._list(
                "read the pull requests", "/pulls", state="open", sort="updated", direction="desc", pages=3
            )
        here = [each for each in found if self._is_here(parse_object(each, "base"))]
        return [pull for pull in map(parse_pull, here) if pull.state == "open" and pull.head_sha == sha]

    async def comments(self, number: int, kind: Kind = "issue") -> list[Comment]:
        found = await self._list("read the comments", f"/{'pulls' if kind == 'review' else 'issues'}/{number}/comments")
        return [parse_comment(each, kind) for each in found]

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        """Of very busy hours, the newest ones."""

        async def of(kind: Kind, path: str) -> list[Comment]:
            found = await self._list(
                "count recent requests", path, since=since, sort="created", direction="desc", pages=3
            )
            return [parse_comment(each, kind) for each in found]

        several = await _together(of("issue", "/issues/comments"), of("review", "/pulls/comments"))
        return [
            each for comments in several for each in comments if each.author.login == login and each.created_at >= since
        ]

    async def recent_runs(self, workflow: str, login: str, since: str) -> list[str]:
        path = f"/actions/workflows/{quote(workflow, safe='')}/runs"
        how = {"actor": login, "created": f">={since}", "exclude_pull_requests": "true"}
        found = await self._list("count recent runs", path, key="workflow_runs", pages=3, **how)
        return [parse_text(each, "created_at") for each in found if parse_text(each.get("actor"), "login") == login]

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

        said = part("the comments", f"/issues/{number}/comments")
        if pull is None:
            comments, issue = await _together(said, self.issue(number))
            hidden = await self._minimized(comments, notes)
            told = tuple(parse_comment(each, "issue", hidden) for each in comments)
            return Discussion(issue=issue, comments=told, notes=tuple(notes))
        comments, reviews, lines, files, checks = await _together(
            said,
            part("the reviews", f"/pulls/{number}/reviews"),
            part("the review comments", f"/pulls/{number}/comments"),
            part("the changed files", f"/pulls/{number}/files", pages=MOST_FILES // PER_PAGE),
            self._failed_checks(pull.head_sha, notes),
        )
        hidden = await self._minimized([*comments, *lines, *reviews], notes)
        if len(files) == MOST_FILES:
            notes.append(f"only the first {MOST_FILES} changed files are listed")
        return Discussion(
            pull=pull,
            comments=(
                *(parse_comment(each, "issue", hidden) for each in comments),
                *(parse_comment(each, "review", hidden) for each in lines),
            ),
            reviews=tuple(parse_review(each, hidden) for each in reviews if each.get("state") != "PENDING"),
            files=tuple(parse_file(each) for each in files),
            checks=checks,
            notes=tuple(sorted(notes)),
        )

    async def comment(self, number: int, body: str) -> Comment:
        return await self._create(f"/issues/{number}/comments", f"/issues/{number}/comments", "issue", {"body": body})

    async def reply(self, number: int, to: int, body: str) -> Comment:
        path = f"/pulls/{number}/comments"
        try:
            return await self._create(f"{path}/{to}/replies", path, "review", {"body": body})
        except ForgeError as error:
            if error.status not in (404, 422):
                raise
            asked = parse_comment(await self._get("read the comment to reply to", f"/pulls/comments/{to}"), "review")
            if asked.reply_to is None:
                raise
        # GitHub takes replies to the first comment of a thread only.
        return await self._create(f"{path}/{asked.reply_to}/replies", path, "review", {"body": body})

    async def edit(self, comment: Comment, body: str) -> Comment:
        kind = "pulls" if comment.kind == "review" else "issues"
        path = f"/{kind}/comments/{comment.id}"
        return parse_comment(await self._get("edit a comment", path, "PATCH", {"body": body}), comment.kind)

    async def react(self, number: int, comment: Comment | None, reaction: Reaction) -> None:
        path = f"/issues/{number}"
        if comment:
            path = f"/{'pulls' if comment.kind == 'review' else 'issues'}/comments/{comment.id}"
        await self._get("react", f"{path}/reactions", "POST", {"content": reaction})

    async def close(self) -> None:
        """Ends the connections."""
        while self._idle:
            await asyncio.to_thread(self._idle.pop().close)

    async def _ask_me(self) -> Account:
        """A user's token knows its user; a job's own token is told by GraphQL, or goes by the name it always has."""
        if not self._token.startswith("ghs_"):
            try:
                return parse_account(await self._call("find out who we are", "GET", "/user"))
            except ForgeError as error:
                if error.status not in (403, 404):
                    raise
        try:
            viewer = (await self._graphql("query{viewer{login databaseId}}", {})).get("viewer")
        except ForgeError as error:
            if error.status == 401:
                raise
            viewer = None
        login = parse_text(viewer, "login") or _BOT
        return Account(
            id=parse_number(viewer, "databaseId"), login=login, kind="Bot" if login.endswith("[bot]") else "User"
        )

    def _is_here(self, base: Mapping[str, Any]) -> bool:
        return parse_text(parse_object(base, "repo"), "full_name").lower() == self._repo.lower()

    async def _failed_checks(self, sha: str, notes: list[str]) -> tuple[FailedCheck, ...]:
        """Of each check its latest run, when that did not succeed."""
        try:
            found = await self._list("read the checks", f"/commits/{sha}/check-runs", key="check_runs", pages=3)
            latest = {
                (parse_text(each.get("app"), "slug"), parse_text(each, "name")): each for each in sorted(found, key=_id)
            }
            bad = [each for each in latest.values() if each.get("conclusion") in _BAD_ENDS]
            if len(bad) > MOST_CHECKS:
                notes.append(f"only the last {MOST_CHECKS} of {len(bad)} failed checks are listed")
            return tuple(await _together(*(self._failed_check(each) for each in bad[-MOST_CHECKS:])))
        except ForgeError as error:
            if error.status not in (403, 404):
                raise
            notes.append(f"the checks of the head could not be read ({error.status}; `checks: read` allows it)")
            return ()

    async def _failed_check(self, run: Mapping[str, Any]) -> FailedCheck:
        output = run.get("output")
        several: list[dict[str, Any]] = []
        if parse_number(output, "annotations_count"):
            several = await self._list("read annotations", f"/check-runs/{_id(run)}/annotations", pages=5)
        return FailedCheck(
            name=parse_text(run, "name"),
            conclusion=parse_text(run, "conclusion"),
            url=parse_text(run, "html_url"),
            summary=parse_text(output, "summary") or parse_text(output, "title"),
            annotations=tuple(parse_annotation(each) for each in several[-ANNOTATIONS:]),
        )

    async def _minimized(self, things: list[dict[str, Any]], notes: list[str]) -> frozenset[str]:
        """The node ids of what somebody has hidden; only GraphQL tells."""
        ids = [each["node_id"] for each in things if isinstance(each.get("node_id"), str)]
        hidden: set[str] = set()
        try:
            for at in range(0, len(ids), PER_PAGE):
                found = await self._graphql(_MINIMIZED, {"ids": ids[at : at + PER_PAGE]})
                nodes = [node for node in found.get("nodes") or () if isinstance(node, dict)]
                hidden |= {parse_text(node, "id") for node in nodes if node.get("isMinimized") is True}
        except ForgeError:
            notes.append("which comments are hidden could not be read")
        return frozenset(hidden)

    # How to ask

    async def _create(self, path: str, among: str, kind: Kind, body: dict[str, str]) -> Comment:
        """A write whose answer got lost may have been done: what is there is looked at before it is done again."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - _CLOCKS_DIFFER))

        async def done() -> dict[str, Any] | None:
            me = await self.me()
            there = await self._list("look for the comment", among, since=since)
            return next((each for each in there if is_ours(each, body["body"], me)), None)

        return parse_comment(await self._get("write a comment", path, "POST", body, done=done), kind)

    async def _get(
        self, what: str, path: str, verb: str = "GET", body: Any = None, *, done: AlreadyDone | None = None
    ) -> dict[str, Any]:
        return await self._call(what, verb, f"/repos/{self._repo}{path}", body=body, done=done)

    async def _list(
        self, what: str, path: str, *, key: str = "", pages: int = MOST_PAGES, **parameters: str
    ) -> list[dict[str, Any]]:
        """All items of all pages (at most `pages`), by the links that GitHub gives."""
        found: list[dict[str, Any]] = []
        asked = ApiRequest(what, "GET", f"/repos/{self._repo}{path}", {"per_page": PER_PAGE, **parameters})
        for _ in range(pages):
            answer = await self._patiently(asked)
            items = answer.data.get(key) if key and isinstance(answer.data, dict) else answer.data
            found += [each for each in items or () if isinstance(each, dict)]
            following = _NEXT.search(answer.headers.get("link", ""))
            if not following:
                break
            asked = ApiRequest(what, "GET", following[1])
        return found

    async def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._api_url.rstrip('/').removesuffix('/v3')}/graphql"
        answer = await self._call("ask GraphQL", "POST", url, body={"query": query, "variables": variables})
        if not isinstance(answer.get("data"), dict):
            raise ForgeError("GraphQL gave no data", status=400)
        data: dict[str, Any] = answer["data"]
        return data

    async def _call(
        self, what: str, verb: str, url: str, *, body: Any = None, done: AlreadyDone | None = None
    ) -> dict[str, Any]:
        data = (await self._patiently(ApiRequest(what, verb, url, body=body), done)).data
        if not isinstance(data, dict):
            raise ForgeError(f"GitHub's answer is not understood ({what})", hint="is the address of its API right?")
        return data

    async def _patiently(self, asked: ApiRequest, done: AlreadyDone | None = None) -> ApiResponse:
        until = time.monotonic() + self._retry_timeout
        attempt = 0
        while True:
            answer = await self._once(asked)
            if answer.ok:
                return answer
            wait = wait_for(answer, attempt)
            if wait is None or time.monotonic() + wait > until:
                if done and answer.retryable:
                    with suppress(ForgeError):
                        if there := await done():
                            return ApiResponse(200, {}, there)
                raise to_forge_error(asked.what, answer)
            if wait:
                self._notify(
                    f"GitHub lets us wait {human_seconds(wait)} ({asked.what}: {answer.status or 'no answer'})"
                )
            await asyncio.sleep(wait)
            attempt += 1
            if done and answer.retryable and (there := await done()):
                return ApiResponse(200, {}, there)

    async def _once(self, asked: ApiRequest) -> ApiResponse:
        self.requests += 1
        requester = self._idle.pop() if self._idle else None

        def ask() -> tuple[Requester, ApiResponse]:
            connection = requester or self._connect()
            return connection, send(asked, connection.requestJson, self._token)

        def give_back(asking: asyncio.Future[tuple[Requester, ApiResponse]]) -> None:
            if not asking.cancelled() and asking.exception() is None:
                self._idle.append(asking.result()[0])

        # A thread cannot be stopped. Whoever is cancelled does not wait for it; a write that has begun is done.
        asking = asyncio.ensure_future(asyncio.to_thread(ask))
        asking.add_done_callback(give_back)
        return (await asyncio.shield(asking))[1]

    def _connect(self) -> Requester:
        import github

        return github.Github(
            auth=github.Auth.Token(self._token) if self._token else None,
            base_url=self._api_url,
            timeout=TIMEOUT_SECONDS,
            user_agent="flue-ci",
            retry=None,  # ours looks at what was written before it writes again, and can be interrupted
            seconds_between_requests=0,
            seconds_between_writes=0,  # a run writes a few comments, ten seconds apart
        ).requester


def _id(found: Mapping[str, Any]) -> int:
    return parse_number(found, "id")


def preload() -> None:
    """Imports PyGithub, which takes a while."""
    import github  # noqa: F401


async def _together(*several: Coroutine[Any, Any, Any]) -> list[Any]:
    """All at once; the first that fails ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in several]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]

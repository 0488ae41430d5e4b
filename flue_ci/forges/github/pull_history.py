"""What GitHub itself recorded of a pull request: its events, the commits that its branch was at, checks of its head.

All times are GitHub's. The requests are the client's: `send` and `list_items` are its methods.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from flue_ci.core.discussion import PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import ApiRequest, ApiResponse

ListItems = Callable[..., Awaitable[list[dict[str, Any]]]]

PER_PAGE, MAX_PAGES = 100, 10  # of events since a request
_SHA = re.compile(r"[0-9a-f]{40}")


async def events_since(send: Callable[[ApiRequest], Awaitable[ApiResponse]], url: str, since: str) -> frozenset[str]:
    """The kinds of events since then. The list is in order of time, so its last pages are read.

    Source: https://docs.github.com/rest/issues/events#list-issue-events
    """
    purpose = "read what was changed"
    response = await send(ApiRequest(purpose, "GET", url, {"per_page": PER_PAGE}))
    names: set[str] = set()
    direction = "last"
    for _ in range(MAX_PAGES):
        if link := response.links.get(direction):
            response = await send(ApiRequest(purpose, "GET", link))
        items = [item for item in response.data or () if isinstance(item, dict)]
        names |= {parse.text(item, "event") for item in items if parse.text(item, "created_at") >= since}
        if "prev" not in response.links or any("" < parse.text(item, "created_at") < since for item in items):
            return frozenset(names)
        direction = "prev"
    raise ForgeError("so much was done to the pull request since the request that it cannot be read", hint="ask again")


async def recorded_head(list_items: ListItems, pull: PullRequest, time: str) -> str:
    """The commit that the branch was at before `time`; "" when that is not recorded.

    Source: https://docs.github.com/rest/repos/repos#list-repository-activities
    """
    ref, repo = f"refs/heads/{pull.head_ref}", quote(pull.head_repo)
    if not repo or not time:
        return ""
    items = await list_items("read the branch's history", "/activity", repo=repo, max_pages=1, ref=ref)
    before = [item for item in items if item.get("ref") == ref and _is_before(parse.text(item, "timestamp"), time)]
    newest = max(before, key=lambda item: parse.text(item, "timestamp"), default={})
    sha = parse.text(newest, "after")
    if _SHA.fullmatch(sha) and sha.strip("0"):  # zeros: the branch was deleted
        return sha
    return ""


async def was_checked_before(list_items: ListItems, pull: PullRequest, time: str) -> bool:
    """Whether the present head was checked as this pull request's before `time`. A commit may have been another
    branch's before, or this branch's before the pull request: what is to count has to name this branch and repository.
    A check suite names neither when the commit is a fork's, so that of a fork only workflow runs count.

    Sources: https://docs.github.com/rest/checks/suites, https://docs.github.com/rest/actions/workflow-runs
    """
    suites: list[dict[str, Any]] = []
    if not pull.from_fork:
        path = f"/commits/{quote(pull.head_sha)}/check-suites"
        suites = await list_items("read the check suites", path, key="check_suites", max_pages=1)
    query = {"key": "workflow_runs", "head_sha": pull.head_sha}
    runs = await list_items("read the workflow runs", "/actions/runs", max_pages=1, **query)
    runs = [run for run in runs if parse.number(run.get("head_repository"), "id") == pull.head_repo_id]
    return any(_is_of(check, pull, time) for check in (*suites, *runs))


def _is_of(check: Mapping[str, Any], pull: PullRequest, time: str) -> bool:
    """Whether a check suite or workflow run is of the pull request's branch and head, and was made before `time` and
    after the pull request."""
    created = parse.text(check, "created_at")
    is_named = (check.get("head_sha"), check.get("head_branch")) == (pull.head_sha, pull.head_ref)
    return is_named and _is_before(created, time) and not _is_before(created, pull.created_at)


def _is_before(moment: str, time: str) -> bool:
    """Whether a time that GitHub gave lies in a second before that of `time`. One that is missing does not."""
    return "" < moment[:19] < time[:19]

"""What GitHub itself recorded of a pull request: its events, the commits that its branch was at, checks of its head.

All times are GitHub's.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flue_ci.core.concurrency import together
from flue_ci.core.discussion import FailedCheck, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import PER_PAGE, ApiCalls, ApiRequest, Items, page_items

MAX_PAGES = 10  # of events since a request
_NOT_SHOWN = (301, 302, 307, 403, 404, 410, 422, 451)  # the token may not read it, or it is not there
_SHA = re.compile(r"[0-9a-f]{40}")
MAX_CHECKS, MAX_ANNOTATIONS = 10, 10
# Not `cancelled`: a newer push or a person ended it, which says nothing about the code.
_FAILURES = ("failure", "timed_out", "action_required", "startup_failure")


class HistoryCalls(ApiCalls):
    """The part of `GitHub` that reads what it has recorded."""

    async def events_since(self, number: int, since: str) -> frozenset[str]:
        """At most the newest thousand events are looked at; more of them since then are a `ForgeError`. A server that
        does not have the list may have the same names in the timeline.

        Source: https://docs.github.com/rest/issues/events#list-issue-events
        """
        url = f"/repos/{self._repo}/issues/{number}"
        try:
            return await self._events_since(f"{url}/events", since)
        except ForgeError as error:
            if error.status != 404:
                raise
        return await self._events_since(f"{url}/timeline", since)

    async def _events_since(self, url: str, since: str) -> frozenset[str]:
        """The kinds of events since then. The list is in order of time, so its last pages are read."""
        purpose = "read what was changed"
        response = await self._send(ApiRequest(purpose, "GET", url, {"per_page": PER_PAGE}))
        names: set[str] = set()
        direction = "last"
        for _ in range(MAX_PAGES):
            if link := response.links.get(direction):
                response = await self._send(ApiRequest(purpose, "GET", link))
            items = page_items(response)
            names |= {parse.text(item, "event") for item in items if parse.text(item, "created_at") >= since}
            if "prev" not in response.links or any("" < parse.text(item, "created_at") < since for item in items):
                return frozenset(names)
            direction = "prev"
        message = "so much was done to the pull request since the request that it cannot be read"
        raise ForgeError(message, hint="ask again")

    async def head_at(self, pull: PullRequest, time: str) -> str:
        """By the activity of the repository that the head is in.

        Source: https://docs.github.com/rest/repos/repos#list-repository-activities
        """
        ref, repo = f"refs/heads/{pull.head_ref}", quote(pull.head_repo)
        if not repo or not time:
            return ""
        purpose = "read the branch's history"
        items = await self._list_if_allowed(purpose, "/activity", repo=repo, max_pages=1, ref=ref)
        before = [item for item in items if item.get("ref") == ref and _is_before(parse.text(item, "timestamp"), time)]
        newest = max(before, key=lambda item: parse.text(item, "timestamp"), default={})
        sha = parse.text(newest, "after")
        if _SHA.fullmatch(sha) and sha.strip("0"):  # zeros: the branch was deleted
            return sha
        return ""

    async def was_checked_before(self, pull: PullRequest, time: str) -> bool:
        """By check suites (`checks: read`), and by workflow runs where the job may read them (`actions: read`).

        A commit may have been another branch's before, or this branch's before the pull request: what is to count has
        to name this branch and repository. A check suite names neither when the commit is a fork's, so that of a fork
        only workflow runs count.

        Sources: https://docs.github.com/rest/checks/suites, https://docs.github.com/rest/actions/workflow-runs
        """
        suites: Items = []
        if not pull.from_fork:
            path = f"/commits/{quote(pull.head_sha)}/check-suites"
            suites = await self._list_if_allowed("read the check suites", path, key="check_suites", max_pages=1)
        query = {"key": "workflow_runs", "head_sha": pull.head_sha}
        runs = await self._list_if_allowed("read the workflow runs", "/actions/runs", max_pages=1, **query)
        runs = [run for run in runs if parse.number(run.get("head_repository"), "id") == pull.head_repo_id]
        return any(_is_of(check, pull, time) for check in (*suites, *runs))

    async def _failed_checks(self, sha: str, notes: list[str]) -> tuple[FailedCheck, ...]:
        """The latest run of each check of a commit, where that did not succeed, with its last annotations."""
        try:
            runs = await self._list("read the checks", f"/commits/{sha}/check-runs", key="check_runs", max_pages=3)
            runs.sort(key=lambda run: parse.number(run, "id"))
            latest = {(parse.text(run.get("app"), "slug"), parse.text(run, "name")): run for run in runs}
            failures = [run for run in latest.values() if run.get("conclusion") in _FAILURES]
            if len(failures) > MAX_CHECKS:
                notes.append(f"only the last {MAX_CHECKS} of {len(failures)} failed checks are listed")
            return tuple(await together(*(self._failed_check(run) for run in failures[-MAX_CHECKS:])))
        except ForgeError as error:
            if error.status not in (403, 404):
                raise
            notes.append(f"the checks of the head could not be read ({error.status}; `checks: read` allows it)")
            return ()

    async def _failed_check(self, run: Mapping[str, Any]) -> FailedCheck:
        output, annotations = run.get("output"), Items()
        path, count = f"/check-runs/{parse.number(run, 'id')}/annotations", parse.number(output, "annotations_count")
        if count > 0:
            last_page = str((count - 1) // PER_PAGE + 1)
            annotations = await self._list("read annotations", path, max_pages=1, page=last_page)
        return FailedCheck(
            **parse.fields(run, "name", "conclusion", url="html_url"),
            summary=parse.text(output, "summary") or parse.text(output, "title"),
            annotations=tuple(parse.annotation(item) for item in annotations[-MAX_ANNOTATIONS:]),
        )

    async def _list_if_allowed(self, purpose: str, path: str, **options: Any) -> Items:
        """As `_list`; nothing where the token may not read, or the server has no such list."""
        try:
            return await self._list(purpose, path, **options)
        except ForgeError as error:
            if error.status in _NOT_SHOWN:
                return []
            raise


def _is_of(check: Mapping[str, Any], pull: PullRequest, time: str) -> bool:
    """Whether a check suite or workflow run is of the pull request's branch and head, and was made before `time` and
    after the pull request."""
    created = parse.text(check, "created_at")
    is_named = (check.get("head_sha"), check.get("head_branch")) == (pull.head_sha, pull.head_ref)
    return is_named and _is_before(created, time) and not _is_before(created, pull.created_at)


def _is_before(moment: str, time: str) -> bool:
    """Whether a time that GitHub gave lies in a second before that of `time`. One that is missing does not."""
    return "" < moment[:19] < time[:19]

"""Assignees and check runs by GitHub's API.

Source: https://docs.github.com/rest/issues/assignees and
https://docs.github.com/rest/checks/runs
"""

from collections.abc import Sequence
from typing import Any

from flue_ci.core.errors import ForgeError
from flue_ci.core.outputs import CheckRun
from flue_ci.core.proposals import Annotation
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import ApiCalls

MAX_ANNOTATIONS = 50  # that one request takes
MAX_MESSAGE, MAX_TITLE, MAX_SUMMARY = 60_000, 255, 65_000  # GitHub takes 64 KB, 255 and 65,535 characters


class OutputCalls(ApiCalls):
    """The part of `GitHub` that is an `OutputsForge`, but for labels, which pull requests need too."""

    async def assign(self, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """GitHub says nothing of people who cannot be assigned: they are missing in its answer."""
        data = await self._fetch("assign people", f"/issues/{number}/assignees", "POST", {"assignees": list(logins)})
        present = {parse.text(account, "login").lower() for account in parse.items(data, "assignees")}
        return tuple(login for login in logins if login.lower() in present)

    async def write_check_run(self, check: CheckRun) -> str:
        """Annotations beyond the first fifty are added by further requests, also by a second attempt."""
        data = await self._existing(check)
        if data is None:
            body = {
                "name": check.name,
                "head_sha": check.sha,
                "external_id": check.key,
                "status": "completed",
                "conclusion": check.conclusion,
                "output": _output(check, check.annotations[:MAX_ANNOTATIONS]),
            }
            data = await self._fetch("write a check run", "/check-runs", "POST", body, lambda: self._existing(check))
        path = f"/check-runs/{parse.number(data, 'id')}"
        start = parse.number(parse.mapping(data, "output"), "annotations_count")
        for index in range(start, len(check.annotations), MAX_ANNOTATIONS):
            batch = check.annotations[index : index + MAX_ANNOTATIONS]
            await self._fetch("add annotations", path, "PATCH", {"output": _output(check, batch)})
        return parse.text(data, "html_url")

    async def _existing(self, check: CheckRun) -> dict[str, Any] | None:
        """The check run of that key, None when there is none, or when none may be read."""
        path = f"/commits/{check.sha}/check-runs"
        try:
            runs = await self._list("look for the check run", path, key="check_runs", check_name=check.name)
        except ForgeError as error:
            if error.status in (403, 404):
                return None
            raise
        return next((run for run in runs if parse.text(run, "external_id") == check.key), None)


def _output(check: CheckRun, annotations: Sequence[Annotation]) -> dict[str, Any]:
    items = [
        {
            "path": note.path,
            "start_line": note.start_line,
            "end_line": note.end_line,
            "annotation_level": note.level,
            "title": note.title[:MAX_TITLE],
            "message": note.message[:MAX_MESSAGE],
        }
        for note in annotations
    ]
    return {"title": check.title[:MAX_TITLE], "summary": check.summary[:MAX_SUMMARY], "annotations": items}

"""The failing checks of a commit, with their last annotations. `list_items` is the client's."""

from collections.abc import Mapping
from typing import Any

from flue_ci.core.concurrency import together
from flue_ci.core.discussion import FailedCheck
from flue_ci.core.errors import ForgeError
from flue_ci.forges.github import parse
from flue_ci.forges.github.pull_history import PER_PAGE, ListItems

MAX_CHECKS, MAX_ANNOTATIONS = 10, 10
# Not `cancelled`: a newer push or a person ended it, which says nothing about the code.
_FAILURES = ("failure", "timed_out", "action_required", "startup_failure")


async def failed_checks(list_items: ListItems, sha: str, notes: list[str]) -> tuple[FailedCheck, ...]:
    """The latest run of each check, where that did not succeed."""
    try:
        runs = await list_items("read the checks", f"/commits/{sha}/check-runs", key="check_runs", max_pages=3)
        runs.sort(key=lambda run: parse.number(run, "id"))
        latest = {(parse.text(run.get("app"), "slug"), parse.text(run, "name")): run for run in runs}
        failures = [run for run in latest.values() if run.get("conclusion") in _FAILURES]
        if len(failures) > MAX_CHECKS:
            notes.append(f"only the last {MAX_CHECKS} of {len(failures)} failed checks are listed")
        return tuple(await together(*(_failed_check(list_items, run) for run in failures[-MAX_CHECKS:])))
    except ForgeError as error:
        if error.status not in (403, 404):
            raise
        notes.append(f"the checks of the head could not be read ({error.status}; `checks: read` allows it)")
        return ()


async def _failed_check(list_items: ListItems, run: Mapping[str, Any]) -> FailedCheck:
    output = run.get("output")
    path, count = f"/check-runs/{parse.number(run, 'id')}/annotations", parse.number(output, "annotations_count")
    annotations: list[dict[str, Any]] = []
    if count > 0:
        last_page = str((count - 1) // PER_PAGE + 1)
        annotations = await list_items("read annotations", path, max_pages=1, page=last_page)
    return FailedCheck(
        name=parse.text(run, "name"),
        conclusion=parse.text(run, "conclusion"),
        url=parse.text(run, "html_url"),
        summary=parse.text(output, "summary") or parse.text(output, "title"),
        annotations=tuple(parse.annotation(item) for item in annotations[-MAX_ANNOTATIONS:]),
    )

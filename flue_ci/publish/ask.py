"""`publish.when: ask`: what would be pushed waits for a person who ticks the box in the comment.

The box is a line of the comment that names the saved run by digests, `gate.push_box` has its form. It is there once
the report is an artifact, and is replaced by what became of it. Pure but for the look at what may be pushed.
"""

import hashlib
import re
from dataclasses import replace

from flue_ci.core.text import one_line
from flue_ci.gate.push_box import PushBox, box_line
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push import PushRefused, check_suggestions, prepare_push, refused_by_place
from flue_ci.report.delivery import RUN_PAGE
from flue_ci.report.publication import publication_line
from flue_ci.report.report import Published, Report
from flue_ci.safety.markdown import escape, inline_code

_WORDS = {
    "commit": "**Push this change** to the branch of this pull request",
    "pull-request": "**Push this change** to a new branch, and open a pull request",
    "suggest": "**Suggest this change** on the lines of this pull request",
}
_SHA, _DIGEST = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


class AskPublisher:
    """Stands in for the `Publisher` of the changes: nothing is pushed. What could not be pushed anyway is refused now,
    so that nobody ticks a box in vain."""

    needs_forge = True

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """Raises `FlueError` when GitHub is out of reach."""
        changes = target.publishing.changes
        if reason := _refusal(report, target):
            return refusal_of(changes, reason)
        try:
            if changes == "suggest":  # which leaves out what may not be pushed
                check_suggestions(report, target)
            else:
                await prepare_push(report, target)
        except PushRefused as refusal:
            return refusal_of(changes, str(refusal))
        detail = "waits for somebody who ticks the box in the comment"
        return Published(publisher=changes, state="waiting", detail=detail)


def _refusal(report: Report, target: PublishTarget) -> str:
    """Why no box can be offered, as far as that is known without a look at the changes; "" for no reason."""
    if target.ask_refusal or report.artifact.missing:
        return target.ask_refusal or report.artifact.missing
    if report.trigger is None or not report.artifact.name:
        return "the report is no artifact of the run"
    return refused_by_place(report, target)


def refusal_of(publisher: str, reason: str) -> Published:
    """The entry for a box that is not offered."""
    return Published(publisher=publisher, state="refused", detail=f"no box is offered: {reason}")


def without_boxes(report: Report, reason: str) -> Report:
    """The report after it turned out that no box can be offered."""
    entries = [refusal_of(each.publisher, reason) if each.state == "waiting" else each for each in report.published]
    return replace(report, published=tuple(entries))


def box_of(report: Report, patch: bytes) -> str:
    """The box for the change of a report that waits for one, as a line of Markdown; "" where there is none."""
    entry = next((each for each in report.published if each.state == "waiting"), None)
    trigger = report.trigger
    if entry is None or trigger is None or trigger.in_thread or not _DIGEST.fullmatch(report.artifact.digest):
        return ""
    run = RUN_PAGE.fullmatch(trigger.run_url)
    if not run or not _SHA.fullmatch(trigger.head_sha):
        return ""
    box = PushBox(
        agent=report.agent,
        workflow=trigger.workflow,
        run=int(run[3]),
        attempt=int(run[4] or 1),
        head=trigger.head_sha,
        artifact=report.artifact.digest,
        patch=hashlib.sha256(patch).hexdigest(),
    )
    words = _WORDS.get(entry.publisher) or f"**Publish this change** by {escape(one_line(entry.publisher, 60))}"
    *roles, last = [one_line(role, 40) for role in report.publish.roles[:9]] or ["none"]
    people = " or ".join(filter(None, [", ".join(roles), last]))
    return box_line(box, f"{words} · for people with the role {escape(people)}")


def outcome_line(entry: Published, login: str, request: str) -> str:
    """What stands in the place of the box: what became of the change, and who ticked. `request` is how to ask for a
    fresh run, for a change that was not pushed."""
    line = f"{publication_line(entry)} · ticked by {inline_code(login)}"
    if entry.state != "done":
        line += f" · for a fresh run write {inline_code(request)}"
    return line

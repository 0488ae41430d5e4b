"""The answer to a request: a comment that follows the run while it works and ends as the report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flue_ci.core.errors import EXIT_FAILED, ForgeError
from flue_ci.core.events import ProgressEvent, StageEnded, StageStarted, TurnEnded
from flue_ci.core.messages import Usage
from flue_ci.publish.comment import RunProgress, report_comment
from flue_ci.publish.progress_comment import ProgressComment
from flue_ci.report.report import Failure, Report


@dataclass(slots=True, kw_only=True)
class ProgressTracker:
    """How far a run is: an observer that can be drawn."""

    finished_stages: dict[str, float] = field(default_factory=dict)
    current: str = ""
    usage: Usage = field(default_factory=Usage)

    def observe(self, event: ProgressEvent) -> None:
        match event:
            case StageStarted(stage=stage):
                self.current = stage
            case StageEnded(stage=stage, seconds=seconds):
                self.finished_stages[stage] = seconds
                self.current = ""
            case TurnEnded(total=total):
                self.usage = total

    def now(self) -> RunProgress:
        return RunProgress(finished_stages=tuple(self.finished_stages.items()), current=self.current, usage=self.usage)


async def deliver(
    sticky: ProgressComment | None, report: Report, patch: bytes, *, server_url: str
) -> tuple[Report, str]:
    """Puts the report where it was asked for. Returns the report, which says when that failed, and the address of the
    comment, "" for none."""
    if sticky is None:
        return report, ""
    try:
        await sticky.prepare()
        return report, await sticky.finish(
            report_comment(report, patch, server_url=server_url, previous=sticky.previous)
        )
    except ForgeError as error:
        return not_delivered(report, error), ""


def not_delivered(report: Report, error: ForgeError) -> Report:
    """The run is as it was, but nobody was told: that is a failure of its own, beside the one there may be already."""
    reason = f"the answer could not be posted: {error}"
    if report.failure:
        return replace(report, notes=(*report.notes, reason), exit_code=report.exit_code or EXIT_FAILED)
    failure = Failure(stage="publish", message=str(error), hint=error.hint)
    return replace(report, conclusion="failed", reason=reason, exit_code=EXIT_FAILED, failure=failure)

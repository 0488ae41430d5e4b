"""The end of a job: publish the report, then summary, outputs and exit code. Both doors of `action` end here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flue_ci.action.context import JobContext
from flue_ci.action.job import ActionJob
from flue_ci.core.errors import EXIT_FAILED
from flue_ci.publish.publisher import Publisher, PublishTarget, publish_report
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Publishing, Report, Trigger


def publish_target(context: JobContext, trigger: Trigger, publishing: Publishing, folder: Path) -> PublishTarget:
    """The pull request or issue of `trigger`, or the thread in it. `trigger` is this job's own, never one of a file."""
    return PublishTarget(
        publishing=publishing,
        repository=trigger.repo,
        server_url=context.job.settings.github.server_url,
        number=trigger.number,
        thread=trigger.in_thread,
        forge=context.forge,
        quick_forge=context.quick_forge,
        folder=folder,
        notify=context.job.say,
        show_error=context.job.error,
    )


async def publish_and_finish(
    job: ActionJob,
    report: Report,
    patch: bytes,
    publishers: Mapping[str, Publisher],
    target: PublishTarget,
    folder: RunFolder | Path,
) -> int:
    """The exit code of the step: that of the report's conclusion, and never 0 when something was not published.

    `patch` may have secrets. A `RunFolder` gets the report with `published`; another folder is only named.
    """
    report = await publish_report(report, job.redact.redact_value(patch), publishers, target)
    report = job.redact.redact_value(report)  # an error of a publisher may repeat what it was sent
    if isinstance(folder, RunFolder):
        if publishers:
            report = folder.save(report, patch)
        folder = folder.path
    url = next((entry.url for entry in report.published if entry.publisher == "comment"), "")
    code = job.finish(report, patch, folder, url)
    if len(report.published) < len(publishers):
        return code or EXIT_FAILED
    return code

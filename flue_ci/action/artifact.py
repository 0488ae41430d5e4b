"""The step after the upload of a report: the address of the artifact goes into the comment of the run, and into the
job's summary; when the upload failed, they name the way that works instead."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci.action.job import ActionJob, start_job
from flue_ci.assembly import make_forge
from flue_ci.core.discussion import Comment
from flue_ci.core.errors import EXIT_DONE, FlueError
from flue_ci.core.ports import Forge
from flue_ci.publish.ask import without_boxes
from flue_ci.publish.comment import revised_comment
from flue_ci.publish.progress_comment import own_comments
from flue_ci.report.delivery import artifact_page, how_to_take
from flue_ci.report.diffs import cut_long_files
from flue_ci.report.folder import load
from flue_ci.report.report import Artifact, Report
from flue_ci.safety.markdown import inline_code

_RETRY_SECONDS = 20.0
_UPLOAD_FAILURE = "its upload failed, see the step “Upload the report” in the log"


def link_report(environ: Mapping[str, str]) -> int:
    """Always green: the run is over, and its report is in the summary."""
    job = start_job(environ)
    try:
        report, patch = load(Path(environ.get("FLUE_CI_REPORT_PATH", "")).parent)
        url, digest = environ.get("FLUE_CI_ARTIFACT_URL", ""), environ.get("FLUE_CI_ARTIFACT_DIGEST", "")
        report = _with_artifact(report, url, digest)
        _append_summary(job, report)
        if any(entry.publisher == "comment" for entry in report.published):
            asyncio.run(_revise(job, report, job.redact.redact_value(cut_long_files(patch))))
    except FlueError as error:
        job.warning(f"the comment does not name the artifact of the report: {error}")
    return EXIT_DONE


def _with_artifact(report: Report, url: str, digest: str) -> Report:
    if url and digest:
        return replace(report, artifact=replace(report.artifact, url=url, digest=digest))
    if url:
        report = replace(report, artifact=replace(report.artifact, url=url))
        return without_boxes(report, "`actions/upload-artifact` has named no digest of the report")
    return without_boxes(replace(report, artifact=Artifact(missing=_UPLOAD_FAILURE)), _UPLOAD_FAILURE)


def _append_summary(job: ActionJob, report: Report) -> None:
    artifact, text = report.artifact, ""
    if artifact.missing:
        job.warning(f"the report is no artifact of this run: {artifact.missing}")
    else:
        page = artifact_page(artifact, job.run_url)
        job.say(f"the report is the artifact {artifact.name}: {page}")
        text = f"All files of this run: [{inline_code(artifact.name)}]({page})"
    if report.changes.patch:
        text += f"\n\n{how_to_take(report)}"
    job.append_summary(text.strip())


async def _revise(job: ActionJob, report: Report, patch: bytes) -> None:
    """Writes the comment anew, when it still is the answer of this run. Raises `ForgeError`."""
    forge = make_forge(job.settings, job.say, retry_timeout=_RETRY_SECONDS)
    try:
        comment = await _find_comment(forge, report)
        body = ""
        if comment:
            body = revised_comment(comment.body, report, patch, server_url=job.settings.github.server_url)
            body = job.redact(body)
        if not comment or not body:
            job.say("the comment has changed since: the artifact is named here and in the summary only")
        elif body != comment.body:
            await forge.edit(comment, body)
    finally:
        await forge.close()


async def _find_comment(forge: Forge, report: Report) -> Comment | None:
    url = next(entry.url for entry in report.published if entry.publisher == "comment")
    trigger = report.trigger
    if trigger is None or trigger.number is None:
        return None
    comments = await own_comments(forge, trigger.number, in_thread=bool(trigger.in_thread))
    return next((each for each in comments if each.url == url), None)

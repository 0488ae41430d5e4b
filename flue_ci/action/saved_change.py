"""A change that was saved by an earlier run, found by what the box in our comment says of it.

Nothing is believed because it is there: a fork or another branch can have a workflow with our name, which uploads what
it likes. So the run has to be one of this very workflow for a trusted branch of this repository, and the bytes have to
be those that the box names.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from flue_ci.action.context import JobContext
from flue_ci.core.commits import ChangesForge
from flue_ci.core.errors import FlueError, ForgeError
from flue_ci.core.private_file import write_private_file
from flue_ci.core.text import human_bytes
from flue_ci.core.workflow_runs import ActionsForge, StoredArtifact, WorkflowRun
from flue_ci.gate.push_box import PushBox
from flue_ci.report.archive import MAX_ARCHIVE_BYTES, read_archive
from flue_ci.report.delivery import plan_artifact
from flue_ci.report.folder import load
from flue_ci.report.report import Report

_MISSING_STATUS = (404, 410, 413)  # the last: more bytes came than GitHub had said
_FILES = re.compile(r"report\.json|changes\.patch|commit-\d{1,4}\.patch")


class NothingSaved(FlueError):
    """There is no such change any more, or it is another one. The message goes on from `not pushed: `."""


async def fetch_saved_change(context: JobContext, box: PushBox, folder: Path) -> tuple[Report, bytes]:
    """The report and the patch that the box names; `folder`, which is made, gets their files. Raises `NothingSaved`
    with the reason, `FlueError` when GitHub is out of reach."""
    forge = context.forge
    if not isinstance(forge, ActionsForge):
        raise NothingSaved("this forge keeps no runs")
    try:
        run = await forge.workflow_run(box.run)
        _check_run(run, box, context)
        name = plan_artifact(box.agent, run_url(context, box)).name
        artifact = _choose(await forge.artifacts(box.run, name), box)
        data = await forge.download_artifact(artifact, MAX_ARCHIVE_BYTES)
    except ForgeError as error:
        if error.status not in _MISSING_STATUS:
            raise
        raise NothingSaved("the run that made the change, or its artifact, is gone") from error
    if hashlib.sha256(data).hexdigest() != box.artifact:
        raise NothingSaved("the artifact of the run is another one than the box names")
    report, patch = _unpack(data, folder)
    if hashlib.sha256(patch).hexdigest() != box.patch or report.agent != box.agent or not report.changes.patch:
        raise NothingSaved("the saved report is about another change than the box names")
    if report.trigger is None or report.trigger.run_url != run_url(context, box):
        raise NothingSaved("the saved report is of another run than the box names")
    await _check_history(run, context)
    return report, patch


def run_url(context: JobContext, box: PushBox) -> str:
    """The page of the run that made the change."""
    url = f"{context.job.settings.github.server_url}/{context.event.repo}/actions/runs/{box.run}"
    return url if box.attempt == 1 else f"{url}/attempts/{box.attempt}"


def _check_run(run: WorkflowRun, box: PushBox, context: JobContext) -> None:
    repo_id = context.event.repo_id
    if run.id != box.run or run.repo_id != repo_id or box.attempt > run.attempt:
        raise NothingSaved("the run that made the change is not one of this repository")
    if run.workflow != f".github/workflows/{box.workflow}" or box.workflow != context.event.workflow:
        raise NothingSaved("the run that made the change is one of another workflow")
    if run.head_repo_id != repo_id:
        raise NothingSaved("the run that made the change is a fork's")
    if not context.is_trusted_branch(run.branch):
        raise NothingSaved("the run that made the change is not one for the default branch")


async def _check_history(run: WorkflowRun, context: JobContext) -> None:
    """The run's own commit, which the workflow came from, has to be in the history of its branch: a tag can have the
    name of the branch."""
    forge = context.forge
    tip = await forge.branch_head(run.branch) if isinstance(forge, ChangesForge) else ""
    try:
        if tip and isinstance(forge, ChangesForge) and await forge.commits_between(run.head_sha, tip) is not None:
            return
    except ForgeError as error:
        if error.status not in _MISSING_STATUS:
            raise
    raise NothingSaved("the run that made the change ran for a commit that is not on the default branch")


def _choose(artifacts: Sequence[StoredArtifact], box: PushBox) -> StoredArtifact:
    """By its digest: other jobs and attempts may have uploaded more of that name."""
    if not artifacts:
        raise NothingSaved("the artifact with the change is not there any more")
    matches = [artifact for artifact in artifacts if artifact.digest == box.artifact]
    if not matches:
        raise NothingSaved("the artifact of the run is another one than the box names")
    if matches[0].is_expired:
        raise NothingSaved("the artifact with the change has expired")
    if matches[0].size_bytes > MAX_ARCHIVE_BYTES:
        raise NothingSaved(f"the artifact with the change has more than {human_bytes(MAX_ARCHIVE_BYTES)}")
    return matches[0]


def _unpack(data: bytes, folder: Path) -> tuple[Report, bytes]:
    """Raises `NothingSaved` for what is no report of ours."""
    folder.mkdir(mode=0o700)
    try:
        for name, content in read_archive(data, _FILES).items():
            write_private_file(folder / name, content)
        return load(folder)
    except FlueError as error:
        raise NothingSaved(f"the saved report cannot be read: {error}".replace(str(folder), "it")) from error

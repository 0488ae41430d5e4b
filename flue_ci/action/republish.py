"""Publishes a saved run from another job, one that may write: the second half of serving forks in two jobs.

Nothing in the folder is trusted: it came from a job without rights. It is read strictly, redacted and rendered anew;
where it goes is found out from this job's own event, and how from the spec of the trusted commit.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci.action.finish import publish_and_finish, publish_target
from flue_ci.action.job import ActionJob, fail_step, read_inputs
from flue_ci.action.respond import JobContext, open_context, read_event
from flue_ci.action.target import Target, find_target, read_agents, trigger_of
from flue_ci.assembly import publishing
from flue_ci.core.errors import FlueError
from flue_ci.gate import policy as gate
from flue_ci.publish.registry import load_publishers
from flue_ci.report.folder import load
from flue_ci.report.report import Report
from flue_ci.run.session import Signals
from flue_ci.settings import read_settings


def publish_folder(folder: Path, environ: Mapping[str, str]) -> int:
    """The exit code: that of a run with this conclusion, or 1 when it could not be published."""
    try:
        return _publish_folder(folder, environ)
    except FlueError as error:
        return fail_step(environ, error)


def _publish_folder(folder: Path, environ: Mapping[str, str]) -> int:
    signals = Signals()
    signals.interrupt()
    desk = ActionJob(environ, read_settings(environ), read_inputs(environ))
    desk.begin()
    report, patch = load(folder)
    with tempfile.TemporaryDirectory(prefix="flue-ci-", ignore_cleanup_errors=True) as scratch:
        shop = open_context(desk, read_event(environ), gate.read_gate_settings(environ), Path(scratch), signals)
        return asyncio.run(_publish(shop, report, patch, folder))


async def _publish(shop: JobContext, report: Report, patch: bytes, folder: Path) -> int:
    desk = shop.job
    try:
        target = await find_target(shop.event, shop.forge, shop.remote)
        _same_target(report, shop, target)
        agents = await read_agents(shop.remote, target, shop.scratch / "trusted")
        spec = next((agent.spec for agent in agents if agent.name == report.agent), None)
        if spec is None:
            raise FlueError(f"the report is of {report.agent!r}, which is no agent of the trusted commit")
        trigger = replace(trigger_of(shop.event, target, run_url=desk.run_url), actor="", in_thread=None)
        claimed = report.trigger.run_url if report.trigger else ""
        runs = re.escape(f"{desk.settings.github.server_url}/{shop.event.repo}/actions/runs/")
        if re.fullmatch(rf"{runs}\d{{1,20}}(?:/attempts/\d{{1,6}})?", claimed, re.ASCII):  # it becomes part of Markdown
            trigger = replace(trigger, run_url=claimed)
        report = desk.redact.redact_value(replace(report, trigger=trigger, publish=publishing(spec)))
        place = publish_target(desk, shop.forge, shop.quick, trigger, publishing(spec), folder)
        publishers = load_publishers(spec.publish.changes, place)
        return await publish_and_finish(desk, report, patch, publishers, place, folder)
    finally:
        await shop.forge.close()
        await shop.quick.close()


def _same_target(report: Report, shop: JobContext, target: Target) -> None:
    """Refuses a report that is about something else than this job's event."""
    claimed = report.trigger
    if claimed is None:
        raise FlueError(
            "the report does not come from GitHub Actions, so there is nowhere to publish it",
            hint="publish what `publish: none` left in the first job",
        )
    if claimed.repo != shop.event.repo or claimed.number != target.number or claimed.head_sha != target.head:
        raise FlueError(
            f"the report is about {claimed.repo}#{claimed.number} at {claimed.head_sha[:9]}, but this job's event is "
            f"about {shop.event.repo}#{target.number} at {target.head[:9]}",
            hint="publish the folder of the job that ran for this very event",
        )

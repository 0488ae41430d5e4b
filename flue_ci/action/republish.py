"""Publishes a saved run from another job, one that may write: the second half of serving forks in two jobs.

Nothing in the folder is trusted: it came from a job without rights. It is read strictly, redacted and rendered anew;
where it goes is found out from this job's own event, and how from the spec of the trusted commit.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flue_ci.action.authorize import fetch_roles
from flue_ci.action.comment_request import read_command
from flue_ci.action.context import JobContext, open_context, read_event, run_step
from flue_ci.action.job import ActionJob
from flue_ci.action.target import Agent, Target, read_agents, trigger_of
from flue_ci.assembly import make_forge
from flue_ci.core.commits import ChangesForge
from flue_ci.core.errors import EXIT_DONE, FlueError, ForgeError
from flue_ci.core.text import one_line, plural
from flue_ci.core.workflow_runs import ActionsForge
from flue_ci.gate.comment_command import CommentCommand
from flue_ci.gate.event import AFTER_CHECKS
from flue_ci.gate.policy import Allow, SelectedAgent, authorize, choose_agent, decide
from flue_ci.git.protected import protected_paths
from flue_ci.publish.publisher import PublishTarget, publish_report
from flue_ci.publish.registry import load_publishers, publishing
from flue_ci.report.conclusion import EXIT_CODES
from flue_ci.report.delivery import plan_artifact
from flue_ci.report.folder import load
from flue_ci.report.report import NO_EXIT_CODE, Artifact, CommandResult, Report, Trigger
from flue_ci.run.session import Signals
from flue_ci.settings import Settings
from flue_ci.spec.schema import AgentSpec


def publish_folder(folder: Path, environ: Mapping[str, str], *, dry_run: bool = False) -> int:
    """The exit code: that of a run with this conclusion, 2 for a damaged report, 1 when it could not be published. In a
    dry run, which only lists the calls, 0."""
    return run_step(environ, lambda job, signals: publish_from_job(job, folder, signals, dry_run=dry_run))


def publish_from_job(job: ActionJob, folder: Path, signals: Signals, *, dry_run: bool = False) -> int:
    """The same within a step. Raises `FlueError`."""
    report, patch = load(folder)
    with open_context(job, read_event(job.environ), signals) as context:
        return asyncio.run(_publish(context, report, patch, folder, dry_run=dry_run))


async def _publish(context: JobContext, report: Report, patch: bytes, folder: Path, *, dry_run: bool) -> int:
    job = context.job
    try:
        decision = decide(context.event, job.inputs.gate.with_bot(context.event.actor), read_command)
        command = decision.command if isinstance(decision, Allow) else None
        target = await context.find_target(command)
        target = await at_earlier_head(report, context, target)
        check_same_target(report, context, target)
        agents = await read_agents(context.remote, target, context.trusted_folder)
        spec = next((agent.spec for agent in agents if agent.name == report.agent), None)
        if spec is None:
            raise FlueError(f"the report is of {report.agent!r}, which is no agent of the trusted commit")
        await _check_request(context, target, command, agents, report.agent)
        report = trusted_report(report, context, target, spec)
        if report.publish.when == "ask" and report.artifact.name:
            report = replace(report, artifact=await _with_digest(context, report))
        assert report.trigger
        place = context.publish_target(report.trigger, report.publish, folder, target)
        if dry_run or job.inputs.dry_run:
            await list_calls(report, patch, place, job.settings, job.log.line)
            return EXIT_DONE
        publishers = load_publishers(place)
        return await job.publish_and_finish(report, patch, publishers, place, folder)
    finally:
        await context.close()


async def list_calls(
    report: Report, patch: bytes, place: PublishTarget, settings: Settings, show: Callable[[str], None]
) -> None:
    """Shows the calls that would publish the report, one a line, and what would be refused. What is made on the way,
    such as a commit, has no name yet."""
    forge = make_forge(settings, place.notify, record=show)
    place = replace(place, forge=forge, quick_forge=None, push_forge=None, patch=patch)
    try:
        report = await publish_report(report, patch, load_publishers(place), place)
    finally:
        await forge.close()
    for entry in report.published:
        if entry.state == "refused":
            show(f"{entry.publisher}: {entry.detail}")


def trusted_report(report: Report, context: JobContext, target: Target, spec: AgentSpec) -> Report:
    """The report with what this job knows itself in place of what the file says, and without secrets."""
    trigger = _trigger(report, context, target)
    artifact = Artifact(missing="the job that ran the agent has uploaded none")
    if report.artifact.name:
        artifact = plan_artifact(report.agent, trigger.run_url)
    report = replace(
        report,
        trigger=trigger,
        publish=publishing(spec),
        changes=replace(report.changes, protected=protected_paths(report.changes.files)),
        checks=_trusted_checks(spec, report),
        exit_code=EXIT_CODES[report.conclusion],
        artifact=artifact,
    )
    return context.job.redact.redact_value(report)


async def _with_digest(context: JobContext, report: Report) -> Artifact:
    """The artifact with its digest, which GitHub knows; the reason where it does not say it."""
    artifact, forge = report.artifact, context.forge
    run = re.search(r"/runs/(\d+)", report.trigger.run_url if report.trigger else "")
    if not run or not isinstance(forge, ActionsForge):
        return artifact
    try:
        artifacts = [each for each in await forge.artifacts(int(run[1]), artifact.name) if not each.is_expired]
    except ForgeError as error:
        return Artifact(missing=f"it could not be looked for: {one_line(str(error), 300)}")
    if len(artifacts) != 1:
        return Artifact(missing=f"the run has {plural(len(artifacts), 'artifact')} of the name {artifact.name}")
    return replace(artifact, digest=artifacts[0].digest)


async def _check_request(
    context: JobContext, target: Target, command: CommentCommand | None, agents: Sequence[Agent], name: str
) -> None:
    """Refuses a report of an agent that this job's event does not start, or not for this person: agents publish by
    different rules. An event after a workflow or check does not say what was asked for."""
    event, settings = context.event, context.job.inputs.gate
    if event.name in AFTER_CHECKS:
        return
    triggers = [agent.triggers for agent in agents]
    choice = choose_agent(event, command, triggers, workflow_agent=settings.agent or name)
    if not isinstance(choice, SelectedAgent) or choice.agent.name != name:
        raise FlueError(
            f"the report is of {name}, which this job's event did not ask for",
            hint="publish the folder of the job that ran for this very event, with the same inputs as there",
        )
    roles = await fetch_roles(event, context.forge)
    verdict = authorize(event, choice.agent, roles, allowed_bots=settings.allowed_bots, from_fork=target.from_fork)
    if not isinstance(verdict, Allow):
        raise FlueError(f"nothing is published: {verdict.reason}")


def _trusted_checks(spec: AgentSpec, report: Report) -> tuple[CommandResult, ...]:
    """The results for the checks of the trusted spec; one that the report has not got was not run."""
    results = {(result.name, result.command): result for result in report.checks}
    missing = CommandResult(name="", command="", exit_code=NO_EXIT_CODE, state="not-run")
    pairs = [(check.name, check.run) for check in spec.checks]
    return tuple(results.get(pair, replace(missing, name=pair[0], command=pair[1])) for pair in pairs)


def _trigger(report: Report, context: JobContext, target: Target) -> Trigger:
    """This job's own trigger. Of the report's only the page of its run is taken over, when it can be nothing else."""
    trigger = trigger_of(context.event, target, run_url=context.job.run_url)
    url = report.trigger.run_url if report.trigger else ""
    runs = re.escape(f"{context.job.settings.github.server_url}/{context.event.repo}/actions/runs/")
    if re.fullmatch(rf"{runs}\d{{1,20}}(?:/attempts/\d{{1,6}})?", url, re.ASCII):  # it becomes part of Markdown
        return replace(trigger, run_url=url)
    return trigger


async def at_earlier_head(report: Report, context: JobContext, target: Target) -> Target:
    """The target at the commit that the report is about, when the branch has only got more commits since: nobody waits
    with them for an agent that works on an issue. The commit is one of the branch, whoever wrote the report."""
    head = report.trigger.head_sha if report.trigger else ""
    if target.pull or head == target.head or not re.fullmatch(r"[0-9a-f]{40}", head):
        return target
    try:
        is_earlier = isinstance(context.forge, ChangesForge) and await context.forge.commits_between(head, target.head)
    except ForgeError as error:
        if error.status not in (404, 422):
            raise
        is_earlier = False
    return replace(target, head=head) if is_earlier else target


def check_same_target(report: Report, context: JobContext, target: Target) -> None:
    """Refuses a report that is about something else than this job's event."""
    source = report.trigger
    if source is None:
        raise FlueError(
            "the report does not come from GitHub Actions, so there is nowhere to publish it",
            hint="publish what `publish: none` left in the first job",
        )
    if source.repo != context.event.repo or source.number != target.number or source.head_sha != target.head:
        raise FlueError(
            f"the report is about {source.repo}#{source.number} at {source.head_sha[:9]}, but this job's event is "
            f"about {context.event.repo}#{target.number} at {target.head[:9]}",
            hint="publish the folder of the job that ran for this very event",
        )

"""One agent run inside a job of GitHub Actions: prepared from the trusted spec, run, and published.

Every ending gives a report, an answer, a summary and outputs. `respond` has decided before that it may run.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.action.authorize import AgentRequest
from flue_ci.action.budget import Reservation, reserve_cost, unreadable
from flue_ci.action.context import JobContext
from flue_ci.action.discussion import discussion_variables, render_discussion
from flue_ci.action.inputs import check_model_host
from flue_ci.action.job import ActionJob
from flue_ci.action.log_view import ActionsView
from flue_ci.action.review_scope import read_review_scope
from flue_ci.action.target import Agent, Target, default_branch, trigger_of
from flue_ci.assembly import contents, prepare_run
from flue_ci.core.discussion import JobLog
from flue_ci.core.errors import FlueError, SpecError, UsageError
from flue_ci.core.events import Observer
from flue_ci.core.review_scope import ReviewScope
from flue_ci.git.contents import Origin, add_contents
from flue_ci.git.fetch import fetch_commit, open_remote, resolve_all, trusted_files
from flue_ci.git.source import Source
from flue_ci.publish.comment import progress_comment
from flue_ci.publish.progress_comment import ProgressTracker
from flue_ci.publish.publisher import ProgressPublisher, Publisher, PublishTarget
from flue_ci.publish.registry import load_publishers, publishing
from flue_ci.report.conclusion import never_started
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Artifact, Publishing, Trigger
from flue_ci.run.dry_run import describe_publishing, describe_run
from flue_ci.run.plan import PreparedRun, RunInputs, RunOptions, RunPlan, RunResult
from flue_ci.run.session import Signals, redacting_observer, run_and_save
from flue_ci.safety.sanitize import sanitize_request, summarize_removals
from flue_ci.spec.load import load_spec, not_supported_yet
from flue_ci.spec.repository_config import load_config
from flue_ci.spec.schema import AgentSpec, LimitsSpec

# Of a job's time, for changes, checks and report: a tenth, and at least two minutes.
_ENDING_SHARE, _ENDING_MINUTES = 0.1, 2.0
_FEWEST_MINUTES = 0.5  # of an agent, however late the job is


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestInputs(RunInputs):
    """The inputs of an event, be it about a pull request, an issue, or neither: the fetched commit, the files of the
    trusted commit, and the discussion. `request_notes` are about the request itself, `logs` of CI that failed."""

    context: JobContext
    target: Target
    spec: AgentSpec
    request_notes: tuple[str, ...] = ()
    logs: tuple[JobLog, ...] = ()

    async def source(self) -> Source:
        target, remote, options = self.target, self.context.remote, contents(self.spec)
        source = await open_remote(
            remote,
            name=self.name.rpartition("/")[2],
            head=target.head,
            ref=target.fetch_ref,
            base=target.base_sha,
            base_ref=target.base_ref,
            depth=self.spec.workspace.history,
        )
        server_url = self.context.job.settings.github.server_url
        return await add_contents(
            source, options, Origin(server_url=server_url, remote=remote, trusted_commit=target.trusted_sha)
        )

    async def discussion(self) -> tuple[str, tuple[str, ...]]:
        if self.target.number is None:
            return "", self.request_notes
        event, rules = self.context.event, self.spec.context
        before = event.asked_at if event.is_comment else ""
        discussion = await self.context.forge.discussion(self.target.number, self.target.pull)
        if self.target.head_has_moved:  # GitHub shows the changes of the head of now
            notes = (*discussion.notes, "the changed files are not listed: the pull request has another head by now")
            discussion = replace(discussion, files=(), notes=notes)
        discussion = replace(discussion, logs=self.logs)
        text = render_discussion(discussion, before=before, include=rules.include, exclude=rules.exclude)
        return text.text, (*self.request_notes, *text.notes)

    async def review_scope(self, source: Source) -> tuple[ReviewScope, tuple[str, ...]]:
        target, trigger = self.target, self.trigger
        if target.pull is None or target.base_sha is None or trigger is None:
            return ReviewScope(head=source.head), ()
        return await read_review_scope(
            self.context.forge,
            self.context.remote,
            source.git,
            agent=self.spec.name,
            publishing=publishing(self.spec),
            trigger=trigger,
            base=target.base_sha,
        )


async def run_for_event(context: JobContext, target: Target, request: AgentRequest) -> int:
    """Runs the agent and publishes the report; a run that cannot start has one as well. Returns the exit code. Raises
    `FlueError` when not even the report can be saved."""
    job = context.job
    trigger = trigger_of(context.event, target, run_url=job.run_url)
    place, publishers = _publishers(context, request.agent, trigger, target)
    try:
        spec, run = _prepare(context, target, request, trigger)
    except FlueError as error:
        folder = _open_folder(job)
        report = never_started(request.agent.name, request.instruction, job.inputs.sandbox, error)
        report = folder.save(replace(report, trigger=trigger), b"")
        return await job.publish_and_finish(report, b"", publishers, place, folder)
    job = job.with_redactor(run.redact)
    # A forge's error may repeat a secret of the spec.
    place = replace(place, notify=job.say, show_error=job.problem, redact=job.redact)
    if job.inputs.dry_run:
        rows, notes = await describe_run(run, spec, job.inputs.sandbox)
        number = f"#{trigger.number}" if trigger.number else ""
        rows["publish"] = describe_publishing(place.publishing, f"{trigger.repo}{number}")
        return job.write_dry_run(rows, notes)
    folder = _open_folder(job)
    try:
        reservation = await _reserve(context, spec, trigger, target)
    except FlueError as error:
        report = never_started(spec.name, request.instruction, job.inputs.sandbox, error)
        report = folder.save(replace(report, trigger=trigger, spec=run.plan.spec, publish=run.plan.publish), b"")
        return await job.publish_and_finish(report, b"", publishers, place, folder)
    observers = _begin_progress(job, run.plan, spec.limits, publishers, place)
    result = await _work(job, run, folder, observers, context.signals)
    report = result.report
    if reservation:
        report = replace(report, notes=(*report.notes, await reservation.settle(report)))
    return await job.publish_and_finish(report, result.patch, publishers, place, folder)


async def _reserve(context: JobContext, spec: AgentSpec, trigger: Trigger, target: Target) -> Reservation | None:
    """Reserves what the run may cost, where the repository limits that. Raises `FlueError`."""
    try:
        config = load_config(await _default_files(context, target))
    except SpecError as error:
        raise unreadable(error) from error
    if not config.has_budget:
        return None
    return await reserve_cost(context.forge, config.limits, spec, trigger)


async def _default_files(context: JobContext, target: Target) -> Path:
    """The folder with the trusted files of the default branch: another branch that the workflow trusts has no say in
    what runs may cost. Raises `FlueError`."""
    if not context.job.inputs.trusted_branches:
        return context.trusted_folder
    (tip,) = await resolve_all(context.remote, [f"refs/heads/{default_branch(context.event)}"])
    if tip == target.trusted_sha:
        return context.trusted_folder
    folder = context.trusted_folder.with_name("default")
    folder.mkdir()
    await fetch_commit(context.remote, sha=tip, depth=1)
    await trusted_files(context.remote, tip, folder)
    return folder


def _publishers(
    context: JobContext, agent: Agent, trigger: Trigger, target: Target
) -> tuple[PublishTarget, Mapping[str, Publisher]]:
    """Where the report goes, and what publishes it; nothing in a dry run, or when the workflow wants none."""
    inputs, spec, wishes, depth = context.job.inputs, agent.spec, Publishing(), 1
    if spec:
        wishes, depth = publishing(spec), spec.workspace.history
    place = context.publish_target(trigger, wishes, context.job.out, target, depth)
    if inputs.dry_run or not inputs.comment:
        return place, {}
    return place, load_publishers(place, only_comment=inputs.only_comment)


def _begin_progress(
    job: ActionJob, plan: RunPlan, limits: LimitsSpec, publishers: Mapping[str, Publisher], place: PublishTarget
) -> list[Observer]:
    """Starts those publishers that show a run while it works; what they need to observe."""
    tracker = ProgressTracker(max_turns=limits.turns, max_minutes=limits.minutes)
    trigger, instruction = plan.trigger, job.redact(plan.instruction)
    assert trigger is not None

    def render() -> str:
        return progress_comment(plan.agent, tracker.progress, trigger, instruction)

    for publisher in publishers.values():
        if isinstance(publisher, ProgressPublisher):
            publisher.begin(plan.agent, render, place)
    return [tracker.observe]


def _prepare(
    context: JobContext, target: Target, request: AgentRequest, trigger: Trigger
) -> tuple[AgentSpec, PreparedRun]:
    """The run over the fetched commit, with what the workflow overrides in the spec. The discussion is read while the
    sandbox starts. Raises `SpecError` and `UsageError`."""
    inputs, agent = context.job.inputs, request.agent
    text = sanitize_request(request.instruction or inputs.instruction)
    notes = (*target.notes, *request.notes)
    if text.removals:
        notes = (*notes, f"taken out of the request: {summarize_removals(text.removals)}")
    options = RunOptions(
        agent=agent.name,
        instruction=text.text,
        sandbox=inputs.sandbox,
        model=inputs.model,
        template=inputs.template,
        dry_run=inputs.dry_run,
    )
    spec = _spec(agent, options)
    minutes = agent_minutes(inputs.timeout_minutes, context.job.environ)
    if minutes is not None and minutes < spec.limits.minutes:
        notes = (*notes, f"the job's `timeout-minutes` leaves the agent {minutes:g} minutes")
        limits = spec.limits.model_copy(update={"minutes": minutes})
        spec = spec.model_copy(update={"limits": limits})
    check_model_host(spec.model.base_url, inputs.settings, inputs.allowed_model_hosts)
    run = prepare_run(
        spec,
        spec_path=agent.path,
        inputs=replace(pull_request_inputs(context, target, spec, trigger, notes), logs=request.logs),
        options=options,
        settings=inputs.settings,
        signal=lambda: context.signals.first,
    )
    return spec, run


def agent_minutes(timeout_minutes: float | None, environ: Mapping[str, str]) -> float | None:
    """The minutes that an agent may take in a job of `timeout_minutes`, so that the checks and the report still fit in;
    None for a job whose time is not known. A job begins when the runner writes the event's file."""
    if timeout_minutes is None:
        return None
    try:
        seconds = time.time() - Path(environ["GITHUB_EVENT_PATH"]).stat().st_mtime
    except (OSError, KeyError):
        seconds = 0.0
    rest = timeout_minutes - seconds / 60
    return round(max(rest - max(_ENDING_MINUTES, _ENDING_SHARE * rest), _FEWEST_MINUTES), 1)


def _spec(agent: Agent, options: RunOptions) -> AgentSpec:
    if agent.spec is None:
        raise SpecError(agent.problems)
    spec = agent.spec
    if options.overrides:
        spec = load_spec(agent.path, agent.text, overrides=options.overrides)
    if missing := not_supported_yet(spec):
        raise SpecError(missing)
    return spec


def pull_request_inputs(
    context: JobContext, target: Target, spec: AgentSpec, trigger: Trigger, request_notes: tuple[str, ...] = ()
) -> PullRequestInputs:
    """The inputs of the run that `context`'s event asks for."""
    event, ref = context.event, target.ref
    if target.pull:  # the name of its branch is a stranger's text; inside, the branch has this one
        ref = f"pull/{target.pull.number}"
    return PullRequestInputs(
        trusted_folder=context.trusted_folder,
        name=event.repo,
        variables={
            "event": {"name": event.signature, "actor": event.actor},
            "repo": {"name": event.repo, "ref": ref, "sha": target.head},
            **discussion_variables(target.pull, target.issue),
        },
        trigger=trigger,
        run_id=context.job.inputs.run_token,
        context=context,
        target=target,
        spec=spec,
        request_notes=request_notes,
    )


async def _work(
    job: ActionJob, run: PreparedRun, folder: RunFolder, observers: Sequence[Observer], signals: Signals
) -> RunResult:
    """Runs it; the folder, the log and the other observers follow."""
    view = ActionsView(job.log)
    async with aclosing(run):
        try:
            observe = redacting_observer(run.redact, folder.observe, view.observe, *observers)
            result = await run_and_save(run, folder, observe, signals)
        finally:
            view.close()
    if folder.trouble:
        job.notice(folder.trouble)
    return result


def end_early(job: ActionJob, error: FlueError, exit_code: int = 0) -> int:
    """It ended before an agent was chosen: the log, the summary and the report folder say why. Returns `exit_code`, or
    that of the error."""
    report = never_started(job.inputs.gate.agent, "", job.inputs.sandbox, error, exit_code)
    report = replace(report, artifact=job.plan_artifact(report.agent))
    for path in dict.fromkeys((job.out, job.fallback_folder)):
        try:
            folder = RunFolder(path, job.redact)
            report, place, upload = job.save(report, b"", folder)
            return job.finish(report, b"", place, upload)
        except OSError as failure:
            job.notice(f"{path} takes no files: {failure.strerror}")
    return job.finish(replace(report, artifact=Artifact()), b"", None, {})


def _open_folder(job: ActionJob) -> RunFolder:
    try:
        return RunFolder(job.out, job.redact)
    except OSError as error:
        raise UsageError(
            f"{job.out} takes no files: {error.strerror}", hint="choose another folder with the input `out`"
        ) from error

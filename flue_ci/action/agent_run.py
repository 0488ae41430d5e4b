"""One agent run inside a job of GitHub Actions: prepared from the trusted spec, run, and published.

Every ending gives a report, an answer, a summary and outputs. `respond` has decided before that it may run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from flue_ci.action.authorize import AgentRequest
from flue_ci.action.context import JobContext
from flue_ci.action.finish import publish_and_finish, publish_target
from flue_ci.action.job import ActionJob
from flue_ci.action.log_view import ActionsView
from flue_ci.action.run_inputs import pull_request_inputs
from flue_ci.action.target import Agent, Target, trigger_of
from flue_ci.assembly import prepare_run, publishing
from flue_ci.core.errors import FlueError, SpecError, UsageError
from flue_ci.core.events import Observer
from flue_ci.publish.comment import progress_comment
from flue_ci.publish.progress_comment import ProgressTracker
from flue_ci.publish.publisher import ProgressPublisher, Publisher, PublishTarget
from flue_ci.publish.registry import load_publishers
from flue_ci.report.conclusion import never_started
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Failure, Publishing, Report, Trigger
from flue_ci.run.dry_run import describe_run
from flue_ci.run.plan import PreparedRun, RunOptions, RunPlan, RunResult
from flue_ci.run.session import Signals, redacting_observer, run_and_save
from flue_ci.safety.sanitize import sanitize_for_model, summarize_removals
from flue_ci.spec.load import load_spec, not_supported_yet
from flue_ci.spec.schema import AgentSpec


async def run_for_event(context: JobContext, target: Target, request: AgentRequest) -> int:
    """Runs the agent and publishes the report; a run that cannot start has one as well. Returns the exit code. Raises
    `FlueError` when not even the report can be saved."""
    job = context.job
    trigger = trigger_of(context.event, target, run_url=job.run_url)
    place, publishers = _publishers(context, request.agent, trigger)
    try:
        spec, run = _prepare(context, target, request, trigger)
    except FlueError as error:
        folder = _open_folder(job)
        report = folder.save(replace(_error_report(job, request, error), trigger=trigger), b"")
        return await publish_and_finish(job, report, b"", publishers, place, folder)
    job = job.with_redactor(run.redact)
    place = replace(place, notify=job.say, show_error=job.error)  # a forge's error may repeat a secret of the spec
    if job.inputs.dry_run:
        return await _dry_run(job, run, spec)
    folder = _open_folder(job)
    observers = _begin_progress(job, run.plan, publishers, place)
    result = await _work(job, run, folder, observers, context.signals)
    return await publish_and_finish(job, result.report, result.patch, publishers, place, folder)


def _publishers(context: JobContext, agent: Agent, trigger: Trigger) -> tuple[PublishTarget, Mapping[str, Publisher]]:
    """Where the report goes, and what publishes it; nothing in a dry run, or when the workflow wants none."""
    inputs, spec, wishes, changes = context.job.inputs, agent.spec, Publishing(), "none"
    if spec:
        wishes, changes = publishing(spec), spec.publish.changes
    place = publish_target(context, trigger, wishes, context.job.out)
    if inputs.dry_run or not inputs.comment:
        return place, {}
    return place, load_publishers(changes, place)


def _begin_progress(
    job: ActionJob, plan: RunPlan, publishers: Mapping[str, Publisher], place: PublishTarget
) -> list[Observer]:
    """Starts those publishers that show a run while it works; what they need to observe."""
    tracker, trigger, instruction = ProgressTracker(), plan.trigger, job.redact(plan.instruction)
    assert trigger is not None
    for publisher in publishers.values():
        if isinstance(publisher, ProgressPublisher):
            publisher.begin(
                plan.agent, lambda: progress_comment(plan.agent, tracker.progress, trigger, instruction), place
            )
    return [tracker.observe]


def _prepare(
    context: JobContext, target: Target, request: AgentRequest, trigger: Trigger
) -> tuple[AgentSpec, PreparedRun]:
    """The run over the fetched commit, with what the workflow overrides in the spec. The discussion is read while the
    sandbox starts. Raises `SpecError` and `UsageError`."""
    inputs, agent, notes = context.job.inputs, request.agent, list[str]()
    text = sanitize_for_model(request.instruction or inputs.instruction)
    if text.removals:
        notes.append(f"taken out of the request: {summarize_removals(text.removals)}")
    options = RunOptions(
        agent=agent.name,
        instruction=text.text,
        sandbox=inputs.sandbox,
        model=inputs.model,
        template=inputs.template,
        dry_run=inputs.dry_run,
    )
    spec = _spec(agent, options)
    run = prepare_run(
        spec,
        spec_path=agent.path,
        inputs=pull_request_inputs(context, target, spec, trigger, tuple(notes)),
        options=options,
        settings=inputs.settings,
        signal=lambda: context.signals.first,
    )
    return spec, run


def _spec(agent: Agent, options: RunOptions) -> AgentSpec:
    if agent.spec is None:
        raise SpecError(agent.problems)
    spec = agent.spec
    if options.overrides:
        spec = load_spec(agent.path, agent.text, overrides=options.overrides)
    if missing := not_supported_yet(spec):
        raise SpecError(missing)
    return spec


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


async def _dry_run(job: ActionJob, run: PreparedRun, spec: AgentSpec) -> int:
    """What would happen, in the log and in the summary."""
    run.services.provider.check(run.plan.request)
    source = await run.services.inputs.source()
    rows = describe_run(run.plan, spec, source, job.inputs.sandbox)
    rows["publish"] = f"comment: {spec.publish.comment}, changes: {spec.publish.changes}"
    return job.write_dry_run(rows, [*run.notes, *source.notes])


def _error_report(job: ActionJob, request: AgentRequest, error: FlueError) -> Report:
    stage = "start"
    if isinstance(error, SpecError):
        job.spec_errors(error)
        stage = "spec"
    failure = Failure(stage=stage, message=str(error), hint=error.hint)
    return never_started(request.agent.name, request.instruction, job.inputs.sandbox, failure, error.exit_code)


def end_early(job: ActionJob, exit_code: int, message: str, hint: str) -> int:
    """It ended before an agent was chosen: the log, the summary and the report folder say why."""
    job.error(message, hint)
    failure = Failure(stage="start", message=message, hint=hint)
    report = never_started(job.inputs.gate.agent, "", job.inputs.sandbox, failure, exit_code)
    for path in dict.fromkeys((job.out, job.fallback_folder)):
        try:
            folder = RunFolder(path, job.redact)
            return job.finish(folder.save(report, b""), b"", folder.path, "")
        except OSError as error:
            job.notice(f"{path} takes no files: {error.strerror}")
    return job.finish(report, b"", None, "")


def _open_folder(job: ActionJob) -> RunFolder:
    try:
        return RunFolder(job.out, job.redact)
    except OSError as error:
        raise UsageError(
            f"{job.out} takes no files: {error.strerror}", hint="choose another folder with the input `out`"
        ) from error

"""One agent run inside a job of GitHub Actions: prepared from the trusted spec, run, and published.

Every ending gives a report, an answer, a summary and outputs. `respond` has decided before that it may run.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from flue_ci.action.authorize import AgentRequest
from flue_ci.action.context import JobContext
from flue_ci.action.job import ActionJob
from flue_ci.action.log_view import ActionsView
from flue_ci.action.run_inputs import pull_request_inputs
from flue_ci.action.target import Agent, Target, trigger_of
from flue_ci.assembly import prepare_run
from flue_ci.core.errors import EXIT_FAILED, FlueError, SpecError, UsageError
from flue_ci.publish.comment import progress_comment
from flue_ci.publish.deliver import ProgressTracker, deliver
from flue_ci.publish.progress_comment import CommentTarget, ProgressComment
from flue_ci.report.conclusion import never_started
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Failure, Report, Trigger
from flue_ci.run.dry_run import describe_run
from flue_ci.run.plan import PreparedRun, RunOptions, RunResult
from flue_ci.run.session import redacting_observer, run_and_save
from flue_ci.safety.sanitize import sanitize_for_model, summarize_removals
from flue_ci.spec.load import AgentSpec, load_spec, not_supported_yet


async def run_for_event(context: JobContext, target: Target, request: AgentRequest) -> int:
    """Runs the agent and publishes the report; a run that cannot start has one as well. Returns the exit code. Raises
    `FlueError` when not even the report can be saved."""
    trigger = trigger_of(context.event, target, run_url=context.job.run_url)
    comment = _comment(context, target, request.agent, trigger)
    try:
        spec, run = _prepare(context, target, request, trigger)
    except FlueError as error:
        folder = _open_folder(context.job)
        report = replace(_error_report(context.job, request, error), trigger=trigger)
        return await _publish(context.job, RunResult(report=folder.save(report, b"")), folder, comment)
    job = context.job.with_redactor(run.redact)
    if job.inputs.dry_run:
        return await _dry_run(job, run, spec)
    folder = _open_folder(job)
    result = await _work(context, job, run, folder, comment)
    return await _publish(job, result, folder, comment)


def _comment(context: JobContext, target: Target, agent: Agent, trigger: Trigger) -> ProgressComment | None:
    """The comment that shows progress and then the report; None where none is wanted."""
    job, mode = context.job, "sticky"
    if agent.spec:
        mode = agent.spec.publish.comment
    if target.number is None or mode == "none" or not job.inputs.comment or job.inputs.dry_run:
        return None
    place = CommentTarget(number=target.number, in_thread=trigger.in_thread, keep=mode == "sticky")
    return ProgressComment(context.forge, context.quick_forge, place, agent.name, job.say)


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
    context: JobContext, job: ActionJob, run: PreparedRun, folder: RunFolder, comment: ProgressComment | None
) -> RunResult:
    """Runs it; the log, the folder and the comment follow."""
    view, tracker, plan = ActionsView(job.log), ProgressTracker(), run.plan
    trigger, instruction = plan.trigger, job.redact(plan.instruction)
    assert trigger is not None
    if comment:
        comment.begin(lambda: progress_comment(plan.agent, tracker.now(), trigger, instruction))
    observe = redacting_observer(run.redact, folder.observe, view.observe, tracker.observe)
    async with aclosing(run):
        try:
            result = await run_and_save(run, folder, observe, context.signals)
        finally:
            view.close()
    if folder.trouble:
        job.notice(folder.trouble)
    return result


async def _publish(job: ActionJob, result: RunResult, folder: RunFolder, comment: ProgressComment | None) -> int:
    """Puts the report into the comment, the summary and the outputs."""
    patch = job.redact.redact_value(result.patch)
    report, url = await deliver(comment, result.report, patch, server_url=job.settings.github.server_url)
    if report is result.report:
        return job.finish(report, patch, folder.path, url)
    job.report_undelivered(result.report, report)
    return job.finish(folder.save(report, result.patch), patch, folder.path, url) or EXIT_FAILED


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

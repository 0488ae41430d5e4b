"""The way in from GitHub Actions: an event becomes a decision, the decision a run, the run an answer.

`_respond` tells the story. The gate has decided once before anything was installed; here it is decided again, with the
specs of the trusted commit at hand.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flue_ci.action.authorize import Authorized, Rejected, authorize_request, fetch_roles
from flue_ci.action.discussion import discussion_variables, render_discussion
from flue_ci.action.job import ActionJob, fail_step, read_inputs
from flue_ci.action.log_view import ActionsView
from flue_ci.action.target import Agent, Target, find_target, read_agents, trigger_of
from flue_ci.assembly import PreparedRun, RunOptions, make_forge, prepare_run, warm_up
from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import EXIT_DONE, EXIT_FAILED, FlueError, ForgeError, SpecError, UsageError
from flue_ci.core.ports import Forge, Reaction
from flue_ci.core.text import plural
from flue_ci.gate import policy as gate
from flue_ci.gate.event import Event, parse_event
from flue_ci.git.fetch import RETRY_TIMEOUT_SECONDS, Remote, open_remote
from flue_ci.git.source import Source
from flue_ci.publish.comment import error_reply, progress_comment
from flue_ci.publish.deliver import ProgressTracker, deliver
from flue_ci.publish.progress_comment import CommentTarget, ProgressComment, finish_killed_comments
from flue_ci.report.conclusion import never_started
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Failure, Report, Trigger
from flue_ci.run.dry_run import describe_run
from flue_ci.run.inputs import RunInputs
from flue_ci.run.session import Signals, redacting_observer, run_and_save
from flue_ci.safety.sanitize import sanitize_for_model, summarize_removals
from flue_ci.settings import read_settings
from flue_ci.spec.load import load_spec, not_supported_yet
from flue_ci.spec.schema import AgentSpec

PROVIDER = "e2b"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a job works with: the desk for people, GitHub, and a place for files."""

    job: ActionJob
    event: Event
    rules: gate.GateSettings
    forge: Forge
    quick: Forge
    remote: Remote
    scratch: Path
    signals: Signals


def run_action(environ: Mapping[str, str]) -> int:
    """Acts on the event of this job; the exit code is the step's."""
    try:
        return _act(environ)
    except FlueError as error:
        return fail_step(environ, error)


def _act(environ: Mapping[str, str]) -> int:
    signals = Signals()
    signals.interrupt()
    settings, inputs = read_settings(environ), read_inputs(environ)
    if inputs.report:
        from flue_ci.action.republish import publish_folder

        return publish_folder(inputs.report, environ)
    desk = ActionJob(environ, settings, inputs)
    desk.begin()
    event, rules = read_event(environ), gate.read_gate_settings(environ)
    verdict = gate.decide(event, rules)
    if not isinstance(verdict, gate.Allow):
        return desk.skip(verdict.reason)
    with tempfile.TemporaryDirectory(prefix="flue-ci-", ignore_cleanup_errors=True) as scratch:
        shop = open_context(desk, event if verdict.command else event.without_request(), rules, Path(scratch), signals)
        return asyncio.run(_respond(shop, verdict))


def finish_killed_run(environ: Mapping[str, str]) -> int:
    """After a run that was killed: its comment says so. Always green; the step that ran is red already."""
    desk = ActionJob(environ, read_settings(environ), read_inputs(environ))
    desk.begin()
    event = read_event(environ)
    if event.number is not None and desk.run_url and desk.inputs.comment:
        try:
            told = asyncio.run(_clear_up(desk, event, event.number))
            desk.say(plural(told, "comment") + " said that a run was at work")
        except FlueError as error:
            desk.notice(f"the comment may still say that the run is at work: {error}")
    return EXIT_DONE


async def _clear_up(desk: ActionJob, event: Event, number: int) -> int:
    forge = make_forge(desk.settings, desk.say, retry_timeout=20.0)
    try:
        kind: Literal["issue", "review"] = "review" if event.comment_kind == "review" else "issue"
        return await finish_killed_comments(forge, number, kind, desk.run_url)
    finally:
        await forge.close()


def read_event(environ: Mapping[str, str]) -> Event:
    """The event of this job. Raises `FlueError` when there is none."""
    name, path = environ.get("GITHUB_EVENT_NAME", ""), environ.get("GITHUB_EVENT_PATH", "")
    try:
        payload = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FlueError(
            f"there is no event to act on: GITHUB_EVENT_PATH is {path!r} ({type(error).__name__})",
            hint="`flue-ci action` runs in GitHub Actions; in a checkout it is `flue-ci run AGENT`",
        ) from None
    return parse_event(name, payload, environ)


def open_context(
    desk: ActionJob, event: Event, rules: gate.GateSettings, scratch: Path, signals: Signals
) -> JobContext:
    """Nothing is asked of GitHub yet."""
    settings = desk.settings
    return JobContext(
        job=desk,
        event=event,
        rules=rules,
        forge=make_forge(settings, desk.say),
        quick=make_forge(settings, desk.say, retry_timeout=3.0),
        remote=Remote(
            url=f"{settings.github.server_url}/{settings.github.repo}.git",
            token=settings.github.token,
            scratch=scratch,
            notify=desk.say,
            retry_timeout_seconds=settings.retry_timeout_seconds or RETRY_TIMEOUT_SECONDS,
        ),
        scratch=scratch,
        signals=signals,
    )


async def _respond(shop: JobContext, asked: gate.Allow) -> int:
    """The story. Every ending after the decision leaves a report, an answer, a summary and outputs."""
    task = asyncio.current_task()
    assert task is not None
    desk = shop.job
    warm_up()
    with shop.signals.cancel(task, desk.say):
        people = asyncio.ensure_future(fetch_roles(shop.event, shop.forge))
        try:
            target = await find_target(shop.event, shop.forge, shop.remote)
            agents = await read_agents(shop.remote, target, shop.scratch / "trusted")
            granted = await authorize_request(
                shop.event,
                asked.command,
                agents,
                people=people,
                settings=shop.rules,
                rate_limit=desk.inputs.rate_limit,
                forge=shop.forge,
            )
            if isinstance(granted, Rejected):
                return await _skip(shop, target, granted)
            await _acknowledge(shop)
            return await _run(shop, target, granted)
        except FlueError as error:
            await _post_error(shop, error)
            return _fail_early(shop, error.exit_code, str(error), error.hint)
        except asyncio.CancelledError:
            task.uncancel()
            return _fail_early(shop, 128 + (shop.signals.first or 2), "interrupted", "")
        finally:
            people.cancel()
            await asyncio.gather(people, return_exceptions=True)
            await shop.forge.close()
            await shop.quick.close()
            desk.say(f"GitHub was asked {plural(shop.forge.requests + shop.quick.requests, 'time')}")


async def _skip(shop: JobContext, target: Target, refused: Rejected) -> int:
    """Nothing to run: a reply to those who may ask, a reaction for those who may not, a notice, green."""
    if refused.reply and target.number and shop.job.inputs.comment:
        await _post(shop, target, refused.reply)
    elif refused.denied and shop.event.comment_id:
        await _react(shop, "confused")
    return shop.job.skip(refused.reason)


async def _acknowledge(shop: JobContext) -> None:
    if shop.event.comment_id and not shop.job.inputs.has_reacted:
        await _react(shop, "eyes")


async def _react(shop: JobContext, reaction: Reaction) -> None:
    event = shop.event
    if event.number is None:
        return
    kind: Literal["issue", "review"] = "review" if event.comment_kind == "review" else "issue"
    comment = Comment(id=event.comment_id, kind=kind, author=Account(), body="") if event.comment_id else None
    try:
        await shop.quick.react(event.number, comment, reaction)
    except ForgeError as error:
        shop.job.say(f"no reaction: {error}")  # a courtesy; the answer matters


async def _post(shop: JobContext, target: Target, body: str) -> None:
    assert target.number is not None
    body = shop.job.redact(body)
    thread = trigger_of(shop.event, target, run_url="").in_thread
    if thread is not None:
        await shop.forge.reply(target.number, thread, body)
    else:
        await shop.forge.comment(target.number, body)


async def _post_error(shop: JobContext, error: FlueError) -> None:
    """Whoever was promised an answer, by the gate's 👀, hears that there will be none; if GitHub takes it."""
    event, desk = shop.event, shop.job
    if not desk.inputs.has_reacted or not desk.inputs.comment or desk.inputs.dry_run:
        return
    if event.number is None or event.comment_id is None:
        return
    body = error_reply(desk.redact(str(error)), desk.run_url)
    try:
        if event.comment_kind == "review":
            await shop.quick.reply(event.number, event.comment_id, body)
        else:
            await shop.quick.comment(event.number, body)
    except ForgeError as again:
        desk.say(f"this cannot be said in a comment: {again}")


async def _run(shop: JobContext, target: Target, granted: Authorized) -> int:
    """Runs the agent and answers. What is wrong with the spec is an answer too."""
    desk, agent = shop.job, granted.agent
    trigger = trigger_of(shop.event, target, run_url=desk.run_url)
    asked = agent.spec.publish.comment if agent.spec else "sticky"
    sticky = None
    if target.number is not None and asked != "none" and desk.inputs.comment and not desk.inputs.dry_run:
        place = CommentTarget(number=target.number, in_thread=trigger.in_thread, keep=asked == "sticky")
        sticky = ProgressComment(shop.forge, shop.quick, place, agent.name, desk.say)
    folder = _open_folder(desk)
    patch = b""
    try:
        spec = _spec(shop, agent)
        assembly = _assembled(shop, target, spec, agent.path, granted.instruction, trigger)
        desk.redact = folder.redact = assembly.redact  # it knows the spec's secrets too, whatever their names are
        if desk.inputs.dry_run:
            return await _dry_run(shop, assembly, spec)
        report, patch = await _work(shop, assembly, folder, sticky)
    except FlueError as error:
        if isinstance(error, SpecError):
            desk.spec_errors(error)
        failure = Failure(
            stage="spec" if isinstance(error, SpecError) else "start", message=str(error), hint=error.hint
        )
        report = never_started(agent.name, granted.instruction, PROVIDER, failure, error.exit_code)
        report = folder.save(replace(report, trigger=trigger), b"")
    return await _answered(shop, report, patch, folder, sticky)


def _spec(shop: JobContext, agent: Agent) -> AgentSpec:
    """The spec with what the workflow changes. Raises `SpecError`."""
    if agent.spec is None:
        raise SpecError(agent.problems)
    inputs = shop.job.inputs
    changes = [f"model.name={inputs.model}"] if inputs.model else []
    changes += [f"sandbox.template={inputs.template}"] if inputs.template else []
    spec = load_spec(agent.path, agent.text, overrides=changes) if changes else agent.spec
    if missing := not_supported_yet(spec):
        raise SpecError(missing)
    return spec


async def _work(
    shop: JobContext, assembly: PreparedRun, folder: RunFolder, sticky: ProgressComment | None
) -> tuple[Report, bytes]:
    desk, view, standings = shop.job, ActionsView(shop.job.log), ProgressTracker()
    observe = redacting_observer(assembly.redact, folder, view.observe, standings.observe)
    trigger = assembly.job.trigger
    assert trigger is not None
    if sticky:
        asked = desk.redact(assembly.job.instruction)
        sticky.begin(lambda: progress_comment(assembly.job.agent, standings.now(), trigger, asked))
    try:
        report, patch = await run_and_save(assembly, folder, observe, shop.signals)
    finally:
        await assembly.close()
        view.close()
    if folder.trouble:
        desk.notice(folder.trouble)
    return report, patch


async def _answered(
    shop: JobContext, report: Report, patch: bytes, folder: RunFolder, sticky: ProgressComment | None
) -> int:
    desk = shop.job
    shown = desk.redact.redact_value(patch)
    answered, url = await deliver(sticky, report, shown, server_url=desk.settings.github.server_url)
    if answered is not report:
        assert answered.failure
        desk.error(answered.notes[-1] if report.failure else answered.reason, answered.failure.hint)
        answered = folder.save(answered, patch)
        return desk.finish(answered, shown, folder.path, url) or EXIT_FAILED
    return desk.finish(report, shown, folder.path, url)


def _fail_early(shop: JobContext, exit_code: int, message: str, hint: str) -> int:
    """It ended before an agent was chosen: the log, the summary and the report folder say why."""
    desk = shop.job
    desk.error(message, hint)
    failure = Failure(stage="start", message=message, hint=hint)
    report = never_started(shop.rules.agent, "", PROVIDER, failure, exit_code)
    for path in dict.fromkeys((desk.out, desk.fallback_folder)):
        try:
            folder = RunFolder(path, desk.redact)
            return desk.finish(folder.save(report, b""), b"", folder.path, "")
        except OSError as error:
            desk.notice(f"{path} takes no files: {error.strerror}")
    return desk.finish(report, b"", None, "")


def _open_folder(desk: ActionJob) -> RunFolder:
    try:
        return RunFolder(desk.out, desk.redact)
    except OSError as error:
        raise UsageError(
            f"{desk.out} takes no files: {error.strerror}", hint="choose another folder with the input `out`"
        ) from error


async def _dry_run(shop: JobContext, assembly: PreparedRun, spec: AgentSpec) -> int:
    """`dry-run`: what would happen, in the log and in the summary."""
    source = await assembly.kit.source()
    shown = describe_run(assembly.job, spec, source, PROVIDER)
    shown["publish"] = f"comment: {spec.publish.comment}, changes: {spec.publish.changes}"
    return shop.job.write_dry_run(shown, [*assembly.notes, *source.notes])


def _assembled(
    shop: JobContext, target: Target, spec: AgentSpec, path: Path, instruction: str, trigger: Trigger
) -> PreparedRun:
    """The run over the fetched commit; the discussion is read while the sandbox starts."""
    event, settings = shop.event, shop.job.settings
    number = target.number

    async def source() -> Source:
        return await open_remote(
            shop.remote,
            name=event.repo.rpartition("/")[2],
            head=target.head,
            ref=target.fetch_ref,
            base=target.trusted_sha if target.base_ref else None,
            base_ref=target.base_ref,
            depth=spec.workspace.history,
        )

    cleaned = sanitize_for_model(instruction or shop.job.inputs.instruction)
    request_notes = [f"taken out of the request: {summarize_removals(cleaned.removals)}"] if cleaned.removals else []

    async def discussed() -> tuple[str, list[str]]:
        if number is None:
            return "", request_notes
        found = await shop.forge.discussion(number, target.pull)
        before = event.asked_at if event.is_comment else ""
        context = render_discussion(found, before=before, include=spec.context.include, exclude=spec.context.exclude)
        return context.text, [*request_notes, *context.notes]

    return prepare_run(
        spec,
        spec_path=path,
        origin=RunInputs(
            trusted_folder=shop.scratch / "trusted",
            name=event.repo,
            source=source,
            discussion=discussed,
            variables=_variables(event, target),
            trigger=trigger,
            run=shop.job.inputs.run_token,
        ),
        instruction=cleaned.text,
        options=RunOptions(provider=PROVIDER, dry_run=shop.job.inputs.dry_run),
        settings=settings,
        signal=lambda: shop.signals.first,
    )


def _variables(event: Event, target: Target) -> dict[str, object]:
    variables: dict[str, object] = {
        "event": {"name": event.signature, "actor": event.actor},
        "repo": {"name": event.repo, "ref": target.ref, "sha": target.head},
    }
    return variables | discussion_variables(target.pull, target.issue)

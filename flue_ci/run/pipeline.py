"""The story of a run: sandbox, repository in, setup, agent, changes out, checks, and a report at every ending.

Read `run_agent` and `_run_stages` first. They know nothing of vendors, files or terminals: what they need arrives in
`RunPlan` and `RunServices`.
"""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from flue_ci import __version__
from flue_ci.agent.system_prompt import PromptParts, build_task
from flue_ci.core.changes import ChangeSet
from flue_ci.core.concurrency import finish, together, uncancel
from flue_ci.core.errors import EXIT_BUG, ChangesRefused, FlueError
from flue_ci.core.events import Notice, Observer, ProgressEvent, StageEnded, StageStarted, TurnEnded
from flue_ci.core.messages import Outcome, Usage
from flue_ci.core.ports import Sandbox
from flue_ci.core.startup import fast_startup
from flue_ci.git.command import read_objects
from flue_ci.git.protected import protected_paths
from flue_ci.git.source import Source
from flue_ci.report.conclusion import RunRecord, conclude
from flue_ci.report.folder import PATCH
from flue_ci.report.report import Base, Changes, CommandResult, Failure, Report, SandboxUsed
from flue_ci.run.commands import restore_shell_profile, run_commands, save_shell_profile
from flue_ci.run.plan import RunPlan, RunResult, RunServices
from flue_ci.safety.redact import added_lines
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import Workspace, upload, upload_files
from flue_ci.workspace.verify import subtract_setup_changes

_WITHHELD_REASON = "a secret that this run knows occurs in the patch, so the patch is withheld"
_WITHHELD_HINT = "look for a command that writes its environment to a file; drop the secret from `sandbox.secrets`"
_SIGINT = 2


@dataclass(slots=True, kw_only=True)
class _Run:
    """The record of one run while it grows."""

    plan: RunPlan
    observe: Observer
    holds_secret: Callable[[bytes], bool]
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    start: float = field(default_factory=time.monotonic)
    stage: str = "start"
    sandbox: Sandbox | None = None
    engine_ready: asyncio.Future[None] | None = None
    source: Source | None = None
    discussion_text: str = ""
    workspace: Workspace | None = None
    outcome: Outcome | None = None
    usage: Usage = field(default_factory=Usage)
    setup: tuple[CommandResult, ...] = ()
    checks: tuple[CommandResult, ...] = ()
    setup_changes: ChangeSet | None = None
    changes: ChangeSet | None = None
    refusal: ChangesRefused | None = None
    failure: Failure | None = None
    failure_code: int = 0
    signal: int = 0
    networks: dict[str, str] = field(default_factory=dict)  # what was in force, by phase
    timings: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def record(self, event: ProgressEvent) -> None:
        """Every event passes here, so that what was used is known however the run ends."""
        if isinstance(event, TurnEnded):
            self.usage = event.total
        elif isinstance(event, Notice):
            self.notes.append(event.text)
        self.observe(event)

    async def changes_so_far(self) -> ChangeSet:
        """What differs in the sandbox from what was uploaded. Raises `ChangesRefused`."""
        assert self.workspace and self.source and self.sandbox
        return await collect(self.workspace, self.source, self.sandbox)

    def fail(self, message: str, *, hint: str = "", code: int = 1) -> None:
        self.failure = Failure(stage=self.stage, message=message, hint=hint)
        self.failure_code = code

    @property
    def patch(self) -> bytes:
        result = self.changes or self.refusal
        return result.patch if result else b""


async def run_agent(plan: RunPlan, services: RunServices, observe: Observer) -> RunResult:
    """Carries out the plan.

    Every ending gives a report: expected failures, cancellation of the calling task, and bugs. The sandbox is dead
    on return.
    """
    run = _Run(plan=plan, observe=observe, holds_secret=services.holds_secret)
    try:
        await _run_stages(run, services)
    except FlueError as error:
        run.signal = services.signal()  # it may have caused the error
        run.fail(str(error), hint=error.hint, code=error.exit_code)
    except asyncio.CancelledError:
        uncancel()
        run.signal = services.signal() or _SIGINT
        hint = "The work so far is in the patch, when there is one." if run.workspace else ""
        run.fail("interrupted", hint=hint)
    except Exception as bug:  # noqa: BLE001 (the boundary: a bug must leave a report and no sandbox)
        trace = "".join(traceback.format_exception(bug))
        run.fail(f"{type(bug).__name__}: {bug}", hint=f"This is a bug of flue-ci.\n{trace}", code=EXIT_BUG)
    finally:
        await _end(run, services)
    return RunResult(report=_report(run), patch=run.patch, source=run.source)


async def _run_stages(run: _Run, services: RunServices) -> None:
    """The stages, one after another. What the agent did is collected before the checks, so that they cannot lose or
    alter it."""
    plan = run.plan
    async with _stage(run, "prepare"):
        await _prepare(run, services)
    assert run.sandbox and run.source and run.engine_ready
    async with _stage(run, "upload"):
        run.workspace = await upload(run.source, run.sandbox)
        await upload_files(run.sandbox, services.files)
    if run.engine_ready.done():
        run.engine_ready.result()  # an engine that cannot start ends the run before setup costs anything
    if plan.setup:
        async with _stage(run, "setup"):
            await _set_up(run, run.sandbox, run.workspace)
        if not run.setup[-1].passed:
            return
    if plan.checks:
        await save_shell_profile(run.sandbox)
    async with _stage(run, "agent"):
        await run.engine_ready
        task = build_task(_with_discussion(plan.prompt, run.discussion_text), run.workspace.root)
        run.outcome = await services.engine.run(task, run.sandbox, run.record)
    async with _stage(run, "collect"):
        await _collect(run)
    if plan.checks:
        async with _stage(run, "checks"):
            await restore_shell_profile(run.sandbox)
            run.checks = await run_commands(plan.checks, run.sandbox, cwd=run.workspace.root, observe=run.record)


async def _prepare(run: _Run, services: RunServices) -> None:
    """Starts the sandbox, reads the repository and the discussion at the same time; a failure of one ends the
    others. The engine is prepared beside all that happens before the agent starts."""
    request, inputs = run.plan.request, services.inputs

    async def open_sandbox() -> None:
        run.sandbox = await services.provider.open(request, run.record)
        run.networks["setup" if run.plan.setup else "agent"] = str(request.network)

    async def read_source() -> None:
        run.source = await inputs.source()
        _note(run, *run.source.notes)

    async def read_discussion() -> None:
        run.discussion_text, notes = await inputs.discussion()
        _note(run, *notes)

    async def start_engine() -> None:
        run.engine_ready = asyncio.ensure_future(_load(services.engine.prepare()))

    services.provider.check(request)
    await together(open_sandbox(), read_source(), read_discussion(), start_engine())


async def _load(preparation: Coroutine[Any, Any, None]) -> None:
    with fast_startup():
        await preparation


def _note(run: _Run, *notes: str) -> None:
    for note in notes:
        run.record(Notice(text=note))


def _with_discussion(prompt: PromptParts, text: str) -> PromptParts:
    if not text:
        return prompt
    return replace(prompt, prompt=f"{prompt.prompt.strip()}\n\n{text}".strip())


async def _set_up(run: _Run, sandbox: Sandbox, workspace: Workspace) -> None:
    """Runs the setup commands, then switches to the agent's network. What setup changed in the files is not the
    agent's change."""
    run.setup = await run_commands(
        run.plan.setup, sandbox, cwd=workspace.root, observe=run.record, stop_at_failure=True
    )
    if not run.setup[-1].passed:
        return
    network = run.plan.request.agent_network or run.plan.request.network
    await sandbox.set_network(network)
    run.networks["agent"] = str(network)
    try:
        run.setup_changes = await run.changes_so_far()
    except ChangesRefused as refusal:
        _note(run, f"what setup changed counts as the agent's: {refusal}")


async def _collect(run: _Run) -> None:
    assert run.source
    try:
        changes = await run.changes_so_far()
        if run.setup_changes:
            changes = await subtract_setup_changes(run.source, run.setup_changes, changes)
        if await _adds_secret(run, run.source, changes):
            raise ChangesRefused(_WITHHELD_REASON, hint=_WITHHELD_HINT)
        run.changes = changes
    except ChangesRefused as refusal:
        run.refusal = refusal
        if run.holds_secret(refusal.patch) or run.holds_secret(added_lines(refusal.patch)):
            run.refusal = ChangesRefused(f"{refusal}; besides, {_WITHHELD_REASON}", hint=_WITHHELD_HINT)
        raise run.refusal from None


async def _adds_secret(run: _Run, source: Source, changes: ChangeSet) -> bool:
    """Whether a secret of this run is in what the changes add: lines, names, and the bytes of binary files.

    Known values and their usual encodings are recognised, compressed or encrypted ones are not.
    """
    if run.holds_secret(added_lines(changes.patch)):
        return True
    for file in changes.files:
        if file.binary and file.kind != "deleted":
            name = f"{changes.tree}:{file.path}"
            objects = await read_objects(source.git, [name])
            if run.holds_secret(objects.get(name, b"")):
                return True
    return False


async def _end(run: _Run, services: RunServices) -> None:
    """After every ending: saves the agent's work when that has not happened yet, then kills the sandbox."""
    if run.engine_ready:
        run.engine_ready.cancel()
        run.engine_ready.add_done_callback(lambda task: task.cancelled() or task.exception())  # too late to matter
    if run.sandbox is None:
        return
    if run.stage in ("agent", "collect") and run.failure and run.changes is None and run.refusal is None:
        await _rescue(run, services)
    try:
        await finish(run.sandbox.close())  # bounded in itself, and never cut short by a second signal
    except asyncio.CancelledError:
        uncancel()


async def _rescue(run: _Run, services: RunServices) -> None:
    """What the agent did is worth a last try, also when the model failed or the run was interrupted."""
    timeout = services.rescue_seconds if run.signal else None
    try:
        async with asyncio.timeout(timeout):
            await _collect(run)
    except (FlueError, TimeoutError) as error:
        run.notes.append(f"the changes could not be saved: {str(error) or 'out of time'}")
    except asyncio.CancelledError:
        uncancel()
        run.signal = services.signal() or _SIGINT


@asynccontextmanager
async def _stage(run: _Run, name: str) -> AsyncIterator[None]:
    run.stage = name
    start = time.monotonic()
    run.record(StageStarted(stage=name))
    try:
        yield
    finally:
        run.timings[name] = round(time.monotonic() - start, 3)
        run.record(StageEnded(stage=name, seconds=run.timings[name]))


def _report(run: _Run) -> Report:
    plan, outcome, source, failure = run.plan, run.outcome, run.source, run.failure
    verdict = conclude(
        RunRecord(
            outcome=outcome,
            setup=run.setup,
            checks=run.checks,
            changed_files=len(run.changes.files) if run.changes else 0,
            wants_changes=plan.wants_changes,
            failure=failure.message if failure else "",
            failure_code=run.failure_code,
            signal=run.signal,
        )
    )
    if failure is None and outcome and outcome.status in ("failed", "gave-up"):
        failure = Failure(stage="agent", message=outcome.reason, hint=outcome.hint)
    return Report(
        conclusion=verdict.conclusion,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        agent=plan.agent,
        instruction=plan.instruction,
        summary=outcome.summary if outcome else "",
        result=outcome.result if outcome else None,
        changes=_changes(run),
        setup=run.setup,
        checks=run.checks,
        usage=run.usage,
        base=Base(ref=source.ref, sha=source.head, dirty=source.dirty) if source else Base(),
        sandbox=_sandbox(run),
        model=plan.model,
        timings=run.timings | {"total": round(time.monotonic() - run.start, 3)},
        failure=failure,
        notes=tuple(run.notes),
        started=run.started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        spec=plan.spec,
        flue_ci=__version__,
        trigger=plan.trigger,
        publish=plan.publish,
    )


def _changes(run: _Run) -> Changes:
    if run.refusal:
        return Changes(refused=str(run.refusal))
    if run.changes is None or not run.changes.files:
        return Changes()
    return Changes(
        files=run.changes.files,
        added=run.changes.added,
        deleted=run.changes.deleted,
        patch=PATCH,
        protected=protected_paths(run.changes.files, run.source.protected if run.source else ()),
    )


def _sandbox(run: _Run) -> SandboxUsed:
    usage = SandboxUsed(provider="", template=run.plan.request.template, network=run.networks, secrets=run.plan.secrets)
    if run.sandbox is None:
        return usage
    info = run.sandbox.info
    return replace(usage, provider=info.provider, id=info.id, template=info.template)

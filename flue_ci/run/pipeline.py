"""The story of a run: sandbox, repository in, setup, agent, changes out, checks, and the report, whatever happens.

Read `run_agent` first. It knows nothing of vendors, files or terminals: what it needs arrives in `RunServices`.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flue_ci import __version__
from flue_ci.agent.system_prompt import PromptParts, build_task
from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import EXIT_BUG, ChangesRefused, FlueError
from flue_ci.core.events import Notice, Observer, ProgressEvent, StageEnded, StageStarted, TurnEnded
from flue_ci.core.messages import Outcome, Usage
from flue_ci.core.ports import Engine, Network, Sandbox, SandboxProvider, SandboxRequest
from flue_ci.git.command import read_objects
from flue_ci.git.source import Source
from flue_ci.report.conclusion import RunRecord, conclude
from flue_ci.report.folder import PATCH
from flue_ci.report.report import Base, Changes, CommandResult, Failure, Publishing, Report, SandboxUsed, Trigger
from flue_ci.run import isolation as guard
from flue_ci.run.commands import HostCommand, run_commands
from flue_ci.safety.redact import added_lines
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import Workspace, upload
from flue_ci.workspace.verify import subtract_setup_changes

_WITHHELD = "a secret that this run knows occurs in the patch, so the patch is withheld"
_WITHHELD_HINT = "look for a command that writes its environment to a file; drop the secret from `sandbox.secrets`"
RESCUE_SECONDS = 4.0  # after a signal: a runner that cancels a job kills us soon, so only a short try to save the work


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was decided to do. `request` and the networks say how the sandbox is to be; `brief` what the agent is
    told."""

    agent: str
    instruction: str
    model: str
    spec: str
    brief: PromptParts
    request: SandboxRequest
    setup_network: Network
    setup: tuple[HostCommand, ...] = ()
    checks: tuple[HostCommand, ...] = ()
    secrets: tuple[str, ...] = ()
    wants_changes: bool = True
    trigger: Trigger | None = None
    publish: Publishing = field(default_factory=Publishing)


async def no_discussion() -> tuple[str, Sequence[str]]:
    """The surroundings of a run that nobody talks about: no text, no notes."""
    return "", ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunServices:
    """What a run is done with. `engine` gives the engine and the model's name, `told` what the task says beyond the
    prompt (a pull request's discussion); both are prepared while the sandbox starts."""

    provider: SandboxProvider
    source: Callable[[], Awaitable[Source]]
    engine: Callable[[], Coroutine[None, None, tuple[Engine, str]]]
    place_files: Callable[[Sandbox], Awaitable[None]]
    holds_secret: Callable[[bytes], bool]
    signal: Callable[[], int]
    discussion: Callable[[], Awaitable[tuple[str, Sequence[str]]]] = no_discussion


@dataclass(slots=True, kw_only=True)
class _Run:
    """The record of one run while it grows."""

    job: Job
    observe: Observer
    holds_secret: Callable[[bytes], bool]
    start: float = field(default_factory=time.monotonic)
    stage: str = "start"
    box: Sandbox | None = None
    loading: asyncio.Future[tuple[Engine, str]] | None = None
    source: Source | None = None
    discussion_text: str = ""
    workspace: Workspace | None = None
    outcome: Outcome | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    setup: tuple[CommandResult, ...] = ()
    checks: tuple[CommandResult, ...] = ()
    after_setup: ChangeSet | None = None
    changes: ChangeSet | None = None
    refusal: ChangesRefused | None = None
    failure: Failure | None = None
    failure_code: int = 0
    signal: int = 0
    networks: dict[str, str] = field(default_factory=dict)  # what was in force, by phase
    timings: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def see(self, event: ProgressEvent) -> None:
        """Every event passes here, so that what was used is known however the run ends."""
        if isinstance(event, TurnEnded):
            self.usage = event.total
        elif isinstance(event, Notice):
            self.notes.append(event.text)
        self.observe(event)

    def fail(self, message: str, *, hint: str = "", code: int = 1) -> None:
        self.failure = Failure(stage=self.stage, message=message, hint=hint)
        self.failure_code = code


async def run_agent(job: Job, kit: RunServices, observe: Observer) -> tuple[Report, bytes]:
    """Does the job. Returns the report and the patch (the refused bytes when it was refused, empty when there is none).

    Every ending gives a report: expected failures, cancellation of the calling task, and bugs. The sandbox is dead
    on return.
    """
    run = _Run(job=job, observe=observe, holds_secret=kit.holds_secret, model=job.model)
    started = datetime.now(UTC)
    try:
        await _do(run, kit)
    except FlueError as error:
        run.signal = kit.signal()  # it may have caused the error
        run.fail(str(error), hint=error.hint, code=error.exit_code)
    except asyncio.CancelledError:
        _uncancel()
        run.signal = kit.signal() or 2
        run.fail("interrupted", hint="The work so far is in the patch, when there is one." if run.workspace else "")
    except Exception as bug:  # noqa: BLE001 (the boundary: a bug must leave a report and no sandbox)
        run.fail(
            f"{type(bug).__name__}: {bug}",
            hint="This is a bug of flue-ci.\n" + "".join(traceback.format_exception(bug)),
            code=EXIT_BUG,
        )
    finally:
        await _finish(run, kit)
    return _report(run, started), run.changes.patch if run.changes else run.refusal.patch if run.refusal else b""


async def _do(run: _Run, kit: RunServices) -> None:
    """The stages, one line each. What the agent did is collected before the checks, so that they cannot lose or
    alter it."""
    job = run.job
    async with _stage(run, "prepare"):
        await _prepare(run, kit)
    assert run.box and run.source and run.loading
    async with _stage(run, "upload"):
        run.workspace = await upload(run.source, run.box)
        await kit.place_files(run.box)
    if run.loading.done():
        run.loading.result()  # when it has failed already, say so before more is done
    if job.setup:
        async with _stage(run, "setup"):
            run.setup = await run_commands(
                job.setup, run.box, cwd=run.workspace.root, observe=run.see, stop_at_failure=True
            )
            if not run.setup[-1].passed:
                return
            await run.box.set_network(job.brief.network)
            run.networks["agent"] = str(job.brief.network)
            await _note_setup(run)
    if job.checks:
        await guard.save_shell_profile(run.box)
    async with _stage(run, "agent"):
        engine, run.model = await run.loading
        run.outcome = await engine.run(
            build_task(_with(job.brief, run.discussion_text), run.workspace.root), run.box, run.see
        )
    async with _stage(run, "collect"):
        await _collect(run)
    if job.checks:
        async with _stage(run, "checks"):
            await guard.restore_shell_profile(run.box)
            run.checks = await run_commands(
                job.checks, run.box, cwd=run.workspace.root, observe=run.see, stop_at_failure=False
            )


async def _prepare(run: _Run, kit: RunServices) -> None:
    """Starts the sandbox and reads the repository at the same time; a failure of one ends the other."""

    async def open_box() -> None:
        run.box = await kit.provider.open(run.job.request, run.see)
        run.networks["setup" if run.job.setup else "agent"] = str(run.job.request.network)

    async def open_source() -> None:
        run.source = await kit.source()
        for note in run.source.notes:
            run.see(Notice(text=note))

    async def listen() -> None:
        run.discussion_text, notes = await kit.discussion()
        for note in notes:
            run.see(Notice(text=note))

    kit.provider.check(run.job.request)
    try:
        async with asyncio.TaskGroup() as together:
            together.create_task(open_box())
            together.create_task(open_source())
            together.create_task(listen())
            run.loading = asyncio.ensure_future(kit.engine())  # after them, and beside everything up to the agent
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def _with(told: PromptParts, more: str) -> PromptParts:
    return replace(told, prompt=f"{told.prompt.strip()}\n\n{more}".strip()) if more else told


async def _collect(run: _Run) -> None:
    assert run.workspace and run.source and run.box
    try:
        changes = await collect(run.workspace, run.source, run.box)
        if run.after_setup:
            changes = await subtract_setup_changes(run.source, run.after_setup, changes)
        if await _brings_a_secret(run, changes):
            raise ChangesRefused(_WITHHELD, hint=_WITHHELD_HINT)
        run.changes = changes
    except ChangesRefused as refused:
        if run.holds_secret(refused.patch) or run.holds_secret(added_lines(refused.patch)):
            refused = ChangesRefused(f"{refused}; besides, {_WITHHELD}", hint=_WITHHELD_HINT)
        run.refusal = refused
        raise refused from None


async def _brings_a_secret(run: _Run, changes: ChangeSet) -> bool:
    """Whether a secret of this run is in what the changes add: lines, names, and the bytes of binary files.

    Known values and their usual encodings are found, compressed or encrypted ones are not.
    """
    assert run.source
    if run.holds_secret(added_lines(changes.patch)):
        return True
    for file in changes.files:
        if file.binary and file.kind != "deleted":
            name = f"{changes.tree}:{file.path}"
            if run.holds_secret((await read_objects(run.source.git, [name])).get(name, b"")):
                return True
    return False


async def _note_setup(run: _Run) -> None:
    """What setup did to the files is not the agent's change."""
    assert run.workspace and run.source and run.box
    try:
        run.after_setup = await collect(run.workspace, run.source, run.box)
    except ChangesRefused as refused:
        run.see(Notice(text=f"what setup changed counts as the agent's: {refused}"))


async def _finish(run: _Run, kit: RunServices) -> None:
    """After every ending: saves the agent's work when that has not happened yet, then kills the sandbox."""
    if run.loading:
        run.loading.cancel()
        run.loading.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody else asks any more
    box = run.box
    if box is None:
        return
    if run.stage in ("agent", "collect") and run.failure and run.changes is None and run.refusal is None:
        await _rescue(run, kit)
    await _uninterrupted(box.close())


async def _rescue(run: _Run, kit: RunServices) -> None:
    """What the agent did is worth a last try, also when the model failed or somebody pressed Ctrl-C."""
    try:
        async with asyncio.timeout(RESCUE_SECONDS if run.signal else None):
            await _collect(run)
    except (FlueError, TimeoutError) as error:
        run.notes.append(f"the changes could not be saved: {str(error) or 'out of time'}")
    except asyncio.CancelledError:
        _uncancel()
        run.signal = kit.signal() or 2


async def _uninterrupted(closing: Awaitable[None]) -> None:
    """Killing the sandbox is never cut short by a second signal; it is bounded in itself."""
    task = asyncio.ensure_future(closing)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            _uncancel()


def _uncancel() -> None:
    task = asyncio.current_task()
    while task and task.cancelling():
        task.uncancel()


@asynccontextmanager
async def _stage(run: _Run, name: str) -> AsyncIterator[None]:
    run.stage = name
    start = time.monotonic()
    run.see(StageStarted(stage=name))
    try:
        yield
    finally:
        run.timings[name] = round(time.monotonic() - start, 3)
        run.see(StageEnded(stage=name, seconds=run.timings[name]))


def _report(run: _Run, started: datetime) -> Report:
    job = run.job
    files = run.changes.files if run.changes else ()
    verdict = conclude(
        RunRecord(
            outcome=run.outcome,
            setup=run.setup,
            checks=run.checks,
            changed_files=len(files),
            wants_changes=job.wants_changes,
            failure=run.failure.message if run.failure else "",
            failure_code=run.failure_code,
            signal=run.signal,
        )
    )
    outcome = run.outcome
    failure = run.failure
    if failure is None and outcome and outcome.status in ("failed", "gave-up"):
        failure = Failure(stage="agent", message=outcome.reason, hint=outcome.hint)
    return Report(
        conclusion=verdict.conclusion,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        agent=job.agent,
        instruction=job.instruction,
        summary=outcome.summary if outcome else "",
        result=outcome.result if outcome else None,
        base=Base(ref=run.source.ref, sha=run.source.head, dirty=run.source.dirty) if run.source else Base(),
        changes=_changes(run),
        setup=run.setup,
        checks=run.checks,
        usage=run.usage,
        sandbox=_sandbox(run),
        model=run.model,
        timings=run.timings | {"total": round(time.monotonic() - run.start, 3)},
        failure=failure,
        notes=tuple(run.notes),
        started=started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        spec=job.spec,
        flue_ci=__version__,
        trigger=job.trigger,
        publish=job.publish,
    )


def _changes(run: _Run) -> Changes:
    if run.refusal:
        return Changes(refused=str(run.refusal))
    if run.changes is None or not run.changes.files:
        return Changes()
    return Changes(files=run.changes.files, added=run.changes.added, deleted=run.changes.deleted, patch=PATCH)


def _sandbox(run: _Run) -> SandboxUsed:
    job, info = run.job, run.box.info if run.box else None
    return SandboxUsed(
        provider=info.provider if info else "",
        id=info.id if info else "",
        template=info.template if info else job.request.template,
        network=run.networks,
        secrets=job.secrets,
    )

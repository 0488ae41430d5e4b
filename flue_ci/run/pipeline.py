"""The story of a run: sandbox, repository in, setup, agent, changes out, checks in a clean sandbox, and a report at
every ending.

Read `run_agent` and `_run_stages` first. They know nothing of vendors, files or terminals: what they need arrives in
`RunPlan` and `RunServices`.
"""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from flue_ci.agent.system_prompt import PromptParts, build_task
from flue_ci.core.changes import ChangeSet, OtherWork
from flue_ci.core.concurrency import finish, together, uncancel
from flue_ci.core.errors import EXIT_BUG, ChangesRefused, FlueError, SandboxError, WorkspaceError
from flue_ci.core.events import Notice, Observer, Prompt, StageEnded, StageStarted
from flue_ci.core.ports import Sandbox
from flue_ci.core.startup import fast_startup
from flue_ci.git.command import read_objects
from flue_ci.git.source import Source
from flue_ci.report.folder import other_patch
from flue_ci.report.report import Verification
from flue_ci.run.commands import run_commands
from flue_ci.run.plan import RunPlan, RunResult, RunServices
from flue_ci.run.references import find_references
from flue_ci.run.state import RunState, make_report
from flue_ci.run.verification import CleanSandbox, can_become_root
from flue_ci.safety.redact import added_lines
from flue_ci.workspace.agent_history import collect_commits, collect_other_work, summarize
from flue_ci.workspace.place import place_skills
from flue_ci.workspace.submodules import submodule_works
from flue_ci.workspace.surroundings import list_surroundings, save_surroundings
from flue_ci.workspace.upload import Workspace, upload
from flue_ci.workspace.verify import changed_entries, subtract_setup_changes

_WITHHELD_REASON = "a secret that this run knows occurs in the patch, so the patch is withheld"
_WITHHELD_HINT = "look for a command that writes its environment to a file; drop the secret from `sandbox.secrets`"
_SIGINT = 2


async def run_agent(plan: RunPlan, services: RunServices, observe: Observer) -> RunResult:
    """Carries out the plan.

    Every ending gives a report: expected failures, cancellation of the calling task, and bugs. The sandbox is dead
    on return.
    """
    run = RunState(plan=plan, observe=observe, holds_secret=services.holds_secret)
    if plan.checks:
        run.verification = Verification(where=plan.verify.where, isolated=plan.verify.isolated)
        if plan.verify.where == "fresh":
            run.clean = CleanSandbox(plan, services.provider, run.record)
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
    return RunResult(report=make_report(run), patch=run.patch, other_patches=run.other_patches, source=run.source)


async def _run_stages(run: RunState, services: RunServices) -> None:
    """The stages, one after another. What the agent did is collected before the checks, which see nothing else of
    it."""
    plan = run.plan
    async with _stage(run, "prepare"):
        await _prepare(run, services)
    assert run.sandbox and run.source and run.engine_ready
    async with _stage(run, "upload"):
        workspace = run.workspace = await _upload(run, run.source, run.sandbox)
    if run.engine_ready.done():
        run.engine_ready.result()  # an engine that cannot start ends the run before setup costs anything
    if plan.setup:
        async with _stage(run, "setup"):
            await _set_up(run, run.sandbox, workspace)
        if not run.setup[-1].passed:
            return
    async with _stage(run, "agent"):
        await run.engine_ready
        await place_skills(run.source, workspace, run.sandbox, services.files)
        if run.verification and run.clean is None:
            await save_surroundings(workspace, run.sandbox)
        parts = replace(_with_context(plan.prompt, run), notes=run.source.notes)
        task = build_task(parts, workspace.root)
        context = run.context.strip()
        prompt = task.prompt.removesuffix(context).rstrip()
        run.record(Prompt(system=task.system, prompt=prompt, context=context))
        run.outcome = await services.engine.run(task, run.sandbox, run.record)
    run.checks = tuple(check.not_run() for check in plan.checks)
    async with _stage(run, "collect"):
        await _collect(run)
    if plan.trigger:
        run.references = await find_references(run.source, run.outcome)
    if run.verification:
        await _check(run, run.verification)


async def _upload(run: RunState, source: Source, sandbox: Sandbox) -> Workspace:
    """The repository into the agent's sandbox; meanwhile it shows whether anybody can become root in it."""
    if run.verification is None:
        return await upload(source, sandbox)
    workspace: Workspace
    workspace, has_root = await together(upload(source, sandbox), can_become_root(sandbox))
    run.verification = replace(run.verification, root=has_root)
    return workspace


async def _check(run: RunState, verification: Verification) -> None:
    """The checks, over the base and the changes alone; or, when the spec wants that, where the agent worked."""
    assert run.sandbox and run.source and run.workspace and run.changes
    sandbox, workspace = run.sandbox, run.workspace
    if run.clean:
        async with _stage(run, "verify"):
            run.closing = asyncio.ensure_future(_close_sandbox(run))  # nothing of it is needed any more
            sandbox, workspace = await run.clean.receive(run.source, run.changes)
    elif verification.unquiet:
        message = f"no check was run, because the agent's processes could not be ended: {verification.unquiet}"
        raise SandboxError(message, hint="let the checks run in a clean sandbox: `verify: fresh` in the spec")
    else:
        beside = await list_surroundings(workspace, sandbox, run.changes)
        run.verification = replace(verification, beside=beside)
    async with _stage(run, "checks"):
        run.verification = replace(run.verification or verification, ready=True)
        results = run_commands(run.plan.checks, sandbox, cwd=workspace.root, observe=run.record)
        index = 0
        async for result in results:
            run.checks = (*run.checks[:index], result, *run.checks[index + 1 :])
            index += 1


async def _prepare(run: RunState, services: RunServices) -> None:
    """Starts the sandbox, reads the repository and the discussion at the same time; a failure of one ends the
    others. The engine is prepared beside all that happens before the agent starts."""
    request, inputs = run.plan.request, services.inputs

    async def open_sandbox() -> None:
        run.sandbox = await services.provider.open(request, run.record)
        run.sandbox_opened = time.monotonic()
        run.networks["setup" if run.plan.setup else "agent"] = str(request.network)

    async def read_source() -> None:
        run.source = await inputs.source()
        _note(run, *run.source.notes)
        if run.plan.prompt.rules.review_comments:
            run.review, notes = await inputs.review_scope(run.source)
            _note(run, *notes)

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


def _note(run: RunState, *notes: str) -> None:
    for note in notes:
        run.record(Notice(text=note))


def _with_context(prompt: PromptParts, run: RunState) -> PromptParts:
    """The parts with what is only known when the run has begun: the discussion, and what a review is about."""
    if run.review:
        prompt = replace(prompt, rules=replace(prompt.rules, review=run.review))
    if not run.context:
        return prompt
    return replace(prompt, prompt=f"{prompt.prompt.strip()}\n\n{run.context}".strip())


async def _set_up(run: RunState, sandbox: Sandbox, workspace: Workspace) -> None:
    """Runs the setup commands, then switches to the agent's network. What setup changed in the files is not the
    agent's change."""
    async for result in run_commands(run.plan.setup, sandbox, cwd=workspace.root, observe=run.record):
        run.setup += (result,)
    if not run.setup[-1].passed:
        return
    network = run.plan.request.networks[-1]
    await sandbox.set_network(network)
    run.networks["agent"] = str(network)
    try:
        run.setup_changes = await run.changes_so_far()
        run.setup_submodules, _ = await run.submodule_changes()
    except ChangesRefused as refusal:
        _note(run, f"what setup changed counts as the agent's: {refusal}")


async def _collect(run: RunState) -> None:
    """What the agent changed. All of its processes are ended before, so that nothing changes any more."""
    assert run.source and run.sandbox
    unquiet = await run.sandbox.end_processes()
    if unquiet:
        _note(run, f"before the changes were collected: {unquiet}")
        if run.verification:
            run.verification = replace(run.verification, unquiet=unquiet)
    result: ChangeSet | None = None
    try:
        result = changes = await run.changes_so_far()
        if run.setup_changes:
            changes = await subtract_setup_changes(run.source, run.setup_changes, changes)
        if await _adds_secret(run, run.source, changes):
            raise ChangesRefused(_WITHHELD_REASON, hint=_WITHHELD_HINT)
        run.changes = changes
        _note(run, *changes.notes)
        await _collect_commits(run, changes)
    except ChangesRefused as refusal:
        run.refusal = refusal
        if run.holds_secret(refusal.patch) or run.holds_secret(added_lines(refusal.patch)):
            run.refusal = ChangesRefused(f"{refusal}; besides, {_WITHHELD_REASON}", hint=_WITHHELD_HINT)
        raise run.refusal from None
    finally:
        if run.changes or run.refusal:
            await _collect_other_work(run, result)


async def _collect_commits(run: RunState, changes: ChangeSet) -> None:
    """Keeps the agent's commits where the spec wants them to be pushed as they are, and none of them with a reason."""
    assert run.source and run.sandbox and run.workspace
    wishes = run.plan.publish
    if wishes.commits != "keep" or wishes.changes not in ("commit", "pull-request") or not changes.files:
        return
    try:
        commits = await collect_commits(run.workspace, run.source, run.sandbox)
        for commit in commits:
            secret = run.holds_secret(commit.message.encode()) or await _adds_secret(run, run.source, commit.changes)
            if secret:
                raise ChangesRefused("a secret that this run knows occurs in one of them")
        if commits and commits[-1].changes.tree != changes.tree:
            raise ChangesRefused("the changes are not what the last of them leads to")
        run.commits = commits
    except (ChangesRefused, WorkspaceError) as error:
        _note(run, f"the agent's own commits are not kept: {error}")


async def _collect_other_work(run: RunState, result: ChangeSet | None) -> None:
    """Keeps the agent's other branches and stashes, of which `result`, the work tree, knows nothing. A failure
    is a note: the changes themselves are there."""
    assert run.source and run.sandbox and run.workspace
    await _collect_submodules(run)
    tree = run.source.tree
    if result:
        tree = result.tree
        if not result.may_have_more:
            return
    setup: tuple[str, ...] = ()
    if run.setup_changes:
        setup = (run.setup_changes.tree,)
    try:
        works, notes = await collect_other_work(run.workspace, run.source, run.sandbox, result=tree, setup=setup)
        _note(run, *notes)
        for work in works:
            await _keep_work(run, work, run.source)
    except FlueError as error:
        _note(run, str(error))


async def _collect_submodules(run: RunState) -> None:
    """Keeps what the agent changed inside of submodules."""
    try:
        after, notes = await run.submodule_changes()
        works, more = await submodule_works(run.setup_submodules, after)
        _note(run, *notes, *more)
        for work, source in works:
            await _keep_work(run, work, source)
    except FlueError as error:
        _note(run, f"what changed in submodules is lost with the sandbox: {error}")


async def _keep_work(run: RunState, work: OtherWork, source: Source) -> None:
    label = work.label.encode("utf-8", "surrogateescape")
    if run.holds_secret(label) or await _adds_secret(run, source, work.changes):
        _note(run, f"{work.label} holds other work. It is withheld: a secret that this run knows occurs in it")
        return
    names = {each.name for each in run.other_work}
    while work.name in names:
        work = replace(work, name=f"{work.name}-more")
    run.other_work += (work,)
    _note(run, summarize(work, other_patch(work.name)))


async def _adds_secret(run: RunState, source: Source, changes: ChangeSet) -> bool:
    """Whether a secret of this run is in what the changes add: lines, names, and the bytes of binary files.

    Known values and their usual encodings are recognised, compressed or encrypted ones are not.
    """
    if run.holds_secret(added_lines(changes.patch)):
        return True
    binary = {file.path for file in changes.files if file.binary and file.kind != "deleted"}
    if not binary:
        return False
    for entry in await changed_entries(source, source.tree, changes.tree):
        if entry.path in binary:
            objects = await read_objects(source.git, [entry.blob])
            if run.holds_secret(objects.get(entry.blob, b"")):
                return True
    return False


async def _end(run: RunState, services: RunServices) -> None:
    """After every ending: saves the agent's work when that has not happened yet, then kills the sandbox."""
    if run.engine_ready:
        run.engine_ready.cancel()
        run.engine_ready.add_done_callback(lambda task: task.cancelled() or task.exception())  # too late to matter
    if run.stage in ("agent", "collect") and run.failure and run.changes is None and run.refusal is None:
        await _rescue(run, services)
    try:
        await finish(_close_sandboxes(run))  # bounded in itself, and never cut short by a second signal
    except asyncio.CancelledError:
        uncancel()


async def _close_sandboxes(run: RunState) -> None:
    agents = run.closing or asyncio.ensure_future(_close_sandbox(run))
    if run.clean:
        await run.clean.close()
    await agents


async def _close_sandbox(run: RunState) -> None:
    """Kills the agent's sandbox."""
    if run.sandbox is None:
        return
    await run.sandbox.close()
    run.sandbox_seconds = round(time.monotonic() - run.sandbox_opened, 3)


async def _rescue(run: RunState, services: RunServices) -> None:
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
async def _stage(run: RunState, name: str) -> AsyncIterator[None]:
    run.stage = name
    start = time.monotonic()
    run.record(StageStarted(stage=name))
    try:
        yield
    finally:
        run.timings[name] = round(time.monotonic() - start, 3)
        run.record(StageEnded(stage=name, seconds=run.timings[name]))

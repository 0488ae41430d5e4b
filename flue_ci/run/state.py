"""The state of one run while it goes on, and the report that it ends with."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flue_ci import __version__
from flue_ci.agent.tools.registry import READ_ONLY
from flue_ci.core.changes import ChangeSet, CommittedChanges, OtherWork
from flue_ci.core.errors import ChangesRefused
from flue_ci.core.events import Notice, Observer, ProgressEvent, ProposalMade, ToolEnded, ToolStarted, TurnEnded
from flue_ci.core.messages import Outcome, Usage
from flue_ci.core.ports import Sandbox
from flue_ci.core.proposals import Proposal
from flue_ci.core.review_scope import ReviewScope
from flue_ci.git.protected import protected_paths
from flue_ci.git.source import Source
from flue_ci.report.conclusion import RunRecord, conclude, describe_place
from flue_ci.report.folder import PATCH, commit_patch, other_patch
from flue_ci.report.report import (
    AgentCommit,
    Base,
    Changes,
    CommandResult,
    Failure,
    OtherChanges,
    Report,
    ReviewRecord,
    SandboxUsed,
    Verification,
)
from flue_ci.run.plan import RunPlan
from flue_ci.run.references import paths_shown
from flue_ci.run.review_text import review_text
from flue_ci.run.verification import CleanSandbox
from flue_ci.workspace.collect import collect
from flue_ci.workspace.submodules import SubmoduleChanges, collect_submodules
from flue_ci.workspace.upload import Workspace


@dataclass(slots=True, kw_only=True)
class RunState:
    """The record of one run while it grows."""

    plan: RunPlan
    observe: Observer
    holds_secret: Callable[[bytes], bool]
    clean: CleanSandbox | None = None  # where the checks run, when they run in a sandbox of their own
    verification: Verification | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    start: float = field(default_factory=time.monotonic)
    stage: str = "start"
    sandbox: Sandbox | None = None
    sandbox_opened: float = 0.0
    sandbox_seconds: float = 0.0
    closing: asyncio.Future[None] | None = None  # the end of the agent's sandbox, before that of the run
    engine_ready: asyncio.Future[None] | None = None
    source: Source | None = None
    discussion_text: str = ""
    workspace: Workspace | None = None
    review: ReviewScope | None = None
    looked_at: set[str] = field(default_factory=set)  # of the review's files
    outcome: Outcome | None = None
    usage: Usage = field(default_factory=Usage)
    setup: tuple[CommandResult, ...] = ()
    checks: tuple[CommandResult, ...] = ()
    setup_changes: ChangeSet | None = None
    setup_submodules: Mapping[str, SubmoduleChanges] = field(default_factory=dict)
    changes: ChangeSet | None = None
    other_work: tuple[OtherWork, ...] = ()
    commits: tuple[CommittedChanges, ...] = ()
    refusal: ChangesRefused | None = None
    proposals: list[Proposal] = field(default_factory=list)
    references: tuple[str, ...] = ()
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
        elif isinstance(event, ProposalMade):
            self.proposals.append(event.proposal)
        elif isinstance(event, ToolEnded):
            self.note_paths(event)
        elif isinstance(event, ToolStarted) and event.call.name not in READ_ONLY:
            self.prepare_checks()
        self.observe(event)

    @property
    def context(self) -> str:
        """What the task says beyond the prompt."""
        parts = [self.discussion_text, review_text(self.review) if self.review else ""]
        return "\n\n".join(filter(None, parts))

    def note_paths(self, event: ToolEnded) -> None:
        """Remembers which files of a review the agent has looked at."""
        if self.review and self.workspace:
            paths = {*(self.review.files or ()), *(finding.path for finding in self.review.findings)}
            self.looked_at |= paths_shown(event.call, event.result, paths - {""}, self.workspace.root)

    def prepare_checks(self) -> None:
        """Begins to prepare the clean sandbox: something is about to change."""
        if self.clean and self.source:
            self.clean.start(self.source)

    async def changes_so_far(self) -> ChangeSet:
        """What differs in the sandbox from what was uploaded. Raises `ChangesRefused`."""
        assert self.workspace and self.source and self.sandbox
        return await collect(self.workspace, self.source, self.sandbox)

    async def submodule_changes(self) -> tuple[Mapping[str, SubmoduleChanges], tuple[str, ...]]:
        """The same for submodules, by path, and notes."""
        assert self.workspace and self.source and self.sandbox
        return await collect_submodules(self.workspace, self.source, self.sandbox)

    def fail(self, message: str, *, hint: str = "", code: int = 1) -> None:
        self.failure = Failure(stage=self.stage, message=message, hint=hint)
        self.failure_code = code

    @property
    def patch(self) -> bytes:
        result = self.changes or self.refusal
        return result.patch if result else b""

    @property
    def other_patches(self) -> dict[str, bytes]:
        """By file name."""
        patches = {other_patch(work.name): work.changes.patch for work in self.other_work}
        commits = enumerate(self.commits, start=1)
        return patches | {commit_patch(number): commit.changes.patch for number, commit in commits}


def make_report(run: RunState) -> Report:
    """The report of a run that is over."""
    plan, outcome, source, failure = run.plan, run.outcome, run.source, run.failure
    verdict = conclude(
        RunRecord(
            outcome=outcome,
            setup=run.setup,
            checks=run.checks,
            changed_files=len(run.changes.files) if run.changes else 0,
            place=describe_place(run.verification),
            wants_changes=plan.publish.changes != "none",
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
        verification=_verification(run),
        references=run.references,
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
        proposals=tuple(run.proposals),
        review=_review(run),
    )


def _review(run: RunState) -> ReviewRecord | None:
    scope = run.review
    if scope is None or run.outcome is None or scope.files is None:
        return None
    is_in_thread = run.plan.trigger is not None and run.plan.trigger.in_thread is not None
    return ReviewRecord(
        head=scope.head,
        since=scope.since,
        changed_files=len(scope.changed_paths),
        looked_at=tuple(sorted(run.looked_at)),
        moves=scope.moves,
        complete=run.outcome.status == "finished" and run.failure is None and not is_in_thread,
        asked_about=scope.asked_about,
    )


def _changes(run: RunState) -> Changes:
    other_work = tuple(
        OtherChanges(
            label=work.label,
            patch=other_patch(work.name),
            files=len(work.changes.files),
            added=work.changes.added,
            deleted=work.changes.deleted,
        )
        for work in run.other_work
    )
    if run.refusal:
        return Changes(refused=str(run.refusal), other_work=other_work)
    if run.changes is None or not run.changes.files:
        return Changes(other_work=other_work)
    return Changes(
        files=run.changes.files,
        added=run.changes.added,
        deleted=run.changes.deleted,
        patch=PATCH,
        protected=protected_paths(run.changes.files, run.source.protected if run.source else ()),
        other_work=other_work,
        commits=tuple(
            AgentCommit(message=commit.message, patch=commit_patch(number))
            for number, commit in enumerate(run.commits, start=1)
        ),
    )


def _sandbox(run: RunState) -> SandboxUsed:
    usage = SandboxUsed(provider="", template=run.plan.request.template, network=run.networks, secrets=run.plan.secrets)
    if run.sandbox is None:
        return usage
    info = run.sandbox.info
    seconds = run.sandbox_seconds
    return replace(usage, provider=info.provider, id=info.id, template=info.template, seconds=seconds)


def _verification(run: RunState) -> Verification | None:
    if run.verification is None or run.clean is None:
        return run.verification
    clean = run.clean
    return replace(run.verification, sandbox=clean.usage, setup=clean.setup, setup_again=clean.setup_again)

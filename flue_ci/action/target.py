"""What an event is about: the pull request, issue or commit, the trusted commit, and the agents of that commit.

The trusted commit is the tip of the default branch, whatever the event: its author may choose the base of a pull
request, and other branches hold what people without rights wrote. Another branch counts only when the workflow lists
it. What is worked on is only ever named here, never read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.action.pull_head import PullHead, base_when_asked, changes_since, head_when_asked
from flue_ci.core.concurrency import together
from flue_ci.core.discussion import Issue, PullRequest
from flue_ci.core.errors import Diagnostic, FlueError, SpecError
from flue_ci.core.ports import Forge
from flue_ci.gate.comment_command import CommentCommand
from flue_ci.gate.event import AFTER_CHECKS, WITH_COMMIT, Event
from flue_ci.gate.policy import AgentTriggers
from flue_ci.git.fetch import Remote, fetch_commit, resolve_all, trusted_files
from flue_ci.report.report import Trigger
from flue_ci.spec.load import find_specs, load_spec
from flue_ci.spec.schema import AgentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an event is about. `number` is a pull request (`pull`) or an issue, None for neither.

    `head` is the commit to work on, pinned; `ref` its branch or tag, `base_ref` the branch it is to be merged into (""
    for none). `fetch_ref` is the ref that holds the head ("" for none), for servers that give no commit by its name.
    `trusted_sha` is the commit whose specs, skills and AGENTS.md count, `base_sha` the tip of `base_ref`.
    `head_has_moved`: the pull request has another head by now. `refusal` says why nothing may be started although it
    was asked for ("" for no reason), `needs_commit` that it may when the request names the commit; `notes` are for
    people.
    """

    number: int | None
    pull: PullRequest | None = None
    issue: Issue | None = None
    head: str
    ref: str
    base_ref: str = ""
    fetch_ref: str = ""
    trusted_sha: str
    base_sha: str | None = None
    head_has_moved: bool = False
    refusal: str = ""
    needs_commit: bool = False
    notes: tuple[str, ...] = ()

    @property
    def from_fork(self) -> bool:
        """Whether what is worked on is a fork's."""
        return self.pull is not None and self.pull.from_fork


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent of the trusted commit; without `spec` when its file has `problems`. `path` is relative to the
    repository, `text` the file's content."""

    path: Path
    text: bytes
    spec: AgentSpec | None
    problems: tuple[Diagnostic, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name if self.spec else self.path.stem

    @property
    def triggers(self) -> AgentTriggers:
        """What starts it. A spec that cannot be read can still be asked for by its file's name, so that people who may
        ask learn what is wrong with it."""
        if self.spec is None:
            return AgentTriggers(name=self.name, comment=self.name)
        triggers = self.spec.triggers
        return AgentTriggers(
            name=self.name,
            comment=triggers.comment or "",
            labels=triggers.labels,
            events=triggers.events,
            roles=triggers.roles,
            bots=triggers.bots,
            forks=triggers.forks,
            description=self.spec.description,
        )


async def find_target(
    event: Event,
    forge: Forge,
    remote: Remote,
    *,
    trusted_branches: Sequence[str] = (),
    command: CommentCommand | None = None,
    saved_head: str = "",
) -> Target:
    """Asks GitHub what the event leaves open. `trusted_branches` are patterns of branches whose specs count, besides
    the default branch; `command` is the request of a comment, `saved_head` the commit that a saved change was made at.
    Raises `FlueError`."""
    search = _Search(event=event, forge=forge, remote=remote, trusted_branches=trusted_branches)
    if event.name in AFTER_CHECKS:
        return await search.find_checked()
    if event.is_pull_request and event.number:
        pull, changes = await together(forge.pull(event.number), changes_since(event, event.number, forge, command))
        head = PullHead(sha=saved_head)
        if not saved_head:
            head = await head_when_asked(event, pull, forge, command, changes)
        return await search.find_pull(pull, head, changes)
    if event.name in WITH_COMMIT:
        return await search.find_commit()
    target = await search.find_issue()
    if command and command.sha:
        return replace(target, refusal=f"{command.sha} is to be a commit of a pull request, and this is none")
    return replace(target, head=saved_head or target.head)


def matches_branch(branch: str, pattern: str) -> bool:
    """Whether a pattern means a branch, as in filters of workflows: `*` stands for any characters but `/`, `**` for
    any."""
    parts = re.split(r"(\*\*?)", pattern.removeprefix("refs/heads/"))
    wildcards = {"*": "[^/]*", "**": ".*"}
    return bool(re.fullmatch("".join(wildcards.get(part) or re.escape(part) for part in parts), branch, re.DOTALL))


async def read_agents(remote: Remote, target: Target, folder: Path) -> tuple[Agent, ...]:
    """Fetches the trusted commit and lays its trusted files out in the empty `folder`; gives the agents among them."""
    await fetch_commit(remote, sha=target.trusted_sha, depth=1)
    await trusted_files(remote, target.trusted_sha, folder)
    return tuple(_load(path.relative_to(folder), path.read_bytes()) for path in find_specs(folder))


def trigger_of(event: Event, target: Target, *, run_url: str) -> Trigger:
    """What started the run, for its report."""
    pull = target.pull
    return Trigger(
        event=event.signature,
        actor=event.actor,
        repo=event.repo,
        repo_id=event.repo_id,
        number=target.number,
        is_pull_request=pull is not None,
        from_fork=pull.from_fork if pull else False,
        head_sha=target.head,
        comment_id=event.comment_id,
        in_thread=event.thread,
        url=pull.url if pull else event.url,
        run_url=run_url,
        workflow=event.workflow,
        spec_sha=target.trusted_sha,
    )


def default_branch(event: Event) -> str:
    """The repository's. GitHub starts schedules on it, and says little else of them. Raises `FlueError` when nothing
    names it."""
    branch = event.default_branch
    if not branch and event.name == "schedule":
        branch = event.ref.removeprefix("refs/heads/")
    if not branch:
        raise FlueError("the event does not name the repository's default branch")
    return branch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What a target is searched with."""

    event: Event
    forge: Forge
    remote: Remote
    trusted_branches: Sequence[str]

    async def resolve_trusted(self, branch: str = "", *more: str) -> list[str]:
        """The commits at the tips of the trusted branch (`branch` when the workflow lists it, else the default branch)
        and of `more` branches."""
        if not branch or not any(matches_branch(branch, pattern) for pattern in self.trusted_branches):
            branch = default_branch(self.event)
        return await resolve_all(self.remote, [f"refs/heads/{name}" for name in (branch, *more)])

    async def find_pull(self, pull: PullRequest, head: PullHead, changes: frozenset[str] | None) -> Target:
        """A pull request whose head is known; `changes` is what happened to it since the request."""
        base_ref, refusal = base_when_asked(self.event, pull, changes)
        trusted_sha, base_sha = await self.resolve_trusted(base_ref, base_ref or pull.base_ref)
        return Target(
            number=pull.number,
            pull=replace(pull, head_sha=head.sha, base_ref=base_ref or pull.base_ref),
            head=head.sha,
            ref=pull.head_ref,
            base_ref=base_ref or pull.base_ref,
            base_sha=base_sha,
            fetch_ref=f"refs/pull/{pull.number}/head",
            trusted_sha=trusted_sha,
            head_has_moved=head.sha != pull.head_sha,
            refusal=refusal or head.refusal,
            needs_commit=head.needs_commit and not refusal,
            notes=tuple(filter(None, (head.note,))),
        )

    async def find_checked(self) -> Target:
        """The open pull request whose head the workflow or check ran on, when there is one; else its commit. The
        event's own list of pull requests is not used: the head may have moved since, or belong to a fork."""
        event, sha = self.event, self.event.checked_sha
        pulls = [pull for pull in await self.forge.pulls_of(sha) if pull.head_sha == sha]
        # Anybody can open a pull request with the commit of somebody else's. Where GitHub does not name the repository
        # of what was checked, it is a fork's.
        pulls = [pull for pull in pulls if event.checked_repo_id in (None, pull.head_repo_id)]
        pulls.sort(key=lambda pull: (not pull.from_fork, pull.head_ref != event.checked_branch))
        if pulls:
            changes = await changes_since(event, pulls[0].number, self.forge)
            return await self.find_pull(pulls[0], PullHead(sha=sha), changes)
        if event.checked_repo_id != event.repo_id:
            raise FlueError(
                f"the {event.name} was about a fork's commit that is no open pull request's head any more",
                hint="the pull request was closed, or got new commits meanwhile; run it again there",
            )
        (trusted_sha,) = await self.resolve_trusted()
        return Target(number=None, head=sha, ref="", trusted_sha=trusted_sha)

    async def find_commit(self) -> Target:
        """The commit that GITHUB_SHA names."""
        event, ref = self.event, self.event.ref
        branch = event.base_ref  # of a merge group, whose own branch holds what is not merged yet
        if event.name != "merge_group" and ref.startswith("refs/heads/"):
            branch = ref.removeprefix("refs/heads/")
        (trusted_sha,) = await self.resolve_trusted(branch)
        target = Target(number=None, head=event.sha, ref="", trusted_sha=trusted_sha)
        name = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
        if name == ref:  # neither a branch nor a tag
            return target
        return replace(target, ref=name, fetch_ref=ref)

    async def find_issue(self) -> Target:
        """The default branch, and the issue when the event is about one."""
        (tip,) = await self.resolve_trusted()
        issue = await self.forge.issue(self.event.number) if self.event.number else None
        branch = default_branch(self.event)
        ref = f"refs/heads/{branch}"
        return Target(number=self.event.number, issue=issue, head=tip, ref=branch, fetch_ref=ref, trusted_sha=tip)


def _load(path: Path, text: bytes) -> Agent:
    try:
        return Agent(path=path, text=text, spec=load_spec(path, text))
    except SpecError as error:
        return Agent(path=path, text=text, spec=None, problems=error.diagnostics)

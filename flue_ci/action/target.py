"""What an event is about: the pull request, issue or commit, the trusted commit, and the agents of that commit.

The trusted commit is the tip of a pull request's base branch, of the default branch for issues, or the event's own
commit; the head of a pull request is only ever named here, never read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.core.discussion import Issue, PullRequest
from flue_ci.core.errors import Diagnostic, FlueError, SpecError
from flue_ci.core.ports import Forge
from flue_ci.gate.event import Event
from flue_ci.gate.policy import AgentTriggers
from flue_ci.git.fetch import Remote, fetch_commit, resolve, trusted_files
from flue_ci.report.report import Trigger
from flue_ci.spec.load import AgentSpec, find_specs, load_spec

_OWN_COMMIT = ("push", "schedule", "workflow_dispatch", "merge_group")
_REVIEW_COMMENT = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an event is about. `number` is a pull request (`pull`) or an issue, None for neither.

    `head` is the commit to work on, pinned; `ref` its branch, `base_ref` the branch it is to be merged into ("" for
    none). `trusted` is the commit whose specs, skills and AGENTS.md count.
    """

    number: int | None
    pull: PullRequest | None = None
    issue: Issue | None = None
    head: str
    ref: str
    base_ref: str = ""
    trusted_sha: str

    @property
    def fetch_ref(self) -> str:
        """The ref that holds the head, for servers that give no commit by its name."""
        if self.pull:
            return f"refs/pull/{self.number}/head"
        if self.ref:
            return f"refs/heads/{self.ref}"
        return ""


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
        if self.spec:
            return self.spec.name
        return self.path.stem

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
        )


async def find_target(event: Event, forge: Forge, remote: Remote) -> Target:
    """Asks GitHub what the event leaves open. Raises `FlueError`."""
    if event.name == "workflow_run":
        return await _of_run(event, forge, remote)
    if event.is_pull_request and event.number:
        pull = await forge.pull(event.number)
        return await _of_pull(pull, event.head_sha or pull.head_sha, remote)
    if event.name in _OWN_COMMIT:
        return _of_commit(event.sha, event.ref)
    branch = event.default_branch
    if not branch:
        raise FlueError("the event does not name the repository's default branch")
    tip, issue = await resolve(remote, f"refs/heads/{branch}"), None
    if event.number:
        issue = await forge.issue(event.number)
    return Target(number=event.number, issue=issue, head=tip, ref=branch, trusted_sha=tip)


async def read_agents(remote: Remote, target: Target, folder: Path) -> tuple[Agent, ...]:
    """Fetches the trusted commit and lays its trusted files out in the empty `folder`; gives the agents among them."""
    await fetch_commit(remote, sha=target.trusted_sha, depth=1)
    await trusted_files(remote, target.trusted_sha, folder)
    return tuple(_load(path.relative_to(folder), path.read_bytes()) for path in find_specs(folder))


def trigger_of(event: Event, target: Target, *, run_url: str) -> Trigger:
    """What started the run, for its report."""
    trigger = Trigger(
        event=event.signature,
        actor=event.actor,
        repo=event.repo,
        repo_id=event.repo_id,
        number=target.number,
        is_pull_request=target.pull is not None,
        head_sha=target.head,
        comment_id=event.comment_id,
        url=event.url,
        run_url=run_url,
        spec_sha=target.trusted_sha,
    )
    if event.comment_kind == _REVIEW_COMMENT:
        trigger = replace(trigger, in_thread=event.comment_id)
    if target.pull:
        trigger = replace(trigger, from_fork=target.pull.from_fork, url=target.pull.url)
    return trigger


async def _of_pull(pull: PullRequest, head: str, remote: Remote) -> Target:
    tip = await resolve(remote, f"refs/heads/{pull.base_ref}")
    return Target(number=pull.number, pull=pull, head=head, ref=pull.head_ref, base_ref=pull.base_ref, trusted_sha=tip)


async def _of_run(event: Event, forge: Forge, remote: Remote) -> Target:
    """The open pull request whose head the other workflow ran on, when there is one; else its commit. The event's own
    list of pull requests is not used: their heads may have moved since, or belong to a fork."""
    run = event.run
    pulls = [pull for pull in await forge.pulls_of(run.head_sha) if pull.head_sha == run.head_sha]
    if pulls:
        return await _of_pull(pulls[0], run.head_sha, remote)
    if run.head_repo_id != event.repo_id:
        raise FlueError(
            "the other workflow ran on a fork's commit that is no open pull request's head any more",
            hint="the pull request was closed, or got new commits meanwhile; run it again there",
        )
    tip = await resolve(remote, f"refs/heads/{event.default_branch}")
    return Target(number=None, head=run.head_sha, ref="", trusted_sha=tip)


def _of_commit(sha: str, ref: str) -> Target:
    branch = ""
    if ref.startswith("refs/heads/"):
        branch = ref.removeprefix("refs/heads/")
    return Target(number=None, head=sha, ref=branch, trusted_sha=sha)


def _load(path: Path, text: bytes) -> Agent:
    try:
        return Agent(path=path, text=text, spec=load_spec(path, text))
    except SpecError as error:
        return Agent(path=path, text=text, spec=None, problems=error.diagnostics)

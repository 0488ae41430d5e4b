"""What a run on GitHub stands on: what the event is about, the commit that is trusted, and the agents that stand there.

The trusted commit is the tip of a pull request's base branch, of the default branch for issues, or the event's own
commit; the head of a pull request is only ever named here, never read.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        return f"refs/pull/{self.number}/head" if self.pull else f"refs/heads/{self.ref}" if self.ref else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent of the trusted commit; without `spec` when its file has `problems`. `path` is as the repository names
    it, `text` what stands there."""

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
        asked = self.spec.triggers
        return AgentTriggers(
            name=self.name,
            comment=asked.comment or "",
            labels=asked.labels,
            events=asked.events,
            roles=asked.roles,
            bots=asked.bots,
            forks=asked.forks,
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
    tip = await resolve(remote, f"refs/heads/{branch}")
    issue = await forge.issue(event.number) if event.number else None
    return Target(number=event.number, issue=issue, head=tip, ref=branch, trusted_sha=tip)


async def read_agents(remote: Remote, target: Target, folder: Path) -> tuple[Agent, ...]:
    """Fetches the trusted commit and lays its trusted files out in the empty `folder`; gives the agents among them."""
    await fetch_commit(remote, sha=target.trusted_sha, depth=1)
    await trusted_files(remote, target.trusted_sha, folder)
    return tuple(_load(path.relative_to(folder), path.read_bytes()) for path in find_specs(folder))


def trigger_of(event: Event, target: Target, *, run_url: str) -> Trigger:
    """The report's word for what started the run."""
    in_thread = event.comment_id if event.comment_kind == _REVIEW_COMMENT else None
    return Trigger(
        event=event.signature,
        actor=event.actor,
        repo=event.repo,
        repo_id=event.repo_id,
        number=target.number,
        is_pull_request=target.pull is not None,
        head_sha=target.head,
        from_fork=target.pull.from_fork if target.pull else False,
        comment_id=event.comment_id,
        in_thread=in_thread,
        url=target.pull.url if target.pull else event.url,
        run_url=run_url,
        spec_sha=target.trusted_sha,
    )


async def _of_pull(pull: PullRequest, head: str, remote: Remote) -> Target:
    trusted = await resolve(remote, f"refs/heads/{pull.base_ref}")
    return Target(
        number=pull.number, pull=pull, head=head, ref=pull.head_ref, base_ref=pull.base_ref, trusted_sha=trusted
    )


async def _of_run(event: Event, forge: Forge, remote: Remote) -> Target:
    """The open pull request whose head the other workflow ran on, when there is one; else its commit. Whatever the
    event says of pull requests is checked against GitHub, where the head may have moved or belong to a fork."""
    run = event.run
    found = [pull for pull in await forge.pulls_of(run.head_sha) if pull.head_sha == run.head_sha]
    if found:
        return await _of_pull(found[0], run.head_sha, remote)
    if run.head_repo_id != event.repo_id:
        raise FlueError(
            "the other workflow ran on a fork's commit that is no open pull request's head any more",
            hint="the pull request was closed, or got new commits meanwhile; run it again there",
        )
    tip = await resolve(remote, f"refs/heads/{event.default_branch}")
    return Target(number=None, head=run.head_sha, ref="", trusted_sha=tip)


def _of_commit(sha: str, ref: str) -> Target:
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    return Target(number=None, head=sha, ref=branch, trusted_sha=sha)


def _load(path: Path, text: bytes) -> Agent:
    try:
        return Agent(path=path, text=text, spec=load_spec(path, text))
    except SpecError as error:
        return Agent(path=path, text=text, spec=None, problems=error.diagnostics)

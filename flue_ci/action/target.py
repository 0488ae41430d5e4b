"""What an event is about: the pull request, issue or commit, the trusted commit, and the agents of that commit.

The trusted commit is the tip of a pull request's base branch, of the default branch for issues, or the event's own
commit; the head of a pull request is only ever named here, never read.
"""

from dataclasses import dataclass
from pathlib import Path

from flue_ci.core.discussion import Issue, PullRequest
from flue_ci.core.errors import Diagnostic, FlueError, SpecError
from flue_ci.core.ports import Forge
from flue_ci.gate.event import AFTER_CHECKS, WITH_COMMIT, Event
from flue_ci.gate.policy import AgentTriggers
from flue_ci.git.fetch import Remote, fetch_commit, resolve, trusted_files
from flue_ci.report.report import Trigger
from flue_ci.spec.load import find_specs, load_spec
from flue_ci.spec.schema import AgentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an event is about. `number` is a pull request (`pull`) or an issue, None for neither.

    `head` is the commit to work on, pinned; `ref` its branch or tag, `base_ref` the branch it is to be merged into (""
    for none). `fetch_ref` is the ref that holds the head ("" for none), for servers that give no commit by its name.
    `trusted_sha` is the commit whose specs, skills and AGENTS.md count.
    """

    number: int | None
    pull: PullRequest | None = None
    issue: Issue | None = None
    head: str
    ref: str
    base_ref: str = ""
    fetch_ref: str = ""
    trusted_sha: str


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
        )


async def find_target(event: Event, forge: Forge, remote: Remote) -> Target:
    """Asks GitHub what the event leaves open. Raises `FlueError`."""
    if event.name in AFTER_CHECKS:
        return await _of_checks(event, forge, remote)
    if event.is_pull_request and event.number:
        pull = await forge.pull(event.number)
        return await _of_pull(pull, event.head_sha or pull.head_sha, remote)
    if event.name in WITH_COMMIT:
        return _of_commit(event.sha, event.ref)
    branch = event.default_branch
    if not branch:
        raise FlueError("the event does not name the repository's default branch")
    ref = f"refs/heads/{branch}"
    tip = await resolve(remote, ref)
    issue = await forge.issue(event.number) if event.number else None
    return Target(number=event.number, issue=issue, head=tip, ref=branch, fetch_ref=ref, trusted_sha=tip)


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
        in_thread=event.comment_id if event.comment_kind == "review" else None,
        url=pull.url if pull else event.url,
        run_url=run_url,
        spec_sha=target.trusted_sha,
    )


async def _of_pull(pull: PullRequest, head: str, remote: Remote) -> Target:
    return Target(
        number=pull.number,
        pull=pull,
        head=head,
        ref=pull.head_ref,
        base_ref=pull.base_ref,
        fetch_ref=f"refs/pull/{pull.number}/head",
        trusted_sha=await resolve(remote, f"refs/heads/{pull.base_ref}"),
    )


async def _of_checks(event: Event, forge: Forge, remote: Remote) -> Target:
    """The open pull request whose head the workflow or check ran on, when there is one; else its commit. The event's
    own list of pull requests is not used: the head may have moved since, or belong to a fork."""
    sha = event.checked_sha
    pulls = [pull for pull in await forge.pulls_of(sha) if pull.head_sha == sha]
    if pulls:
        return await _of_pull(pulls[0], sha, remote)
    if event.checked_repo_id != event.repo_id:
        raise FlueError(
            f"the {event.name} was about a fork's commit that is no open pull request's head any more",
            hint="the pull request was closed, or got new commits meanwhile; run it again there",
        )
    tip = await resolve(remote, f"refs/heads/{event.default_branch}")
    return Target(number=None, head=sha, ref="", trusted_sha=tip)


def _of_commit(sha: str, full_ref: str) -> Target:
    """The commit that GITHUB_SHA names. Its specs count: a branch or tag is made by people who may push."""
    name = full_ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    if name == full_ref:  # neither a branch nor a tag
        return Target(number=None, head=sha, ref="", trusted_sha=sha)
    return Target(number=None, head=sha, ref=name, fetch_ref=full_ref, trusted_sha=sha)


def _load(path: Path, text: bytes) -> Agent:
    try:
        return Agent(path=path, text=text, spec=load_spec(path, text))
    except SpecError as error:
        return Agent(path=path, text=text, spec=None, problems=error.diagnostics)

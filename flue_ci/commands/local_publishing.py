"""`flue-ci run --publish`: what it takes to publish a run over a checkout, found out before anything is spent; and
which repository on GitHub a checkout belongs to."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from flue_ci.assembly import make_forge
from flue_ci.core.commits import ChangesForge
from flue_ci.core.errors import FlueError, ForgeError, UsageError
from flue_ci.core.outputs import PullRequestForge
from flue_ci.core.ports import Forge
from flue_ci.core.proposals import ProposalRules
from flue_ci.core.text import one_line
from flue_ci.git.command import run_git
from flue_ci.git.source import Source
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.report import Publishing, Trigger
from flue_ci.settings import Settings

_HOW_TO_SET = 'export GITHUB_TOKEN="$(gh auth token)", or a token that may write contents and pull requests'
_REMOTE = re.compile(
    r"(?:[\w.+-]+://)?(?:[^@/\s]*@)?(?P<host>[\w.-]+)(?::\d+/|[:/])(?P<repo>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
)


@runtime_checkable
class UserForge(Forge, ChangesForge, PullRequestForge, Protocol):
    """A forge that takes changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPublishing:
    """Where the changes of a run over a checkout go: its commit `head` on `branch` ("": detached) of `repository`.
    `base_branch` is what a new pull request is to be merged into, "" for the default branch."""

    kind: str
    settings: Settings
    repository: str
    head: str
    branch: str
    base_branch: str = ""

    def __str__(self) -> str:
        if self.kind == "commit":
            return f"a commit on {self.repository}, branch {self.branch}"
        return f"a pull request in {self.repository}"

    @property
    def trigger(self) -> Trigger:
        """What publishers take for the event. A commit goes to a branch as to that of a pull request."""
        return Trigger(event="local", repo=self.repository, head_sha=self.head, is_pull_request=self.kind == "commit")

    def open_forge(self, notify: Callable[[str], None]) -> UserForge:
        """GitHub, with the user's own token."""
        forge = make_forge(self.settings, notify)
        assert isinstance(forge, UserForge)
        return forge

    async def check(self, forge: UserForge) -> "LocalPublishing":
        """The same with its base branch. Raises `UsageError` when GitHub has not got what the changes build on,
        `ForgeError` when it does not answer."""
        tip = await forge.branch_head(self.branch) if self.branch else ""
        name = one_line(self.branch, 100)
        if self.kind == "commit":
            if self.branch == await forge.default_branch():
                hint = "--publish pull-request, or work on a branch of your own"
                raise UsageError(f"--publish commit: {name} is the default branch", hint=hint)
            if not tip:
                hint = f"git push -u origin {name}"
                raise UsageError(f"branch {name} is not in {self.repository} on GitHub", hint=hint)
            if tip != self.head:
                message = f"branch {name} is at {tip[:9]} on GitHub, and at {self.head[:9]} here"
                raise UsageError(message, hint="git pull or git push first, so that both are the same")
            return self
        try:
            await forge.commits_between(self.head, self.head)
            is_on_branch = bool(tip) and await forge.commits_between(self.head, tip) is not None
        except ForgeError as error:
            if error.status not in (404, 422):
                raise
            message = f"commit {self.head[:9]} is not in {self.repository} on GitHub"
            raise UsageError(message, hint="git push first: the changes are put on top of it") from None
        return replace(self, base_branch=self.branch) if is_on_branch else self

    def target(
        self, place: PublishTarget, publishing: Publishing, forge: UserForge, source: Source | None, patch: bytes
    ) -> PublishTarget:
        """`place` with all that publishers need. What is pushed with a person's token starts workflows."""

        async def open_source() -> Source:
            assert source
            return source

        when = publishing.when
        if when == "ask":  # the option is the answer
            when = "checks-pass"
        return replace(
            place,
            publishing=replace(publishing, comment="none", when=when, rules=ProposalRules()),
            repository=self.repository,
            server_url=self.settings.github.server_url,
            forge=forge,
            branch=self.branch,
            base_branch=self.base_branch,
            open_source=open_source if source else None,
            patch=patch,
            push_forge=None if self.settings.github.token.startswith("ghs_") else forge,
        )


def find_local_publishing(kind: str, root: Path, settings: Settings) -> LocalPublishing:
    """From the checkout alone; GitHub is not asked. Raises `UsageError` for what is missing."""
    github = settings.github
    github = replace(
        github, token=github.token or settings.environ.get("GH_TOKEN", ""), repo=remote_repository(root, settings)
    )
    if not github.token:
        raise UsageError(f"--publish {kind} needs GITHUB_TOKEN", hint=_HOW_TO_SET)
    head = run_git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", cwd=root).line
    if not head:
        raise UsageError(f"--publish {kind}: the checkout has no commit yet", hint="commit, and push it")
    if run_git("status", "--porcelain", cwd=root).out.strip():
        hint = "commit and push it, or put it aside with git stash -u"
        raise UsageError(f"--publish {kind}: there is uncommitted work, which GitHub has not got", hint=hint)
    branch = run_git("symbolic-ref", "--short", "--quiet", "HEAD", cwd=root).line
    if kind == "commit" and not branch:
        raise UsageError("--publish commit: the checkout is on no branch", hint="git switch to one")
    settings = replace(settings, github=github)
    return LocalPublishing(kind=kind, settings=settings, repository=github.repo, head=head, branch=branch)


def remote_repository(root: Path, settings: Settings) -> str:
    """`owner/name`, from the job's environment or from the checkout's remote `origin`. A token goes to the server of
    the environment only, never to one that a checkout names."""
    if settings.github.repo:
        return settings.github.repo
    hint = "run it in a checkout with the remote `origin`, or set GITHUB_REPOSITORY=owner/name"
    try:
        address = run_git("remote", "get-url", "origin", cwd=root).line
    except FlueError as error:
        raise UsageError(f"which repository is meant? {error}", hint=hint) from None
    match = _REMOTE.fullmatch(address.strip())
    if not match:
        raise UsageError("the checkout has no remote `origin` on GitHub", hint=hint)
    server = urlsplit(settings.github.server_url).hostname
    if match["host"].lower() not in (server, f"ssh.{server}"):
        hint = f"when ssh knows {server} by that name: GITHUB_REPOSITORY={match['repo']}\n"
        hint += f"for GitHub Enterprise: GITHUB_SERVER_URL=https://{match['host']}, GITHUB_API_URL=https://{match['host']}/api/v3"
        raise UsageError(f"the checkout's remote is at {match['host']}, not at {server}", hint=hint)
    return match["repo"]

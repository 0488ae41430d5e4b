"""`publish.changes: pull-request`: the changes on a branch of their own, and a pull request for it.

A later run of the same agent for the same subject goes on with the same pull request: a commit on top, never a forced
push, and none at all once a person has committed to the branch. Each step looks for what is there already, so that a
re-run finishes what an earlier attempt began.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from flue_ci.core.commits import ChangesForge, CommitRecord
from flue_ci.core.concurrency import together
from flue_ci.core.discussion import Account, PullRequest
from flue_ci.core.errors import BranchRefused, ForgeError
from flue_ci.core.outputs import PullRequestForge
from flue_ci.core.permissions import missing_permissions
from flue_ci.core.ports import Forge
from flue_ci.core.text import first_few, one_line
from flue_ci.publish.commit import NO_CI
from flue_ci.publish.commit_message import run_of
from flue_ci.publish.progress_comment import is_same_account
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.pull_request_text import PullText, branch_names, is_edited, pull_text
from flue_ci.publish.push import Push, PushRefused, create_commits, explain, prepare_push, refused_by_place
from flue_ci.report.report import Published, Report, Trigger

_GITHUB = "web-flow"  # commits what is made with the API or in GitHub's pages
_MAX_COMMITS = 250  # that a comparison lists
_WORKFLOWS = ".github/workflows/"
# What a pull request itself causes when a token opens and pushes it whose events start workflows.
_OWN_EVENTS = frozenset(
    f"{name}.{action}"
    for name in ("pull_request", "pull_request_target")
    for action in ("opened", "synchronize", "reopened", "edited", "ready_for_review")
)


@runtime_checkable
class _PullsForge(Forge, ChangesForge, PullRequestForge, Protocol):
    """A forge that does all of it."""


class _ForeignBranch(PushRefused):
    """There is a branch of that name with commits of others."""


class PullRequestPublisher:
    """A `Publisher`."""

    needs_forge = True

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """The pull request, or why there is none; then `url` is the page that opens one, where a branch was pushed.
        Raises `FlueError` when GitHub is out of reach."""
        try:
            work = await _prepare(report, target)
            pull = await work.find_ours()
            branch, commit = await work.push(pull)
        except PushRefused as refusal:
            return Published(publisher="pull-request", state="refused", detail=f"no pull request: {refusal}")
        entry = Published(publisher="pull-request", commit=commit.sha, verified=commit.verified)
        try:
            pull, detail = await work.show(pull, branch)
        except PushRefused as refusal:
            page = f"{target.server_url}/{target.repository}/pull/new/{branch}"
            detail = f"the changes are on branch {branch}, but there is no pull request: {refusal}"
            return replace(entry, state="refused", url=page, detail=detail)
        notes = await work.complete(pull)
        if work.changes.note:
            notes.insert(0, work.changes.note[0].upper() + work.changes.note[1:])
        if target.push_forge is None:
            notes.append(NO_CI)
        return replace(entry, url=pull.url, detail=". ".join([detail, *notes]))


async def _prepare(report: Report, target: PublishTarget) -> "_Work":
    """What is to be pushed, and for what. Raises `PushRefused`."""
    forge, trigger = target.forge, report.trigger
    if not isinstance(forge, _PullsForge) or trigger is None:
        raise PushRefused("there is no repository on GitHub that it could be opened in")
    if reason := refused_by_place(report, target):
        raise PushRefused(reason)
    push = await prepare_push(report, target)
    opener = forge
    if isinstance(target.push_forge, _PullsForge):  # so that workflows start for the pull request, too
        opener = target.push_forge
    base = target.base_branch or await forge.default_branch()
    subject = f"#{trigger.number}" if trigger.number is not None else base
    text = pull_text(report, subject, server_url=target.server_url)
    text = replace(text, title=target.redact(text.title), body=target.redact(text.body))
    return _Work(
        target=target,
        trigger=trigger,
        forge=forge,
        opener=opener,
        accounts=tuple(await together(forge.me(), opener.me())),
        changes=push,
        base=base,
        text=text,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a pull request is made of. `opener` is the account that opens it, `accounts` are ours."""

    target: PublishTarget
    trigger: Trigger
    forge: _PullsForge
    opener: _PullsForge
    accounts: tuple[Account, ...]
    changes: Push
    base: str
    text: PullText

    async def find_ours(self) -> PullRequest | None:
        """The open pull request of an earlier run for the same subject; in a run on one that the agent itself has
        opened, that one."""
        if self.trigger.is_pull_request and self.trigger.number is not None:
            pull = await self.forge.pull(self.trigger.number)
            if self._is_open_and_ours(pull) and self.text.is_of_agent(pull):
                return pull
        for pull in await self.forge.open_pulls():
            if self._is_open_and_ours(pull) and self.text.is_about(pull):
                return pull
        return None

    def _is_open_and_ours(self, pull: PullRequest) -> bool:
        is_ours = any(is_same_account(pull.author, account) for account in self.accounts)
        return is_ours and not pull.from_fork and pull.state == "open"

    def _is_asked_about(self, pull: PullRequest) -> bool:
        """Whether the run is about that pull request: people want to go on with what is on its branch."""
        return pull.number == self.trigger.number

    async def push(self, pull: PullRequest | None) -> tuple[str, CommitRecord]:
        """The branch with the changes, that of `pull` or a new one, and the commit that it ends with."""
        forge = self.forge
        if pull:
            tip = await forge.branch_head(pull.head_ref)
            if self._is_asked_about(pull) and self.trigger.event in _OWN_EVENTS:
                raise PushRefused("the agent's own pull request started the run, and nobody asked for it")
            if self._is_asked_about(pull) and tip == self.changes.source.head:
                return pull.head_ref, await self._commit_on(pull.head_ref, [tip])
            try:
                return pull.head_ref, await self._push_to(pull.head_ref, tip)
            except _ForeignBranch as error:
                raise PushRefused(f"{error}; close {pull.url} to get a new one") from None
        number, text = self.trigger.number, self.text
        names = branch_names(self.target.publishing.branch, agent=text.agent, number=number, title=text.title)
        for name in names:
            tip = await forge.branch_head(name)
            if tip and await forge.pulls_from(name):
                continue  # it had its pull request, which was closed, or is about something else
            try:
                return name, await self._push_to(name, tip)
            except _ForeignBranch:
                continue
        raise PushRefused(f"there are branches of others with all of the names up to {name}")

    async def _push_to(self, branch: str, tip: str) -> CommitRecord:
        """The commit with the changes at the end of the branch, which is at `tip` now ("": there is none). Raises
        `_ForeignBranch` when somebody else has committed to it."""
        forge, push, head = self.forge, self.changes, self.changes.source.head
        if not tip:
            return await self._commit_on(branch, [head], is_new=True)
        commits, parents = await forge.commits_between(head, tip), [tip]
        if commits is None:  # what the run began with is not on the branch: it comes in as a merge
            commits, parents = await forge.commits_ahead(head, tip), [tip, head]
        if not commits or len(commits) >= _MAX_COMMITS or not all(map(self._is_ours, commits)):
            raise _ForeignBranch(f"branch {one_line(branch, 100)} has commits of others, over which nothing is written")
        if parents == [tip] and commits[-1].tree == push.whole.tree:
            return commits[-1]
        return await self._commit_on(branch, parents)

    async def _commit_on(self, branch: str, parents: Sequence[str], *, is_new: bool = False) -> CommitRecord:
        """The commit, or the agent's own ones where they fit, at the end of the branch."""
        mover = self.target.push_forge or self.forge
        commit = await create_commits(self.forge, self.changes, parents)
        await self._set_branch(mover.create_branch if is_new else mover.move_branch, branch, commit.sha)
        return commit

    def _is_ours(self, commit: CommitRecord) -> bool:
        """A commit that was amended has the trailer as well, but another committer."""
        logins = {account.login for account in self.accounts}
        return bool(run_of(commit.message)) and commit.author in logins and commit.committer in {*logins, _GITHUB}

    async def _set_branch(self, move: Callable[[str, str], Awaitable[None]], branch: str, sha: str) -> None:
        try:
            await move(branch, sha)
        except BranchRefused as error:
            # The token could write the commit: what it may not are workflows among the commits that come along.
            if error.cause == "rights" and (files := await self._workflow_files()):
                raise PushRefused(
                    f"the commits of #{self.trigger.number} touch workflows ({first_few(files, 3)}), which a job's own "
                    "token cannot push: merge it first, or give the input `push-token` a token with the permission "
                    "`workflows`"
                ) from error
            raise explain(error, branch) from error

    async def _workflow_files(self) -> list[str]:
        if not self.trigger.is_pull_request or self.trigger.number is None:
            return []
        files = await self.forge.changed_files(self.trigger.number)
        names = {name for file in files for name in (file.path, file.old_path) if name}
        return sorted(one_line(name) for name in names if name.startswith(_WORKFLOWS))

    async def show(self, pull: PullRequest | None, branch: str) -> tuple[PullRequest, str]:
        """The pull request with title and text of now, and what was done, in a sentence."""
        title, body = self.text.title, self.text.with_marker()
        if pull is None:
            pull = await self._open(branch, title, body)
            return pull, f"#{pull.number} opened, from {branch} to {pull.base_ref}"
        detail = f"#{pull.number} updated, from {branch}"
        if (pull.title, pull.body) == (title, body) or self._is_asked_about(pull):
            return pull, detail  # in the latter case they say what all of it is for
        if is_edited(pull):
            return pull, f"{detail}. Its title and text were edited by hand, and stay"
        try:
            return await self.opener.edit_pull(pull.number, title=title, body=body), detail
        except ForgeError as error:
            if error.status != 403:
                raise
            return pull, f"{detail}. Its title and text could not be changed: {error}"

    async def _open(self, branch: str, title: str, body: str) -> PullRequest:
        target, draft = self.target, self.target.publishing.pull_request.draft
        try:
            return await self.opener.create_pull(title=title, body=body, head=branch, base=self.base, draft=draft)
        except ForgeError as error:
            message = str(error)
            if draft and error.status == 422 and "raft pull requests are not supported" in message:
                return await self.opener.create_pull(title=title, body=body, head=branch, base=self.base, draft=False)
            if "not permitted to create" in message:
                place = f"{target.server_url}/{target.repository}/settings/actions"
                raise PushRefused(
                    "GitHub Actions may not open any here. Somebody with the right to change settings allows it at "
                    f"{place} (“Allow GitHub Actions to create and approve pull requests”; an organization can have "
                    "forbidden it), and a re-run opens it; or open it yourself"
                ) from error
            if error.status == 403:
                raise PushRefused(f"the token may not open one; the job needs {_lines('pull-request')}") from error
            if "No commits between" in message:
                raise PushRefused(f"{self.base} has these changes already") from error
            raise

    async def complete(self, pull: PullRequest) -> list[str]:
        """Adds the labels and reviewers that are missing; what could not be done, as sentences without an end."""
        wishes, notes = self.target.publishing.pull_request, []
        present = {label.lower() for label in pull.labels}
        labels = [label for label in wishes.labels if label.lower() not in present]
        if labels:
            try:
                await self.forge.add_labels(pull.number, labels)
            except ForgeError as error:
                notes.append(f"The labels {', '.join(labels)} could not be added: {error}")
        if wishes.reviewers and not pull.reviewers:
            notes += await self._ask_reviewers(pull, wishes.reviewers)
        return notes

    async def _ask_reviewers(self, pull: PullRequest, names: Sequence[str]) -> list[str]:
        """Once: not after somebody has reviewed. All at once, one by one where GitHub does not take all of them."""
        opener = self.opener
        try:
            if await opener.has_reviews(pull.number):
                return []
            await opener.request_reviewers(pull.number, names)
        except ForgeError as error:
            if error.status != 422 or len(names) == 1:
                return [f"A review by {', '.join(names)} could not be asked for: {error}"]
            return [note for name in names for note in await self._ask_reviewers(pull, [name])]
        return []


def _lines(publisher: str) -> str:
    """`permissions: contents: write, pull-requests: write`."""
    first, *others = missing_permissions(publisher).split("\n")
    return f"`{first} {', '.join(line.strip() for line in others)}`"

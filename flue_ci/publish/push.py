"""What goes to a branch: the verified changes of a run as a tree on GitHub, unless something speaks against it.

Nothing of the report is believed: the changed files are those that the patch, applied once more on this host, leads to.
A `PushRefused` is no failure of the run, because its patch is delivered all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from flue_ci.core.changes import ChangedFile
from flue_ci.core.commits import ChangesForge, CommitRecord, TreeEntry
from flue_ci.core.errors import BranchRefused, ChangesRefused, FlueError, ForgeError
from flue_ci.core.text import human_bytes, one_line
from flue_ci.git.command import TooMuchOutput
from flue_ci.git.source import Source
from flue_ci.publish.commit_message import commit_message, describe_change, run_name
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push_rules import describe_protected, protected_changes, refused_by_report, secret_in
from flue_ci.report.folder import load_commits
from flue_ci.report.report import Report
from flue_ci.workspace.agent_history import MAX_COMMITS
from flue_ci.workspace.tree_entries import MAX_BLOBS, MAX_BYTES, blobs_to_send, linked_places, tree_entries
from flue_ci.workspace.verify import verify_patch

_RIGHTS = "the token may not write to the repository: the job needs permissions: contents: write"


class PushRefused(FlueError):
    """Nothing was pushed; the message is the reason, for people, in words that go on from "not committed:"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A commit to be made: its message, clean and with our trailers, its tree, and what leads there from the one
    before."""

    message: str
    tree: str
    entries: tuple[TreeEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Changes that may be pushed: the commit they are made on, and `whole`, which leads to them on this host. `steps`
    are the commits that lead there where the agent's own are kept, oldest first; else `note` says why they are not, ""
    when nobody wants that."""

    source: Source
    whole: Step
    steps: tuple[Step, ...] = ()
    note: str = ""


async def prepare_push(report: Report, target: PublishTarget) -> Push:
    """Raises `PushRefused` with the reason, and `FlueError` when the commit cannot be fetched. The forge's API is not
    asked."""
    if reason := refused_by_report(report, target.publishing, target.patch):
        raise PushRefused(reason)
    if target.open_source is None:
        raise PushRefused("there is no commit that the changes could be put on")
    try:
        source = await target.open_source()
    except ForgeError as error:
        if error.status in (404, 409):
            raise PushRefused(f"the commit that the run worked on is not there any more: {error}") from error
        raise
    files, tree, entries = await _verify(source, target.patch, target, source.tree)
    if [file.path for file in files] != [file.path for file in report.changes.files]:
        raise PushRefused("the patch is not the one that the report describes")
    message = _clean_message(report, target, *describe_change(report))
    push = Push(source=source, whole=Step(message=message, tree=tree, entries=entries))
    if target.publishing.commits == "keep" and report.changes.commits:
        if len(report.changes.commits) > MAX_COMMITS:
            return replace(push, note=f"as one commit, because more than {MAX_COMMITS} are not kept")
        try:
            return replace(push, steps=await _keep_commits(report, target, push))
        except FlueError as error:
            return replace(push, note=f"as one commit, because in one of the agent's own {error}")
    return push


def check_suggestions(report: Report, target: PublishTarget) -> None:
    """Raises `PushRefused` for what people should not be led to take over with a click."""
    if reason := refused_by_report(report, target.publishing, target.patch):
        raise PushRefused(reason)
    if place := secret_in(target.patch, (), target.redact):
        raise PushRefused(f"what looks like a secret would be added in {one_line(place)}")


def refused_by_place(report: Report, target: PublishTarget) -> str:
    """Why the changes of this run cannot go where `publish.changes` wants them, whatever they are; "" for no reason."""
    trigger, wishes = report.trigger, target.publishing
    if wishes.changes == "commit" and (trigger is None or not trigger.is_pull_request):
        return "there is no pull request with a branch to commit to; changes: pull-request would open one"
    if trigger is None:
        return "the run was about nothing on GitHub"
    if wishes.changes == "pull-request" and trigger.from_fork and not wishes.pull_request.forks:
        return "the run was about a fork's pull request, and `publish.pull_request.forks` of the spec is not true"
    if wishes.changes != "commit":
        return ""
    if trigger.from_fork:
        return "the pull request comes from a fork, where nothing is ever pushed"
    if not target.branch:
        return "the pull request's branch takes no commit: nothing is pushed to a default branch"
    return ""


async def _verify(
    source: Source, patch: bytes, target: PublishTarget, before: str
) -> tuple[tuple[ChangedFile, ...], str, tuple[TreeEntry, ...]]:
    """The files that a patch against the base changes, the tree that it leads to, and what leads there from the tree
    `before`. Raises `PushRefused` when it may not be pushed."""
    try:
        changes = await verify_patch(source, patch)
    except ChangesRefused as error:
        raise PushRefused(f"the patch does not fit commit {source.head[:7]}: {error}") from error
    places = await linked_places(source, changes.tree)
    if reasons := protected_changes(changes.files, target.publishing, places):
        raise PushRefused(describe_protected(reasons))
    try:
        entries = await tree_entries(source, before, changes.tree)
    except TooMuchOutput:
        raise PushRefused(f"the changed files have more than {human_bytes(MAX_BYTES)} together") from None
    if (count := blobs_to_send(entries)) > MAX_BLOBS:
        raise PushRefused(
            f"{count:,} files that are no text are more than the {MAX_BLOBS} that GitHub takes in a while"
        )
    binary_paths = {file.path for file in changes.files if file.binary}  # attributes can make any text one
    if place := secret_in(changes.patch, entries, target.redact, binary_paths):
        raise PushRefused(f"what looks like a secret would be added in {one_line(place)}")
    return changes.files, changes.tree, entries


async def _keep_commits(report: Report, target: PublishTarget, push: Push) -> tuple[Step, ...]:
    """A step for each of the agent's commits. Raises `FlueError` when one of them may not be pushed."""
    if target.folder is None:
        raise PushRefused("the patch is missing")
    steps: list[Step] = []
    before, (default_title, _) = push.source.tree, describe_change(report)
    for words, patch in load_commits(target.folder, report):
        _, tree, entries = await _verify(push.source, patch, target, before)
        if entries:
            title, _, body = words.strip().partition("\n")
            message = _clean_message(report, target, title or default_title, body)
            steps.append(Step(message=message, tree=tree, entries=entries))
        before = tree
    if before != push.whole.tree:
        raise PushRefused("the last tree is not the one that was verified")
    return tuple(steps)


def _clean_message(report: Report, target: PublishTarget, title: str, body: str) -> str:
    """Cleaned, without secrets, with our trailers."""
    host = urlsplit(target.server_url).hostname or ""
    message = commit_message(
        title, body, run=run_name(report), author=target.actor, author_id=target.actor_id, host=host
    )
    return target.redact(message)


async def create_commits(forge: ChangesForge, push: Push, parents: Sequence[str]) -> CommitRecord:
    """The commit with the changes, which no branch is at yet. Where the agent's own are kept, and go on the commit that
    the run worked on, it is the last of them. Raises `PushRefused` without rights, `ForgeError`."""
    steps: Sequence[Step] = [push.whole]
    if push.steps and [*parents] == [push.source.head]:
        steps = push.steps
    base = push.source.tree
    try:
        for step in steps:
            tree = await forge.create_tree(base, step.entries)
            if tree and tree != step.tree:  # "": the calls are only listed
                hint = "apply the patch yourself, and report it to flue-ci"
                raise ForgeError(f"GitHub made another tree ({tree[:12]}) of the changes than this host", hint=hint)
            commit = await forge.create_commit(message=step.message, tree=tree, parents=parents)
            base, parents = step.tree, [commit.sha]
    except ForgeError as error:
        raise explain(error) from error
    return commit


def explain(error: ForgeError, branch: str = "") -> FlueError:
    """The refusal in words for people, where it is one; else the error itself."""
    if "rate limit" in str(error).lower():
        return error
    cause = error.cause if isinstance(error, BranchRefused) else ""
    name = f"branch {one_line(branch, 100)}" if branch else "the branch"
    if cause == "moved":
        return PushRefused(f"{name} got other commits meanwhile: ask again")
    if cause == "missing":
        return PushRefused(f"{name} is no longer there")
    if cause == "exists":
        return PushRefused(f"{name} is there already")
    if cause == "rights" or error.status == 404 or (error.status == 403 and "not accessible" in str(error)):
        return PushRefused(_RIGHTS)
    words = one_line(str(error).partition(f"{error.status} ")[2] or str(error), 300)
    if cause == "protected":
        return PushRefused(f"{name} is protected, GitHub says: {words}")
    if error.status == 403:
        return PushRefused(f"GitHub does not allow it: {words}")
    return error

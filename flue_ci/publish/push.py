"""What goes to a branch: the verified changes of a run as a tree on GitHub, unless something speaks against it.

Nothing of the report is believed: the changed files are those that the patch, applied once more on this host, leads to.
A `PushRefused` is no failure of the run, because its patch is delivered all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flue_ci.core.changes import ChangedFile
from flue_ci.core.commits import ChangesForge, CommitRecord, TreeEntry
from flue_ci.core.errors import BranchRefused, ChangesRefused, FlueError, ForgeError
from flue_ci.core.text import human_bytes, one_line
from flue_ci.git.command import TooMuchOutput
from flue_ci.git.source import Source
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push_rules import describe_protected, protected_changes, refused_by_checks, secret_in
from flue_ci.report.folder import load_commits
from flue_ci.report.report import Report
from flue_ci.workspace.tree_entries import MAX_BYTES, linked_places, tree_entries
from flue_ci.workspace.verify import verify_patch

_RIGHTS = "the token may not write to the repository: the job needs permissions: contents: write"


class PushRefused(FlueError):
    """Nothing was pushed; the message is the reason, for people, in words that go on from "not committed:"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A commit to be: its tree on this host, and what leads there from the one before. `message` is the agent's own,
    "" for the message of the changes as a whole."""

    tree: str
    entries: tuple[TreeEntry, ...]
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Changes that may be pushed: the commit they are made on, and the commits to be, oldest first. `note` says why
    the agent's own commits are not kept, where the spec wants that."""

    source: Source
    steps: tuple[Step, ...]
    note: str = ""

    @property
    def tree(self) -> str:
        return self.steps[-1].tree


async def prepare_push(report: Report, target: PublishTarget) -> Push:
    """Raises `PushRefused` with the reason, and `FlueError` when the commit cannot be fetched. The forge's API is not
    asked."""
    if reason := _refused_by_report(report, target):
        raise PushRefused(reason)
    if target.open_source is None:
        raise PushRefused("there is no commit that the changes could be put on")
    source = await target.open_source()
    step, files = await _verify(source, target.patch, target, source.tree)
    if [file.path for file in files] != [file.path for file in report.changes.files]:
        raise PushRefused("the patch is not the one that the report describes")
    steps: tuple[Step, ...] = (step,)
    note = ""
    if target.publishing.commits == "keep" and report.changes.commits:
        try:
            steps = await _keep_commits(report, target, source, step.tree)
        except FlueError as error:
            note = f"as one commit, because in one of the agent's own {error}"
    return Push(source=source, steps=steps, note=note)


def _refused_by_report(report: Report, target: PublishTarget) -> str:
    """Why nothing of this run is to be pushed; "" for no reason."""
    if report.changes.refused:
        return "the changes were refused"
    if not report.changes.files or not target.patch:
        return "nothing was changed"
    if target.publishing.when != "always":
        return refused_by_checks(report)
    return {"cancelled": "the run was interrupted"}.get(report.conclusion, "")


async def _verify(
    source: Source, patch: bytes, target: PublishTarget, before: str
) -> tuple[Step, tuple[ChangedFile, ...]]:
    """What a patch against the base leads to from the tree `before`, and the files that it changes. Raises
    `PushRefused` when it may not be pushed."""
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
    if place := secret_in(patch, entries, target.redact):
        raise PushRefused(f"what looks like a secret would be added in {one_line(place)}")
    return Step(tree=changes.tree, entries=entries), changes.files


async def _keep_commits(report: Report, target: PublishTarget, source: Source, tree: str) -> tuple[Step, ...]:
    """A step for each of the agent's commits. Raises `FlueError` when one of them may not be pushed."""
    if target.folder is None:
        raise PushRefused("the patch is missing")
    steps: list[Step] = []
    before = source.tree
    for message, patch in load_commits(target.folder, report):
        step, _ = await _verify(source, patch, target, before)
        if step.entries:
            steps.append(replace(step, message=message))
        before = step.tree
    if before != tree:
        raise PushRefused("the last tree is not the one that was verified")
    return tuple(steps)


async def create_commits(forge: ChangesForge, push: Push, messages: Sequence[str]) -> CommitRecord:
    """The last of the commits, which no branch is at yet; `messages` has one for each step. Raises `PushRefused`
    without rights, `ForgeError`."""
    parent, tree = push.source.head, push.source.tree
    try:
        for step, message in zip(push.steps, messages, strict=True):
            tree = await forge.create_tree(tree, step.entries)
            if tree != step.tree:
                hint = "apply the patch yourself, and report it to flue-ci"
                raise ForgeError(f"GitHub made another tree ({tree[:12]}) of the changes than this host", hint=hint)
            commit = await forge.create_commit(message=message, tree=tree, parents=[parent])
            parent = commit.sha
    except ForgeError as error:
        raise explain(error) from error
    return commit


def explain(error: ForgeError, branch: str = "") -> FlueError:
    """The refusal in words for people, where it is one; else the error itself."""
    cause = error.cause if isinstance(error, BranchRefused) else ""
    name = f"branch {one_line(branch, 100)}" if branch else "the branch"
    if cause == "moved":
        return PushRefused(f"{name} got other commits meanwhile: ask again")
    if cause == "missing":
        return PushRefused(f"{name} is no longer there")
    if cause == "exists":
        return PushRefused(f"{name} is there already")
    if cause == "rights" or error.status in (403, 404):
        return PushRefused(_RIGHTS)
    if cause == "protected":
        words = str(error).partition(f"{error.status} ")[2] or str(error)
        return PushRefused(f"{name} is protected, GitHub says: {one_line(words, 300)}")
    return error

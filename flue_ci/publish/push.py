"""What goes to a branch: the verified changes of a run as a tree on GitHub, unless something speaks against it.

Nothing of the report is believed: the changed files are those that the patch, applied once more on this host, leads to.
A `PushRefused` is no failure of the run, because its patch is delivered all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flue_ci.core.commits import ChangesForge, CommitRecord, TreeEntry
from flue_ci.core.errors import BranchRefused, ChangesRefused, FlueError, ForgeError
from flue_ci.core.text import human_bytes, one_line
from flue_ci.git.command import TooMuchOutput
from flue_ci.git.source import Source
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push_rules import describe_protected, protected_changes, refused_by_checks, secret_in
from flue_ci.report.report import Report
from flue_ci.workspace.tree_entries import MAX_BYTES, linked_places, tree_entries
from flue_ci.workspace.verify import verify_patch

_RIGHTS = "the token may not write to the repository: the job needs permissions: contents: write"


class PushRefused(FlueError):
    """Nothing was pushed; the message is the reason, for people, in words that go on from "not committed:"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Changes that may be pushed: the commit they are made on, and the tree on this host that they lead to."""

    source: Source
    tree: str
    entries: tuple[TreeEntry, ...]


async def prepare_push(report: Report, target: PublishTarget) -> Push:
    """Raises `PushRefused` with the reason, and `FlueError` when the commit cannot be fetched. The forge's API is not
    asked."""
    wishes = target.publishing
    if report.changes.refused:
        raise PushRefused("the changes were refused")
    if not report.changes.files or not target.patch:
        raise PushRefused("nothing was changed")
    if wishes.when == "always":
        reason = {"cancelled": "the run was interrupted"}.get(report.conclusion, "")
    else:
        reason = refused_by_checks(report)
    if reason:
        raise PushRefused(reason)
    if target.open_source is None:
        raise PushRefused("there is no commit that the changes could be put on")
    source = await target.open_source()
    try:
        changes = await verify_patch(source, target.patch)
    except ChangesRefused as error:
        raise PushRefused(f"the patch does not fit commit {source.head[:7]}: {error}") from error
    if [file.path for file in changes.files] != [file.path for file in report.changes.files]:
        raise PushRefused("the patch is not the one that the report describes")
    places = await linked_places(source, changes.tree)
    if reasons := protected_changes(changes.files, wishes, places):
        raise PushRefused(describe_protected(reasons))
    try:
        entries = await tree_entries(source, source.tree, changes.tree)
    except TooMuchOutput:
        raise PushRefused(f"the changed files have more than {human_bytes(MAX_BYTES)} together") from None
    if place := secret_in(target.patch, entries, target.redact):
        raise PushRefused(f"what looks like a secret would be added in {one_line(place)}")
    return Push(source=source, tree=changes.tree, entries=entries)


async def create_commit(forge: ChangesForge, push: Push, message: str, parents: Sequence[str]) -> CommitRecord:
    """The commit, which no branch is at yet. Raises `PushRefused` without rights, `ForgeError`."""
    try:
        tree = await forge.create_tree(push.source.tree, push.entries)
        if tree != push.tree:
            hint = "apply the patch yourself, and report it to flue-ci"
            raise ForgeError(f"GitHub made another tree ({tree[:12]}) of the changes than this host", hint=hint)
        return await forge.create_commit(message=message, tree=tree, parents=parents)
    except ForgeError as error:
        raise explain(error) from error


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

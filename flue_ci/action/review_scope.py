"""What a review in a job is about: the pull request's diff, computed here, and what earlier reviews have left in it."""

from collections.abc import Collection
from dataclasses import replace

from flue_ci.core.errors import FlueError
from flue_ci.core.ports import Forge
from flue_ci.core.review import ReviewForge
from flue_ci.core.review_scope import ReviewScope
from flue_ci.core.text import plural
from flue_ci.git.command import Git
from flue_ci.git.diffs import changed_paths, merge_base, paths_in, read_diff
from flue_ci.git.fetch import Remote, fetch_commit
from flue_ci.publish.findings import last_review, read_findings
from flue_ci.report.report import Publishing, Trigger


async def read_review_scope(  # noqa: PLR0913 (a pull request on the forge, and its commits here)
    forge: Forge, remote: Remote, git: Git, *, agent: str, publishing: Publishing, trigger: Trigger, base: str
) -> tuple[ReviewScope, tuple[str, ...]]:
    """The scope, and notes for people. `base` is the tip of the branch that the pull request goes into. Raises
    `FlueError`."""
    head, number = trigger.head_sha, trigger.number
    start = await merge_base(git, base, head)
    scope = ReviewScope(base=start, head=head, files=await read_diff(git, start, head))
    if not isinstance(forge, ReviewForge) or number is None:
        return scope, ()
    history = await forge.review_history(number)
    notes: tuple[str, ...] = ()
    last = last_review(history, agent)
    if last and last[1].strip("0"):
        scope, notes = await _since(scope, last[1], remote, git)
    threads = await read_findings(history, agent, publishing.roles, forge, {})
    moves = {}
    if threads:
        moves = _moves(scope, {own.thread.path for own in threads} - await paths_in(git, head))
    findings = tuple(replace(own.finding, path=moves.get(own.thread.path, own.thread.path)) for own in threads)
    asked_about = ""
    for own in threads:
        if any(comment.id == trigger.in_thread for comment in own.thread.comments):
            asked_about = own.finding.id
    scope = _without_merges(scope, {path for own in threads for path in (own.thread.path, own.finding.path)})
    if scope.since and scope.since != scope.head:
        files = plural(len(scope.changed_paths), "file")
        notes = (f"reviewed: what changed since {scope.since[:9]} ({files}), the rest as context",)
    return replace(scope, findings=findings, moves=moves, asked_about=asked_about), notes


def _without_merges(scope: ReviewScope, own_paths: Collection[str]) -> ReviewScope:
    """The scope without the changes that a merge of the base branch brought: they are none of the pull request's.
    `own_paths` are those with findings."""
    own = {*(scope.files or ()), *own_paths}
    return replace(scope, changed_paths=tuple(path for path in scope.changed_paths if path in own))


def _moves(scope: ReviewScope, missing: Collection[str]) -> dict[str, str]:
    """Where files are that are not at their paths any more, as far as that is known; "" for one that was deleted."""
    files = scope.files or {}
    moves = dict.fromkeys(files, "")
    moves |= {file.old_path: file.path for file in files.values() if file.old_path != file.path} | dict(scope.moves)
    return {path: moves[path] for path in missing if path in moves}


async def _since(scope: ReviewScope, last: str, remote: Remote, git: Git) -> tuple[ReviewScope, tuple[str, ...]]:
    """The scope with what changed since the commit that was reviewed last, if that is still to be had."""
    try:
        if (await git.run("cat-file", "-e", f"{last}^{{commit}}", ok=None)).code:
            await fetch_commit(remote, sha=last, depth=1)
        paths, moves = await changed_paths(git, last, scope.head)
    except FlueError:
        return scope, (f"the last review was of {last[:9]}, which is gone: all of the pull request is reviewed again",)
    return replace(scope, since=last, changed_paths=tuple(paths), moves=moves), ()

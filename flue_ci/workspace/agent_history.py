"""What the agent left in git besides the work tree: other branches, stashes and commits that no branch holds; and its
own commits on the base, when all of them can be kept: linear, and each verified as the changes are.

The ordinary user writes a patch for each inside the sandbox; here they pass the same rules as that of the work tree.
"""

import base64
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flue_ci.core.changes import ChangeSet, CommittedChanges, OtherWork
from flue_ci.core.errors import ChangesRefused, FlueError, WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.core.text import first_few, one_line, plural
from flue_ci.git.path_rules import display_name
from flue_ci.git.source import Source, repository_config
from flue_ci.workspace.entry_rules import LIMITS, PatchLimits
from flue_ci.workspace.upload import Workspace, last_line, run_script
from flue_ci.workspace.verify import changed_entries, restore, verify_patch

MAX_PATCHES = 10
_CANDIDATES = 2 * MAX_PATCHES  # some of them are in the work tree, too
_SECONDS = 150.0
_SCRIPT_SECONDS = 60  # after which it looks at no other branch
_WORK_LINE = re.compile(
    r"^flue-ci-work=([0-9]{1,3}) (branch|stash|commit) (whole|large|broken) ([A-Za-z0-9+/=]*)$",
    re.MULTILINE,
)
_END_LINE = re.compile(r"^flue-ci-other=[0-9]{1,3} ([0-9]{1,9}) ([a-z]+|-) ([A-Za-z0-9+/=]+|-)$", re.MULTILINE)
_PROBLEMS = {
    "branches": "the branches could not be listed",
    "objects": "objects of some are missing or broken",
    "time": "there are too many to look at all of them",
}
MAX_COMMITS = 20
MAX_MESSAGE_BYTES = 20_000
_COMMITS_LINE = re.compile(r"^flue-ci-commits=([0-9]{1,2}) ([a-z]+) ([A-Za-z0-9+/=]*)$", re.MULTILINE)
_COMMIT_PROBLEMS = {
    "merge": "they are not one line on the base",
    "many": f"there are more than {MAX_COMMITS}",
    "large": "their patches are too large",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    label: str
    state: str
    path: str  # of its patch, in the sandbox


async def collect_other_work(
    workspace: Workspace,
    source: Source,
    box: Sandbox,
    *,
    result: str,
    setup: Sequence[str] = (),
    limits: PatchLimits = LIMITS,
) -> tuple[tuple[OtherWork, ...], tuple[str, ...]]:
    """The other work that is not contained in the tree `result`, at most `MAX_PATCHES`, and notes on what could not be
    kept. `setup` are trees that setup commands had left.

    Raises `WorkspaceError` when nothing can be found out, and `SandboxLost`.
    """
    candidates, rest, notes = await _list_candidates(workspace, source, box, limits)
    works: list[OtherWork] = []
    surplus: list[str] = []
    for candidate in candidates:
        try:
            changes = await _read_changes(candidate, source, box, limits)
            if old := await _find_old_paths(source, changes.tree, (source.head, *setup)):
                changes = await restore(source, changes, old)
            if await _is_contained(source, changes, result):
                continue
        except (FlueError, OSError, ValueError) as error:
            notes.append(f"{candidate.label} is lost with the sandbox: {one_line(str(error), 200)}")
            continue
        if not changes.files:
            notes += [f"{candidate.label}: {note}" for note in changes.notes]
        elif len(works) == MAX_PATCHES:
            surplus.append(candidate.label)
        else:
            name = file_name(candidate.label, (work.name for work in works))
            works.append(OtherWork(label=candidate.label, name=name, changes=changes))
    if surplus or rest:
        count, names = len(surplus) + rest, first_few(surplus or ["…"], 3)
        notes.append(f"{count:,} more are lost with the sandbox, {MAX_PATCHES} other patches are kept at most: {names}")
    return tuple(works), tuple(notes)


async def _list_candidates(
    workspace: Workspace, source: Source, box: Sandbox, limits: PatchLimits
) -> tuple[list[_Candidate], int, list[str]]:
    """Those with a patch, the number of others, and notes."""
    values = _values(workspace, source, limits, _CANDIDATES) | {"seconds": str(_SCRIPT_SECONDS)}
    end = await _look(box, values, "find_other_work.sh", _END_LINE, "other branches and stashes")
    notes = []
    if end[2] in _PROBLEMS:
        notes.append(f"other branches, stashes and commits may be lost with the sandbox: {_PROBLEMS[end[2]]}")
    folder = _decode(end[3])
    candidates = [
        _Candidate(label=_label(match[2], _decode(match[4])), state=match[3], path=f"{folder}/{int(match[1])}.patch")
        for match in list(_WORK_LINE.finditer(end.string))[:_CANDIDATES]
    ]
    return candidates, int(end[1]), notes


def _values(workspace: Workspace, source: Source, limits: PatchLimits, most: int) -> dict[str, str]:
    """What both scripts take."""
    return {
        "root": workspace.root,
        "base": source.base,
        "tree": source.tree,
        "config": repository_config(source.object_format, bare=True),
        "patch_limit": str(limits.patch_bytes),
        "most": str(most),
    }


async def _look(
    box: Sandbox, values: Mapping[str, str], script: str, ending: re.Pattern[str], subject: str
) -> re.Match[str]:
    """The last line of what a script prints, in all of it. Raises `WorkspaceError` when there is none."""
    scripts = ("root_git.sh", "own_repository.sh", script)  # the first, so that git starts no program
    result = await run_script(box, values, *scripts, timeout=_SECONDS, login=False)
    end = ending.search(result.output.decode("utf-8", "replace"))
    if result.timed_out or result.exit_code or not end:
        reason = f"no end after {_SECONDS:.0f} seconds" if result.timed_out else last_line(result)
        raise WorkspaceError(f"{subject} could not be looked at: {reason}")
    return end


def _decode(text: str) -> str:
    try:
        return os.fsdecode(base64.b64decode(text, validate=True))
    except ValueError:
        return ""


def _label(kind: str, name: str) -> str:
    return f"stash@{{{display_name(name)}}}" if kind == "stash" else f"{kind} {display_name(name)}"


async def _read_changes(candidate: _Candidate, source: Source, box: Sandbox, limits: PatchLimits) -> ChangeSet:
    """Raises `ChangesRefused` for what cannot be kept, `OSError` and `ValueError` for a patch that cannot be read."""
    if candidate.state == "large":
        raise ChangesRefused("its patch is too large")
    if candidate.state != "whole" or not candidate.path.startswith("/") or "\0" in candidate.path:
        raise ChangesRefused("its objects are missing or broken")
    patch = await box.read(candidate.path, limit=limits.patch_bytes)
    return await verify_patch(source, patch, limits=limits)


async def _find_old_paths(source: Source, tree: str, states: Iterable[str]) -> set[str]:
    """The paths that differ from the base in `tree` and are as they are in one of `states`: the last commit, on which a
    branch was made without the uncommitted work, or what setup had left."""
    paths = {entry.path for entry in await changed_entries(source, source.tree, tree)}
    old: set[str] = set()
    for state in states:
        old |= paths - {entry.path for entry in await changed_entries(source, state, tree)}
    return old


async def _is_contained(source: Source, changes: ChangeSet, result: str) -> bool:
    """Whether every path that was changed is in `result` as it is in `changes`. A note alone is not contained."""
    paths = {entry.path for entry in await changed_entries(source, source.tree, changes.tree)}
    if not paths and changes.notes:
        return False
    return paths.isdisjoint(entry.path for entry in await changed_entries(source, result, changes.tree))


def file_name(label: str, existing: Iterable[str]) -> str:
    """`label` reduced to `[a-z0-9-]`, with a number where another one has the same."""
    name = re.sub(r"[^a-z0-9]+", "-", label.removeprefix("branch ").lower()).strip("-")[:50].strip("-") or "branch"
    names, number, unique = set(existing), 1, name
    while unique in names:
        number += 1
        unique = f"{name}-{number}"
    return unique


def summarize(work: OtherWork, file: str) -> str:
    """One line for people."""
    files = plural(len(work.changes.files), "file")
    if work.label.startswith("submodule "):
        return f"{work.label} changed: {files}, in {file}; the checks ran without it"
    return f"{work.label} holds work that is not in the changes: {files}, in {file}; no check has run on it"


async def collect_commits(
    workspace: Workspace, source: Source, box: Sandbox, *, limits: PatchLimits = LIMITS
) -> tuple[CommittedChanges, ...]:
    """The commits from the base to HEAD, oldest first; none where there are none. What they change is measured against
    the base, and each changes something.

    Raises `ChangesRefused` when not all of them can be kept, `WorkspaceError` when nothing can be found out, and
    `SandboxLost`.
    """
    values = _values(workspace, source, limits, MAX_COMMITS)
    end = await _look(box, values, "list_commits.sh", _COMMITS_LINE, "the agent's commits")
    if end[2] not in ("none", "whole"):
        raise ChangesRefused(_COMMIT_PROBLEMS.get(end[2], "objects of them are missing or broken"))
    folder = os.fsdecode(base64.b64decode(end[3]))
    commits: list[CommittedChanges] = []
    tree = source.tree
    for number in range(int(end[1])):
        try:
            patch = await box.read(f"{folder}/{number}.patch", limit=limits.patch_bytes)
            message = await box.read(f"{folder}/{number}.message", limit=MAX_MESSAGE_BYTES)
        except (OSError, ValueError) as error:
            raise ChangesRefused("a patch of them cannot be read") from error
        changes = await verify_patch(source, patch, limits=limits)
        if changes.tree != tree:
            commits.append(CommittedChanges(message=message.decode("utf-8", "replace"), changes=changes))
        tree = changes.tree
    return tuple(commits)

"""What changed inside of submodules: a patch for each, beside that of the repository, because a patch of the repository
cannot hold it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flue_ci.core.changes import ChangeSet, OtherWork
from flue_ci.core.concurrency import together
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.core.text import first_few, one_line
from flue_ci.git.path_rules import display_name
from flue_ci.git.source import Source
from flue_ci.workspace.agent_history import file_name
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import Workspace
from flue_ci.workspace.verify import subtract_setup_changes

MAX_PATCHES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmoduleChanges:
    """What differs in a submodule of the repository; `path` is that from the top."""

    path: str
    source: Source
    changes: ChangeSet


async def collect_submodules(
    workspace: Workspace, source: Source, box: Sandbox
) -> tuple[Mapping[str, SubmoduleChanges], tuple[str, ...]]:
    """The submodules, also those in submodules, that differ from what was uploaded, by path, and notes. Raises
    `SandboxLost`."""
    notes: list[str] = []

    async def look(path: str, inside: Workspace, child: Source) -> SubmoduleChanges | None:
        try:
            changes = await collect(inside, child, box)
        except (ChangesRefused, WorkspaceError) as error:
            notes.append(f"submodule {display_name(path)}: what changed in it is lost with the sandbox: {error}")
            return None
        if not changes.files and not changes.notes:
            return None
        return SubmoduleChanges(path=path, source=child, changes=changes)

    results = await together(*(look(*each) for each in _all_submodules(workspace, source)))
    return {result.path: result for result in results if result}, tuple(sorted(notes))


def _all_submodules(workspace: Workspace, source: Source, top: str = "") -> Iterator[tuple[str, Workspace, Source]]:
    for path, inside in workspace.submodules.items():
        child = source.submodules[path]
        yield f"{top}{path}", inside, child
        yield from _all_submodules(inside, child, f"{top}{path}/")


async def submodule_works(
    before: Mapping[str, SubmoduleChanges], after: Mapping[str, SubmoduleChanges]
) -> tuple[list[tuple[OtherWork, Source]], list[str]]:
    """What the agent changed in submodules, at most `MAX_PATCHES` of them, and notes. `before` is what setup had left
    there."""
    works: list[tuple[OtherWork, Source]] = []
    notes: list[str] = []
    surplus: list[str] = []
    for path, result in after.items():
        label, changes = f"submodule {display_name(path)}", result.changes
        if path in before:
            try:
                changes = await subtract_setup_changes(result.source, before[path].changes, changes)
            except ChangesRefused as refusal:
                notes.append(f"{label}: what setup changed counts as the agent's: {one_line(str(refusal), 200)}")
        notes += [f"{label}: {note}" for note in changes.notes]
        if changes.files and len(works) == MAX_PATCHES:
            surplus.append(label)
        elif changes.files:
            name = file_name(label, (work.name for work, _ in works))
            works.append((OtherWork(label=label, name=name, changes=changes), result.source))
    if surplus:
        notes.append(f"changes in more than {MAX_PATCHES} submodules; lost with the sandbox: {first_few(surplus, 3)}")
    return works, notes

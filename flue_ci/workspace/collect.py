"""Brings back what the agent changed: a patch made by root inside the sandbox, where the agent's git has no influence,
verified on the host.
"""

import base64
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.core.text import human_bytes, one_line
from flue_ci.git.command import object_sizes, pack_objects
from flue_ci.git.path_rules import BYTECODE, display_name
from flue_ci.git.source import Source
from flue_ci.workspace.entry_rules import LIMITS, PatchLimits
from flue_ci.workspace.upload import WORK_TREE_MISSING, Workspace, last_line, printed_names, run_script, upload_files
from flue_ci.workspace.verify import verify_patch

COLLECT_SECONDS = 300.0
_INLINE_BYTES = 400_000  # of a patch or list that the output of its script holds
_STORE_MISSING = 94  # exit code of stage_changes.sh
_PATCH_HINT = "The rest of the changes is kept in the patch file for you to look at; nothing of it was used."
_DIGEST_LINE = re.compile(r"^flue-ci-staged=([0-9a-f]{64}|none)$", re.MULTILINE)
_FILE_LINE = re.compile(rb"^flue-ci-([a-z]+)=([A-Za-z0-9+/]+=*)$", re.MULTILINE)
_RESULT_LINE = re.compile(r"^flue-ci-collected=([0-9a-f]{64}) ([0-9]{1,18}) (\w*)$", re.MULTILINE)
_OBJECT_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


async def collect(workspace: Workspace, source: Source, box: Sandbox, *, limits: PatchLimits = LIMITS) -> ChangeSet:
    """Everything in the work tree that differs from the base, committed or not; ignored files only when the agent
    tracks them. New bytecode, and repositories inside the repository, submodules among them, are left out with a note.

    Can be called again, also while processes of the agent go on writing. Raises `ChangesRefused` (with the patch, as
    far as there is one) for what breaks a rule of `verify_patch`, and when the work tree is gone or cannot be read;
    `WorkspaceError` when collecting itself fails; `SandboxLost`.
    """
    values = {
        "root": workspace.root,
        "store": workspace.store,
        "file_limit": str(limits.file_bytes),
        "patch_limit": str(limits.patch_bytes),
        "count_limit": str(limits.files),
        "base_count": str(source.files),
        "bytecode": BYTECODE,
        "submodules": "\n".join(workspace.submodules),
        "has_objects": "no",
        "inline_limit": str(_INLINE_BYTES),
    }
    scripts = ["print_names.sh", "stage_changes.sh"]
    if workspace.store_has_objects:
        scripts.append("make_patch.sh")
        values["has_objects"] = "yes"
    result = await _run(box, values, *scripts)
    has_changes = _last_record(_DIGEST_LINE, result)[1] != "none"
    notes = _omission_notes(result, limits)
    more = b"\nflue-ci-besides=yes\n" in result.output
    if not has_changes:
        return ChangeSet(tree=source.tree, notes=notes, may_have_more=more)
    if not workspace.store_has_objects:
        await _send_needed(workspace, source, box, result)
        result = await _run(box, values, "print_names.sh", "make_patch.sh")
    record = _last_record(_RESULT_LINE, result)
    if bulk := printed_names(result, "bulk"):
        notes += (f"{', '.join(bulk)}: left out of the changes, because they are too large together",)
    patch = b""
    if int(record[2]):
        failure = "the patch could not be read from the sandbox"
        patch = await _read(workspace, box, "changes.patch", limits.patch_bytes + 1, failure, _printed(result, "patch"))
    _check_record(record, limits, patch)
    changes = await verify_patch(source, patch, limits=limits, digest=record[1])
    return replace(changes, notes=notes + changes.notes, may_have_more=more)


async def _run(box: Sandbox, values: Mapping[str, str], *names: str) -> ExecResult:
    return await run_script(
        box, values, *names, timeout=COLLECT_SECONDS, user="root", login=False, limit=4 * _INLINE_BYTES
    )


async def _send_needed(workspace: Workspace, source: Source, box: Sandbox, result: ExecResult) -> None:
    """Sends the base's content of the files that changed, from this host: the agent could have altered its own copy."""
    limit = (source.files + 1) * (len(source.tree) + 1)  # at most one line for each file of the base
    failure = "the list of changed files could not be read"
    lines = await _read(workspace, box, "needed", limit, failure, _printed(result, "needed"))
    names = [name for name in lines.decode("ascii", "replace").split() if _OBJECT_NAME.fullmatch(name)]
    sizes = await object_sizes(source.git, names)
    if not sizes:
        return
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="needed-") as directory:
        name = await pack_objects(source.git, sizes, target=f"{directory}/pack")
        pack = Path(directory, f"pack-{name}.pack")
        await upload_files(box, {f"{workspace.store}/needed.pack": pack}, user="root")


def _last_record(pattern: re.Pattern[str], result: ExecResult) -> re.Match[str]:
    """The record that a script ends with. Raises `ChangesRefused` or `WorkspaceError` with the reason when there is
    none."""
    if result.timed_out:
        raise ChangesRefused(
            f"the changes could not be collected within {COLLECT_SECONDS:.0f} seconds",
            hint="Are there very many files?",
        )
    if result.exit_code == WORK_TREE_MISSING:
        raise ChangesRefused(
            "the work tree in the sandbox was deleted or replaced",
            hint="That counts as no result: deleting every file is not a change that anybody asked for.",
        )
    if result.exit_code == _STORE_MISSING:
        raise ChangesRefused(
            "the base for comparison was deleted in the sandbox", hint="Something inside acted as root."
        )
    match = pattern.search(result.output.decode("utf-8", "replace"))
    if match and not result.exit_code:
        return match
    raise WorkspaceError(
        f"the changes could not be collected: {last_line(result)}", hint="Is the disk of the sandbox full?"
    )


def _printed(result: ExecResult, label: str) -> bytes | None:
    """A file that a script printed last, because it is small; None where it did not."""
    matches = [match[2] for match in _FILE_LINE.finditer(result.output) if match[1] == label.encode()]
    try:
        return base64.b64decode(matches[-1], validate=True) if matches else None
    except ValueError:
        return None


async def _read(
    workspace: Workspace, box: Sandbox, name: str, limit: int, failure: str, printed: bytes | None
) -> bytes:
    """A file of the store, unless it was `printed`. Raises `WorkspaceError`, which begins with `failure`."""
    if printed is not None:
        return printed
    try:
        return await box.read(f"{workspace.store}/{name}", limit=limit, user="root")
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{failure}: {one_line(str(error))}") from error


def _omission_notes(result: ExecResult, limits: PatchLimits) -> tuple[str, ...]:
    """What the sandbox itself left out of the changes. `verify_patch` does not rely on it."""
    reason = "left out of the changes, because it is a repository of its own"
    notes = [f"{name}: {reason}" for name in printed_names(result, "left-out")]
    if names := printed_names(result, "bytecode"):
        notes.append(f"bytecode left out of the changes, name it in .gitignore: {', '.join(names)}")
    for label, reason in (
        ("oversize", f"larger than {human_bytes(limits.file_bytes)}"),
        ("unreadable", "git cannot take it: not readable, written all the time, or a name that no repository may have"),
        ("crowd", f"more than {limits.files:,} new files; is a directory missing in .gitignore?"),
    ):
        if names := printed_names(result, label):
            notes.append(f"{', '.join(names)}: left out of the changes, because {reason}")
    return tuple(notes)


def _check_record(record: re.Match[str], limits: PatchLimits, patch: bytes) -> None:
    """Raises `ChangesRefused` for a problem that the sandbox itself reports: of a patch that is too large, and of one
    that is not of all files (group 3, with details on the lines before)."""
    if record[3]:
        lines = record.string[: record.start()].splitlines()
        few = ", ".join([display_name(line) for line in lines if line and not line.startswith("flue-ci-")][:3])
        message = f"a directory could not be read: {few or 'no reason given'}"
        raise ChangesRefused(message, hint=_PATCH_HINT, patch=patch)
    if len(patch) > limits.patch_bytes:
        message = f"the changes are a patch of more than {human_bytes(limits.patch_bytes)}"
        raise ChangesRefused(message, hint=_PATCH_HINT.replace("rest", "beginning"), patch=patch)

"""Brings back what the agent changed: a patch made by root inside the sandbox, where the agent's git has no influence,
verified on the host.
"""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.core.text import human_bytes, one_line, plural
from flue_ci.git.command import object_sizes, pack_objects
from flue_ci.git.path_rules import BYTECODE, display_name
from flue_ci.git.source import Source
from flue_ci.workspace.upload import (
    WORK_TREE_MISSING,
    Workspace,
    last_line,
    printed_names,
    run_script,
    upload_files,
)
from flue_ci.workspace.verify import LIMITS, PatchLimits, verify_patch

COLLECT_SECONDS = 300.0
_STORE_MISSING = 94  # exit code of stage_changes.sh
_PATCH_HINT = "The rest of the changes is kept in the patch file for you to look at; nothing of it was used."
_DIRECTORY_HINT = "Is a directory missing in .gitignore?"
_DIGEST_LINE = re.compile(r"^flue-ci-staged=([0-9a-f]{64}|none)$", re.MULTILINE)
_RESULT_LINE = re.compile(r"^flue-ci-collected=([0-9a-f]{64}) ([0-9]{1,18}) ([0-9]{1,18}) (\w*)$", re.MULTILINE)
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
    }
    scripts = ["stage_changes.sh"]
    if workspace.store_has_objects:
        scripts.append("make_patch.sh")
    result = await run_script(box, values, *scripts, timeout=COLLECT_SECONDS, user="root", login=False)
    has_changes = _last_record(_DIGEST_LINE, result)[1] != "none"
    reason = "left out of the changes, because it is a repository of its own"
    notes = tuple(f"{name}: {reason}" for name in printed_names(result, "left-out"))
    if b"\nflue-ci-bytecode=" in result.output:
        bytecode = printed_names(result, "bytecode")
        notes += (f"bytecode left out of the changes, name it in .gitignore: {', '.join(bytecode)}",)
    if not has_changes:
        return ChangeSet(tree=source.tree, notes=notes)
    if not workspace.store_has_objects:
        await _send_needed(workspace, source, box)
        result = await run_script(box, values, "make_patch.sh", timeout=COLLECT_SECONDS, user="root", login=False)
    record = _last_record(_RESULT_LINE, result)
    patch = b""
    if int(record[2]):
        patch = await _read(
            workspace, box, "changes.patch", limits.patch_bytes + 1, "the patch could not be read from the sandbox"
        )
    _check_record(record, limits, patch)
    changes = await verify_patch(source, patch, limits=limits, digest=record[1])
    return replace(changes, notes=notes)


async def _send_needed(workspace: Workspace, source: Source, box: Sandbox) -> None:
    """Sends the base's content of the files that changed, from this host: the agent could have altered its own copy."""
    limit = (source.files + 1) * (len(source.tree) + 1)  # at most one line for each file of the base
    lines = await _read(workspace, box, "needed", limit, "the list of changed files could not be read")
    names = [name for name in lines.decode("ascii", "replace").split() if _OBJECT_NAME.fullmatch(name)]
    sizes = await object_sizes(source.git, names)
    if not sizes:
        return
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="needed-") as directory:
        name = await pack_objects(source.git, sizes, target=f"{directory}/pack")
        await upload_files(box, {f"{workspace.store}/needed.pack": Path(directory, f"pack-{name}.pack")}, user="root")


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


async def _read(workspace: Workspace, box: Sandbox, name: str, limit: int, failure: str) -> bytes:
    """A file of the store. Raises `WorkspaceError`, which begins with `failure`."""
    try:
        return await box.read(f"{workspace.store}/{name}", limit=limit, user="root")
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{failure}: {one_line(str(error))}") from error


def _check_record(record: re.Match[str], limits: PatchLimits, patch: bytes) -> None:
    """Raises `ChangesRefused` for a problem that the sandbox itself reports: the number of files (group 3), a problem
    by its name (group 4), with details on the lines before. `verify_patch` does not rely on it; this gives the better
    messages."""
    problem, count = record[4], int(record[3])
    lines = record.string[: record.start()].splitlines()
    few = ", ".join([display_name(line) for line in lines if line and not line.startswith("flue-ci-")][:3])
    hint = _PATCH_HINT if problem else _PATCH_HINT.replace("rest", "beginning")
    if problem == "oversize":
        message, hint = f"larger than {human_bytes(limits.file_bytes)}: {few}", f"Name it in .gitignore. {hint}"
    elif problem == "crowded":
        message, hint = f"{few} new files, more than {limits.files:,}", f"{_DIRECTORY_HINT} {hint}"
    elif problem:
        message = f"a file could not be read: {few or 'no reason given'}"
    elif count > limits.files:
        message = f"{plural(count, 'file')} changed, more than {limits.files:,}"
        hint = f"{_DIRECTORY_HINT} {hint}"
    elif len(patch) > limits.patch_bytes:
        message = f"the changes are a patch of more than {human_bytes(limits.patch_bytes)}"
    else:
        return
    raise ChangesRefused(message, hint=hint, patch=patch)

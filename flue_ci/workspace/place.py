"""Puts files into a sandbox after setup: verified changes into the work tree of another, clean one, so that checks see
the base and them, and nothing else of the agent; and the trusted skills, of which the agent reads ours and not what
setup, where the pull request's own code ran, made of them.

What setup left there is the repository's own code: no change is put there with more rights than the ordinary user's.
"""

import asyncio
import base64
import io
import os
import secrets
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.command import Git, object_sizes, read_objects
from flue_ci.git.diffs import Entry
from flue_ci.git.source import Source
from flue_ci.workspace.upload import ARGUMENT_BYTES, WORK_TREE_MISSING, Workspace, last_line, run_script, upload_files
from flue_ci.workspace.verify import changed_entries

PLACE_SECONDS = 300.0
_SKILLS_SECONDS = 60.0
_BATCH_BYTES = 32_000_000  # of contents in memory at the same time
_MODES = {"100644": 0o644, "100755": 0o755, "120000": 0o777}
_HINT = "The patch is kept. Did a setup command take the work tree away from the ordinary user, or is the disk full?"


async def place_changes(source: Source, changes: ChangeSet, workspace: Workspace, box: Sandbox) -> None:
    """Writes every path in which `changes.tree` differs from the base as that tree has it: files with their modes,
    links, deletions. `box` is a sandbox to which `source` was uploaded as `workspace`.

    Whatever setup did to the same paths, and to directories on the way to them, is overwritten; the rest of the work
    tree, and the agent's index, stay. Raises `WorkspaceError`, `SandboxLost`.
    """
    if not changes.files:
        return
    entries = await changed_entries(source, source.tree, changes.tree)
    # A name that nobody in the sandbox can know before the file is there, in a directory where only its owner, root,
    # can replace it.
    inbox = f"/tmp/flue-ci-{secrets.token_hex(8)}"  # noqa: S108 (in the sandbox)
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="place-") as directory:
        archive, paths = Path(directory, "archive"), Path(directory, "paths")
        paths.write_bytes(b"".join(b"./" + os.fsencode(entry.path) + b"\0" for entry in entries))
        present = [entry for entry in entries if entry.status != "D"]
        await _write_archive(source.git, archive, present)
        values = {"root": workspace.root, "inbox": inbox, "count": str(len(present)), "archive": "", "paths": ""}
        if archive.stat().st_size + paths.stat().st_size <= ARGUMENT_BYTES:
            files = {"archive": archive, "paths": paths}
            values |= {name: base64.b64encode(file.read_bytes()).decode() for name, file in files.items()}
        else:
            await upload_files(box, {f"{inbox}.tar": archive, f"{inbox}.paths": paths}, user="root")
    result = await run_script(box, values, "place_changes.sh", timeout=PLACE_SECONDS, login=False)
    if result.exit_code == WORK_TREE_MISSING:
        raise WorkspaceError(f"setup deleted or replaced the work tree {workspace.root}", hint=_HINT)
    if result.exit_code:
        reason = f"no end after {PLACE_SECONDS:.0f} seconds" if result.timed_out else last_line(result)
        raise WorkspaceError(f"the changes could not be written to {workspace.root}: {reason}", hint=_HINT)


async def _write_archive(git: Git, path: Path, entries: list[Entry]) -> None:
    """The entries as a tar file, their contents from the host's own objects."""
    sizes = await object_sizes(git, {entry.blob for entry in entries})
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for batch in _batches(entries, sizes):
            contents = await read_objects(git, [entry.blob for entry in batch])
            await asyncio.to_thread(_add_entries, archive, batch, contents)


def _batches(entries: list[Entry], sizes: Mapping[str, int]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + sizes[entry.blob] > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += sizes[entry.blob]
    yield batch


def _add_entries(archive: tarfile.TarFile, entries: list[Entry], contents: Mapping[str, bytes]) -> None:
    for entry in entries:
        data = contents[entry.blob]
        info = tarfile.TarInfo(f"./{entry.path}")
        info.mode = _MODES[entry.mode]
        if entry.mode == "120000":
            info.type, info.linkname, data = tarfile.SYMTYPE, os.fsdecode(data), b""
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))


async def place_skills(source: Source, workspace: Workspace, box: Sandbox, files: Mapping[str, Path]) -> None:
    """Writes `files` (by their paths in the sandbox's home, all in one folder there; paths of this host) as root, for
    everybody to read and nobody to change. What was in that folder is deleted.

    Where root is the same user (local sandboxes), the agent could make them writable again. Raises `WorkspaceError`,
    `SandboxLost`.
    """
    if not files:
        return
    folder = PurePosixPath(next(iter(files))).parts[0]
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="skills-") as directory:
        archive = Path(directory, "skills.tar")
        await asyncio.to_thread(_write_skills, archive, folder, files)
        await upload_files(box, {f"{workspace.store}/skills.tar": archive}, user="root")
    values = {"home": box.info.home, "folder": folder, "store": workspace.store}
    result = await run_script(box, values, "place_skills.sh", timeout=_SKILLS_SECONDS, user="root", login=False)
    if result.exit_code:
        raise WorkspaceError(
            f"the skills could not be placed in the sandbox: {last_line(result)}",
            hint=f"Does a setup command write to ~/{folder}?",
        )


def _write_skills(path: Path, folder: str, files: Mapping[str, Path]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, file in files.items():
            entry = tarfile.TarInfo(str(PurePosixPath(name).relative_to(folder)))
            status = file.stat()
            entry.size, entry.mode = status.st_size, status.st_mode & 0o755
            with file.open("rb") as stream:
                archive.addfile(entry, stream)

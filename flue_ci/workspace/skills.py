"""Puts the trusted skills into the sandbox, after setup: what the agent reads there is ours, not what setup, where the
pull request's own code ran, made of it."""

import asyncio
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.source import Source
from flue_ci.workspace.upload import Workspace, last_line, run_script, upload_files

_SECONDS = 60.0


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
        await asyncio.to_thread(_write_archive, archive, folder, files)
        await upload_files(box, {f"{workspace.store}/skills.tar": archive}, user="root")
    values = {"home": box.info.home, "folder": folder, "store": workspace.store}
    result = await run_script(box, values, "place_skills.sh", timeout=_SECONDS, user="root", login=False)
    if result.exit_code:
        raise WorkspaceError(
            f"the skills could not be placed in the sandbox: {last_line(result)}",
            hint=f"Does a setup command write to ~/{folder}?",
        )


def _write_archive(path: Path, folder: str, files: Mapping[str, Path]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, file in files.items():
            entry = tarfile.TarInfo(str(PurePosixPath(name).relative_to(folder)))
            status = file.stat()
            entry.size, entry.mode = status.st_size, status.st_mode & 0o755
            with file.open("rb") as stream:
                archive.addfile(entry, stream)

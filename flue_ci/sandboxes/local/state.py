"""The private directory of a local sandbox on the host, the note in it that says whose it is, and finding it again."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flue_ci.sandboxes.local import bounds, supervisor

PREFIX = "flue-ci-"
_NOTE = "flue-run.json"
_PARTS = {"home": 0o700, "root": 0o700, "tmp": 0o1777, "var-tmp": 0o1777, "etc": 0o755}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanState:
    """A private directory with its note. `processes` are (pid, start time) of what flue-ci started for it."""

    id: str
    path: Path
    metadata: Mapping[str, str]
    isolation: bool
    processes: tuple[tuple[int, str], ...]


def create_directory(parent: Path | None, owner_of_parts: int | None) -> Path:
    """A fresh private directory (mode 0700) with its parts; these belong to user `owner_of_parts` (None: to us)."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    for part, mode in _PARTS.items():
        (path / part).mkdir()
        (path / part).chmod(mode)  # our umask may be stricter
        if owner_of_parts is not None:
            os.chown(path / part, owner_of_parts, owner_of_parts)
    return path


def write_note(path: Path, metadata: Mapping[str, str], processes: list[int], *, isolation: bool) -> None:
    """Write down whose directory it is and which processes belong to it; replaces an earlier note."""
    entries = [(pid, start_time(pid)) for pid in processes]
    fresh = path / f"{_NOTE}.new"
    note = {"metadata": dict(metadata), "isolated": isolation, "processes": entries}
    fresh.write_text(json.dumps(note), encoding="utf-8")
    fresh.replace(path / _NOTE)


def find_orphans(parent: Path | None) -> Iterator[OrphanState]:
    """All private directories that are ours by name, owner and note; a directory without a note is still being made."""
    for path in sorted((parent or Path(tempfile.gettempdir())).glob(f"{PREFIX}*")):
        try:
            status = path.lstat()
            if status.st_mode != stat.S_IFDIR | 0o700 or status.st_uid != os.geteuid():
                continue
            data = json.loads((path / _NOTE).read_text(encoding="utf-8"))
            yield OrphanState(
                id=path.name.removeprefix(PREFIX),
                path=path,
                metadata={str(key): str(value) for key, value in data["metadata"].items()},
                isolation=bool(data["isolated"]),
                processes=tuple((int(pid), str(time)) for pid, time in data["processes"]),
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            continue  # gone meanwhile, or not written by us


def end_orphan(sandbox_id: str, parent: Path | None) -> bool:
    """End the processes of a sandbox and remove its directory. False when there is none of that id."""
    orphan = next((orphan for orphan in find_orphans(parent) if orphan.id == sandbox_id), None)
    if orphan is None:
        return False
    pids = [pid for pid, started_at in orphan.processes if started_at and start_time(pid) == started_at]
    if not orphan.isolation:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)  # the supervisor finds its descendants better than we do
        _await_end(pids, 2.0)
    for pid in pids:
        kill_tree(pid)
    _await_end(pids, 2.0)
    bounds.remove_groups(orphan.path.name)
    remove_directory(orphan.path, seconds=60)
    return True


def remove_directory(path: Path, *, seconds: float) -> None:
    """Remove a private directory with all that is in it. What takes longer than `seconds` goes on by itself."""
    script, quiet = 'rm -rf -- "$0" || { chmod -R u+rwX -- "$0"; rm -rf -- "$0"; }', subprocess.DEVNULL
    command = ["/bin/sh", "-c", script, str(path)]
    worker = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    with suppress(subprocess.TimeoutExpired):
        if worker.wait(seconds):  # also on a PATH without these programs
            shutil.rmtree(path, ignore_errors=True)


def start_time(pid: int) -> str:
    """When the process started, in the system's own format; empty when it does not run. A reused process number has
    another one."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == b"Z" else fields[19].decode()
    ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()


def kill_tree(pid: int) -> None:
    """Kill a process and all below it, from the top.

    Killing the parent is not enough: the kernel signals a child for `--die-with-parent` only when the parent had the
    right to do so. When we run as root, bubblewrap drops its capabilities, and the sandbox is another user's.
    """
    children = supervisor.child_processes()
    tree = [pid]
    for member in tree:  # grows while we go
        tree += children.get(member, [])
    for member in tree:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)


def _await_end(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(start_time(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)

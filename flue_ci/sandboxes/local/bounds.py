"""How much of the machine a local sandbox may use: by a control group where we may make one, and by process."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flue_ci.core.errors import SandboxError
from flue_ci.core.shell import load_script

_PROCESSES = 4096  # with threads, in one sandbox
_FILE_BYTES = 16 << 30
_GROUP_LIMITS = {  # by file of a control group, of version 2 and 1
    "memory.max": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4,
    "memory.swap.max": 0,
    "pids.max": _PROCESSES,
}
_GROUP_LIMITS["memory.limit_in_bytes"] = _GROUP_LIMITS["memory.max"]


def resource_limits() -> dict[int, int]:
    """For `setrlimit`, soft and hard. Never the address space: node, go and java reserve far more than they use."""
    # 1 and not 0: with 0 a handler of the host (systemd-coredump, apport) would still be started on the dump.
    limits = {resource.RLIMIT_CORE: 1, resource.RLIMIT_FSIZE: _FILE_BYTES}
    try:
        # Linux before 5.14 counts what the same user runs outside of the sandbox too, hence all of the machine's.
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return limits
    return {**limits, resource.RLIMIT_NPROC: running + _PROCESSES}


def has_groups() -> bool:
    """Whether there is a way to a control group with a bound of memory. Whether it works shows at the start."""
    return bool(_parents() or _systemd())


def wrapper(name: str) -> list[str]:
    """What goes before a command that is to run in the control group `name`, which is made when it does not exist."""
    parents = _parents()
    if not parents:
        limits = [f"--property=MemoryMax={_GROUP_LIMITS['memory.max']}", "--property=MemorySwapMax=0"]
        return [*_systemd(), "--scope", "--quiet", "--collect", *limits, f"--property=TasksMax={_PROCESSES}", "--"]
    try:
        for parent in parents:
            group = parent / name
            group.mkdir(exist_ok=True)
            for file, value in _GROUP_LIMITS.items():
                if (group / file).exists():
                    (group / file).write_text(str(value))
    except OSError as error:
        raise SandboxError(f"cannot make a control group: {error}") from error
    files = [str(parent / name / "cgroup.procs") for parent in parents]
    return ["/bin/bash", "-c", load_script("flue_ci.sandboxes.local", "join_groups.sh"), "bash", *files, "--"]


def remove_groups(name: str) -> None:
    """Remove the control group, if there is one and all its processes have ended."""
    for parent in _parents():
        with suppress(OSError):
            (parent / name).rmdir()


def _parents() -> list[Path]:
    """The groups of this process, or above it, in which we may make one: one of version 2, or two of version 1."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        mounts = [line.split()[1:4] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return []
    groups = {name: path for _, names, path in lines for name in names.split(",")}
    roots = {name: root for root, kind, options in mounts for name in options.split(",") if kind == "cgroup"}
    if {"memory", "pids"} <= groups.keys() & roots.keys():
        parents = [Path(roots[name] + groups[name]) for name in ("memory", "pids")]
        return parents if all(map(_is_writable, parents)) else []
    for root, kind, _ in mounts:
        if kind == "cgroup2" and "" in groups:
            return list(_delegated(Path(root), Path(root + groups[""])))[:1]
    return []


def _delegated(root: Path, path: Path) -> Iterator[Path]:
    """Groups of version 2, from `path` up to `root`, whose children are bounded and which are ours."""
    for group in (path, *path.parents):
        if not group.is_relative_to(root):
            return
        with suppress(OSError):
            controllers = (group / "cgroup.subtree_control").read_text().split()
            if {"memory", "pids"} <= set(controllers) and _is_writable(group):
                yield group


def _is_writable(group: Path) -> bool:
    return os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)


def _systemd() -> list[str]:
    """The user's own systemd, that can make a group (a scope) for us; empty when there is none."""
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    program = shutil.which("systemd-run")
    if not program or not directory or not Path(directory, "bus").exists():
        return []
    return ["/usr/bin/env", f"XDG_RUNTIME_DIR={directory}", program, "--user"]

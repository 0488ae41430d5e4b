"""One sandbox of the E2B-compatible test server: real processes and files on this machine.

As root it has namespaces of its own, for mounts and for processes: private `/home`, `/tmp`, `/dev/shm`, `/root`, `/etc`
and `/usr` (what is written there lies over the machine's own), the rest read-only; a first process that is named as
E2B's daemon; commands as uid 1000. Otherwise HOME is a temporary directory and paths are those of this machine. No
security boundary.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_CLONE_NEWNS, _CLONE_NEWPID = 0x20000, 0x20000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UID = 1000
# The numbers of setgroups, setresgid and setresuid. (The C library's functions change all threads.)
_CREDENTIAL_CALLS = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PLACES = ("/tmp", "/dev/shm")  # in which everybody may write
# `sudo -n COMMAND`, over a copy of bash with the setuid bit.
_SUDO = """#!/bin/bash
while [ "${1:0:1}" = - ]; do shift; done
exec /usr/lib/sudo-shell -p -c 'exec setpriv --reuid 0 --regid 0 --clear-groups "$@"' sudo "$@"
"""
# What Debian's does, without a program for each of the two login shells around a command.
_PROFILE = """
PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games
[ "$EUID" != 0 ] || PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
for i in /etc/profile.d/*.sh; do [ ! -r "$i" ] || . "$i"; done
unset i
"""
# The first process: it shows /proc as its namespace sees it, takes orphans in without leaving zombies, and never ends.
_DAEMON = """mount -t proc proc /proc && trap '' CHLD && exec "$0" infinity >/dev/null"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineOptions:
    """What differs between templates. `isolate`: with namespaces of its own, as far as possible. `sudo`: without a
    password. `user`: the template's default user, `user` or `root`. `daemon`: the name of the first process; empty: the
    processes are among those of the machine that the server runs on. `without`: programs of `/usr/bin` that are not
    there."""

    isolate: bool = True
    sudo: bool = False
    user: str = "user"
    daemon: str = "envd"
    without: tuple[str, ...] = ()


class Machine:
    """Runs commands and opens files where the sandbox's own paths mean its own files."""

    def __init__(self, sandbox_id: str, directory: Path, options: MachineOptions) -> None:
        self.id, self.options = sandbox_id, options
        self.gone = asyncio.Event()
        self._directory = directory
        for name in ("home/user", "root", *(place[1:] for place in _PLACES)):
            (directory / name).mkdir(parents=True)
        # Namespaces belong to threads: everything that looks at the sandbox's paths happens on this one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sandbox-{sandbox_id}")
        self.daemon: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self._namespace_fd: int | None = self._thread.submit(self._isolate).result() if options.isolate else None
        self.isolated = self._namespace_fd is not None
        self.namespace = os.fstat(self._namespace_fd).st_ino if self._namespace_fd is not None else 0

    def _isolate(self) -> int | None:
        """Give this thread its own view of the file system; None when this machine does not allow it."""
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() != 0 or libc.unshare(_CLONE_NEWNS) != 0:
            return None

        def mount(source: str, target: str, flags: int, kind: str = "none", data: str = "") -> None:
            for last in (*[False] * 50, True):
                words = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
                if libc.mount(*words) == 0:
                    return
                if last or ctypes.get_errno() != errno.EBUSY:  # somebody is writing just now
                    raise OSError(ctypes.get_errno(), f"mount {source} on {target}")
                time.sleep(0.05)

        self._fill()
        mount("none", "/", _MS_REC | _MS_PRIVATE)
        for name in ("etc", "usr"):
            layers = f"lowerdir=/{name},upperdir={self._directory}/{name},workdir={self._directory}/{name}.work"
            mount("overlay", f"/{name}", 0, "overlay", layers)
        for name in ("home", "root"):
            mount(str(self._directory / name), f"/{name}", _MS_BIND)
        # Our own directory is below one of these, and out of sight from then on.
        places = {os.open(self._directory / name[1:], os.O_PATH): name for name in _PLACES if Path(name).is_dir()}
        for descriptor, target in places.items():
            mount(f"/proc/self/fd/{descriptor}", target, _MS_BIND)
            os.close(descriptor)
        mount("none", "/", _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
        os.chdir("/")
        if self.options.daemon and libc.unshare(_CLONE_NEWPID) == 0:
            self._start_daemon()
        # Kept open, so that its number stays ours.
        return os.open(f"/proc/{'1' if self.daemon else 'thread-self'}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def _fill(self) -> None:
        """The machine's own files: accounts, and a sudo when there is to be one."""
        for name in ("etc", "etc.work", "usr/bin", "usr/lib", "usr.work"):
            (self._directory / name).mkdir(parents=True)
        for name, line in (("passwd", f"user:x:{_UID}:{_UID}::/home/user:/bin/bash\n"), ("group", f"user:x:{_UID}:\n")):
            (self._directory / "etc" / name).write_text(line + Path("/etc", name).read_text())
        (self._directory / "etc/shadow").write_text("user:*:20000:0:99999:7:::\nroot:*:20000:0:99999:7:::\n")
        (self._directory / "etc/shadow").chmod(0o600)
        (self._directory / "etc/profile").write_text(_PROFILE)
        if self.options.daemon:
            shutil.copy("/bin/sleep", self._directory / "usr/bin" / self.options.daemon)
        for name in self.options.without:  # a file that is not there, as overlayfs writes it
            os.mknod(self._directory / "usr/bin" / name, stat.S_IFCHR, 0)
        os.chown(self._directory / "home/user", _UID, _UID)
        for name in _PLACES:
            (self._directory / name[1:]).chmod(0o1777)
        (self._directory / "root").chmod(0o700)
        if self.options.sudo:
            shutil.copy("/bin/bash", self._directory / "usr/lib/sudo-shell")
            (self._directory / "usr/lib/sudo-shell").chmod(0o4755)
            (self._directory / "usr/bin/sudo").write_text(_SUDO)
            (self._directory / "usr/bin/sudo").chmod(0o755)

    def _start_daemon(self) -> None:
        """The first process of the namespace, which stands for envd."""
        # A group of its own in this session, which the commands join.
        arguments = ["/bin/sh", "-c", _DAEMON, self.options.daemon]
        environment = {"PATH": _SYSTEM_PATH}
        nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
        self.daemon = subprocess.Popen(arguments, env=environment, stdin=nothing, stdout=pipe, process_group=0)
        assert self.daemon.stdout is not None
        with self.daemon.stdout:
            self.daemon.stdout.read()
        while Path("/proc/1/comm").read_text() != f"{self.options.daemon}\n":
            assert self.daemon.poll() is None, "the first process of a sandbox did not start"
            time.sleep(0.001)

    def home(self, user: str) -> str:
        private = "/root" if user == "root" else "/home/user"
        return private if self.isolated else f"{self._directory}{private}"

    def resolve(self, path: str, user: str) -> str:
        """As envd does it: `~` and relative paths start at the user's home."""
        if path.startswith("~"):
            if path[1:2] not in ("", "/"):
                raise ValueError("cannot expand user-specific home dir")
            path = self.home(user) + path[1:]
        return path if path.startswith("/") else os.path.normpath(f"{self.home(user)}/{path}")

    async def inside(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` where paths are the sandbox's."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args))
        except RuntimeError:  # the thread has ended, with the sandbox
            raise ConnectionError(f"sandbox {self.id} is gone") from None

    def spawn(
        self, argv: list[str], cwd: str, environment: Mapping[str, str], user: str, stdin: bool
    ) -> subprocess.Popen[bytes]:
        """Start a process; call it `inside`. Raises OSError."""
        account = {"PATH": _SYSTEM_PATH, "HOME": self.home(user), "USER": user, "LOGNAME": user}
        environment = {**account, "E2B_SANDBOX": "true", "E2B_SANDBOX_ID": self.id, **environment}
        with self._rights_of(user):
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=environment,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # As at E2B, in the group and session of the daemon, whose number in its namespace is 1.
                process_group=1 if self.daemon else None,
                start_new_session=self.daemon is None,
            )
        self._started.append(process)
        return process

    @contextmanager
    def _rights_of(self, user: str) -> Iterator[None]:
        """What this thread starts meanwhile belongs to `user`. (For `Popen(user=…)` Python copies the page tables of
        the whole process, which takes 15 ms, and `setpriv` would be one more program for each command.)"""
        if not self.isolated or user == "root":
            yield
            return
        groups = os.getgroups()
        try:
            _become(_UID, [])
            yield
        finally:
            _become(0, groups)

    def number(self, pid: int) -> int:
        """The number of a process of this machine as the machine itself sees it."""
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1])

    def open_for_writing(self, path: str, user: str) -> int:
        """Make the directories and open the file as root, whoever `user` is, and give them to `user`: so does envd.
        Raises OSError; call it `inside`."""
        for parent in reversed(Path(path).parents):
            if not parent.exists():
                parent.mkdir()
                self._own(parent, user)
            elif not parent.is_dir():
                raise FileExistsError(errno.EEXIST, "path is a file", str(parent))
        if Path(path).is_dir():
            raise IsADirectoryError(f"path is a directory: {path}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._own(Path(path), user)
        return descriptor

    def _own(self, path: Path, user: str) -> None:
        if self.isolated and user != "root":
            os.chown(path, _UID, _UID)

    def processes(self) -> list[tuple[int, str]]:
        """As `processes_of`."""
        return processes_of([self])

    def end(self) -> None:
        """Kill everything and remove the files. Blocks for as long as that takes."""
        if self.daemon is not None:
            self.daemon.kill()  # and with it its whole namespace, in which nothing can start any more
        else:
            self._kill_all()
        self._thread.shutdown(wait=True)
        if self.daemon is not None:  # it ends when the last process of its namespace is gone, and waited for
            for process in self._started:
                process.wait()
            self.daemon.wait()
        else:
            self._kill_all()  # what was just being started
        shutil.rmtree(self._directory, ignore_errors=True)

    def _kill_all(self) -> None:
        deadline = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid, _ in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)

    def forget(self) -> None:
        """After this, `processes` cannot tell any more. Called when the server stops."""
        if self._namespace_fd is not None:
            os.close(self._namespace_fd)
            self._namespace_fd = None
        if self.daemon is not None:
            self.daemon.poll()

    @property
    def is_empty(self) -> bool:
        """Whether the kernel said so: its namespace ended."""
        return self.daemon is not None and self.daemon.returncode is not None


def _become(uid: int, groups: Sequence[int]) -> None:
    """This thread alone goes on as that user; it can become root again. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    set_groups, set_gid, set_uid = _CREDENTIAL_CALLS[os.uname().machine]
    numbers = (ctypes.c_uint32 * len(groups))(*groups)
    calls = [(set_groups, len(groups), numbers), (set_gid, uid, uid, 0), (set_uid, uid, uid, 0)]
    dumpable = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    for number, *arguments in sorted(calls, key=lambda call: call[0] == set_uid, reverse=uid == 0):
        if libc.syscall(number, *arguments):
            raise OSError(ctypes.get_errno(), "a thread could not change its user")
    libc.prctl(_PR_SET_DUMPABLE, dumpable, 0, 0, 0)  # or files of /proc were root's, also those of the child


def processes_of(machines: Sequence[Machine]) -> list[tuple[int, str]]:
    """(pid, command line) of everything that runs in these machines, however it was started, but for their first
    processes. Tests ask often, and of many machines: one walk through /proc answers for all of them."""
    machines = [machine for machine in machines if not machine.is_empty]
    if not machines:
        return []
    marks = {f"E2B_SANDBOX_ID={machine.id}".encode() for machine in machines}
    namespaces = {machine.namespace for machine in machines if machine.isolated}
    others = {str(os.getpid()), *(str(machine.daemon.pid) for machine in machines if machine.daemon is not None)}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name in others:
            continue
        try:
            inside = (entry / "ns/mnt").stat().st_ino in namespaces
            inside = inside or not marks.isdisjoint((entry / "environ").read_bytes().split(b"\0"))
            if inside and (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(entry.name), line))
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
    return found


def entry_of(path: str) -> dict[str, Any]:
    """What envd tells of a path, in the words of its protocol. Raises OSError."""
    info = os.lstat(path)
    link = stat.S_ISLNK(info.st_mode)
    target = os.path.realpath(path) if link else None
    try:
        mode = Path(path).stat().st_mode if link else info.st_mode
    except OSError:
        mode = 0
    kind = "FILE_TYPE_FILE" if stat.S_ISREG(mode) else "FILE_TYPE_DIRECTORY" if stat.S_ISDIR(mode) else None
    if link and not mode:  # a dangling link names itself
        target = path
    entry: dict[str, Any] = {
        "name": Path(path).name,
        "path": path,
        "size": str(info.st_size),
        "mode": stat.S_IMODE(mode),
        "permissions": stat.filemode(info.st_mode),
        "owner": str(info.st_uid),
        "group": str(info.st_gid),
    }
    if kind:
        entry["type"] = kind
    if target is not None:
        entry |= {"symlinkTarget": target, "isSymlink": True}
    return entry

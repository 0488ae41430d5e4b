"""The first process of the local sandbox: starts commands and opens files inside for flue-ci outside.

Runs as a script of its own (`python -I -S`) and imports only what starts fast. Speaks frames over its standard input, a
socket; when the other end closes, everything inside ends.
"""

# `pathlib` would double the start-up time, hence:
# ruff: noqa: PTH101, PTH103, PTH108, PTH110, PTH116, PTH120, PTH123, PTH208
import _signal as signal  # type: ignore[import-not-found]  # `signal` costs 8 ms more, most of it for `enum`
import errno
import marshal
import os
import select
import stat
import struct
import sys
import time
from _socket import SCM_RIGHTS, SOL_SOCKET, socket

HEADER = struct.Struct("<BII")  # kind, number of the request, length of what follows
# From the host. CONFINE comes first and once. RUN has the arguments of `Supervisor._run`, CONFINE those of `_confine`,
# by `marshal`.
RUN, CANCEL, READ, WRITE, CONFINE = 1, 2, 3, 4, 5
READY, OUTPUT, EXIT, FILE, ERROR = 1, 2, 3, 4, 5  # to the host; FILE carries an open file, READY what failed as text
RESULT = struct.Struct("<i?")  # exit code, timed out
ERRNO = struct.Struct("<i")  # errno

# A program that the user cannot read is one that the kernel lets the user's other programs not trace: what a check (or
# setup, before it) starts cannot make its shell end with another code. Some file systems let nobody execute it.
UNREADABLE_SHELL = b"/run/flue-ci/bash"

NOT_QUIET = 1  # exit code: the end of all that was started is not certain
END_SECONDS = 1.5  # for that

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
CHUNK = 65_536
BACKLOG = 1 << 20  # bytes on their way to the host; above it no command's output is read
DRAIN = 1 << 20  # bytes read at most from a pipe whose command has ended; what was written before is less than that
LONG = 100_000  # bytes; the kernel takes 128 KiB in one argument


def take_frames(inbox: bytearray) -> list[tuple[int, int, bytes]]:
    """(kind, number of the request, payload) of the complete frames, which are removed from `inbox`."""
    frames = []
    while len(inbox) >= HEADER.size:
        kind, id, length = HEADER.unpack_from(inbox)
        end = HEADER.size + length
        if len(inbox) < end:
            break
        frames.append((kind, id, bytes(inbox[HEADER.size : end])))
        del inbox[:end]
    return frames


class RunningCommand:
    """A process group, and the pipe that has its output."""

    def __init__(self, id: int, pid: int, pipe: int, deadline: float) -> None:
        self.id, self.pid, self.pipe, self.deadline = id, pid, pipe, deadline
        self.exit_code: int | None = None
        self.ending = self.timed_out = False  # ending: by us, and then it is over only when its whole group is gone
        self.kill_at = 0.0

    def signal(self, number: int) -> bool:
        """Signal the whole group; False when there is none any more."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self.exit_code is not None:
                return False
            os.kill(self.pid, number)  # forked just now, the group comes a moment later
        except PermissionError:
            return False
        return True


class Supervisor:
    """The loop: one socket to the host, any number of commands."""

    def __init__(self, control: socket, seconds: float, *, isolation: bool) -> None:
        self.control, self.isolation = control, isolation
        self.end = time.monotonic() + seconds
        self.commands: dict[int, RunningCommand] = {}  # by process id
        self.survivors: list[int] = []  # pipes that background processes still hold: read, so that these can go on
        self.groups: set[int] = set()  # where nothing else finds background processes again (macOS)
        self.inbox, self.backlog = bytearray(), 0
        self.outbox: list[tuple[bytes, int]] = []
        self.null = os.open(os.devnull, os.O_RDONLY)
        # The device of /proc, where an open file would show or change this process, not the caller's.
        self.proc = os.stat("/proc").st_dev if os.path.exists("/proc") else -1
        self.wakeup, wake = os.pipe()
        for fd in (self.wakeup, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would let `kill -INT 1` end the sandbox
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if not isolation:
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "end", 0.0))

    def serve(self) -> None:
        """Until the host hangs up, or the sandbox's time is over."""
        while (now := time.monotonic()) < self.end:
            ready = self._wait(now)
            if self.control.fileno() in ready and not self._receive():
                return
            if self.wakeup in ready:
                os.read(self.wakeup, CHUNK)
            for command in list(self.commands.values()):
                if command.pipe in ready:
                    self._forward(command)
            for pipe in ready.intersection(self.survivors):
                if _read(pipe) == b"":
                    os.close(pipe)
                    self.survivors.remove(pipe)
            self._reap()
            self._enforce(time.monotonic())
            if not self._flush():
                return

    def _wait(self, now: float) -> set[int]:
        poll = select.poll()
        poll.register(self.control, select.POLLIN | (select.POLLOUT if self.outbox else 0))
        until = self.end
        for command in self.commands.values():
            if self.backlog < BACKLOG and command.pipe >= 0:
                poll.register(command.pipe, select.POLLIN)
            # Nothing tells us when the last of a group is gone: ask often.
            until = min(until, now + 0.02 if command.ending else command.deadline)
        for pipe in (self.wakeup, *self.survivors):
            poll.register(pipe, select.POLLIN)
        return {fd for fd, _ in poll.poll(min(max(until - now, 0), 3600) * 1000 + 1)}

    def _receive(self) -> bool:
        try:
            data = self.control.recv(1 << 20)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.inbox += data
        for kind, id, payload in take_frames(self.inbox):
            if kind == RUN:
                self._run(id, *marshal.loads(payload))  # noqa: S302 (the host is trusted; nothing comes back this way)
            elif kind == CANCEL:
                self._cancel(id)
            elif kind == CONFINE:
                self._send(READY, 0, _confine(*marshal.loads(payload)))  # noqa: S302 (likewise)
            else:
                self._open(id, payload, writing=kind == WRITE)
        return bool(data)

    def _send(self, kind: int, id: int, payload: bytes = b"", file: int = -1) -> None:
        frame = HEADER.pack(kind, id, len(payload)) + payload
        self.outbox.append((frame, file))
        self.backlog += len(frame)

    def _flush(self) -> bool:
        while self.outbox:
            data, file = self.outbox[0]
            rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", file))] if file >= 0 else []
            try:
                size = self.control.sendmsg([data], rights)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if file >= 0:
                os.close(file)
            self.backlog -= size
            if size < len(data):
                self.outbox[0] = (data[size:], -1)
            else:
                del self.outbox[0]
        return True

    def _run(self, id: int, seconds: float, cwd: bytes, env: dict[bytes, bytes], command: bytes, login: bool) -> None:
        files: list[int] = []
        try:
            os.chdir(cwd)  # as the command will
            os.chdir("/")
        except OSError as error:
            self._send(ERROR, id, ERRNO.pack(error.errno or 0))
            return
        try:
            files += os.pipe()
            if len(command) > LONG or b"\0" in command:
                files.append(_in_memory(command))
            pid = os.fork()
        except OSError as error:  # too many processes or files in here: the command's trouble, not the sandbox's end
            self._send(OUTPUT, id, f"cannot start the command: {error.strerror}\n".encode())
            self._send(EXIT, id, RESULT.pack(126, False))
        else:
            if pid == 0:
                self._become(self._shell(login), command, files[1:], cwd, env)
            pipe = files.pop(0)
            os.set_blocking(pipe, False)
            self.commands[pid] = RunningCommand(id, pid, pipe, time.monotonic() + seconds)
            if sys.platform != "linux":
                self.groups.add(pid)
        for file in files:
            os.close(file)

    def _shell(self, login: bool) -> list[bytes]:
        if not login:
            has_copy = self.isolation and os.access(UNREADABLE_SHELL, os.X_OK)
            return [UNREADABLE_SHELL if has_copy else b"/bin/bash", b"--noprofile", b"--norc", b"-c"]
        if not self.isolation:
            return [b"/bin/bash", b"--noprofile", b"-l", b"-c"]  # the host's profile may set private things
        return [b"/bin/bash", b"-l", b"-c"]

    def _become(
        self, shell: list[bytes], command: bytes, files: list[int], cwd: bytes, env: dict[bytes, bytes]
    ) -> None:
        """In the child: turn into the command, with its output and maybe its script in `files`. Never returns."""
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGTERM):  # those that we changed
                signal.signal(number, signal.SIG_DFL)
            for source, target in ((self.null, 0), (files[0], 1), (files[0], 2)):
                os.dup2(source, target)
            os.chdir(cwd)
            for script in files[1:]:
                os.set_inheritable(script, True)
                command = b". /dev/fd/%d" % script
            os.execve(shell[0], [b"bash", *shell[1:], command], env)  # noqa: S606 (a shell it is)
        except (OSError, ValueError) as error:
            os.write(2, f"cannot start the command: {getattr(error, 'strerror', error)}\n".encode())
        finally:
            os._exit(126)

    def _cancel(self, id: int) -> None:
        for command in self.commands.values():
            if command.id == id:
                command.ending, command.kill_at = True, time.monotonic()

    def _forward(self, command: RunningCommand) -> int:
        """Pass a piece of output on; the number of bytes."""
        data = _read(command.pipe)
        if data:
            self._send(OUTPUT, command.id, data)
        elif data is not None:
            os.close(command.pipe)
            command.pipe = -1
        return len(data or b"")

    def _reap(self) -> None:
        for pid, status in _ended_children():
            if command := self.commands.get(pid):
                code = os.waitstatus_to_exitcode(status)
                command.exit_code = code if code >= 0 else 128 - code

    def _enforce(self, now: float) -> None:
        for command in list(self.commands.values()):
            if command.exit_code is None and now >= command.deadline and not command.ending:
                command.timed_out = command.ending = True
                command.kill_at = now + GRACE
                command.signal(signal.SIGTERM)
            if command.ending and now >= command.kill_at:
                command.signal(signal.SIGKILL)
            has_processes = command.ending and command.signal(0) and now < command.kill_at + 2
            if command.exit_code is not None and not has_processes:
                self._finish(command)

    def _finish(self, command: RunningCommand) -> None:
        rest = DRAIN
        while command.pipe >= 0 and rest > 0 and (size := self._forward(command)):
            rest -= size
        if command.pipe >= 0:
            self.survivors.append(command.pipe)
        code = 124 if command.timed_out else command.exit_code
        self._send(EXIT, command.id, RESULT.pack(code, command.timed_out))
        del self.commands[command.pid]
        if command.pid in self.groups and not command.signal(0):
            self.groups.remove(command.pid)

    def _open(self, id: int, path: bytes, *, writing: bool) -> None:
        try:
            file = _open_for_writing(path) if writing else os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_dev == self.proc:
                os.close(file)
                raise OSError(errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EACCES, "")
            if writing:
                os.ftruncate(file, 0)
        except OSError as error:
            self._send(ERROR, id, ERRNO.pack(error.errno or 0))
        else:
            self._send(FILE, id, file=file)


def _open_for_writing(path: bytes) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, flags, 0o644)
    except PermissionError:
        if not os.path.exists(path):
            raise
        mode = stat.S_IMODE(os.stat(path).st_mode)
        os.chmod(path, mode | stat.S_IWUSR)  # a read-only file of ours is to be replaced like any other
        try:
            return os.open(path, flags, 0o644)
        finally:
            os.chmod(path, mode)


def _in_memory(command: bytes) -> int:
    """An open, nameless file that closes itself in the shell that reads it."""
    if sys.platform == "linux":
        file = os.memfd_create("command")
    else:
        name = f"/tmp/flue-ci-command-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108 (exclusive, and nameless at once)
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(name)
    with open(file, "wb", closefd=False) as stream:
        stream.write(b"exec %d<&-; " % file + command + b"\n")
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _read(pipe: int) -> bytes | None:
    """What can be read now; None: nothing; empty: no process holds the other end any more."""
    try:
        return os.read(pipe, CHUNK)
    except BlockingIOError:
        return None


def _isolate_process(*, isolation: bool) -> None:
    """Keep commands, which have the same user id, out of this process; and everything inside out of the host."""
    import ctypes

    libc, number = ctypes.CDLL(None, use_errno=True), ctypes.c_ulong
    set_dumpable, set_child_subreaper = 4, 36
    if libc.prctl(set_dumpable, number(0), number(0), number(0), number(0)):
        raise OSError(ctypes.get_errno(), "prctl")
    if not isolation:
        libc.prctl(set_child_subreaper, number(1), number(0), number(0), number(0))
        return
    keyctl, join_session_keyring = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine), 1
    if keyctl:
        libc.syscall(number(keyctl), number(join_session_keyring), None)  # the host's keys stay with the host
    # Abstract Unix sockets (X11, D-Bus) belong to the network namespace, which is the host's while the network is open.
    # Landlock closes them from Linux 6.12 on; an older kernel answers with an error, and there is no other means.
    create_ruleset, restrict_self, scope_abstract_sockets = 444, 446, 1
    rules = struct.pack("<QQQ", 0, 0, scope_abstract_sockets)
    ruleset = libc.syscall(number(create_ruleset), rules, number(len(rules)), number(0))
    if ruleset >= 0:
        libc.syscall(number(restrict_self), number(ruleset), number(0))
        os.close(ruleset)


def _confine(limits: dict[int, int], filter: bytes) -> bytes:
    """Bound this process and all that it starts, by resource, and keep them from some system calls. What failed."""
    import resource

    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    if filter:
        import ctypes

        set_seccomp, by_filter, number = 22, 2, ctypes.c_ulong
        libc, program = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(filter)
        header = struct.pack("@HP", len(filter) // 8, ctypes.addressof(program))
        if libc.prctl(set_seccomp, number(by_filter), header, number(0), number(0)):
            return f"the kernel takes no filter of system calls: {os.strerror(ctypes.get_errno())}".encode()
    return b""


def _end_descendants(groups: set[int]) -> bool:
    """Without a PID namespace: end everything that was started from here, in whatever session; whether nothing is left.

    On Linux orphans become children of this process, so that nothing is left when it has no child.
    """
    end = time.monotonic() + END_SECONDS
    while time.monotonic() < end:
        for target in [*(-group for group in groups), *_own_children()]:
            try:
                os.kill(target, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return sys.platform == "linux"
    return False


def _own_children() -> list[int]:
    """Read from one file where the kernel has it: fast enough to catch a program that forks and ends all the time."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return child_processes().get(os.getpid(), [])


def _ended_children() -> list[tuple[int, int]]:
    """(pid, wait status) of those that have ended since the last call."""
    children = []
    try:
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            children.append(child)
    except ChildProcessError:
        pass  # there are none at all
    return children


def child_processes() -> dict[int, list[int]]:
    """The children of every process, by process id. Empty on a system without /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else []:
        try:
            with open(f"/proc/{int(name)}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError):
            continue  # ended meanwhile, or not a process
        children.setdefault(parent, []).append(int(name))
    return children


def main() -> None:
    """Arguments: `isolated` or `plain`, and how many seconds the sandbox may live."""
    isolation = sys.argv[1] == "isolated"
    if sys.platform == "linux":
        _isolate_process(isolation=isolation)
    os.umask(0o022)
    control = socket(fileno=os.dup(0))
    control.setblocking(False)
    supervisor = Supervisor(control, float(sys.argv[2]), isolation=isolation)
    os.dup2(supervisor.null, 0)
    supervisor.serve()
    if isolation or _end_descendants(supervisor.groups):
        os._exit(0)
    os._exit(NOT_QUIET)


if __name__ == "__main__":
    main()

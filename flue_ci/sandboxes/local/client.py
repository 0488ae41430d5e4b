"""The host's end of a supervisor: starts it, sends it requests, and hands its answers to whoever waits for them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.sandboxes.local import bubblewrap as jail
from flue_ci.sandboxes.local import state as leftovers
from flue_ci.sandboxes.local import supervisor

_START_SECONDS = 20.0
_LATE_SECONDS = 25.0  # after a command's deadline the supervisor needs five to kill it; then something is wrong with it


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorCommand:
    """What the supervisor is asked to run: `cwd` absolute, `env` all that the command sees, `seconds` its deadline."""

    text: str
    cwd: str
    env: Mapping[str, str]
    seconds: float


@dataclass(slots=True, kw_only=True)
class PendingRequest:
    future: asyncio.Future[bytes | int]  # what EXIT carried, or the open file of FILE
    on_output: Callable[[bytes], None] | None = None


class SupervisorClient:
    """One supervisor with everything that it started."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, log: IO[bytes]) -> None:
        self.process = process
        self._control = control
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, PendingRequest] = {0: PendingRequest(future=self._loop.create_future())}
        self._last = 0
        self._inbox = bytearray()
        self._files: list[int] = []
        self._outbox = bytearray()
        self._up = True
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._readable)

    @classmethod
    async def start(cls, view: jail.MountView, seconds: float, *, isolated: bool) -> SupervisorClient:
        """Inside of `view`, or beside it without isolation; it ends itself after `seconds`. Raises `SandboxError`."""
        ours, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the supervisor)
        try:
            with theirs:
                new = cls(_start(view, seconds, theirs, log, isolated=isolated), ours, log)
        except BaseException:
            ours.close()
            log.close()
            raise
        try:
            async with asyncio.timeout(_START_SECONDS):
                await new._waiting[0].future
        except BaseException as error:
            said = new._said()
            new.disconnect()
            new.wait()
            if isinstance(error, SandboxLost | TimeoutError):
                what, hint = jail.explain(said) if isolated else (f"the supervisor did not start: {said[-300:]}", "")
                raise SandboxError(what, hint=hint) from error
            raise
        del new._waiting[0]
        return new

    async def run(self, command: SupervisorCommand, on_output: Callable[[bytes], None]) -> tuple[int, bool]:
        """(exit code, timed out). Raises `SandboxLost`, `FileNotFoundError` and `PermissionError` for the directory."""
        cwd, text = _encoded(command.cwd), _encoded(command.text)
        env = b"\0".join(_encoded(f"{name}={value}") for name, value in command.env.items())
        payload = supervisor.COMMAND.pack(command.seconds, len(cwd), len(env)) + cwd + env + text
        try:
            async with asyncio.timeout(command.seconds + _LATE_SECONDS):
                answer = await self._ask(supervisor.RUN, payload, command.cwd, on_output)
        except TimeoutError:
            raise SandboxLost("the local sandbox does not answer any more") from None
        assert isinstance(answer, bytes)
        code, timed_out = supervisor.ENDED.unpack(answer)
        return code, timed_out

    async def open(self, path: str, *, writing: bool) -> int:
        """A descriptor of the regular file, resolved inside; the caller closes it. Written files are made empty."""
        try:
            async with asyncio.timeout(_LATE_SECONDS):
                answer = await self._ask(supervisor.WRITE if writing else supervisor.READ, _encoded(path), path, None)
        except TimeoutError:
            raise SandboxLost("the local sandbox does not answer any more") from None
        assert isinstance(answer, int)
        return answer

    async def _ask(
        self, kind: int, payload: bytes, path: str, on_output: Callable[[bytes], None] | None
    ) -> bytes | int:
        if not self._up:
            raise self._loss()
        self._last += 1
        id = self._last
        waiting = self._waiting[id] = PendingRequest(future=self._loop.create_future(), on_output=on_output)
        self._send(kind, id, payload)
        try:
            return await waiting.future
        except _Failed as error:
            raise file_error(error.number, path) from None
        except BaseException:
            self._withdraw(id, waiting.future)
            raise
        finally:
            del self._waiting[id]

    def _withdraw(self, id: int, future: asyncio.Future[bytes | int]) -> None:
        if not future.done() or future.cancelled() or future.exception():
            self._send(supervisor.CANCEL, id, b"")
        elif isinstance(file := future.result(), int):
            os.close(file)  # came at the moment of the cancellation

    def _send(self, kind: int, id: int, payload: bytes) -> None:
        if self._up:
            self._outbox += supervisor.HEADER.pack(kind, id, len(payload)) + payload
            self._writable()

    def _writable(self) -> None:
        try:
            sent = self._control.send(self._outbox)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.disconnect()
            return
        del self._outbox[:sent]
        if self._outbox:
            self._loop.add_writer(self._control.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._control.fileno())

    def _readable(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._control, 1 << 18, 16, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        self._files += files
        if not data:
            self.disconnect()
            return
        self._inbox += data
        start, header = 0, supervisor.HEADER.size
        while len(self._inbox) - start >= header:
            kind, id, length = supervisor.HEADER.unpack_from(self._inbox, start)
            if len(self._inbox) - start < header + length:
                break
            self._answered(kind, id, bytes(self._inbox[start + header : start + header + length]))
            start += header + length
        del self._inbox[:start]

    def _answered(self, kind: int, id: int, payload: bytes) -> None:
        file = self._files.pop(0) if kind == supervisor.FILE else -1
        waiting = self._waiting.get(id)
        if waiting is None or waiting.future.done():
            if file >= 0:
                os.close(file)  # nobody waits for it any more
        elif kind == supervisor.OUTPUT:
            try:
                if waiting.on_output:
                    waiting.on_output(payload)
            except Exception as error:  # noqa: BLE001 (a failure of the listener is the caller's)
                waiting.future.set_exception(error)
        elif kind == supervisor.FAILED:
            waiting.future.set_exception(_Failed(supervisor.CODE.unpack(payload)[0]))
        else:
            waiting.future.set_result(file if kind == supervisor.FILE else payload)

    def disconnect(self) -> None:
        """The loop's part of ending: the supervisor ends itself and all inside; whoever waits gets `SandboxLost`."""
        if not self._up:
            return
        loss = self._loss()
        self._up = False
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        for file in self._files:
            os.close(file)
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(loss)

    def wait(self) -> None:
        """The part that blocks, at most about four seconds: until all processes are gone."""
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            leftovers.kill_tree(self.process.pid)
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                pass  # the kernel does not let go of it
        self._log.close()

    def _said(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        return self._log.read(10_000).decode(errors="replace").strip()

    def _loss(self) -> SandboxLost:
        said = self._said()
        return SandboxLost(f"the local sandbox is gone{': ' + said.splitlines()[-1] if said else ''}")


class _Failed(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _encoded(text: str) -> bytes:
    """UTF-8 also for what is none: names from the system as they were, other stray surrogates as question marks."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def file_error(number: int, path: str) -> OSError:
    """One of the three exceptions of the sandbox contract for an errno."""
    import errno

    absent = {errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}
    if number in absent:
        return FileNotFoundError(errno.ENOENT, os.strerror(number), path)
    if number == errno.EISDIR:
        return IsADirectoryError(number, os.strerror(number), path)
    return PermissionError(errno.EACCES, os.strerror(number), path)


def _start(
    view: jail.MountView, seconds: float, control: socket.socket, log: IO[bytes], *, isolated: bool
) -> subprocess.Popen[bytes]:
    python, life = [jail.interpreter(), "-I", "-S"], str(max(seconds, 0.0))
    if isolated:
        return jail.start_jailed(view, [*python, jail.SUPERVISOR, "isolated", life], stdin=control.fileno(), stderr=log)
    program = [*python, str(view.private / "supervisor"), "plain", life]
    return subprocess.Popen(
        program, stdin=control.fileno(), stdout=subprocess.DEVNULL, stderr=log, env={}, cwd="/", start_new_session=True
    )

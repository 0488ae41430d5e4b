"""The host's end of a supervisor: starts it, sends it requests, and hands its answers to the callers."""

from __future__ import annotations

import asyncio
import errno
import marshal
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from typing import IO

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.sandboxes.local import bounds, bubblewrap, seccomp, state, supervisor
from flue_ci.sandboxes.output import CommandOutput

_START_SECONDS = 20.0
_LATE_SECONDS = 25.0  # after a command's deadline the supervisor needs five to kill it; then something is wrong with it


@dataclass(slots=True, kw_only=True)
class PendingRequest:
    """A request without an answer so far. `path` is what its errors name."""

    future: asyncio.Future[bytes | int]  # the payload of EXIT, or the open file of FILE
    path: str = ""
    output: CommandOutput | None = None


class SupervisorClient:
    """One supervisor with everything that it started."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, log: IO[bytes]) -> None:
        self.process, self._control, self._log = process, control, log
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, PendingRequest] = {0: PendingRequest(future=self._loop.create_future())}
        self._last_id = 0
        self._inbox, self._outbox = bytearray(), bytearray()
        self._files: list[int] = []
        self._is_connected = True
        self.gap = ""  # what this kernel does not let it do for our protection
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._on_readable)

    @classmethod
    async def start(cls, view: bubblewrap.MountView, seconds: float, *, isolation: bool) -> SupervisorClient:
        """Inside of `view`, or beside it without isolation; it ends itself after `seconds`. Raises `SandboxError`."""
        control, remote_control = socket.socketpair()
        with ExitStack() as cleanup, remote_control:
            cleanup.callback(control.close)
            log = cleanup.enter_context(tempfile.TemporaryFile())
            process = bubblewrap.start_supervisor(view, seconds, remote_control.fileno(), log, isolation=isolation)
            client = cls(process, control, log)
            cleanup.pop_all()
        program = seccomp.filter_program() if isolation else b""
        client._send(supervisor.CONFINE, 0, marshal.dumps((bounds.resource_limits(), program)))
        async with AsyncExitStack() as closing:
            closing.push_async_callback(client.close)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    client.gap = await client._greeting()
            except (SandboxLost, TimeoutError) as error:
                text = client._log_text()
                if isolation:
                    raise bubblewrap.start_error(text) from error
                raise SandboxError(f"the supervisor did not start: {text[-300:]}") from error
            closing.pop_all()
        return client

    async def _greeting(self) -> str:
        """What it says when it is ready. Raises `SandboxLost`."""
        future = self._requests[0].future
        while not (await asyncio.wait([future], timeout=0.2))[0]:
            if self.process.poll() is not None:  # and a child that waits for it forever holds the socket
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                raise self._loss_error()
        text = future.result()
        assert isinstance(text, bytes)
        return text.decode()

    async def run(
        self, command: str, cwd: str, env: Mapping[str, str], timeout: float, output: CommandOutput, *, login: bool
    ) -> tuple[int, bool]:
        """(exit code, timed out). `cwd` is absolute, `env` all that the command sees, `timeout` in seconds.

        Raises `SandboxLost`, and `FileNotFoundError` and `PermissionError` for `cwd`.
        """
        variables = {_encode(name): _encode(value) for name, value in env.items()}
        payload = marshal.dumps((timeout, _encode(cwd), variables, _encode(command), login))
        result = await self._request(supervisor.RUN, payload, cwd, seconds=timeout, output=output)
        assert isinstance(result, bytes)
        exit_code, timed_out = supervisor.RESULT.unpack(result)
        return exit_code, timed_out

    async def open(self, path: str, *, writing: bool) -> int:
        """A descriptor of the regular file, resolved inside; the caller closes it. Written files are made empty."""
        file = await self._request(supervisor.WRITE if writing else supervisor.READ, _encode(path), path)
        assert isinstance(file, int)
        return file

    async def _request(
        self, kind: int, payload: bytes, path: str, *, seconds: float = 0.0, output: CommandOutput | None = None
    ) -> bytes | int:
        """The answer to a request that may take `seconds`."""
        if not self._is_connected:
            raise self._loss_error()
        self._last_id += 1
        id = self._last_id
        future: asyncio.Future[bytes | int] = self._loop.create_future()
        self._requests[id] = PendingRequest(future=future, path=path, output=output)
        self._send(kind, id, payload)
        try:
            async with asyncio.timeout(seconds + _LATE_SECONDS):
                return await future
        except (TimeoutError, asyncio.CancelledError) as error:
            if not future.done() or future.cancelled() or future.exception():
                self._send(supervisor.CANCEL, id, b"")
            elif isinstance(file := future.result(), int):
                os.close(file)  # came at the moment of the cancellation
            if isinstance(error, TimeoutError):
                raise SandboxLost("the local sandbox does not answer any more") from None
            raise
        finally:
            del self._requests[id]

    def _send(self, kind: int, id: int, payload: bytes) -> None:
        if self._is_connected:
            self._outbox += supervisor.HEADER.pack(kind, id, len(payload)) + payload
            self._on_writable()

    def _on_writable(self) -> None:
        try:
            size = self._control.send(self._outbox)
        except BlockingIOError:
            size = 0
        except OSError:
            self._disconnect()
            return
        del self._outbox[:size]
        if self._outbox:
            self._loop.add_writer(self._control.fileno(), self._on_writable)
        else:
            self._loop.remove_writer(self._control.fileno())

    def _on_readable(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._control, 1 << 18, 16, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        self._files += files
        if not data:
            self._disconnect()
            return
        self._inbox += data
        for frame in supervisor.take_frames(self._inbox):
            self._on_frame(*frame)

    def _on_frame(self, kind: int, id: int, payload: bytes) -> None:
        result = self._files.pop(0) if kind == supervisor.FILE else payload
        request = self._requests.get(id)
        if request is None or request.future.done():
            if isinstance(result, int):
                os.close(result)  # the request was withdrawn
        elif kind == supervisor.OUTPUT:
            if request.output is None:
                return
            request.output.add(payload)
            if request.output.error:
                request.future.set_exception(request.output.error)
                self._send(supervisor.CANCEL, id, b"")
        elif kind == supervisor.ERROR:
            request.future.set_exception(file_error(supervisor.ERRNO.unpack(payload)[0], request.path))
        else:
            request.future.set_result(result)

    async def close(self) -> bool:
        """Ends the supervisor and all inside, within about four seconds. Callers get `SandboxLost`.

        Whether nothing is left for certain: a PID namespace ends with its first process, a supervisor without one says
        it by its exit code. One that was killed said nothing.
        """
        self._disconnect()
        await finish(asyncio.to_thread(self._wait))
        return self.process.returncode == 0

    def _disconnect(self) -> None:
        """After that the supervisor ends itself and all inside."""
        if not self._is_connected:
            return
        error = self._loss_error()
        self._is_connected = False
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        for file in self._files:
            os.close(file)
        for request in self._requests.values():
            if not request.future.done():
                request.future.set_exception(error)

    def _wait(self) -> None:
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            state.kill_tree(self.process.pid)
            with suppress(subprocess.TimeoutExpired):  # the kernel does not let go of it
                self.process.wait(2)
        self._log.close()

    def _log_text(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        return self._log.read(10_000).decode(errors="replace").strip()

    def _loss_error(self) -> SandboxLost:
        last_lines = self._log_text().splitlines()[-1:]
        return SandboxLost(": ".join(["the local sandbox is gone", *last_lines]))


def _encode(text: str) -> bytes:
    """UTF-8 also for text that has none: names from the system as they were, other surrogates as question marks."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def file_error(number: int, path: str) -> OSError:
    """One of the three exceptions of the sandbox contract for an errno."""
    if number in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG):
        return FileNotFoundError(errno.ENOENT, os.strerror(number), path)
    if number == errno.EISDIR:
        return IsADirectoryError(number, os.strerror(number), path)
    return PermissionError(number, os.strerror(number), path)

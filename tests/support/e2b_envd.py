"""What E2B runs inside a sandbox, for the test server: processes and files, over the SDK's own server classes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import stat
import subprocess
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b.envd.filesystem import filesystem_connect, filesystem_pb
from e2b.envd.process import process_connect, process_pb
from protobuf import Oneof
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.support.e2b_machine import Machine, entry_of

if TYPE_CHECKING:
    from tests.support.e2b_control import Sandbox
    from tests.support.e2b_server import E2BServer

_CHUNK = 4_608  # what comes out of a pipe at once, on an average
_END_KEPT = 30.0  # seconds for which the end of a process can still be asked for


class Process:
    """A running command: its output goes to whoever listens, its end is kept for a while."""

    def __init__(self, machine: Machine, popen: subprocess.Popen[bytes], config: process_pb.ProcessConfig) -> None:
        self.machine, self.popen, self.config, self.pid = machine, popen, config, machine.number(popen.pid)
        self.end: process_pb.ProcessEvent.EndEvent | None = None
        self.data_sent = 0
        self._listeners: list[asyncio.Queue[Any]] = []
        self._exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(popen.pid)
        loop.add_reader(self._pidfd, self._note_exit)
        self._task = loop.create_task(self._run())

    def _note_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._exited.set()

    async def _run(self) -> None:
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        # As in envd, the end is told when the process has exited and nobody holds its output any more; until then the
        # process is a zombie.
        await asyncio.gather(self._pump("stdout", self.popen.stdout), self._pump("stderr", self.popen.stderr))
        await self._exited.wait()
        code = self.popen.wait()
        if code < 0:
            name = signal.Signals(-code).name.removeprefix("SIG").lower()
            name = {"kill": "killed", "term": "terminated"}.get(name, name)
            self.end = process_pb.ProcessEvent.EndEvent(
                exit_code=-1, exited=False, status=f"signal: {name}", error=f"signal: {name}"
            )
        else:
            error = f"exit status {code}" if code else None
            self.end = process_pb.ProcessEvent.EndEvent(
                exit_code=code, exited=True, status=f"exit status {code}", error=error
            )
        for listener in self._listeners:
            await listener.put(Oneof("end", self.end))

    async def _pump(self, field: Any, pipe: Any) -> None:
        reader = asyncio.StreamReader(limit=_CHUNK)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while chunk := await reader.read(_CHUNK):
                event = Oneof("data", process_pb.ProcessEvent.DataEvent(output=Oneof(field, chunk)))
                for listener in list(self._listeners):
                    await listener.put(event)
        finally:
            transport.close()

    def listen(self) -> asyncio.Queue[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=64)
        if self.end is not None:
            queue.put_nowait(Oneof("end", self.end))
        self._listeners.append(queue)
        return queue

    def unlisten(self, queue: asyncio.Queue[Any]) -> None:
        self._listeners.remove(queue)
        while not queue.empty():  # frees a pump that waits for room
            queue.get_nowait()

    def stop(self) -> None:
        self._task.cancel()  # which closes the pipes that it reads
        if self.popen.stdin is not None:
            with suppress(OSError):
                self.popen.stdin.close()


class ProcessService(process_connect.Process):
    """`process.Process` of envd, as far as commands need it."""

    def __init__(self, server: E2BServer) -> None:
        self._server = server

    async def start(self, request: process_pb.StartRequest, ctx: Any, /) -> AsyncIterator[process_pb.StartResponse]:
        sandbox, user = self._server.addressed(ctx.request_headers)
        config = request.process or process_pb.ProcessConfig()
        with _as_rpc_errors():
            # Without one it is the template's, for root as well.
            cwd = sandbox.machine.resolve(config.cwd or "", user if config.cwd else sandbox.machine.options.user)
        exists = await sandbox.machine.inside(os.path.exists, cwd)
        if not exists:
            raise ConnectError(Code.INVALID_ARGUMENT, f"cwd '{cwd}' does not exist")
        environment = {**sandbox.env, **dict(config.envs)}
        stdin = request.stdin if request.has_field("stdin") else True
        try:
            popen = await sandbox.machine.inside(
                sandbox.machine.spawn, [config.cmd, *config.args], cwd, environment, user, stdin
            )
        except OSError as error:
            raise ConnectError(Code.INVALID_ARGUMENT, f"error starting process: {error}") from None
        process = Process(sandbox.machine, popen, config)
        sandbox.processes[process.pid] = process
        async for event in self._events(sandbox, process, ctx):
            yield process_pb.StartResponse(event=process_pb.ProcessEvent(event=event))

    async def connect(
        self, request: process_pb.ConnectRequest, ctx: Any, /
    ) -> AsyncIterator[process_pb.ConnectResponse]:
        sandbox, _ = self._server.addressed(ctx.request_headers)
        async for event in self._events(sandbox, self._find(sandbox, request.process), ctx):
            yield process_pb.ConnectResponse(event=process_pb.ProcessEvent(event=event))

    async def _events(self, sandbox: Sandbox, process: Process, ctx: Any) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        fault = self._server.fault_of(ctx.request_headers)
        milliseconds = ctx.request_headers.get("connect-timeout-ms")
        deadline = loop.time() + int(milliseconds) / 1000 if milliseconds else float("inf")
        keepalive = float(ctx.request_headers.get("keepalive-ping-interval") or 50)
        queue = process.listen()
        try:
            yield Oneof("start", process_pb.ProcessEvent.StartEvent(pid=process.pid))
            if fault and fault.mute:  # as behind a router that forgot the connection
                await asyncio.wait_for(sandbox.machine.gone.wait(), 60)
                return
            while True:
                event = await _first(queue, sandbox.machine.gone, min(keepalive, deadline - loop.time()))
                if sandbox.machine.gone.is_set():
                    raise ConnectError(
                        Code.UNAVAILABLE, "the connection to the sandbox ended before the stream completed"
                    )
                if event is None and loop.time() >= deadline:
                    if process.end is None:
                        process.popen.kill()
                    raise ConnectError(Code.DEADLINE_EXCEEDED, "context deadline exceeded")
                if event is None:
                    yield Oneof("keepalive", process_pb.ProcessEvent.KeepAlive())
                    continue
                if event.field == "end":
                    loop.call_later(_END_KEPT, sandbox.processes.pop, process.pid, None)
                    if fault and fault.end_code is not None:
                        end = process_pb.ProcessEvent.EndEvent(exit_code=fault.end_code, exited=True)
                        event = Oneof("end", end)
                    if not (fault and fault.no_end):
                        yield event
                    return
                yield event
        finally:
            process.unlisten(queue)

    @staticmethod
    def _find(sandbox: Sandbox, selector: process_pb.ProcessSelector | None) -> Process:
        which = selector.selector if selector is not None else None
        process = sandbox.processes.get(which.value) if which is not None and which.field == "pid" else None
        if process is None:
            raise ConnectError(Code.NOT_FOUND, f"process with pid {which.value if which else None} not found")
        return process

    async def list(self, request: process_pb.ListRequest, ctx: Any, /) -> process_pb.ListResponse:
        sandbox, _ = self._server.addressed(ctx.request_headers)
        alive = [process for process in sandbox.processes.values() if process.end is None]
        return process_pb.ListResponse(
            processes=[process_pb.ProcessInfo(config=process.config, pid=process.pid) for process in alive]
        )

    async def send_signal(self, request: process_pb.SendSignalRequest, ctx: Any, /) -> process_pb.SendSignalResponse:
        sandbox, _ = self._server.addressed(ctx.request_headers)
        process = self._find(sandbox, request.process)
        if process.end is not None:
            raise ConnectError(Code.NOT_FOUND, f"process with pid {process.pid} not found")
        process.popen.send_signal(signal.SIGKILL if request.signal == process_pb.Signal.SIGKILL else signal.SIGTERM)
        return process_pb.SendSignalResponse()

    async def send_input(self, request: process_pb.SendInputRequest, ctx: Any, /) -> process_pb.SendInputResponse:
        sandbox, _ = self._server.addressed(ctx.request_headers)
        pipe = self._find(sandbox, request.process).popen.stdin
        if pipe is None or pipe.closed:
            raise ConnectError(Code.FAILED_PRECONDITION, "stdin not enabled or closed")
        which = request.input.input if request.input is not None else None
        with _as_rpc_errors():
            await asyncio.to_thread(pipe.write, which.value if which is not None else b"")
        return process_pb.SendInputResponse()

    async def close_stdin(self, request: process_pb.CloseStdinRequest, ctx: Any, /) -> process_pb.CloseStdinResponse:
        sandbox, _ = self._server.addressed(ctx.request_headers)
        if (pipe := self._find(sandbox, request.process).popen.stdin) is not None:
            pipe.close()
        return process_pb.CloseStdinResponse()


async def _first(queue: asyncio.Queue[Any], gone: asyncio.Event, timeout: float) -> Any:
    """The next event; None when time is up or the sandbox is gone."""
    if not queue.empty():
        return queue.get_nowait()
    waits = [asyncio.ensure_future(queue.get()), asyncio.ensure_future(gone.wait())]
    try:
        await asyncio.wait(waits, timeout=max(timeout, 0), return_when=asyncio.FIRST_COMPLETED)
        return waits[0].result() if waits[0].done() else None
    finally:
        for wait in waits:
            wait.cancel()


class FilesystemService(filesystem_connect.Filesystem):
    """`filesystem.Filesystem` of envd, as far as it can be asked without watching."""

    def __init__(self, server: E2BServer) -> None:
        self._server = server

    async def _at(self, ctx: Any, path: str, work: Callable[..., Any]) -> Any:
        sandbox, user = self._server.addressed(ctx.request_headers)
        with _as_rpc_errors():
            return await sandbox.machine.inside(work, sandbox.machine.resolve(path, user))

    async def stat(self, request: filesystem_pb.StatRequest, ctx: Any, /) -> filesystem_pb.StatResponse:
        return filesystem_pb.StatResponse(entry=_entry(await self._at(ctx, request.path, entry_of)))

    async def list_dir(self, request: filesystem_pb.ListDirRequest, ctx: Any, /) -> filesystem_pb.ListDirResponse:
        def entries(path: str) -> list[dict[str, Any]]:
            return [entry_of(str(entry)) for entry in sorted(Path(path).iterdir())]

        found = await self._at(ctx, request.path, entries)
        return filesystem_pb.ListDirResponse(entries=[_entry(entry) for entry in found])

    async def make_dir(self, request: filesystem_pb.MakeDirRequest, ctx: Any, /) -> filesystem_pb.MakeDirResponse:
        sandbox, user = self._server.addressed(ctx.request_headers)

        def make(path: str) -> dict[str, Any]:
            if Path(path).is_dir():
                raise ConnectError(Code.ALREADY_EXISTS, f"directory already exists: {path}")
            os.close(sandbox.machine.open_for_writing(f"{path}/.made", user))
            Path(path, ".made").unlink()
            return entry_of(path)

        return filesystem_pb.MakeDirResponse(entry=_entry(await self._at(ctx, request.path, make)))

    async def remove(self, request: filesystem_pb.RemoveRequest, ctx: Any, /) -> filesystem_pb.RemoveResponse:
        await self._at(ctx, request.path, lambda path: subprocess.run(["rm", "-rf", "--", path], check=False))
        return filesystem_pb.RemoveResponse()


def _entry(entry: dict[str, Any]) -> filesystem_pb.EntryInfo:
    return filesystem_pb.EntryInfo.from_json(json.dumps(entry))


class _as_rpc_errors:
    """Anything else that leaves a handler makes the server library drop the connection."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConnectionError):
            raise ConnectError(Code.UNAVAILABLE, "the connection to the sandbox ended") from None
        if isinstance(error, FileNotFoundError):
            raise ConnectError(Code.NOT_FOUND, f"file not found: {error}") from None
        if isinstance(error, ValueError):
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
        if isinstance(error, OSError):
            raise ConnectError(Code.INTERNAL, f"error statting file: {error}") from None


async def download(sandbox: Sandbox, user: str, request: Request) -> Response:
    """GET /files"""
    asked = request.query_params.get("path", "")
    machine = sandbox.machine
    try:
        path = machine.resolve(asked, user)
        info = await machine.inside(os.stat, path)
    except FileNotFoundError:
        return _failure(404, f"path '{asked}' does not exist")
    except ValueError as error:
        return _failure(400, f"error expanding and resolving path '{asked}': {error}")
    except OSError as error:
        return _failure(500, f"error checking if path exists '{asked}': {error.strerror}")
    if stat.S_ISDIR(info.st_mode):
        return _failure(400, f"path '{path}' is a directory")
    if stat.S_ISFIFO(info.st_mode):  # opening it would wait for a writer
        await machine.gone.wait()
        return not_found(sandbox.id)
    try:
        file = await machine.inside(Path(path).open, "rb")
    except OSError as error:
        return _failure(500, f"error opening file '{path}': {error.strerror}")
    zipped = "gzip" in request.headers.get("accept-encoding", "")
    headers = (
        {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"} if zipped else {"Content-Length": str(info.st_size)}
    )

    async def body() -> AsyncIterator[bytes]:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        with file:
            while chunk := file.read(256 * 1024):
                if data := packer.compress(chunk) if zipped else chunk:
                    yield data
                await asyncio.sleep(0)
        if zipped:
            yield packer.flush()

    return StreamingResponse(body(), headers=headers, media_type="application/octet-stream")


async def upload(sandbox: Sandbox, user: str, request: Request) -> Response:
    """POST /files, both ways."""
    written = []
    try:
        if request.headers.get("content-type", "").startswith("multipart/"):
            async with request.form(max_part_size=1 << 40) as form:
                for part in form.getlist("file"):
                    assert not isinstance(part, str)
                    path = request.query_params.get("path") or part.filename or ""

                    async def pieces(part: Any = part) -> AsyncIterator[bytes]:
                        while chunk := await part.read(1 << 20):
                            yield chunk

                    written.append(await _store(sandbox, user, path, pieces()))
        else:
            source = request.stream()
            if request.headers.get("content-encoding") == "gzip":
                source = _unzipped(source)  # type: ignore[assignment]
            written.append(await _store(sandbox, user, request.query_params.get("path", ""), source))
    except ConnectionError:
        return not_found(sandbox.id)
    except IsADirectoryError as error:
        return _failure(400, str(error))
    except ValueError as error:
        return _failure(400, f"error resolving path: {error}")
    except FileExistsError as error:
        return _failure(500, f"error ensuring directories: path is a file: {error.filename}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _failure(507, "not enough disk space available")
        return _failure(500, f"error opening file: {error}")
    if sandbox.machine.gone.is_set():
        return not_found(sandbox.id)
    return JSONResponse(written)


async def _store(sandbox: Sandbox, user: str, path: str, pieces: AsyncIterator[bytes]) -> dict[str, str]:
    machine = sandbox.machine
    resolved = machine.resolve(path, user)
    descriptor = await machine.inside(machine.open_for_writing, resolved, user)
    try:
        async for piece in pieces:
            while piece := piece[os.write(descriptor, piece) :]:
                pass
    finally:
        os.close(descriptor)
    return {"path": resolved, "name": Path(resolved).name, "type": "file"}


async def _unzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(31)
    async for piece in pieces:
        yield unpacker.decompress(piece)
    yield unpacker.flush()


def _failure(status: int, message: str) -> JSONResponse:
    return JSONResponse({"code": status, "message": message}, status_code=status)


def not_found(sandbox_id: str) -> JSONResponse:
    """What the edge answers for envd when there is no such sandbox."""
    body = {"sandboxId": sandbox_id, "message": "The sandbox was not found", "code": 502}
    return JSONResponse(body, status_code=502)

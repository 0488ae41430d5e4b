"""An E2B-compatible server on loopback: control plane, envd, real processes, a record of all requests, fault switches.

Use: `with E2BServer() as server:` and point the real SDK at it with `server.env()`. Routes, as `faults` and `requests`
name them: create list get kill timeout network connect, start attach processes signal input close-input stat listdir
mkdir remove, read write health.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
import secrets
import socket
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import uvicorn
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b.envd.client_shared import ENVD_JSON_CODEC
from e2b.envd.filesystem.filesystem_connect import FilesystemASGIApplication
from e2b.envd.process.process_connect import ProcessASGIApplication
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.support.e2b_control import ControlPlane, Recorded, Refused, Sandbox
from tests.support.e2b_envd import FilesystemService, ProcessService, download, not_found, upload
from tests.support.e2b_machine import MachineOptions, processes_of
from tests.support.faults import HOLD_SECONDS, Fault, Faults

_RPC_ROUTES = {
    "/process.Process/Start": "start",
    "/process.Process/Connect": "attach",
    "/process.Process/List": "processes",
    "/process.Process/SendSignal": "signal",
    "/process.Process/SendInput": "input",
    "/process.Process/CloseStdin": "close-input",
    "/filesystem.Filesystem/Stat": "stat",
    "/filesystem.Filesystem/ListDir": "listdir",
    "/filesystem.Filesystem/MakeDir": "mkdir",
    "/filesystem.Filesystem/Remove": "remove",
}
_FAULT_HEADER = b"x-test-fault"


class _Server(uvicorn.Server):
    """Ends when it is told to, where uvicorn looks ten times a second whether it is."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stop.wait()


class E2BServer:
    """See the module. `requests` is everything that was asked, in order; `faults` is what is still to go wrong."""

    def __init__(
        self,
        *,
        templates: tuple[str, ...] = ("base",),
        api_key: str = "",
        max_timeout: int = 3600,
        page: int = 100,
        machine: MachineOptions | None = None,
        has_root: bool = True,
    ) -> None:
        """`max_timeout`: seconds that the plan allows. `page`: items of a list. `has_root`: there is such a user."""
        self.api_key = api_key or f"e2b_{secrets.token_hex(20)}"
        self.faults = Faults()
        self.requests: list[Recorded] = []
        self._directory = tempfile.TemporaryDirectory(prefix="e2b-server-")
        self._control = ControlPlane(
            Path(self._directory.name),
            templates=set(templates),
            max_timeout=max_timeout,
            page=page,
            machine=machine or MachineOptions(),
        )
        self._users = ("user", "root")[: 1 + has_root]
        self._connections: dict[int, asyncio.Transport] = {}
        self._marked: dict[str, Fault] = {}

    # For tests

    @property
    def sandboxes(self) -> dict[str, Sandbox]:
        """The live ones by id."""
        return self._control.sandboxes

    def refuse_ipv6(self) -> None:
        """As E2B's own API of 2026: no rule for all IPv6 addresses."""
        self._control.takes_ipv6 = False

    def refuse_headers(self) -> None:
        """As for a team without network transform rules, which is every team of a server of one's own."""
        self._control.adds_headers = False

    def ignore_idempotency_keys(self) -> None:
        """As servers before 2026: each request for a sandbox makes one."""
        self._control.deduplicates = False

    def env(self) -> dict[str, str]:
        return {"E2B_API_KEY": self.api_key, "E2B_API_URL": self.url, "E2B_SANDBOX_URL": self.url}

    def recorded(self, route: str) -> list[Recorded]:
        return [request for request in self.requests if request.route == route]

    def processes(self) -> list[tuple[int, str]]:
        """Everything that still runs of any sandbox there ever was, after a moment for what is just ending."""
        for _ in range(100):
            left = processes_of(self._control.machines)
            if not left:
                return []
            time.sleep(0.02)
        return left

    def end_sandbox(self, sandbox_id: str) -> None:
        """As if its time were up, or somebody else had killed it."""
        asyncio.run_coroutine_threadsafe(self._control.end(sandbox_id), self._loop).result(timeout=15)

    def restart_daemon(self, sandbox_id: str) -> None:
        """As if envd had crashed and come back: it knows neither the user nor the environment nor the token any more,
        and what it started has ended."""
        sandbox = self.sandboxes[sandbox_id]
        sandbox.user, sandbox.token, sandbox.env = "root", "", {}
        for process in list(sandbox.processes.values()):
            process.popen.kill()

    # Life

    def __enter__(self) -> E2BServer:
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)  # named, so that asyncio turns Nagle off
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._ready, self._stopped = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="e2b-server", daemon=True).start()
        assert self._ready.wait(20), "the E2B test server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._uvicorn.stop.set)
        self._stopped.wait(20)
        for machine in self._control.machines:
            machine.forget()
        self._socket.close()
        self._directory.cleanup()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._stopped.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        rpc: dict[str, Any] = {"codecs": [ENVD_JSON_CODEC], "compressions": (), "read_max_bytes": None}
        self._processes = ProcessASGIApplication(ProcessService(self), **rpc)
        self._filesystem = FilesystemASGIApplication(FilesystemService(self), **rpc)
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http=_remembering(self._connections),
            ws="none",
            lifespan="off",
            log_level="critical",
            loop="asyncio",
            timeout_keep_alive=640,  # as envd; clients pool connections for minutes
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = _Server(config)
        # Not `serve`, which would take over the signal handlers.
        serving = asyncio.create_task(self._uvicorn._serve([self._socket]))
        while not self._uvicorn.started and not serving.done():
            await asyncio.sleep(0.005)
        self._ready.set()
        try:
            await serving
        finally:
            for sandbox_id in list(self.sandboxes):
                await self._control.end(sandbox_id)

    # The door

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._meet(scope, receive, send)
        except (_Lost, ClientDisconnect):
            pass
        except Exception:
            traceback.print_exc()  # a bug of this server: shown with the test that meets it
            raise

    async def _meet(self, scope: Any, receive: Any, send: Any) -> None:
        """Record the request, let it meet its fault, answer it."""
        route, handler = self._route(scope["method"], scope["path"])
        recorded = await _record(route, Request(scope, receive), control=callable(handler))
        self.requests.append(recorded)
        data = b""
        if route == "start":
            data, receive = await _read_ahead(receive)
        fault = self.faults.take(route, data)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            await self._hold(fault)
            if fault.drop == "before":
                self._connections[scope["client"][1]].abort()
                return
            if fault.status:
                await _failure(fault)(scope, receive, send)
                return
            scope = {**scope, "headers": [*scope["headers"], (_FAULT_HEADER, self._mark(fault))]}
            receive, send = self._disturb(fault, scope, receive, send, recorded)
        await self._answer(handler, scope, receive, send, recorded)

    async def _hold(self, fault: Fault) -> None:
        deadline = time.monotonic() + HOLD_SECONDS
        while fault.hold and not fault.released.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    def _route(self, method: str, path: str) -> tuple[str, Any]:
        """The route's name and what answers it: a kind, a handler of the control plane, or None."""
        parts, control = path.strip("/").split("/"), self._control
        named: tuple[str, Any] = (path, None)
        if path.startswith(("/process.", "/filesystem.")):
            named = _RPC_ROUTES.get(path, path), "rpc"
        elif path == "/files":
            named = ("read" if method == "GET" else "write"), "files"
        elif path == "/health":
            named = "health", "health"
        elif parts == ["v2", "sandboxes"]:
            named = ("create", control.create) if method == "POST" else ("list", control.list)
        elif len(parts) == 2 and parts[0] == "sandboxes":
            named = ("kill", control.delete) if method == "DELETE" else ("get", control.get)
        elif parts[-3:-2] == ["sandboxes"] and parts[-1] in ("timeout", "network", "connect"):
            named = parts[-1], getattr(control, parts[-1])
        return named

    async def _answer(self, handler: Any, scope: Any, receive: Any, send: Any, recorded: Recorded) -> None:
        request = Request(scope, receive)
        sandbox_id = request.headers.get("e2b-sandbox-id", "")
        if isinstance(handler, str) and sandbox_id not in self.sandboxes:
            await not_found(sandbox_id)(scope, receive, send)
            return
        if handler == "rpc":
            token = self.sandboxes[sandbox_id].token
            if token and request.headers.get("x-access-token") != token:  # before the protocol of calls has a say
                body = {"code": 401, "message": "unauthorized access, please provide a valid access token"}
                await JSONResponse(body, status_code=401)(scope, receive, send)
                return
            application = self._processes if scope["path"].startswith("/process.") else self._filesystem
            if recorded.route not in ("start", "attach"):
                application = GZipMiddleware(application, minimum_size=0)
            await application(scope, receive, send)
            return
        try:
            if handler is None:
                raise Refused(404, "no such route")
            if isinstance(handler, str):
                answer = await self._envd_http(handler, request, self.sandboxes[sandbox_id])
            elif recorded.headers.get("x-api-key") != self.api_key:
                raise Refused(401, "Invalid API key")
            else:
                answer = await handler(recorded)
        except Refused as refused:
            answer = refused.answer
        await answer(scope, receive, send)

    @staticmethod
    async def _envd_http(what: str, request: Request, sandbox: Sandbox) -> Response:
        if what == "health":
            return Response(status_code=204)
        if sandbox.token and request.headers.get("x-access-token") != sandbox.token:
            raise Refused(401, "unauthorized access, please provide a valid access token or method signing")
        user = E2BServer._account(sandbox, request.query_params.get("username", ""))
        if user not in ("user", "root"):
            raise Refused(401, f"error looking up user '{user}': user: unknown user {user}")
        return await (download if request.method == "GET" else upload)(sandbox, user, request)

    @staticmethod
    def _account(sandbox: Sandbox, name: str) -> str:
        """`user` or `root`, or an unknown name. Without isolation the ordinary user has the name of whoever tests."""
        if not name:
            return sandbox.user
        if not sandbox.machine.isolated and name == pwd.getpwuid(os.geteuid()).pw_name and name != "root":
            return "user"
        return name

    def addressed(self, headers: Any) -> tuple[Sandbox, str]:
        """The sandbox and the user that an RPC is for. Raises ConnectError."""
        sandbox = self.sandboxes.get(headers.get("e2b-sandbox-id") or "")
        if sandbox is None:
            raise ConnectError(Code.UNAVAILABLE, "The sandbox was not found")
        credentials = (headers.get("authorization") or "").removeprefix("Basic ")
        user = self._account(sandbox, base64.b64decode(credentials).decode().partition(":")[0])
        if user not in self._users:
            raise ConnectError(Code.UNAUTHENTICATED, f"invalid username: '{user}'")
        return sandbox, user

    # Faults

    def _mark(self, fault: Fault) -> bytes:
        name = secrets.token_hex(8)
        self._marked[name] = fault
        return name.encode()

    def fault_of(self, headers: Any) -> Fault | None:
        return self._marked.get(headers.get(_FAULT_HEADER.decode()) or "")

    def _disturb(self, fault: Fault, scope: Any, receive: Any, send: Any, recorded: Recorded) -> tuple[Any, Any]:
        """`receive` and `send` with the fault in between."""
        came = sent = 0

        async def disturbed_receive() -> Any:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if fault.kill and came > fault.after_bytes:
                await self._control.end(recorded.headers.get("e2b-sandbox-id", ""))
            return message

        async def disturbed_send(message: Any) -> None:
            nonlocal sent
            more = message["type"] == "http.response.start" or message.get("more_body", False)
            if fault.drop == "after":
                if not more:
                    self._lose(scope)
                return
            body = message.get("body", b"")
            if fault.drop == "during" and body and sent + len(body) > fault.after_bytes:
                part = body[: fault.after_bytes - sent] or body[: len(body) // 2]
                await send({**message, "body": part, "more_body": True})
                await asyncio.sleep(0.05)  # so that what was sent arrives
                self._lose(scope)
            await send(message)
            sent += len(body)

        return disturbed_receive, disturbed_send

    def _lose(self, scope: Any) -> None:
        self._connections[scope["client"][1]].abort()
        raise _Lost


class _Lost(Exception):
    """The connection was dropped on purpose; nobody is left to answer."""


async def _record(route: str, request: Request, *, control: bool) -> Recorded:
    raw = await request.body() if control else b""
    return Recorded(
        route=route,
        method=request.method,
        path=request.url.path,
        query=dict(request.query_params),
        headers=dict(request.headers),
        json=json.loads(raw) if raw else None,
        at=time.monotonic(),
    )


async def _read_ahead(receive: Any) -> tuple[bytes, Any]:
    """The body of a request, and what gives it once more to whoever answers."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    data = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Any:
        return messages.pop(0) if messages else await receive()

    return data, again


def _failure(fault: Fault) -> Response:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    if fault.location:
        headers["Location"] = fault.location
    if fault.body is not None:
        return Response(fault.body, status_code=fault.status, headers=headers, media_type="text/html")
    body = {"code": fault.status, "message": fault.message}
    return JSONResponse(body, status_code=fault.status, headers=headers)


def _remembering(connections: dict[int, asyncio.Transport]) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, with the transports within reach: ASGI itself cannot drop a connection."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections[transport.get_extra_info("peername")[1]] = transport

    return Protocol

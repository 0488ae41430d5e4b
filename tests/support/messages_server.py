"""A server that speaks Anthropic's Messages API on loopback: scripted turns, the API's own refusals, faults on request.

Plain asyncio in a thread, so that a test can drop a connection at any byte and a benchmark measures the client alone.
Run by itself: `python -m tests.support.messages_server --script FILE --port 0` prints its URL. FILE is JSON:
`{"turns": [{"blocks": […], "stop_reason": …, "usage": {…}}], "faults": {"2": {"kind": "status", "status": 529}}}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.messages_rules import MAX_OUTPUT, PromptCache, Refused, check
from tests.support.messages_script import Fault, Turn, encoded, error_body, events_of, text, thinking, tool

__all__ = ["API_KEY", "Fault", "MessagesServer", "Seen", "Turn", "text", "thinking", "tool"]

JSON = dict[str, Any]
API_KEY = "sk-ant-test-0123456789"
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came. Header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


Script = Sequence[Turn | Callable[[JSON], Turn]] | Callable[[JSON], Turn]
Faults = Mapping[int, Fault] | Callable[[int], Fault | None]


class MessagesServer:
    """`with MessagesServer([Turn(...)]) as server:` runs it. `requests` holds every POST to /v1/messages, in order.

    `script` may also be one function of the request. `by_history` chooses the turn by the number of assistant messages
    in the request, so that several runs can use one server. `faults` counts requests from 1. `caching` False saves
    the time of the prompt cache's book-keeping. `gone` counts clients that left before the end of their answer.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        faults: Faults | None = None,
        api_key: str | None = API_KEY,
        models: Sequence[str] = tuple(MAX_OUTPUT),
        by_history: bool = False,
        caching: bool = True,
        port: int = 0,
    ) -> None:
        self._script = script
        self._faults: Callable[[int], Fault | None] = faults if callable(faults) else (faults or {}).get
        self._api_key = api_key
        self._models = frozenset(models)
        self._by_history = by_history
        self._port = port
        self._cache = PromptCache() if caching else None
        self._answered = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self.requests: list[Seen] = []
        self.connections = 0
        self.gone = 0
        self.client_left = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10), "the Messages server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def serve(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until stopped; `ready` is told the URL."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._converse, "127.0.0.1", self._port, limit=1 << 26)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        if ready is not None:
            ready(self.url)
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        self.connections += 1
        try:
            while (seen := await connection.request()) is not None:
                if not await self._answer(seen, connection):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self._left()
        except asyncio.CancelledError:
            pass  # the server stops; the task's end is nobody's error
        finally:
            writer.close()

    def _left(self) -> None:
        self.gone += 1
        self.client_left.set()

    async def _answer(self, seen: Seen, connection: _Connection) -> bool:
        """False: the connection is to be closed."""
        try:
            self._authenticate(seen)
            path = seen.path.partition("?")[0]
            if (seen.method, path) == ("POST", "/v1/messages"):
                self.requests.append(seen)
                return await self._messages(seen, len(self.requests), connection)
            connection.json(200, self._models_page(seen.method, path))
        except Refused as refused:
            connection.json(refused.status, error_body(refused.type, str(refused)))
        await connection.writer.drain()
        return True

    def _authenticate(self, seen: Seen) -> None:
        given = seen.headers.get("x-api-key") or seen.headers.get("authorization", "").removeprefix("Bearer ")
        if self._api_key is not None and given != self._api_key:
            raise Refused("invalid x-api-key" if given else "x-api-key header is required", 401, "authentication_error")
        if "anthropic-version" not in seen.headers:
            raise Refused("anthropic-version: header is required")

    def _models_page(self, method: str, path: str) -> JSON:
        described = {
            name: {"type": "model", "id": name, "display_name": name, "lifecycle": "active"} for name in self._models
        }
        for model in described.values():
            model["created_at"] = "2026-01-01T00:00:00Z"
        if (method, path) == ("GET", "/v1/models"):
            data = [described[name] for name in sorted(described)]
            return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
        name = path.removeprefix("/v1/models/")
        if method != "GET" or name not in described:
            raise Refused(f"model: {name}" if path.startswith("/v1/models/") else "Not found", 404, "not_found_error")
        return described[name]

    async def _messages(self, seen: Seen, number: int, connection: _Connection) -> bool:
        fault = self._faults(number)
        if fault is not None and fault.kind == "status":
            body = (
                fault.body
                if fault.body is not None
                else error_body(_ERROR_TYPES.get(fault.status, "api_error"), fault.message)
            )
            connection.json(fault.status, body, fault.headers)
            await connection.writer.drain()
            return True
        try:
            body = json.loads(seen.raw)
        except ValueError:
            raise Refused("The request body is not valid JSON") from None
        check(body, self._models)
        turn = self._turn(body)
        message = self._message(body, turn, number)
        if not body.get("stream"):
            connection.json(200, message)
            self._answered += 1
        elif not await self._stream(message, turn, fault, connection):
            return False
        else:
            self._answered += fault is None or fault.kind == "silence"
        await connection.writer.drain()
        return True

    def _turn(self, body: JSON) -> Turn:
        if callable(self._script):
            return self._script(body)
        number = self._answered
        if self._by_history:
            number = sum(message["role"] == "assistant" for message in body["messages"])
        if number >= len(self._script):
            raise Refused(f"the script has no turn {number + 1}")
        step = self._script[number]
        return step if isinstance(step, Turn) else step(body)

    def _message(self, body: JSON, turn: Turn, number: int) -> JSON:
        blocks: list[JSON] = []
        for position, block in enumerate(turn.blocks):
            blocks.append(
                {**block, "id": block["id"] or f"toolu_{number:02d}_{position}"} if "id" in block else dict(block)
            )
        told = turn.usage if turn.usage is not None else self._cache.usage(body) if self._cache else {}
        usage = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, **told}
        usage.setdefault("output_tokens", 10 + sum(len(json.dumps(block)) for block in blocks) // 4)
        return {
            "id": f"msg_{number:04d}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": blocks,
            "stop_reason": turn.ending,
            "stop_sequence": None,
            "stop_details": turn.stop_details,
            "usage": usage,
        }

    async def _stream(self, message: JSON, turn: Turn, fault: Fault | None, connection: _Connection) -> bool:
        """The answer as events; False when the connection ended."""
        if fault is not None and fault.after < 0 and not await self._strike(fault, connection):
            return False
        connection.begin_stream()
        events = [encoded(event) for event in events_of(message, turn)]
        if fault is None or fault.after < 0:
            connection.chunks(events)
        else:
            connection.chunks(events[: fault.after])
            await connection.writer.drain()
            if not await self._strike(fault, connection):
                return False
            if fault.kind == "silence":
                connection.chunks(events[fault.after :])
        connection.end_stream()
        return True

    async def _strike(self, fault: Fault, connection: _Connection) -> bool:
        """Do the damage; False when the connection is over."""
        if fault.kind == "drop":
            connection.writer.transport.abort() if fault.after < 0 else connection.writer.close()
            return False
        if fault.kind == "silence":
            period = fault.ping_seconds or fault.seconds
            for _ in range(round(fault.seconds / period)):
                if await connection.left_within(period):
                    self._left()
                    return False
                if fault.ping_seconds:
                    connection.chunks([encoded({"type": "ping"})])
        elif fault.kind == "error":
            connection.chunks([encoded(error_body(fault.error_type, fault.message))])
        elif fault.kind == "malformed":
            connection.chunks([b'event: content_block_delta\ndata: {"type": "content_block_delta", "index"\n\n'])
        return True


class _Connection:
    """HTTP/1.1, as much of it as clients of this API use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> Seen | None:
        """The next request; None at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding") == "chunked":
            raw = await self._chunked()
        else:
            raw = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Seen(method, path, headers, raw)

    async def _chunked(self) -> bytes:
        body = b""
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return body

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", "request-id: req_test"]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()

    def json(self, status: int, body: JSON | str, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if isinstance(body, str) else "application/json"
        data = content.encode()
        self.writer.write(
            self._head(status, {"content-type": kind, "content-length": str(len(data)), **(headers or {})}) + data
        )

    def begin_stream(self) -> None:
        self.writer.write(self._head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}))

    def chunks(self, events: Sequence[bytes]) -> None:
        self.writer.write(b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events))

    def end_stream(self) -> None:
        self.writer.write(b"0\r\n\r\n")

    async def left_within(self, seconds: float) -> bool:
        """True when the client closed the connection within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b""
        except TimeoutError:
            return False


def from_file(path: Path, port: int) -> MessagesServer:
    """The server that a script file describes: see this module's docstring."""
    written = json.loads(path.read_text(encoding="utf-8"))
    return MessagesServer(
        [Turn(**turn) for turn in written["turns"]],
        faults={int(number): Fault(**fault) for number, fault in written.get("faults", {}).items()},
        api_key=written.get("api_key"),
        models=written.get("models", tuple(MAX_OUTPUT)),
        by_history=written.get("by_history", True),
        caching=written.get("caching", False),
        port=port,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="An Anthropic Messages server with scripted turns, on loopback.")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    try:
        asyncio.run(from_file(options.script, options.port).serve(lambda url: print(url, flush=True)))
    except KeyboardInterrupt:
        pass  # the way to stop it


if __name__ == "__main__":
    main()

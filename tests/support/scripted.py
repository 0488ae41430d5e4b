"""A model that says what a test wrote down, and a sandbox that runs nothing: for tests of the loop itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from flue_ci.core.events import Observer, TextDelta
from flue_ci.core.messages import Conversation, Reply, StopReason, ToolCall, Usage
from flue_ci.core.ports import ExecResult, Network, SandboxInfo, User


def call(name: str, call_id: str = "c1", **arguments: object) -> ToolCall:
    return ToolCall(id=call_id, name=name, input=arguments, raw=json.dumps(arguments))


def reply(
    text: str = "", *calls: ToolCall, stop: StopReason | None = None, usage: Usage | None = None, detail: str = ""
) -> Reply:
    return Reply(
        text=text,
        calls=calls,
        stop_reason=stop or ("tool_use" if calls else "end_turn"),
        stop_detail=detail,
        usage=usage or Usage(turns=1, input_tokens=100, output_tokens=10, cost_usd=0.01),
        blocks=({"type": "text", "text": text},) if text else (),
        model="scripted",
    )


class ScriptedModel:
    """Answers with `replies` in turn; keeps the requests. A reply may be a function of the request, or an exception
    to raise."""

    name = "scripted"

    def __init__(self, *replies: Reply | Exception | Callable[[Conversation], Reply]) -> None:
        self._replies = list(replies)
        self.requests: list[Conversation] = []

    def prepare(self) -> None:
        pass

    async def turn(self, request: Conversation, observe: Observer) -> Reply:
        self.requests.append(request)
        answer = self._replies.pop(0)
        if isinstance(answer, Exception):
            raise answer
        await asyncio.sleep(0)
        reply = answer if isinstance(answer, Reply) else answer(request)
        if reply.text:
            observe(TextDelta(text=reply.text))
        return reply

    async def close(self) -> None:
        pass


class MemorySandbox:
    """Files in a dictionary; `on_exec` answers commands (default: exit 0, no output)."""

    def __init__(self, on_exec: Callable[[str], ExecResult] | None = None) -> None:
        self.info = SandboxInfo(provider="memory", id="m1", template="none", home="/home/user")
        self.files: dict[str, bytes] = {}
        self.commands: list[str] = []
        self.closed = False
        self._on_exec = on_exec

    async def exec(
        self,
        command: str,
        *,
        timeout: float,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: User = "user",
        on_output: Callable[[bytes], None] | None = None,
        limit: int = 65_536,
        login: bool = True,
    ) -> ExecResult:
        self.commands.append(command)
        await asyncio.sleep(0)
        return self._on_exec(command) if self._on_exec else ExecResult(exit_code=0, output=b"")

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        if limit is not None and len(self.files[path]) > limit:
            raise ValueError(f"{len(self.files[path])} bytes")
        return self.files[path]

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        self.files[path] = data.read_bytes() if isinstance(data, Path) else data

    async def set_network(self, network: Network) -> None:
        pass

    async def end_processes(self) -> str:
        return ""

    async def close(self) -> None:
        self.closed = True

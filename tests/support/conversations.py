"""What tests of models share: a clock that sleeping moves, a model on a test server, and what its observer was told."""

from __future__ import annotations

import itertools
from typing import Any

from flue_ci.core.events import Notice, ProgressEvent, TextDelta, TurnRestarted
from flue_ci.core.messages import Conversation, Message, Prompt, Reply, ToolResult, ToolResults, ToolSpec
from flue_ci.core.ports import ModelOptions
from flue_ci.core.retry import RetryPolicy
from flue_ci.models.claude.client import Claude
from flue_ci.models.claude.request import ClaudeSettings
from tests.support.messages_server import API_KEY, MessagesServer

TOOLS = (
    ToolSpec(
        name="bash",
        description="Run a command.",
        input_schema={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    ),
    ToolSpec(name="read", description="Read a file.", input_schema={"type": "object", "properties": {}}),
)
SYSTEM = "You repair what is broken.\n" * 20


class Clock:
    """Seconds that pass only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Watcher:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []

    def __call__(self, event: ProgressEvent) -> None:
        self.events.append(event)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def final_text(self) -> str:
        """The text of the last attempt."""
        restarts = [index for index, event in enumerate(self.events) if isinstance(event, TurnRestarted)]
        last = self.events[restarts[-1] :] if restarts else self.events
        return "".join(event.text for event in last if isinstance(event, TextDelta))

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    @property
    def restarts(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, TurnRestarted)]


def claude_settings(**fields: Any) -> ClaudeSettings:
    """Settings from fields of theirs and of `ModelOptions`; `timeout` in seconds is that of the retries."""
    own = {name: fields.pop(name) for name in ("api_key", "first_byte_seconds", "idle_seconds") if name in fields}
    if "timeout" in fields:
        own["retry"] = RetryPolicy(timeout=fields.pop("timeout"))
    name = fields.pop("model", "claude-sonnet-5-5")
    return ClaudeSettings(options=ModelOptions(name=name, **fields), **{"api_key": API_KEY, **own})


def claude(server: MessagesServer, clock: Clock | None = None, **fields: Any) -> Claude:
    """A `Claude` on `server` whose waits take no time."""
    clock = clock or Clock()
    own = claude_settings(**{"base_url": server.url, **fields})
    return Claude(own, clock=clock, sleep=clock.sleep, chance=lambda: 0.5)


def request(*entries: Message) -> Conversation:
    return Conversation(system=SYSTEM, tools=TOOLS, messages=entries or (Prompt(text="Fix it."),))


def results(reply: Reply, content: str = "done", *, is_error: bool = False, note: str = "") -> ToolResults:
    """One result for each call of `reply`."""
    return ToolResults(
        results=tuple(
            ToolResult(call_id=call.id, content=content, is_error=is_error, note=note) for call in reply.calls
        )
    )


async def converse(model: Claude, turns: int, watcher: Watcher | None = None) -> list[Reply]:
    """Hold a conversation of `turns` turns in which every call gets a result. The replies."""
    entries: list[Message] = [Prompt(text="Fix it.")]
    replies: list[Reply] = []
    for number in itertools.count(1):
        reply = await model.turn(request(*entries), watcher or Watcher())
        replies.append(reply)
        if number == turns:
            return replies
        entries += [reply, results(reply, f"result {number}") if reply.calls else Prompt(text="Go on.")]
    raise AssertionError("unreachable")

"""The contract of a model adapter.

    class TestAcme(ModelContract):
        @asynccontextmanager
        async def serve(self, answers):
            with AcmeServer(answers) as server:
                yield Acme(url=server.url, sleep=no_sleep)

Needs pytest and pytest-asyncio. The service behind the model is best a real server on loopback and not a patched SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

import pytest

from flue_ci.core.conversation import conversation_from_json, conversation_to_json
from flue_ci.core.errors import ModelError
from flue_ci.core.events import Notice, ProgressEvent, TextDelta, TurnRestarted
from flue_ci.core.messages import (
    Conversation,
    Message,
    Prompt,
    Reply,
    ToolCall,
    ToolResult,
    ToolResults,
    ToolSpec,
    Usage,
)
from flue_ci.core.ports import Model

SECONDS = 60.0  # for anything that the contract awaits
TEXT = "I look at the parser first, then I run its tests, and then I say what is left to do. " * 4
USAGE = Usage(turns=1, input_tokens=1000, output_tokens=200, cache_read_tokens=5000, cache_write_tokens=400)
LIST = ToolCall(id="call_1", name="bash", input={"command": "ls -la", "timeout": 5})
READ = ToolCall(id="call_2", name="read", input={})
NOT_JSON = ToolCall(id="call_3", name="bash", input=None, raw='{"command": "ec')
TOOLS = (
    ToolSpec(
        name="bash",
        description="Run a command.",
        input_schema={
            "type": "object",
            "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
            "required": ["command"],
        },
    ),
    ToolSpec(name="read", description="Read a file.", input_schema={"type": "object", "properties": {}}),
)
Fault = Literal["unavailable", "broken", "refused", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service answers to one request: a turn of the model with exactly this text, these calls (an `input` of
    None: the JSON `raw`) and these tokens; or a `fault`.

    `unavailable`: a failure before the answer begins that passes, such as overload. `broken`: the answer of `text`
    breaks off after a part of it. `refused`: a failure that does not pass, such as a key without rights. `silent`: the
    request is taken and never answered.
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = USAGE
    fault: Fault | None = None


class ModelContract:
    """Subclass it, implement `serve`, and take out of `faults` what the service cannot do."""

    pytestmark = pytest.mark.asyncio
    faults: tuple[Fault, ...] = ("unavailable", "broken", "refused", "silent")

    def serve(self, answers: Sequence[Answer]) -> AbstractAsyncContextManager[Model]:
        """A new model whose service gives `answers`, one a request, in order. Waits before a request is repeated
        should take no time."""
        raise NotImplementedError

    async def test_it_has_a_name_and_can_be_prepared_in_a_thread_more_than_once(self) -> None:
        async with self.serve([Answer(text=TEXT)]) as model:
            assert model.name.strip()
            await asyncio.to_thread(model.prepare)
            await asyncio.to_thread(model.prepare)
            assert (await _turn(model))[0].text == TEXT

    async def test_a_turn_is_its_text_and_its_tokens(self) -> None:
        async with self.serve([Answer(text=TEXT)]) as model:
            reply, _ = await _turn(model)
        assert (reply.text, reply.calls, reply.stop_reason) == (TEXT, (), "end_turn")
        assert _tokens(reply.usage) == _tokens(USAGE)

    async def test_text_is_observed_as_pieces_that_add_up(self) -> None:
        async with self.serve([Answer(text=TEXT)]) as model:
            _, events = await _turn(model)
        assert _streamed_text(events) == TEXT

    async def test_calls_are_complete_and_in_their_order(self) -> None:
        async with self.serve([Answer(text="Both.", calls=(LIST, READ))]) as model:
            reply, _ = await _turn(model)
        assert [(call.name, call.input) for call in reply.calls] == [("bash", LIST.input), ("read", {})]
        assert len({call.id for call in reply.calls}) == 2
        assert reply.stop_reason == "tool_use"

    async def test_a_call_that_is_not_valid_json_has_no_input_and_its_text(self) -> None:
        async with self.serve([Answer(calls=(NOT_JSON,)), Answer(text=TEXT)]) as model:
            first, _ = await _turn(model)
            assert [(call.input, call.raw) for call in first.calls] == [(None, NOT_JSON.raw)]
            second, _ = await _turn(model, Prompt(text="Fix it."), first, _results(first))
        assert second.text == TEXT

    async def test_a_conversation_that_was_written_down_goes_on_with_another_instance(self) -> None:
        async with self.serve([Answer(text="I look.", calls=(LIST,))]) as model:
            first, _ = await _turn(model)
        messages = (Prompt(text="Fix it."), first, _results(first))
        conversation = Conversation(system="s", tools=TOOLS, messages=messages)
        again = conversation_from_json(conversation_to_json(conversation))
        assert again == conversation
        async with self.serve([Answer(text=TEXT)]) as model:
            assert (await _turn(model, *again.messages))[0].text == TEXT

    async def test_a_fault_that_passes_is_repeated_and_announced(self) -> None:
        self._needs("unavailable")
        async with self.serve([Answer(fault="unavailable"), Answer(text=TEXT)]) as model:
            reply, events = await _turn(model)
        assert (reply.text, reply.usage.turns) == (TEXT, 1)
        assert any(isinstance(event, Notice) and event.text.strip() for event in events)

    async def test_a_turn_that_breaks_off_is_repeated_whole(self) -> None:
        self._needs("broken")
        async with self.serve([Answer(text=TEXT, fault="broken"), Answer(text=TEXT)]) as model:
            reply, events = await _turn(model)
        restarts = [index for index, event in enumerate(events) if isinstance(event, TurnRestarted)]
        assert len(restarts) == 1
        assert _streamed_text(events[: restarts[0]])
        assert _streamed_text(events[restarts[0] :]) == reply.text == TEXT
        assert reply.usage.turns == 1
        assert reply.usage.output_tokens >= USAGE.output_tokens

    async def test_a_fault_that_does_not_pass_is_a_model_error_in_one_line(self) -> None:
        self._needs("refused")
        async with self.serve([Answer(fault="refused")]) as model:
            with pytest.raises(ModelError) as error:
                await _turn(model)
        assert str(error.value).strip()
        assert "\n" not in str(error.value)

    async def test_a_turn_can_be_cancelled_and_the_model_closed(self) -> None:
        self._needs("silent")
        async with self.serve([Answer(fault="silent"), Answer(text=TEXT)]) as model:
            task = asyncio.create_task(_turn(model))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task], timeout=SECONDS)
            assert task.cancelled()
            await model.close()

    async def test_closing_is_possible_before_the_first_turn_and_twice(self) -> None:
        async with self.serve([]) as model:
            await model.close()
            await model.close()

    def _needs(self, fault: Fault) -> None:
        if fault not in self.faults:
            pytest.skip(f"the service of this model cannot be {fault}")


async def _turn(model: Model, *messages: Message) -> tuple[Reply, list[ProgressEvent]]:
    """One turn, and what was observed of it."""
    events: list[ProgressEvent] = []
    request = Conversation(system="s", tools=TOOLS, messages=messages or (Prompt(text="Fix it."),))
    async with asyncio.timeout(SECONDS):
        return await model.turn(request, events.append), events


def _results(reply: Reply) -> ToolResults:
    return ToolResults(results=tuple(ToolResult(call_id=call.id, content="ok") for call in reply.calls))


def _streamed_text(events: Sequence[ProgressEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def _tokens(usage: Usage) -> tuple[int, ...]:
    return (
        usage.turns,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
    )

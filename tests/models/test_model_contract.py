"""Our models keep the contract, and the contract notices a model that does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import ModelError
from flue_ci.core.events import Notice, Observer, TextDelta, TurnRestarted
from flue_ci.core.messages import Conversation, Reply
from flue_ci.core.ports import Model
from flue_ci.models.replay import Recorder, Replay
from flue_ci.testing.model_contract import Answer, ModelContract
from tests.support.conversations import claude
from tests.support.messages_server import Fault, MessagesServer, Turn, text, tool
from tests.support.scripted import ScriptedModel, reply

FAULTS = {
    "unavailable": Fault(kind="status", status=529),
    "broken": Fault(kind="drop", after=6),
    "refused": Fault(kind="status", status=403),
    "silent": Fault(kind="silence", after=-1),
}


def turn_of(answer: Answer) -> Turn:
    blocks = [text(answer.text)] if answer.text else []
    for call in answer.calls:
        blocks.append(tool(call.name, dict(call.input or {}), raw=call.raw or None))
    usage = {
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
        "cache_read_input_tokens": answer.usage.cache_read_tokens,
        "cache_creation_input_tokens": answer.usage.cache_write_tokens,
    }
    return Turn(blocks=blocks, usage=usage)


class TestClaude(ModelContract):
    @asynccontextmanager
    async def serve(self, answers: Sequence[Answer]) -> AsyncIterator[Model]:
        # A fault uses no turn up; one that breaks within a turn takes that turn's beginning.
        turns = [turn_of(answer) for answer in answers if not answer.fault]
        faults = {number: FAULTS[answer.fault] for number, answer in enumerate(answers, 1) if answer.fault}
        with MessagesServer(turns or [Turn()], faults=faults) as server:
            model = claude(server)
            yield model
            await model.close()


class TestRecordedClaude(TestClaude):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "run.jsonl"

    @asynccontextmanager
    async def serve(self, answers: Sequence[Answer]) -> AsyncIterator[Model]:
        async with super().serve(answers) as model:
            recorder = Recorder(model, self.path)
            yield recorder
            await recorder.close()


class TestReplay(ModelContract):
    faults = ("refused",)

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "run.jsonl"

    @asynccontextmanager
    async def serve(self, answers: Sequence[Answer]) -> AsyncIterator[Model]:
        lines: list[dict[str, Any]] = [{"flue_ci_recording": 1}]
        for answer in answers:
            if answer.fault:
                break  # a recording that has ended refuses every request
            calls = [
                {"name": call.name, "raw": call.raw} if call.input is None else {"name": call.name, "input": call.input}
                for call in answer.calls
            ]
            lines.append({"reply": {"text": answer.text, "calls": calls, "usage": asdict(answer.usage)}})
        self.path.write_text("\n".join(json.dumps(line) for line in lines))
        yield Replay(self.path)


def reply_of(answer: Answer) -> Reply:
    return reply(answer.text, *answer.calls, usage=answer.usage)


class TestScriptedModel(ModelContract):
    faults = ("refused",)

    @asynccontextmanager
    async def serve(self, answers: Sequence[Answer]) -> AsyncIterator[Model]:
        yield ScriptedModel(*(ModelError("no") if answer.fault else reply_of(answer) for answer in answers))


class MemoryModel(Model):
    """A model whose service is a list. It keeps the contract; each of its ways can be broken."""

    name = "memory"

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)

    def prepare(self) -> None:
        pass

    async def turn(self, request: Conversation, observe: Observer) -> Reply:
        while True:
            answer = self.answers.pop(0)
            if answer.fault is None:
                self.stream(answer.text, observe)
                return self.reply(answer)
            await self.fail(answer, observe)

    def stream(self, text: str, observe: Observer) -> None:
        for start in range(0, len(text), 20):
            observe(TextDelta(text=text[start : start + 20]))

    def reply(self, answer: Answer) -> Reply:
        return reply_of(answer)

    async def fail(self, answer: Answer, observe: Observer) -> None:
        if answer.fault == "refused":
            raise ModelError("the key may not do this")
        if answer.fault == "silent":
            await asyncio.sleep(3600)
        if answer.fault == "broken":
            self.stream(answer.text[:50], observe)
            observe(TurnRestarted(reason="it broke"))
        observe(Notice(text="trying again"))

    async def close(self) -> None:
        pass


class MemoryContract(ModelContract):
    model: type[MemoryModel] = MemoryModel

    @asynccontextmanager
    async def serve(self, answers: Sequence[Answer]) -> AsyncIterator[Model]:
        yield self.model(answers)


class TestMemoryModel(MemoryContract):
    pass


class Nameless(MemoryModel):
    name = " "


class PreparedOnce(MemoryModel):
    def prepare(self) -> None:
        assert self.answers
        self.answers = []


class Mute(MemoryModel):
    def stream(self, text: str, observe: Observer) -> None:
        pass


class Stutterer(MemoryModel):
    def stream(self, text: str, observe: Observer) -> None:
        super().stream(text + text[:5], observe)


class Counterless(MemoryModel):
    def reply(self, answer: Answer) -> Reply:
        return replace(reply_of(answer), usage=replace(answer.usage, output_tokens=0))


class Trailing(MemoryModel):
    def reply(self, answer: Answer) -> Reply:
        return replace(reply_of(answer), text=answer.text + " ")


class Shuffler(MemoryModel):
    def reply(self, answer: Answer) -> Reply:
        return replace(reply_of(answer), calls=answer.calls[::-1])


class SameIds(MemoryModel):
    def reply(self, answer: Answer) -> Reply:
        return replace(reply_of(answer), calls=tuple(replace(call, id="c") for call in answer.calls))


class Guesser(MemoryModel):
    def reply(self, answer: Answer) -> Reply:
        return replace(reply_of(answer), calls=tuple(replace(call, input=call.input or {}) for call in answer.calls))


class Pickled(MemoryModel):
    def reply(self, answer: Answer) -> Reply:
        return replace(reply_of(answer), blocks=({"type": "text", "vendor": object()},))


class Impatient(MemoryModel):
    async def fail(self, answer: Answer, observe: Observer) -> None:
        raise ModelError(f"it failed: {answer.fault}")


class Silent(MemoryModel):
    async def fail(self, answer: Answer, observe: Observer) -> None:
        await super().fail(answer, lambda event: None)


class Raw(MemoryModel):
    async def fail(self, answer: Answer, observe: Observer) -> None:
        raise RuntimeError("403")


class Chatty(MemoryModel):
    async def fail(self, answer: Answer, observe: Observer) -> None:
        raise ModelError("403\n<html>")


class Stubborn(MemoryModel):
    async def fail(self, answer: Answer, observe: Observer) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return


class ClosedOnce(MemoryModel):
    async def close(self) -> None:
        self.answers.pop()


BROKEN = [
    (Nameless, "test_it_has_a_name_and_can_be_prepared_in_a_thread_more_than_once"),
    (PreparedOnce, "test_it_has_a_name_and_can_be_prepared_in_a_thread_more_than_once"),
    (Counterless, "test_a_turn_is_its_text_and_its_tokens"),
    (Trailing, "test_a_turn_is_its_text_and_its_tokens"),
    (Mute, "test_text_is_observed_as_pieces_that_add_up"),
    (Stutterer, "test_text_is_observed_as_pieces_that_add_up"),
    (Shuffler, "test_calls_are_complete_and_in_their_order"),
    (SameIds, "test_calls_are_complete_and_in_their_order"),
    (Guesser, "test_a_call_that_is_not_valid_json_has_no_input_and_its_text"),
    (Pickled, "test_a_conversation_that_was_written_down_goes_on_with_another_instance"),
    (Impatient, "test_a_fault_that_passes_is_repeated_and_announced"),
    (Silent, "test_a_fault_that_passes_is_repeated_and_announced"),
    (Silent, "test_a_turn_that_breaks_off_is_repeated_whole"),
    (Raw, "test_a_fault_that_does_not_pass_is_a_model_error_in_one_line"),
    (Chatty, "test_a_fault_that_does_not_pass_is_a_model_error_in_one_line"),
    (Stubborn, "test_a_turn_can_be_cancelled_and_the_model_closed"),
    (ClosedOnce, "test_closing_is_possible_before_the_first_turn_and_twice"),
]


@pytest.mark.parametrize(("model", "test"), BROKEN, ids=[f"{model.__name__}-{test[5:25]}" for model, test in BROKEN])
async def test_the_contract_notices_a_model_that_is_broken(model: type[MemoryModel], test: str) -> None:
    contract = MemoryContract()
    contract.model = model
    with pytest.raises((AssertionError, ModelError, RuntimeError, TypeError, IndexError)):
        await getattr(contract, test)()


def test_every_test_of_the_contract_notices_something() -> None:
    tests = {name for name in dir(ModelContract) if name.startswith("test_")}
    assert tests == {test for _, test in BROKEN}

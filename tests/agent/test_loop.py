"""Every ending of the loop, with a scripted model."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from flue_ci.agent.loop import AgentLoop
from flue_ci.core.errors import ModelError, SandboxLost
from flue_ci.core.events import ConversationEnded, ProgressEvent
from flue_ci.core.messages import Conversation, Outcome, Prompt, Reply, ToolCall, ToolResults, Usage
from flue_ci.core.ports import EngineRequirements, ExecResult, Limits, Task
from flue_ci.spec.result_schema import violations
from tests.support.scripted import MemorySandbox, ScriptedModel, call, reply

TASK = Task(
    system="s",
    prompt="do it",
    workdir="/home/user/repo",
    tools=("bash", "read", "write", "edit"),
    limits=Limits(minutes=None),
)
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


async def run(
    model: ScriptedModel, task: Task = TASK, box: MemorySandbox | None = None
) -> tuple[Outcome, list[ProgressEvent]]:
    events: list[ProgressEvent] = []
    outcome = await AgentLoop(model, violations=violations).run(task, box or MemorySandbox(), events.append)
    return outcome, events


def last_result(model: ScriptedModel, request: int = -1) -> str:
    entry = model.requests[request].messages[-1]
    assert isinstance(entry, ToolResults)
    return entry.results[-1].content


async def test_a_turn_without_calls_ends_the_run_with_its_text() -> None:
    outcome, _ = await run(ScriptedModel(reply("all done")))
    assert (outcome.status, outcome.summary, outcome.usage.turns) == ("finished", "all done", 1)


async def test_results_go_back_in_the_order_of_the_calls() -> None:
    box = MemorySandbox(lambda command: ExecResult(exit_code=0, output=b"first" if "one" in command else b"second"))
    model = ScriptedModel(reply("", call("bash", "a", command="one"), call("bash", "b", command="two")), reply("ok"))
    await run(model, box=box)
    entry = model.requests[1].messages[-1]
    assert isinstance(entry, ToolResults)
    assert [result.call_id for result in entry.results] == ["a", "b"]
    assert "first" in entry.results[0].content
    assert "second" in entry.results[1].content


async def test_the_system_and_tools_are_the_same_object_values_on_every_turn() -> None:
    model = ScriptedModel(*[reply("", call("bash", command="x")) for _ in range(4)], reply("ok"))
    await run(model)
    first = model.requests[0]
    assert all(request.system == first.system and request.tools == first.tools for request in model.requests)
    assert all(request.messages[: len(first.messages)] == first.messages for request in model.requests)


async def test_usage_is_summed_over_the_turns() -> None:
    usage = Usage(turns=1, input_tokens=5, output_tokens=7, cache_read_tokens=11, cache_write_tokens=13, cost_usd=0.5)
    outcome, _ = await run(ScriptedModel(reply("", call("bash", command="x"), usage=usage), reply("ok", usage=usage)))
    assert outcome.usage == Usage(
        turns=2, input_tokens=10, output_tokens=14, cache_read_tokens=22, cache_write_tokens=26, cost_usd=1.0
    )


async def test_the_limit_of_turns_ends_the_run_after_one_warning_and_the_last_calls_still_run() -> None:
    box = MemorySandbox()
    model = ScriptedModel(*[reply(f"turn {n}", call("write", path=f"f{n}", content="x")) for n in range(3)])
    outcome, _ = await run(model, replace(TASK, limits=Limits(turns=3, minutes=None)), box)
    assert (outcome.status, outcome.reason, outcome.summary) == ("limit", "turns", "turn 2")
    assert "leaves you one more" in last_result(model, 2)
    assert "leaves you" not in last_result(model, 1)
    assert len(box.files) == 3


async def test_the_limit_of_tokens_names_itself_and_warns_once() -> None:
    usage = Usage(turns=1, input_tokens=300, output_tokens=0, cost_usd=0.0)
    model = ScriptedModel(*[reply("", call("bash", command="x"), usage=usage) for _ in range(9)])
    outcome, _ = await run(model, replace(TASK, limits=Limits(tokens=1_500, turns=None, minutes=None)))
    assert (outcome.status, outcome.reason, outcome.usage.turns) == ("limit", "tokens", 5)
    warnings = [n for n in range(1, len(model.requests)) if "limit of 1,500 tokens" in last_result(model, n)]
    assert len(warnings) == 1


async def test_the_limit_of_dollars_names_itself() -> None:
    usage = Usage(turns=1, cost_usd=0.4)
    model = ScriptedModel(*[reply("", call("bash", command="x"), usage=usage) for _ in range(9)])
    outcome, _ = await run(model, replace(TASK, limits=Limits(cost_usd=1.0, turns=None, minutes=None)))
    assert (outcome.status, outcome.reason, outcome.usage.turns) == ("limit", "cost_usd", 3)


UNREPORTED = Usage(turns=1, cost_usd=None)


async def test_tokens_that_no_server_reports_are_limited_by_an_estimate_that_is_called_one() -> None:
    turns = [reply("word " * 1_000, call("bash", command="x"), usage=UNREPORTED) for _ in range(9)]
    task = replace(TASK, limits=Limits(minutes=None, tokens=9_000))
    outcome, _ = await run(ScriptedModel(*turns), task)
    assert outcome.status == "limit"
    assert "tokens, counted by an estimate" in outcome.reason
    assert 3 <= outcome.usage.turns <= 5
    assert outcome.usage.cost_usd is None
    assert outcome.usage.known_tokens is None


@pytest.mark.parametrize(
    ("usage", "cause"),
    [(UNREPORTED, "does not report"), (Usage(turns=1, input_tokens=9, output_tokens=9, cost_usd=None), "price")],
)
async def test_a_limit_of_dollars_that_cannot_be_counted_ends_the_run(usage: Usage, cause: str) -> None:
    task = replace(TASK, limits=Limits(minutes=None, cost_usd=1.0))
    outcome, _ = await run(ScriptedModel(reply("", call("bash", command="x"), usage=usage)), task)
    assert (outcome.status, outcome.usage.turns) == ("limit", 1)
    assert "dollars, which cannot be counted" in outcome.reason
    assert cause in outcome.reason


async def test_calls_with_one_id_get_ids_of_their_own_in_a_turn_and_over_turns() -> None:
    def turn() -> Reply:
        blocks = ({"type": "tool_use", "id": "call_0", "name": "bash"},) * 2
        calls = (call("bash", "call_0", command="x"), call("bash", "call_0", command="y"))
        return replace(reply("", *calls), blocks=blocks)

    model = ScriptedModel(turn(), turn(), reply("ok"))
    await run(model)
    replies = [message for message in model.requests[-1].messages if isinstance(message, Reply)]
    results = [message for message in model.requests[-1].messages if isinstance(message, ToolResults)]
    expected = [["call_0", "call_0_2"], ["call_0_3", "call_0_4"]]
    assert [[call.id for call in message.calls] for message in replies] == expected
    assert [[block["id"] for block in message.blocks] for message in replies] == expected
    assert [[result.call_id for result in message.results] for message in results] == expected


async def test_the_limit_of_minutes_interrupts_a_tool_that_hangs() -> None:
    class Hanging(MemorySandbox):
        async def exec(self, command: str, **_: object) -> ExecResult:  # type: ignore[override]
            await asyncio.sleep(60)
            raise AssertionError("unreachable")

    model = ScriptedModel(reply("working on it", call("bash", command="x")))
    outcome, _ = await run(model, replace(TASK, limits=Limits(minutes=0.002)), Hanging())
    assert (outcome.status, outcome.reason, outcome.summary) == ("limit", "minutes", "working on it")


async def test_the_sandbox_s_end_interrupts_a_tool_and_leaves_time_to_collect() -> None:
    class Ending(MemorySandbox):
        """Its plan turns out to allow less than a second when it is in use."""

        async def exec(self, command: str, **_: object) -> ExecResult:  # type: ignore[override]
            self.info = replace(self.info, seconds_left=0.05)
            await asyncio.sleep(60)
            raise AssertionError("unreachable")

    box = Ending()
    box.info = replace(box.info, seconds_left=1.0)
    model = ScriptedModel(reply("working on it", call("bash", command="x")))
    outcome, _ = await run(model, replace(TASK, limits=Limits(minutes=1.0)), box)
    assert (outcome.status, outcome.reason, outcome.summary) == ("limit", "the sandbox's time", "working on it")


async def test_the_agent_is_warned_before_its_sandbox_ends() -> None:
    box = MemorySandbox()
    box.info = replace(box.info, seconds_left=1800.0)

    def shorten(_: str) -> ExecResult:
        box.info = replace(box.info, seconds_left=200.0)
        return ExecResult(exit_code=0, output=b"")

    box._on_exec = shorten
    model = ScriptedModel(reply("", call("bash", command="x")), reply("", call("bash", "2", command="y")), reply("ok"))
    outcome, _ = await run(model, replace(TASK, limits=Limits(minutes=20.0)), box)
    assert outcome.status == "finished"
    assert "The end of this run's sandbox leaves you 140 seconds. Finish what you are doing" in last_result(model, 1)
    assert "leaves you" not in last_result(model, 2)


async def test_a_typed_result_is_checked_and_asked_for_again() -> None:
    model = ScriptedModel(
        reply("", call("finish", summary="s", result={"ok": "yes"})),
        reply("", call("finish", summary="s", result={"ok": True})),
    )
    outcome, _ = await run(model, replace(TASK, result_schema=SCHEMA))
    assert (outcome.status, outcome.summary, outcome.result) == ("finished", "s", {"ok": True})
    assert "result.ok: 'yes' is not of type 'boolean'" in last_result(model, 1)


async def test_a_result_that_never_fits_fails_after_three_reminders() -> None:
    model = ScriptedModel(*[reply("", call("finish", summary="s", result={})) for _ in range(9)])
    outcome, _ = await run(model, replace(TASK, result_schema=SCHEMA))
    assert outcome.status == "failed"
    assert outcome.usage.turns == 4


async def test_ending_without_the_typed_result_is_reminded_then_failed() -> None:
    outcome, _ = await run(ScriptedModel(*[reply("done") for _ in range(9)]), replace(TASK, result_schema=SCHEMA))
    assert outcome.status == "failed"
    assert "typed result" in outcome.reason


async def test_finish_beside_other_calls_is_refused_so_that_nothing_runs_unseen() -> None:
    model = ScriptedModel(
        reply("", call("bash", "a", command="x"), call("finish", "b", summary="s", result={"ok": True})),
        reply("", call("finish", summary="s", result={"ok": True})),
    )
    outcome, _ = await run(model, replace(TASK, result_schema=SCHEMA))
    assert outcome.status == "finished"
    assert "alone" in last_result(model, 1)


async def test_giving_up_is_an_ending_with_the_reason() -> None:
    outcome, _ = await run(ScriptedModel(reply("", call("give_up", reason="no tests here"))))
    assert (outcome.status, outcome.reason) == ("gave-up", "no tests here")


async def test_silence_after_results_gets_one_nudge_and_is_no_success() -> None:
    model = ScriptedModel(reply("", call("bash", command="x")), reply(""), reply(""))
    outcome, _ = await run(model)
    assert (outcome.status, outcome.reason) == ("failed", "the model ended without a word")
    nudge = model.requests[2].messages[-1]
    assert isinstance(nudge, Prompt)
    assert "without a word" in nudge.text


async def test_an_answer_cut_off_is_continued() -> None:
    model = ScriptedModel(reply("half", stop="max_tokens"), reply("whole"))
    outcome, _ = await run(model)
    assert (outcome.status, outcome.summary) == ("finished", "whole")


async def test_complete_calls_of_a_turn_that_was_cut_off_run_and_the_model_is_told() -> None:
    model = ScriptedModel(reply("", call("bash", command="x"), stop="max_tokens"), reply("ok"))
    await run(model)
    assert "cut off" in last_result(model, 1)


@pytest.mark.parametrize(
    ("stop", "words"),
    [("refusal", "refused: not this"), ("context_exceeded", "context window"), ("other", "does not know")],
)
async def test_endings_of_the_models_side_are_failures_with_their_reason(stop: str, words: str) -> None:
    outcome, _ = await run(ScriptedModel(reply("part", stop=stop, detail="not this")))  # type: ignore[arg-type]
    assert outcome.status == "failed"
    assert words in outcome.reason
    assert outcome.hint


async def test_an_unknown_tool_and_broken_json_are_told_to_the_model() -> None:
    no_json = ToolCall(id="b", name="bash", input=None, raw='{"command": "ls')
    model = ScriptedModel(reply("", call("bsh", command="x")), reply("", no_json), reply("ok"))
    outcome, _ = await run(model)
    assert outcome.status == "finished"
    assert "Did you mean 'bash'?" in last_result(model, 1)
    assert "not valid JSON" in last_result(model, 2)


async def test_a_lost_sandbox_ends_the_run_also_among_parallel_calls() -> None:
    def lose(command: str) -> ExecResult:
        raise SandboxLost("it is gone")

    model = ScriptedModel(reply("", call("bash", "a", command="x"), call("bash", "b", command="y")))
    with pytest.raises(SandboxLost, match="it is gone"):
        await run(model, box=MemorySandbox(lose))


async def test_file_changes_and_commands_of_one_turn_never_overlap_and_keep_their_order() -> None:
    order: list[str] = []

    class Watching(MemorySandbox):
        async def exec(self, command: str, **_: object) -> ExecResult:  # type: ignore[override]
            order.append("start")
            await asyncio.sleep(0.01)
            order.append("end")
            return ExecResult(exit_code=0, output=b"")

        async def write(self, path: str, data: object, **_: object) -> None:  # type: ignore[override]
            order.append(path.rsplit("/", 1)[-1])

    calls = (
        call("bash", "1", command="a"),
        call("bash", "2", command="b"),
        call("write", "3", path="w1", content=""),
        call("write", "4", path="w2", content=""),
        call("bash", "5", command="c"),
    )
    await run(ScriptedModel(reply("", *calls), reply("ok")), box=Watching())
    assert order == ["start", "start", "end", "end", "w1", "w2", "start", "end"]


def conversations(events: list[ProgressEvent]) -> list[Conversation]:
    return [event.conversation for event in events if isinstance(event, ConversationEnded)]


async def test_the_conversation_is_observed_once_and_whole_at_the_end() -> None:
    model = ScriptedModel(reply("", call("bash", command="x")), reply("done"))
    _, events = await run(model)
    (conversation,) = conversations(events)
    assert conversation.system == "s"
    assert conversation.tools == model.requests[0].tools
    assert conversation.messages[:-1] == model.requests[1].messages
    assert conversation.messages[-1] == reply("done")
    assert isinstance(events[-1], ConversationEnded)


@pytest.mark.parametrize("ending", ["model", "sandbox", "cancelled", "minutes"])
async def test_the_conversation_is_observed_also_when_the_loop_is_broken_off(ending: str) -> None:
    class Box(MemorySandbox):
        async def exec(self, command: str, **_: object) -> ExecResult:  # type: ignore[override]
            if ending == "sandbox":
                raise SandboxLost("it is gone")
            await asyncio.sleep(60)
            raise AssertionError("unreachable")

    answer = ModelError("no") if ending == "model" else reply("working", call("bash", command="x"))
    limits = Limits(minutes=0.002 if ending == "minutes" else None)
    events: list[ProgressEvent] = []
    loop = AgentLoop(ScriptedModel(answer), violations=violations)
    task = asyncio.create_task(loop.run(replace(TASK, limits=limits), Box(), events.append))
    if ending == "cancelled":
        await asyncio.sleep(0.05)
        task.cancel()
    await asyncio.wait([task])
    (conversation,) = conversations(events)
    assert conversation.messages[0] == Prompt(text="do it")
    assert len(conversation.messages) == (1 if ending == "model" else 2)


async def test_a_history_comes_before_the_prompt_and_calls_without_results_get_one() -> None:
    history = (Prompt(text="first"), reply("", call("bash", "a", command="x"), call("read", "b", path="y")))
    model = ScriptedModel(reply("ok"))
    await run(model, replace(TASK, history=history))
    first, calls, results, prompt = model.requests[0].messages
    assert (first, calls) == history
    assert isinstance(results, ToolResults)
    assert [(result.call_id, result.is_error) for result in results.results] == [("a", True), ("b", True)]
    assert prompt == Prompt(text="do it")


async def test_a_history_that_ended_with_a_text_is_gone_on_with_as_it_is() -> None:
    history = (Prompt(text="first"), reply("done"))
    model = ScriptedModel(reply("ok"))
    await run(model, replace(TASK, history=history))
    assert model.requests[0].messages == (*history, Prompt(text="do it"))
    assert isinstance(model.requests[0].messages[1], Reply)


async def test_to_prepare_the_engine_prepares_the_model_outside_of_the_event_loop() -> None:
    threads: list[int] = []

    class Model(ScriptedModel):
        def prepare(self) -> None:
            threads.append(threading.get_ident())

    engine = AgentLoop(Model(), violations=violations)
    await engine.prepare()
    assert threads
    assert threads != [threading.get_ident()]
    assert engine.requirements == EngineRequirements()

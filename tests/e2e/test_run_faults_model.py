"""Whole runs while the model's side fails: what can pass is outlived, what cannot ends the run at once and says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import COUNTED, assert_ended, bash, counting, say
from tests.support.messages_server import Fault, Turn, text, tool

NOW = {"retry-after": "0"}
RECOVERABLE = {
    "429 once": Fault(kind="status", status=429, headers=NOW),
    "500 once": Fault(kind="status", status=500),
    "500 of a proxy, not JSON": Fault(kind="status", status=500, body="<html>Oops</html>", headers=NOW),
    "529 once": Fault(kind="status", status=529, headers={"retry-after": "1"}),
    "connection lost before the response": Fault(kind="drop", after=-1),
    "connection lost before the first event": Fault(kind="drop", after=0),
    "connection lost after the first event": Fault(kind="drop", after=1),
    "connection lost within the tool call": Fault(kind="drop", after=5),
    "stream ends cleanly but too early": Fault(kind="end", after=5),
    "stream ends cleanly before anything": Fault(kind="end", after=0),
    "error event mid-stream": Fault(kind="error", after=4),
    "malformed event": Fault(kind="malformed", after=4),
    "silence before the response": Fault(kind="silence", after=-1),
    "silence mid-stream": Fault(kind="silence", after=4),
}


@pytest.mark.family(2)
@pytest.mark.parametrize("fault", RECOVERABLE.values(), ids=RECOVERABLE.keys())
def test_a_fault_at_the_first_and_at_a_middle_turn_costs_neither_work_nor_result(
    make_flow: MakeFlow, fault: Fault
) -> None:
    flow = make_flow(counting(10), faults={1: fault, 6: fault})
    if fault.kind == "silence":
        flow.environment["FLUE_CI_IDLE_SECONDS"] = "3"  # on a busy machine a server may be silent for a second
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert ended.added() == COUNTED
    assert ended.tools() == ["bash"] * 9
    assert len(flow.model.requests) == 12
    assert ended.report.usage.turns == 10
    assert len([note for note in ended.report.notes if "trying again" in note]) == 2


def test_an_overload_that_lasts_is_waited_for(make_flow: MakeFlow) -> None:
    overloaded = Fault(kind="status", status=529, headers=NOW)
    flow = make_flow(counting(10), faults=dict.fromkeys([*range(1, 20), *range(24, 60)], overloaded))
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert ended.added() == COUNTED
    assert len(flow.model.requests) == 65


def test_an_overload_for_ever_ends_with_the_work_so_far(make_flow: MakeFlow) -> None:
    overloaded = Fault(kind="status", status=529)
    flow = make_flow(counting(10), faults=lambda number: overloaded if number > 3 else None)
    flow.environment["FLUE_CI_PATIENCE_SECONDS"] = "1.5"
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="out of reach", stage="agent", hint="Try again later")
    assert ended.added() == ["1", "2", "3"]


def test_a_server_that_is_not_there_ends_with_its_address_in_doubt(make_flow: MakeFlow) -> None:
    flow = make_flow()
    flow.environment |= {"FLUE_CI_PATIENCE_SECONDS": "1", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="cannot be reached", stage="agent", hint="Try again")
    assert flow.model.requests == []


# Turns that the model got wrong

BROKEN = {
    "broken JSON in a tool call": Turn(blocks=[tool("bash", raw='{"command": "echo no >> log.txt", }')]),
    "torn JSON in a tool call": Turn(blocks=[tool("bash", raw='{"command": "echo no >> log')]),
    "max_tokens inside a tool call": Turn(
        blocks=[text("Now."), tool("bash", raw='{"command": "echo no >> log')], stop_reason="max_tokens"
    ),
    "max_tokens inside a text": Turn(blocks=[text("I was going to")], stop_reason="max_tokens"),
    "unknown tool": Turn(blocks=[tool("shell", {"command": "echo no >> log.txt"})]),
    "tool call without its arguments": Turn(blocks=[tool("bash", {})]),
    "tool call with a wrong type": Turn(blocks=[tool("bash", {"command": ["echo", "no"]})]),
    "a turn without a word": Turn(blocks=[]),
}


@pytest.mark.family(1)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_turn_is_told_to_the_model_and_the_task_goes_on(make_flow: MakeFlow, broken: Turn) -> None:
    turns = counting(10)
    flow = make_flow([broken, *turns[:4], broken, *turns[4:]])
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert ended.added() == COUNTED
    assert len(flow.model.requests) == 12


# What does not pass


@dataclass(frozen=True, kw_only=True)
class Fatal:
    """A third request that cannot be answered, and what people are told."""

    reason: str
    hint: str
    turn: Turn = field(default_factory=lambda: say("never said"))
    fault: Fault | None = None


def status(number: int, message: str) -> dict[str, Any]:
    return {"fault": Fault(kind="status", status=number, message=message)}


FATAL = {
    "refusal": Fatal(
        turn=Turn(
            blocks=[],
            stop_reason="refusal",
            stop_details={"type": "refusal", "category": "cyber", "explanation": "not this"},
        ),
        reason="the model refused",
        hint="Rephrase",
    ),
    "context window exceeded": Fatal(
        turn=Turn(blocks=[text("so far")], stop_reason="model_context_window_exceeded"),
        reason="context window",
        hint="Narrow the task",
    ),
    "400": Fatal(**status(400, "thinking: not like this"), reason="thinking: not like this", hint="settings"),
    "400, too long": Fatal(**status(400, "prompt is too long: 9 > 8"), reason="too long", hint="smaller task"),
    "400, no credit": Fatal(**status(400, "Your credit balance is too low"), reason="nothing left", hint="Add credit"),
    "401": Fatal(**status(401, "invalid x-api-key"), reason="refused the key", hint="ANTHROPIC_API_KEY"),
    "403": Fatal(**status(403, "not for you"), reason="may not do this", hint="workspace"),
    "404": Fatal(**status(404, "model: gone"), reason="does not know claude-sonnet-5-5", hint="Did you mean"),
    "413": Fatal(**status(413, "too large"), reason="too long", hint="smaller task"),
}


@pytest.mark.family(1)
@pytest.mark.parametrize("fatal", FATAL.values(), ids=FATAL.keys())
def test_a_final_answer_ends_the_run_at_once_and_keeps_the_work(make_flow: MakeFlow, fatal: Fatal) -> None:
    faults = {3: fatal.fault} if fatal.fault else {}
    flow = make_flow([*counting(3)[:2], fatal.turn, *counting(9)], faults=faults)
    flow.spec(checks=[{"name": "file", "run": "test -s log.txt"}])
    flow.commit()
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason=fatal.reason, stage="agent", hint=fatal.hint)
    assert len(flow.model.requests) == 3
    assert ended.added() == ["1", "2"]
    assert fatal.hint in ended.out


def test_a_misspelled_model_gets_the_right_name_as_a_hint(make_flow: MakeFlow) -> None:
    flow = make_flow()
    ended = flow.run("--model", "claude-sonet-5-5")
    assert_ended(ended, "failed", 1, reason="does not know claude-sonet-5-5", stage="agent", hint="claude-sonnet-5-5")
    assert len(flow.model.requests) == 1
    assert ended.patch == ""


def test_a_wrong_key_is_refused_by_the_real_server_and_not_repeated_to_people(make_flow: MakeFlow) -> None:
    flow = make_flow()
    flow.environment["ANTHROPIC_API_KEY"] = "sk-ant-wrong-and-still-secret"
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="refused the key", stage="agent", hint="ANTHROPIC_API_KEY")
    assert "wrong-and-still-secret" not in ended.out + ended.err


def test_a_model_that_only_ever_speaks_in_halves_is_not_asked_for_ever(make_flow: MakeFlow) -> None:
    flow = make_flow(lambda body: Turn(blocks=[text("and then")], stop_reason="max_tokens"))
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="cut off", stage="agent")
    assert len(flow.model.requests) == 4


# Limits

USED = {"input_tokens": 100_000, "output_tokens": 100}
LIMITS = {
    "turns": ("limits.turns=3", counting(10)),
    "minutes": ("limits.minutes=0.1", [*counting(10)[:3], bash("echo late; sleep 60; echo no >> log.txt")]),
    "tokens": ("limits.tokens=300000", [Turn(blocks=turn.blocks, usage=USED) for turn in counting(10)]),
    "dollars": ("limits.cost_usd=0.6", [Turn(blocks=turn.blocks, usage=USED) for turn in counting(10)]),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.long
def test_a_limit_ends_the_run_with_its_name_and_the_work_so_far(make_flow: MakeFlow, name: str) -> None:
    setting, script = LIMITS[name]
    flow = make_flow(script)
    flow.spec(checks=[{"name": "file", "run": "test -s log.txt"}])
    flow.commit()
    ended = flow.run("--set", setting)
    assert_ended(ended, "partial", 4, reason=f"stopped by the limit of {name}")
    assert ended.added() == ["1", "2", "3"]
    assert [check.passed for check in ended.report.checks] == [True]
    if name != "minutes":  # a command that takes all the time leaves nobody to warn
        assert b"leaves you" in flow.model.requests[-1].raw

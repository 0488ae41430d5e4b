"""The log of a run as its reader sees it: groups folded, failures outside of them, and no command but ours."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from flue_ci.action.log_view import ActionsView
from flue_ci.core.events import (
    CommandEnded,
    CommandOutput,
    CommandStarted,
    Notice,
    ProgressEvent,
    StageEnded,
    StageStarted,
    ToolEnded,
    TurnEnded,
    TurnRestarted,
)
from flue_ci.core.messages import Reply, ToolCall, ToolResult, Usage
from flue_ci.gate.workflow_commands import WorkflowLog
from tests.support.actions_runner import Runner, command_lines


def turn(number: int, text: str, *commands: str) -> TurnEnded:
    calls = tuple(ToolCall(id=command, name="bash", input={"command": command}) for command in commands)
    reply = Reply(text=text, calls=calls, stop_reason="tool_use", usage=Usage(), blocks=())
    return TurnEnded(turn=number, reply=reply, total=Usage(input_tokens=1_300, cost_usd=0.003))


def result(command: str, content: str, code: int = 0, seconds: float = 0.0) -> ToolEnded:
    note = f"exit code {code}"
    call = ToolCall(id=command, name="bash", input={"command": command})
    answer = ToolResult(call_id=command, content=content, is_error=code != 0, seconds=seconds, note=note)
    return ToolEnded(call=call, result=answer)


def command(name: str, words: str, output: str, code: int) -> list[ProgressEvent]:
    return [
        CommandStarted(kind="check", name=name, command=words),
        CommandOutput(data=output.encode("utf-8", "replace")),
        CommandEnded(kind="check", name=name, exit_code=code, timed_out=False, seconds=0.0),
    ]


def log_of(*events: ProgressEvent) -> str:
    out = io.StringIO()
    view = ActionsView(WorkflowLog(out))
    for event in events:
        view.observe(event)
    view.close()
    return out.getvalue()


def test_a_turn_is_a_group_with_its_output_and_what_failed_stands_outside() -> None:
    numbers = "\n".join(map(str, range(1, 8)))
    events = [
        StageStarted(stage="agent"),
        turn(1, "I look.", "pytest -q"),
        result("pytest -q", f"{numbers}\nFAILED\n[exit code 1]", code=1, seconds=1.2),
        turn(2, "Done.\nReally."),
        StageEnded(stage="agent", seconds=9.0),
        StageStarted(stage="checks"),
        *command("tests", "pytest", "one\nFAILED\n", 1),
        *command("lint", "ruff", "fine\n", 0),
    ]
    assert log_of(*events).splitlines() == [
        "● Agent at work",
        "::group::Turn 1 · bash pytest -q · 1.3K tokens, $0.003 so far",
        "  I look.",
        "  ✗ bash pytest -q → exit code 1 (1.2s)",
        *[f"      {line}" for line in (*range(1, 8), "FAILED")],
        "::endgroup::",
        "  ✗ bash pytest -q → exit code 1 (1.2s)",
        *[f"      {line}" for line in (*range(4, 8), "FAILED")],
        "Turn 2 · last words · 1.3K tokens, $0.003 so far",
        "● Checking",
        "::group::Check: pytest",
        "    one",
        "    FAILED",
        "::endgroup::",
        "  ✗ tests: exit code 1",
        "      one",
        "      FAILED",
        "::group::Check: ruff",
        "    fine",
        "::endgroup::",
        "  ✓ lint: exit code 0",
    ]


def test_a_notice_is_not_folded_away_and_the_turn_goes_on_in_a_group_of_its_own() -> None:
    log = log_of(turn(1, "", "a"), Notice(text="interrupted"), result("a", "out\n" * 100))
    lines = log.splitlines()
    assert lines[1:5] == ["::endgroup::", "  ! interrupted", "::group::Turn 1, continued", "  · bash a → exit code 0"]
    assert "      … 40 lines are left out …" in lines
    assert len(lines) == 5 + 61 + 1


def test_the_stage_of_a_command_is_named_before_its_group() -> None:
    log = log_of(StageStarted(stage="verify"), *command("setup", "make", "x\n", 0))
    assert log.splitlines()[:2] == ["● Putting the changes into a clean sandbox", "::group::Check: make"]


@given(st.lists(command_lines() | st.text(max_size=20), min_size=6, max_size=6))
def test_groups_are_the_only_commands_whatever_is_written(texts: list[str]) -> None:
    one, two, three, four, five, six = texts
    events: list[ProgressEvent] = [
        StageStarted(stage=one),
        Notice(text=two),
        turn(1, three, four),
        result(four, five, code=1),
        TurnRestarted(reason=six),
        *command(one, two, f"{three}\n{four}\r{five}\n", 1),
    ]
    runner = Runner().read(log_of(*events))
    assert [name for name, _ in runner.executed] == ["group", "endgroup"] * 2
    assert not any("stop-commands::" in line and line.startswith("::") for line in runner.shown)

"""The agent loop: ask the model, run the tools it calls, until it is done or a limit is reached.

Every ending is stated in the `Outcome`. The loop runs on the host; only the tools reach into the sandbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from flue_ci.agent.limits import Budget
from flue_ci.agent.tools.toolbox import Toolbox, call_all
from flue_ci.core.events import Observer, ToolEnded, ToolStarted, TurnEnded, TurnStarted
from flue_ci.core.messages import (
    Message,
    ModelRequest,
    Outcome,
    Prompt,
    Reply,
    ToolCall,
    ToolResult,
    ToolResults,
    ToolSpec,
    Usage,
)
from flue_ci.core.ports import EngineRequirements, Model, Sandbox, Task

REMINDERS = 3  # to answer with `finish`, or after a reply that was cut off

_CUT_OFF = (
    "Your last answer was cut off at the output limit. Go on from there; write large files in several smaller steps."
)
_SILENT = "You ended your turn without a word. If the task is done, say in a few sentences what you did; if not, go on."
_USE_FINISH = "Call `finish` with the result now, or `give_up` with the reason."

_GIVE_UP = ToolSpec(
    name="give_up",
    description="End the run because the task cannot be done. Say why; nothing is hidden by it.",
    input_schema={
        "type": "object",
        "properties": {"reason": {"type": "string"}},
        "required": ["reason"],
        "additionalProperties": False,
    },
)


def finish_tool(schema: Mapping[str, object]) -> ToolSpec:
    """The tool by which a typed result is given. A forced tool choice is refused by current models, so it is asked
    for and checked. `$defs` go to the top, where `#/$defs/…` in the result's schema looks for them."""
    result = dict(schema)
    definitions = {"$defs": result.pop("$defs")} if "$defs" in result else {}
    return ToolSpec(
        name="finish",
        description="End the run: give the result, and a summary for the people who asked.",
        input_schema={
            "type": "object",
            "properties": {"summary": {"type": "string"}, "result": result},
            "required": ["summary", "result"],
            "additionalProperties": False,
            **definitions,
        },
    )


@dataclass(slots=True, kw_only=True)
class _State:
    """What one run has come to."""

    entries: list[Message]
    usage: Usage
    reminders: int = 0
    last_words: str = ""


class AgentLoop:
    """The engine `agent`. `violations(schema, value)` lists what is wrong with a typed result; `clock` gives
    seconds."""

    def __init__(
        self,
        model: Model,
        *,
        violations: Callable[[Mapping[str, object], object], list[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._violations = violations
        self._clock = clock

    @property
    def requirements(self) -> EngineRequirements:
        """None beyond the spec: the loop runs outside of the sandbox."""
        return EngineRequirements()

    async def prepare(self) -> None:
        await asyncio.to_thread(self._model.prepare)

    async def run(self, task: Task, box: Sandbox, observe: Observer) -> Outcome:
        """See `Engine`. The deadline of `limits.minutes` interrupts a model call or a tool; what was done by then
        stays."""
        tools = Toolbox(box, workdir=task.workdir, names=task.tools, command_seconds=task.limits.command_seconds)
        budget = Budget(task.limits, self._clock)
        state = _State(entries=[Prompt(text=task.prompt)], usage=Usage(cost_usd=0.0))
        try:
            async with asyncio.timeout(budget.seconds_left()) as deadline:
                outcome = await self._turns(task, tools, budget, state, observe)
        except TimeoutError:
            if not deadline.expired():
                raise  # somebody else's
            outcome = Outcome(status="limit", reason="minutes", summary=state.last_words)
        return replace(outcome, usage=state.usage)

    async def _turns(self, task: Task, tools: Toolbox, budget: Budget, state: _State, observe: Observer) -> Outcome:
        specs = (*tools.specs, *((finish_tool(task.result_schema),) if task.result_schema else ()), _GIVE_UP)
        while True:
            observe(TurnStarted(turn=state.usage.turns + 1))
            reply = await self._model.turn(
                ModelRequest(system=task.system, tools=specs, messages=tuple(state.entries)), observe
            )
            state.usage += reply.usage
            state.last_words = reply.text.strip() or state.last_words
            observe(TurnEnded(turn=state.usage.turns, reply=reply, total=state.usage))
            state.entries.append(reply)
            ending = await self._answer(reply, task, tools, budget, state, observe)
            if ending is not None:
                return ending
            if reached := budget.exhausted_limit(state.usage):
                return Outcome(status="limit", reason=reached, summary=state.last_words)

    async def _answer(
        self, reply: Reply, task: Task, tools: Toolbox, budget: Budget, state: _State, observe: Observer
    ) -> Outcome | None:
        """Does what the reply asks for; an `Outcome` when that ends the run."""
        if reply.stop_reason in ("refusal", "context_exceeded", "other"):
            return _stopped(reply, state)
        if reply.calls:
            return await self._run_calls(reply, task, tools, budget, state, observe)
        if reply.stop_reason == "pause_turn":
            return None  # the vendor's own pause: the turn goes back as it is
        if reply.stop_reason == "max_tokens":
            return self._remind(state, _CUT_OFF, "the model's answers were cut off at the output limit again and again")
        if task.result_schema:
            return self._remind(state, _USE_FINISH, "the model ended without giving the typed result")
        if not reply.text.strip():
            return self._remind(state, _SILENT, "the model ended without a word", most=1)
        return Outcome(status="finished", reason="done", summary=state.last_words)

    def _remind(self, state: _State, text: str, reason: str, most: int = REMINDERS) -> Outcome | None:
        state.reminders += 1
        if state.reminders > most:
            return Outcome(status="failed", reason=reason, summary=state.last_words)
        state.entries.append(Prompt(text=text))
        return None

    async def _run_calls(
        self, reply: Reply, task: Task, tools: Toolbox, budget: Budget, state: _State, observe: Observer
    ) -> Outcome | None:
        ending: Outcome | None = None

        async def run(call: ToolCall) -> ToolResult:
            nonlocal ending
            observe(ToolStarted(call=call))
            if call.name in ("finish", "give_up"):
                result, ended = self._end(call, task, alone=len(reply.calls) == 1)
                ending = ended or ending
            else:
                result = await tools.call(call)
            observe(ToolEnded(call=call, result=result))
            return result

        results = await call_all(reply.calls, run)
        if ending is None and reply.stop_reason == "max_tokens":
            results = _with_note(results, _CUT_OFF)
        if ending is None and (warning := budget.warning(state.usage)):
            results = _with_note(results, warning)
        state.entries.append(ToolResults(results=results))
        if any(call.name == "finish" for call in reply.calls) and ending is None:
            state.reminders += 1
            if state.reminders > REMINDERS:
                return Outcome(
                    status="failed", reason="the model's result never fitted the schema", summary=state.last_words
                )
        elif ending is None:
            state.reminders = 0
        return ending

    def _end(self, call: ToolCall, task: Task, *, alone: bool) -> tuple[ToolResult, Outcome | None]:
        """`finish` and `give_up`: the run's end, or an error that says what is wrong with the call."""

        def refused(text: str) -> tuple[ToolResult, None]:
            return ToolResult(call_id=call.id, content=text, is_error=True, note="refused"), None

        given = call.input
        if given is None:
            return refused("The arguments were not valid JSON. Send the call again.")
        if not alone:
            return refused(f"Call `{call.name}` alone, after the results of the other calls.")
        if call.name == "give_up" and isinstance(given.get("reason"), str):
            done = Outcome(status="gave-up", reason=given["reason"] or "no reason given", summary=given["reason"])
        elif (
            call.name == "finish" and task.result_schema and isinstance(given.get("summary"), str) and "result" in given
        ):
            wrong = self._violations(task.result_schema, given["result"])
            if wrong:
                return refused("The result does not fit its schema:\n" + "\n".join(f"- {line}" for line in wrong[:20]))
            done = Outcome(status="finished", reason="done", summary=given["summary"], result=given["result"])
        else:
            known = "summary and result" if call.name == "finish" and task.result_schema else "reason"
            return refused(f"There is no such call here; `{call.name}` needs {known}.")
        return ToolResult(call_id=call.id, content="The run ends here.", note="end of the run"), done


def _stopped(reply: Reply, state: _State) -> Outcome:
    endings = {
        "refusal": ("the model refused", "Rephrase the instruction or the prompt, or choose another model."),
        "context_exceeded": (
            "the conversation outgrew the model's context window",
            "Narrow the task, or choose a model with a larger window.",
        ),
    }
    reason, hint = endings.get(
        reply.stop_reason, ("the model stopped for a reason that flue-ci does not know", "See transcript.jsonl.")
    )
    detail = f": {reply.stop_detail}" if reply.stop_detail else ""
    return Outcome(status="failed", reason=reason + detail, summary=state.last_words, hint=hint)


def _with_note(results: tuple[ToolResult, ...], note: str) -> tuple[ToolResult, ...]:
    """The note inside the last result: a text of its own after results makes models end their turn with nothing."""
    last = results[-1]
    return (*results[:-1], replace(last, content=f"{last.content}\n\n[flue-ci: {note}]"))

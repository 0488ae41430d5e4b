"""The agent loop: ask the model, run the tools it calls, until it is done or a limit is reached.

Every ending is stated in the `Outcome`. The loop runs on the host; only the tools reach into the sandbox.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from flue_ci.agent.limits import Budget, is_reported
from flue_ci.agent.tools.ending import FINISH, Finish, GiveUp
from flue_ci.agent.tools.tool import ToolContext
from flue_ci.agent.tools.toolbox import Toolbox, make_proposal_tools, make_tools
from flue_ci.core.events import ConversationEnded, Observer, TurnEnded, TurnStarted
from flue_ci.core.messages import Conversation, Message, Outcome, Prompt, Reply, ToolResult, ToolResults, Usage
from flue_ci.core.ports import EngineRequirements, Model, Sandbox, Task

_WATCH_SECONDS = 5.0  # between looks at how long the sandbox still lives
REMINDERS = 3  # to answer with `finish`, or after a reply that was cut off

_CUT_OFF = (
    "Your last answer was cut off at the output limit. Go on from there; write large files in several smaller steps."
)
_SILENT = "You ended your turn without a word. If the task is done, say in a few sentences what you did; if not, go on."
_USE_FINISH = "Call `finish` with the result now, or `give_up` with the reason."
_NOT_RUN = "The run ended before this call was run."
# Endings by the model's side: the reason, and what people can do.
_STOPS = {
    "refusal": ("the model refused", "Rephrase the instruction or the prompt, or choose another model."),
    "context_exceeded": (
        "the conversation outgrew the model's context window",
        "Narrow the task, or choose a model with a larger window.",
    ),
    "other": ("the model stopped for a reason that flue-ci does not know", "See transcript.jsonl."),
}


@dataclass(slots=True, kw_only=True)
class _State:
    """One run so far. `last_text` is the agent's last visible text."""

    task: Task
    tools: Toolbox
    budget: Budget
    observe: Observer
    messages: list[Message]
    usage: Usage
    reminders: int = 0
    last_text: str = ""

    @property
    def conversation(self) -> Conversation:
        return Conversation(system=self.task.system, tools=self.tools.specs, messages=tuple(self.messages))


class AgentLoop:
    """The engine `agent`. `violations(schema, value)` lists what is wrong with a typed result; `clock` gives
    seconds."""

    requirements = EngineRequirements()

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

    async def prepare(self) -> None:
        """See `Engine`. The model is prepared in a thread. Raises `ModelError`."""
        await asyncio.to_thread(self._model.prepare)

    async def run(self, task: Task, sandbox: Sandbox, observe: Observer) -> Outcome:
        """See `Engine`. The deadline of `limits.minutes`, or of a sandbox that ends before it, interrupts a model call
        or a tool; what was done by then stays. `ConversationEnded` is observed once, also when this raises."""
        tools = [*make_tools(task.tools), *make_proposal_tools(task.rules)]
        if task.result_schema:
            tools.append(Finish(task.result_schema, self._violations))
        context = ToolContext(
            sandbox=sandbox, workdir=task.workdir, command_seconds=task.limits.command_seconds, rules=task.rules
        )
        state = _State(
            task=task,
            tools=Toolbox([*tools, GiveUp()], context),
            budget=Budget(task.limits, self._clock, lambda: sandbox.info.seconds_left),
            observe=observe,
            messages=[*_with_results(task.history), Prompt(text=task.prompt)],
            usage=Usage(cost_usd=0.0),
        )
        try:
            async with asyncio.timeout(state.budget.seconds_left()) as deadline:
                watch = asyncio.create_task(_move(deadline, state.budget))
                try:
                    outcome = await self._turns(state)
                finally:
                    watch.cancel()
        except TimeoutError:
            if not deadline.expired():
                raise  # from inside of the model or the sandbox
            outcome = Outcome(status="limit", reason=state.budget.time_limit(), summary=state.last_text)
        finally:
            observe(ConversationEnded(conversation=state.conversation))
        return replace(outcome, usage=state.usage)

    async def _turns(self, state: _State) -> Outcome:
        while True:
            state.observe(TurnStarted(turn=state.usage.turns + 1))
            reply = _with_own_ids(await self._model.turn(state.conversation, state.observe), state.messages)
            reply = replace(reply, usage=replace(reply.usage, has_counts=is_reported(reply.usage)))
            state.budget.count(reply, state.conversation)
            state.usage += reply.usage
            state.last_text = reply.text.strip() or state.last_text
            state.observe(TurnEnded(turn=state.usage.turns, reply=reply, total=state.usage))
            state.messages.append(reply)
            outcome = await _answer(reply, state)
            if outcome is not None:
                return outcome
            if limit := state.budget.exhausted_limit(state.usage):
                return Outcome(status="limit", reason=limit, summary=state.last_text)


async def _move(deadline: asyncio.Timeout, budget: Budget) -> None:
    """Brings the deadline forward when the sandbox turns out to end before it."""
    while (seconds := budget.seconds_left()) is not None and not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time() + seconds)
        await asyncio.sleep(min(_WATCH_SECONDS, max(seconds / 2, _WATCH_SECONDS / 100)))


async def _answer(reply: Reply, state: _State) -> Outcome | None:
    """Does what the reply asks for; an `Outcome` when that ends the run."""
    if reply.stop_reason in _STOPS:
        reason, hint = _STOPS[reply.stop_reason]
        detail = f": {reply.stop_detail}".removesuffix(": ")
        return Outcome(status="failed", reason=reason + detail, summary=state.last_text, hint=hint)
    if reply.calls:
        return await _run_calls(reply, state)
    if reply.stop_reason == "pause_turn":
        return None  # the vendor's own pause: the turn goes back as it is
    if reply.stop_reason == "max_tokens":
        return _remind(state, _CUT_OFF, "the model's answers were cut off at the output limit again and again")
    if state.task.result_schema:
        return _remind(state, _USE_FINISH, "the model ended without giving the typed result")
    if not reply.text.strip():
        return _remind(state, _SILENT, "the model ended without a word", limit=1)
    return Outcome(status="finished", reason="done", summary=state.last_text)


def _remind(state: _State, text: str, reason: str, limit: int = REMINDERS) -> Outcome | None:
    """Asks once more (with nothing to add when `text` is empty), or fails for `reason` after `limit` reminders."""
    state.reminders += 1
    if state.reminders > limit:
        return Outcome(status="failed", reason=reason, summary=state.last_text)
    if text:
        state.messages.append(Prompt(text=text))
    return None


async def _run_calls(reply: Reply, state: _State) -> Outcome | None:
    results, outcome = await state.tools.run(reply.calls, state.observe)
    if outcome is None and reply.stop_reason == "max_tokens":
        results = _with_note(results, _CUT_OFF)
    if outcome is None and (warning := state.budget.warning(state.usage)):
        results = _with_note(results, warning)
    state.messages.append(ToolResults(results=results))
    if outcome is not None:
        return outcome
    if all(call.name != FINISH for call in reply.calls):
        state.reminders = 0
        return None
    return _remind(state, "", "the model's result never fitted the schema")


def _with_note(results: tuple[ToolResult, ...], note: str) -> tuple[ToolResult, ...]:
    """The note inside the last result: a text of its own after results makes models end their turn with nothing."""
    last = results[-1]
    return (*results[:-1], replace(last, content=f"{last.content}\n\n[flue-ci: {note}]"))


def _with_own_ids(reply: Reply, earlier: Sequence[Message]) -> Reply:
    """`reply`, where each call has an id that no other call of the conversation has: some servers count from nothing
    in each turn. A call's block has its id as `id`; the two come in the same order."""
    used = {call.id for message in earlier if isinstance(message, Reply) for call in message.calls}
    blocks, position, calls = [dict(block) for block in reply.blocks], 0, []
    for call in reply.calls:
        id, number = call.id, 2
        while id in used:
            id, number = f"{call.id}_{number}", number + 1
        used.add(id)
        calls.append(replace(call, id=id))
        places = (index for index in range(position, len(blocks)) if blocks[index].get("id") == call.id)
        if (place := next(places, None)) is not None:
            blocks[place]["id"], position = id, place + 1
    if tuple(calls) == reply.calls:
        return reply
    return replace(reply, calls=tuple(calls), blocks=tuple(blocks))


def _with_results(history: tuple[Message, ...]) -> tuple[Message, ...]:
    """`history` with a result for each call: one that ended before its last calls were run lacks them, and models
    refuse calls without results."""
    last = history[-1] if history else None
    if not isinstance(last, Reply) or not last.calls:
        return history
    results = tuple(ToolResult(call_id=call.id, content=_NOT_RUN, is_error=True) for call in last.calls)
    return (*history, ToolResults(results=results))

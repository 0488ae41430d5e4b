"""The tools of one run: runs the calls of a turn, and makes a result of everything that can go wrong in one."""

import errno
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from flue_ci.agent.tools.registry import PROPOSAL_TOOLS, TOOLS
from flue_ci.agent.tools.tool import Tool, ToolContext, ToolError, ToolOutput, check_arguments, present_arguments
from flue_ci.core.concurrency import together
from flue_ci.core.events import Observer, ProposalMade, ToolEnded, ToolStarted
from flue_ci.core.messages import Outcome, ToolCall, ToolResult, ToolSpec
from flue_ci.core.proposals import ProposalRules
from flue_ci.core.text import closest_match, one_line

_FILE_ERRORS = {
    FileNotFoundError: "There is no file {!r}. Paths are relative to the repository; look with glob or bash ls.",
    IsADirectoryError: "{!r} is a directory.",
    PermissionError: "{!r} cannot be opened: {}.",
}


def make_tools(names: Sequence[str]) -> list[Tool]:
    """New tools of these names: ours in the order of the table, others as they are named. Raises `UsageError`."""
    ours = [name for name in TOOLS.built_in if name in names]
    return [TOOLS.load(name)() for name in (*ours, *(name for name in names if name not in ours))]


def make_proposal_tools(rules: ProposalRules) -> list[Tool]:
    """New tools for what the agent may propose."""
    return [PROPOSAL_TOOLS.load(name)() for name in rules.tools]


class Toolbox:
    """`tools` over what `context` names. Calls that write never overlap with others."""

    def __init__(self, tools: Sequence[Tool], context: ToolContext) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self._context = context

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model sees, in the order of the tools."""
        return tuple(tool.spec for tool in self._tools.values())

    async def run(self, calls: Sequence[ToolCall], observe: Observer) -> tuple[tuple[ToolResult, ...], Outcome | None]:
        """Runs the calls of one turn, together where that is safe: calls that write keep their order.

        The results are in the order of the calls; the outcome is that of a call that ends the run. Raises `SandboxLost`
        (the first, when several do).
        """
        context = replace(self._context, calls=len(calls))
        pairs: list[tuple[ToolResult, Outcome | None]] = []
        for writes, group in groupby(calls, self._writes):
            if writes:
                pairs += [await self._run(call, context, observe) for call in group]
            else:
                pairs += await together(*(self._run(call, context, observe) for call in group))
        outcomes = [outcome for _, outcome in pairs if outcome]
        return tuple(result for result, _ in pairs), next(iter(outcomes), None)

    def _writes(self, call: ToolCall) -> bool:
        return call.name in self._tools and self._tools[call.name].writes

    async def _run(self, call: ToolCall, context: ToolContext, observe: Observer) -> tuple[ToolResult, Outcome | None]:
        observe(ToolStarted(call=call))
        start = time.monotonic()
        try:
            output = await self._output(call, context)
        except ToolError as error:
            output = _error(str(error))
        except tuple(_FILE_ERRORS) as error:
            text = next(text for kind, text in _FILE_ERRORS.items() if isinstance(error, kind))
            output = _error(text.format((call.input or {}).get("path", ""), _reason(error)))
        except UnicodeEncodeError:
            text = "The arguments hold half a character; send the call again."
            output = ToolOutput(text=text, note="no text", is_error=True)
        seconds = time.monotonic() - start
        result = ToolResult(
            call_id=call.id, content=output.text, is_error=output.is_error, seconds=seconds, note=output.note
        )
        observe(ToolEnded(call=call, result=result))
        if output.proposal:
            observe(ProposalMade(proposal=output.proposal))
        return result, output.outcome

    async def _output(self, call: ToolCall, context: ToolContext) -> ToolOutput:
        tool = self._tools.get(call.name)
        if tool is None:
            near = closest_match(call.name, self._tools)
            suggestion = f" Did you mean {near!r}?" if near else ""
            raise ToolError(f"There is no tool {call.name!r}.{suggestion} Tools: {', '.join(self._tools)}.")
        if call.input is None:
            beginning = f"They began: {call.raw[:200]!r}."
            raise ToolError(f"The arguments were not valid JSON, so nothing was run. {beginning} Send the call again.")
        arguments = present_arguments(tool.spec, call.input)
        check_arguments(tool.spec, arguments)
        return await tool.call(arguments, context)


def _reason(error: OSError) -> str:
    """Why the system refused."""
    if error.errno in (None, errno.EACCES, errno.EPERM):
        return "permission denied"
    return one_line(error.strerror or "permission denied", 80).lower()


def _error(text: str) -> ToolOutput:
    return ToolOutput(text=text, note=one_line(text, 80), is_error=True)

"""The tools that end a run: `finish` with the typed result, and `give_up`."""

from collections.abc import Callable, Mapping

from flue_ci.agent.tools.tool import ToolContext, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON, Outcome, ToolSpec

FINISH = "finish"
_ALONE = "Call `{}` alone, after the results of the other calls."


class Finish:
    """Ends the run with a result that fits `schema`, a JSON Schema of type object; `violations(schema, value)` lists
    what is wrong with a value. Current models refuse a forced tool choice, so the result is asked for and checked."""

    writes = False

    def __init__(
        self, schema: Mapping[str, object], violations: Callable[[Mapping[str, object], object], list[str]]
    ) -> None:
        self._schema = schema
        self._violations = violations
        result = dict(schema)
        input_schema: dict[str, JSON] = {
            "type": "object",
            "properties": {"summary": {"type": "string"}, "result": result},
            "required": ["summary", "result"],
            "additionalProperties": False,
        }
        if "$defs" in result:  # go to the top, where `#/$defs/…` in the result's schema looks for them
            input_schema["$defs"] = result.pop("$defs")
        self.spec = ToolSpec(
            name=FINISH,
            description="End the run: give the result, and a summary for the people who asked.",
            input_schema=input_schema,
        )

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result that lists what does not fit, at most twenty lines."""
        if context.calls > 1:
            return _refuse(_ALONE.format(FINISH))
        if problems := self._violations(self._schema, arguments["result"]):
            lines = "\n".join(f"- {problem}" for problem in problems[:20])
            return _refuse(f"The result does not fit its schema:\n{lines}")
        return _end(Outcome(status="finished", reason="done", summary=arguments["summary"], result=arguments["result"]))


class GiveUp:
    """Ends the run without success."""

    spec = built_in_spec("give_up")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """The reason becomes the run's."""
        if context.calls > 1:
            return _refuse(_ALONE.format("give_up"))
        reason = arguments["reason"]
        return _end(Outcome(status="gave-up", reason=reason or "no reason given", summary=reason))


def _end(outcome: Outcome) -> ToolOutput:
    return ToolOutput(text="The run ends here.", note="end of the run", outcome=outcome)


def _refuse(text: str) -> ToolOutput:
    return ToolOutput(text=text, note="refused", is_error=True)

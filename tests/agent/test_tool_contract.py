"""Our tools keep the contract, and the contract notices a tool that does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema.exceptions import SchemaError

from flue_ci.agent.tools.ending import Finish, GiveUp
from flue_ci.agent.tools.tool import Tool, ToolContext, ToolError, ToolOutput, tool_spec
from flue_ci.agent.tools.toolbox import Toolbox, make_tools
from flue_ci.core.messages import ToolCall, ToolResult, ToolSpec
from flue_ci.spec.result_schema import violations
from flue_ci.testing.tool_contract import ToolContract
from tests.support.scripted import MemorySandbox


class OurToolContract(ToolContract):
    name = ""

    def make_tool(self) -> Tool:
        return make_tools([self.name])[0]

    async def run(self, tool: Any, call: ToolCall) -> ToolResult:
        sandbox = MemorySandbox()
        sandbox.files["/repo/a.txt"] = b"one\ntwo\n"
        context = ToolContext(sandbox=sandbox, workdir="/repo", command_seconds=60)
        results, _ = await Toolbox([tool], context).run([call], lambda event: None)
        return results[0]


class TestBash(OurToolContract):
    name = "bash"
    arguments = {"command": "true", "timeout": 5}


class TestRead(OurToolContract):
    name = "read"
    arguments = {"path": "a.txt", "offset": 2, "limit": 1}


class TestWrite(OurToolContract):
    name = "write"
    arguments = {"path": "b.txt", "content": "three\n"}


class TestEdit(OurToolContract):
    name = "edit"
    arguments = {"path": "a.txt", "old": "one", "new": "1", "all": True}


class TestGrep(OurToolContract):
    name = "grep"
    arguments = {"pattern": "one", "path": ".", "glob": "*.txt", "ignore_case": True}


class TestGlob(OurToolContract):
    name = "glob"
    arguments = {"pattern": "*.txt", "path": "."}


class TestFinish(OurToolContract):
    arguments = {"summary": "done", "result": {"ok": True}}

    def make_tool(self) -> Tool:
        return Finish({"type": "object", "properties": {"ok": {"type": "boolean"}}}, violations)


class TestGiveUp(OurToolContract):
    arguments = {"reason": "no compiler"}

    def make_tool(self) -> Tool:
        return GiveUp()


class Echo:
    """A tool that is right."""

    spec = tool_spec("echo", "Say it again.", "text", text=("string", ""))
    writes = False

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return ToolOutput(text=arguments["text"])


class EchoContract(OurToolContract):
    arguments = {"text": "hello"}
    tool: type[Echo] = Echo

    def make_tool(self) -> Tool:
        return self.tool()


class TestEcho(EchoContract):
    pass


class OddName(Echo):
    spec = tool_spec("say it", "Say it again.", "text", text=("string", ""))


class NotASchema(Echo):
    spec = ToolSpec(name="echo", description="x", input_schema={"type": "object", "properties": {"text": 5}})


class Restless(Echo):
    counter = 0

    def __init__(self) -> None:
        Restless.counter += 1
        self.spec = tool_spec("echo", f"Say it again, number {self.counter}.", "text", text=("string", ""))


class Wordless(Echo):
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return ToolOutput(text=" ")


class Unhappy(Echo):
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        raise ToolError("no")


class Lax(Echo):
    """Its schema promises what it does not check."""

    spec = ToolSpec(
        name="echo",
        description="Say it again.",
        input_schema={"properties": {"text": {"type": "string"}}, "required": ["text"], "type": "object"},
    )


class LaxContract(EchoContract):
    """Runs the tool without the toolbox's check, as a bad engine would."""

    async def run(self, tool: Any, call: ToolCall) -> ToolResult:
        context = ToolContext(sandbox=MemorySandbox(), workdir="/repo", command_seconds=60)
        output = await tool.call({"text": "x", **(call.input or {})}, context)
        return ToolResult(call_id=call.id, content=str(output.text), is_error=output.is_error)


class OneShot(Echo):
    """Works once: an instance that failed is of no use any more."""


class OneShotContract(EchoContract):
    async def run(self, tool: Any, call: ToolCall) -> ToolResult:
        tool.calls += 1
        result = await super().run(tool, call)
        return result if tool.calls == 1 else ToolResult(call_id=call.id, content="used up", is_error=True)


BROKEN: list[tuple[type[EchoContract], type[Echo], str]] = [
    (EchoContract, OddName, "test_the_model_can_be_given_its_spec"),
    (EchoContract, NotASchema, "test_the_model_can_be_given_its_spec"),
    (EchoContract, Restless, "test_its_spec_is_the_same_in_every_run"),
    (EchoContract, Wordless, "test_a_good_call_has_a_result"),
    (EchoContract, Unhappy, "test_a_good_call_has_a_result"),
    (LaxContract, Echo, "test_a_call_that_is_not_valid_json_is_an_error_result"),
    (LaxContract, Lax, "test_a_missing_argument_is_an_error_result"),
    (LaxContract, Lax, "test_an_argument_of_another_type_is_an_error_result"),
    (LaxContract, Echo, "test_an_unknown_argument_is_an_error_result_where_none_may_be"),
    (OneShotContract, OneShot, "test_it_works_after_a_call_that_failed"),
]


@pytest.mark.parametrize(("contract", "tool", "test"), BROKEN)
async def test_the_contract_notices_a_tool_that_is_broken(
    contract: type[EchoContract], tool: type[Echo], test: str
) -> None:
    instance = contract()
    instance.tool = tool
    with pytest.raises((AssertionError, SchemaError)):
        await getattr(instance, test)()


def test_every_test_of_the_contract_notices_something() -> None:
    tests = {name for name in dir(ToolContract) if name.startswith("test_")}
    assert tests == {test for *_, test in BROKEN}

"""The contract of a tool.

    class TestWeather(ToolContract):
        arguments = {"city": "Berlin"}

        def make_tool(self):
            return Weather()

        async def run(self, tool, call):
            context = ToolContext(sandbox=…, workdir="/repo", command_seconds=60)
            results, _ = await Toolbox([tool], context).run([call], lambda event: None)
            return results[0]

Needs pytest and pytest-asyncio.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import jsonschema
import pytest

from flue_ci.core.messages import JSON, ToolCall, ToolResult, ToolSpec

# A value of another type, for each type of JSON Schema.
_OTHER_TYPE: Mapping[str, JSON] = {
    "string": 7,
    "integer": "seven",
    "number": "seven",
    "boolean": "yes",
    "array": "a, b",
    "object": "a: b",
}


class SomeTool(Protocol):
    """What the contract itself looks at in a tool."""

    spec: ToolSpec
    writes: bool


class ToolContract:
    """Subclass it, give `arguments` of a call that works, and implement `make_tool` and `run`."""

    pytestmark = pytest.mark.asyncio
    arguments: Mapping[str, JSON]

    def make_tool(self) -> SomeTool:
        """A new instance, as for a new run."""
        raise NotImplementedError

    async def run(self, tool: Any, call: ToolCall) -> ToolResult:
        """The result of the call, run as a run would: by a `Toolbox`."""
        raise NotImplementedError

    async def test_the_model_can_be_given_its_spec(self) -> None:
        tool = self.make_tool()
        schema = dict(tool.spec.input_schema)
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool.spec.name)
        assert tool.spec.description.strip()
        assert schema["type"] == "object"
        assert set(schema.get("required", ())) <= set(schema.get("properties", {}))
        jsonschema.Draft202012Validator.check_schema(schema)
        assert isinstance(tool.writes, bool)

    async def test_its_spec_is_the_same_in_every_run(self) -> None:
        first, second = (json.dumps(asdict(self.make_tool().spec)) for _ in range(2))
        assert first == second

    async def test_a_good_call_has_a_result(self) -> None:
        result = await self._call(self.arguments)
        assert not result.is_error, result.content
        assert result.content.strip()
        assert len(result.note.splitlines()) <= 1

    async def test_a_call_that_is_not_valid_json_is_an_error_result(self) -> None:
        assert (await self._call(None)).is_error

    async def test_a_missing_argument_is_an_error_result(self) -> None:
        for name in self.make_tool().spec.input_schema.get("required", ()):
            rest = {key: value for key, value in self.arguments.items() if key != name}
            assert (await self._call(rest)).is_error, f"without {name}"

    async def test_an_argument_of_another_type_is_an_error_result(self) -> None:
        for name, schema in self.make_tool().spec.input_schema.get("properties", {}).items():
            if schema.get("type") in _OTHER_TYPE:
                value = _OTHER_TYPE[schema["type"]]
                assert (await self._call({**self.arguments, name: value})).is_error, f"{name} = {value!r}"

    async def test_an_unknown_argument_is_an_error_result_where_none_may_be(self) -> None:
        if self.make_tool().spec.input_schema.get("additionalProperties") is False:
            assert (await self._call({**self.arguments, "no_such_argument": 1})).is_error

    async def test_it_works_after_a_call_that_failed(self) -> None:
        tool = self.make_tool()
        await self.run(tool, ToolCall(id="c1", name=tool.spec.name, input=None, raw='{"bro'))
        result = await self.run(tool, ToolCall(id="c2", name=tool.spec.name, input=self.arguments))
        assert (result.call_id, result.is_error) == ("c2", False)

    async def _call(self, arguments: Mapping[str, JSON] | None) -> ToolResult:
        tool = self.make_tool()
        return await self.run(tool, ToolCall(id="c1", name=tool.spec.name, input=arguments, raw='{"bro'))

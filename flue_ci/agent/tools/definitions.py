"""The tools as the model is told of them, and the check that a call fits. Every byte here is sent with every run."""

from __future__ import annotations

from collections.abc import Mapping

from flue_ci.core.messages import JSON, ToolCall, ToolSpec
from flue_ci.core.text import closest_match

READ_LINES = 2_000
DEFAULT_SECONDS = 120.0


class ToolError(Exception):
    """Told to the model as the result of its call."""


def _tool(name: str, description: str, required: str, optional: str = "", **properties: JSON) -> ToolSpec:
    """`required` and `optional` are names that stand in `properties`: name → (type, description)."""
    shape = {
        key: {"type": kind, "description": text} if text else {"type": kind} for key, (kind, text) in properties.items()
    }
    assert set(shape) == {*required.split(), *optional.split()}
    schema = {"type": "object", "properties": shape, "required": required.split(), "additionalProperties": False}
    return ToolSpec(name=name, description=description, input_schema=schema)


SPECS: Mapping[str, ToolSpec] = {
    spec.name: spec
    for spec in (
        _tool(
            "bash",
            "Run a shell command in the repository. Output and errors come back in order, with the exit code. Long "
            "output is cut in the middle and kept in a file. Calls of one turn run at the same time; join steps that "
            "depend on each other with &&.",
            "command",
            "timeout",
            command=("string", ""),
            timeout=("number", f"seconds, default {DEFAULT_SECONDS:.0f}; then everything it started is ended"),
        ),
        _tool(
            "read",
            f"Read a text file with line numbers, {READ_LINES} lines at most at a time; says where it continues. Also "
            "lists a directory.",
            "path",
            "offset limit",
            path=("string", "relative to the repository, or absolute"),
            offset=("integer", "first line, from 1"),
            limit=("integer", "number of lines"),
        ),
        _tool(
            "write",
            "Create a file or replace a whole one. Makes missing directories.",
            "path content",
            path=("string", ""),
            content=("string", ""),
        ),
        _tool(
            "edit",
            "Replace an exact piece of a file. `old` must occur once, with its indentation, unless `all` is true.",
            "path old new",
            "all",
            path=("string", ""),
            old=("string", ""),
            new=("string", ""),
            all=("boolean", "replace every occurrence"),
        ),
        _tool(
            "grep",
            "Search file contents by regular expression (ignored files left out). Gives path:line:text.",
            "pattern",
            "path glob ignore_case",
            pattern=("string", ""),
            path=("string", "file or directory, default the repository"),
            glob=("string", "only files like **/*.py"),
            ignore_case=("boolean", ""),
        ),
        _tool(
            "glob",
            "List files by name pattern such as src/**/*.ts (ignored files left out).",
            "pattern",
            "path",
            pattern=("string", ""),
            path=("string", "directory, default the repository"),
        ),
    )
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def validate_call(call: ToolCall, specs: tuple[ToolSpec, ...]) -> Mapping[str, JSON]:
    """The call's arguments when tool, names and types fit. Raises `ToolError` with what the model should do instead."""
    known = {spec.name: spec for spec in specs}
    if call.name not in known:
        near = closest_match(call.name, known)
        meant = f" Did you mean {near!r}?" if near else ""
        raise ToolError(f"There is no tool {call.name!r}.{meant} Tools: {', '.join(known)}.")
    if call.input is None:
        began = f"They began: {call.raw[:200]!r}."
        raise ToolError(f"The arguments were not valid JSON, so nothing was run. {began} Send the call again.")
    schema = known[call.name].input_schema
    for name in schema["required"]:
        if name not in call.input:
            raise ToolError(f"{call.name}: {name!r} is missing.")
    for name, value in call.input.items():
        if name not in schema["properties"]:
            raise ToolError(f"{call.name}: there is no argument {name!r}; it takes {', '.join(schema['properties'])}.")
        kind = schema["properties"][name]["type"]
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            raise ToolError(f"{call.name}: {name!r} must be of type {kind}.")
    return call.input

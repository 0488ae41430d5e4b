"""What a tool is: how the model sees it, how it is called, what it answers, and the check that a call fits."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flue_ci.core.messages import JSON, Outcome, ToolSpec
from flue_ci.core.ports import Sandbox
from flue_ci.core.proposals import Proposal, ProposalRules

RESULT_BYTES = 13_000  # of a command's output in a result, so that with its notes it stays below 16 KB
CONTENT_BYTES = 20_000_000  # of all contents that are remembered; the oldest go first
_SPECS = tomllib.loads(Path(__file__).with_name("specs.toml").read_text("utf-8"))
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


class ToolError(Exception):
    """A call that cannot be done. The message is the result that the model gets: what is wrong and what to do."""


class FileContents:
    """What files held when a tool last saw them, by absolute path, so that an edit of a file that was read is one
    request. What the sandbox holds may be another thing by now: who writes compares first."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._size = 0

    def get(self, path: str) -> bytes | None:
        """The content as it was last seen; None when it is not known."""
        return self._contents.get(path)

    def put(self, path: str, data: bytes) -> None:
        """Remembers what the file holds."""
        self.forget(path)
        self._contents[path] = data
        self._size += len(data)
        while self._size > CONTENT_BYTES:
            self.forget(next(iter(self._contents)))

    def forget(self, path: str) -> None:
        """The file holds something else by now, or nothing."""
        self._size -= len(self._contents.pop(path, b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a call acts on. `workdir` is the repository's absolute path inside the sandbox, `command_seconds` the
    longest that one command may take, `calls` the number of calls in this turn of the model, `contents` what the tools
    of this run have seen of files, `rules` what the agent may propose."""

    sandbox: Sandbox
    workdir: str
    command_seconds: float
    calls: int = 1
    contents: FileContents = field(default_factory=FileContents)
    rules: ProposalRules = field(default_factory=ProposalRules)

    def path(self, path: str) -> str:
        """`path` as the model gives it, absolute: it is relative to the repository, `~` is the home inside. Raises
        `ToolError`."""
        if "\0" in path:
            raise ToolError("A path cannot contain a NUL character.")
        if path == "~" or path.startswith("~/"):
            return self.sandbox.info.home + path[1:]
        if path in ("", "."):
            return self.workdir
        return path if path.startswith("/") else f"{self.workdir}/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """A tool's answer: `text` for the model, `note` (one short line) for people. An `outcome` ends the run. A
    `proposal` is for the report, also one that was not accepted."""

    text: str
    note: str = ""
    is_error: bool = False
    outcome: Outcome | None = None
    proposal: Proposal | None = None


class Tool(Protocol):
    """Something that the model can call. One instance serves one run.

    `spec` is the same bytes in every run: it is part of the cached prefix. `writes`: it changes files, so that it never
    overlaps with another call. Its schema is of type object; types of its properties and required names are checked
    before `call`, everything else by the tool itself.
    """

    spec: ToolSpec
    writes: bool

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """Does it. Raises `ToolError`, what `Sandbox` raises, and nothing else. May overlap with other calls."""


def tool_spec(name: str, description: str, needs: str, **properties: JSON) -> ToolSpec:
    """A spec with simple arguments, which are `properties`: name → (type, description or empty text). `needs` are the
    names of those that are required, separated by blanks. Every byte of it is sent with every run."""
    shape = {}
    for key, (kind, text) in properties.items():
        shape[key] = {"type": kind}
        if text:
            shape[key]["description"] = text
    assert shape.keys() >= {*needs.split()}
    schema = {"type": "object", "properties": shape, "required": needs.split(), "additionalProperties": False}
    return ToolSpec(name=name, description=description, input_schema=schema)


def built_in_spec(name: str) -> ToolSpec:
    """The spec of one of our own tools, as `specs.toml` has it."""
    fields = _SPECS[name]
    return tool_spec(name, fields["description"], fields["needs"], **fields["properties"])


def present_arguments(spec: ToolSpec, arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """`arguments` without those that are null where null is no value: some models name every argument."""
    properties: Mapping[str, JSON] = spec.input_schema.get("properties", {})
    return {name: value for name, value in arguments.items() if value is not None or _takes_null(properties.get(name))}


def _takes_null(schema: JSON) -> bool:
    if not isinstance(schema, Mapping):
        return schema is True
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list) and "null" in kind)
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return None in schema.get("enum", (None,)) and (not choices or any(map(_takes_null, choices)))


def check_arguments(spec: ToolSpec, arguments: Mapping[str, JSON]) -> None:
    """Raises `ToolError` when names or types do not fit, with what the model should do instead."""
    schema = spec.input_schema
    properties: Mapping[str, JSON] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in arguments:
            raise ToolError(f"{spec.name}: {name!r} is missing.")
    for name, value in arguments.items():
        if name not in properties:
            if schema.get("additionalProperties") is False:
                raise ToolError(f"{spec.name}: there is no argument {name!r}; it takes {', '.join(properties)}.")
            continue
        kind = properties[name].get("type")
        if (
            isinstance(kind, str)
            and kind in _TYPES
            and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"))
        ):
            raise ToolError(f"{spec.name}: {name!r} must be of type {kind}.")

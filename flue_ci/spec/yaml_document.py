"""Strict YAML with positions: the one home of PyYAML.

Reads the core of YAML 1.2 and nothing that two readers could understand differently. The meaning of the keys is left to
`spec.schema` and `spec.rules`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.core.hidden_characters import remove_hidden
from flue_ci.core.text import human_bytes, one_line
from flue_ci.spec.hidden_text import hidden_characters
from flue_ci.spec.yaml_scalars import is_text_key, read_plain

MAX_BYTES = 262_144
MAX_DEPTH = 50
MAX_NODES = 20_000

KeyPath = tuple[str | int, ...]  # keys and indexes from the top
Position = tuple[int, int]  # line and column, from 1

_WIDE_SPACE = "[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]"  # looks like a space, and is text to YAML
# Where people take it for one of YAML's: around a scalar, before a comment, after `:` and `-`.
_MISLEADING_SPACE = re.compile(f"^{_WIDE_SPACE}|{_WIDE_SPACE}(?=#|$)|(?:^[-?]|:){_WIDE_SPACE}")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """The position of a value and of its key, counted from 1; 0 for unknown. `raw` is the source of a plain scalar.

    `block` is the line where the text of a literal block (`|`) begins, 0 for anything else: only in such a block is
    each line of the text a line of the file.
    """

    key: Position
    line: int
    column: int
    raw: str = ""
    block: int = 0


_NOWHERE = SourceLocation(key=(0, 0), line=0, column=0)  # in a spec made in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A mapping of plain values (dict, list, str, int, float, bool, None), the location of each, and what is wrong.

    A value that has a problem is still in `data`, as text or as its first meaning, so that reading can go on;
    `invalid_paths` holds the paths of such values. `external` names the origin of values that do not stand in the file.
    """

    file: str = ""
    data: dict[str, object] = field(default_factory=dict)
    locations: Mapping[KeyPath, SourceLocation] = field(default_factory=dict)
    problems: tuple[Diagnostic, ...] = ()
    invalid_paths: frozenset[KeyPath] = frozenset()
    external: Mapping[KeyPath, str] = field(default_factory=dict)

    def location(self, path: KeyPath) -> SourceLocation:
        """The location of `path`, or of the nearest value around it that exists."""
        while path and path not in self.locations:
            path = path[:-1]
        return self.locations.get(path, _NOWHERE)

    def locate(
        self, path: KeyPath, problem: Diagnostic, *, at_key: bool = False, near: KeyPath | None = None
    ) -> Diagnostic:
        """`problem` with the file, line, column and key of the value at `path`, or of its key.

        `problem.line` is the line within a text of several, from 1; 0 for the value as a whole. `near` is the path to
        point to where there is nothing at `path`.
        """
        key, line, message = format_path(path), problem.line, problem.message
        origin = self._origin(path)
        if origin is not None:
            return replace(problem, file=origin, line=0, column=0, key=key)
        location = self.location(path if near is None else near)
        position = location.key if at_key else (location.line, location.column)
        if line and location.block:
            position = location.block + line - 1, 1
        elif line > 1:
            message = f"line {line} of the text: {message}"
        return replace(problem, message=message, file=self.file, line=position[0], column=position[1], key=key)

    def is_external(self, path: KeyPath) -> bool:
        """Whether the value at `path` does not stand in the file."""
        return self._origin(path) is not None

    def _origin(self, path: KeyPath) -> str | None:
        """The origin of a value that does not stand in the file; None for one that does."""
        for other, origin in self.external.items():
            if path[: len(other)] == other or (other[: len(path)] == path and path not in self.locations):
                return origin
        return None


def format_path(path: KeyPath) -> str:
    """`("sandbox", "setup", 0)` as `sandbox.setup[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]{1,64}", part):
            text += f".{part}" if text else part
        else:
            text += f'["{one_line(part, 40)}"]'
    return text


def parse(data: bytes, file: str) -> Document:
    """Read a YAML file that has a mapping at the top. `file` only names it.

    Raises `SpecError` when it cannot be read at all; problems with single values are in the document.
    """
    top = _compose(_decode(data, file), file)
    if not isinstance(top, yaml.MappingNode):
        kind = f"the text {one_line(top.value, 40)!r}" if isinstance(top, yaml.ScalarNode) else "a list"
        raise _fatal(file, _position(top.start_mark), f"the file must hold `key: value` pairs, found {kind}")
    return _Reader(file).read(top)


def parse_value(text: str, file: str) -> object:
    """One value as it would stand after a key, for settings from the command line. Raises `SpecError`."""
    document = parse(b"value: " + text.encode(errors="replace"), file)
    if document.problems:
        raise SpecError(document.problems)
    return document.data["value"]


_WHOLE_FILE = (0, 0)
_START = "`flue-ci init` writes one to start from"


def _fatal(file: str, position: Position, message: str, hint: str = "") -> SpecError:
    line, column = position
    return SpecError((Diagnostic(file=file, line=line, column=column, message=message, hint=hint),))


# Encodings of more than a byte, as YAML tells them apart: by the byte order mark, or a first character of ASCII.
_WIDE = re.compile(rb"(\xff\xfe\0\0|\0\0\xfe\xff|\0\0\0[^\0]|[^\0]\0\0\0)|\xff\xfe|\xfe\xff|\0[^\0]|[^\0]\0", re.DOTALL)


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise _fatal(file, _WHOLE_FILE, f"is larger than {human_bytes(MAX_BYTES)}, too large for an agent spec")
    if match := _WIDE.match(data):
        encoding = "UTF-32" if match[1] else "UTF-16"
        raise _fatal(file, (1, 1), f"the file is {encoding}, not UTF-8", "save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        position = _end_of(data[: error.start].decode())
        raise _fatal(file, position, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8") from None
    text = text.removeprefix("\ufeff")
    if problems := hidden_characters(text, file):
        raise SpecError(problems)
    if not text.strip():
        raise _fatal(file, _WHOLE_FILE, "the file is empty", _START)
    return text


def _end_of(text: str) -> Position:
    """The position of the character after `text`."""
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1


def _position(mark: Any) -> Position:
    """The position of PyYAML's mark."""
    return _WHOLE_FILE if mark is None else (mark.line + 1, mark.column + 1)


class _Loader(yaml.BaseLoader):
    """PyYAML's reader, with limits and without tags. `BaseLoader` gives scalars no type: `yaml_scalars` does."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self._file = file
        self._anchors: dict[str, yaml.Node] = {}
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node. Unlike PyYAML, an anchor can be set again, and is known only after the value that has it."""
        self._count += 1
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            return self._resolve(event)
        is_collection = isinstance(event, yaml.CollectionStartEvent)
        self._check(event, is_collection=is_collection)
        anchor, event.anchor = event.anchor, None
        self._depth += is_collection
        node = super().compose_node(parent, index)
        self._depth -= is_collection
        if anchor is not None and node is not None:
            self._anchors[anchor] = node
        return node

    def _check(self, event: yaml.NodeEvent, *, is_collection: bool) -> None:
        if self._count > MAX_NODES:
            raise self._error(event, f"the file has more than {MAX_NODES:,} values")
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = one_line(tag.replace("tag:yaml.org,2002:", "!!"), 40)
            raise self._error(event, f"the tag `{name}` is not used here", "remove it; text goes in quotes")
        if is_collection and self._depth >= MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} levels deep")
        text = getattr(event, "value", "")
        if match := _UNUSABLE.search(text):
            message = f"text with the character U+{ord(match[0]):04X}, which nothing here can hold"
            raise self._error(event, message, "remove it")
        if getattr(event, "style", None) is None and (match := _MISLEADING_SPACE.search(text)):
            message = f"a space that YAML takes for text, U+{ord(match[0][-1]):04X}"
            raise self._error(event, message, "type an ordinary space, or put the text in quotes")

    def _resolve(self, alias: yaml.AliasEvent) -> yaml.Node:
        if alias.anchor in self._anchors:
            return self._anchors[alias.anchor]
        name = one_line(str(alias.anchor), 40)
        raise self._error(alias, f"`*{name}` refers to nothing before it", f"mark the value with `&{name}`")

    def _error(self, event: yaml.Event, message: str, hint: str = "") -> SpecError:
        return _fatal(self._file, _position(event.start_mark), message, hint)


def _compose(text: str, file: str) -> yaml.Node:
    try:
        top = _Loader(text, file).get_single_node()
    except yaml.MarkedYAMLError as error:
        position, message, hint = _explain(error)
        if re.search(_WIDE_SPACE, "".join(text.split("\n")[position[0] - 1 : position[0]])):
            hint = "the line has a space that is none to YAML, such as a no-break space: type it again"
        raise _fatal(file, position, message, hint) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # escapes and directives with numbers beyond all bounds
        raise _fatal(file, _WHOLE_FILE, "the file has an escape or a directive that is not valid YAML") from None
    if top is None:
        raise _fatal(file, _WHOLE_FILE, "the file holds nothing but comments", _START)
    return top


class _Reader:
    """Nodes to plain values and locations. Aliases are written out, within the same limits as values that are typed."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._locations: dict[KeyPath, SourceLocation] = {}
        self._problems: list[Diagnostic] = []
        self._invalid: set[KeyPath] = set()

    def read(self, top: yaml.MappingNode) -> Document:
        return Document(
            file=self._file,
            data=self._read_mapping(top, (), _position(top.start_mark)),
            locations=self._locations,
            problems=tuple(self._problems),
            invalid_paths=frozenset(self._invalid),
        )

    def _report(self, path: KeyPath, node: yaml.Node, message: str, hint: str = "") -> None:
        self._invalid.add(path)
        line, column = _position(node.start_mark)
        problem = Diagnostic(
            file=self._file, line=line, column=column, key=format_path(path), message=message, hint=hint
        )
        self._problems.append(problem)

    def _read(self, node: yaml.Node, path: KeyPath, key: Position) -> object:
        if len(path) > MAX_DEPTH or len(self._locations) > MAX_NODES:
            position = _position(node.start_mark)
            raise _fatal(self._file, position, "aliases make this far too large", "write less with `*`")
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path, key)
        self._save_location(node, path, key)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, (*path, i), _position(item.start_mark)) for i, item in enumerate(node.value)]
        if not _is_plain(node):
            return node.value
        value, message, hint = read_plain(node.value)
        if message:
            self._report(path, node, message, hint)
        return value

    def _save_location(self, node: yaml.Node, path: KeyPath, key: Position) -> None:
        line, column = _position(node.start_mark)
        raw = node.value if _is_plain(node) else ""
        block = line + 1 if isinstance(node, yaml.ScalarNode) and node.style == "|" else 0
        self._locations[path] = SourceLocation(key=key, line=line, column=column, raw=raw, block=block)

    def _read_mapping(self, node: yaml.MappingNode, path: KeyPath, key: Position) -> dict[str, object]:
        self._save_location(node, path, key)
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            name = self._read_key(key_node, path, in_braces=node.flow_style)
            if name is None:
                continue
            if name in values:
                line = self._locations[(*path, name)].key[0]
                self._report((*path, name), key_node, "the same key twice", f"it is already in line {line}")
                continue
            values[name] = self._read(value_node, (*path, name), _position(key_node.start_mark))
        return values

    def _read_key(self, node: yaml.Node, path: KeyPath, *, in_braces: bool) -> str | None:
        """The name of a key; None, and a problem, for one that is not text."""
        if isinstance(node, yaml.SequenceNode):
            self._report(path, node, "a key must be text, found a list")
        elif isinstance(node, yaml.MappingNode):
            hint = "put text that begins with `{{` in quotes, or write it as a block after `|`"
            self._report(path, node, "a key must be text, found a mapping", hint if in_braces else "")
        elif _is_plain(node) and node.value == "<<":
            self._report(path, node, "merge keys (`<<`) are not part of YAML 1.2", "write the keys out")
        elif re.search(_WIDE_SPACE, node.value) or remove_hidden(node.value) != node.value:
            hint = "write it with ordinary spaces and visible characters"
            self._report(path, node, f"the key {ascii(node.value)[:60]} is not what it looks like", hint)
        elif _is_plain(node) and not is_text_key(node.value):
            name = one_line(node.value, 40)
            self._report((*path, node.value), node, f"the key `{name}` is not text", f'put it in quotes: "{name}"')
        else:
            return str(node.value)
        return None


def _is_plain(node: yaml.Node) -> bool:
    """Whether the node is a scalar without quotes."""
    return isinstance(node, yaml.ScalarNode) and node.style is None


_EXPLANATIONS = (
    (r"found character '\\t'", "a tab where YAML allows only spaces", "indent with spaces"),
    (r"found character '(?P<c>[^']+)' that cannot", "text cannot begin with `{c}`", "put it in quotes"),
    (r"mapping values are not allowed", "a `:` that does not fit", "check indentation; text with `: ` goes in quotes"),
    (r"could not find expected ':'", "a line without `key:`", "check the indentation of the lines before it"),
    (r"expected <block end>, but found '-'", "a list item that does not fit here", "indent list items alike"),
    (r"expected <block end>", "this does not fit what stands before it", "check indentation, quotes and commas"),
    (r"expected ',' or '\]'", "a list in `[ ]` is not closed, or a comma is missing", ""),
    (r"expected ',' or '\}'", "a mapping in `{{ }}` is not closed, or a comma is missing", ""),
    (r"found unexpected end of stream", "a quote is not closed", ""),
    (r"found unknown escape character '(?P<c>.)'", "`\\{c}` means nothing in double quotes", "use single quotes"),
    (r"expected alphabetic or numeric", "`&` and `*` need a name after them", "in text they go in quotes"),
    (r"but found another document", "a second document starts here", "one file holds one agent spec"),
)


def _explain(error: yaml.MarkedYAMLError) -> tuple[Position, str, str]:
    """A syntax error in plain words: position, message, hint. What is not closed is shown at its beginning."""
    problem = error.problem or "no reason given"
    for pattern, message, hint in _EXPLANATIONS:
        if match := re.search(pattern, problem):
            mark = error.problem_mark
            if "is not closed" in message:
                mark = error.context_mark or mark
            return _position(mark), message.format(**match.groupdict()), hint
    return _position(error.problem_mark or error.context_mark), f"not valid YAML: {one_line(problem)}", ""

"""Strict YAML with positions: the one home of PyYAML.

Reads the core of YAML 1.2 and nothing that two readers could understand differently; what the keys mean is for `spec`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.core.text import human_bytes, one_line
from flue_ci.spec.yaml_scalars import is_text_key, read_plain

MAX_BYTES = 262_144
MAX_DEPTH = 50
MAX_NODES = 20_000

KeyPath = tuple[str | int, ...]  # keys and indexes from the top

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """Where a value stands, counted from 1. `raw` is the source of a plain scalar.

    `block` is the line where the text of a literal block (`|`) begins, 0 for anything else: only there is each line of
    the text a line of the file.
    """

    key_line: int
    key_column: int
    line: int
    column: int
    raw: str = ""
    block: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A mapping of plain values (dict, list, str, int, float, bool, None), the place of each, and what is wrong.

    A value that has a problem is still in `data`, as text or as its first meaning, so that reading can go on; `flawed`
    holds the paths of such values. `elsewhere` names where values come from that do not stand in the file.
    """

    file: str
    data: dict[str, object]
    places: Mapping[KeyPath, SourceLocation]
    problems: tuple[Diagnostic, ...] = ()
    invalid_paths: frozenset[KeyPath] = frozenset()
    elsewhere: Mapping[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> SourceLocation:
        """The place of `path`, or of the nearest thing around it that exists."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def diagnostic(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        *,
        at: KeyPath | None = None,
        at_key: bool = False,
        line: int = 0,
    ) -> Diagnostic:
        """A problem of the value at `path`, or of its key.

        `at`: shown at another path. `line`: the line within a text of several, from 1; 0 for the value as a whole.
        """
        origin = self._origin(path)
        if origin is not None:
            return Diagnostic(file=origin, line=0, column=0, key=format_path(path), message=message, hint=hint)
        place = self.place(path if at is None else at)
        where = (place.key_line, place.key_column) if at_key else (place.line, place.column)
        if line and place.block:
            where = (place.block + line - 1, 1)
        elif line > 1:
            message = f"line {line} of the text: {message}"
        return Diagnostic(
            file=self.file, line=where[0], column=where[1], key=format_path(path), message=message, hint=hint
        )

    def _origin(self, path: KeyPath) -> str | None:
        """What a value comes from that does not stand in the file."""
        for known, origin in self.elsewhere.items():
            if path[: len(known)] == known or (known[: len(path)] == path and path not in self.places):
                return origin
        return None


@dataclass(slots=True)
class _Scalar:
    text: str
    plain: bool
    line: int
    column: int
    block: int = 0


@dataclass(slots=True)
class _List:
    line: int
    column: int
    items: list[_Node] = field(default_factory=list)


@dataclass(slots=True)
class _Map:
    line: int
    column: int
    flow: bool = False
    items: list[tuple[_Node, _Node]] = field(default_factory=list)
    key: _Node | None = None  # read, and waiting for its value


_Node = _Scalar | _List | _Map


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
    text = _decode(data, file)
    top = _Composer(file).compose(text)
    if not isinstance(top, _Map):
        found = "a list" if isinstance(top, _List) else f"the text {one_line(top.text, 40)!r}"
        raise _fatal(file, (top.line, top.column), f"the file must hold `key: value` pairs, found {found}")
    return _Reader(file).read(top)


def parse_value(text: str, file: str) -> object:
    """One value as it would stand after a key, for settings from the command line. Raises `SpecError`."""
    document = parse(b"value: " + text.encode(errors="replace"), file)
    if document.problems:
        raise SpecError(document.problems)
    return document.data["value"]


def _fatal(file: str, at: tuple[int, int], message: str, hint: str = "") -> SpecError:
    return SpecError((Diagnostic(file=file, line=at[0], column=at[1], key="", message=message, hint=hint),))


_WHOLE = (0, 0)
_START = "`flue-ci init` writes one to start from"


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise _fatal(file, _WHOLE, f"is larger than {human_bytes(MAX_BYTES)}, too large for an agent spec")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _fatal(file, (1, 1), "the file is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at = _end_of(data[: error.start].decode())
        raise _fatal(file, at, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8") from None
    text = text.removeprefix("\ufeff")
    for pattern, message in (
        (_UNPRINTABLE, "control character U+{:04X}"),
        (_REORDERING, "invisible character U+{:04X}, which makes text read differently from what it is"),
    ):
        if found := pattern.search(text):
            raise _fatal(file, _end_of(text[: found.start()]), message.format(ord(found[0])), "remove it")
    if not text.strip():
        raise _fatal(file, _WHOLE, "the file is empty", _START)
    return text


def _end_of(text: str) -> tuple[int, int]:
    """Line and column of the character after `text`."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines), len(lines[-1]) + 1


def _at(mark: Any) -> tuple[int, int]:
    """Line and column of PyYAML's mark."""
    return (mark.line + 1, mark.column + 1) if mark else _WHOLE


class _Composer:
    """Events to nodes, with a stack of its own: hostile nesting meets a limit instead of Python's."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._stack: list[tuple[_List | _Map, str | None]] = []
        self._anchors: dict[str | None, _Node] = {}
        self._top: _Node | None = None
        self._nodes = 0

    def compose(self, text: str) -> _Node:
        documents = 0
        for event in self._events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._wrong(event, "a second document starts here", "one file holds one agent spec")
            elif isinstance(event, yaml.AliasEvent):
                self._add(self._alias(event), None)
            elif isinstance(event, yaml.ScalarEvent):
                self._add(self._scalar(event), event.anchor)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._add(*self._stack.pop())
        if self._top is None:
            raise _fatal(self._file, _WHOLE, "the file holds nothing but comments", _START)
        return self._top

    def _events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            raise _fatal(self._file, *_explain(error)) from None
        except (yaml.YAMLError, ValueError, OverflowError):  # escapes and directives with numbers beyond all bounds
            raise _fatal(self._file, _WHOLE, "the file has an escape or a directive that is not valid YAML") from None

    def _wrong(self, event: yaml.Event, message: str, hint: str = "") -> SpecError:
        return _fatal(self._file, _at(event.start_mark), message, hint)

    def _count(self, event: yaml.NodeEvent) -> tuple[int, int]:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._wrong(event, f"the file has more than {MAX_NODES:,} values")
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = one_line(tag.replace("tag:yaml.org,2002:", "!!"), 40)
            raise self._wrong(event, f"the tag `{shown}` is not used here", "remove it; text goes in quotes")
        return _at(event.start_mark)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        at = self._count(event)
        if len(self._stack) >= MAX_DEPTH:
            raise self._wrong(event, f"nested more than {MAX_DEPTH} levels deep")
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = _Map(*at, flow=bool(event.flow_style)) if mapping else _List(*at)
        self._stack.append((node, event.anchor))

    def _scalar(self, event: yaml.ScalarEvent) -> _Scalar:
        line, column = self._count(event)
        if found := _UNUSABLE.search(event.value):
            what = f"text with the character U+{ord(found[0]):04X}, which nothing here can hold"
            raise self._wrong(event, what, "remove it")
        block = line + 1 if event.style == "|" else 0
        return _Scalar(event.value, event.style is None, line, column, block)

    def _alias(self, event: yaml.AliasEvent) -> _Node:
        self._nodes += 1
        node = self._anchors.get(event.anchor)
        if node is None:
            name = one_line(str(event.anchor), 40)
            raise self._wrong(event, f"`*{name}` refers to nothing before it", f"mark the value with `&{name}`")
        return node

    def _add(self, node: _Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self._top = node
            return
        parent, _ = self._stack[-1]
        if isinstance(parent, _List):
            parent.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            parent.items.append((parent.key, node))
            parent.key = None


class _Reader:
    """Nodes to plain values and places. Aliases are written out, within the same limits as if they had been typed."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._places: dict[KeyPath, SourceLocation] = {}
        self._problems: list[Diagnostic] = []
        self._flawed: set[KeyPath] = set()

    def read(self, top: _Map) -> Document:
        data = self._map(top, (), (top.line, top.column))
        problems, flawed = tuple(self._problems), frozenset(self._flawed)
        return Document(file=self._file, data=data, places=self._places, problems=problems, invalid_paths=flawed)

    def _problem(self, path: KeyPath, node: _Node, message: str, hint: str = "") -> None:
        self._flawed.add(path)
        where = Diagnostic(
            file=self._file, line=node.line, column=node.column, key=format_path(path), message=message, hint=hint
        )
        self._problems.append(where)

    def _value(self, node: _Node, path: KeyPath, key: tuple[int, int]) -> object:
        if len(path) > MAX_DEPTH or len(self._places) > MAX_NODES:
            raise _fatal(self._file, (node.line, node.column), "aliases make this far too large", "write less with `*`")
        if isinstance(node, _Map):
            return self._map(node, path, key)
        self._note(node, path, key)
        if isinstance(node, _List):
            return [self._value(item, (*path, i), (item.line, item.column)) for i, item in enumerate(node.items)]
        if not node.plain:
            return node.text
        value, message, hint = read_plain(node.text)
        if message:
            self._problem(path, node, message, hint)
        return value

    def _note(self, node: _Node, path: KeyPath, key: tuple[int, int]) -> None:
        raw, block = (node.text if node.plain else "", node.block) if isinstance(node, _Scalar) else ("", 0)
        self._places[path] = SourceLocation(
            key_line=key[0], key_column=key[1], line=node.line, column=node.column, raw=raw, block=block
        )

    def _map(self, node: _Map, path: KeyPath, key: tuple[int, int]) -> dict[str, object]:
        self._note(node, path, key)
        found: dict[str, object] = {}
        for key_node, value_node in node.items:
            name = self._key(key_node, path, in_braces=node.flow)
            if name is None:
                continue
            if name in found:
                first = self._places[(*path, name)].key_line
                self._problem((*path, name), key_node, "the same key twice", f"it is already in line {first}")
                continue
            found[name] = self._value(value_node, (*path, name), (key_node.line, key_node.column))
        return found

    def _key(self, node: _Node, path: KeyPath, *, in_braces: bool) -> str | None:
        if not isinstance(node, _Scalar):
            found = "a list" if isinstance(node, _List) else "a mapping"
            template = in_braces and isinstance(node, _Map)
            hint = "put text that begins with `{{` in quotes, or write it as a block after `|`" if template else ""
            self._problem(path, node, f"a key must be text, found {found}", hint)
        elif node.plain and node.text == "<<":
            self._problem(path, node, "merge keys (`<<`) are not part of YAML 1.2", "write the keys out")
        elif node.plain and not is_text_key(node.text):
            shown = one_line(node.text, 40)
            self._problem((*path, node.text), node, f"the key `{shown}` is not text", f'put it in quotes: "{shown}"')
        else:
            return node.text
        return None


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
)


def _explain(error: yaml.MarkedYAMLError) -> tuple[tuple[int, int], str, str]:
    """A syntax error in plain words: place (of what is not closed, where that is the matter), message, hint."""
    problem = error.problem or "no reason given"
    for pattern, message, hint in _EXPLANATIONS:
        if found := re.search(pattern, problem):
            unclosed = "is not closed" in message and error.context_mark
            return _at(unclosed or error.problem_mark), message.format(**found.groupdict()), hint
    return _at(error.problem_mark or error.context_mark), f"not valid YAML: {one_line(problem)}", ""

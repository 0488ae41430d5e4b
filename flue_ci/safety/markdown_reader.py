"""Reads Markdown as GitHub does: CommonMark with tables, strikethrough, task lists, bare addresses and footnotes. The
tree of a text is made of nodes that know their places in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from flue_ci.core.startup import without_collection
from flue_ci.safety.markdown_parser import Span, Token, UnreadableMarkdown, link_parts, parse_markdown

__all__ = ["Node", "Span", "UnreadableMarkdown", "read_markdown"]

_SPACE = "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_LABEL = re.compile(r"(?:[^\\\]]|\\.)*\]", re.DOTALL)
_KINDS = {
    **{"paragraph": "paragraph", "heading": "heading", "blockquote": "quote", "bullet_list": "list", "hr": "rule"},
    **{"ordered_list": "list", "list_item": "item", "table": "table", "tr": "row", "th": "cell", "td": "cell"},
    **{"footnote_reference": "footnote", "fence": "fence", "code_block": "indented", "html_block": "html_block"},
    **{"definition": "definition", "em": "emphasis", "strong": "strong", "s": "strike", "link": "link"},
    **{"code_inline": "code", "html_inline": "html", "image": "image", "footnote_ref": "footnote_use"},
    **{"softbreak": "break", "hardbreak": "break", "address": "autolink", "text": "text"},
}
_NO_PARTS: Mapping[str, Span] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A block or an inline node.

    `kind` of blocks: `document`, `paragraph`, `heading`, `quote`, `list`, `item`, `fence`, `indented` (code), `rule`,
    `html_block`, `table`, `row`, `cell`, `surplus_cell` (more cells than the table has columns), `definition` (of a
    link), `footnote`. Of inline nodes: `text`, `escape` (a backslash and a sign), `entity`, `break` (also a plain line
    end: GitHub breaks a comment's lines), `code`, `emphasis`, `strong`, `strike`, `link`, `image`, `autolink`, `html`
    (a tag, a comment, an instruction …), `footnote_use`.

    `start` and `end` bound it in the text, markers included: `text[start:end]`. A block begins at its marker or first
    letter, and ends at the end of its last line. A block of several lines has the prefixes of the blocks around it
    within; `lines` are its lines from the first letter on, for `paragraph`, `heading`, `fence` (with the fences),
    `indented`, `html_block`, `row` and `definition`.

    `content`: what a reader gets: the letters of `text`, `escape` and `entity` (decoded); the code of `code`, `fence`
    and `indented`; the source of `html` and `html_block`; the alternative text of an `image`, as source.
    `target`: where a `link`, `image`, `autolink` or `definition` leads, with entities and escapes decoded; a bare
    address as it is written. `title`: the words of theirs that appear when somebody points at them.
    `label`: the normalized label by which a `link`, an `image` or a `definition` refers, the name of a `footnote`, its
    use; "" for an inline link. `used`: of a `definition` or a `footnote`, whether anything refers to it.
    `parts`: named ranges in the text: `label` (the text of a link or image; a definition's or footnote's label),
    `target`, `title` (with its quotes) and `info` (what stands behind an opening fence); only those that there are.
    `level`: of a heading, 1 to 6.
    """

    kind: str
    start: int
    end: int
    children: tuple[Node, ...] = ()
    lines: tuple[Span, ...] = ()
    content: str = ""
    target: str = ""
    title: str = ""
    label: str = ""
    used: bool = True
    parts: Mapping[str, Span] = field(default_factory=lambda: _NO_PARTS)
    level: int = 0

    def walk(self) -> Iterator[Node]:
        """This node and all below it, each before its children, in the order of the text."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += reversed(node.children)


def read_markdown(text: str) -> Node:
    """The tree of `text`; its root is a `document`. The time is linear.

    Line ends may be LF, CRLF or CR. Bare addresses (`https://…`, `ftp://…`, `www.…`) are `autolink` nodes whose target
    is as written; bare e-mail addresses are text. Raises `UnreadableMarkdown`.
    """
    source = text.replace("\r\n", " \n").replace("\r", "\n").replace("\0", "\ufffd")  # as long as before
    with without_collection():
        return _TreeBuilder(source, parse_markdown(source)).document()


class _TreeBuilder:
    """Makes nodes of tokens."""

    def __init__(self, source: str, tokens: list[Token]) -> None:
        self._source = source
        self._tokens = tokens
        self._labels: set[str] = set()  # that links, images and uses of footnotes refer to

    def document(self) -> Node:
        children, _ = self._blocks(0)
        root = Node(kind="document", start=0, end=len(self._source), children=tuple(children))
        return self._with_uses(root, set())

    def _with_uses(self, node: Node, labels: set[str]) -> Node:
        """Definitions and footnotes know whether anything refers to them. Of two with a label the first counts."""
        if not node.children and node.kind not in ("definition", "footnote"):
            return node
        used = True
        if node.kind in ("definition", "footnote"):
            label = f"^{node.label}" if node.kind == "footnote" else node.label
            used = label in self._labels and label not in labels
            labels.add(label)
        children = tuple(self._with_uses(child, labels) for child in node.children)
        if used == node.used and children == node.children:
            return node
        return replace(node, used=used, children=children)

    def _blocks(self, index: int) -> tuple[list[Node], int]:
        """The nodes from a token on, up to the end of the block around them; and the token that ends it."""
        nodes: list[Node] = []
        while index < len(self._tokens) and self._tokens[index].nesting >= 0:
            token = self._tokens[index]
            index += 1
            if token.type in ("thead_open", "tbody_open"):
                rows, index = self._blocks(index)
                nodes += rows
                index += 1
            elif token.type == "inline":
                nodes += self._inline_nodes(token, self._positions(token))
            elif token.type == "tr_open":
                row, index = self._row(token, index)
                nodes.append(row)
            elif token.nesting:
                children, index = self._blocks(index)
                index += 1
                nodes.append(self._block(token, children))
            else:
                nodes.append(self._block(token, []))
        return nodes, index

    def _block(self, token: Token, children: list[Node]) -> Node:
        kind = _KINDS[token.type.removesuffix("_open")]
        lines: list[Span] = token.meta["lines"]
        start = lines[0][0]
        end = max([last for first, last in lines if first < last] + [child.end for child in children], default=start)
        values: dict[str, Any] = {"content": token.content}
        if kind not in ("quote", "list", "item", "footnote", "table", "rule"):
            values["lines"] = tuple(lines)
        if kind == "fence" and token.info:
            values["parts"] = {"info": (start + len(token.markup), lines[0][1])}
        elif kind == "heading":
            values["level"] = int(token.tag[1:])
        elif kind == "footnote":
            label = token.meta["label"]
            values |= {"label": label, "parts": {"label": (start + 2, start + 2 + len(label))}}
        elif kind == "definition":
            values |= {"label": token.meta["id"], "target": token.meta["url"], "title": token.meta["title"]}
            values["parts"] = self._definition_parts(lines)
        if kind in ("fence", "indented", "html_block"):
            end = lines[-1][1]
        return Node(kind=kind, start=start, end=end, children=tuple(children), **values)

    def _definition_parts(self, lines: list[Span]) -> dict[str, Span]:
        positions = [place for start, end in lines for place in range(start, end + 1)]
        text = "".join(self._source[start:end] + "\n" for start, end in lines)
        close = _LABEL.match(text, 1)
        assert close
        parts = {"label": (1, close.end() - 1)} | link_parts(text, close.end() + 1, len(text))
        return {name: (positions[first], positions[last - 1] + 1) for name, (first, last) in parts.items()}

    def _row(self, token: Token, index: int) -> tuple[Node, int]:
        """A row of a table with its cells, also those that have no column."""
        (start, end), *_ = token.meta["lines"]
        text = self._source[start:end].rstrip(_SPACE)
        start, end = start + len(text) - len(text.lstrip(_SPACE)), start + len(text)
        cells = list(_split_row(self._source, start, end))
        nodes: list[Node] = []
        while self._tokens[index].nesting >= 0:
            inline = self._tokens[index + 1]
            index += 3
            if not cells:
                continue  # the row is shorter than the table is wide
            positions = cells.pop(0)
            if "".join(self._source[place] for place in positions[:-1]) != inline.content:
                raise UnreadableMarkdown("a table whose cells cannot be told apart")
            children = self._inline_nodes(inline, positions)
            nodes.append(Node(kind="cell", start=positions[0], end=positions[-1], children=tuple(children)))
        nodes += [Node(kind="surplus_cell", start=cell[0], end=cell[-1]) for cell in cells]
        return Node(kind="row", start=start, end=end, children=tuple(nodes), lines=((start, end),)), index + 1

    def _positions(self, token: Token) -> list[int]:
        """For each character of a block's inline text its offset in the source, and one more for the end."""
        lines: list[Span] = token.meta["lines"]
        while lines and not self._source[slice(*lines[0])].strip(_SPACE):
            lines = lines[1:]
        result: list[int] = []
        for number, line in enumerate(token.content.split("\n")):
            words = line.lstrip(" \t")
            start = lines[number][0] if number < len(lines) else len(self._source)
            place = self._source.find(words, start, lines[number][1]) if words else start
            if place < 0 or (number and place != start):
                raise UnreadableMarkdown("a paragraph whose lines cannot be told apart")
            if number:
                result.append(lines[number - 1][1])
            result += [place] * (len(line) - len(words))
            result += range(place, place + len(words))
        result.append(result[-1] + 1 if result else lines[0][1] if lines else 0)
        return result

    def _inline_nodes(self, token: Token, positions: list[int]) -> list[Node]:
        return _InlineBuilder(token.content, token.children or [], positions, 0, self._labels).nodes()


class _InlineBuilder:
    """The nodes of one block's inline text. `offset`: where that text begins in `positions`."""

    def __init__(self, text: str, tokens: list[Token], positions: list[int], offset: int, labels: set[str]) -> None:
        self._text = text
        self._tokens = tokens
        self._positions = positions
        self._offset = offset
        self._labels = labels

    def nodes(self) -> list[Node]:
        self._place_text()
        nodes, _ = self._until_close(0)
        return nodes

    def _place_text(self) -> None:
        """Gives the text between the rules its place: directly behind the token before it."""
        position = 0
        for token in self._tokens:
            if "pending" in token.meta:
                end = position + len(token.content)
                if self._text[position:end] != token.content:
                    raise UnreadableMarkdown("text that cannot be told apart from its signs")
                token.meta["span"] = (position, end)
            position = token.meta["span"][1]

    def _source(self, start: int, end: int) -> Span:
        first = self._positions[self._offset + start]
        if end <= start:
            return first, first
        return first, self._positions[self._offset + end - 1] + 1

    def _until_close(self, index: int) -> tuple[list[Node], int]:
        nodes: list[Node] = []
        while index < len(self._tokens) and self._tokens[index].nesting >= 0:
            token = self._tokens[index]
            index += 1
            if token.markup == "autolink":
                nodes.append(self._node("autolink", token, target=str(token.attrGet("href"))))
                index += 2
            elif token.nesting:
                children, index = self._until_close(index)
                nodes.append(self._container(token, self._tokens[index], children))
                index += 1
            elif token.type == "image":
                nodes.append(self._image(token))
            else:
                self._add_leaf(nodes, token)
        return nodes, index

    def _add_leaf(self, nodes: list[Node], token: Token) -> None:
        kind = _KINDS.get(token.type) or token.info
        values = {}
        if kind == "autolink":
            values["target"] = token.content
        elif kind == "footnote_use":
            values["label"] = token.meta["label"]
            self._labels.add(f"^{values['label']}")
        if kind == "text" and not token.content:
            return  # the outer sign of two that became one node
        node = self._node(kind, token, content=token.content, **values)
        if kind == "break":  # the spaces before the next line belong to no node
            start, end = token.meta["span"]
            node = replace(node, end=self._source(start, self._text.index("\n", start, end) + 1)[1])
        if nodes and kind == "text" == nodes[-1].kind and nodes[-1].end == node.start:
            last = nodes.pop()
            node = Node(kind="text", start=last.start, end=node.end, content=last.content + node.content)
        nodes.append(node)

    def _node(self, kind: str, token: Token, **values: Any) -> Node:
        start, end = self._source(*token.meta["span"])
        return Node(kind=kind, start=start, end=end, **values)

    def _container(self, token: Token, close: Token, children: list[Node]) -> Node:
        kind = _KINDS[token.type.removesuffix("_open")]
        if kind != "link":
            width = len(token.markup)
            (_, start), (end, _) = token.meta["span"], close.meta["span"]
            start, end = self._source(start - width, end + width)
            return Node(kind=kind, start=start, end=end, children=tuple(children))
        start, end = token.meta["whole"]
        values = self._link_values(token, (start + 1, close.meta["span"][0]), end)
        first, last = self._source(start, end)
        return Node(
            kind="link", start=first, end=last, children=tuple(children), target=str(token.attrs["href"]), **values
        )

    def _image(self, token: Token) -> Node:
        start, end = token.meta["span"]
        label = (start + 2, start + 2 + len(token.content))
        inner = _InlineBuilder(
            token.content, token.children or [], self._positions, self._offset + label[0], self._labels
        )
        values = self._link_values(token, label, end)
        children = tuple(inner.nodes())
        return self._node(
            "image", token, children=children, content=token.content, target=str(token.attrs["src"]), **values
        )

    def _link_values(self, token: Token, label: Span, end: int) -> dict[str, Any]:
        parts = {"label": label}
        reference = token.meta.get("label", "")
        if reference:
            self._labels.add(reference)
        else:
            parts |= link_parts(self._text, label[1] + 2, end)
        places = {name: self._source(*part) for name, part in parts.items()}
        return {"label": reference, "title": str(token.attrs.get("title", "")), "parts": places}


def _split_row(source: str, start: int, end: int) -> Iterator[list[int]]:
    """For each cell of a row the offsets of its characters, and one more for the end: a pipe behind a backslash is no
    end of a cell, and the backslash no part of it."""
    pipes = [place for place in range(start, end) if source[place] == "|" and source[place - 1 : place] != "\\"]
    cells = [(first + 1, last) for first, last in pairwise([start - 1, *pipes, end])]
    if cells and cells[0][0] == cells[0][1]:
        cells = cells[1:]
    if cells and cells[-1][0] == cells[-1][1]:
        cells = cells[:-1]
    for first, last in cells:
        places = [place for place in range(first, last) if source[place : place + 2] != "\\|" or place + 1 == last]
        while places and source[places[0]] in _SPACE:
            places.pop(0)
        while places and source[places[-1]] in _SPACE:
            places.pop()
        yield [*places, places[-1] + 1 if places else last]

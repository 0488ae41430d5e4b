"""The tree of a Markdown text, as `safety.markdown_reader` makes it: nodes with places in the text. Values only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Span = tuple[int, int]  # from the first character to the one behind the last, as offsets in the text
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
    children: tuple["Node", ...] = ()
    lines: tuple[Span, ...] = ()
    content: str = ""
    target: str = ""
    title: str = ""
    label: str = ""
    used: bool = True
    parts: Mapping[str, Span] = field(default_factory=lambda: _NO_PARTS)
    level: int = 0

    def walk(self) -> Iterator["Node"]:
        """This node and all below it, each before its children, in the order of the text."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += reversed(node.children)

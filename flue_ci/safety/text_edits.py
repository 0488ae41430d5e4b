"""Replaces ranges of a Markdown text and leaves every other byte; and finds what that changes beside them. Pure."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flue_ci.safety.markdown_reader import Node

_DEFINITION = re.compile(r"\[(?:[^\[\]\\]|\\.){1,1000}\]:", re.DOTALL)
_LONGEST_DEFINITION = 1_100  # characters up to its address
_WORDS = ("text", "escape", "entity", "break")


@dataclass(frozen=True, slots=True)
class Edit:
    """`text` in place of a range; `kind` is what was hidden there, in the plural."""

    start: int
    end: int
    text: str
    kind: str = ""


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """The text with its replacements, which are sorted by their start; one within another is left out.

    Code that is put in neither meets a backtick nor follows a backslash."""
    position = 0
    parts: list[str] = []
    last = ""
    for edit in edits:
        if edit.start < position:
            continue
        piece = text[position : edit.start]
        if edit.text.startswith("`") and piece.endswith("\\") and not _is_escaped(piece):
            piece = piece[:-1] + "&#92;"
        before = piece or last
        if piece.startswith("`") and last.endswith("`"):
            piece = f" {piece}"
        if edit.text.startswith("`") and before.endswith("`"):
            piece = f"{piece} "
        parts += [piece, edit.text]
        last = edit.text or piece or last
        position = edit.end
    rest = text[position:]
    if rest.startswith("`") and last.endswith("`"):
        rest = f" {rest}"
    return "".join([*parts, rest])


def _is_escaped(piece: str) -> bool:
    """Whether the backslash at the end is itself behind one."""
    return (len(piece) - len(piece.rstrip("\\"))) % 2 == 0


def misleading_brackets(text: str, block: Node, edits: Sequence[Edit]) -> Iterator[int]:
    """Where brackets are, in a block with inline text, that mean something else to GitHub once the text around them is
    replaced: a line becomes a footnote, which people do not see, or the code in what might be a footnote becomes words
    again. `edits` are those in the block, in order."""
    if text.find("[^", block.start, block.end) >= 0:
        yield from _footnotes(text, block, edits)
        yield from (start for start, end in block.lines[1:] if edits and _looks_like_a_footnote(text, start, end))


def becomes_definition(text: str, start: int, edits: Sequence[Edit]) -> bool:
    """Whether what begins with a bracket at `start` is a definition, which people do not see, once `edits` (in order,
    none before it) are made; it may go on over the ends of blocks."""
    end = start + _LONGEST_DEFINITION
    if any(edit.start == start < edit.end for edit in edits):
        return False  # the bracket is replaced
    own = [Edit(each.start - start, each.end - start, each.text) for each in edits if start < each.start <= end]
    return bool(own) and _DEFINITION.match(apply_edits(text[start:end], own)) is not None


def _looks_like_a_footnote(text: str, start: int, end: int) -> bool:
    return text.startswith("[^", start) and text.find("]:", start, end) >= 0


def _footnotes(text: str, block: Node, edits: Sequence[Edit]) -> Iterator[int]:
    """Of `[^…]` without a footnote GitHub shows the source: a mention in code would be one that acts."""
    nodes = list(block.walk())[1:]
    last = text.rfind("]", block.start, block.end)
    marks = sorted([node.start for node in nodes if node.kind not in _WORDS] + [edit.start for edit in edits])
    for node in nodes:
        place = text.find("[^", node.start, node.end)
        while node.kind == "text" and place >= 0:
            index = bisect_right(marks, place)
            if index < len(marks) and marks[index] < last:
                yield place
            place = text.find("[^", place + 1, node.end)

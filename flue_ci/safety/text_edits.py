"""Replaces ranges of a Markdown text and leaves every other byte; and finds what that changes beside them. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flue_ci.safety.active_text import code_block
from flue_ci.safety.markdown_reader import Node


@dataclass(frozen=True, slots=True, order=True)
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


def blocks_as_code(text: str, root: Node, places: Sequence[int], edits: Sequence[Edit]) -> list[Edit]:
    """The edits, in order, with which each block at the margin that holds one of `places` becomes code as a whole; and
    those of `edits` that are in none of them."""
    places = sorted(places)
    blocks = [each for each in root.children if bisect_left(places, each.start) < bisect_right(places, each.end)]
    starts = [block.start for block in blocks]
    ends = [-1, *(block.end for block in blocks)]  # of the last one that begins before a place
    others = [
        edit for edit in (*edits, *_lost_footnotes(root, blocks)) if edit.start > ends[bisect_right(starts, edit.start)]
    ]
    return sorted([*others, *(_as_code(text, block) for block in blocks)])


def _lost_footnotes(root: Node, blocks: list[Node]) -> Iterator[Edit]:
    """So that footnotes which are used in blocks that become code are seen where they stand."""
    labels = {node.label for block in blocks for node in block.walk() if node.kind == "footnote_use"}
    for node in root.walk() if labels else ():
        if node.kind == "footnote" and node.label in labels:
            yield Edit(node.start, node.start + 1, "&#91;")


def _as_code(text: str, block: Node) -> Edit:
    start = text.rfind("\n", 0, block.start) + 1
    before = "\n" if text[:start].strip() else ""
    return Edit(start, block.end, f"{before}{code_block(text[start : block.end])}\n")


def open_fence(text: str, block: Node) -> str:
    """The fence that ends a code block at the margin which has no end; empty when there is nothing to end."""
    if block.kind != "fence":
        return ""
    first = text[slice(*block.lines[0])]
    if len(block.lines) == len(block.content.splitlines()) + 2:
        return ""
    return first[: len(first) - len(first.lstrip(first[0]))]

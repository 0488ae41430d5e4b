"""Brackets that mean something else to GitHub once the text around them is replaced: a line becomes a definition or a
footnote, which people do not see, or the code in what might be a footnote becomes words again. Pure."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from flue_ci.safety.markdown_tree import Node
from flue_ci.safety.text_edits import Edit, apply_edits

_DEFINITION = re.compile(r"\[(?:[^\[\]\\]|\\.){1,1000}\]:", re.DOTALL)
_WORDS = ("text", "escape", "entity", "break")


def misleading_brackets(text: str, block: Node, edits: Sequence[Edit]) -> Iterator[int]:
    """Where they are in a block with inline text. `edits` are those in the block, in order."""
    own = [Edit(edit.start - block.start, edit.end - block.start, edit.text) for edit in edits]
    if own:
        if text.startswith("[", block.start) and _DEFINITION.match(apply_edits(text[block.start : block.end], own)):
            yield block.start
        for start, end in block.lines[1:]:
            if text.startswith("[^", start) and text.find("]:", start, end) >= 0:
                yield start
    if text.find("[^", block.start, block.end) >= 0:
        yield from _footnotes(text, block, edits)


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

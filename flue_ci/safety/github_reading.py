"""Where GitHub's parser reads Markdown otherwise than the tree of `safety.markdown_reader` says, or will once something
in it is replaced. Pure."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from flue_ci.safety.markdown_reader import Node
from flue_ci.safety.text_edits import Edit, apply_edits

LINES = frozenset(("paragraph", "heading", "cell"))  # blocks with inline text
_BELOW_HEAD = re.compile(r"\n[ \t>]*[|:-][ \t|:-]*(?:\n|\Z)")
_ROW = re.compile(r"[ \t>]*+[|:-][ \t|:-]*")
_DEFINITION = re.compile(r"\[(?:[^\[\]\\]|\\.){1,1000}\]:", re.DOTALL)
_LONGEST_DEFINITION = 1_100  # characters up to its address
_BROKEN_FOOTNOTE = re.compile(r"\[\^[^\]\n]{0,1000}\n[^\]]{0,1000}\]")  # of which GitHub shows other parts
_WORDS = ("text", "escape", "entity", "break")


def no_definitions(text: str, root: Node) -> Iterator[Node]:
    """Definitions that are none to GitHub's parser: in the head of a table and above one down from a blank line, above
    a rule and below that one."""
    for parent in root.walk():
        above: list[Node] = []
        end, is_below_rule = parent.start, False
        for child in parent.children:
            if text.count("\n", end, child.start) > 1:
                above, is_below_rule = [], False
            has_row = _BELOW_HEAD.search(text, child.start, child.end) or _BELOW_HEAD.match(text, child.end)
            if child.kind == "definition":
                if is_below_rule or has_row:
                    yield child
                else:
                    above.append(child)
            elif child.kind == "table" or (child.kind in ("indented", "paragraph") and has_row):
                yield from above
                above = []
            is_below_rule = is_below_rule or (child.kind == "rule" and end != parent.start)
            end = child.end


def may_be_a_table(text: str, paragraph: Node) -> bool:
    """Whether a paragraph may be a table to GitHub's parser, which takes an indented line of it for a head."""
    for head, row in pairwise(text[paragraph.start : paragraph.end].split("\n")[1:]):
        prefix = head[: len(head) - len(head.lstrip(" \t>"))]
        if ("    " in prefix or "\t" in prefix) and _ROW.fullmatch(row):
            return True
    return False


def may_go_on(block: Node, following: Node) -> bool:
    """Whether GitHub's parser may take the following block for more lines of this one, or of the last one within it: it
    reads definitions as part of a paragraph, and lets code that is open in one go on over the head of a table."""
    while block.kind not in LINES and block.children:
        block = block.children[-1]
    if block.kind == "definition":
        return following.kind == "indented"
    if block.kind != "paragraph" or following.kind != "table":
        return False
    texts = [node.content for each in (block, following) for node in each.walk() if node.kind == "text"]
    return any("`" in text or "[" in text for text in texts)


def is_merged(node: Node, parent: Node) -> bool:
    """Whether GitHub writes no tags for a node: strong in strong, whose words are one with those around them."""
    return node.kind == parent.kind == "strong"


def misleading_brackets(text: str, block: Node, edits: Sequence[Edit]) -> Iterator[int]:
    """Where brackets are, in a block with inline text, that mean something else to GitHub once the text around them is
    replaced: a line becomes a footnote, which people do not see, or the code in what might be a footnote becomes words
    again. `edits` are those in the block, in order."""
    if text.find("[^", block.start, block.end) >= 0:
        yield from _footnotes(text, block, edits)
        if edits:
            yield from (start for start, end in block.lines[1:] if _looks_like_a_footnote(text, start, end))
            yield from (match.start() for match in _BROKEN_FOOTNOTE.finditer(text, block.start, block.end))


def becomes_definition(text: str, start: int, edits: Sequence[Edit]) -> bool:
    """Whether what begins with a bracket at `start` is a definition, which people do not see, once `edits` (in order,
    none before it) are made; it may go on over the ends of blocks."""
    end = start + _LONGEST_DEFINITION
    if any(edit.start == start < edit.end for edit in edits):
        return False  # the bracket is replaced
    own = [Edit(each.start - start, each.end - start, each.text) for each in edits if start < each.start <= end]
    return bool(own) and _DEFINITION.match(apply_edits(text[start:end], own)) is not None


def _looks_like_a_footnote(text: str, start: int, end: int) -> bool:
    close = text.find("]", start, end)
    return text.startswith("[^", start) and text.startswith(":", close + 1) and close >= 0


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

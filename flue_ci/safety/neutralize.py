"""One pass over untrusted Markdown: what would act on GitHub's page is replaced, and every other byte stays.

Decided on the tree of `safety.markdown_reader`. Pure; `safety.markdown` repeats it until nothing is left to replace.
"""

import html
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from flue_ci.safety.active_text import TAG_START, active_spans, acts, code_element, inline_code
from flue_ci.safety.github_reading import (
    LINES,
    becomes_definition,
    is_merged,
    may_be_a_table,
    may_go_on,
    misleading_brackets,
    no_definitions,
)
from flue_ci.safety.link_policy import LinkPolicy
from flue_ci.safety.markdown_reader import Node, read_markdown
from flue_ci.safety.text_edits import Edit, apply_edits, blocks_as_code, open_fence

# Elements that stay, without attributes (but for `<details open>`), when they are closed where they were opened.
_TAG_NAMES = "b br code del details em hr i ins kbd mark q s samp small strong sub summary sup var wbr"
SHOWN_TAGS = frozenset(_TAG_NAMES.split())
_BLOCK_TAGS = frozenset(("details", "summary"))
_VOID_TAGS = frozenset(("br", "hr", "wbr"))
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)((?<=details) open)? ?(/?)>")
_HTML_PIECE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|<|[^&<]+|&", re.DOTALL)
# Not with a question mark, behind which a link to a mail has its text.
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=^_{|}~-]+@[A-Za-z0-9.-]+\Z")
_TAIL = re.compile(r"[^ \t\n<]*")  # of a bare address: GitHub takes it up to a blank
_BOX = re.compile(r"\[[ xX]\][ \t]+\[(?=[^\n]*\]:)")
_BROKEN_CODE = re.compile(r"\n[ \t>]*```")
_LONG_TICKS = "`" * 40
_IN_ADDRESS = re.compile(r"[@＠﹫#＃]|[Gg][Hh]-\d")  # acts where GitHub makes no link of the address
_FOOTNOTE = re.compile(r"\[(?=\^)")
_LINE_BELOW = re.compile(r"\n?[ \t>]*[^\s>]")
_HIDDEN_LINE = re.compile(r"\[(?=[^\n]*\]:)")
_FRAMES = frozenset(("document", "quote", "item", "footnote"))  # `<details>` ends in that in which it begins
_GO_ON = frozenset(("paragraph", "definition", "list", "quote", "footnote", "table"))
_BORDER = "\0"
_LONGEST_LABEL = 1_000  # characters
_MOST_EDITS = 1_000  # of those that are looked at for one definition


@dataclass(slots=True)
class _OpenTags:
    """Elements that are open in a block, each with the place of its tag. Those that hold blocks are in `outer`, when
    they were opened in a paragraph or between blocks."""

    tags: list[tuple[str, int]] = field(default_factory=list)
    outer: list[tuple[str, int]] | None = None
    codes: int = 0  # how many of `tags` are <code>; counting them at each text would take quadratic time

    def of(self, name: str) -> list[tuple[str, int]]:
        """Where an element of this name is opened and closed."""
        return self.outer if name in _BLOCK_TAGS and self.outer is not None else self.tags

    @property
    def is_code(self) -> bool:
        return self.codes > 0


def neutralize(text: str, policy: LinkPolicy, *, by_block: bool = False) -> tuple[str, Counter[str]]:
    """The text after one pass, and by kind how much was replaced (`mentions`, `references`, `links`, `images`, `tags`
    …): nothing when the text is the same. `by_block`: each block at the margin in which something would be replaced is
    shown as code, as a whole. Raises `UnreadableMarkdown`."""
    root = read_markdown(text)
    page = _Pass(text, policy)
    page.visit(root)
    edits = sorted(page.edits)
    if by_block:
        edits = blocks_as_code(text, root, [edit.start for edit in edits], ())
    elif page.unclear_places:
        page.counts["unclear blocks"] += 1
        edits = blocks_as_code(text, root, page.unclear_places, edits)
    elif root.children and (fence := open_fence(text, root.children[-1])):
        edits.append(Edit(len(text), len(text), f"\n{fence}"))
    if edits and not page.counts:
        page.counts["open blocks"] += 1
    return apply_edits(text, edits), page.counts


class _Pass:
    """Walks the tree and collects what must be replaced."""

    def __init__(self, text: str, policy: LinkPolicy) -> None:
        self.text = text
        self.policy = policy
        self.edits: list[Edit] = []
        self.counts: Counter[str] = Counter()
        self.unclear_places: list[int] = []  # whose blocks are shown as code
        self._html_starts: dict[int, Node] = {}  # the blocks of HTML
        self._addresses: list[tuple[int, int, int]] = []  # bare ones, and where what stands close behind them ends
        self._last_html: set[int] = set()  # the starts of those that are the last in a list, a quote or a footnote
        self._position = self._depth = 0  # characters of the line that were looked at, and brackets open behind them
        self._below: set[int] = set()  # the starts of blocks right below one that could go on with their lines

    def visit(self, root: Node) -> None:
        for definition in no_definitions(self.text, root):
            self._replace(definition.start, definition.start + 1, "&#91;", "hidden text")
        if self.edits:
            return  # what uses them is no link any more
        self._visit_block(root, _OpenTags())
        replaced = {edit.start for edit in self.edits}
        for start, end, tail in self._addresses:
            if tail in replaced and start not in replaced:  # it would go on over what is put there
                self._replace(start, end, self._closed(self.text[start:end]), "links")
        self._replace_brackets([block for block in root.walk() if block.kind in LINES])

    def _replace_brackets(self, blocks: list[Node]) -> None:
        """Those that mislead once all the rest is replaced."""
        edits, starts = self._sorted_edits()
        self.edits, places = edits.copy(), set(starts)
        for block in blocks:
            own = edits[bisect_left(starts, block.start) : bisect_right(starts, block.end)]
            tags = [node.start for node in block.walk() if node.kind == "html"]
            for start in {*misleading_brackets(self.text, block, own)} - places:
                self._replace(start, start + 1, "&#91;", "hidden text")
                close = self.text.find("]", start, start + _LONGEST_LABEL)
                for tag in tags[bisect_left(tags, start) : bisect_left(tags, close)]:  # GitHub shows it as text
                    self._replace(tag, tag + 1, "&lt;", "tags")
        edits, starts = self._sorted_edits()
        for block in blocks:
            first = bisect_left(starts, block.start)
            own = edits[first : first + _MOST_EDITS]
            if self.text.startswith("[", block.start) and becomes_definition(self.text, block.start, own):
                self._replace(block.start, block.start + 1, "&#91;", "hidden text")

    def _sorted_edits(self) -> tuple[list[Edit], list[int]]:
        """In order, one for each range, and their starts."""
        edits = sorted({(edit.start, edit.end): edit for edit in self.edits}.values())
        return edits, [edit.start for edit in edits]

    def _replace(self, start: int, end: int, text: str, kind: str) -> None:
        self.edits.append(Edit(start, end, text))
        self.counts[kind] += 1

    def _visit_block(self, block: Node, tags: _OpenTags) -> None:
        frame = tags
        if block.kind in _FRAMES:
            frame = _OpenTags()
        elif block.kind in ("paragraph", "html_block"):
            frame = _OpenTags(outer=tags.tags)
        elif block.kind in LINES:
            frame = _OpenTags()
        if block.kind == "paragraph" and may_be_a_table(self.text, block):
            self.unclear_places.append(block.start)
        if block.kind in LINES:
            self._visit_line(block, frame)
        elif block.kind == "html_block":
            self._html_starts[block.start] = block
            self._visit_html_block(block, frame)
        elif block.kind == "footnote" and acts(block.label):
            self._replace(block.start, block.start + 1, "&#91;", "hidden text")
        elif block.kind == "definition":
            if not (self.policy.allows(block.target) and _is_inert(block)):
                self._replace(block.start, block.end, "", "links")  # where it is used, the address is shown
        else:
            self._visit_children(block, frame)
        if frame is not tags:
            self._escape_open(frame)

    def _visit_children(self, block: Node, tags: _OpenTags) -> None:
        if block.kind in _FRAMES and block.children and block.children[-1].kind == "html_block":
            self._last_html.add(block.children[-1].start)
        last: Node | None = None
        for child in block.children:
            if last and self.text.count("\n", last.end, child.start) > 1:
                last = None
            if last and may_go_on(last, child):
                self._begin_anew(child)
            if last and last.kind in _GO_ON:
                self._below.add(child.start)
            self._visit_block(child, tags)
            last = child

    def _begin_anew(self, block: Node) -> None:
        """A blank line before a block that would go on the paragraph above it in another reading."""
        start = self.text.rfind("\n", 0, block.start) + 1
        self._replace(start, start, "\n", "hidden text")

    # Elements

    def _visit_html_block(self, block: Node, tags: _OpenTags) -> None:
        """Text between elements, which is not Markdown."""
        characters: list[tuple[str, int, int]] = []
        position = block.start
        end = block.end
        while position < end:
            piece = _HTML_PIECE.match(self.text, position, end)
            assert piece
            tag = _TAG.match(self.text, position, end)
            if tag and self._is_shown(tag):
                self._add_tag(tag, tags)
                characters.append((_BORDER, position, tag.end()))
                position = tag.end()
                continue
            if piece[0] == "<" and TAG_START.match(self.text, position, end):
                self._escape_tag(position)
            if piece[0][0] == "&":
                characters.append((html.unescape(piece[0]), position, piece.end()))
            elif not tags.is_code:
                characters += [(sign, place, place + 1) for place, sign in enumerate(piece[0], position)]
            position = piece.end()
        self._replace_active(characters, code_element)

    def _show_lines(self, block: Node) -> None:
        """What was a block of HTML becomes Markdown, in which a line may be a definition that nobody sees, a bracket a
        footnote, and the line below it one more of it."""
        if block.start in self._below:
            self._begin_anew(block)
        for start, _ in block.lines[1:]:
            if _HIDDEN_LINE.match(self.text, start) or self.text.startswith(("```", "~~~"), start):
                self._replace(start, start + 1, f"&#{ord(self.text[start])};", "hidden text")
        for match in _FOOTNOTE.finditer(self.text, block.start, block.end):
            self._replace(match.start(), match.start() + 1, "&#91;", "hidden text")
        if block.start in self._last_html and _LINE_BELOW.match(self.text, block.end):
            self._replace(block.end, block.end, "\n", "hidden text")

    def _is_shown(self, tag: re.Match[str]) -> bool:
        name = tag[2].lower()
        if name not in SHOWN_TAGS or (tag[1] and name in _VOID_TAGS):
            return False
        return not tag[4] or name in _VOID_TAGS

    def _add_tag(self, tag: re.Match[str], tags: _OpenTags) -> None:
        name = tag[2].lower()
        if name in _VOID_TAGS:
            return
        stack = tags.of(name)
        if not tag[1]:
            stack.append((name, tag.start()))
            tags.codes += name == "code"
        elif stack and stack[-1][0] == name:
            stack.pop()
            tags.codes -= name == "code"
        else:
            self._escape_tag(tag.start())

    def _escape_open(self, tags: _OpenTags) -> None:
        for _, start in tags.tags:
            self._escape_tag(start)

    def _escape_tag(self, start: int) -> None:
        self._replace(start, start + 1, "&lt;", "tags")
        if block := self._html_starts.get(start):
            self._show_lines(block)

    # Inline nodes

    def _visit_line(self, block: Node, tags: _OpenTags) -> None:
        characters: list[tuple[str, int, int]] = []
        self._position = self._depth = 0
        count = len(self.edits)
        if box := _BOX.match(self.text, block.start, block.end):  # what stands behind it would be a definition
            self._replace(box.end() - 1, box.end(), "&#91;", "hidden text")
        self._visit_inline(block, tags, characters)
        code = self._replace_active(characters, inline_code)
        # One that belongs to no code could make one with those that are put in; and behind one GitHub's parser finds
        # only the first code span of each length.
        if len(self.edits) > count or any(node.kind == "code" for node in block.walk()):
            ticks = [each for index, each in enumerate(characters) if each[0] == "`" and index not in code]
            for _, start, end in ticks:
                if self.text[start:end] == "`":
                    self._replace(start, end, "&#96;", "stray backticks")

    def _visit_inline(self, parent: Node, tags: _OpenTags, characters: list[tuple[str, int, int]]) -> None:
        for node in parent.children:
            match node.kind:
                case "text":
                    self._visit_text(node, tags, characters)
                case "escape" | "entity":
                    characters.append((node.content[:1], node.start, node.end))
                case "code" if self.text.startswith(_LONG_TICKS, node.start):  # longer ones GitHub does not know
                    self._replace(node.start, node.end, code_element(node.content), "long code spans")
                case "code" if _BROKEN_CODE.search(self.text, node.start, node.end):  # could begin a block
                    self._replace(node.start, node.end, inline_code(node.content, 2_000), "long code spans")
                case "html":
                    self._visit_tag(node, tags)
                case "autolink":
                    self._visit_autolink(node, characters)
                case "link" | "image":
                    self._visit_link(node, characters)
                case "emphasis" | "strong" | "strike":
                    inner = _OpenTags()
                    if not is_merged(node, parent):
                        characters.append((_BORDER, node.start, node.start))
                    self._visit_inline(node, inner, characters)
                    self._escape_open(inner)
                case "footnote_use" if acts(node.label):
                    self._replace(node.start, node.start + 1, "&#91;", "hidden text")
            if node.kind not in ("text", "escape", "entity") and not is_merged(node, parent):
                characters.append((_BORDER, node.end, node.end))

    def _visit_text(self, node: Node, tags: _OpenTags, characters: list[tuple[str, int, int]]) -> None:
        position = node.start
        for sign in node.content:
            start = position
            if self.text[position] != sign:  # the backslash before a pipe in a table
                position += 1
            position += 1
            is_tag = sign == "<" and TAG_START.match(self.text, start) is not None
            if is_tag:
                self._replace(start, position, "&lt;", "tags")
            if is_tag or (tags.is_code and sign not in "`[]"):
                characters.append((_BORDER, start, position))
            else:
                characters.append((sign, start, position))

    def _visit_tag(self, node: Node, tags: _OpenTags) -> None:
        tag = _TAG.fullmatch(self.text, node.start, node.end)
        if tag and self._is_shown(tag):
            self._add_tag(tag, tags)
        else:
            self._escape_tag(node.start)

    def _visit_autolink(self, node: Node, characters: list[tuple[str, int, int]]) -> None:
        source = self.text[node.start : node.end]
        if source.startswith("<") and _MAIL.match(source[1:-1]):
            return
        is_certain = source.startswith("<")
        if not is_certain:
            tail, is_in_bracket = _TAIL.match(self.text, node.end), self._is_in_bracket(characters)
            assert tail
            is_certain = "`" not in tail[0] and not is_in_bracket
            if "`" in tail[0] and "[" in tail[0]:  # to GitHub what we read as links is of the address
                self.unclear_places.append(node.start)
            stops = [stop for stop in ("&lt;", "[" * is_in_bracket) if stop and stop in source]
            if stops:  # it would go on over what was a tag, or over a footnote, whose words would be lost
                target = source[: min(map(source.index, stops))].rstrip("?!.,:*_~'\"")
                self._replace(node.start, node.start + len(target), self._closed(target), "links")
                return
            self._addresses.append((node.start, node.end, tail.end()))
        if not is_certain or not self.policy.allows(node.target):
            self._replace(node.start, node.end, inline_code(node.target, 2_000), "links")

    def _closed(self, address: str) -> str:
        """A bare address with ends of its own: a link, or code where that would lead elsewhere."""
        # In angle brackets an entity is read, in a bare address it is not.
        if address[0] in "Ww" or html.unescape(address) != address or not self.policy.allows(address):
            return inline_code(address, 2_000)
        return f"<{address}>"

    def _is_in_bracket(self, characters: list[tuple[str, int, int]]) -> bool:
        """Whether a bracket is open at the end, behind which GitHub makes no links of bare addresses."""
        for sign, start, end in characters[self._position :]:
            if sign == "[" and end - start == 1:
                self._depth += 1
            elif sign == "]" and end - start == 1:
                self._depth = max(self._depth - 1, 0)
        self._position = len(characters)
        return self._depth > 0

    def _visit_link(self, node: Node, characters: list[tuple[str, int, int]]) -> None:
        allows: Callable[[str], bool] = self.policy.allows
        kind = "links"
        if node.kind == "image":
            allows, kind = self.policy.allows_image, "images"
        characters.append((_BORDER, node.start, node.start))
        inner = _OpenTags()
        self._visit_inline(node, inner, characters)
        self._escape_open(inner)
        start, end = node.parts["label"]
        label = self.text[start:end]
        if allows(node.target) and (_is_inert(node) or not node.label):
            if not _is_inert(node):
                self._replace(node.parts["target"][1], node.parts["title"][1], "", kind)
            return
        target = inline_code(node.target, 2_000)
        if not label.strip() or label.strip() == node.target:
            self._replace(node.start, node.end, target, kind)
        else:
            self._replace(node.start, start, "", kind)
            if _HIDDEN_LINE.match(self.text, start, end):
                self.edits.append(Edit(start, start + 1, "&#91;"))
            self.edits.append(Edit(end, node.end, f" ({target})"))

    def _replace_active(self, characters: list[tuple[str, int, int]], as_code: Callable[[str], str]) -> set[int]:
        """Returns the indexes of the characters that are code now."""
        code: set[int] = set()
        text = "".join(sign for sign, _, _ in characters)
        for first, last, kind in active_spans(text):
            content = text[first:last]
            if kind == "links" and self.policy.allows(content) and not _IN_ADDRESS.search(content):
                continue
            start, end = characters[first][1], characters[last - 1][2]
            self._replace(start, end, as_code(content), kind)
            code.update(range(first, last))
        return code


def _is_inert(link: Node) -> bool:
    """Whether a link's or definition's label and title do nothing, should somebody read them as text."""
    return not acts(f"{link.label}{_BORDER}{link.title}")

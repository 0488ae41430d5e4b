"""Sanitizes untrusted Markdown: hidden text for a model that reads it, active syntax for GitHub that renders it.

Pure and linear. Code spans and blocks keep their text, apart from invisible characters. GitHub looks for mentions and
references in the text that Markdown leaves, so that escaping them does not help: they are shown as code.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from flue_ci.core.hidden_characters import find_hidden, remove_hidden
from flue_ci.safety.html_stream import (
    FILTERED_TAG,
    OTHER_ELEMENTS,
    SHOWN_ELEMENTS,
    HtmlStream,
    HtmlToken,
    Piece,
    html_tokens,
)
from flue_ci.safety.markdown_reader import Node, UnreadableMarkdown, read_markdown
from flue_ci.safety.text_edits import Edit

_MAX_PASSES = 8
_COMMENT = re.compile("<[!?/]")
_UNREADABLE = "[the source of a text that cannot be read as Markdown: people may not see all of it]\n"
_INVISIBLE = "invisible characters"
_COMMENTS = "hidden comments"
ALT_MARK = "hidden alt text: "
_MAX_WORD = 30  # characters of a fence's language, and of a label that is not shown
_SHOWN_ATTRIBUTE = re.compile(
    r"(?:href|src)\s*=|open\Z|(?:align|height|open|width)\s*=\s*(['\"]?)(?:center|left|right|\d{1,4}(?:px|%)?|)\1\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SanitizedText:
    """A text, and how many things of each kind were removed or neutralized."""

    text: str
    removals: Mapping[str, int]


def sanitize_for_model(text: str) -> SanitizedText:
    """Only what a reader of the rendered page sees: what GitHub does not show is taken out, or marked where it may
    matter (the alternative text of an image, a tag such as the `<T>` of `List<T>`); the rest stays byte for byte.

    Taking something out may make a comment of the text around it, so the result is read again.
    """
    return _without_edits(text, find_edits)


def sanitize_request(text: str) -> SanitizedText:
    """A request as `sanitize_for_model` reads it behind the words that it follows in its comment: what begins with
    `[x]:` is no definition there."""
    before = "x "
    if re.match(r" {4}|\t|`{3}|~{3}", text):  # it began in a line of its own
        before = "x\n\n"
    result = _without_edits(before + text, find_edits)
    return replace(result, text=result.text.removeprefix(before))


def sanitize_title(text: str) -> str:
    """A title or name, which GitHub shows as it is: without invisible characters and comments."""
    return _without_edits(text, find_comments).text


def _without_edits(text: str, find: Callable[[str, Node], list[Edit]]) -> SanitizedText:
    counts: Counter[str] = Counter()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_MAX_PASSES):
        try:
            edits = find(text, read_markdown(text))
        except UnreadableMarkdown:
            break
        counts.update(edit.kind for edit in edits if edit.kind)
        if not edits:
            return SanitizedText(text=text, removals=dict(counts))
        text, find = apply_edits(text, edits), find_comments
        if not _COMMENT.search(text):
            return SanitizedText(text=text, removals=dict(counts))
    counts["unreadable Markdown"] += 1
    text = remove_hidden(text).removeprefix(_UNREADABLE)
    return SanitizedText(text=f"{_UNREADABLE}{text}", removals=dict(counts))


def summarize_removals(removals: Mapping[str, int]) -> str:
    """The counts for people: `mentions (2), tags (1)`."""
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(removals.items()))


def find_edits(text: str, document: Node) -> list[Edit]:
    """What must change in `text`, whose tree is `document`, so that it holds what the page shows. May overlap."""
    shown_labels = {node.label for node in document.walk() if node.kind in ("link", "image") and not _label(text, node)}
    edits = _invisible_edits(text, document)
    for node in document.walk():
        edits += _node_edits(text, node, shown_labels)
    return edits


def find_comments(text: str, document: Node) -> list[Edit]:
    """Of `find_edits` those of invisible characters and of comments."""
    return [edit for edit in _invisible_edits(text, document) if edit.kind in (_INVISIBLE, _COMMENTS)]


def _invisible_edits(text: str, document: Node) -> list[Edit]:
    edits = [Edit(index, index + 1, "", _INVISIBLE) for index in find_hidden(text)]
    if "<" in text:
        edits += _html_edits(text, HtmlStream(text, document).pieces)
    return edits


def apply_edits(text: str, edits: list[Edit]) -> str:
    """The text with all edits; one within another does not count."""
    parts, position = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, -edit.end)):
        if edit.start >= position:
            parts += [text[position : edit.start], edit.text]
        position = max(position, edit.end)
    return "".join([*parts, text[position:]])


def _node_edits(text: str, node: Node, shown_labels: set[str]) -> Iterator[Edit]:
    if node.kind in ("definition", "footnote") and not node.used:
        yield Edit(node.start, node.end, "", f"unused {node.kind}s")
    elif node.kind == "surplus_cell":
        yield Edit(node.start, node.end, "", "surplus cells")
    elif node.kind == "entity" and node.content not in "\u200c\u200d" and not remove_hidden(node.content):
        yield Edit(node.start, node.end, "", _INVISIBLE)
    elif info := node.parts.get("info"):
        word = re.match(r"\s*(\S*)", text[slice(*info)])
        if word and len(word[1]) <= _MAX_WORD:
            info = info[0] + word.end(), info[1]
        if text[slice(*info)].strip():
            yield Edit(*info, "", "info strings")
    elif node.kind == "link" and not any(map(_is_visible, node.walk())):
        yield Edit(node.start, node.end, "", "empty links")
    elif node.kind in ("link", "image", "definition"):
        yield from _link_edits(text, node, shown_labels)


def _is_visible(node: Node) -> bool:
    if node.kind == "html":
        return node.content[:4].lower() == "<img"
    return node.kind in ("image", "autolink", "footnote_use") or bool(
        node.kind in ("text", "escape", "entity", "code") and node.content.strip()
    )


def _link_edits(text: str, node: Node, shown_labels: set[str]) -> Iterator[Edit]:
    if title := node.parts.get("title"):
        _, start = node.parts.get("target", title)
        yield Edit(min(start, title[0]), title[1], "", "titles")
    if node.kind == "image" and node.content.strip() and not node.content.startswith(ALT_MARK):
        start, _ = node.parts["label"]
        yield Edit(start, start, ALT_MARK, "image descriptions")
    label = _label(text, node)
    if not label or (len(label) <= _MAX_WORD and not re.search(r"\s", label)):
        return
    if node.kind != "definition":  # what it leads to can be said without the words that nobody sees
        target = f"({node.target})" if re.fullmatch(r"[^\s<>()]+", node.target) else ""
        yield Edit(node.parts["label"][1] + 1, node.end, target, "labels")
    elif node.label not in shown_labels:
        yield Edit(node.start, node.end, "", "labels")


def _label(text: str, node: Node) -> str:
    """The label of a definition, or of a link that has another text; "" for one that is its text."""
    start, end = node.parts.get("label", (0, 0))
    if node.kind == "definition":
        return text[start:end].strip()
    if not node.label:
        return ""
    return text[end + 1 : node.end].strip("[] \n")


def _html_edits(text: str, pieces: list[Piece]) -> Iterator[Edit]:
    page = _Page(pieces)
    previous = HtmlToken(0, 0)
    for token in page.tokens:
        if page.piece_at(token.start).kind != "raw":
            continue
        kind, replacement = _COMMENTS, ""
        if token.name:
            kind, replacement = _shown_tag(page, token)
        between = page.html[previous.end : token.start].replace("<br />", "")
        if (previous.name, token.name, token.is_end_tag) == ("a", "a", True) and not between.strip():
            yield from page.edits(previous.start, token.end, "", "empty links")
        elif previous.name == "rp" and between:  # what browsers show in place of ruby only
            yield from page.edits(previous.end, token.start, "", "hidden text")
        if kind:
            yield from page.edits(token.start, token.end, replacement, kind)
        previous = token
        if token.is_end_tag:
            previous = HtmlToken(0, token.end)
    for piece in pieces:
        if piece.kind == "raw":  # tags that are text on the page, and would be none to the next reader
            for match in FILTERED_TAG.finditer(text, piece.start, piece.end):
                yield Edit(match.start(), match.end(), "&lt;", "tags")


def _shown_tag(page: "_Page", token: HtmlToken) -> tuple[str, str]:
    """The kind of what is hidden in a tag ("" for nothing), and the tag as it may stay."""
    name, slash = token.name, "/" * token.is_end_tag
    if name.startswith("untrusted"):  # the delimiter of what a model is told; it must be seen, and be none
        return "tags", f"&lt;{slash}{name}>"
    if name in OTHER_ELEMENTS or not re.fullmatch("[a-z0-9-]{1,40}", name):
        return "tags", ""
    if name not in SHOWN_ELEMENTS:
        start = token.start + 1 + len(slash)
        return "tags", f"[hidden tag: {slash}{page.html[start : start + len(name)]}]"
    sources = [page.html[start:end] for start, end in token.attributes]
    attributes = []
    if not page.holds_other(token):
        attributes = [each for each in sources if _SHOWN_ATTRIBUTE.match(each)]
    if len(attributes) == len(sources):
        return "", ""
    return "hidden attributes", f"{' '.join([f'<{slash}{name}', *attributes])}>"


class _Page:
    """The HTML of all pieces, with its tags and comments, and where they come from."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = [piece for piece in pieces if piece.html or piece.start < piece.end]
        self._starts = [0, *accumulate(len(piece.html) for piece in self._pieces)]
        self.html = "".join(piece.html for piece in self._pieces)
        self.tokens = list(html_tokens(self.html))

    def piece_at(self, position: int) -> Piece:
        return self._pieces[bisect_right(self._starts, position) - 1]

    def holds_other(self, token: HtmlToken) -> bool:
        """Whether a tag takes in what was written as something else."""
        return any(piece.kind != "raw" and piece.html not in ("", "\n") for piece, _, _ in self._within(token))

    def edits(self, start: int, end: int, replacement: str, kind: str) -> Iterator[Edit]:
        """Edits that replace `html[start:end]`."""
        ranges: list[tuple[int, int]] = []
        for piece, first, last in self._within(HtmlToken(start, end)):
            bounds = piece.start, piece.end
            if piece.kind != "syntax":
                bounds = piece.start + first, piece.start + last
            if ranges and ranges[-1][1] == bounds[0]:
                bounds = ranges.pop()[0], bounds[1]
            ranges.append(bounds)
        for first, last in ranges:
            yield Edit(first, last, replacement, kind)
            replacement = ""

    def _within(self, token: HtmlToken) -> Iterator[tuple[Piece, int, int]]:
        """The pieces of `html[token.start:token.end]`, and where it begins and ends in the HTML of each."""
        index = bisect_right(self._starts, token.start) - 1
        while index < len(self._pieces) and self._starts[index] < token.end:
            piece, offset = self._pieces[index], self._starts[index]
            yield piece, max(token.start - offset, 0), min(token.end - offset, len(piece.html))
            index += 1

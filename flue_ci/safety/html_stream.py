"""The page that GitHub makes of a Markdown text, as far as it decides what HTML in the text hides: a comment or a value
that is open at the end of a block goes on behind it. Each piece knows its place in the text. Pure."""

import re
from dataclasses import dataclass

from flue_ci.safety.html_tokens import FILTERED_TAG
from flue_ci.safety.markdown_tree import Node

_SIGNS = re.compile('[<>&"]')  # in text they are escaped on the page; they become a letter, so that places stay
_TAGS = {
    **{"paragraph": "p", "heading": "h1", "quote": "blockquote", "list": "ul", "item": "li", "table": "table"},
    **{"row": "tr", "cell": "td", "emphasis": "em", "strong": "strong", "strike": "del", "code": "code"},
    **{"fence": "pre", "indented": "pre", "autolink": "a", "link": "a"},
}
_VERBATIM = ("fence", "indented", "code", "autolink")
_ALONE = {"break": "<br />", "rule": "<hr />", "image": '<img src="" alt="">', "footnote_use": '<sup><a href="">1</a>'}


@dataclass(frozen=True, slots=True)
class Piece:
    """`html` stands for `text[start:end]`. `kind`: `raw` for HTML of the text and `text` for its words, both sign for
    sign; `syntax` for Markdown's, as a whole."""

    html: str
    start: int
    end: int
    kind: str = "syntax"


class HtmlStream:
    """`pieces` of `document`, the tree of `text`, in the order of the page."""

    def __init__(self, text: str, document: Node) -> None:
        self._text = text
        self._position = 0
        self._footnotes: list[Node] = []
        self.pieces: list[Piece] = []
        self._add(document)
        while self._footnotes:
            footnote = self._footnotes.pop(0)
            self._position = footnote.start
            self._add_children(footnote)

    def _skip_to(self, end: int, html: str = "") -> None:
        """What stands before `end` is syntax that becomes `html`."""
        end = max(end, self._position)
        self.pieces.append(Piece(html, self._position, end))
        self._position = end

    def _map(self, kind: str, start: int, end: int, html: str) -> None:
        self._skip_to(start)
        self.pieces.append(Piece(html, start, end, kind))
        self._position = end

    def _add(self, node: Node) -> None:
        text = self._text[node.start : node.end]
        if node.kind in ("text", "escape", "entity"):
            self._map("text", node.start, node.end, _SIGNS.sub("x", text))
        elif node.kind == "html":
            html = node.content
            if len(html) != len(text):  # in a quote: its signs at the beginning of a line are no part of the tag
                html = re.sub(r"\n[ \t>]*", lambda match: "\n".ljust(len(match[0])), text)
            self._map("raw", node.start, node.end, FILTERED_TAG.sub("x", html))
        elif node.kind == "html_block":
            for start, end in node.lines:
                self._skip_to(start, "\n")
                self._map("raw", start, end, FILTERED_TAG.sub("x", self._text[start:end]))
            self._skip_to(node.end, "\n")
        elif node.kind == "footnote":
            self._skip_to(node.start)
            self._position = max(node.end, self._position)
            if node.used:
                self._footnotes.append(node)
        elif tag := _TAGS.get(node.kind):
            value = ""
            if tag == "a" or "info" in node.parts:
                value = ' title=""'
            self._skip_to(node.start, f"<{tag}{value}>")
            if node.kind in _VERBATIM:
                self._map("text", node.start, node.end, _SIGNS.sub("x", text))
            self._add_children(node)
            self._skip_to(node.end, f"</{tag}>")
        elif node.kind == "document":
            self._add_children(node)
            self._skip_to(node.end)
        else:
            self._skip_to(node.end, _ALONE.get(node.kind, ""))

    def _add_children(self, node: Node) -> None:
        for child in node.children:
            self._add(child)

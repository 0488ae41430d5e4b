"""The page that GitHub makes of a Markdown text, as far as it decides what HTML in the text hides: a comment or a value
that is open at the end of a block goes on behind it. Each piece knows its place in the text. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flue_ci.safety.markdown_reader import Node

_SIGNS = re.compile('[<>&"]')  # in text they are escaped on the page; they become a letter, so that places stay
_TAGS = {
    **{"paragraph": "p", "heading": "h1", "quote": "blockquote", "list": "ul", "item": "li", "table": "table"},
    **{"row": "tr", "cell": "td", "emphasis": "em", "strong": "strong", "strike": "del", "code": "code"},
    **{"fence": "pre", "indented": "pre", "autolink": "a", "link": "a"},
}
_VERBATIM = ("fence", "indented", "code", "autolink")
_ALONE = {"break": "<br />", "rule": "<hr />", "image": '<img src="" alt="">', "footnote_use": '<sup><a href="">1</a>'}
# Elements that GitHub shows; of any other it leaves the content only (as html-pipeline's `SanitizationFilter` does).
_GITHUBS_NAMES = """
a abbr b bdo blockquote br caption cite code dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr
i img ins kbd li mark ol p picture pre q rp rt ruby s samp small source span strike strong sub summary sup table
tbody td tfoot th thead time tr tt ul var wbr
"""
_OTHER_NAMES = """
address area article aside audio base basefont body button canvas center col colgroup datalist dialog embed fieldset
font footer form frame frameset head header hgroup html iframe input label legend main map marquee math menu meta meter
nav nobr noscript optgroup option progress section select slot svg template track u video
"""
SHOWN_ELEMENTS, OTHER_ELEMENTS = frozenset(_GITHUBS_NAMES.split()), frozenset(_OTHER_NAMES.split())
# GitHub shows these tags as text (https://github.github.com/gfm/#disallowed-raw-html-extension-).
FILTERED_TAG = re.compile(
    r"<(?=/?(?:title|textarea|style|xmp|iframe|noembed|noframes|script|plaintext)(?:[\s>]|/>))", re.IGNORECASE
)
_START = re.compile(
    r"<(?:(?P<comment>!--)|(?P<bogus>[!?]|/(?![A-Za-z>]))|(?P<nothing>/>)|/?(?P<name>[A-Za-z][^\s/>]*))"
)
_COMMENT_END = re.compile(r"--!?>")
_ATTRIBUTE = re.compile(
    r"[\s/]*+(?:(?P<end>>)|(?P<name>=?[^\s/>=]*+)(?:\s*+=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\s>]*+))?)"
)


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


@dataclass(frozen=True, slots=True)
class HtmlToken:
    """`html[start:end]`: a comment or the like (`name` is ""), or the tag of the element `name`, in lower case.
    `attributes` are where each of its attributes begins and ends."""

    start: int
    end: int
    name: str = ""
    is_end_tag: bool = False
    attributes: tuple[tuple[int, int], ...] = ()


def html_tokens(html: str) -> Iterator[HtmlToken]:
    """Tags and comments, in order, as a browser finds them (https://html.spec.whatwg.org/#tokenization): a comment, a
    tag or a value that does not end takes in everything after it."""
    position = 0
    while match := _START.search(html, position):
        start, position = match.start(), match.end()
        if match["comment"]:
            position = _comment_end(html, position)
            yield HtmlToken(start, position)
        elif match["bogus"]:
            position = html.find(">", position) + 1 or len(html)
            yield HtmlToken(start, position)
        elif match["nothing"]:
            yield HtmlToken(start, position)
        else:
            attributes, position = _attributes(html, position)
            name = match["name"].lower()
            yield HtmlToken(start, position, name, html[start + 1] == "/", tuple(attributes))


def _comment_end(html: str, position: int) -> int:
    for short in (">", "->"):
        if html.startswith(short, position):
            return position + len(short)
    if end := _COMMENT_END.search(html, position):
        return end.end()
    return len(html)


def _attributes(html: str, position: int) -> tuple[list[tuple[int, int]], int]:
    """The attributes of a tag from behind its name on, and the tag's end."""
    attributes: list[tuple[int, int]] = []
    while position < len(html):
        match = _ATTRIBUTE.match(html, position)
        if match is None or match.end() == position:
            break
        position = match.end()
        if match["end"]:
            return attributes, position
        if match["name"]:
            attributes.append((match.start("name"), position))
    return attributes, len(html)

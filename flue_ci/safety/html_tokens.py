"""Tags and comments of HTML as a browser finds them (https://html.spec.whatwg.org/#tokenization): a comment, a tag or a
value that does not end takes in everything after it. Pure and linear; text and entities are left out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
FILTERED_TAG = (
    re.compile(  # GitHub shows these tags as text (https://github.github.com/gfm/#disallowed-raw-html-extension-)
        r"<(?=/?(?:title|textarea|style|xmp|iframe|noembed|noframes|script|plaintext)(?:[\s>]|/>))", re.IGNORECASE
    )
)
_START = re.compile(
    r"<(?:(?P<comment>!--)|(?P<bogus>[!?]|/(?![A-Za-z>]))|(?P<nothing>/>)|/?(?P<name>[A-Za-z][^\s/>]*))"
)
_COMMENT_END = re.compile(r"--!?>")
_ATTRIBUTE = re.compile(
    r"[\s/]*+(?:(?P<end>>)|(?P<name>=?[^\s/>=]*+)(?:\s*+=\s*+(?P<value>\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\s>]*+))?)"
)


@dataclass(frozen=True, slots=True)
class HtmlToken:
    """`html[start:end]`: a comment or the like (`name` is ""), or the tag of the element `name`, in lower case.
    `attributes` are names in lower case with their source and where it begins and ends."""

    start: int
    end: int
    name: str = ""
    is_end_tag: bool = False
    attributes: tuple[tuple[str, str, int, int], ...] = ()


def html_tokens(html: str) -> Iterator[HtmlToken]:
    """Tags and comments, in order. One that does not end goes to the end of `html`."""
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


def _attributes(html: str, position: int) -> tuple[list[tuple[str, str, int, int]], int]:
    """The attributes of a tag from behind its name on, and the tag's end."""
    attributes: list[tuple[str, str, int, int]] = []
    while position < len(html):
        match = _ATTRIBUTE.match(html, position)
        if match is None or match.end() == position:
            break
        position = match.end()
        if match["end"]:
            return attributes, position
        if match["name"]:
            attributes.append((match["name"].lower(), match["value"] or "", match.start("name"), position))
    return attributes, len(html)

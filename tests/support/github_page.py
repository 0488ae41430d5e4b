"""What a reader of GitHub's page gets of a Markdown text: rendered by cmark-gfm, GitHub's own parser, and read as HTML.

The facts about what GitHub links afterwards are those of html-pipeline: mentions and references are looked for in each
text node of the page that stands in no link and in no code, by a pattern that lets them follow anything but an ASCII
letter, digit or underscore.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from cmarkgfm import markdown_to_html_with_extensions
from cmarkgfm.cmark import Options

_OPTIONS = (
    Options.CMARK_OPT_UNSAFE
    | Options.CMARK_OPT_FOOTNOTES
    | Options.CMARK_OPT_HARDBREAKS
    | Options.CMARK_OPT_GITHUB_PRE_LANG
)
_EXTENSIONS = ["table", "strikethrough", "autolink", "tasklist", "tagfilter"]
_MADE_BY_MARKDOWN = frozenset(
    (
        *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "input", "li"),
        *("ol", "p", "pre", "section", "strong", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    )
)
_SHOWN = frozenset(
    (
        *(
            "b",
            "br",
            "code",
            "del",
            "details",
            "em",
            "hr",
            "i",
            "ins",
            "kbd",
            "mark",
            "q",
            "s",
            "samp",
            "small",
            "strong",
        ),
        *("sub", "summary", "sup", "var", "wbr"),
    )
)
_VOID = frozenset(("br", "hr", "img", "input", "wbr"))
_MENTION = re.compile(r"(?:^|[^A-Za-z0-9_])@[A-Za-z0-9]")
_REFERENCE = re.compile(r"(?:^|[^&])#\d|(?:^|[^A-Za-z0-9_])GH-\d", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:^|[^A-Za-z])(?:https?|ftp)://[A-Za-z0-9]|(?:^|[\s(*_~])www\.[A-Za-z0-9]", re.IGNORECASE)


@dataclass
class Page:
    """`live` says what acts: mentions and references by their text, elements by their name. `links` and `images` are
    addresses. `words` is all text that a reader sees, with the numbers of lists and the marks
    of boxes; `code` the part of it that is code; `top` the elements at the margin."""

    live: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    words: str = ""
    code: str = ""
    top: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.stack: list[str] = []
        self.numbers: list[int | None] = []  # of the next item of each list

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in _MADE_BY_MARKDOWN and tag not in _SHOWN:
            self.page.live.append(f"<{tag}>")
        if tag == "img":
            self.page.images.append(values.get("src") or "")
        if tag == "a" and not (values.get("href") or "").startswith("#fn"):
            self.page.links.append(values.get("href") or "")
        if any(name.startswith("on") or name == "style" for name in values):
            self.page.live.append(f"<{tag} {' '.join(values)}>")
        if tag in ("ol", "ul"):
            self.numbers.append(int(values.get("start") or 1) if tag == "ol" else None)
        elif tag == "li" and self.numbers and (number := self.numbers[-1]) is not None:
            self.page.words += f"{number} "
            self.numbers[-1] = number + 1
        elif tag == "input" and "checked" in values:
            self.page.words += "x"
        if not self.stack:
            self.page.top.append(tag)
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("ol", "ul") and self.numbers:
            self.numbers.pop()
        if tag in self.stack:
            while self.stack.pop() != tag:
                pass

    def handle_comment(self, data: str) -> None:
        self.page.live.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.page.live.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.page.live.append("an instruction")

    def unknown_decl(self, data: str) -> None:
        self.page.live.append("CDATA")

    def handle_data(self, data: str) -> None:
        self.page.words += data
        if any(tag in self.stack for tag in ("code", "pre")):
            self.page.code += data
        elif "a" not in self.stack:
            self.page.live += [match[0] for match in _MENTION.finditer(data)]
            self.page.live += [match[0] for match in _REFERENCE.finditer(data)]


def render(markdown: str, options: int = _OPTIONS) -> str:
    return str(markdown_to_html_with_extensions(markdown, options=options, extensions=_EXTENSIONS))


def page(markdown: str, *, with_html: bool = True) -> Page:
    """The page of a comment; without HTML, what is written in HTML is left out."""
    result = Page()
    reader = _Reader(result)
    if with_html:
        reader.feed(render(markdown))
    else:
        reader.feed(render(markdown, _OPTIONS & ~Options.CMARK_OPT_UNSAFE))
    reader.close()
    return result


def bare_words(text: str) -> str:
    """The letters of a text: what is left of it whatever Markdown does to it. (Lists and notes add numbers.)"""
    return "".join(re.findall(r"[^\W\d_]+", text))

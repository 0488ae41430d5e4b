"""Markdown that `untrusted_markdown` has cleaned, as HTML of a few elements without attributes that act.

No raw HTML, no image: a tag is left out or shown as text, and an image is a link.
"""

import re
from collections.abc import Callable

from markupsafe import Markup, escape

from flue_ci.report.page.colours import Highlighter
from flue_ci.safety.markdown_reader import Node, UnreadableMarkdown, read_markdown

_ELEMENTS = {"paragraph": "p", "quote": "blockquote", "emphasis": "em", "strong": "strong", "strike": "s"}
_HARMLESS_TAG = re.compile(r"</?(?:details|summary|sub|sup|kbd|br|b|i|em|strong|ins|del|p|div)\s*/?>", re.IGNORECASE)
_TASK = re.compile(r"(?:[-*+]|\d{1,9}[.)])\s+\[([ xX])\]\s")
_NUMBER = re.compile(r"\d{1,9}(?=[.)])")


def words_to_html(text: str, highlighter: Highlighter) -> Markup:
    """The text as HTML. One that cannot be read as Markdown stands as it is."""
    try:
        tree = read_markdown(text)
    except UnreadableMarkdown:
        return Markup("<pre>{}</pre>").format(text)
    return Markup(_Renderer(text, highlighter).render(tree))  # noqa: S704 (made of escaped texts)


class _Renderer:
    """Renders the nodes of one text. What has no method of its own shows what is inside of it."""

    def __init__(self, text: str, highlighter: Highlighter) -> None:
        self._text = text
        self._highlighter = highlighter
        self._render: dict[str, Callable[[Node], str]] = {
            "heading": lambda node: _element(f"h{min(node.level + 3, 6)}", self._inside(node)),
            "text": _content,
            "escape": _content,
            "entity": _content,
            "code": lambda node: _element("code", _content(node)),
            "break": lambda node: "<br>\n",
            "rule": lambda node: "<hr>\n",
            "fence": self._code,
            "indented": self._code,
            "html": self._html,
            "html_block": lambda node: _element("p", self._html(node)),
            "link": lambda node: _link(node.target, self._inside(node)),
            "autolink": lambda node: _link(node.target, str(escape(node.target))),
            "image": lambda node: _link(node.target, _content(node) or "image"),
            "list": self._list,
            "item": self._item,
            "table": self._table,
            "footnote_use": lambda node: _element("sup", str(escape(node.label))),
            "footnote": lambda node: _element("div", f"<sup>{escape(node.label)}</sup> {self._inside(node)}"),
            "definition": lambda node: "",
        }

    def render(self, node: Node) -> str:
        if node.kind in _ELEMENTS:
            return _element(_ELEMENTS[node.kind], self._inside(node))
        return self._render.get(node.kind, self._inside)(node)

    def _inside(self, node: Node) -> str:
        return "".join(map(self.render, node.children))

    def _code(self, node: Node) -> str:
        language = "".join(self._text[slice(*node.parts.get("info", (0, 0)))].split()[:1])
        lines = node.content.removesuffix("\n").split("\n")
        code = "\n".join(self._highlighter.lines(f"code.{language}", lines))
        return f'<pre tabindex="0">{code}</pre>\n'

    def _html(self, node: Node) -> str:
        return str(escape(_HARMLESS_TAG.sub("", node.content).strip()))

    def _list(self, node: Node) -> str:
        items = self._inside(node)
        if number := _NUMBER.match(self._text, node.start):
            return f'<ol start="{int(number[0])}">{items}</ol>\n'
        return _element("ul", items)

    def _item(self, node: Node) -> str:
        inside = self._inside(node)
        if task := _TASK.match(self._text, node.start):
            box = {" ": "☐"}.get(task[1], "☑")
            inside = inside.replace(f"[{task[1]}] ", "", 1)  # it is text to the reader
            return f'<li class="task"><span>{box}</span> {inside}</li>\n'
        return _element("li", inside)

    def _table(self, node: Node) -> str:
        head, *body = node.children
        rows = [self._row(row, "td") for row in body]
        if any(cell.children for cell in head.children):
            rows.insert(0, self._row(head, "th"))
        return f'<div class="scroll"><table class="plain">{"".join(rows)}</table></div>\n'

    def _row(self, row: Node, name: str) -> str:
        return _element("tr", "".join(_element(name, self._inside(cell)) for cell in row.children))


def _element(name: str, inside: str) -> str:
    return f"<{name}>{inside}</{name}>"


def _content(node: Node) -> str:
    return str(escape(node.content))


def _link(target: str, inside: str) -> str:
    if not target.lower().startswith(("https://", "http://")):
        return inside
    return f'<a href="{escape(target)}" rel="noreferrer noopener">{inside}</a>'

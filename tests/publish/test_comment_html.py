"""The comments as GitHub renders them, through an independent sanitiser: nothing that matters is removed.

The elements and attributes are those of GitHub's own allow-list
(https://github.com/gjtorikian/html-pipeline/blob/main/lib/html_pipeline/sanitization_filter.rb), and the boxes of task
lists, which GitHub adds afterwards.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import cmarkgfm
import nh3
import pytest
from cmarkgfm.cmark import Options

from tests.support.golden import FOLDER

TAGS = set(
    re.findall(
        r"\w+",
        """
        a abbr b bdo blockquote br caption cite code dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6
        hr i img ins kbd li mark ol p picture pre q rp rt ruby s samp small source span strike strong sub summary sup
        table tbody td tfoot th thead time tr tt ul var wbr input
        """,
    )
)
ATTRIBUTES = {
    "*": set("align alt dir height hidden lang open start title valign width".split()),  # noqa: SIM905
    "a": {"href"},
    "img": {"src"},
    "input": {"type", "checked", "disabled"},
}
_STYLING = (("code", "class"), ("pre", "lang"))


class Skeleton(HTMLParser):
    """Elements with their attributes, and texts, in order; without comments and what only styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = sorted(
            (name, value or "") for name, value in attrs if (tag, name) not in (("code", "class"), ("pre", "lang"))
        )
        self.parts.append(f"<{tag} {values}>")

    def handle_data(self, data: str) -> None:
        self.parts += data.split()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_a_sanitiser_finds_nothing_to_remove(path: Path) -> None:
    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_HARDBREAKS
    html = cmarkgfm.github_flavored_markdown_to_html(path.read_text("utf-8"), options)
    clean = nh3.clean(html, tags=TAGS, attributes=ATTRIBUTES, url_schemes={"https"}, link_rel=None)
    assert Skeleton(clean).parts == Skeleton(html).parts
    assert Skeleton(html).parts


@pytest.mark.parametrize("text", ["<form>x</form>", "[a](javascript:x)", "<b onclick=x>a</b>", "<a href=//h>x</a>"])
def test_the_sanitiser_would_remove_what_acts(text: str) -> None:
    html = cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE)
    clean = nh3.clean(html, tags=TAGS, attributes=ATTRIBUTES, url_schemes={"https"}, link_rel=None, url_relative="deny")
    assert Skeleton(clean).parts != Skeleton(html).parts

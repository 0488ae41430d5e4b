"""What GitHub makes of a Markdown comment: cmark-gfm, then the allow-list of html-pipeline, as facts written anew."""

from __future__ import annotations

import html
import re

import cmarkgfm
import nh3
from cmarkgfm.cmark import Options

_OPTIONS = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES | Options.CMARK_OPT_HARDBREAKS
_EXTENSIONS = ("table", "strikethrough", "autolink", "tagfilter", "tasklist")
_ELEMENTS = """
    a abbr b bdo blockquote br caption cite code dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr
    i img ins kbd li mark ol p picture pre q rp rt ruby s samp small source span strike strong sub summary sup table
    tbody td tfoot th thead time tr tt ul var wbr
"""


def github_html(text: str) -> str:
    """The page of a comment, without any attribute."""
    page = cmarkgfm.markdown_to_html_with_extensions(text, options=_OPTIONS, extensions=_EXTENSIONS)
    page = re.sub("</?template[^>]*>", "", page, flags=re.IGNORECASE)  # `nh3` drops its content, GitHub shows it
    return nh3.clean(page, tags=set(_ELEMENTS.split()), attributes={}, clean_content_tags=set(), link_rel=None)


def shown_text(text: str) -> str:
    """What a reader of the page sees."""
    return html.unescape(re.sub(r"<[^>]*>", "", github_html(text)))

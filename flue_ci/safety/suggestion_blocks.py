"""Blocks that a click on GitHub puts into somebody's code (```` ```suggestion ````), made ordinary code. Pure."""

import html
import re

from flue_ci.safety.markdown_reader import UnreadableMarkdown, read_markdown
from flue_ci.safety.text_edits import Edit, apply_edits

_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def without_suggestions(markdown: str) -> str:
    """The same text, with no block that can be applied: whether its lines stand there, nobody has looked at. For what
    has no clear reading, the text as it is."""
    try:
        blocks = [node for node in read_markdown(markdown).walk() if "info" in node.parts]
    except UnreadableMarkdown:
        return markdown
    infos = [info for node in blocks if _is_suggestion(markdown[slice(*(info := node.parts["info"]))])]
    return apply_edits(markdown, [Edit(*info, "") for info in sorted(infos)])


def _is_suggestion(info: str) -> bool:
    return html.unescape(_ESCAPE.sub(r"\1", info)).strip().lower().startswith("suggestion")

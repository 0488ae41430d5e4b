"""Text as code of Markdown, where nothing in it acts. Pure."""

import re

from flue_ci.core.text import one_line, plain

_SIGNS = re.compile(r"[^\w\s]|_")


def inline_code(text: str, limit: int = 200) -> str:
    """Inline code that survives backticks, line breaks and table cells; it needs no blank before and after, unless a
    backtick or backslash stands there."""
    line = one_line(text, limit)
    # Of a pipe a table wants a backslash that shows elsewhere; so many backticks GitHub does not read.
    if not line or "|" in line or "`" * 20 in line:
        return code_element(line)
    ticks = "`" * (max(map(len, re.findall(r"`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def code_element(text: str) -> str:
    """The same as an HTML element, in which nothing but letters is left to read."""
    return f"<code>{_SIGNS.sub(lambda sign: f'&#{ord(sign[0])};', one_line(text, 2_000))}</code>"


def code_block(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    text = plain(text)
    fence = "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)
    return f"{fence}{language}\n{text}\n{fence}"

"""What GitHub makes links of in plain text, after Markdown: mentions, references, addresses; and text as code of
Markdown, in which nothing acts. Pure and linear."""

import re
from collections.abc import Iterator

from flue_ci.core.text import one_line, plain

# GitHub looks for them in each piece of text of the finished page, so that neither escapes nor markup hide them. A
# mention may follow anything but an ASCII letter or digit (`_@x_`, `/@x`, `あ@x`), and a second `@`. A commit's SHA
# alone stays: it leads to this repository and tells nobody; behind `owner/name@` it leads elsewhere.
HOST = r"(?:[^\W_]|[^\x00-\xa9\u2000-\u206f\u3000-\u303f\uff00-\uffef])"  # its first sign: also an emoji's
_START = re.compile(
    r"(?P<mentions>(?<![@＠﹫])(?:[@＠﹫]{2,}|(?<![A-Za-z0-9])[@＠﹫])(?=[A-Za-z0-9])"
    r"|@(?=[0-9a-fA-F]{7,40}(?!\.?[0-9A-Za-z])))"
    r"|(?P<references>(?<![#＃])[#＃]+(?=\d)|(?<![A-Za-z0-9])[Gg][Hh]-(?=\d))"
    rf"|(?P<links>(?:(?<![A-Za-z])(?:[Hh][Tt][Tt][Pp][Ss]?|[Ff][Tt][Pp])://(?={HOST})"
    rf"|(?<![A-Za-z0-9])(?:[Ww][Ww][Ww]\.(?={HOST})|[Xx][Mm][Pp][Pp]:(?=\S))))"
)
TAG_START = re.compile(r"<(?=[A-Za-z/!?])")
_NAME = re.compile(r"[\w@＠#＃./-]*")
_ADDRESS = re.compile(r"[^\s\0<`]*")
_LETTER = re.compile(r"[A-Za-z0-9]")
_BEFORE_LIMIT = 200  # of an owner and a repository
_SIGNS = re.compile(r"[^\w\s]|_")


def active_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind (`mentions`, `references`, `links`) of everything in `text` that would become a link. NUL in
    the text stands for the border of two nodes of the page."""
    position = 0
    for match in _START.finditer(text):
        if match.start() < position:
            continue
        start, end, kind = match.start(), match.end(), str(match.lastgroup)
        if kind == "links":
            end = _trim(text, end, _ADDRESS, "?!.,:*_~'\";)]}")
        else:
            end = _trim(text, end, _NAME, "@＠#＃./-_")
            first = text[start]
            if first in "#＃" or (first == "@" and _LETTER.match(text[start - 1 : start])):
                first_place = max(position, start - _BEFORE_LIMIT)
                while start > first_place and (text[start - 1].isalnum() or text[start - 1] in "_./-"):
                    start -= 1
        yield start, end, kind
        position = end


def acts(text: str) -> bool:
    """Whether something in a text does more than stand there, should somebody read it as Markdown."""
    return "`" in text or TAG_START.search(text) is not None or any(True for _ in active_spans(text))


def _trim(text: str, start: int, pattern: re.Pattern[str], tail: str) -> int:
    """Where the match from `start` on ends without the signs of the sentence behind it."""
    match = pattern.match(text, start)
    assert match
    return start + len(match[0].rstrip(tail))


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

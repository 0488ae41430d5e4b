"""What GitHub makes links of in plain text, after Markdown: mentions, references, addresses. Pure and linear."""

import re
from collections.abc import Iterator

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
_NAME = re.compile(r"[\w@＠#＃./-]*")
_ADDRESS = re.compile(r"[^\s\0<`]*")
_LETTER = re.compile(r"[A-Za-z0-9]")
_BEFORE_LIMIT = 200  # of an owner and a repository


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


def _trim(text: str, start: int, pattern: re.Pattern[str], tail: str) -> int:
    """Where the match from `start` on ends without the signs of the sentence behind it."""
    match = pattern.match(text, start)
    assert match
    return start + len(match[0].rstrip(tail))

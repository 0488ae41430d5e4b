"""The request of a comment as a person reads it on the page: not in code, a quote, a link, what is struck out, hidden
text or a mail that is answered. The gate's own look at the lines accepts more."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from flue_ci.gate.comment_command import (
    CommentCommand,
    find_candidates,
    find_quoted_mail,
    normalize_lines,
    parse_command,
)
from flue_ci.safety.html_stream import HtmlStream, html_tokens
from flue_ci.safety.markdown_reader import Node, Span, UnreadableMarkdown, read_markdown
from flue_ci.safety.sanitize import find_edits

_CODE = ("fence", "indented", "code")
_OTHER = (*_CODE, "quote", "autolink", "html", "strike", "link")
_END = 1 << 60  # behind every text
_OTHER_ELEMENTS = ("a", "blockquote", "code", "del", "kbd", "pre", "q", "s", "samp", "strike", "tt")


def read_command(text: str, *, trigger: str = "/flue", phrase: str = "") -> CommentCommand | None:
    """The first request in the running text of a comment, or None. For the arguments see `find_command`."""
    text = normalize_lines(text)
    try:
        document = read_markdown(text)
    except UnreadableMarkdown:
        return None
    end = find_quoted_mail(text)
    code = [(node.start, node.end) for node in document.walk() if node.kind in _CODE]
    own_text = text
    if end >= 0 and not _holds(_join(code), end):
        own_text = text[:end]
    candidates = list(find_candidates(own_text, trigger=trigger, phrase=phrase))
    if not candidates:
        return None
    page = _RunningText(text, document)
    # The line below a table is one of its rows. A mention in a cell asks all the same.
    tables = _join([(node.start, node.end) for node in document.walk() if node.kind == "table"])
    for candidate in candidates:
        if not candidate.mention and _holds(tables, candidate.start):
            continue
        if page.holds(candidate.start):
            return parse_command(own_text, candidate)
    return None


def _holds(ranges: list[Span], place: int) -> bool:
    """Whether one of the ranges, which do not overlap and are in order, holds a place."""
    index = bisect_right(ranges, (place, _END)) - 1
    return index >= 0 and ranges[index][0] <= place < ranges[index][1]


def _join(ranges: list[Span]) -> list[Span]:
    result: list[Span] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = result[-1][0], max(end, result[-1][1])
        else:
            result.append((start, end))
    return result


class _RunningText:
    """What of a text is read as words on the page: no quote, code or link, nothing hidden or struck out."""

    def __init__(self, text: str, document: Node) -> None:
        pieces = HtmlStream(text, document).pieces
        other = [(edit.start, edit.end) for edit in find_edits(text, document)]
        other += [(node.start, node.end) for node in document.walk() if node.kind in _OTHER]
        self._other = _join(other)
        offsets = accumulate((len(piece.html) for piece in pieces), initial=0)
        words = [(piece, at) for piece, at in zip(pieces, offsets, strict=False) if piece.kind != "syntax"]
        words.sort(key=lambda word: word[0].start)
        self._places = [(piece.start, piece.end) for piece, _ in words]
        self._offsets = [at - piece.start for piece, at in words]
        self._elements = list(_other_elements("".join(piece.html for piece in pieces)))

    def holds(self, place: int) -> bool:
        if not _holds(self._places, place) or _holds(self._other, place):
            return False
        index = bisect_right(self._places, (place, _END)) - 1
        return not _holds(self._elements, place + self._offsets[index])


def _other_elements(html: str) -> Iterator[Span]:
    """The ranges of elements that are no running text, from tag to tag; the rest of the page for one without end."""
    depth, start = 0, 0
    for token in html_tokens(html):
        if token.name not in _OTHER_ELEMENTS:
            continue
        if not token.is_end_tag:
            depth += 1
            if depth == 1:
                start = token.start
        elif depth:
            depth -= 1
            if depth == 0:
                yield start, token.end
    if depth:
        yield start, len(html)

"""Other readings of a text, each with the places of its characters in the source: with escapes resolved, with wrapped
lines joined. Whoever looks for a value in them need not know how it can be written. Pure.
"""

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from heapq import merge

from flue_ci.core.hidden_characters import CANDIDATES
from flue_ci.core.text import ANSI, replace_spans

Span = tuple[int, int]  # start and end in a text
Edit = tuple[int, int, str]  # start and end in a source, and what stands there instead
MIN_LINE = 8  # characters without white space at the end of a line that may go on in the next
_MAX_DEPTH = 3  # encodings in one another that are resolved

_HEX = "[0-9A-Fa-f]"
_BACKSLASH = re.compile(
    rf"\\(?:u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|u{_HEX}{{4}}|u\{{{_HEX}{{1,6}}\}}|U{_HEX}{{8}}"
    rf"|x[89A-Fa-f]{_HEX}(?:\\x[89A-Fa-f]{_HEX})*|x[0-7]{_HEX}|[23][0-7]{{2}}(?:\\[23][0-7]{{2}})*|0?[01][0-7]{{2}}"
    r"|''|\r?\n|[^0-9A-Za-z\s]|[nrtabfve0 ])"
)
_PERCENT = re.compile(rf"%(?:[89A-Fa-f]{_HEX}(?:%[89A-Fa-f]{_HEX})*|[0-7]{_HEX}|u{_HEX}{{4}})")
_ENTITY = re.compile(rf"&(?:#[0-9]{{1,7}};?|#[xX]{_HEX}{{1,6}};?|[A-Za-z][A-Za-z0-9]{{1,30}};|(?:amp|lt|gt|quot))")
_CANDIDATE = re.compile(f"[{CANDIDATES}]")
_PLAIN = bytes({*range(32, 127), *b"\t\n"})  # the usual signs, of which none is hidden
_SHELL_QUOTE = re.compile("'\"'\"'")  # as `shlex.quote` writes an apostrophe
_ESCAPES = (("\\", _BACKSLASH), ("%", _PERCENT), ("&", _ENTITY), ("'\"'", _SHELL_QUOTE))
_LETTERS = dict(zip("nrtabfve0", "\n\r\t\a\b\f\v\x1b\0", strict=True))

# What stands in front of the rest of a value in its next line: white space, a line number, signs of quotations. A sign
# that has no byte of its own reads `?`.
_PREFIX = (
    rb"[ \t]*+(?:\d{1,7}[ \t]{0,4}(?:[|\t?]|:(?![0-9A-Fa-f]{2}:))[ \t]*+)?"
    rb"(?:[>|#*?\"'`]{1,4}[ \t]*+)?"
)  # fmt: skip
_BLACK = b"[!-\xff]"  # anything but white space and controls of ASCII
# Blanks in place of what separates words like these.
BLANKS = bytes.maketrans(bytes({*range(32)} - {*b"\t\n\r"}), b" " * 29)
# A word in which something may be encoded, with the lines in which it may go on: the signs of diffs count or not.
LONG_WORD = re.compile(
    rb"%(black)b{8,}(?:\r?\n[+-]?%(prefix)b%(black)b{8,})*(?:\r?\n[+-]?%(prefix)b%(black)b+)?"
    % {b"black": _BLACK, b"prefix": _PREFIX}
)
_WRAP, _CRLF_WRAP = re.compile(rb"\n" + _PREFIX), re.compile(rb"\r?\n" + _PREFIX)
_SIGNED_WRAP, _SIGNED_CRLF_WRAP = re.compile(rb"\n[+-]" + _PREFIX), re.compile(rb"\r?\n[+-]" + _PREFIX)
# The rows of a dump: at least six numbers of few digits, or an offset or a word and at least two more.
_SEPARATOR = r"[ \t,:]{1,8}"
_NUMBERS = re.compile(
    rf"[0-9](?<![0-9A-Za-z].)(?:x{_HEX}{{1,3}})?(?:{_HEX}{{0,2}}(?:{_SEPARATOR}(?:0x)?{_HEX}{{1,3}}(?!{_HEX})){{5}}"
    rf"|{_HEX}{{3,15}}(?:{_SEPARATOR}{_HEX}{{2,16}}(?!{_HEX})){{2}})"
)
# The same in less detail, which is quicker to find: `0` is a digit, `a` one above nine or the sign of hexadecimal ones,
# `z` another letter, a blank anything else.
_NUMBER_SIGNS = bytes(range(256))
for _kind, _sign in ((b"[^0-9A-Za-z]", b" "), (b"[G-WYZg-wyz]", b"z"), (b"[A-FXa-fx]", b"a"), (b"[0-9]", b"0")):
    _NUMBER_SIGNS = re.sub(_kind, _sign, _NUMBER_SIGNS)
_LIKELY_NUMBERS = re.compile(rb"0(?<= 0)(?=[0a]{0,17} {1,8}[0a]{1,18} {1,8}[0a])")
_CELLS = re.compile(r"   \S(?:   [ \S]|  \S\S| [0-7]{3}){5}")


class Reading:
    """`text` is made of a source by `edits`, in order and without overlap, which are asked for again when a place is
    wanted."""

    def __init__(self, text: str, edits: Callable[[], Iterable[Edit]]) -> None:
        self.text = text
        self._edits = edits
        self._starts: list[int] = []  # of pieces, in the text
        self._pieces: list[tuple[int, int]] = []  # start in the source; and end of what was replaced, else 0

    def source(self, span: Span) -> Span:
        """Where the characters of a span, of which there is at least one, stand in the source."""
        if not self._starts:
            self._map()
        index = bisect_right(self._starts, span[0]) - 1
        start, source_end = self._pieces[index]
        if not source_end:
            start += span[0] - self._starts[index]
        index = bisect_right(self._starts, span[1] - 1) - 1
        before, end = self._pieces[index]
        return start, end or before + span[1] - self._starts[index]

    def _map(self) -> None:
        position = in_text = 0
        for start, end, replacement in self._edits():
            self._starts += [in_text, in_text + start - position]
            self._pieces += [(position, 0), (start, end)]
            in_text += start - position + len(replacement)
            position = end
        self._starts.append(in_text)
        self._pieces.append((position, 0))


def goes_on(line: str) -> bool:
    """Whether a value may go on behind the end of `line`, as in wrapped base64 and in dumps."""
    return _wraps(line) or is_dump_row(line)


def _wraps(line: str) -> bool:
    ending = line.removesuffix("\r")[-MIN_LINE:]
    return (len(ending) == MIN_LINE and len(ending.split()) == 1) or ending[-1:] == "\\"


def is_dump_row(line: str) -> bool:
    """Whether a line has many numbers, or characters in columns, as xxd, od and others show bytes."""
    return bool(_NUMBERS.search(line) or _CELLS.search(line))


def dump_rows(text: str) -> list[int]:
    """Places in the rows of dumps, in order. All characters of `text` are those of Latin-1."""
    signs = b" " + text.encode("latin-1").translate(_NUMBER_SIGNS)
    starts = [match.start() - 1 for match in _LIKELY_NUMBERS.finditer(signs)]
    numbers = [start for start in starts if _NUMBERS.match(text, start)]
    return sorted([*numbers, *(match.start() for match in _CELLS.finditer(text))])


def join_lines(words: bytes, *, are_signed: bool) -> tuple[bytes, re.Pattern[bytes]]:
    """What words are without the ends of lines in them, and what was taken out. `are_signed`: also the signs of a
    diff."""
    plain_wrap, crlf_wrap = (_SIGNED_WRAP, _SIGNED_CRLF_WRAP) if are_signed else (_WRAP, _CRLF_WRAP)
    wrap = crlf_wrap if b"\r" in words else plain_wrap
    return wrap.sub(b"", words), wrap


def place_in_word(wrap: re.Pattern[bytes], word: bytes, span: Span) -> Span:
    """Where in a word the characters stand that have a span without the ends of lines."""
    return Reading("", lambda: ((*match.span(), "") for match in wrap.finditer(word))).source(span)


def layers(text: str) -> Iterator[tuple[str, Callable[[Span], Span]]]:
    """`text` with its escapes resolved once, twice, and three times, only those lines that have some; each with the
    way back to `text`."""
    readings: tuple[Reading, ...] = ()
    for _ in range(_MAX_DEPTH):
        edits = list(_resolve(text))
        if not edits:
            return
        readings = read_edited(text, partial(iter, edits)), *readings
        text = readings[0].text
        yield text, partial(_source, readings)


def _source(readings: Sequence[Reading], span: Span) -> Span:
    """Where a span of the first of these, each made of the next, stands in what the last was made of."""
    for reading in readings:
        span = reading.source(span)
    return span


def unescape(text: str) -> str:
    """`text` with its escapes resolved once."""
    return read_edited(text, lambda: ((*match.span(), _character(match[0])) for match in _escapes(text))).text


def _escapes(text: str) -> Iterator[re.Match[str]]:
    """The escapes in `text`, and what nobody sees, in order and without overlap."""
    # One pattern for each first character, which is quick to find.
    patterns = [pattern for sign, pattern in _ESCAPES if sign in text]
    rare = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    if rare and (unseen := "".join(sorted(set(_CANDIDATE.findall(rare.decode("utf-8", "surrogatepass")))))):
        patterns.append(_unseen(unseen))
    if len(patterns) < 2:
        return patterns[0].finditer(text) if patterns else iter(())
    return _in_order(merge(*(pattern.finditer(text) for pattern in patterns), key=re.Match.start))


@lru_cache(maxsize=64)
def _unseen(characters: str) -> re.Pattern[str]:
    return re.compile(rf"[{characters}](?:(?<=\x1b)(?:{ANSI})|(?!(?<=\r)\n))")


def _in_order(matches: Iterable[re.Match[str]]) -> Iterator[re.Match[str]]:
    """Without those that overlap one before."""
    position = 0
    for match in matches:
        if match.start() >= position:
            position = match.end()
            yield match


def read_edited(text: str, edits: Callable[[], Iterable[Edit]]) -> Reading:
    """`text` with what the edits change, which are asked for once more when a place is wanted."""
    return Reading(replace_spans(text, edits()), edits)


def _resolve(text: str) -> Iterator[Edit]:
    """What resolves the escapes in `text`. Lines without any are left out, but those that an escape's line may go on
    in."""
    position = lines_end = 0
    for match in _escapes(text):
        start, end = match.span()
        if start >= lines_end:
            lines_start = _first_line(text, start, lines_end)
            yield lines_end, lines_start, " \n"
            position = lines_start
        if end > lines_end:
            lines_end = _last_line(text, end)
        if match[0] == "\\''" and start > position and text[start - 1] == "'":
            start -= 1  # '\'' within quotes
        yield start, end, _character(match[0])
        position = end
    if position:
        yield lines_end, len(text), ""


def _first_line(text: str, position: int, limit: int) -> int:
    """The start of the first line that goes on up to the one at `position`."""
    start = text.rfind("\n", limit, position) + 1 or limit
    while start > limit:
        before = text.rfind("\n", limit, start - 1) + 1 or limit
        if not _wraps(text[before : start - 1]):
            break
        start = before
    return start


def _last_line(text: str, position: int) -> int:
    """The end of the last line in which the one at `position` goes on."""
    start = text.rfind("\n", 0, position) + 1
    while (end := text.find("\n", max(position, start))) >= 0:
        if not _wraps(text[start:end]):
            return end
        position = start = end + 1
    return len(text)


def _character(escape: str) -> str:
    """What an escape stands for; "" for what nobody sees."""
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[0] == "%":
        if escape[1] == "u":
            return chr(int(escape[2:], 16))
        return _decode(bytes.fromhex(escape.replace("%", "")))
    if escape[0] == "'":
        return "'"
    if escape[0] != "\\":
        return ""
    if escape[1] in "uU":
        return _code_point(escape)
    if escape[1] == "x":
        return _decode(bytes.fromhex(escape.replace("\\x", "")))
    if len(escape) > 3:
        return _decode(bytes(int(digits, 8) for digits in escape[1:].split("\\")))
    if escape[1] in "\r\n":
        return ""
    return _LETTERS.get(escape[1], escape[1])


def _code_point(escape: str) -> str:
    numbers = [int(digits.strip("{}"), 16) for digits in re.split(r"\\[uU]", escape)[1:]]
    if len(numbers) == 2:
        return chr(0x10000 + ((numbers[0] & 0x3FF) << 10) + (numbers[1] & 0x3FF))
    return chr(min(numbers[0], 0x10FFFF))


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")

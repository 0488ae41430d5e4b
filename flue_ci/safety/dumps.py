"""Dumps of bytes in a text, as xxd, od, hexdump and lists of numbers show them. Pure."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from flue_ci.safety.readings import Span, dump_rows, is_dump_row

_GROUP = re.compile(r"(?<![0-9A-Za-z])(?:0x)?([0-9A-Fa-f]{1,16})(?![0-9A-Za-z])")
_CELL = re.compile(r" {3}[ \S]| {2}\S\S| [0-7]{3}")
_BREAK = b"\xff\xff"  # stands for what is no byte
_OFFSET = 6  # digits of the shortest offset
_ROW_PREFIX = re.compile(r"(?:[ \t]*\d{1,6}[\t|│])?(?:[+-]|[>|] ?)?[\"'`]?")  # as in diffs and quotations
_ROW_OFFSET = re.compile("[0-9A-Fa-f]{6,8}(?= )")
_SEPARATORS = " \t,:"
_INDENT = " " * 8  # in front of characters that are shown below their numbers
_NAMES = {"sp": b" ", "nl": b"\n", "\\n": b"\n", "\\t": b"\t", "\\r": b"\r", "ht": b"\t", "cr": b"\r", "\\0": b"\0"}


@dataclass(frozen=True, slots=True)
class _Group:
    digits: str
    span: Span


@dataclass(frozen=True, slots=True)
class Dump:
    """`data` as a dump may mean it; `ends` are those of each number's bytes in `data`, `spans` its places in the text.
    `tails` are the ends of the rows that show the same bytes again as characters, behind the numbers; else 0."""

    data: bytes
    ends: tuple[int, ...]
    spans: tuple[Span, ...]
    tails: tuple[int, ...]

    def source(self, span: Span) -> Span:
        """Where bytes stand in the text, with the characters beside them."""
        first, last = bisect_right(self.ends, span[0]), bisect_left(self.ends, span[1])
        return self.spans[first][0], max(self.spans[last][1], self.tails[last])


def dumps(text: str) -> Iterator[Dump]:
    """What the dumps in `text` may mean, each in several ways."""
    position = 0
    for place in dump_rows(text):
        if place < position:
            continue
        start = text.rfind("\n", 0, place) + 1
        rows, position = _rows(text, start)
        groups = [[_Group(group[1], group.span()) for group in _GROUP.finditer(text, *row)] for row in rows]
        numbers = [row for row, place in zip(groups, rows, strict=True) if not text.startswith(_INDENT, *place)]
        yield from _meanings([_numbers(row, text) for row in numbers], text, _NUMBERS)
        if any(len(row[0].digits) >= _OFFSET for row in numbers if row):
            yield from _meanings([_numbers(row[1:], text) for row in numbers], text, _NUMBERS)
        if "   " in text[start:position]:
            yield from _meanings(list(_rows_of_cells(text, rows)), text, (_character,))


def _rows(text: str, start: int) -> tuple[list[Span], int]:
    """The lines of a dump from `start` on, with the one behind it, which may be shorter; and where the next begins."""
    rows = list[Span]()
    goes_on = True
    while goes_on and start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        goes_on = is_dump_row(text[start:end])
        prefix = _ROW_PREFIX.match(text, start, end)
        rows.append((prefix.end() if prefix else start, end))
        start = end + 1
    return rows, min(start, len(text))


def _rows_of_cells(text: str, rows: Sequence[Span]) -> Iterator[list[_Group]]:
    """The cells of `od -c`, all of four characters, behind an offset or, below a row of numbers, behind blanks."""
    width, are_below = 0, any(text.startswith(_INDENT, *row) for row in rows)
    for start, end in rows:
        if match := _ROW_OFFSET.match(text, start, end):
            width = match.end() - start
        elif text[start : start + width].strip():
            width = 0
        if are_below and not text.startswith(_INDENT, start, end):
            continue
        position, row = start + width, list[_Group]()
        while cell := _CELL.match(text, position, end):
            row.append(_Group(cell[0], cell.span()))
            position = cell.end()
        yield row


def _numbers(row: Sequence[_Group], text: str) -> list[_Group]:
    """The longest series of numbers in a row, without what may follow it: the same bytes as characters, some of which
    may be digits."""
    series, longest = list(row[:1]), list(row[:1])
    pitch = 0
    for group in row[1:]:
        before = series[-1].span[1]
        gap = text[before : group.span[0]].removesuffix("0x")
        pitch = pitch or group.span[1] - before
        is_middle = len(series) == 8 and len(group.digits) == 2  # of a row of hexdump
        is_further = len(gap) > 1 and gap.isspace() and not is_middle and group.span[1] - before != pitch
        if gap.strip(_SEPARATORS) or is_further:
            series, pitch = [], 0
        series.append(group)
        longest = max(longest, series, key=len)
    return longest


def _meanings(rows: list[list[_Group]], text: str, meanings: Iterable[Callable[[str], bytes | None]]) -> Iterator[Dump]:
    groups = [group for row in rows for group in row]
    tails = [_tail(text, row[-1].span[1]) for row in rows for _ in row]
    for meaning in meanings:
        pieces = [meaning(group.digits) for group in groups]
        if sum(piece is not None for piece in pieces) * 2 < len(pieces):
            continue
        data = bytearray()
        ends = list[int]()
        for piece in pieces:
            data += _BREAK if piece is None else piece
            ends.append(len(data))
        yield Dump(bytes(data), tuple(ends), tuple(group.span for group in groups), tuple(tails))


def _tail(text: str, position: int) -> int:
    """The end of the line when more follows behind a blank."""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    if text[position : position + 1].isspace() and text[position:end].strip():
        return end
    return 0


def _hexadecimal(digits: str) -> bytes | None:
    return bytes.fromhex(digits) if len(digits) % 2 == 0 else None


def _little_endian(digits: str) -> bytes | None:
    return bytes.fromhex(digits)[::-1] if len(digits) in (4, 8, 16) else None


def _octal(digits: str) -> bytes | None:
    if not re.fullmatch("[0-7]+", digits) or len(digits) not in (3, 6, 11):
        return None
    size = {3: 1, 6: 2, 11: 4}[len(digits)]
    number = int(digits, 8)
    return number.to_bytes(size, "little") if number < 256**size else None


def _decimal(digits: str) -> bytes | None:
    return bytes([int(digits)]) if digits.isdecimal() and int(digits) < 256 else None


def _binary(digits: str) -> bytes | None:
    return bytes([int(digits, 2)]) if re.fullmatch("[01]{8}", digits) else None


def _character(cell: str) -> bytes | None:
    content = cell.strip() or " "
    if content in _NAMES:
        return _NAMES[content]
    if len(content) == 3:
        return bytes([int(content, 8) & 255]) if content.isdecimal() else None
    return content.encode("utf-8", "surrogateescape") if len(content) == 1 else None


_NUMBERS = (_hexadecimal, _little_endian, _octal, _decimal, _binary)

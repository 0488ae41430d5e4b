"""Values in base64, base32 and hexadecimal digits, within the words of a text. Pure."""

import base64
import binascii
import json
import math
import re
import string
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import AnyStr, Literal
from urllib.parse import quote

from flue_ci.safety.readings import MIN_LINE, Span

MIN_LENGTH = 6  # shorter values occur in ordinary text
_Form = tuple[bytes, bytes, bytes]  # beginning, middle and end
_CUT = 3  # digits in front of a middle or behind it, when the beginning or the end is not there


def _complement(digits: str) -> bytes:
    return bytes(range(256)).translate(None, digits.encode())


_BASE64 = bytes.maketrans(b"-_", b"+/")  # also the digits of addresses
_NO_BASE64 = _complement(f"{string.ascii_letters}{string.digits}+/-_")
_NO_HEX = _complement(string.hexdigits)
WIDE = ("utf-16-le", "utf-16-be")
_WRITINGS = (*WIDE, "utf-32-le", "utf-32-be")
_UPPER = bytes.maketrans(string.ascii_lowercase.encode(), string.ascii_uppercase.encode())
_NO_BASE32 = _complement(f"{string.ascii_letters}234567")
_BLOCK = 8  # bytes that are compared at once
# The number of a line in front of the rest of a value, whose digits are none of the value's.
_LINE_NUMBER = re.compile(rb"\n[+-]?[ \t]*+\d{1,7}[ \t]{0,4}(?:[|\t?]|:(?![0-9A-Fa-f]{2}:))")


class EncodedValues:
    """Looks for `values` in words. `forms` are the bytes that are looked for; `wrappable` are the values that may go on
    over the ends of lines."""

    def __init__(self, values: Sequence[str], wrappable: Sequence[str]) -> None:
        forms: dict[_Form, None] = {}
        for value in values:
            contents = [raw(value), *(value.encode(each, "surrogatepass").replace(b"\0", b"") for each in WIDE)]
            forms |= dict.fromkeys(map(_divide, contents))
        encoded = [form for value in values for form in _encoded_bytes(value)]
        forms |= {(b"", form, b""): None for form in encoded if form.decode() not in values}
        self._forms = tuple(forms)
        self._base32 = tuple({form.encode(): None for value in values for form in alignments(raw(value), 5)})
        self.forms = tuple(map(b"".join, forms))
        contents = [content for _, middle, _ in forms for content in (middle, _spread(middle, 1), _spread(middle, 3))]
        contents += [content for value in values if not value.isascii() for content in _wide(value[1:-1])]
        digits = [digits.encode() for content in contents for digits in alignments(content, 6, least=0)]
        plain = (value.encode("latin-1") for value in wrappable)
        self._pieces = _Pieces([_letters(each) for each in (*digits, *self._base32, *plain)])
        self._hex_pieces = _Pieces([_hex_digits(_letters(content.hex().encode())) for content in contents])

    def may_be_in(self, data: bytes) -> bool:
        """Whether the digits of a value, or the letters of one that is wrappable, are in `data`, with anything between
        them: the answer is quick, and seldom wrong when it is yes."""
        contents = [data]
        if _LINE_NUMBER.search(data):
            contents.append(_LINE_NUMBER.sub(b"\n", data))
        texts = map(_letters, contents)
        return any(self._pieces.are_in(text) or self._hex_pieces.are_in(_hex_digits(text)) for text in texts)

    def find(self, words: Sequence[bytes]) -> Iterator[tuple[int, Span]]:
        """Which of the words have encoded forms of values, and where in them; what goes over the end of a word is no
        match."""
        hits = list(_find_encoded(b"\0".join(words), self._forms, self._base32))
        if not hits:
            return
        starts = list(accumulate((len(word) + 1 for word in words), initial=0))
        for start, end in hits:
            index = bisect_right(starts, start) - 1
            first, last = starts[index], starts[index + 1] - 1
            if end <= last:
                yield index, (start - first, end - first)


class _Pieces:
    """Says whether one of `pieces` is in a longer text. Of those that are long, one block is among the blocks that the
    text is divided into, wherever they begin in it."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        unique = set(pieces)
        self._short = tuple(piece for piece in unique if len(piece) < 2 * _BLOCK - 1)
        longs = unique.difference(self._short)
        self._blocks = {*_blocks(b"".join([piece[start:][:_BLOCK] for piece in longs for start in range(_BLOCK)]))}

    def are_in(self, text: bytes) -> bool:
        """Whether one is in `text`; a longer one perhaps, as one block says little."""
        return not self._blocks.isdisjoint(_blocks(text)) or any(piece in text for piece in self._short)


def _blocks(data: bytes) -> memoryview:
    """The blocks of `data` one after another, as numbers."""
    return memoryview(data)[: len(data) // _BLOCK * _BLOCK].cast("Q")


def _letters(data: bytes) -> bytes:
    """What base32 and base64 have in common, in which capital letters are as good as small ones."""
    return data.translate(_UPPER, _NO_BASE32)


def _hex_digits(letters: bytes) -> bytes:
    """Also without zeros, of which UTF-16 and UTF-32 are full."""
    return letters.translate(None, _NO_HEX)


def _spread(data: bytes, zeros: int) -> bytes:
    """Letters as they are in UTF-16 and UTF-32, without what stands at both ends."""
    letters = bytearray(len(data) * (zeros + 1) - zeros)
    letters[:: zeros + 1] = data
    return bytes(letters)


def _wide(value: str) -> Iterator[bytes]:
    yield from (value.encode(each, "surrogatepass").strip(b"\0") for each in _WRITINGS)


def occurrences(form: AnyStr, text: AnyStr, step: int = 0) -> Iterator[Span]:
    """Where a form is in a text: without overlap, or so many characters behind one another at least."""
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + (step or len(form)))


def _find_encoded(data: bytes, forms: Sequence[_Form], base32: Sequence[bytes]) -> Iterator[Span]:
    """Where forms stand in base64, base32 and hexadecimal digits; what are no digits between them does not count."""
    if len(data) < MIN_LINE:
        return
    if forms:
        yield from _find_bytes_in_digits(data, forms)
    digits = data.translate(_UPPER, _NO_BASE32)
    base32 = [form for form in base32 if form in digits]
    spans = [(span, span) for form in base32 for span in occurrences(form, digits, step=1)]
    yield from _places(spans, data, _NO_BASE32)


def _find_bytes_in_digits(data: bytes, forms: Sequence[_Form]) -> Iterator[Span]:
    streams = []  # bits of a digit, what are no digits, the first digit, and the bytes
    digits = data.translate(_BASE64, _NO_BASE64).join((b"AAAA", b"AAAA"))  # the first may be the middle of a group
    for phase in range(4):
        content = binascii.a2b_base64(digits[phase : phase + (len(digits) - phase) // 4 * 4])
        streams.append((6, _NO_BASE64, phase - 4, content))
    digits = data.translate(None, _NO_HEX)
    for phase in range(2):
        content = binascii.unhexlify(digits[phase : phase + (len(digits) - phase) // 2 * 2])
        streams.append((4, _NO_HEX, phase, content))
    together = b"\xff".join([content for _, _, _, content in streams]).replace(b"\0", b"")
    forms = [form for form in forms if form[1] in together]
    for bits, separators, first, content in streams:
        if forms:
            yield from _places(_find_bytes(content, forms, bits, first), data, separators)


def _find_bytes(stream: bytes, forms: Sequence[_Form], bits: int, first: int) -> list[tuple[Span, Span]]:
    """The spans of the digits, of so many bits each from the `first` on, that stand for forms: of their middles, and
    of all that may belong to them."""
    content = stream.replace(b"\0", b"")  # UTF-16 and UTF-32
    places: Sequence[int] = range(len(stream))
    if len(content) < len(stream):
        places = [index for index, byte in enumerate(stream) if byte]
    results = []
    for head, middle, tail in forms:
        for start, end in occurrences(middle, content, step=1):  # one may begin in the word before
            before = 0 if content[max(start - len(head), 0) : start] == head else _CUT
            after = 0 if content[end : end + len(tail)] == tail else _CUT
            whole_start = places[start if before else start - len(head)]
            whole_end = places[(end if after else end + len(tail)) - 1] + 1
            span = first + places[start] * 8 // bits, first + ((places[end - 1] + 1) * 8 - 1) // bits + 1
            whole = first + whole_start * 8 // bits - before, first + (whole_end * 8 - 1) // bits + 1 + after
            results.append((span, whole))
    return results


def _places(spans: Sequence[tuple[Span, Span]], data: bytes, separators: bytes) -> Iterator[Span]:
    """Where the digits of all that belongs to forms are in `data`, which has other characters between them; in the word
    of the form's middle."""
    if not spans:
        return
    places = [index for index, byte in enumerate(data) if byte not in separators]

    def place(span: Span) -> Span:
        return places[max(span[0], 0)], places[min(span[1], len(places)) - 1] + 1

    for middle, whole in spans:
        (start, end), (first, last) = place(middle), place(whole)
        before, after = data.rfind(b"\0", first, start) + 1, data.find(b"\0", end, last)
        if before:
            first = places[bisect_right(places, before - 1)]  # the first digit of this word
        if after >= 0:
            last = places[bisect_left(places, after) - 1] + 1
        yield first, last


def _encoded_bytes(value: str) -> Iterator[bytes]:
    """What else than the value itself may be in base64, hexadecimal digits and dumps."""
    content = raw(value)
    yield from (json.dumps(value)[1:-1].encode(), quote(content, safe="").encode())
    yield from (digits.encode() for digits in alignments(content, 6))


def _divide(form: bytes) -> _Form:
    """A form without its first and last byte, of which only a part may be there in base64 that was cut."""
    if len(form) < MIN_LENGTH + 2:
        return b"", form, b""
    return form[:1], form[1:-1], form[-1:]


def raw(value: str) -> bytes:
    """A value as its bytes."""
    return value.encode("utf-8", "surrogateescape")


def alignments(data: bytes, bits: Literal[5, 6], *, least: int = MIN_LENGTH + 2) -> Iterator[str]:
    """The digits of base32 (5 bits each) or base64 (6) for `data` within something longer, in each alignment, where
    there are `least`. Those at both ends depend on the neighbours, so only those between them are looked for."""
    encode = base64.b64encode if bits == 6 else base64.b32encode
    for offset in range(math.lcm(bits, 8) // 8):
        digits = encode(b"\0" * offset + data).decode()
        middle = digits[-(offset * 8 // -bits) : (offset + len(data)) * 8 // bits]
        if len(middle) >= least:
            yield middle

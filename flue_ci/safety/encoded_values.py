"""Values in base64, base32 and hexadecimal digits, within the words of a text. Pure."""

import base64
import binascii
import json
import math
import re
import string
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
# What a word must have in which a form is: most words of a text have no digit.
_SIGNS = (re.compile(b""), re.compile(b"[0-9A-Z]"), re.compile(b"[0-9]"))
_BASE32 = bytes.maketrans(string.ascii_lowercase.encode(), string.ascii_uppercase.encode())
_NO_BASE32 = _complement(f"{string.ascii_letters}234567")


class EncodedValues:
    """Looks for `values` in words. `forms` are the bytes that are looked for."""

    def __init__(self, values: Sequence[str]) -> None:
        forms: dict[_Form, re.Pattern[bytes]] = {}
        base32: dict[bytes, re.Pattern[bytes]] = {}
        for value in values:
            contents = [raw(value), *(value.encode(each, "surrogatepass").replace(b"\0", b"") for each in WIDE)]
            forms |= dict.fromkeys(map(_divide, contents), _sign(_digits(value)))
            base32 |= {form: _sign((form, form.lower())) for form in map(str.encode, alignments(contents[0], 5))}
        for form in {form: None for value in values for form in _encoded_bytes(value)}:
            if form.decode() not in values:
                forms.setdefault((b"", form, b""), _sign(_digits(form.decode())))
        self.forms = tuple(map(b"".join, forms))
        self._groups = tuple(_groups(forms, base32))

    def find(self, words: Sequence[bytes]) -> Iterator[tuple[int, Span]]:
        """Which of the words have one of the values, and where in them."""
        likely: Sequence[int] = range(len(words))
        for sign, size, forms, base32 in self._groups:
            likely = [index for index in likely if len(words[index]) >= size and sign.search(words[index])]
            if likely:
                by_word = _find_by_word([words[index] for index in likely], forms, base32)
                yield from ((likely[index], span) for index, span in by_word)


_Group = tuple[re.Pattern[bytes], int, Sequence[_Form], Sequence[bytes]]


def _groups(forms: Mapping[_Form, re.Pattern[bytes]], base32: Mapping[bytes, re.Pattern[bytes]]) -> Iterator[_Group]:
    """Forms whose words have the same sign, bytes and digits of base32, with the size of the shortest word that can
    have one, or one of the groups behind it, whose signs have this one too."""
    for position, sign in enumerate(_SIGNS):
        each = [form for form in forms if forms[form] is sign]
        digits = [form for form in base32 if base32[form] is sign]
        if each or digits:
            # The least number of digits of base64 that stand for the middle of a form.
            sizes = [len(form[1]) * 8 // 6 for form in forms if forms[form] in _SIGNS[position:]]
            sizes += [len(form) for form in base32 if base32[form] in _SIGNS[position:]]
            yield sign, min(sizes), each, digits


def _sign(writings: Iterable[bytes]) -> re.Pattern[bytes]:
    """The rarest sign that each of the writings has."""
    writings = list(writings)
    return next(sign for sign in reversed(_SIGNS) if all(sign.search(each) for each in writings))


def _digits(value: str) -> Iterator[bytes]:
    """The digits that stand for a value in each encoding and alignment, without its ends: those may be cut."""
    middle = value[1:-1]
    for content in (raw(middle), *(middle.encode(each, "surrogatepass") for each in _WRITINGS)):
        yield from map(str.encode, alignments(content, 6, least=0))
        yield content.hex().encode()


def occurrences(form: AnyStr, text: AnyStr) -> Iterator[Span]:
    """Where a form is in a text."""
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + len(form))


def _find_by_word(
    words: Sequence[bytes], forms: Sequence[_Form], base32: Sequence[bytes]
) -> Iterator[tuple[int, Span]]:
    """Which of the words have encoded forms of values, and where in them; what goes over the end of a word is no
    match."""
    hits = list(_find_encoded(b"\0".join(words), forms, base32))
    if not hits:
        return
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    for start, end in hits:
        index = bisect_right(starts, start) - 1
        first, last = starts[index], starts[index + 1] - 1
        if end <= last:
            yield index, (start - first, end - first)


def _find_encoded(data: bytes, forms: Sequence[_Form], base32: Sequence[bytes]) -> Iterator[Span]:
    """Where forms stand in base64, base32 and hexadecimal digits; what are no digits between them does not count."""
    if len(data) < MIN_LINE:
        return
    if forms:
        yield from _find_bytes_in_digits(data, forms)
    digits = data.translate(_BASE32, _NO_BASE32)
    base32 = [form for form in base32 if form in digits]
    spans = [(span, span) for form in base32 for span in occurrences(form, digits)]
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
        for start, end in occurrences(middle, content):
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

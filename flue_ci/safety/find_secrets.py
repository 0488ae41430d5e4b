"""Where secrets are in a text: exact values in all usual writings, and tokens of well-words_before kinds. Pure.

A value is looked for in the text and in its readings: escapes resolved, wrapped lines joined, base64, base32,
hexadecimal digits and dumps decoded. It is also found on both sides of a mark of ours that says that something was
left out.
"""

import base64
import binascii
import html
import json
import math
import re
import string
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import AnyStr, Literal
from urllib.parse import quote, quote_plus

from flue_ci.safety.dumps import dumps
from flue_ci.safety.key_patterns import find_keys
from flue_ci.safety.readings import MIN_LINE, Span, find_words, goes_on, join_words, layers, unescape, word_matches

MIN_LENGTH = 6  # shorter values occur in ordinary text
MIN_WRAPPED = 16  # shorter values are not looked for over the ends of lines: two ordinary words could make one
_OMISSION = re.compile(r"\[…[^\[\]\n]{0,300}\]\n?")  # our mark, for example `[… 12 bytes left out …]`
_BETWEEN = "\n\0\n"  # between the readings of a text: nothing that is looked for goes on over it
_ALL = bytes(range(256))


_Form = tuple[bytes, bytes, bytes]  # beginning, middle and end
_LONG = 24  # digits
_CUT = 3  # digits in front of a middle or behind it, when the beginning or the end is not there


def _complement(digits: str) -> bytes:
    return _ALL.translate(None, digits.encode())


_BASE64 = bytes.maketrans(b"-_", b"+/")  # also the digits of addresses
_NO_BASE64 = _complement(f"{string.ascii_letters}{string.digits}+/-_")
_NO_HEX = _complement(string.hexdigits)
_WIDE = ("utf-16-le", "utf-16-be")
_BASE32 = bytes.maketrans(string.ascii_lowercase.encode(), string.ascii_uppercase.encode())
_NO_BASE32 = _complement(f"{string.ascii_letters}234567")


class SecretFinder:
    """Finds `secrets`, which are exact values, and tokens of well-words_before kinds."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._values = tuple({value: None for secret in secrets for value in _values(secret)})
        self._wrappable = tuple(
            value
            for value in self._values
            if len(value) >= MIN_WRAPPED and value.split() == [value] and _is_narrow(value)
        )
        self._narrow = tuple(value for value in self._values if _is_narrow(value))
        self._wide = tuple(value for value in self._values if not _is_narrow(value))
        self._multiline = tuple(value for value in self._values if "\n" in value)
        self._forms = tuple({form: None for value in self._values for form in encodings(value)})
        self._all_forms = "\0".join(self._forms)
        forms = [_raw(value) for value in self._values]
        wide = [value.encode(each, "surrogatepass").replace(b"\0", b"") for value in self._values for each in _WIDE]
        twice = {form: None for value in self._values for form in _encoded_bytes(value)}
        whole = [(b"", form, b"") for form in twice if form not in forms]
        self._bytes = tuple(dict.fromkeys([*map(_divide, [*forms, *wide]), *whole]))
        base32 = {form.encode(): None for value in self._values for form in _alignments(_raw(value), 5)}
        self._digits = tuple(_by_size(self._bytes, tuple(base32)))

    def find(self, text: str) -> list[Span]:
        """All secrets in `text`, in order, those that overlap as one span: `[(4, 10), (20, 60)]`."""
        spans: list[Span] = []
        for start, end in sorted(span for _, span in self.scan(text)):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            elif start < end:
                spans.append((start, end))
        return spans

    def scan(self, text: str, *, keys: bool = True, values: bool = True) -> Iterator[tuple[str, Span]]:
        """The kind ("" for exact values) and the place of each secret, in no order; they may overlap."""
        readings = list(layers(text))
        together = _BETWEEN.join(
            [text, *(layer for layer, _ in readings)]
        )  # most of the time is for each, not its size
        starts = list(
            accumulate((len(layer) + len(_BETWEEN) for layer, _ in readings), initial=len(text) + len(_BETWEEN))
        )
        for kind, span in self._scan_together(together, keys=keys, values=values):
            if span[1] <= len(text):
                yield kind, span
                continue
            index = bisect_right(starts, span[0]) - 1
            if index < 0 or span[1] > starts[index + 1] - len(_BETWEEN):
                continue  # partly between two of them
            start, end = readings[index][1]((span[0] - starts[index], span[1] - starts[index]))
            if _is_joined(text, start, end):
                yield kind, (start, end)

    def goes_on(self, lines: Sequence[str]) -> bool:
        """Whether a secret may begin in these lines, each with its end, and go on behind them."""
        if goes_on(lines[-1][:-1]):
            return True
        return any(_ends_within(lines, value) for value in self._multiline)

    def _scan_together(self, text: str, *, keys: bool, values: bool) -> Iterator[tuple[str, Span]]:
        narrow = text
        if not text.isascii():
            narrow = text.encode("latin-1", "replace").decode("latin-1")  # of one byte each, in which finding is quick
        words = find_words(narrow)
        if keys:
            yield from find_keys(narrow, words)
        if values:
            yield from (("", span) for span in self._find_in_words(narrow, words) if _is_joined(text, *span))
            values_there = [value for value in self._narrow if value in narrow]
            values_there += [value for value in self._wide if value in text]
            for value in values_there:
                yield from (("", span) for span in _occurrences(value, text))
            yield from (("", span) for span in self._find_around_marks(text))
            for dump in dumps(narrow):
                for form in self._bytes:
                    data = b"".join(form)
                    yield from (("", dump.source(span)) for span in _occurrences(data, dump.data))

    def _find_in_words(self, text: str, words: Sequence[str]) -> Iterator[Span]:
        """Where encoded values, and values that are wrapped, stand within words."""
        spans: dict[str, list[Span]] = {}  # by word, within it
        for originals, contents, join in join_words(words):
            hits = list[tuple[int, Span]]()
            for size, forms, base32 in self._digits:
                longs = [index for index, content in enumerate(contents) if len(content) >= size]
                by_word = _find_by_word([contents[index] for index in longs], forms, base32)
                hits += [(longs[index], span) for index, span in by_word]
            hits += _find_wrapped(originals, contents, self._wrappable)
            sources = {index: join(originals[index]).source for index in {index for index, _ in hits}}
            for index, span in hits:
                spans.setdefault(originals[index], []).append(sources[index](span))
        if spans:
            for match in word_matches(text):
                for start, end in spans.get(match[0], ()):
                    yield match.start() + start, match.start() + end

    def _find_around_marks(self, text: str) -> Iterator[Span]:
        for start, end in _omissions(text):
            # A hostile text has many marks: only forms that have the letters beside one are looked at.
            before, after = text[max(start - MIN_LENGTH, 0) : start], text[end : end + MIN_LENGTH]
            if before in self._all_forms or after in self._all_forms:
                for form in self._forms:
                    if before in form or after in form:
                        yield from _find_around((start, end), form, text)


def _is_narrow(value: str) -> bool:
    return max(value) < "\u0100"


def _by_size(forms: Sequence[_Form], base32: Sequence[bytes]) -> Iterator[tuple[int, Sequence[_Form], Sequence[bytes]]]:
    """Short forms and long ones, bytes and digits of base32, each with the size of the shortest word that can have one:
    the long ones are many, and few words are long enough."""
    for is_long in (False, True):
        each = [form for form in forms if (_digits_of(form) >= _LONG) == is_long]
        digits = [form for form in base32 if (len(form) >= _LONG) == is_long]
        if each or digits:
            yield min([*map(_digits_of, each), *map(len, digits)]), each, digits


def _digits_of(form: _Form) -> int:
    """The least number of digits of base64 that stand for the middle of a form."""
    return len(form[1]) * 8 // 6


def _occurrences(form: AnyStr, text: AnyStr) -> Iterator[Span]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + len(form))


def _find_by_word(words: Sequence[str], forms: Sequence[_Form], base32: Sequence[bytes]) -> Iterator[tuple[int, Span]]:
    """Which of the words have encoded forms of values, and where in them; what goes over the end of a word is no
    match."""
    hits = list(_find_encoded("\0".join(words), forms, base32))
    if not hits:
        return
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    for start, end in hits:
        index = bisect_right(starts, start) - 1
        first, last = starts[index], starts[index + 1] - 1
        if end <= last:
            yield index, (start - first, end - first)


def _find_wrapped(
    originals: Sequence[str], contents: Sequence[str], values: Sequence[str]
) -> Iterator[tuple[int, Span]]:
    """The same for values that go on over the ends of lines."""
    wrapped = [index for index, word in enumerate(originals) if "\n" in word]
    together = "\0".join(contents[index] for index in wrapped)
    values = [value for value in values if value in together]
    for index in wrapped[: len(wrapped) * bool(values)]:
        for value in values:
            yield from ((index, span) for span in _occurrences(value, contents[index]))


def _find_encoded(words: str, forms: Sequence[_Form], base32: Sequence[bytes]) -> Iterator[Span]:
    """Where forms stand in base64, base32 and hexadecimal digits; what are no digits between them does not count."""
    if len(words) < MIN_LINE:
        return
    data = words.encode("latin-1", "replace")
    streams = []  # bits of a digit, what are no digits, the first digit, and the bytes
    digits = data.translate(_BASE64, _NO_BASE64).join((b"AAAA", b"AAAA"))  # the first may be the middle of a group
    for phase in range(4):
        content = binascii.a2b_base64(digits[phase : phase + (len(digits) - phase) // 4 * 4])
        streams.append((6, _NO_BASE64, phase - 4, content))
    digits = data.translate(None, _NO_HEX)
    for phase in range(2):
        content = binascii.unhexlify(digits[phase : phase + (len(digits) - phase) // 2 * 2])
        streams.append((4, _NO_HEX, phase, content))
    together = b"\xff".join(content.replace(b"\0", b"") for _, _, _, content in streams)
    forms = [form for form in forms if form[1] in together]
    for bits, separators, first, content in streams:
        if forms:
            yield from _places(_find_bytes(content, forms, bits, first), data, separators)
    if base32:
        digits = data.translate(_BASE32, _NO_BASE32)
        base32 = [form for form in base32 if form in digits]
        spans = [(span, span) for form in base32 for span in _occurrences(form, digits)]
        yield from _places(spans, data, _NO_BASE32)


def _find_bytes(stream: bytes, forms: Sequence[_Form], bits: int, first: int) -> list[tuple[Span, Span]]:
    """The spans of the digits, of so many bits each from the `first` on, that stand for forms: of their middles, and
    of all that may belong to them."""
    content = stream.replace(b"\0", b"")  # UTF-16 and UTF-32
    places: Sequence[int] = range(len(stream))
    if len(content) < len(stream):
        places = [index for index, byte in enumerate(stream) if byte]
    results = []
    for head, middle, tail in forms:
        for start, end in _occurrences(middle, content):
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


def _is_joined(text: str, start: int, end: int) -> bool:
    """Whether every line from `start` on goes on in the next, to `end`."""
    position = text.find("\n", start, end)
    line = text.rfind("\n", 0, start) + 1
    while position >= 0:
        if not goes_on(text[line:position]):
            return False
        line = position + 1
        position = text.find("\n", line, end)
    return True


def _ends_within(lines: Sequence[str], value: str) -> bool:
    """Whether `lines` end with some first lines of a value."""
    parts = value.splitlines(keepends=True)
    return any("".join(lines[-count:]).endswith("".join(parts[:count])) for count in range(1, len(parts)))


def _omissions(text: str) -> Iterator[Span]:
    """Our marks of omission, each with the line end or the two blanks before it."""
    position = text.find("…") - 1
    while position >= -1:
        if match := _OMISSION.match(text, max(position, 0)):
            before = text[max(position - 2, 0) : position]
            yield position - len(before) + len(before.rstrip(" \n")), match.end()
        position = text.find("…", position + 2) - 1


def _find_around(omission: Span, form: str, text: str) -> Iterator[Span]:
    """The beginning of a form in front of a mark, and its end behind it: of `topsecret-value` the ends in
    `topsec[…]t-value`. Pieces shorter than `MIN_LENGTH` are no secret."""
    start, end = omission
    before, after = text[max(start - len(form), 0) : start], text[end : end + len(form)]
    if form[:MIN_LENGTH] in before:
        length = _longest(len(before), lambda size: before.endswith(form[:size]))
        yield start - length, start
    if form[-MIN_LENGTH:] in after:
        length = _longest(len(after), lambda size: after.startswith(form[-size:]))
        yield end, end + length


def _longest(limit: int, fits: Callable[[int], bool]) -> int:
    return next((size for size in range(limit, MIN_LENGTH - 1, -1) if fits(size)), 0)


def _values(secret: str) -> Iterator[str]:
    """The secret, and its lines, without those that only frame a key (`-----BEGIN …`); as they are, without white space
    at their ends, and as they read when somebody resolves what looks like an escape in them."""
    lines = [line.strip() for line in secret.splitlines()]
    longs = [line for line in lines[: len(lines) * (len(lines) > 1)] if len(line) >= MIN_LINE and line[:5] != "-----"]
    content = secret.strip()
    for value in (content if len(content) >= MIN_LENGTH else secret, *longs):
        versions = [value]
        for _ in range(3):
            versions.append(unescape(versions[-1]))
        for each in (*versions, value.replace(" ", "+")):
            if len(each) >= MIN_LENGTH:
                yield each


def encodings(value: str) -> Iterator[str]:
    """How a value may stand in a text: as it is, in JSON, an address, HTML, hexadecimal digits, base64 or base32."""
    raw = _raw(value)
    yield from (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], html.escape(value))
    yield from (quote(raw, safe=""), quote(raw), _lower_escapes(quote(raw, safe="")), quote_plus(raw))
    yield from (raw.hex(), raw.hex().upper(), *_alignments(raw, 5))
    for data in (raw, *(value.encode(encoding, "surrogatepass") for encoding in _WIDE)):
        for digits in _alignments(data, 6):
            yield digits
            yield digits.replace("+", "-").replace("/", "_")


def _lower_escapes(text: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), text)


def _encoded_bytes(value: str) -> Iterator[bytes]:
    """What else than the value itself may be in base64, hexadecimal digits and dumps."""
    raw = _raw(value)
    yield from (json.dumps(value)[1:-1].encode(), quote(raw, safe="").encode())
    yield from (digits.encode() for digits in _alignments(raw, 6))


def _divide(form: bytes) -> _Form:
    """A form without its first and last byte, of which only a part may be there in base64 that was cut."""
    if len(form) < MIN_LENGTH + 2:
        return b"", form, b""
    return form[:1], form[1:-1], form[-1:]


def _raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _alignments(raw: bytes, bits: Literal[5, 6]) -> Iterator[str]:
    """The digits of base32 (5 bits each) or base64 (6) for `raw` within something longer, in each alignment. Those at
    both ends depend on the neighbours, so only those between them are looked for."""
    encode = base64.b64encode if bits == 6 else base64.b32encode
    for offset in range(math.lcm(bits, 8) // 8):
        digits = encode(b"\0" * offset + raw).decode()
        middle = digits[-(offset * 8 // -bits) : (offset + len(raw)) * 8 // bits]
        if len(middle) >= MIN_LENGTH + 2:
            yield middle

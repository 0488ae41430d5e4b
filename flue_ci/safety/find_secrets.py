"""Where secrets are in a text: exact values in all usual writings, and tokens of well-known kinds.

A value is looked for in the text and in its readings: escapes resolved, wrapped lines joined, base64, base32,
hexadecimal digits and dumps decoded. It is also found on both sides of a mark of ours that says that something was
left out.
"""

import html
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from urllib.parse import quote, quote_plus

from flue_ci.safety import readings
from flue_ci.safety.dumps import dumps
from flue_ci.safety.encoded_values import MIN_LENGTH, WIDE, EncodedValues, alignments, occurrences, raw
from flue_ci.safety.key_patterns import find_keys
from flue_ci.safety.readings import MIN_LINE, Span

MIN_WRAPPED = 16  # shorter values are not looked for over the ends of lines: two ordinary words could make one
_OMISSION = re.compile(r"\[…[^\[\]\n]{0,300}\]\n?")  # our mark, for example `[… 12 bytes left out …]`
_BETWEEN = "\n\0\n"  # between the readings of a text: nothing that is looked for goes on over it


class SecretFinder:
    """Finds `secrets`, which are exact values, and tokens of well-known kinds."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._values = tuple({value: None for secret in secrets for value in _values(secret)})
        narrow = [value for value in self._values if _is_narrow(value)]
        self._wrappable = tuple(value for value in narrow if len(value) >= MIN_WRAPPED and value.split() == [value])
        self._unwrappable = tuple(value for value in narrow if value not in self._wrappable)
        self._wide = tuple(value for value in self._values if not _is_narrow(value))
        self._multiline = tuple(value for value in self._values if "\n" in value)
        self._forms = tuple({form: None for value in self._values for form in encodings(value)})
        self._all_forms = "\0".join(self._forms)
        self._encodings = EncodedValues(self._values, self._wrappable)

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
        layers = list(readings.layers(text))
        texts = [text, *(layer for layer, _ in layers)]
        together = _BETWEEN.join(texts)  # most of the time is for each, not its size
        starts = list(accumulate((len(each) + len(_BETWEEN) for each in texts), initial=0))[1:]
        for kind, span in self._scan_together(together, keys=keys, values=values):
            if span[1] <= len(text):
                yield kind, span
                continue
            index = bisect_right(starts, span[0]) - 1
            if index < 0 or span[1] > starts[index + 1] - len(_BETWEEN):
                continue  # partly between two of them
            start, end = layers[index][1]((span[0] - starts[index], span[1] - starts[index]))
            if _is_joined(text, start, end):
                yield kind, (start, end)

    def goes_on(self, lines: Sequence[str]) -> bool:
        """Whether a secret may begin in these lines, each with its end, and go on behind them."""
        if readings.goes_on(lines[-1][:-1]):
            return True
        return any(_ends_within(lines, value) for value in self._multiline)

    def _scan_together(self, text: str, *, keys: bool, values: bool) -> Iterator[tuple[str, Span]]:
        # Of one byte each, in which finding is quick.
        data = text.encode("latin-1", "replace")
        narrow = text if text.isascii() else data.decode("latin-1")
        if keys:
            yield from find_keys(narrow, data)
        if values:
            plain = [*self._unwrappable]
            if self._encodings.may_be_in(data):
                plain += self._wrappable
                for span in self._find_in_words(data.translate(readings.BLANKS)):
                    if _is_joined(text, *span):
                        yield "", span
            plain = [value for value in plain if value in narrow]
            plain += [value for value in self._wide if value in text]
            yield from (("", span) for value in plain for span in occurrences(value, text))
            yield from (("", span) for span in self._find_around_marks(text))
            yield from (("", span) for span in self._find_in_dumps(narrow))

    def _find_in_dumps(self, text: str) -> Iterator[Span]:
        for dump in dumps(text):
            for form in self._encodings.forms:
                yield from map(dump.source, occurrences(form, dump.data))

    def _find_in_words(self, data: bytes) -> Iterator[Span]:
        """Where encoded values, and values that are wrapped, stand within words."""
        words = list(dict.fromkeys(readings.LONG_WORD.findall(data)))
        together = b"\0".join(words)
        content_lines, wrap = readings.join_lines(together, are_signed=False)
        originals, contents = [*words], content_lines.split(b"\0")
        signed_wrap = wrap
        if b"\n+" in together or b"\n-" in together:
            diff_words = [word for word in words if b"\n+" in word or b"\n-" in word]
            diff_contents, signed_wrap = readings.join_lines(b"\0".join(diff_words), are_signed=True)
            originals, contents = [*originals, *diff_words], [*contents, *diff_contents.split(b"\0")]
        hits = [
            *self._encodings.find(contents),
            *_find_wrapped(originals, contents, self._wrappable),
        ]
        if not hits:
            return
        spans: dict[bytes, list[Span]] = {}  # by word, within it
        for index, span in hits:
            original_wrap = wrap if index < len(words) else signed_wrap
            spans.setdefault(originals[index], []).append(readings.place_in_word(original_wrap, originals[index], span))
        for match in readings.LONG_WORD.finditer(data):
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


def _find_wrapped(
    originals: Sequence[bytes], contents: Sequence[bytes], wrappable: Sequence[str]
) -> Iterator[tuple[int, Span]]:
    """The same for values that go on over the ends of lines."""
    together = b"\0".join(contents)
    values = [value for value in map(str.encode, wrappable, repeat("latin-1")) if value in together]
    for index, content in enumerate(contents[: len(contents) * bool(values)]):
        if content != originals[index]:
            for value in values:
                yield from ((index, span) for span in occurrences(value, content))


def _is_joined(text: str, start: int, end: int) -> bool:
    """Whether every line from `start` on goes on in the next, to `end`."""
    position = text.find("\n", start, end)
    line = text.rfind("\n", 0, start) + 1
    while position >= 0:
        if not readings.goes_on(text[line:position]):
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
            versions.append(readings.unescape(versions[-1]))
        for each in (*versions, value.replace(" ", "+")):
            if len(each) >= MIN_LENGTH:
                yield each


def encodings(value: str) -> Iterator[str]:
    """How a value may stand in a text: as it is, in JSON, an address, HTML, hexadecimal digits, base64 or base32."""
    content = raw(value)
    yield from (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], html.escape(value))
    address = quote(content, safe="")
    lower_address = re.sub("%..", lambda match: match[0].lower(), address)
    yield from (address, quote(content), lower_address, quote_plus(content))
    yield from (content.hex(), content.hex().upper(), *alignments(content, 5))
    for data in (content, *(value.encode(encoding, "surrogatepass") for encoding in WIDE)):
        for digits in alignments(data, 6):
            yield digits
            yield digits.replace("+", "-").replace("/", "_")

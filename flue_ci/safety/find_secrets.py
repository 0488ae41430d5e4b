"""Where secrets are in a text: exact values with their usual encodings, and tokens of well-known kinds. Pure.

A value is also found where it goes on over the ends of lines, as base64 is printed, and on both sides of a mark of ours
that says that something was left out.
"""

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from urllib.parse import quote, quote_plus

from flue_ci.safety.key_patterns import Span, find_keys

MIN_LENGTH = 6  # shorter values occur in ordinary text
MIN_LINE = 8  # the lines of a secret, such as a private key, are secrets themselves from this length on
MIN_WRAPPED = 16  # shorter values are not looked for over the ends of lines: two ordinary words could make one
_OMISSION = re.compile(r"\[…[^\[\]\n]{0,300}\]\n?")  # our mark, for example `[… 12 bytes left out …]`


class SecretFinder:
    """Finds `secrets`, which are exact values, and tokens of well-known kinds."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for value in _values(secret) for form in encodings(value)}
        wrappable = {form for form in forms if len(form) >= MIN_WRAPPED and form.split() == [form]}
        self._wrappable = tuple(wrappable)
        self._unwrappable = tuple(forms - wrappable)
        self._all_forms = "\0".join(forms)

    def find(self, text: str) -> list[Span]:
        """All secrets in `text`, in order, those that overlap as one span: `[(4, 10), (20, 60)]`."""
        words = text.split()
        keys = (span for _, span in find_keys(text, words))
        spans: list[Span] = []
        for start, end in sorted([*keys, *self.find_values(text, words)]):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            elif start < end:
                spans.append((start, end))
        return spans

    def find_values(self, text: str, words: Sequence[str]) -> Iterator[Span]:
        """Only the exact values and their encodings, in no order; they may overlap. `words` is `text.split()`."""
        without_space = "".join(words)
        candidates = [form for form in self._wrappable if form in without_space]
        for form in (*candidates, *self._unwrappable):
            yield from _occurrences(form, text)
        if candidates and "\n" in text:
            yield from _find_wrapped(candidates, text.split("\n"))
        for start, end in _omissions(text):
            # A hostile text has many marks: only forms that have the letters beside one are looked at.
            before, after = text[max(start - MIN_LENGTH, 0) : start], text[end : end + MIN_LENGTH]
            if before in self._all_forms or after in self._all_forms:
                for form in (*self._wrappable, *self._unwrappable):
                    if before in form or after in form:
                        yield from _find_around((start, end), form, text)


def _occurrences(form: str, text: str) -> Iterator[Span]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + len(form))


def _find_wrapped(forms: Sequence[str], lines: Sequence[str]) -> Iterator[Span]:
    """Where forms go on over the ends of lines, whose white space at both ends does not count: in the lines `key: ab`
    and `  cd` the form `abcd` is at 5 to 12."""
    content = "".join(map(str.strip, lines))
    starts = list[Span]()  # of each line, in `content` and in the text; when some start together, the last has content
    in_content = in_text = 0
    for line in lines:
        starts.append((in_content, in_text + len(line) - len(line.lstrip())))
        in_content += len(line.strip())
        in_text += len(line) + 1

    def to_text(position: int) -> int:
        start_in_content, start_in_text = starts[bisect_right(starts, position, key=itemgetter(0)) - 1]
        return start_in_text + position - start_in_content

    for form in forms:
        for start, end in _occurrences(form, content):
            yield to_text(start), to_text(end - 1) + 1


def _omissions(text: str) -> Iterator[Span]:
    """Our marks of omission, each with the line end or the two blanks before it."""
    start = text.find("[…")
    while start >= 0:
        if match := _OMISSION.match(text, start):
            before = text[max(start - 2, 0) : start]
            yield start - len(before) + len(before.rstrip(" \n")), match.end()
        start = text.find("[…", start + 1)


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
    """The secret, and its lines, without those that only frame a key (`-----BEGIN …`)."""
    if len(secret) >= MIN_LENGTH:
        yield secret
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= MIN_LINE and not line.startswith("-----"))


def encodings(secret: str) -> Iterator[str]:
    """How a value may stand in a text: as it is, in JSON, an address, HTML, hexadecimal digits or base64."""
    raw = secret.encode("utf-8", "surrogateescape")
    yield from (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret))
    yield from (quote(raw, safe=""), quote(raw, safe="").lower(), quote_plus(raw), raw.hex(), raw.hex().upper())
    # base64 of a longer text has the value in one of three alignments. The characters at both ends depend on the
    # neighbours, so only those between them are looked for.
    for offset, start in enumerate((0, 2, 3)):
        digits = base64.b64encode(b"\0" * offset + raw).decode()
        middle = digits[start:-4] if digits.endswith("=") else digits[start:]
        if len(middle) >= MIN_LENGTH + 2:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")

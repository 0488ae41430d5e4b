"""Takes secrets out of text before anybody sees it: the exact values and their usual encodings, and keys by their
shapes.

Every sink (terminal, transcript, report, files) is given what one `Redactor` let through, before anything is cut or
formatted: a secret with its end cut off, or with `_` escaped, would not be found any more.
"""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from flue_ci.safety import key_patterns as keyshapes

MASK = "***"
MIN_LENGTH = 6  # shorter values would tear ordinary text apart
MIN_LINE = 8  # of a secret with several lines, such as a private key, lines of this length are secret by themselves
MIN_WRAPPED = 16  # what is shorter is not looked for over the ends of lines: two words could make it up
PASSES = 20  # no honest text needs more than two; a hostile one is not to take for ever
MOST_CUTS = 1_000
DEEPEST = 100  # levels of a value; what is nested deeper would break whoever writes it
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)$", re.IGNORECASE)
_CUT = re.compile(r"\[…[^\]\n]{0,300}\]\n?")  # how we say that something was left out
_OF_A_KEY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+")
_OWN_WORDS = {"conclusion", "kind", "patch", "stop_reason"}  # fields that hold one of our own words
_Value = TypeVar("_Value")
Span = tuple[int, int]  # where something begins and ends in a text


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables whose names say that they are secret."""
    return tuple(value for name, value in environ.items() if _NAMES.search(name) and len(value) >= MIN_LENGTH)


class Redactor:
    """Replaces secrets by `***`. Calling it twice changes nothing more."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for part in _parts(secret) for form in _forms(part)}
        solid = {form for form in forms if len(form) >= MIN_WRAPPED and len(form.split()) == 1 and form == form.strip()}
        self._solid = tuple(solid)
        self._rest = tuple(forms - solid)

    def __call__(self, text: str) -> str:
        """`text` without secrets, and as whole characters: half of one can be neither written nor printed."""
        return self.mask(text).encode("utf-8", "backslashreplace").decode()

    def holds_secret(self, data: bytes) -> bool:
        """True when a known value (or an encoded form) occurs in `data`."""
        return any(True for _ in self._known(data.decode("utf-8", "surrogateescape")))

    def patterns_in(self, text: str) -> tuple[str, ...]:
        """What kinds of keys occur in `text` by their shape, each once."""
        return tuple(dict.fromkeys(kind for kind, _ in keyshapes.spans(text)))

    def spans(self, text: str) -> list[Span]:
        """Where secrets are in `text`, in order and apart from each other."""
        return _merged([*(span for _, span in keyshapes.spans(text)), *self._known(text)])

    def redact_value(self, value: _Value) -> _Value:
        """The same for everything inside a value: strings, bytes, collections with their keys, our dataclasses."""
        clean: _Value = self._walk(value, DEEPEST)
        return clean

    def mask(self, text: str) -> str:
        """`text` without secrets; what was no character stays as it is."""
        for _ in range(PASSES):
            parts, at, bared = [], 0, False
            for start, end in self.spans(text):
                parts += [text[at:start], MASK]
                # A mask may lay bare what was part of a longer word.
                bared = bared or text[end : end + 1].isalnum() or text[max(start - 1, 0) : start] in _OF_A_KEY
                at = end
            text = "".join([*parts, text[at:]])
            if not bared:
                break
        return text

    def _known(self, text: str) -> Iterator[Span]:
        """Where known secrets are, also such as go on over the ends of lines, as base64 and hexadecimal digits do where
        they are printed."""
        lines = text.split("\n")
        joined = "".join(map(str.strip, lines)) if len(lines) > 1 else text
        occurring = [form for form in self._solid if form in joined]
        for form in (*occurring, *self._rest):
            yield from _every(form, text)
        if occurring and len(lines) > 1:
            places = _places(lines)
            for form in occurring:
                for start, end in _every(form, joined):
                    yield _there(start, *places), _there(end - 1, *places) + 1
        for cut in islice(_cuts(text), MOST_CUTS):
            for form in (*self._solid, *self._rest):
                yield from _around(text, cut, form)

    def _walk(self, value: Any, deeper: int) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, bytes):
            return self.mask(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if deeper == 0:
            return "[nested too deep]"
        if isinstance(value, Mapping):
            return {self._walk(key, 1): self._walk(item, deeper - 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self._walk(item, deeper - 1) for item in value])
        if is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in fields(value) if field.name not in _OWN_WORDS]
            return replace(value, **{name: self._walk(getattr(value, name), deeper - 1) for name in names})
        return value


def _every(form: str, text: str) -> Iterator[Span]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = text.find(form, at + len(form))


def _cuts(text: str) -> Iterator[Span]:
    at = text.find("[…")
    while at >= 0:
        if found := _CUT.match(text, at):
            before = text[max(at - 2, 0) : at]
            yield at - len(before) + len(before.rstrip(" \n")), found.end()
        at = text.find("[…", at + 1)


def _around(text: str, cut: Span, form: str) -> Iterator[Span]:
    """What is left of a secret on both sides of a place where something was left out."""
    before, after = text[max(cut[0] - len(form), 0) : cut[0]], text[cut[1] : cut[1] + len(form)]
    if form[:MIN_LENGTH] in before:
        kept = next((kept for kept in range(len(before), MIN_LENGTH - 1, -1) if before.endswith(form[:kept])), 0)
        yield cut[0] - kept, cut[0]
    if form[-MIN_LENGTH:] in after:
        kept = next((kept for kept in range(len(after), MIN_LENGTH - 1, -1) if after.startswith(form[-kept:])), 0)
        yield cut[1], cut[1] + kept


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if start == end:
            continue
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _places(lines: Sequence[str]) -> tuple[list[int], list[int]]:
    """For lines that were stripped and joined: where each begins in what was joined, and where in the text."""
    joined, here, at, place = [], [], 0, 0
    for line in lines:
        bare = line.strip()
        if bare:
            joined.append(at)
            here.append(place + len(line) - len(line.lstrip()))
        at += len(bare)
        place += len(line) + 1
    return joined, here


def _there(at: int, joined: list[int], here: list[int]) -> int:
    line = bisect_right(joined, at) - 1
    return here[line] + at - joined[line]


class StreamRedactor:
    """The same for a text that comes in pieces: what is given out, put together, is what the whole would become.

    Whole lines are given out, and not before it is known what follows where a secret may go on: behind a long last
    word, as wrapped base64 has it, and within a private key. `at_most` bounds what is held back, in characters; a
    secret longer than that may come in two pieces.
    """

    def __init__(self, redact: Redactor, at_most: int = 65_536) -> None:
        self._redact, self._at_most = redact, at_most
        self._lines: list[str] = []
        self._size = 0  # of the lines
        self._begun = ""  # the line that has not ended
        self._in_key = False

    def feed(self, text: str) -> str:
        """What can be told now, redacted; may be empty."""
        told = []
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._lines.append(f"{line}\n")
            self._size += len(line) + 1
            self._in_key = ("PRIVATE KEY" in line and "-----BEGIN" in line) or (self._in_key and "-----END" not in line)
            if self._size > self._at_most or not (self._in_key or _goes_on(line)):
                told.append(self._told())
        if len(self._begun) > self._at_most:
            told.append(self._told() + self._front())
        return "".join(told)

    def end(self) -> str:
        """The rest. Afterwards another text may begin."""
        self._lines.append(self._begun)
        self._begun = ""
        return self._told()

    def _told(self) -> str:
        ready = "".join(self._lines)
        self._lines, self._size, self._in_key = [], 0, False
        return self._redact.mask(ready)

    def _front(self) -> str:
        """The first half of a line that is too long, up to a gap between words or at least out of every secret."""
        half = self._at_most // 2
        gap = self._begun.find(" ", half)
        cut = gap + 1 if gap >= 0 else len(self._begun) - half
        cut = next((start for start, end in self._redact.spans(self._begun) if start < cut < end), cut) or cut
        ready, self._begun = self._begun[:cut], self._begun[cut:]
        return self._redact.mask(ready)


def _goes_on(line: str) -> bool:
    words = line.rsplit(None, 1)
    return bool(words) and len(words[-1]) >= MIN_LINE


def added_lines(patch: bytes) -> bytes:
    """What a patch in git's format brings in, names included, without the signs before the lines: what was there
    before is no leak of this run. Binary data stays encoded."""
    lines = (line for line in patch.split(b"\n") if not line.startswith((b" ", b"-", b"@@")))
    return b"\n".join(line.removeprefix(b"+") for line in lines)


def _parts(secret: str) -> Iterable[str]:
    """The secret, and its lines; those that only frame a key (`-----BEGIN …`) are in every document about keys."""
    if len(secret) >= MIN_LENGTH:
        yield secret
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= MIN_LINE and not line.startswith("-----"))


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield quote(raw, safe="")
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(raw, safe="").lower()
    yield quote_plus(raw)
    yield html.escape(secret)
    yield raw.hex()
    yield raw.hex().upper()
    # base64 has three alignments; the edges mix with the neighbours, so only the sure middle is matched
    for skip in range(3):
        encoded = base64.b64encode(b"\0" * skip + raw).decode()
        start = (0, 2, 3)[skip]
        middle = encoded[start : len(encoded) - (4 if encoded.endswith("=") else 0)]
        if len(middle) >= MIN_LENGTH + 2:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")

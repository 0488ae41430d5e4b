"""Well-known kinds of tokens: patterns by which a secret is recognized although its value is not known.

A pattern is matched only where one of its prefixes stands, because finding a plain word is quick. No pattern reads
further than a bound, so that hostile text takes time in proportion to its length.

Sources: the documentation of each issuer, and the rules of detect-secrets, which tests compare with.
"""

import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Span = tuple[int, int]  # start and end in a text
Expand = Callable[[str, Span], Span | None]
MIN_TOKEN = 20  # characters of the shortest token
_MAX_PEM = 20_000
_WORD = "A-Za-z0-9_\\-"
_LINE_END = r"[ \t]*(?:\r?\n|(?:\\r)?\\n)[ \t]*"  # also as JSON writes it
_PEM_END = re.compile(r"-----END (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=:,.\s\\\"'\-]*")


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """`kind` is the name that people use. Where one of `prefixes` stands, `regex` is matched; the secret is its group,
    or all of it without one. `expand` may change the span, or refuse it with None. `is_token`: a word of at least
    `MIN_TOKEN` characters without white space."""

    kind: str
    prefixes: tuple[str, ...]
    regex: str
    expand: Expand = lambda _, span: span
    is_token: bool = False


def find_keys(text: str, words: Sequence[str]) -> Iterator[tuple[str, Span]]:
    """Kind and place of each key in `text`, in no order; they may overlap. `words` is `text.split()`."""
    long_words = "\n".join({word for word in words if len(word) >= MIN_TOKEN})
    for pattern in KEY_PATTERNS:
        for prefix in pattern.prefixes:
            if not pattern.is_token or prefix in long_words:
                yield from _find(pattern, prefix, text)


@cache
def _compile(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def _find(pattern: KeyPattern, prefix: str, text: str) -> Iterator[tuple[str, Span]]:
    position = text.find(prefix)
    while position >= 0:
        match = _compile(pattern.regex).match(text, position)
        span = pattern.expand(text, match.span(match.lastindex or 0)) if match else None
        position += 1
        if span:
            yield pattern.kind, span
            position = max(span[1], position)
        position = text.find(prefix, position)


def _near_aws(text: str, span: Span) -> Span | None:
    """Forty letters are an AWS secret only where the text before says so."""
    before = text[max(span[0] - 60, 0) : span[0]].lower()
    if "aws" in before or "access" in before:
        return span
    return None


def _with_header(text: str, span: Span) -> Span | None:
    """With the first part of a JSON web token, which stands before the prefix `.eyJ`."""
    before = text[max(span[0] - 4_000, 0) : span[0]]
    start = before.find("eyJ", len(before.rstrip(f"{string.ascii_letters}{string.digits}_-")))
    if start >= 0:
        return (span[0] - len(before) + start, span[1])
    return None


def _to_last_line(text: str, span: Span) -> Span:
    """A private key to its last line, when that is near and only a key lies between; else as far as lines look like
    one."""
    start = text.find("-----END ", span[1], span[1] + _MAX_PEM)
    end = _PEM_END.match(text, start) if start >= 0 else None
    if end is None or text.find("-----BEGIN ", span[1], start) >= 0 or not _PEM_BODY.fullmatch(text, span[1], start):
        return span
    return span[0], end.end()


def _read_tokens() -> Iterator[KeyPattern]:
    """The rows of `tokens.txt`."""
    for line in Path(__file__).with_name("tokens.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            kind, names, rest = map(str.strip, line.split(" | "))
            prefixes = tuple(names.split())
            yield KeyPattern(kind, prefixes, rf"(?a:\b(?:{'|'.join(map(re.escape, prefixes))}){rest})", is_token=True)


KEY_PATTERNS = (
    *_read_tokens(),
    KeyPattern(
        "AWS secret",
        ("ecret", "ECRET"),
        r"(?i:ecret).{0,25}?(?<=[\"'\s:=])([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        _near_aws,
    ),
    KeyPattern("Slack token", ("xox",), r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,255}"),
    KeyPattern("Slack webhook", ("hooks.slack.com/",), r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,100})"),
    KeyPattern(
        "JSON web token",
        (".eyJ",),
        rf"(?<=[{_WORD}]{{13}})\.eyJ[{_WORD}]{{10,8000}}+\.[{_WORD}]{{10,1000}}",
        _with_header,
    ),
    KeyPattern(
        "private key",
        ("-----BEGIN ",),
        r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:{_LINE_END}[A-Za-z\-]{{1,40}}: [^\n\\]{{0,200}}){{0,8}}(?:{_LINE_END}[A-Za-z0-9+/=]{{4,200}}){{0,400}}",
        _to_last_line,
    ),
    KeyPattern("address with password", ("://",), r"://([^\s/:@]{1,256}:[^\s/@]{1,256})@"),
)

"""Well-known kinds of tokens: patterns by which a secret is recognized although its value is not known.

A pattern is matched only where one of its prefixes stands, because finding a plain word is quick. No pattern reads
further than a bound, so that hostile text takes time in proportion to its length.

Sources: the documentation of each issuer, and the rules of detect-secrets, which tests compare with.
"""

import re
import string
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flue_ci.safety.readings import Span

Expand = Callable[[str, Span], Span | None]
MIN_WORD = 15  # characters of the shortest token
MIN_TOKEN = 18  # of most
LONG_TOKEN = 32  # of many, and of few words
_MAX_PEM = 20_000
_WORDS = bytes(chr(byte) in f"{string.ascii_letters}{string.digits}_.-" for byte in range(256))  # of short tokens
_RUNS = bytes(chr(byte) in f"{string.ascii_letters}{string.digits}_.-/+=~%:" for byte in range(256))  # of long ones
_WORD = "A-Za-z0-9_\\-"
_NO_MORE = "(?![A-Za-z0-9])"
# What ends with a letter or digit and yet no token begins in it: escapes, and terminal sequences.
_ESCAPE = re.compile(
    r"(?:\\[nrtabfve0]|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[0-7]{3}|%[0-9A-Fa-f]{2}|\x1b\[[0-9;]{0,12}[A-Za-z]"
    r"|\\(?:x1b|033|e|u001b)\[[0-9;]{0,12}[A-Za-z]|\[[0-9;]{1,12}m)\Z"
)
_PLACEHOLDER = re.compile(
    r"\$?\{.*\}|\$\w+|\$?\(.*\)|<.*|%\w+%?|\*+|[xX.…]+|[A-Z]+(?:_[A-Z]+)*"
    r"|(?:your|my|the|an|a)?[a-z_-]{0,30}(?:token|key|secret)(?:[_-][a-z_-]{1,30})?"
)
_KEY_FRAME = r"PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = re.compile(rf"-----END (?:[A-Z0-9]{{1,20}} ){{0,3}}{_KEY_FRAME}")
_PEM_BODY = re.compile(r"(?:[A-Za-z0-9+/=:,.;|<>$#*│`~\s\\\"'\-])*")
_PEM_BREAK = r"(?:\r?\n|(?:\\{1,4}r)?\\{1,4}n|%0[Aa]|<br ?/?>)"  # also in JSON, addresses, HTML
# What may stand between two lines of a key: quotation marks and commas, signs of diffs and quotations, a line number.
# Atomic: many of them could be divided in many ways.
_PEM_GAP = (
    rf"(?>[ \t\"'`,;+\\$]{{0,8}}{_PEM_BREAK}(?:[ \t]{{0,8}}\d{{1,6}}[ \t]{{0,4}}[\t|:│.)])?"
    rf"(?:[ \t\"'`>|#*│+/]|-(?!-)){{0,40}})"
)


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """`kind` is the name that people use. Where one of `prefixes` stands, `regex` is matched; the secret is its group,
    or all of it without one. `expand` may change the span, or refuse it with None. `size`: the least characters of its
    longest word, which need not be exact. `is_sentence`: words before it count, or it may be shorter than `MIN_TOKEN`
    characters up to a blank."""

    kind: str
    prefixes: tuple[str, ...]
    regex: str
    expand: Expand = lambda _, span: span
    size: int = MIN_TOKEN
    is_sentence: bool = False
    begins_word: bool = False


def find_keys(text: str, data: bytes) -> Iterator[tuple[str, Span]]:
    """Kind and place of each key in `text`, in no order; they may overlap. `data` is the text in Latin-1."""
    words, runs = _long_runs(data, _WORDS, MIN_WORD), _long_runs(data, _RUNS, LONG_TOKEN)
    for pattern, prefix in _SENTENCES:
        if (runs or pattern.size < LONG_TOKEN) and prefix in text:
            yield from _find(pattern, prefix, text)
    for size, places in _TOKENS:
        candidates = words if size < LONG_TOKEN else runs
        together = b"\0".join([word for word in candidates if len(word) >= size]).decode("latin-1")
        for pattern, prefix in places[: len(places) * bool(together)]:
            if prefix in together and _compile(pattern.regex).search(together):
                yield from _find(pattern, prefix, text)


def _long_runs(data: bytes, table: bytes, size: int) -> Collection[bytes]:
    """What has so many characters in a row that the table makes ones, each once."""
    signs, run = data.translate(table), b"\1" * size
    runs: dict[bytes, None] = {}
    start = signs.find(run)
    while start >= 0:
        end = signs.find(b"\0", start)
        end = len(signs) if end < 0 else end
        runs[data[start:end]] = None
        start = signs.find(run, end)
    return runs


@cache
def _compile(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def _find(pattern: KeyPattern, prefix: str, text: str) -> Iterator[tuple[str, Span]]:
    position, last_end = text.find(prefix), -1
    while position >= 0:
        match = _compile(pattern.regex).match(text, position)
        span = None
        if match and (not pattern.begins_word or position == last_end or _begins_word(text, position)):
            span = pattern.expand(text, match.span(match.lastindex or 0))
        position += 1
        if span:
            yield pattern.kind, span
            position = last_end = max(span[1], position)
        position = text.find(prefix, position)


def _begins_word(text: str, position: int) -> bool:
    """Whether no letter or digit stands in front, but the end of an escape."""
    before = text[position - 1 : position]
    if not (before.isascii() and before.isalnum()):
        return True
    return _ESCAPE.search(text, max(position - 20, 0), position) is not None


def _no_placeholder(text: str, span: Span) -> Span | None:
    """The span of a secret, unless a word or variable stands in its place."""
    secret = text[span[0] : span[1]]
    return None if _PLACEHOLDER.fullmatch(secret.rpartition(":")[2]) else span


def _with_digit(text: str, span: Span) -> Span | None:
    """Words without digits are no tokens: `Bearer authentication`."""
    return span if re.search("[0-9]", text[span[0] : span[1]]) else None


def _with_digits_before(text: str, span: Span) -> Span | None:
    """A token of Telegram with the number of its bot, of 5 to 16 digits."""
    before = text[max(span[0] - 17, 0) : span[0]]
    count = len(before) - len(before.rstrip(string.digits))
    return (span[0] - count, span[1]) if 5 <= count <= 16 else None


def _near_aws(text: str, span: Span) -> Span | None:
    """Forty letters are an AWS secret only where the text before says so."""
    before = text[max(span[0] - 60, 0) : span[0]].rpartition("\n")[2].lower()
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
    size = MIN_TOKEN
    for line in Path(__file__).with_name("tokens.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            kind, names, rest = map(str.strip, line.split(" | "))
            prefixes = tuple(names.split())
            regex = rf"(?a:(?:{'|'.join(map(re.escape, prefixes))}){rest})"
            yield KeyPattern(kind, prefixes, regex, size=size, begins_word=True)
        elif line[2:].isdecimal():
            size = int(line[2:])


def _before(count: int) -> Expand:
    """So many characters more in front."""
    return lambda _, span: (span[0] - count, span[1])


KEY_PATTERNS = (
    *_read_tokens(),
    KeyPattern(
        "AWS secret",
        ("ecret", "ECRET"),
        r"(?i:ecret).{0,25}?(?<=[\"'\s:=])([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        _near_aws,
        size=40,
        is_sentence=True,
    ),
    KeyPattern(
        "Slack token",
        ("xox", "XOX"),
        r"(?i:xox[a-z](?:\.xox[a-z])?)-(?=[A-Za-z\-]{0,60}[0-9])[A-Za-z0-9\-]{10,255}",
        size=MIN_WORD,
        begins_word=True,
    ),
    KeyPattern(
        "Slack webhook",
        ("hooks.slack.com/",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/]{20,100})",
        size=LONG_TOKEN,
    ),
    KeyPattern("Telegram token", (":A",), rf":A[{_WORD}]{{34}}{_NO_MORE}", _with_digits_before, LONG_TOKEN),
    KeyPattern("Azure secret", ("Q~",), rf"(?<=[\w~.]{{3}}\d)Q~[\w~.-]{{31,34}}{_NO_MORE}", _before(4), LONG_TOKEN),
    KeyPattern(
        "Azure key", ("JQQJ9",), rf"(?<=[A-Za-z0-9]{{52}})JQQJ9[A-Za-z0-9]{{27}}{_NO_MORE}", _before(52), LONG_TOKEN
    ),
    KeyPattern(
        "Azure token", ("AZDO",), rf"(?<=[A-Za-z0-9]{{76}})AZDO[A-Za-z0-9]{{4}}{_NO_MORE}", _before(76), LONG_TOKEN
    ),
    KeyPattern("Mailchimp key", ("-us",), rf"(?<=[0-9a-f]{{32}})-us[0-9]{{1,2}}{_NO_MORE}", _before(32), LONG_TOKEN),
    KeyPattern("Vault token", ("s.",), rf"s\.(?=[A-Za-z]{{0,23}}[0-9])[A-Za-z0-9]{{24}}{_NO_MORE}", begins_word=True),
    KeyPattern(
        "package registry token",
        ("_authToken=", "_auth=", "_password="),
        r"_\w{4,9}=\s?[\"']?([\w.+/-]{20,500}={0,2})",
        _with_digit,
        size=20,
        is_sentence=True,
    ),
    KeyPattern(
        "JSON web token",
        (".eyJ",),
        rf"(?<=[{_WORD}]{{13}})\.eyJ[{_WORD}]{{10,8000}}+\.[{_WORD}]{{10,1000}}",
        _with_header,
        size=LONG_TOKEN,
    ),
    KeyPattern(
        "bearer token",
        ("earer",),
        r"(?i:earer)(?:[ \t]{1,4}|%20|\+|\\u0020)([\w.~+/=-]{16,4000})",
        _with_digit,
        size=16,
        is_sentence=True,
    ),
    KeyPattern(
        "authorization",
        ("uthorization",),
        r"(?i:uthorization)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?(?i:bearer|basic|token|bot)[ \t]{1,4}"
        r"([\w.~+/=-]{8,4000})",
        _no_placeholder,
        size=8,
        is_sentence=True,
    ),
    KeyPattern(
        "private key",
        ("-----BEGIN ",),
        rf"-----BEGIN (?:[A-Z0-9]{{1,20}} ){{0,3}}{_KEY_FRAME}"
        rf"(?:{_PEM_GAP}[A-Za-z\-]{{1,40}}: [^\n\\]{{0,200}}){{0,8}}"
        rf"(?:(?>(?:{_PEM_GAP})*)[A-Za-z0-9+/=]{{4,200}}(?![ ]{{1,4}}[a-z]| [(])"
        r"|[ ][A-Za-z0-9+/=]{16,20000}){0,400}",
        _to_last_line,
        size=8,
        is_sentence=True,
    ),
    KeyPattern(
        "address with password",
        ("://",),
        r"://([^\s/:@\"'`<>?#]{0,256}:[^\s/@\"'`<>?#]{1,256}(?:@[^\s/@\"'`<>?#]{1,64}(?=@)){0,4})@",
        _no_placeholder,
        size=0,
        is_sentence=True,
    ),
)
_PLACES = tuple((pattern, prefix) for pattern in KEY_PATTERNS for prefix in pattern.prefixes)
_SENTENCES = tuple(place for place in _PLACES if place[0].is_sentence)
# By size: few words are long enough for most of them.
_TOKENS = tuple(
    (size, tuple(place for place in _PLACES if place[0].size == size and not place[0].is_sentence))
    for size in (MIN_WORD, MIN_TOKEN, LONG_TOKEN)
)

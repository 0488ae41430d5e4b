"""Keys of services as their issuers shape them: how a text shows that one is in it which nobody told us about.

Pure. Each shape has signs, plain words that are quick to look for; what stands there is looked at only then. No shape
reads further than a bound, so that hostile text costs no more than long text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_Span = tuple[int, int]
_LONGEST_PEM = 20_000
_TOKEN = "A-Za-z0-9_\\-"  # noqa: S105 (letters of a character class)
_BREAK = r"[ \t]*(?:\r?\n|(?:\\r)?\\n)[ \t]*"  # between two lines, also as JSON writes it
_PEM_END = re.compile(r"-----END (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=:,.\s\\\"'\-]*")


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """`kind` is what people call it. A key begins where one of the `signs` stands; `pattern` is matched there, and what
    its group holds (without one, all of it) is secret. `widened` may ask for more, given the text and that span."""

    kind: str
    prefixes: tuple[str, ...]
    pattern: re.Pattern[str]
    expand: Callable[[str, _Span], _Span | None]


def spans(text: str) -> Iterator[tuple[str, _Span]]:
    """Kind and place of each key in `text`, in no order; they may overlap."""
    for shape in KEY_PATTERNS:
        for sign in shape.prefixes:
            at = text.find(sign)
            while at >= 0:
                found = shape.pattern.match(text, at)
                span = shape.expand(text, found.span(found.lastindex or 0)) if found else None
                if span:
                    yield shape.kind, span
                at = text.find(sign, max(span[1], at + 1) if span else at + 1)


def _as_it_is(_: str, span: _Span) -> _Span | None:
    return span


def _named(text: str, span: _Span) -> _Span | None:
    """Forty letters are an AWS secret only where something says so."""
    before = text[max(span[0] - 60, 0) : span[0]].lower()
    return span if "aws" in before or "access" in before else None


def _with_header(text: str, span: _Span) -> _Span | None:
    """The first part of a JSON web token, which stands before the sign."""
    before = text[max(span[0] - 4_000, 0) : span[0]]
    part = len(before) - len(before.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"))
    start = before.find("eyJ", len(before) - part)
    return (span[0] - len(before) + start, span[1]) if start >= 0 else None


def _to_its_end(text: str, span: _Span) -> _Span:
    """A private key up to its last line, when that is near and nothing but a key lies between; else as far as lines
    look like one."""
    begun = text.find("-----END ", span[1], span[1] + _LONGEST_PEM)
    end = _PEM_END.match(text, begun) if begun >= 0 else None
    if end is None or text.find("-----BEGIN ", span[1], begun) >= 0:
        return span
    return (span[0], end.end()) if _PEM_BODY.fullmatch(text, span[1], begun) else span


def _shape(
    kind: str, signs: str, pattern: str, widened: Callable[[str, _Span], _Span | None] = _as_it_is
) -> KeyPattern:
    return KeyPattern(kind, tuple(signs.split("|")), re.compile(pattern), widened)


KEY_PATTERNS = (
    _shape("GitHub token", "ghp_|gho_|ghu_|ghs_|ghr_", r"\bgh[pousr]_[A-Za-z0-9_.\-]{20,1000}"),
    _shape("GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{20,255}"),
    _shape("Anthropic key", "sk-ant-", rf"\bsk-ant-[{_TOKEN}]{{16,255}}"),
    _shape("API key", "sk-", rf"\bsk-(?!ant-)(?=[A-Za-z_\-]{{0,200}}[0-9])[{_TOKEN}]{{32,255}}"),
    _shape("E2B key", "e2b_", r"\be2b_(?=[a-z]{0,60}[0-9])[A-Za-z0-9]{20,255}"),
    _shape("AWS key id", "AKIA|ASIA|ABIA|ACCA", r"\b[A-Z]{4}[A-Z2-7]{16}\b"),
    _shape(
        "AWS secret",
        "ecret|ECRET",
        r"(?i:ecret).{0,25}?(?<=[\"'\s:=])([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        _named,
    ),
    _shape("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,255}"),
    _shape("Slack token", "xapp-", r"\bxapp-[0-9]-[A-Za-z0-9\-]{20,255}"),
    _shape("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,100})"),
    _shape("Google key", "AIza", rf"\bAIza[{_TOKEN}]{{35}}"),
    _shape("Google token", "ya29.", rf"\bya29\.[{_TOKEN}]{{20,2000}}"),
    _shape("package registry token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _shape("package registry token", "pypi-", rf"\bpypi-[{_TOKEN}]{{40,1000}}"),
    _shape(
        "JSON web token",
        ".eyJ",
        rf"(?<=[{_TOKEN}]{{13}})\.eyJ[{_TOKEN}]{{10,8000}}+\.[{_TOKEN}]{{10,1000}}",
        _with_header,
    ),
    _shape(
        "private key",
        "-----BEGIN ",
        r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:{_BREAK}[A-Za-z\-]{{1,40}}: [^\n\\]{{0,200}}){{0,8}}(?:{_BREAK}[A-Za-z0-9+/=]{{4,200}}){{0,400}}",
        _to_its_end,
    ),
    _shape("address with password", "://", r"://([^\s/:@]{1,256}:[^\s/@]{1,256})@"),
)

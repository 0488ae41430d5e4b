"""Takes secrets out of text before anybody sees it: exact values first, longest first, then their usual encodings.

Every sink (terminal, transcript, report, files) is given what one `Redactor` let through, before anything is cut or
formatted: a secret with its end cut off, or with `_` escaped, would not be found any more.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_LENGTH = 6  # shorter values would tear ordinary text apart
MIN_LINE = 8  # of a secret with several lines, such as a private key, lines of this length are secret by themselves
DEEPEST = 100  # levels of a value; what is nested deeper would break whoever writes it
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)$", re.IGNORECASE)
# Keys of services, by their shapes: (what it is, what to look for first, the whole of it). None is quadratic: each
# piece has an end or a length. Short look-alikes, commit names, UUIDs and images in base64 do not match.
_SHAPES: tuple[tuple[str, str, str], ...] = (
    ("GitHub token", "gh", r"\bgh[pousr]_[A-Za-z0-9_.\-]{20,1000}"),
    ("GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{20,255}"),
    ("Anthropic key", "sk-ant-", r"\bsk-ant-[A-Za-z0-9_\-]{16,255}"),
    ("API key", "sk-", r"\bsk-(?!ant-)(?=[A-Za-z_\-]{0,200}[0-9])[A-Za-z0-9_\-]{32,255}"),
    ("E2B key", "e2b_", r"\be2b_(?=[a-z]{0,60}[0-9])[A-Za-z0-9]{20,255}"),
    ("AWS key id", "A", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    (
        "AWS secret",
        "ecret",
        r"(?i:aws.{0,20}secret.{0,20}?)(?<=[\"'\s:=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
    ),
    ("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,255}"),
    ("Slack token", "xapp-", r"\bxapp-[0-9]-[A-Za-z0-9\-]{20,255}"),
    ("Slack webhook", "hooks.slack.com", r"(?<=hooks\.slack\.com/services/)[A-Za-z0-9/]{20,100}"),
    ("Google key", "AIza", r"\bAIza[A-Za-z0-9_\-]{35}"),
    ("Google token", "ya29.", r"\bya29\.[A-Za-z0-9_\-]{20,2000}"),
    ("package registry token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("package registry token", "pypi-", r"\bpypi-[A-Za-z0-9_\-]{40,1000}"),
    ("JSON web token", "eyJ", r"\beyJ[A-Za-z0-9_\-]{10,4000}\.eyJ[A-Za-z0-9_\-]{10,8000}\.[A-Za-z0-9_\-]{10,1000}"),
    (
        "private key",
        "PRIVATE KEY",
        r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=:,.\s\\]{0,20000}"
        r"(?:-----END [A-Z ]{0,60}-----)?",
    ),
    ("address with password", "://", r"(?<=://)[^\s/:@]{1,256}:[^\s/@]{1,256}(?=@)"),
)
_PATTERNS = tuple((kind, sign, re.compile(shape)) for kind, sign, shape in _SHAPES)
_OWN_WORDS = {"conclusion", "kind", "patch", "stop_reason"}  # fields that hold one of our own words
_Value = TypeVar("_Value")


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables whose names say that they are secret."""
    return tuple(value for name, value in environ.items() if _NAMES.search(name) and len(value) >= MIN_LENGTH)


class Redactor:
    """Replaces secrets by `***`. Calling it twice changes nothing more."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for part in _parts(secret) for form in _forms(part)}
        self._exact = (
            re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))) if forms else None
        )

    def __call__(self, text: str) -> str:
        """`text` without secrets, and as whole characters: half of one can be neither written nor printed."""
        return self._masked(text).encode("utf-8", "backslashreplace").decode()

    def holds_secret(self, data: bytes) -> bool:
        """True when a known value (or an encoded form) occurs in `data`."""
        return bool(self._exact and self._exact.search(data.decode("utf-8", "surrogateescape")))

    def patterns_in(self, text: str) -> tuple[str, ...]:
        """What kinds of keys occur in `text` by their shape, each once."""
        found = (kind for kind, sign, pattern in _PATTERNS if sign in text and pattern.search(text))
        return tuple(dict.fromkeys(found))

    def walk(self, value: _Value) -> _Value:
        """The same for everything inside a value: strings, bytes, collections with their keys, our dataclasses."""
        clean: _Value = self._walk(value, DEEPEST)
        return clean

    def _masked(self, text: str) -> str:
        if self._exact:
            text = self._exact.sub(MASK, text)
        for _, sign, pattern in _PATTERNS:
            if sign in text:
                text = pattern.sub(MASK, text)
        return text

    def _walk(self, value: Any, deeper: int) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, bytes):
            return self._masked(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
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


def added(patch: bytes) -> bytes:
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
    for skip in range(
        3
    ):  # base64 has three alignments; the edges mix with the neighbours, so only the sure middle is matched
        encoded = base64.b64encode(b"\0" * skip + raw).decode()
        start = (0, 2, 3)[skip]
        middle = encoded[start : len(encoded) - (4 if encoded.endswith("=") else 0)]
        if len(middle) >= MIN_LENGTH + 2:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")

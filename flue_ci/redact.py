"""Takes secrets out of text before anybody sees it: exact values first, longest first, then their usual encodings.

Every sink (terminal, transcript, report, files) is given what one `Redactor` let through, before anything is cut or
formatted: a secret with its end cut off, or with `_` escaped, would not be found any more.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

MASK = "***"
MIN_LENGTH = 6  # shorter values would tear ordinary text apart
MIN_LINE = 8  # of a secret with several lines, such as a private key, lines of this length are secret by themselves
DEEPEST = 100  # levels of a value; what is nested deeper would break whoever writes it
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)$", re.IGNORECASE)
_PATTERNS = (
    re.compile(
        r"\b(?:gh[pousr]_[A-Za-z0-9_.\-]{20,}|github_pat_[A-Za-z0-9_]{20,}"
        r"|sk-ant-[A-Za-z0-9_\-]{16,}|e2b_[A-Za-z0-9]{20,})"
    ),
    re.compile(r"(?<=://)[^\s/:@]{1,256}:[^\s/@]{1,256}(?=@)"),
)
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

    def walk(self, value: _Value) -> _Value:
        """The same for everything inside a value: strings, bytes, collections with their keys, our dataclasses."""
        clean: _Value = self._walk(value, DEEPEST)
        return clean

    def _masked(self, text: str) -> str:
        if self._exact:
            text = self._exact.sub(MASK, text)
        for pattern in _PATTERNS:
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
    yield raw.hex()
    for skip in range(
        3
    ):  # base64 has three alignments; the edges mix with the neighbours, so only the sure middle is matched
        encoded = base64.b64encode(b"\0" * skip + raw).decode()
        start = (0, 2, 3)[skip]
        middle = encoded[start : len(encoded) - (4 if encoded.endswith("=") else 0)]
        if len(middle) >= MIN_LENGTH + 2:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")

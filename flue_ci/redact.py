"""Takes secrets out of text before anybody sees it: exact values first, longest first, then their usual encodings.

Every sink (terminal, transcript, report, files) goes through one `Redactor` that knows the secrets of this process.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "***"
MIN_LENGTH = 6  # shorter values would tear ordinary text apart
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)$", re.IGNORECASE)
_PATTERNS = (
    re.compile(r"\bgh[pousr]_[A-Za-z0-9_.\-]{20,}"),
    re.compile(r"\bgithub_pat_[A-Za-z0-9_]{20,}"),
    re.compile(r"\bsk-ant-[A-Za-z0-9_\-]{16,}"),
    re.compile(r"\be2b_[A-Za-z0-9]{20,}"),
    re.compile(r"(?<=://)[^\s/:@]{1,256}:[^\s/@]{1,256}(?=@)"),
)


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables whose names say that they are secret."""
    return tuple(value for name, value in environ.items() if _NAMES.search(name) and len(value) >= MIN_LENGTH)


class Redactor:
    """Replaces secrets by `***`. Calling it twice changes nothing more."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= MIN_LENGTH for form in _forms(secret)}
        self._exact = (
            re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))) if forms else None
        )

    def __call__(self, text: str) -> str:
        if self._exact:
            text = self._exact.sub(MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(MASK, text)
        return text

    def holds_secret(self, data: bytes) -> bool:
        """True when a known value (or an encoded form) occurs in `data`."""
        return bool(self._exact and self._exact.search(data.decode("utf-8", "surrogateescape")))

    def walk(self, value: object) -> object:
        """The same for every string inside a JSON value."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {key: self.walk(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.walk(item) for item in value]
        return value


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
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

"""Small, pure things about text: clipping with head and tail, durations, sizes, nearest words, addresses, terminal-safe
lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from flue_ci.core.hidden_characters import find_hidden, remove_hidden

AGENT_NAME = "[a-z0-9][a-z0-9-]{0,63}"  # a regular expression; skills and the files of specs have such names as well
PORTS = {"http": 80, "https": 443}
_DURATION = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
ANSI = r"\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_]"  # a terminal sequence, behind its \x1b
_ANSI = re.compile(rf"\x1b(?:{ANSI})")


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `10m`, `1.5h`, `1h30m`. Raises `ValueError` for anything else, also for zero."""
    if not text or _DURATION.sub("", text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 10m or 1h")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
    if seconds <= 0:
        raise ValueError(f"{text!r} is not longer than nothing")
    return seconds


def human_seconds(seconds: float) -> str:
    """`30ms`, `0.4s`, `12s`, `3m 05s`, `1h 02m`."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def human_bytes(size: int) -> str:
    """`812 B`, `4.1 KB`, `390 MB` (powers of 1000)."""
    amount = float(size)
    units = ["B", "KB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        del units[0]
    digits = int(units[0] != "B" and amount < 100)
    return f"{amount:.{digits}f} {units[0]}"


def human_count(number: int) -> str:
    """`812`, `4.1K`, `2.3M`."""
    if number < 1000:
        return str(number)
    if number < 1_000_000:
        return f"{number / 1000:.1f}K"
    return f"{number / 1_000_000:.1f}M"


def human_cost(cost_usd: float | None) -> str:
    """`$0.042`, `$1.20`, `cost unknown`."""
    if cost_usd is None:
        return "cost unknown"
    if 0 < cost_usd < 1:
        return f"${cost_usd:.3f}"
    return f"${cost_usd:.2f}"


def human_tokens(count: int | None) -> str:
    """`12.1K tokens`, `tokens unknown`."""
    return "tokens unknown" if count is None else f"{human_count(count)} tokens"


def plural(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def first_few(names: Sequence[str], count: int) -> str:
    """`a, b, c, …`: the first `count` names, and a sign that there are more."""
    return ", ".join([*names[:count], "…"] if len(names) > count else names)


def closest_match(word: str, candidates: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    return next(iter(difflib.get_close_matches(word, sorted(candidates), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """A hint that names the nearest candidate; `otherwise` when none is near."""
    near = closest_match(word, candidates)
    return f"did you mean `{near}`?" if near else otherwise


def source_lines(text: str) -> list[str]:
    """The lines as grep, sed and compilers count them: only LF ends one. A CR before it is no part of the line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def plain(text: str) -> str:
    """`text` without terminal sequences and hidden characters; newlines and tabs stay, CRLF becomes LF."""
    return remove_hidden(_ANSI.sub("", text.replace("\r\n", "\n")))


def reveal(text: str) -> str:
    """`text` with a name in place of each hidden character: `⟨U+202E⟩`. For code, whose readers have to see all that
    machines do."""
    return replace_spans(text, ((index, index + 1, f"⟨U+{ord(text[index]):04X}⟩") for index in find_hidden(text)))


def replace_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """`text` with other words in place of its spans (start, end, words), which come in order and do not overlap."""
    parts, position = [], 0
    for start, end, words in spans:
        parts += [text[position:start], words]
        position = end
    return "".join([*parts, text[position:]])


def printable(text: str) -> str:
    """`text` as one line for a terminal, of any length, with its indentation."""
    return plain(text).replace("\n", " ")


def one_line(text: str, limit: int = 120) -> str:
    """`text` as one printable line of at most `limit` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def matches_host(host: str, patterns: Iterable[str]) -> bool:
    """Whether `host` is one of `patterns`, or below one such as `*.example.com`."""
    return any(host == pattern or (pattern[:2] == "*." and host.endswith(pattern[1:])) for pattern in patterns)


def clip(text: str, limit: int, marker: str = "…") -> str:
    """The first `limit` characters of `text`, and `marker` when there were more."""
    return text if len(text) <= limit else text[:limit] + marker


def clip_middle(text: str, limit: int, head: int) -> str:
    """`text`; of one with more than `limit` characters the first `head` and the last ones, and how many are missing."""
    omission = len(text) - limit
    if omission <= 0:
        return text
    return f"{text[:head]}\n[… {omission:,} characters left out …]\n{text[head + omission :]}"


class HeadTail:
    """Collects bytes and keeps only the first and last part of at most `limit` bytes in all."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = max(self._half - len(self._head), 0)
        self._head += data[:room]
        self._tail += data[room:][-self._half :]
        del self._tail[: -self._half]

    @property
    def omitted_bytes(self) -> int:
        return self.total - len(self._head) - len(self._tail)

    def value(self) -> bytes:
        """Everything, or head, a line that says how many bytes are missing, and tail."""
        marker = f"\n[… {self.omitted_bytes:,} bytes left out …]\n" if self.omitted_bytes else ""
        return bytes(self._head) + marker.encode() + bytes(self._tail)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; empty and 0 for what is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0

"""Small, pure things about text: clipping with head and tail, durations, sizes, nearest words, terminal-safe lines."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

AGENT_NAME = "[a-z0-9][a-z0-9-]{0,63}"  # a regular expression; skills and the files of specs have such names as well
_DURATION = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# What takes no place on a screen: controls, bidi marks, tags, fillers, selectors. Joiners and the selectors of emoji
# are looked at one by one.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_JOINERS = re.compile("[\u200c\u200d\ufe0e\ufe0f]")
_JOINING = re.compile("[\u0600-\u0eff\u1000-\u109f\u1780-\u18af\ua840-\ua87f]")  # scripts that need them
_KEYCAPS = frozenset("#*0123456789")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


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


def plain(text: str) -> str:
    """`text` without terminal sequences and invisible or control characters; newlines and tabs stay, CRLF becomes
    LF. Joiners stay in emoji and in scripts that need them."""
    lines = _ANSI.sub("", text.replace("\r\n", "\n")).split("\n")
    return "\n".join(_without_joiners(_INVISIBLE.sub("", line)) for line in lines)


def reveal(text: str) -> str:
    """`text` with a name in place of each character that `plain` takes out: `⟨U+202E⟩`. For code, whose readers have
    to see all that machines do."""
    if text.isascii() and text.isprintable():
        return text
    lines = _INVISIBLE.sub(_name_character, text).split("\n")
    return "\n".join(line if _without_joiners(line) == line else _JOINERS.sub(_name_character, line) for line in lines)


def _name_character(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"


def _without_joiners(line: str) -> str:
    """Decided from left to right by what stands before in the result, so that a second look changes nothing."""
    if not _JOINERS.search(line):
        return line
    chars: list[str] = []
    for index, char in enumerate(line):
        if not _JOINERS.match(char) or _belongs("".join(chars[-1:]), char, line[index + 1 : index + 2]):
            chars.append(char)
    return "".join(chars)


def _belongs(before: str, joiner: str, after: str) -> bool:
    if joiner in "\ufe0e\ufe0f":
        return before in _KEYCAPS or _is_symbol(before)
    if joiner == "\u200d" and (_is_symbol(before) or before == "\ufe0f") and _is_symbol(after):
        return True
    return bool(_JOINING.match(before) and _JOINING.match(after))


def _is_symbol(char: str) -> bool:
    return bool(char) and unicodedata.category(char) in ("So", "Sm", "Sk", "Po") and ord(char) > 0xA8


def printable(text: str) -> str:
    """`text` as one line for a terminal, of any length, with its indentation."""
    return plain(text).replace("\n", " ")


def one_line(text: str, limit: int = 120) -> str:
    """`text` as one printable line of at most `limit` characters."""
    line = " ".join(plain(text).split())
    if len(line) <= limit:
        return line
    return line[: limit - 1] + "…"


def matches_host(host: str, patterns: Iterable[str]) -> bool:
    """Whether `host` is one of `patterns`, or below one such as `*.example.com`."""
    return any(host == pattern or (pattern[:2] == "*." and host.endswith(pattern[1:])) for pattern in patterns)


def code_spans(line: str) -> Iterator[tuple[int, int]]:
    """Start and end of each code span of Markdown in a line: a run of backticks goes to the next run of its length."""
    runs = list(re.finditer(r"`+", line))
    last = {len(run[0]): run for run in runs}  # of each length
    opening: re.Match[str] | None = None
    for run in runs:
        if opening is None and last[len(run[0])] is not run:
            opening = run
        elif opening and len(opening[0]) == len(run[0]):
            yield opening.start(), run.end()
            opening = None


def clip(text: str, limit: int, marker: str = "…") -> str:
    """The first `limit` characters of `text`, and `marker` when there were more."""
    if len(text) <= limit:
        return text
    return text[:limit] + marker


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

"""What a review is about, as the host knows it: the lines of the diff, and the findings of earlier reviews.

The forge takes comments on lines of the diff only, and the same finding has one thread however often it is found.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CATEGORY = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
FINGERPRINT = re.compile(r"[0-9a-f]{6}:[0-9a-f]{6}(?:\.[0-9a-f]{6}){0,7}")
_MAX_LINES = 8  # of a range that are part of its fingerprint
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines of the old and of the new file that the diff shows together, each as the first and the one behind the
    last, from 1."""

    old: tuple[int, int]
    new: tuple[int, int]

    def lines(self, side: str) -> range:
        """Those that the forge takes comments on, by side: `LEFT` or `RIGHT`."""
        return range(*(self.old if side == "LEFT" else self.new))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffFile:
    """A file of the diff. `old_lines` and `new_lines` are its whole texts with their line ends, empty where it is no
    text or very large."""

    path: str
    old_path: str
    hunks: tuple[Hunk, ...] = ()
    old_lines: Sequence[str] = field(default=(), repr=False)
    new_lines: Sequence[str] = field(default=(), repr=False)

    def text(self, side: str) -> Sequence[str]:
        """The lines of one side."""
        return self.old_lines if side == "LEFT" else self.new_lines

    def hunk_at(self, line: int, side: str) -> Hunk | None:
        """The hunk that shows a line."""
        return next((hunk for hunk in self.hunks if line in hunk.lines(side)), None)

    def nearest(self, line: int, side: str) -> int | None:
        """The line of the diff that is nearest; None when that side of it has no line."""
        lines = [each for hunk in self.hunks if (span := hunk.lines(side)) for each in (span[0], span[-1])]
        if self.hunk_at(line, side):
            return line
        return min(lines, key=lambda each: (abs(each - line), each), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierFinding:
    """A finding of an earlier review by the same agent.

    `path` is where its file is now ("" when it was deleted; the last known one when nobody knows), `line` the line in
    the diff of now, if it is there still. `state`: its thread is `open`; somebody who may start the agent `dismissed`
    it (`by` whom); or the thread is `closed`. `thread` is the forge's id, `text` what was written, which anybody with
    rights may have edited.
    """

    id: str
    thread: str
    path: str
    line: int | None = None
    severity: str = ""
    category: str = ""
    fingerprint: str = ""
    state: Literal["open", "dismissed", "closed"] = "open"
    by: str = ""
    text: str = ""
    can_reopen: bool = False

    @property
    def has_thread(self) -> bool:
        """Whether the finding needs no other thread when it is found again."""
        return self.state != "closed" or self.can_reopen


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewScope:
    """What is reviewed. `files` is None where no diff is known: then every place counts.

    `base` and `head` are the commits of the diff; `since` is the commit of the last review ("" for none or one that
    is gone), and `changed_paths` those that differ between it and `head`. `moves` has the paths of earlier findings
    whose files have another one now, or none (""). `asked_about` is the finding in whose thread the agent was asked.
    """

    base: str = ""
    head: str = ""
    files: Mapping[str, DiffFile] | None = None
    findings: tuple[EarlierFinding, ...] = ()
    since: str = ""
    changed_paths: tuple[str, ...] = ()
    moves: Mapping[str, str] = field(default_factory=dict)
    asked_about: str = ""


def category_name(text: str) -> str:
    """A category as it is compared: `Data race` is `data-race`, nothing is `other`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "other"


def fingerprint(lines: Sequence[str], start: int, line: int) -> str:
    """What stays of a place when it moves: the line that encloses it and the lines themselves, without white space.
    Empty where there is no such line."""
    if not 1 <= start <= line <= len(lines):
        return ""
    texts = [_SPACE.sub("", text) for text in lines[start - 1 : line]]
    telling = [text for text in texts if _WORD.search(text)] or texts
    codes = ".".join(dict.fromkeys(_code(text) for text in telling[:_MAX_LINES]))
    return f"{_code(_enclosing(lines, line))}:{codes}"


def shared_lines(one: str, other: str) -> int:
    """How many lines two fingerprints have in common; 0 when something else encloses them."""
    scope, _, codes = one.partition(":")
    other_scope, _, other_codes = other.partition(":")
    if not codes or scope != other_scope:
        return 0
    return len({*codes.split(".")} & {*other_codes.split(".")})


def match_findings(
    places: Sequence[tuple[str, int, str, str]],
    findings: Sequence[EarlierFinding],
    paths: Collection[str] | None = None,
) -> list[EarlierFinding | None]:
    """For each place (path, line, category, fingerprint) the earlier finding that it is again: in the same file and of
    the same category, with lines in common. `paths` are those of the diff: a finding whose file is none of them may be
    anywhere. Each finding is matched once: two bugs on one line are two."""
    pairs = [
        (-count, abs((finding.line or line) - line), index, number)
        for index, (path, line, category, code) in enumerate(places)
        for number, finding in enumerate(findings)
        if finding.category == category and (finding.path == path or (paths is not None and finding.path not in paths))
        if (count := shared_lines(code, finding.fingerprint))
    ]
    result: list[EarlierFinding | None] = [None] * len(places)
    matches: set[int] = set()
    for _, _, index, number in sorted(pairs):
        if result[index] is None and number not in matches:
            result[index] = findings[number]
            matches.add(number)
    return result


def _code(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]


def _enclosing(lines: Sequence[str], line: int) -> str:
    """The nearest line above that is indented less and has a word in it; "" for none."""
    indentation = _indentation(lines[line - 1])
    for text in reversed(lines[: line - 1]):
        if text.strip() and _indentation(text) < indentation and _WORD.search(text):
            return _SPACE.sub("", text)
    return ""


def _indentation(text: str) -> int:
    without_tabs = text.expandtabs(4)
    return len(without_tabs) - len(without_tabs.lstrip())

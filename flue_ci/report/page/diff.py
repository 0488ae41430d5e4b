"""The patch as files with coloured lines and line numbers, of bounded size. Nothing in it is invisible."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import escape

from flue_ci.core.changes import ChangedFile
from flue_ci.core.text import reveal
from flue_ci.report.diffs import FileDiff, file_diffs, without_binary
from flue_ci.report.page.colours import Highlighter

MAX_FILES = 1_000
MAX_LINES = 12_000  # of all files
MAX_HTML = 2_400_000  # bytes, of all files
MAX_LINE = 1_000
OPEN_LINES = 400  # a file with more is folded
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,\d+)? \+(\d{1,9})(?:,\d+)? @@")


@dataclass(slots=True, kw_only=True)
class FileChange:
    """One file. `rows` is the body of a table, as HTML; `omission` says why there is none. `label` says what happened
    besides changed lines."""

    number: int
    folder: str
    name: str
    label: str
    plus: int
    minus: int
    lines: int
    is_open: bool
    rows: str = ""
    omission: str = ""


def file_changes(files: Iterable[ChangedFile], patch: bytes, highlighter: Highlighter) -> list[FileChange]:
    """The files of a patch in git's format; those that tools wrote come last and are folded. The smallest are shown
    when there is too much for a page."""
    diffs = file_diffs(files, without_binary(patch))[:MAX_FILES]
    changes = [_describe(number, diff) for number, diff in enumerate(diffs, 1)]
    lines, room = MAX_LINES, MAX_HTML
    for change, diff in sorted(zip(changes, diffs, strict=True), key=lambda pair: pair[0].lines):
        lines -= change.lines
        rows = ""
        if lines >= 0 and len(diff.hunks) < room:
            rows = _rows(diff.path, diff.hunks, highlighter)
            room -= len(rows.encode())
        if room >= 0 and rows:
            change.rows = rows
        elif change.lines:
            change.omission = "Too much for a page; it is in changes.patch."
    return changes


def _describe(number: int, diff: FileDiff) -> FileChange:
    folder, _, name = reveal(diff.path).rpartition("/")
    words, lines = [*diff.words, diff.kind], diff.hunks.count("\n")
    if diff.old_path:
        words.append(f"from {reveal(diff.old_path)}")
    return FileChange(
        number=number,
        folder=folder,
        name=name or "?",
        label=", ".join(filter(None, words)),
        plus=diff.additions,
        minus=diff.deletions,
        lines=lines,
        is_open=lines <= OPEN_LINES and not diff.kind,
    )


def _rows(path: str, text: str, highlighter: Highlighter) -> str:
    hunks = re.split(r"(?m)^(?=@@ -)", text)[1:]
    return "\n".join(_hunk(path, hunk, highlighter) for hunk in hunks)


def _hunk(path: str, hunk: str, highlighter: Highlighter) -> str:
    """A row for each line. The old and the new side are coloured apart, because each is code for itself."""
    head, *lines = hunk.removesuffix("\n").split("\n")
    lines = [line[:1] + _shorten(line[1:]) for line in lines]
    old = new = 0
    if match := _HUNK.match(head):
        old, new = int(match[1]), int(match[2])
    sides = {}
    for side in "+-":
        if side == "+" or any(line.startswith("-") for line in lines):
            texts = [line[1:] for line in lines if line[:1] in (side, " ", "")]
            sides[side] = iter(highlighter.lines(path, texts))
    rows = [f"<tr class=h><td><td><td>{escape(reveal(head)[:300])}"]
    for line in lines:
        sign = line[:1]
        if sign == "+":
            rows.append(f"<tr class=a><td><td>{new}<td>+{next(sides['+'])}")
            new += 1
        elif sign == "-":
            rows.append(f"<tr class=d><td>{old}<td><td>-{next(sides['-'])}")
            old += 1
        elif sign in " ":
            next(sides.get("-", iter(())), "")
            rows.append(f"<tr><td>{old}<td>{new}<td> {next(sides['+'])}")
            old, new = old + 1, new + 1
        else:
            rows.append(f"<tr class=h><td><td><td>{escape(line)}")
    return "\n".join(rows)


def _shorten(line: str) -> str:
    line = reveal(line.removesuffix("\r"))
    if len(line) <= MAX_LINE:
        return line
    return f"{line[:MAX_LINE]} [… {len(line) - MAX_LINE:,} characters …]"

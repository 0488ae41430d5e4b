"""Changes as GitHub's suggestion blocks: what of a patch can be suggested where the pull request's diff shows it. Pure.

GitHub takes a comment only on lines of the new file that stand in one hunk of the diff. What a suggestion cannot say
exactly stays in the patch: new, deleted, renamed and binary files and modes; a changed end of the file (the last line's
newline is not part of a suggestion, reviewdog#1927); lines that end with CRLF, whose ends GitHub chooses when it
applies one; and characters that a comment does not show.
Source: https://docs.github.com/rest/pulls/reviews#create-a-review-for-a-pull-request
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flue_ci.core.discussion import FileDiff
from flue_ci.core.text import plain
from flue_ci.gate.policy import MARKER
from flue_ci.report import diffs

MAX_SUGGESTIONS = 50  # in one review
_LONGEST = 20_000  # characters of a suggestion
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_CUT = "…"  # begins the line that says that a diff is cut
_NO_NEWLINE = "\\"  # the line `\ No newline at end of file` begins with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """`lines` (without their ends) in place of the lines `start` to `end` (from 1) of the file at the head."""

    path: str
    start: int
    end: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestions:
    """What can be suggested, and the files of which something stays in the patch."""

    items: tuple[Suggestion, ...]
    rest: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """A run of changed lines in a patch: `new` in place of `old`, which begins at line `start` of the file before. With
    no `old`, `new` goes before that line. `before` and `after` are the unchanged lines next to it, None for none.
    `is_exact`: no end of the file is in it."""

    start: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    before: str | None
    after: str | None
    is_exact: bool


def find_suggestions(patch: str, files: Iterable[FileDiff]) -> Suggestions:
    """What of `patch` (git's format, against the head) can be suggested in the pull request whose changed `files` have
    GitHub's diffs. Suggestions of a file never overlap or touch, so that each can be applied on its own."""
    hunks = {file.path: _lines_of_hunks(file.patch) for file in files}
    items: list[Suggestion] = []
    rest: list[str] = []
    for diff in diffs.read_patch(patch):
        blocks = list(_blocks(diff.hunks))
        suggestions: list[Suggestion] = []
        if not diff.words:  # else it is new, renamed, of another mode, …
            candidates = (_suggest(diff.path, block, hunks.get(diff.path, ())) for block in blocks)
            suggestions = [item for item in candidates if item]
        is_whole = bool(blocks) and len(suggestions) == len(blocks) and f"\n{_CUT}" not in diff.hunks
        suggestions = _join(suggestions, hunks.get(diff.path, ()))
        room = MAX_SUGGESTIONS - len(items)
        items += suggestions[:room]
        if not is_whole or len(suggestions) > room:
            rest.append(diff.path)
    return Suggestions(items=tuple(items), rest=tuple(dict.fromkeys(rest)))


def _lines_of_hunks(patch: str) -> tuple[range, ...]:
    """The lines of the new file that each hunk of a diff shows."""
    matches = (match for line in patch.split("\n") if (match := _HUNK.match(line)))
    return tuple(range(int(match[3]), int(match[3]) + int(match[4] or 1)) for match in matches)


def _blocks(hunks: str) -> Iterator[_Block]:
    """The runs of changed lines of one file."""
    position = 0  # the line of the file before that comes next
    start, old, new, before, is_exact = 0, list[str](), list[str](), None, True
    for line in [*hunks.split("\n"), ""]:
        sign, text = line[:1], line[1:]
        if sign == "-":
            old.append(text)
            position += 1
        elif sign == "+":
            new.append(text)
        elif sign == _NO_NEWLINE:
            is_exact = is_exact and not (old or new)
            continue
        else:
            after = text if sign == " " else None
            if old or new:
                yield _Block(
                    start=start,
                    old=tuple(old),
                    new=tuple(new),
                    before=before,
                    after=after,
                    is_exact=is_exact and sign != _CUT,
                )
            match = _HUNK.match(line)
            position += 1
            if match:
                position = int(match[1]) + (match[2] == "0")
            start, old, new, before, is_exact = position, [], [], after, True


def _suggest(path: str, block: _Block, hunks: Sequence[range]) -> Suggestion | None:
    """The block as a suggestion; None where the diff does not show its lines, or it would not be exact."""
    start, end = block.start, block.start + len(block.old) - 1
    lines, others = block.new, block.old
    if not block.old:
        if block.before is not None and _is_shown(start - 1, start - 1, hunks):
            start = end = start - 1
            lines = (block.before, *lines)
        elif block.after is not None:
            end = start
            lines = (*lines, block.after)
    if not block.is_exact or end < start or not _is_shown(start, end, hunks):
        return None
    text = "\n".join((*lines, *others))
    if "\r" in text or "\ufffd" in text or plain(text) != text or MARKER in text or len(text) > _LONGEST:
        return None
    return Suggestion(path=path, start=start, end=end, lines=lines)


def _is_shown(start: int, end: int, hunks: Sequence[range]) -> bool:
    index = bisect_right(hunks, start, key=lambda hunk: hunk.start) - 1
    return index >= 0 and start in hunks[index] and end in hunks[index]


def _join(suggestions: Sequence[Suggestion], hunks: Sequence[range]) -> list[Suggestion]:
    """The same, in which those that touch have become one. Two share a line where both have an unchanged line beside an
    insertion."""
    result: list[Suggestion] = []
    for item in suggestions:
        last = result[-1] if result else None
        if last and item.start <= last.end + 1 and _is_shown(last.start, item.end, hunks):
            lines = item.lines[last.end + 1 - item.start :]
            result[-1] = Suggestion(path=item.path, start=last.start, end=item.end, lines=(*last.lines, *lines))
        else:
            result.append(item)
    return result

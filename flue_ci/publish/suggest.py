"""`publish.changes: suggest`: the changes as suggestion blocks in one review, as far as the diff shows their lines; the
rest stays in the patch. Nothing is pushed, so that it works on a fork's pull request as well.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flue_ci.core.changes import ChangedFile
from flue_ci.core.concurrency import together
from flue_ci.core.discussion import FileDiff
from flue_ci.core.outputs import PullRequestForge
from flue_ci.core.ports import Forge
from flue_ci.core.review import LineComment, ReviewForge
from flue_ci.core.text import first_few, one_line, plain, plural
from flue_ci.gate.policy import MARKER
from flue_ci.publish.progress_comment import is_same_account
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push import PushRefused, check_suggestions
from flue_ci.publish.push_rules import protected_changes
from flue_ci.publish.review import post_review
from flue_ci.report.diffs import read_patch, without_binary
from flue_ci.report.findings import applied_block
from flue_ci.report.report import Published, Report
from flue_ci.safety.markdown import escape, inline_code

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


@runtime_checkable
class _SuggestForge(Forge, PullRequestForge, ReviewForge, Protocol):
    """A forge that does all of it."""


class SuggestPublisher:
    """A `Publisher`. What stands there already, of an earlier attempt or run, is not said again."""

    needs_forge = True

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """The review with the suggestions, or why there is none. Raises `ForgeError`."""
        try:
            url, detail = await _suggest(report, target)
        except PushRefused as refusal:
            return Published(publisher="suggest", state="refused", detail=f"nothing suggested: {refusal}")
        return Published(publisher="suggest", url=url, detail=detail)


async def _suggest(report: Report, target: PublishTarget) -> tuple[str, str]:
    """The address of the review, and what was done."""
    forge, number, commit = target.forge, target.number, report.trigger.head_sha if report.trigger else ""
    if report.trigger is None or not report.trigger.is_pull_request or number is None:
        raise PushRefused("there is no pull request with a diff")
    if not isinstance(forge, _SuggestForge):
        raise PushRefused("this forge takes no reviews")
    check_suggestions(report, target)
    pull, files, comments, me = await together(
        forge.pull(number), forge.changed_files(number), forge.comments(number, "review"), forge.me()
    )
    if pull.head_sha != commit:
        raise PushRefused(f"the pull request is at {pull.head_sha[:7]} by now, no longer at {commit[:7]}: ask again")
    suggestions = find_suggestions(without_binary(target.patch), files)
    protected = protected_changes(
        (ChangedFile(path=item.path, kind="modified") for item in suggestions.items), target.publishing
    )
    drafts = _drafts(report.agent, suggestions, protected)
    if not drafts:
        raise PushRefused("none of the changes lies on lines that the diff of the pull request shows")
    present = {
        (comment.path, comment.line, comment.body.replace("\r\n", "\n").strip())
        for comment in comments
        if is_same_account(comment.author, me)
    }
    fresh = [draft for draft in drafts if (draft.path, draft.line, draft.body) not in present]
    rest = [*dict.fromkeys([*suggestions.rest, *protected])]
    detail = _describe(len(drafts), rest)
    if not fresh:
        return pull.url, f"{detail}. They are there already"

    def body(leftovers: Sequence[LineComment]) -> str:
        paths = [*dict.fromkeys([*rest, *(comment.path for comment in leftovers)])]
        return target.redact(_review_body(report.agent, len(fresh) - len(leftovers), paths))

    review, leftovers = await post_review(forge, number, commit, fresh, body)
    paths = [*dict.fromkeys([*rest, *(comment.path for comment in leftovers)])]
    return review.url, _describe(len(drafts) - len(leftovers), paths)


def _drafts(agent: str, suggestions: Suggestions, protected: Sequence[str] | dict[str, str]) -> list[LineComment]:
    marker = f"{MARKER} suggestion agent={agent} -->"
    return [
        LineComment(path=item.path, line=item.end, start_line=item.start, body=f"{marker}\n{applied_block(item.lines)}")
        for item in suggestions.items
        if item.path not in protected
    ]


def _review_body(agent: str, count: int, rest: Sequence[str]) -> str:
    text = f"**{escape(agent)}** suggests {plural(count, 'change')}."
    if rest:
        names = ", ".join(inline_code(path) for path in rest[:10])
        if len(rest) > 10:
            names += f" and {len(rest) - 10} more"
        text += f" What a suggestion cannot do, or the diff does not show, is in the patch of its answer: {names}."
    return f"{MARKER} suggestions agent={agent} -->\n{text}"


def _describe(count: int, rest: Sequence[str]) -> str:
    detail = plural(count, "suggestion")
    if rest:
        detail += f"; in the patch only: {first_few([one_line(path, 60) for path in rest], 5)}"
    return detail


def find_suggestions(patch: str, files: Iterable[FileDiff]) -> Suggestions:
    """What of `patch` (git's format, against the head) can be suggested in the pull request whose changed `files` have
    GitHub's diffs. Suggestions of a file never overlap or touch, so that each can be applied on its own. Pure.

    GitHub takes a comment only on lines of the new file that stand in one hunk of the diff. What a suggestion cannot
    say exactly stays in the patch: new, deleted, renamed and binary files and modes; a changed end of the file (the
    last line's newline is not part of a suggestion, reviewdog#1927); lines that end with CRLF, whose ends GitHub
    chooses when it applies one; and characters that a comment does not show.
    Source: https://docs.github.com/rest/pulls/reviews#create-a-review-for-a-pull-request
    """
    hunks = {file.path: _lines_of_hunks(file.patch) for file in files}
    items: list[Suggestion] = []
    rest: list[str] = []
    for diff in read_patch(patch):
        blocks = list(_blocks(diff.hunks))
        suggestions: list[Suggestion] = []
        if not diff.words:  # else it is new, renamed, of another mode, …
            candidates = (_suggestion_of(diff.path, block, hunks.get(diff.path, ())) for block in blocks)
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


def _suggestion_of(path: str, block: _Block, hunks: Sequence[range]) -> Suggestion | None:
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

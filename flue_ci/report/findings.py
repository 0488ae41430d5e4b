"""Findings of a review as Markdown: one as the comment of a thread, several as a list, and how many there are.

Pure. All words in them are an agent's."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from flue_ci.core.hidden_characters import remove_hidden
from flue_ci.core.proposals import SEVERITIES, ReviewComment
from flue_ci.core.text import clip, one_line, plural
from flue_ci.report.links import Commit
from flue_ci.report.report import Report
from flue_ci.report.words import shorten_markdown, with_smaller_headings
from flue_ci.safety.markdown import LinkPolicy, code_block, escape, inline_code, untrusted_markdown, without_suggestions

SEVERITY_MARKS = {"critical": "🔴", "high": "🟠", "medium": "🟡", "low": "🔵"}
_MAX_LISTED = 30
_LISTED_CHARS = 1_000  # of a finding's text in a list
HOW_TO_DISMISS = "<sub>👎 this comment, or reply “won't fix”, and it is not raised again.</sub>"


def new_findings(report: Report) -> list[ReviewComment]:
    """The findings that were accepted, without those that have a thread already; the gravest first."""
    comments = [
        each
        for each in report.proposals
        if isinstance(each, ReviewComment) and each.accepted and each.finding in ("", "new")
    ]
    return sorted(comments, key=lambda each: SEVERITIES.index(each.severity))


def count_findings(comments: Sequence[ReviewComment], noun: str = "finding") -> str:
    """`1 finding (high)`, `3 findings (1 high, 2 low)`, `no finding`."""
    if not comments:
        return f"no {noun}"
    counts = Counter(comment.severity for comment in comments)
    text = plural(len(comments), noun)
    if len(comments) == 1:
        return f"{text} ({comments[0].severity})"
    return f"{text} ({', '.join(f'{counts[word]} {word}' for word in SEVERITIES if counts[word])})"


def thread_comment(comment: ReviewComment, policy: LinkPolicy, *, has_suggestion: bool = True) -> str:
    """The first comment of a thread, without its marker. `has_suggestion`: its suggestion can be applied as it is."""
    parts = [_title(comment)]
    if comment.reason and not comment.in_summary:
        parts.append(f"<sub>{escape(one_line(comment.reason, 200))}</sub>")
    if words := _words(comment.body, policy):
        parts.append(words)
    if comment.suggestion is not None and has_suggestion:
        parts.append(suggestion_block(comment.suggestion))
    return "\n\n".join([*parts, HOW_TO_DISMISS])


def suggestion_block(text: str) -> str:
    """The lines as GitHub applies them, to the letter; as plain code when characters in them cannot be seen."""
    text = text.replace("\r\n", "\n")
    if remove_hidden(text) != text:
        return code_block(text)
    if not text:  # the lines are to be deleted
        return applied_block(())
    return applied_block(text.split("\n"))


def applied_block(lines: Sequence[str]) -> str:
    """What GitHub puts in the place of the commented lines at a click; without lines it deletes them."""
    text = "".join(f"{line}\n" for line in lines)
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}suggestion\n{text}{fence}"


def findings_list(comments: Sequence[ReviewComment], commit: Commit, policy: LinkPolicy) -> str:
    """A list with the place of each; empty for none."""
    items = [_item(comment, commit, policy) for comment in comments[:_MAX_LISTED]]
    if len(comments) > _MAX_LISTED:
        items.append(f"- … and {len(comments) - _MAX_LISTED} more, in report.json")
    return "\n".join(items)


def findings_section(report: Report, commit: Commit, policy: LinkPolicy, rows: int) -> str:
    """The new findings of a review that is not on the forge; empty when it is, or when nothing was found."""
    if any(entry.publisher == "review" and entry.state == "done" for entry in report.published):
        return ""
    comments = new_findings(report)
    if not comments:
        return ""
    return f"#### {count_findings(comments)}\n\n{findings_list(comments[:rows], commit, policy)}"


def finding_lines(report: Report) -> Iterator[tuple[str, str]]:
    """For a terminal: severity, and `path:line: title` of each new finding."""
    for comment in new_findings(report):
        yield comment.severity, one_line(f"{comment.path}:{comment.line}: {comment.title}", 300)


def _title(comment: ReviewComment) -> str:
    category = f" · {escape(one_line(comment.category, 40))}" if comment.category else ""
    mark = SEVERITY_MARKS[comment.severity]
    return f"{mark} **{shorten_markdown(comment.title, 200)}**\n<sub>{comment.severity}{category}</sub>"


def _item(comment: ReviewComment, commit: Commit, policy: LinkPolicy) -> str:
    place = inline_code(f"{comment.path}:{comment.line}")
    if commit.sha and comment.side == "RIGHT":
        place = f"[{place}]({commit.blob_url(comment.path, str(comment.line))})"
    line = f"- {SEVERITY_MARKS[comment.severity]} {place} **{shorten_markdown(comment.title, 200)}**"
    words = _words(clip(comment.body, _LISTED_CHARS, " …"), policy)
    if not words:
        return line
    return "\n".join([line, "", *(f"  {each}".rstrip() for each in words.split("\n")), ""])


@lru_cache(maxsize=256)  # a comment that has to be shortened is made again and again of the same words
def _words(body: str, policy: LinkPolicy) -> str:
    if not body.strip():
        return ""
    return with_smaller_headings(without_suggestions(untrusted_markdown(body, policy)))

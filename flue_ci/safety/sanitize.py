"""Sanitizes untrusted Markdown: hidden text for a model that reads it, active syntax for GitHub that renders it.

Pure and linear. Code spans and blocks keep their text, apart from invisible characters. GitHub looks for mentions and
references in the text that Markdown leaves, so that escaping them does not help: they are shown as code.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from flue_ci.core.hidden_characters import remove_hidden
from flue_ci.safety.hidden_markdown import Edit, apply_edits, find_comments, find_edits
from flue_ci.safety.markdown_reader import UnreadableMarkdown, read_markdown
from flue_ci.safety.markdown_tree import Node

_MAX_PASSES = 8
_COMMENT = re.compile("<[!?/]")
_UNREADABLE = "[the source of a text that cannot be read as Markdown: people may not see all of it]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SanitizedText:
    """A text, and how many things of each kind were removed or neutralized."""

    text: str
    removals: Mapping[str, int]


def sanitize_for_model(text: str) -> SanitizedText:
    """Only what a reader of the rendered page sees: what GitHub does not show is taken out, or marked where it may
    matter (the alternative text of an image, a tag such as the `<T>` of `List<T>`); the rest stays byte for byte.

    Taking something out may make a comment of the text around it, so the result is read again.
    """
    return _without_edits(text, find_edits)


def sanitize_request(text: str) -> SanitizedText:
    """A request as `sanitize_for_model` reads it behind the words that it follows in its comment: what begins with
    `[x]:` is no definition there."""
    before = "x "
    if re.match(r" {4}|\t|`{3}|~{3}", text):  # it began in a line of its own
        before = "x\n\n"
    result = _without_edits(before + text, find_edits)
    return replace(result, text=result.text.removeprefix(before))


def sanitize_title(text: str) -> str:
    """A title or name, which GitHub shows as it is: without invisible characters and comments."""
    return _without_edits(text, find_comments).text


def _without_edits(text: str, find: Callable[[str, Node], list[Edit]]) -> SanitizedText:
    counts: Counter[str] = Counter()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_MAX_PASSES):
        try:
            edits = find(text, read_markdown(text))
        except UnreadableMarkdown:
            break
        counts.update(edit.kind for edit in edits if edit.kind)
        if not edits:
            return SanitizedText(text=text, removals=dict(counts))
        text, find = apply_edits(text, edits), find_comments
        if not _COMMENT.search(text):
            return SanitizedText(text=text, removals=dict(counts))
    counts["unreadable Markdown"] += 1
    text = remove_hidden(text).removeprefix(_UNREADABLE)
    return SanitizedText(text=f"{_UNREADABLE}{text}", removals=dict(counts))


def summarize_removals(removals: Mapping[str, int]) -> str:
    """The counts for people: `mentions (2), tags (1)`."""
    return ", ".join(f"{kind} ({count})" for kind, count in sorted(removals.items()))

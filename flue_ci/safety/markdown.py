"""Pieces of GitHub's Markdown around untrusted text: nothing in the text ends a cell, a block or a section, becomes
HTML, mentions people or leads anywhere. Pure."""

import re
from collections import Counter
from collections.abc import Collection
from html import escape as html_escape
from html import unescape

from flue_ci.core.text import clip, one_line, plain
from flue_ci.safety.active_text import active_spans, code_block, code_element, inline_code
from flue_ci.safety.link_policy import LinkPolicy
from flue_ci.safety.markdown_reader import UnreadableMarkdown, read_markdown
from flue_ci.safety.neutralize import neutralize
from flue_ci.safety.text_edits import Edit, apply_edits

__all__ = [
    "LinkPolicy",
    "code_block",
    "details",
    "escape",
    "html",
    "inline_code",
    "untrusted_markdown",
    "untrusted_markdown_within",
]

_MAX_PASSES = 8
_INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)
_MARKUP = re.compile(r"&(?=#?\w+;)|[\\`*_\[\]<>|#~]|^[ \t]*(?:[-+=](?!\d)|:(?=-)|\d{1,9}(?=[.)]))", re.MULTILINE)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def untrusted_markdown(text: str, links: LinkPolicy | Collection[str] = (), counts: Counter[str] | None = None) -> str:
    """Markdown of strangers that does nothing on GitHub's page, and ends closed: what follows is no part of it.

    Elements of HTML are text, but for a few harmless ones; mentions and references are code; links and images lead
    where `links` allows (or: links to these hosts), others show their text and their address. Every other byte stays,
    so that doing it twice changes nothing. A text that has no clear reading is shown as code. `counts` gets the
    numbers by kind of what was replaced.
    """
    policy = links
    if not isinstance(policy, LinkPolicy):
        policy = LinkPolicy(hosts=policy)
    counts = Counter() if counts is None else counts
    markdown = plain(text).strip("\n").rstrip()
    try:
        for number in range(_MAX_PASSES):
            result, replacements = neutralize(markdown, policy, by_block=number >= _MAX_PASSES // 2)
            if not replacements:
                return markdown
            counts.update(replacements)
            markdown = result.strip("\n").rstrip()
    except UnreadableMarkdown:
        counts["unreadable text"] += 1
    return code_block(text)


def untrusted_markdown_within(limit: int, text: str, links: LinkPolicy | Collection[str] = ()) -> str:
    """The same in at most `limit` characters. It is cut before: a cut afterwards would open what is closed, such as the
    code around a mention."""
    length = limit
    markdown = untrusted_markdown(clip(text, length), links)
    while len(markdown) > limit:
        length = length * 2 // 3
        markdown = untrusted_markdown(clip(text, length), links)
    return markdown


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is. Mentions, references and addresses are shown as code."""
    text = _INDENTATION.sub("", plain(text))
    parts: list[str] = []
    position = 0
    for start, end, _ in active_spans(text):
        before = _MARKUP.sub(_escape_match, text[position:start])
        if before.endswith("`"):
            before = f"{before[:-2]}&#96;"
        elif not before and parts:
            before = " "  # two code spans would become one
        parts += [before, inline_code(text[start:end], 2_000)]
        position = end
    rest = _MARKUP.sub(_escape_match, text[position:])
    if parts and rest.startswith("\\`"):
        rest = f"&#96;{rest[2:]}"
    return "".join([*parts, rest])


def _escape_match(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&amp;"
    if match[0][-1].isdigit():
        return f"{match[0]}\\"
    return f"{match[0][:-1]}\\{match[0][-1]}"


def html(text: str) -> str:
    """One line inside of an HTML element; mentions, references and addresses in it are code."""
    line = one_line(text, 200)
    parts: list[str] = []
    position = 0
    for start, end, _ in active_spans(line):
        parts += [html_escape(line[position:start], quote=False), code_element(line[start:end])]
        position = end
    return "".join([*parts, html_escape(line[position:], quote=False)])


def details(summary: str, content: str) -> str:
    """A collapsed block; `summary` is HTML."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def without_suggestions(markdown: str) -> str:
    """The text, in which blocks that a click on GitHub puts into somebody's code (```` ```suggestion ````) are ordinary
    code: whether their lines stand there, nobody has looked at. For what has no clear reading, the text as it is."""
    try:
        blocks = [node for node in read_markdown(markdown).walk() if "info" in node.parts]
    except UnreadableMarkdown:
        return markdown
    infos = [info for node in blocks if _is_suggestion(markdown[slice(*(info := node.parts["info"]))])]
    return apply_edits(markdown, [Edit(*info, "") for info in sorted(infos)])


def _is_suggestion(info: str) -> bool:
    return unescape(_ESCAPE.sub(r"\1", info)).strip().lower().startswith("suggestion")

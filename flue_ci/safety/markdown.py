"""Pieces of GitHub's Markdown around untrusted text: nothing in the text ends a cell, a block or a section, becomes
HTML, mentions people or leads anywhere. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Collection

from flue_ci.core.text import code_spans, one_line, plain
from flue_ci.safety.sanitize import ACTIVE_SYNTAX, neutralize

_FENCE = re.compile(r"([ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+){0,9})(`{3,}(?=[^`]*$)|~{3,})")
_SIGNS = re.compile("[`~<&@＠﹫#＃\\[\\]$\\\\]")
_ACTIVE = re.compile(rf"{ACTIVE_SYNTAX}|&(?=#?\w+;)|[\\`*_\[\]<>|#~]", re.IGNORECASE)  # for GitHub or Markdown
_ADDRESS = r"<https?://[^\s<>`|]+>"


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is. Mentions, references and addresses are shown as code."""
    return _ACTIVE.sub(_escape_match, plain(text))


def _escape_match(match: re.Match[str]) -> str:
    text = match[0]
    if len(text) > 1:
        return inline_code(text)
    return "&amp;" if text == "&" else f"\\{text}"


def html(text: str) -> str:
    """One line inside of an HTML element."""
    return one_line(text, 200).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def inline_code(text: str) -> str:
    """Inline code that survives backticks, line breaks and table cells."""
    line = one_line(text, 200).replace("|", "\\|")
    ticks = "`" * (max(map(len, re.findall(r"`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def code_block(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    text = plain(text)
    fence = "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def details(summary: str, content: str) -> str:
    """A collapsed block; `summary` is HTML."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def untrusted_markdown(text: str, hosts: Collection[str] = (), counts: Counter[str] | None = None) -> str:
    """Markdown of strangers that does not affect the text after it: HTML in it is text, its last code block is closed,
    mentions do not call, and links and images lead to `hosts` only.

    `<` stays as it is in code blocks, in addresses (`<https://…>`) and in code spans. Which of them a reader of
    Markdown sees is certain only in simple cases (https://spec.commonmark.org/0.31.2/#fenced-code-blocks and
    #code-spans); in others `<` becomes `&lt;`. A fence that is indented by less than four spaces moves to the margin,
    so that it is one in every context. `counts` gets the numbers by kind of what was neutralized.
    """
    counts = Counter() if counts is None else counts
    lines: list[str] = []
    fence, indent, certain = "", 0, True
    for line in plain(text).strip("\n").rstrip().split("\n"):
        content = line.strip(" \t")  # other white space neither ends a paragraph nor stands behind a fence
        if fence:
            lines.append(line[min(indent, len(line) - len(line.lstrip(" "))) :])
            if len(content) >= len(fence) and not content.strip(fence[0]) and _FENCE.match(line):
                fence = ""
        elif _is_plain(line):
            certain = certain or not content
            lines.append(line)
        elif match := _FENCE.match(line):
            indent, fence, certain = len(match[1]), match[2], True
            lines.append(line[indent:])
        else:
            certain = not content or (certain and _spans_are_certain(line))
            lines.append(_neutralize_line(line, hosts, counts, has_spans=certain))
    if fence:
        lines.append(fence)
    return "\n".join(lines)


def _is_plain(line: str) -> bool:
    """True for most lines: no Markdown that matters here, and no link."""
    return not (_SIGNS.search(line) or "://" in line or "GH-" in line or "www." in line.lower())


def _spans_are_certain(line: str) -> bool:
    """True when every code span ends in its line and in its table cell, if it is in one, and when nothing that binds
    tighter (an escape, a bare address, a formula) can have taken one of its backticks."""
    if "\\`" in line or "$" in line:
        return False
    rest = [_replace_spans(cell, lambda _: "\0", lambda text: text) for cell in line.split("|")]
    words = [word for cell in rest for word in cell.split() if "://" in word or "www." in word]
    return not any("`" in cell for cell in rest) and not any("\0" in word for word in words)


def _neutralize_line(line: str, hosts: Collection[str], counts: Counter[str], *, has_spans: bool) -> str:
    """A line whose code spans stay; where they are uncertain it has none."""
    if not has_spans:
        line = line.replace("\\`", "`").replace("`", "&#96;")
    return _replace_spans(line, lambda span: span, lambda text: _neutralize_words(text, hosts, counts))


def _replace_spans(line: str, replace_span: Callable[[str], str], replace_text: Callable[[str], str]) -> str:
    """The line with its code spans, and the text around them, replaced."""
    parts, position = [], 0
    for start, end in code_spans(line):
        parts += [replace_text(line[position:start]), replace_span(line[start:end])]
        position = end
    return "".join([*parts, replace_text(line[position:])])


def _neutralize_words(text: str, hosts: Collection[str], counts: Counter[str]) -> str:
    text, tags = re.subn(rf"<(?=[A-Za-z/!?])(?!{_ADDRESS[1:]})", "&lt;", text)
    if tags:
        counts["tags"] += tags
    return neutralize(text, hosts, counts)

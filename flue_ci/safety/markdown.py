"""Pieces of GitHub's Markdown that hold whatever text they are given: nothing in it ends a cell, a block or a section,
becomes HTML, calls anybody or leads anywhere. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

from flue_ci.core.text import one_line, plain
from flue_ci.safety.sanitize import ACTIVE_SYNTAX, neutralize

_FENCE = re.compile(r"((?:[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+){0,9}[ \t]*)(`{3,}(?=[^`]*$)|~{3,})")
_SPAN = r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)"
_SIGNS = re.compile("[`~<&@＠﹫#＃\\[\\]$\\\\]")
_ADDRESS = r"<https?://[^\s<>`|]+>"


def escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is. Mentions, references and addresses are shown as code."""
    parts, at = [], 0
    text = plain(text)
    for acting in ACTIVE_SYNTAX.finditer(text):
        parts += [_escaped(text[at : acting.start()]), inline_code(acting[0])]
        at = acting.end()
    return "".join([*parts, _escaped(text[at:])])


def _escaped(text: str) -> str:
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)


def html(text: str) -> str:
    """One line inside of an HTML element."""
    return one_line(text, 200).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def inline_code(text: str) -> str:
    """Inline code that survives backticks, line breaks and table cells."""
    line = one_line(text, 200).replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def code_block(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    text = plain(text)
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def details(summary: str, content: str) -> str:
    """A collapsed block; `summary` is HTML."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def untrusted_markdown(text: str, hosts: Collection[str] = (), counts: Counter[str] | None = None) -> str:
    """Markdown of somebody else that swallows nothing of what follows it: HTML in it is text, its last code block is
    closed, nobody is called, and links and images lead to `hosts` only.

    `<` stays as it is in code blocks, in addresses (`<https://…>`) and in code spans. Which of them a reader of
    Markdown sees is certain only in simple cases (https://spec.commonmark.org/0.31.2/#fenced-code-blocks and
    #code-spans); in others `<` becomes `&lt;`. A fence that is indented by less than four spaces moves to the margin,
    so that it is one wherever it stands. `counts` gets the numbers by kind of what was made inert.
    """
    counts = Counter() if counts is None else counts
    lines: list[str] = []
    fence, indent, certain = "", 0, True
    for line in plain(text).strip("\n").rstrip().split("\n"):
        if fence and fence[0] not in line:
            lines.append(_dedented(line, indent))
            continue
        if not fence and _is_plain(line):
            certain = certain or not line.strip(" \t")
            lines.append(line)
            continue
        found = _FENCE.match(line)
        bare = line.strip(" \t")  # other white space neither ends a paragraph nor stands behind a fence
        if fence:
            lines.append(_dedented(line, indent))
            if found and set(bare) == {fence[0]} and len(bare) >= len(fence):
                fence = ""
        elif found:
            indent, fence, certain = len(found[1]), found[2], True
            lines.append(line[indent:])
        else:
            certain = not bare or (certain and _spans_are_certain(line))
            lines.append(_tame(line, hosts, counts, spans=certain))
    return "\n".join([*lines, fence] if fence else lines)


def _dedented(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip(" "))) :] if indent else line


def _is_plain(line: str) -> bool:
    """True for most lines: nothing in it could be Markdown that matters here, or lead anywhere."""
    return not (_SIGNS.search(line) or "://" in line or "GH-" in line or "www." in line.lower())


def _spans_are_certain(line: str) -> bool:
    """True when every code span ends in its line and in its table cell, if it is in one, and when nothing that binds
    tighter (an escape, a bare address, a formula) can have taken one of its backticks."""
    if "\\`" in line or "$" in line:
        return False
    rest = [re.sub(_SPAN, "\0", cell) for cell in line.split("|")]
    words = [word for cell in rest for word in cell.split() if "://" in word or "www." in word]
    return not any("`" in cell for cell in rest) and not any("\0" in word for word in words)


def _tame(line: str, hosts: Collection[str], found: Counter[str], *, spans: bool) -> str:
    """A line whose code spans stay; where they are uncertain there are none."""
    if not spans:
        line = line.replace("\\`", "`").replace("`", "&#96;")
    parts, at = [], 0
    for span in re.finditer(_SPAN, line):
        parts += [_words(line[at : span.start()], hosts, found), span[0]]
        at = span.end()
    return "".join([*parts, _words(line[at:], hosts, found)])


def _words(text: str, hosts: Collection[str], found: Counter[str]) -> str:
    shown, tags = re.subn(rf"<(?=[A-Za-z/!?])(?!{_ADDRESS[1:]})", "&lt;", text)
    if tags:
        found["tags"] += tags
    return neutralize(shown, hosts, found)

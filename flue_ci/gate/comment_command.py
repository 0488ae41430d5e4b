"""Finds the request in a comment: `/flue NAME text` or `@PHRASE NAME text` in Markdown. Standard library, Python 3.9.

Only the author's own visible text counts: quotes, code and hidden text do not. One pass over the lines, so that no
comment takes long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flue_ci.core.text import code_spans

MAX_TEXT = 70_000  # characters that are read; GitHub's own limit is 65,536
_NOTHING = "(?!)"  # a regular expression that matches nowhere
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_SHA = re.compile(r"[\s*_~:,]*@([0-9a-f]{7,})(?![\w/@-]|\.\w)[*_~.,:;!?]*", re.IGNORECASE)
_NAME = re.compile(r"[\s*_~:,]*([a-z0-9][a-z0-9-]*)(?![\w/.@]\w)[*_~.,:;!?]*", re.IGNORECASE)
_EDGES = " \t*_~:,;.!-–—"


@dataclass(frozen=True)
class CommentCommand:
    """A request. `name` is the first word after the trigger in lower case ("" for none), `instruction` the text after
    it; `text` is both, for when the first word turns out to be no name. `sha`: the commit that `@SHA` before the
    instruction names, 7 or more hexadecimal digits in lower case ("" for none); it is no part of the texts. `mention`:
    it was `@PHRASE`, not `/flue`."""

    name: str
    instruction: str
    text: str
    mention: bool = False
    sha: str = ""


def find_command(text: str, *, trigger: str = "/flue", phrase: str = "") -> CommentCommand | None:
    """The first request in a comment, or None.

    `trigger` counts as the first thing on a line, `phrase` (without `@`; "" for none) anywhere in running text; both in
    any case. The instruction goes to the end of the comment.
    """
    text = text[:MAX_TEXT].replace("\r\n", "\n")
    word = re.escape(trigger) or _NOTHING
    starts = re.compile(rf" {{0,3}}[*_~]{{0,3}}{word}(?![\w/.@:-])", re.IGNORECASE)
    name = re.escape(phrase.lstrip("@")) or _NOTHING
    mentions = re.compile(rf"(?<![\w@/.`+-])@{name}(?![\w/@-]|\.\w)", re.IGNORECASE)
    if not re.search(word, text, re.IGNORECASE) and not mentions.search(text):
        return None  # most comments are none of ours: their lines need not be read one by one
    position = 0
    for line, is_own in _own_lines(text):
        if is_own and (match := starts.match(line)):
            return _parse_command(text[position + match.end() :], mention=False)
        if is_own and "@" in line and (match := mentions.search(_running_text(line))):
            return _parse_command(text[position + match.end() :], mention=True)
        position += len(line) + 1
    return None


def _parse_command(rest: str, *, mention: bool) -> CommentCommand:
    rest = re.sub(r"\A[*_~]{1,3}(?=\s|\Z)", "", rest)
    line, _, more = rest.partition("\n")
    match = _NAME.match(line)
    name, after = "", line
    if match:
        name, after = match[1], line[match.end() :]
    sha = ""
    if commit := _SHA.match(after):
        sha, after = commit[1].lower(), after[commit.end() :]
    instruction = f"{after.strip(_EDGES)}\n{more}".strip()
    text = f"{name} {instruction}".strip()
    if not sha:
        text = f"{line.strip(_EDGES)}\n{more}".strip()
    return CommentCommand(name.lower(), instruction, text, mention, sha)


def _own_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is the author's own visible text: outside of fences, quotes, HTML comments and indented
    blocks."""
    fence, in_html_comment = "", False
    for line in text.split("\n"):
        if not line:  # a hostile comment has tens of thousands
            yield line, False
        elif in_html_comment:
            in_html_comment = "-->" not in line
            yield line, False
        elif fence:
            match = _FENCE.match(line)
            if match and match[1][0] == fence[0] and len(match[1]) >= len(fence) and not line.strip(" `~\t"):
                fence = ""
            yield line, False
        elif match := _FENCE.match(line):
            fence = match[1]
            yield line, False
        else:
            start = line.rfind("<!--")
            in_html_comment = start >= 0 and "-->" not in line[start:]
            yield line, not line.startswith(("    ", "\t")) and not line.lstrip(" ").startswith(">")


def _running_text(line: str) -> str:
    """The line, in its full length, with code spans, addresses and HTML comments blanked."""
    if line.count("<!--") >= 100:
        return " " * len(line)
    line = re.sub(r"<!--.*?(?:-->|$)", _blank, line)
    line = re.sub(r"(?:[a-z][a-z0-9+.-]{0,20}://|www\.)[^\s<>]*", _blank, line, flags=re.IGNORECASE)
    return _without_code(line)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _without_code(line: str) -> str:
    """The line with code spans blanked."""
    characters = list(line)
    for start, end in code_spans(line):
        characters[start:end] = " " * (end - start)
    return "".join(characters)

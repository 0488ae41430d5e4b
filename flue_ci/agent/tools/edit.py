"""The `edit` tool's decision, pure: replace one exact piece of text, or say precisely why not."""

from __future__ import annotations

import difflib

from flue_ci.agent.tools.tool import ToolError


def replace(text: str, old: str, new: str, *, everywhere: bool = False) -> tuple[str, int]:
    """The new text and the number of replacements. Line ends of the file win: LF in `old` and `new` matches a CRLF
    file.

    Raises `ToolError` when `old` is empty, equals `new`, does not occur, or occurs more than once and not
    `everywhere`.
    """
    if not old:
        raise ToolError(
            "`old` is empty. Give the exact text to replace; use `write` to make a new file or replace a whole one."
        )
    if old == new:
        raise ToolError("`old` and `new` are the same; nothing would change.")
    if old not in text and "\r\n" in text and "\r\n" not in old:
        old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
    count = text.count(old)
    if count == 0:
        raise ToolError("`old` does not occur in the file. " + _closest(text, old))
    if count > 1 and not everywhere:
        lines = ", ".join(str(line) for line in _lines_of(text, old))
        raise ToolError(
            f"`old` occurs {count} times (lines {lines}). Add neighbouring lines until it is unique, or set `all`."
        )
    return text.replace(old, new), count


def _lines_of(text: str, piece: str) -> list[int]:
    """The lines at which `piece` occurs, at most ten."""
    lines: list[int] = []
    start = text.find(piece)
    while start >= 0 and len(lines) < 10:
        lines.append(text.count("\n", 0, start) + 1)
        start = text.find(piece, start + len(piece))
    return lines


def _closest(text: str, old: str) -> str:
    """A sentence about the place that was probably meant, so that the next try is right."""
    words = [line.strip() for line in old.splitlines() if line.strip()]
    lines = text.splitlines()[:20_000]
    bare_lines = [line.strip() for line in lines]
    if not lines:
        return "The file is empty."
    if not words:
        return "It consists of blanks only; copy the text with its neighbours from `read`."
    for index, line in enumerate(bare_lines):
        if line != words[0]:
            continue
        following = [item for item in bare_lines[index : index + 3 * len(words)] if item]
        if following[: len(words)] == words:
            return f"The same words stand at line {index + 1} with other blanks or indentation; copy them from `read`."
    near = []
    if len(lines) <= 5_000:
        near = difflib.get_close_matches(words[0], bare_lines, n=1, cutoff=0.6)
    if near:
        index = bare_lines.index(near[0])
        return f"The nearest is line {index + 1}: {lines[index].strip()[:200]!r}. Read it again; it may have changed."
    return "Nothing similar was found. Read the file again; it may be another file or may have changed."

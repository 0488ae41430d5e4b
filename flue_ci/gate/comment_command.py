"""What a comment asks for: finds `/flue NAME text` or `@PHRASE NAME text` in Markdown. Standard library, Python 3.9.

Only what its author says counts: not what is quoted, shown as code, or hidden. One pass over the lines, so that no text
takes long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 70_000  # characters that are looked at; GitHub's own limit is 65,536
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_NAME = re.compile(r"[\s*_~:,]*([a-z0-9][a-z0-9-]*)(?![\w/.@]\w)[*_~.,:;!?]*", re.IGNORECASE)
_SIGNS = (" ", "\t", ">", "`", "~")  # a line that begins with none of them is no quote and no code
_EDGE = " \t*_~:,;.!-–—"


@dataclass(frozen=True)
class CommentCommand:
    """A request. `name` is the first word after the trigger in small letters ("" for none), `instruction` what follows
    it; `text` is both, for where the first word is no name. `mention`: it was `@PHRASE`, not `/flue`."""

    name: str
    instruction: str
    text: str
    mention: bool = False


def find_command(text: str, *, trigger: str = "/flue", phrase: str = "") -> CommentCommand | None:
    """The first request in a comment, or None.

    `trigger` counts as the first thing on a line, `phrase` (without `@`; "" for none) anywhere in running text; both in
    any case. The instruction goes to the end of the comment.
    """
    text = text[:LONGEST].replace("\r\n", "\n")
    starts = re.compile(rf" {{0,3}}[*_~]{{0,3}}{re.escape(trigger)}(?![\w/.@:-])", re.IGNORECASE) if trigger else None
    word = re.escape(phrase.lstrip("@"))
    mentions = re.compile(rf"(?<![\w@/.`+-])@{word}(?![\w/@-]|\.\w)", re.IGNORECASE) if word else None
    if not any(looked_for and looked_for.search(text) for looked_for in (_anywhere(trigger), mentions)):
        return None
    at = 0
    for line, own in _own_lines(text):
        if starts and own and line and (found := starts.match(line)):
            return _command(text[at + found.end() :], mention=False)
        if mentions and own and "@" in line and (found := mentions.search(_running_text(line))):
            return _command(text[at + found.end() :], mention=True)
        at += len(line) + 1
    return None


def _anywhere(trigger: str) -> re.Pattern[str] | None:
    return re.compile(re.escape(trigger), re.IGNORECASE) if trigger else None


def _command(rest: str, *, mention: bool) -> CommentCommand:
    rest = re.sub(r"\A[*_~]{1,3}(?=\s|\Z)", "", rest)
    line, _, more = rest.partition("\n")
    found = _NAME.match(line)
    if not found:
        whole = rest.strip(_EDGE + "\n")
        return CommentCommand(name="", instruction=whole, text=whole, mention=mention)
    after = f"{line[found.end() :].strip(_EDGE)}\n{more}".strip()
    whole = f"{line.strip(_EDGE)}\n{more}".strip()
    return CommentCommand(name=found[1].lower(), instruction=after, text=whole, mention=mention)


def _own_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is the author's own visible text: not in a fence, a quote, a comment or an indented
    block. What is hidden at the end of a line is cut off."""
    fence, hidden = "", False
    for line in text.split("\n"):
        if hidden:
            hidden = "-->" not in line
            yield line, False
            continue
        if not fence and line[:1] not in _SIGNS and "<!--" not in line:
            yield line, True
            continue
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1][0] == fence[0] and len(opened[1]) >= len(fence) and not line.strip(" `~\t"):
                fence = ""
            yield line, False
            continue
        if opened:
            fence = opened[1]
            yield line, False
            continue
        quoted = line.startswith(("    ", "\t")) or line.lstrip(" ").startswith(">")
        begin = line.rfind("<!--")
        hidden = begin >= 0 and "-->" not in line[begin:]
        yield line, not quoted


def _running_text(line: str) -> str:
    """The line, as long as it was, with code spans, addresses and hidden text blanked."""

    def blank(found: re.Match[str]) -> str:
        return " " * len(found[0])

    line = re.sub(r"<!--.*?(?:-->|$)", blank, line) if line.count("<!--") < 100 else " " * len(line)
    line = re.sub(r"(?:[a-z][a-z0-9+.-]{0,20}://|www\.)[^\s<>]*", blank, line, flags=re.IGNORECASE)
    return _without_code(line)


def _without_code(line: str) -> str:
    """Code spans blanked: a run of backticks ends at the next run of the same length."""
    runs = [(found.start(), found.end()) for found in re.finditer(r"`+", line)]
    later: dict[int, list[int]] = {}  # by length, the next one last
    for index in range(len(runs) - 1, -1, -1):
        later.setdefault(runs[index][1] - runs[index][0], []).append(index)
    parts, at, index = [], 0, 0
    while index < len(runs):
        start, end = runs[index]
        same = later[end - start]
        while same and same[-1] <= index:
            same.pop()
        if same:
            index = same[-1]
            stop = runs[index][1]
            parts += [line[at:start], " " * (stop - start)]
            at = stop
        index += 1
    return "".join([*parts, line[at:]])

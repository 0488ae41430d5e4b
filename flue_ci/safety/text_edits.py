"""Replaces ranges of a Markdown text and leaves every other byte. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """The text with its replacements, which are sorted by their start; one within another is left out.

    Code that is put in neither meets a backtick nor follows a backslash."""
    position = 0
    parts: list[str] = []
    last = ""
    for edit in edits:
        if edit.start < position:
            continue
        piece = text[position : edit.start]
        if edit.text.startswith("`") and piece.endswith("\\") and not _is_escaped(piece):
            piece = piece[:-1] + "&#92;"
        before = piece or last
        if piece.startswith("`") and last.endswith("`"):
            piece = f" {piece}"
        if edit.text.startswith("`") and before.endswith("`"):
            piece = f"{piece} "
        parts += [piece, edit.text]
        last = edit.text or piece or last
        position = edit.end
    rest = text[position:]
    if rest.startswith("`") and last.endswith("`"):
        rest = f" {rest}"
    return "".join([*parts, rest])


def _is_escaped(piece: str) -> bool:
    """Whether the backslash at the end is itself behind one."""
    return (len(piece) - len(piece.rstrip("\\"))) % 2 == 0

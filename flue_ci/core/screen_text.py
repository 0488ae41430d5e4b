"""What a terminal would show of output in the end: progress bars as their last state, repeated lines counted.

Pure. A terminal without an edge on the right, whose lines above the top of the screen stay.
"""

import re
from collections.abc import Sequence
from itertools import groupby

_PIECES = re.compile(
    r"\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b([ -/]*[0-Z\\-~])|([\r\n\b\x07])|\x1b"
    r"|([^\x1b\r\n\b\x07]+)"
)
_SIDEWAYS = 1_000  # the farthest that a sequence moves the cursor
_MIN_REPEATS = 4  # fewer equal lines are shorter than the note


def screen_text(output: str) -> str:
    """`output` as it would stand on a terminal, with a note in place of equal lines behind the first."""
    text = output.replace("\r\n", "\n")
    if re.search("[\r\b\x07\x1b]", text):
        screen = _Screen()
        screen.write(text)
        text = screen.text()
    return "\n".join(_count_repeats(text.split("\n")))


def _count_repeats(lines: Sequence[str]) -> list[str]:
    rows: list[str] = []
    for line, group in groupby(lines):
        times = sum(1 for _ in group)
        if times >= _MIN_REPEATS:
            rows += [line, f"[the line above {times - 1} more times]"]
        else:
            rows += [line] * times
    return rows


class _Screen:
    def __init__(self) -> None:
        self._lines: list[str] = [""]
        self._row = self._column = 0
        self._top: int | None = None  # the first line of the screen, once something asks for it
        self._main: tuple[list[str], int, int, int | None] | None = None  # behind a program that fills the screen
        self._mark = (0, 0)

    def text(self) -> str:
        return "\n".join(self._lines)

    def write(self, text: str) -> None:
        for match in _PIECES.finditer(text):
            parameters, command, escape, control, plain = match.groups()
            if plain:
                self._put(plain)
            elif control:
                self._control(control)
            elif command:
                self._command(command, parameters)
            elif escape in ("7", "8"):
                self._remember(escape == "7")
            elif escape == "M":
                self._move(self._row - 1, self._column)
            elif escape == "c":
                self._clear_all()

    def _put(self, text: str) -> None:
        line = self._lines[self._row].ljust(self._column)
        end = self._column + len(text)
        self._lines[self._row] = line[: self._column] + text + line[end:]
        self._column = end

    def _control(self, control: str) -> None:
        if control == "\n":
            self._row += 1
            self._column = 0
            if self._row == len(self._lines):
                self._lines.append("")
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(self._column - 1, 0)

    def _command(self, command: str, parameters: str) -> None:
        numbers = [int(part[:6]) for part in re.findall(r"\d+", parameters)]
        count = max([*numbers, 1][0], 1)
        row, column = self._row, self._column
        targets = {
            "A": (row - count, column),
            "B": (row + count, column),
            "C": (row, column + count),
            "D": (row, column - count),
            "E": (row + count, 0),
            "F": (row - count, 0),
            "G": (row, count - 1),
        }
        if command in targets:
            self._move(*targets[command])
        elif command in "Hf":
            self._home(*[*numbers, 1, 1][:2])
        elif command == "K":
            self._erase_line([*numbers, 0][0])
        elif command == "J":
            self._erase_screen([*numbers, 0][0])
        elif command in "su":
            self._remember(command == "s")
        elif command in "hl" and parameters in ("?1049", "?1047", "?47"):
            self._switch(command == "h")

    def _move(self, row: int, column: int) -> None:
        self._row = min(max(row, self._top or 0), len(self._lines) - 1)
        self._column = min(max(column, 0), max(_SIDEWAYS, self._column))

    def _first_row(self) -> int:
        """The screen's first line: what was there before anything asked for it stays above it."""
        if self._top is None:
            if self._lines[-1]:
                self._lines.append("")
            self._top = len(self._lines) - 1
        return self._top

    def _home(self, row: int, column: int) -> None:
        target = self._first_row() + min(max(row, 1), _SIDEWAYS) - 1
        self._lines += [""] * (target + 1 - len(self._lines))
        self._move(target, max(column, 1) - 1)

    def _erase_line(self, mode: int) -> None:
        line = self._lines[self._row]
        remainder = {0: line[: self._column], 1: " " * self._column + line[self._column :], 2: ""}
        self._lines[self._row] = remainder.get(mode, line).rstrip()

    def _erase_screen(self, mode: int) -> None:
        if mode == 0:
            self._erase_line(0)
            del self._lines[self._row + 1 :]
        elif mode in (2, 3):
            self._clear_all()

    def _clear_all(self) -> None:
        top = self._first_row()
        self._lines[top:] = [""]
        self._move(top, 0)

    def _remember(self, store: bool) -> None:
        if store:
            self._mark = (self._row, self._column)
        else:
            self._move(*self._mark)

    def _switch(self, to_other: bool) -> None:
        if to_other and self._main is None:
            self._main = (self._lines, self._row, self._column, self._top)
            self._lines, self._row, self._column, self._top = [""], 0, 0, 0
        elif not to_other and self._main is not None:
            self._lines, self._row, self._column, self._top = self._main
            self._main = None

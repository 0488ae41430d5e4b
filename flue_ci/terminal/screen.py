"""Lines for whoever reads them: on a terminal words wrap whole and have colour; in a file or pipe a line stays one; in
a job of GitHub Actions no line is a command of the runner's.

What people copy (paths, options, commands in backticks) is never broken: it goes to a line of its own, which the
terminal may show as two but copies as one. Also the one question that is asked there.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from flue_ci.core.text import printable
from flue_ci.gate.workflow_commands import WorkflowLog

if TYPE_CHECKING:
    from rich.console import Console

_NARROWEST = 20  # columns; below that nothing is wrapped
_WIDEST_LABEL = 24  # columns before a gap, below which the lines that follow are not indented
_GAP = re.compile(rf" *+\S[^\n]{{0,{_WIDEST_LABEL}}}? {{2,}}+(?=\S)")
_MARK = re.compile(r" *(?:[^\w\s`(\[-]|-) (?=\S)")
_TIME = r"(?:(?: ·)? \(?\d[\d.]*m?[smh](?: \d\d[sm])?\)?$)?"  # at the end of a line, which stays with the word before
_PIECE = re.compile(rf"(?<!\s)(\s*+)((?:[^\s`]*`[^`]*`[^\s`]*|--[\w-]+ [^\s-]\S*|\S+){_TIME})")
_WIDE = "\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff60\U00020000-\U0003fffd"
_CLOSING = "\u3001\u3002\u3009\u300b\u300d\u300f\u3011\u3015\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff3d\uff5d"
_UNIT = re.compile(rf"(?:[{_WIDE}]|[^{_WIDE}]+)[{_CLOSING}]*")


class Line(NamedTuple):
    """A line with its indentation and rich's style. `copy` is what stands at its end and is copied whole. Where it does
    not `wrap` (code, output), every character stays in its place."""

    text: str
    style: str = ""
    copy: str = ""
    wrap: bool = True


class Screen:
    """A stream, and the terminal behind it if there is one. `console` is None for anything else."""

    def __init__(self, stream: IO[str], console: Console | None = None) -> None:
        self.console = console
        self._stream = stream
        if console is None and stream.isatty():
            from rich.console import Console
            from rich.theme import Theme

            theme = Theme({"markdown.code": "cyan", "markdown.code_block": "cyan"})
            self.console = Console(file=stream, highlight=False, markup=False, emoji=False, theme=theme)
        self._log = WorkflowLog(stream)

    def show(self, lines: Iterable[Line]) -> None:
        """Prints the lines, without what moves the cursor."""
        for line in lines:
            text, copy = printable(line.text), printable(line.copy)
            if self.console:
                self._draw(line._replace(text=text, copy=copy))
            elif _is_job():
                self._log.line(text + copy)
            else:
                print(text + copy, file=self._stream, flush=True)

    def _draw(self, line: Line) -> None:
        from rich.text import Text

        assert self.console
        lines = [line.text + line.copy]
        if line.wrap:
            lines = list(wrap(line.text, self.console.width, line.copy))
        for each in lines:
            self.console.print(Text(each, style=line.style), soft_wrap=True)


def say(text: str, stream: IO[str]) -> None:
    """Prints text of ours, line by line."""
    Screen(stream).show(Line(line) for line in text.split("\n"))


def print_json(text: str) -> None:
    """Prints a JSON document to standard output. In it `##[`, which the runner of a job takes for a command, is written
    so that a reader of JSON gets the same."""
    print(text.replace("##[", "#\\u0023["))


def print_document(text: str) -> None:
    """Prints a text to standard output as it is; in the log of a job, and in a pipe there, no line is a command."""
    if not _is_job() or stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
        sys.stdout.write(text)
    else:
        WorkflowLog(sys.stdout).line(text.removesuffix("\n"))


def _is_job() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def wrap(text: str, width: int, copy: str = "") -> Iterator[str]:
    """The lines of a text, and of `copy` behind it, in so many columns. Lines after the first are indented like what
    follows the mark or label of the first. A word that is too long has a line of its own, longer than `width`."""
    from rich.cells import cell_len

    if width < _NARROWEST or cell_len(text + copy) <= width:
        yield text + copy
        return
    indent = " " * (len(text) - len(text.lstrip(" ")))
    hanging = " " * _hanging(text + copy)
    line = ""
    for gap, unit in _units(text, copy):
        if line.strip() and cell_len(line + gap + unit) > width:
            yield line
            line = hanging + unit if cell_len(hanging + unit) <= width else indent + unit
        else:
            line += gap + unit
    yield line


def _hanging(text: str) -> int:
    """How far the lines after the first are indented: to what follows a label and a gap, or a mark."""
    from rich.cells import cell_len

    label = _GAP.match(text)
    if label and cell_len(label[0]) <= _WIDEST_LABEL:
        return cell_len(label[0])
    if mark := _MARK.match(text):
        return cell_len(mark[0])
    return len(text) - len(text.lstrip(" "))


def _units(text: str, copy: str) -> Iterator[tuple[str, str]]:
    """What must not be broken, each with the space before it. Between the characters of scripts that are written
    without spaces there may be an end of line."""
    for gap, piece in _PIECE.findall(text):
        units = _UNIT.findall(piece)
        if re.search("[`/]", piece):
            units = [piece]
        yield gap, units[0]
        yield from (("", unit) for unit in units[1:])
    if copy:
        yield text[len(text.rstrip()) :], copy


def ask(title: str, items: Sequence[tuple[str, str]], note: str) -> bool:
    """Shows what is asked for, each item with its place in a file, and waits for `y` or `yes`. Every other answer, and
    the end of the input, is no."""
    lines = [Line(""), Line(title, "bold yellow"), Line("")]
    for text, place in items:
        lines += [Line(f"  • {text}"), Line("      ", "dim", copy=place)]
    Screen(sys.stderr).show([*lines, Line(""), Line(note, "dim")])
    print("Allow? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

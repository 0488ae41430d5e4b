"""A question to the person at the terminal, on standard error; without an answer it is no."""

import sys
from collections.abc import Sequence

from flue_ci.terminal.screen import Line, Screen


def ask(title: str, items: Sequence[tuple[str, str]], note: str) -> bool:
    """Shows what is asked for, each item with its place in a file, and waits for `y` or `yes`. Every other answer, and
    the end of the input, is no."""
    lines = [Line(""), Line(title, "bold yellow"), Line("")]
    for text, place in items:
        lines += [Line(f"  • {text}"), Line("      ", "dim", copy=place)]
    Screen(sys.stderr).show([*lines, Line(""), Line(note, "dim")])
    print("Allow? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

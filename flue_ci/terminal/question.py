"""A question to the person at the terminal, on standard error; without an answer it is no."""

import sys
from collections.abc import Sequence

from flue_ci.core.text import printable


def ask(title: str, items: Sequence[tuple[str, str]], note: str) -> bool:
    """Shows what is asked for, each item with its place in a file, and waits for `y` or `yes`. Every other answer, and
    the end of the input, is no."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
    console.print(Padding(Text(printable(title), style="bold yellow"), (1, 0), expand=False))
    for text, place in items:
        console.print(Padding(Text(f"• {printable(text)}"), (0, 2), expand=False))
        console.print(Padding(Text(printable(place), style="dim"), (0, 6), expand=False))
    console.print(Padding(Text(printable(note), style="dim"), (1, 0, 0, 0), expand=False))
    console.print(Text("Allow? [y/N] ", style="bold"), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")

"""How fast text is cleaned and secrets are found: on ordinary text, and on text made to take for ever.

`python -m benchmarks.text [--quick]`. Megabytes a second (of UTF-8); medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flue_ci.safety.markdown import untrusted_markdown
from flue_ci.safety.redact import Redactor
from flue_ci.safety.sanitize import sanitize_for_model

PROJECT = Path(__file__).resolve().parent.parent
ROUNDS = 5
KEYS = ("sk-ant-api03-" + "Xy9_" * 24, "e2b_" + "0f3a" * 10, "ghs_" + "aB3dE6" * 6, "dG9rZW4tYXMtZ2l0LXNlbmRzLWl0" * 3)
HOSTILE = {
    "comments that do not end": "<!-- a <!-- ",
    "elements that do not end": "<a href=",
    "backticks": "`a``b```",
    "brackets": "[[[](",
    "mentions": "@a#1@b/c#2 ",
    "addresses": "http://a www.b ",
    "keys that begin": "-eyJ-sk-ant-ghp_",
    "private keys that begin": "-----BEGIN PRIVATE KEY-----\n",
    "keys that hide behind keys": f"AIza{'b' * 35}",
    "marks of what was left out": "[…]",
    "invisible characters": "a\u200b\u202e\ufe0f",
    "spaces": " \t ",
    "one letter": "a",
    "lines of digits": "0123456789abcdef\n",
}


def ordinary(size: int) -> str:
    """What people and tools write: our own documents, with code, tables and links, and our own source."""
    documents = "\n".join(path.read_text() for path in sorted((PROJECT / "docs").glob("*.md")))
    documents += (PROJECT / "README.md").read_text()
    source = "\n".join(path.read_text() for path in sorted((PROJECT / "flue_ci").rglob("*.py")))
    both = documents + f"\n```python\n{source}\n```\n"
    return (both * (size // len(both) + 1))[:size]


def main(argv: list[str]) -> None:
    quick = "--quick" in argv
    redact = Redactor(KEYS)
    work: dict[str, Callable[[str], object]] = {
        "redacted": redact,
        "cleaned for the model": lambda text: sanitize_for_model(text).text,
        "cleaned for people": untrusted_markdown,
    }
    size = 1_000_000 if quick else 4_000_000
    text = ordinary(size)
    print(f"{'MB/s':<42}" + "".join(f"{name:>24}" for name in work))
    print(
        f"{f'ordinary text, {size / 1e6:.0f} MB':<42}" + "".join(f"{_speed(run, text):>24.1f}" for run in work.values())
    )
    print(
        f"{'the same, 3 KB after 3 KB':<42}"
        + "".join(f"{_speed(_in_pieces(run), text[:300_000]):>24.1f}" for run in work.values())
    )
    short, long = (100_000, 1_000_000) if quick else (1_000_000, 10_000_000)
    print(f"\nhostile text: seconds for {long / 1e6:.0f} MB, and how many times what a tenth of it takes (10: linear)")
    for name, piece in HOSTILE.items():
        cells = [_growth(run, piece, short, long) for run in work.values()]
        print(f"{name:<42}" + "".join(f"{cell:>24}" for cell in cells))


def _in_pieces(run: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: [run(text[start : start + 3_000]) for start in range(0, len(text), 3_000)]


def _speed(run: Callable[[str], object], text: str) -> float:
    return len(text.encode()) / statistics.median(_seconds(run, text) for _ in range(ROUNDS)) / 1e6


def _growth(run: Callable[[str], object], piece: str, short: int, long: int) -> str:
    small, large = (_seconds(run, piece * (size // len(piece.encode()))) for size in (short, long))
    return f"{large:.2f} s · {large / small:.0f}"


def _seconds(run: Callable[[str], object], text: str) -> float:
    begun = time.perf_counter()
    run(text)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(sys.argv[1:])

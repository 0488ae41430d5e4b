"""Which place of a file was probably meant by a text that does not occur in it. Bounded: both come from the model."""

import difflib
from heapq import nlargest

from flue_ci.core.text import source_lines

MAX_LINES = 5_000  # that are compared letter by letter
MAX_CHARS = 200  # of a line
MAX_CANDIDATES = 10  # the lines with the most letters in common, of which the exact likeness is computed


def describe_closest(text: str, piece: str) -> str:
    """A sentence about the place in `text`, so that the next try is right."""
    words = [line.strip() for line in source_lines(piece) if line.strip()]
    lines = source_lines(text)[:20_000]
    if not lines:
        return "The file is empty."
    if not words:
        return "It consists of blanks only; copy the text with its neighbours from `read`."
    # Line numbers and words of the lines that have any.
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    content = "\n".join(["", *(row for _, row in rows), ""])
    position = content.find("\n".join(["", *words, ""]))
    if position >= 0:
        number = rows[content.count("\n", 0, position)][0]
        return f"The same words stand at line {number} with other blanks or indentation; copy them from `read`."
    if len(lines) <= MAX_LINES and (number := _nearest(words[0], rows)):
        line = lines[number - 1].strip()[:MAX_CHARS]
        return f"The nearest is line {number}: {line!r}. Read it again; it may have changed."
    return "Nothing similar was found. Read the file again; it may be another file or may have changed."


def _nearest(word: str, rows: list[tuple[int, str]]) -> int:
    """The number of the line that is most like `word`; 0 when none is. Computing the likeness of two long lines takes
    long, so it is estimated for all lines, and computed for few."""
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(word[:MAX_CHARS])

    def estimate(row: tuple[int, str]) -> float:
        matcher.set_seq1(row[1][:MAX_CHARS])
        return min(matcher.real_quick_ratio(), matcher.quick_ratio())

    def compute(row: tuple[int, str]) -> float:
        matcher.set_seq1(row[1][:MAX_CHARS])
        return matcher.ratio()

    best = max(nlargest(MAX_CANDIDATES, rows, key=estimate), key=compute, default=None)
    if best is None or compute(best) < 0.6:
        return 0
    return best[0]

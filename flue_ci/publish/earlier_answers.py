"""The earlier answers of an agent in its one comment: folded below the newest one, by request. Pure.

Where a folded answer begins is read from the comment again by a sign that no text of a report can have: an
invisible character that every answer loses before it is written. The oldest answers shrink to a line with a link when
there is no room; the newest one never gives way to them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flue_ci.core.text import plural

SIGN = "\u2063"  # INVISIBLE SEPARATOR
MAX_ANSWERS = 30
_SECTION = f"<details><summary>{SIGN}{SIGN}"
_ANSWER = re.compile(rf"<details><summary>{SIGN}\n\n#### ([^\n]*)\n\n</summary>\n\n(.*)\n\n</details>", re.DOTALL)
_LINE = re.compile(rf"- {SIGN}([^{SIGN}\n]+)")
_OLDER = re.compile(rf"- {SIGN}{SIGN}(\d{{1,9}}) older.*")
_ENTRY = re.compile(rf"^(?=<details><summary>{SIGN}$|- {SIGN})", re.MULTILINE)
_RUN_LINK = re.compile(r"\]\((https?://[^\s()<>]+/actions/runs/\d+(?:/attempts/\d+)?)\)", re.ASCII)


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """`title` is one line of Markdown; `text` the rest of the answer, "" where only the line is left."""

    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class EarlierAnswers:
    """The newest one first; `older` counts those of which nothing is left."""

    answers: tuple[EarlierAnswer, ...] = ()
    older: int = 0


def without_sign(text: str) -> str:
    """A text that cannot be taken for the beginning or the end of an earlier answer."""
    return text.replace(SIGN, "")


def split_answers(body: str) -> tuple[str, EarlierAnswers]:
    """The newest answer of a comment, and the earlier ones."""
    newest, _, section = body.replace("\r\n", "\n").partition(_SECTION)
    answers, older = [], 0
    entries = _ENTRY.split(section.rstrip().removesuffix("</details>"))
    for entry in map(str.strip, entries):
        if match := _ANSWER.fullmatch(entry):
            answers.append(EarlierAnswer(match[1], match[2]))
        elif match := _LINE.fullmatch(entry):
            answers.append(EarlierAnswer(match[1]))
        elif match := _OLDER.fullmatch(entry):
            older = int(match[1])
    return newest.strip(), EarlierAnswers(tuple(answers), older)


def remember(newest: str, earlier: EarlierAnswers) -> EarlierAnswers:
    """The earlier answers after another one has taken the place of `newest` (without its marker; "" for none)."""
    if not newest:
        return earlier
    first, _, text = newest.partition("\n")
    title = first.lstrip("# ") or "An answer"
    for line in text.split("\n")[:4]:
        if line.startswith("> "):
            title += f" · “{line[2:].strip()}”"
            break
    answers = (EarlierAnswer(title, text.strip() or "_Nothing more._"), *earlier.answers)
    surplus = max(len(answers) - MAX_ANSWERS, 0)
    return EarlierAnswers(answers[: len(answers) - surplus], earlier.older + surplus)


def add_earlier(text: str, earlier: EarlierAnswers, limit: int) -> str:
    """The comment `text` with the earlier answers below: as many as possible of at most `limit` UTF-16 units in all."""
    room = limit - _units(text) - 2
    count = len(earlier.answers)
    for whole, lines in [
        *((number, count) for number in range(count, -1, -1)),
        *((0, n) for n in range(count, -1, -1)),
    ]:
        section = _render(earlier, whole, lines)
        if _units(section) <= room:
            return f"{text}\n\n{section}" if section else text
    return text


def _render(earlier: EarlierAnswers, whole: int, lines: int) -> str:
    """`whole` answers with their text, and a line for each of the others up to the number `lines`."""
    older = earlier.older + len(earlier.answers) - lines
    if not lines + older:
        return ""
    parts = [
        f"<details><summary>{SIGN}\n\n#### {answer.title}\n\n</summary>\n\n{answer.text}\n\n</details>"
        for answer in earlier.answers[:whole]
        if answer.text
    ]
    rows = [_line(answer) for index, answer in enumerate(earlier.answers[:lines]) if index >= whole or not answer.text]
    if older:
        rows.append(f"- {SIGN}{SIGN}{older} older, of which no more is kept")
    if rows:
        parts.append("\n".join(rows))
    content = "\n\n".join(parts)
    return f"{_SECTION}{plural(lines + older, 'earlier answer')}</summary>\n\n{content}\n\n</details>"


def _line(answer: EarlierAnswer) -> str:
    links: Sequence[str] = _RUN_LINK.findall(answer.text)
    link = f" · [log of its job]({links[-1]})" if links else ""
    return f"- {SIGN}{answer.title}{link}"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2

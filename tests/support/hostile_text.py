"""Texts that make a backtracking regular expression slow, derived from the expression itself, and a way to tell linear
time from quadratic time that does not depend on how busy the machine is.

A regular expression is slow where it repeats something, and fails afterwards. So each repetition of the expression is
pumped: alone, behind what has to stand before it, and together with that again and again. Where two repetitions share
a character, pumping it makes both of them compete for it.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

SMALL, LARGE = 4_000, 64_000  # characters
QUICK = 0.015  # seconds of the processor for SMALL: quadratic time that takes less is below a second for LARGE
MAX_GROWTH = 64  # from SMALL to LARGE: 16 for linear time, 256 for quadratic time
# What takes long for each character is looked at with shorter texts first: linear time grows eightfold from one to the
# other, and tenfold where the quadratic part reaches MAX_GROWTH between the texts above.
SHORT, LONG, FIRST_GROWTH = 500, 4_000, 9.7
MAX_SECONDS = 2.0  # when a measurement is given up; exponential time never comes to an end
ENDINGS = ("", "\n", "\0", " x")
_OF_CATEGORY = {
    codes.CATEGORY_DIGIT: "0", codes.CATEGORY_NOT_DIGIT: "a", codes.CATEGORY_SPACE: " ", codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "a", codes.CATEGORY_NOT_WORD: "-",
}  # fmt: skip
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


def pumps(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(what stands before, what is repeated) for each repetition and each character of the expression."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    pairs = [("", char) for char in _characters(tree)]
    pairs += _pumps(tree, "")
    return list(dict.fromkeys(pair for pair in pairs if pair[1]))


def texts(before: str, pump: str, size: int, endings: Sequence[str]) -> Iterator[str]:
    """Texts of about `size` characters that end in ways that an expression may not expect."""
    for ending in endings:
        yield before + pump * (size // len(pump)) + ending
    both = before + pump
    if before:
        yield both * (size // len(both)) + "\0"


def slow_text(
    call: Callable[[str], object],
    before: str,
    pump: str,
    endings: Sequence[str] = ENDINGS,
    max_seconds: float = MAX_SECONDS,
) -> str:
    """What is wrong when `call` does not take linear time for the texts of that pump; empty when it does."""
    measure = partial(_measure, call, max_seconds=max_seconds)
    for short, long, small, large in zip(
        *(texts(before, pump, size, endings) for size in (SHORT, LONG, SMALL, LARGE)), strict=True
    ):
        seconds = measure(short)
        if QUICK / 16 < seconds <= max_seconds:
            seconds = FIRST_GROWTH * min(seconds, measure(short))
            if measure(long) < seconds or measure(long) < seconds:  # a busy machine is no slow text
                continue
        seconds = measure(small)
        if seconds < QUICK:
            continue
        if seconds > max_seconds or measure(large) > MAX_GROWTH * min(seconds, measure(small)):
            return f"{before!r}, then {pump!r} again and again, then {small[-2:]!r}"
    return ""


def _measure(call: Callable[[str], object], text: str, max_seconds: float) -> float:
    """Seconds of the processor; infinite when it takes too many."""
    start = time.thread_time()
    try:
        with _limit(max_seconds):
            call(text)
    except TimeoutError:
        return float("inf")
    return max(time.thread_time() - start, 1e-6)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """The engine of `re` looks for signals while it matches, so that a timer ends it."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _pumps(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """The repetitions of a sequence, also those inside of others; `before` is what leads to it."""
    for code, value in tree:
        if code in _REPEATS:
            if value[1] > 1:
                yield from ((before, pump) for pump in _examples(value[2]))
            yield from _pumps(value[2], before)
        else:
            for inner in _inner(code, value):
                yield from _pumps(inner, before)
        before += next(iter(_examples([(code, value)])))


def _inner(code: Any, value: Any) -> list[Any]:
    if code is codes.SUBPATTERN:
        return [value[3]]
    if code is codes.ATOMIC_GROUP:
        return [value]
    if code is codes.BRANCH:
        return list(value[1])
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [value[1]]
    return []


def _examples(tree: Any) -> list[str]:
    """Some texts that the sequence matches: each character of its first set, each of its branches."""
    results = [""]
    for code, value in tree:
        if code in _REPEATS:
            inner = _examples(value[2])
            options = [text * max(value[0], min(value[1], 1)) for text in inner]
        elif code is codes.BRANCH:
            options = [text for branch in value[1] for text in _examples(branch)]
        elif code in (codes.SUBPATTERN, codes.ATOMIC_GROUP):
            options = _examples(_inner(code, value)[0])
        else:
            options = list(_characters([(code, value)])) if code not in (codes.ASSERT, codes.ASSERT_NOT) else []
        if options:
            results = [result + option for result in results[:1] for option in options[:6]] + [
                result + options[0] for result in results[1:6]
            ]
    return results


def _characters(tree: Any) -> Iterator[str]:
    """Characters that occur in the expression, each kind at least once."""
    for code, value in tree:
        if code is codes.LITERAL:
            yield chr(value)
        elif code is codes.NOT_LITERAL:
            yield "a" if value != ord("a") else "b"
        elif code is codes.ANY:
            yield "a"
        elif code is codes.IN:
            yield from _members(value)
        elif code in _REPEATS:
            yield from _characters(value[2])
        else:
            for inner in _inner(code, value):
                yield from _characters(inner)


def _members(members: Any) -> Iterator[str]:
    chars: list[str] = []
    for code, value in members:
        if code is codes.LITERAL:
            chars.append(chr(value))
        elif code is codes.RANGE:
            chars += [chr(value[0]), chr(value[1])]
        elif code is codes.CATEGORY:
            chars.append(_OF_CATEGORY.get(value, "a"))
    if members[0][0] is codes.NEGATE:
        chars = [char for char in "a0 -\\" if char not in chars]
    yield from chars

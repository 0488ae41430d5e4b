"""What a command's output proves, in a line: the words in which it sums up, and whether any test ran. Pure.

Known are the words of pytest, unittest, jest, vitest, mocha, node, go, cargo, rspec, phpunit, maven, dotnet, and TAP.
"""

import re
from functools import lru_cache

from flue_ci.core.text import one_line, plain

_END = 20_000  # characters of an output in which a command sums up
_RULERS = " \t=-_*~#─━═"  # around a line, or a whole one
_NUMBER, _SOME = r"\b\d[\d,]{0,12}", r"\b[1-9][\d,]{0,12}"
_THINGS = r"(?:tests?|examples?|specs?|scenarios?)"
_COUNT = re.compile(
    rf"{_NUMBER} (?:tests? )?(?:passed|failed|pass(?:es|ing)?|fail(?:ing|ures?)|errors?|{_THINGS}|skipped|deselected|"
    rf"assertions|warnings?|problems?|issues?|checks?|files?)\b|\b(?:tests?|fail)(?: run)?:?\s{{1,20}}\d|"
    rf"\btest result: |\[no test",
    re.IGNORECASE,
)
_VERDICT = re.compile(r"(?:OK|FAILED|PASS|FAIL|SUCCESS|NO TESTS RAN)\b.{0,60}", re.IGNORECASE)
_NO_TESTS = re.compile(
    rf"\b(?:ran|running|collected) 0 (?:tests|items)\b|\b0 tests (?:ran|run|executed|completed|passed)\b|"
    rf"\bno tests? (?:(?:were )?(?:ran|run|executed|found)|to run|collected|discovered|is available|files?)\b|"
    rf"^[^\w\n]{{0,40}}0 (?:{_THINGS}|passing|passed)\b|^[^\w\n]{{0,40}}\d+ (?:deselected|skipped)(?:, \d+ \w+)* in |"
    rf"\btests?(?: run)?:\s{{0,20}}0\b(?! (?:failed|errors?|skipped|todo|pending))|^\S{{0,2}} ?tests 0$|^1\.\.0\b|"
    r"\[no test(?:s to run| files)\]|\btest result: ok\. 0 passed",
    re.IGNORECASE | re.MULTILINE,
)
_SOME_TESTS = re.compile(
    rf"\b(?:ran|running) [1-9]\d* tests?\b|{_SOME} (?:tests? )?(?:passed|failed|passing|failing|xfailed|xpassed)\b|"
    rf"^[^\w\n]{{0,40}}{_SOME} {_THINGS}\b|\btests?(?: run)?:\s{{0,20}}[1-9]|^\S{{0,2}} ?tests [1-9]\d*$|^1\.\.[1-9]|"
    rf"^ok\s{{1,9}}\S{{1,300}}\s{{1,9}}(?:\(cached\)|[\d.]{{1,12}}s)\s*$|^--- (?:PASS|FAIL)|"
    rf"{_SOME} tests? (?:ran|run|executed|completed)\b|\bOK \({_SOME} tests?",
    re.IGNORECASE | re.MULTILINE,
)


def telling_line(output: str) -> str:
    """The words in which a command sums up: the last line that counts tests, else anything, with the verdict beneath
    it; else the last line with any words. Without rulers; empty for no output."""
    lines = [line.strip(_RULERS) for line in plain(output[-_END:]).split("\n")]
    lines = [line[:1_000] for line in lines if re.search(r"\w", line)]
    sums = [index for index, line in enumerate(lines) if _COUNT.search(line) or _SOME_TESTS.search(line)]
    if not sums:
        return one_line(lines[-1]) if lines else ""
    last = next((index for index in reversed(sums) if _SOME_TESTS.search(lines[index])), sums[-1])
    words = lines[last : last + 1]
    words += [line for line in lines[last + 1 :][-1:] if last == len(lines) - 2 and _VERDICT.fullmatch(line)]
    return one_line(" · ".join(words))


@lru_cache(256)  # what has to fit in a comment is written again and again
def ran_no_tests(output: str) -> bool:
    """Whether a test runner says that it ran no test, and none says that it ran one."""
    text = plain(output)
    return bool(_NO_TESTS.search(text)) and not _SOME_TESTS.search(text)

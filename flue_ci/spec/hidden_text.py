"""Trusted text that does not look like what it is: a person who reviews a spec or a skill must see all of it."""

import re
import unicodedata

from flue_ci.core.errors import Diagnostic
from flue_ci.core.hidden_characters import find_hidden, remove_hidden

_MAX = 20  # characters that are reported
_BLANKS = re.compile("[\u2800\ufffc\U00016fe4\U0001d159\ud800-\udfff\ufffe\uffff]")  # and what is no character
_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def hidden_characters(text: str, file: str) -> tuple[Diagnostic, ...]:
    """The first characters of a trusted text that people who look at it do not see, take for a space, or see in another
    order: each with its code point and place. Also line breaks to only some readers: those hide a key of YAML behind a
    comment.

    The values of escapes are not looked at: `"\\u200B"` in double quotes is visible. `file` only names the text.
    """
    text = text.replace("\r\n", "\n")
    blanks = [match.start() for match in _BLANKS.finditer(text)]
    problems, line, start = list[Diagnostic](), 1, 0
    for index in sorted([*find_hidden(text), *blanks])[:_MAX]:
        line += text.count("\n", start, index)
        start = index
        column = index - text.rfind("\n", 0, index)
        message, hint = _describe(text[index])
        problems.append(Diagnostic(file=file, line=line, column=column, message=message, hint=hint))
    return tuple(problems)


def visible_text(text: str, file: str) -> tuple[str, tuple[str, ...]]:
    """Trusted prose as people who review it see it, and notes for people about what is left out. A stray character in
    it is no reason to work without it."""
    problems = hidden_characters(text.removeprefix("\ufeff"), file)
    if not problems:
        return remove_hidden(text), ()
    first = f"line {problems[0].line}, column {problems[0].column}: {problems[0].message}"
    return remove_hidden(text), (f"{file}: characters that nobody sees are left out, the first in {first}",)


def _describe(char: str) -> tuple[str, str]:
    """Message and hint."""
    name = f"U+{ord(char):04X} {unicodedata.name(char, '').lower()}".rstrip()
    if char in "\r\x85\u2028\u2029":
        return f"{name}: a line break to some readers and none to others", "remove it, or end the line there"
    if unicodedata.category(char) in ("Cc", "Cs", "Cn"):
        return f"control character {name}", "remove it"
    effect = ""
    if unicodedata.bidirectional(char) in _DIRECTIONS:
        effect = ", which makes text read differently from what it is"
    escape = f"\\U{ord(char):08X}" if ord(char) > 0xFFFF else f"\\u{ord(char):04X}"
    return f"invisible character {name}{effect}", f'remove it; if it is meant, write "{escape}" in double quotes'

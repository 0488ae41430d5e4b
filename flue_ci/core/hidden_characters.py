"""Characters that a reader of a text does not see: controls, direction controls, zero-width characters, tags, fillers.

What does something visible is none of them: joiners and selectors in emoji, and joiners in the scripts that need them
(https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point, https://www.unicode.org/reports/tr51/). Standard
library, Python 3.9: the gate imports it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_CANDIDATES = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
CANDIDATES = _CANDIDATES.pattern[1:-1]  # for a set of another expression: what is hidden, or may be
_RUN = re.compile(f"{_CANDIDATES.pattern}+")
_JOINERS = "\u200c\u200d"
_SELECTORS = "\ufe0e\ufe0f"
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_MONGOLIAN_SELECTORS = "\u180b\u180c\u180d\u180e\u180f"
# Scripts whose letters join, or have viramas: from Arabic to Tibetan, Myanmar, Khmer, Mongolian and their neighbours.
_COMPLEX = re.compile(
    "[\u0600-\u0eff\u0f00-\u109f\u1700-\u18af\u1a20-\u1aaf\u1b00-\u1c4f\u1cd0-\u1cff\ua800-\ua82f\ua840-\ua8ff"
    "\ua930-\uaaff\uabc0-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00010aff\U00010d00-\U00010d3f"
    "\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
_CURSIVE = re.compile("[\u0620-\u074f\u0750-\u077f\u07ca-\u07ea\u0840-\u08ff\u1820-\u18aa\ua840-\ua871]")
_EMOJI = re.compile(
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_KEYCAP = re.compile("[0-9#*]")
# England, Scotland, Wales: the only emoji that are written with tags.
_FLAG = re.compile("\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074|"
                   "\U000e0077\U000e006c\U000e0073)\U000e007f")  # fmt: skip


def find_hidden(text: str) -> Iterator[int]:
    """The index of each hidden character of `text`, in order. Line feeds and tabs are none; carriage returns are."""
    position, run_end, before = 0, 0, ""  # `before` is the last character that stays
    for match in _CANDIDATES.finditer(text):
        index = match.start()
        if index < position:
            continue
        if index >= run_end:
            before = text[index - 1 : index]
            run_end = index + len(_RUN.match(text, index)[0])  # type: ignore[index]
        if flag := _FLAG.match(text, max(index - 1, 0)):
            position = flag.end()
        elif _is_visible(before, match[0], text[run_end : run_end + 1]):
            before = match[0]
        else:
            yield index


def remove_hidden(text: str) -> str:
    """`text` without hidden characters. Doing so again changes nothing."""
    parts, position = [], 0
    for index in find_hidden(text):
        parts.append(text[position:index])
        position = index + 1
    return "".join([*parts, text[position:]])


def _is_visible(before: str, char: str, after: str) -> bool:
    """Whether `char` does something visible, with what stands visibly before and after it ("" for nothing)."""
    if char in _SELECTORS:
        return bool(_EMOJI.match(before) or (_KEYCAP.match(before) and after == "\u20e3"))
    if char in _MONGOLIAN_SELECTORS:
        return bool(_MONGOLIAN.match(before))
    if char not in _JOINERS or not before:
        return char == "\u200d" and bool(_CURSIVE.match(after))
    if char == "\u200d":
        if _EMOJI.match(after) and (_EMOJI.match(before) or before in _SELECTORS):
            return True
        if _CURSIVE.match(before) or (_CURSIVE.match(after) and before not in _JOINERS):
            return True
    if unicodedata.combining(before) == 9:  # a virama: what follows it is written in another form
        return True
    pair = _COMPLEX.match(before), _COMPLEX.match(after)
    return bool((pair[0] and (pair[1] or after.isalnum())) or (pair[1] and before.isalnum()))

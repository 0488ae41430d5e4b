"""Reads unquoted scalars: the core of YAML 1.2, without anything that two readers take for different things."""

import re

from flue_ci.core.text import one_line

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)")
_BOOL_1_1 = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_DIGITS = 18

_NUMBER_OR_TEXT = "a number to some readers of YAML and text to others"
_DATE_OR_TEXT = "a date to some readers of YAML and text to others"
_AMBIGUOUS = (
    (re.compile(r"[-+]?0o?[0-7]+"), "an octal number to some readers of YAML and something else to others"),
    (re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?"), "a number with a leading zero"),
    (re.compile(r"[-+]?0[xXbB][0-9a-fA-F_]+"), "a number that is not written in decimal"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*(?:\.[0-9_]*)?"), _NUMBER_OR_TEXT),
    (re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"), "a number in base 60 to some readers of YAML"),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+"), _NUMBER_OR_TEXT),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "no number that can be used here"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t]+[0-9]{1,2}:[0-9]{2}.*)?"), _DATE_OR_TEXT),
    (re.compile(r"="), "a special value to some readers of YAML"),
)


def read_plain(text: str) -> tuple[object, str, str]:
    """The value of an unquoted scalar; a message and a hint, both empty when nothing is wrong with it.

    The value of one that is wrong is its text.
    """
    if _NULL.fullmatch(text):
        return None, "", ""
    if _BOOL.fullmatch(text):
        return text.lower() == "true", "", ""
    if _BOOL_1_1.fullmatch(text):
        boolean = str(text.lower() in ("yes", "on")).lower()
        message = f"`{text}` is a boolean to some readers of YAML and text to others"
        return text, message, f'write {boolean}, or "{text}" for the text'
    for pattern, number in ((_INT, int), (_FLOAT, float)):
        if pattern.fullmatch(text) and len(text) > _DIGITS:
            return text, "a number with too many digits", f'put it in quotes if it is text: "{one_line(text, 40)}"'
        if pattern.fullmatch(text):
            return number(text), "", ""
    for pattern, meaning in _AMBIGUOUS:
        if len(text) < 100 and pattern.fullmatch(text):
            return text, f"`{text}` is {meaning}", f'put it in quotes: "{text}"' + _decimal(text)
    return text, "", ""


def is_text_key(text: str) -> bool:
    """Whether an unquoted key is text. `on`, `no` and the like count as text: a key can be nothing else."""
    value, message, _ = read_plain(text)
    return bool(_BOOL_1_1.fullmatch(text)) or (isinstance(value, str) and not message)


def _decimal(text: str) -> str:
    """A hint with the number in decimal; empty for text that has no clear number."""
    if re.fullmatch(r"[-+]?[1-9][0-9_]*", text):
        return f", or write {int(text.replace('_', ''))}"
    if re.fullmatch(r"[-+]?0o[0-7]+|[-+]?0[xX][0-9a-fA-F]+|[-+]?0b[01]+", text):
        return f", or write {int(text, 0)}"
    if re.fullmatch(r"[-+]?[0-9.]{1,12}[eE][-+]?[0-9]", text):
        return f", or write {float(text):.15g}"
    return ""

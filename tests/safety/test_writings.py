"""A value is found in every usual writing, in a dump, wrapped, split and encoded twice; the text around it stays."""

from __future__ import annotations

import base64
import html
import itertools
import json
import random
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, quote_plus

import pytest

from flue_ci.safety.encoded_values import EncodedValues
from flue_ci.safety.markdown import escape
from flue_ci.safety.redact import MASK, Redactor

VALUES = ("hunter2-Hunter2_x9", 'a/"very"+s3cret & p@ss\'w0rd', "pä$$wörd/with+more", "abc123")


def by_byte(form: str) -> Callable[[str], str]:
    return lambda value: "".join(form.format(byte) for byte in value.encode())


def wrapped(text: str, width: int, before: str = "", end: str = "\n") -> str:
    return end.join(before + text[at : at + width] for at in range(0, len(text), width))


def base(value: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(value.encode(encoding)).decode()


MARKUP = '\\`*_{}[]()#+-.!|<>~"&$@/%'
WRITINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": quote,
    "percent, slashes too": lambda value: quote(value, safe=""),
    "percent, every byte": by_byte("%{:02X}"),
    "percent, in small letters": by_byte("%{:02x}"),
    "percent, with pluses": quote_plus,
    "percent, twice": lambda value: quote(quote(value, safe=""), safe=""),
    "HTML": html.escape,
    "HTML, decimal": lambda value: "".join(f"&#{ord(char)};" for char in value),
    "HTML, hexadecimal": lambda value: "".join(f"&#x{ord(char):X};" for char in value),
    "HTML of JSON": lambda value: html.escape(json.dumps(value)),
    "JSON": json.dumps,
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "JSON, for HTML": lambda value: json.dumps(value).replace("<", "\\u003c").replace("&", "\\u0026"),
    "JSON, every character": lambda value: "".join(f"\\u{ord(char):04x}" for char in value),
    "JSON, slashes too": lambda value: json.dumps(value).replace("/", "\\/"),
    "Python": repr,
    "Python, bytes": lambda value: repr(value.encode()),
    "Python, ASCII": ascii,
    "shell": shlex.quote,
    "shell, backslashes": lambda value: "'" + value.replace("'", "'\\''") + "'",
    "shell, octal": lambda value: f"$'{by_byte(chr(92) + '{:03o}')(value)}'",
    "backslash x": by_byte("\\x{:02x}"),
    "backslash x, of Markdown": lambda value: escape(by_byte("\\x{:02x}")(value)),
    "Markdown": escape,
    "Markdown, every sign": lambda value: "".join(f"\\{char}" if char in MARKUP else char for char in value),
    "base32": lambda value: base64.b32encode(f"ab{value}".encode()).decode(),
    "base32, in small letters": lambda value: base64.b32encode(value.encode()).decode().lower(),
    "base64": base,
    "base64 of more": lambda value: base(f"a{value}!"),
    "base64 of still more": lambda value: base(f"ab{value}!"),
    "base64 for addresses": lambda value: base64.urlsafe_b64encode(f"a{value}".encode()).decode().rstrip("="),
    "base64, percent": lambda value: quote(base(value), safe=""),
    "base64 of UTF-16": lambda value: base(value, "utf-16-le"),
    "base64 of UTF-16 with a mark": lambda value: base(value, "utf-16"),
    "base64 of UTF-16, big-endian": lambda value: base(f"a{value}", "utf-16-be"),
    "base64 of base64": lambda value: base(f"x{base(f'{value}, and more of it')}"),
    "base64 of JSON": lambda value: base(json.dumps({"password": value})),
    "base64, wrapped": lambda value: wrapped(base(value), 12),
    "base64, wrapped in a diff": lambda value: wrapped(base(f"of a file: {value}"), 16, "+"),
    "base64, wrapped and indented in a diff": lambda value: wrapped(base(f"of a file: {value}"), 16, "-    "),
    "base64, wrapped with line numbers": lambda value: wrapped(base(f"of a file: {value}"), 16, "   12\t"),
    "base64, wrapped with line numbers and arrows": lambda value: wrapped(base(f"of a file: {value}"), 16, "  12→"),
    "base64, wrapped in JSON": lambda value: json.dumps(wrapped(base(f"of a file: {value}"), 16)),
    "base64, wrapped in code": lambda value: wrapped(base(f"of a file: {value}"), 16, '  "', '"\n'),
    "hexadecimal": lambda value: value.encode().hex(),
    "hexadecimal, capitals": lambda value: value.encode().hex().upper(),
    "hexadecimal, wrapped": lambda value: wrapped(value.encode().hex(), 20, "> "),
    "hexadecimal, colons": lambda value: value.encode().hex(":"),
    "hexadecimal, blanks": lambda value: value.encode().hex(" "),
    "hexadecimal, of UTF-16": lambda value: value.encode("utf-16-le").hex(),
    "numbers of C": lambda value: ", ".join(f"0x{byte:02X}" for byte in value.encode()),
    "numbers": lambda value: str(list(value.encode())),
    "numbers without commas": lambda value: str(list(value.encode())).replace(",", ""),
    "with something invisible": lambda value: f"{value[:3]}\u200b{value[3:]}",
    "with a colour": lambda value: f"{value[:3]}\x1b[0;31m{value[3:]}",
    "with the end of the line": lambda value: f"{value[:3]}\\\n{value[3:]}",
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_value_is_masked_in_every_writing(writing: str) -> None:
    for value in VALUES:
        written = WRITINGS[writing](value)
        shown = Redactor([value])(f"before it\n{written}\nafter it")
        assert shown.startswith("before it\n")
        assert shown.endswith("\nafter it")
        assert MASK in shown
        rest = shown.removeprefix("before it").removesuffix("after it").replace(MASK, "")
        assert sum(map(str.isalnum, rest)) <= sum(map(str.isalnum, written)) - sum(map(str.isalnum, value)), shown


@pytest.mark.parametrize("value", ["0110" * 9, "pä$$wörd/with+more", "correct horse\nbattery-staple 23"])
def test_no_text_is_passed_over_that_has_a_value(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(value)
    pairs = choose.sample([*itertools.product(WRITINGS.values(), repeat=2)], 25)
    texts = [f"Some1 {outer(inner(value))[choose.randrange(3) :]}, more2" for outer, inner in pairs]
    texts += [wrapped(text, choose.randrange(8, 30), choose.choice(("", "+", "> ", "  7:"))) for text in texts]
    quick = [*map(Redactor([value]).spans, texts)]
    monkeypatch.setattr(EncodedValues, "may_be_in", lambda _, data: True)
    assert quick == [*map(Redactor([value]).spans, texts)]


def test_a_value_that_repeats_itself_is_found_beside_another_word() -> None:
    redact = Redactor(["01" * 10])
    for before in ("Contents1s", "C0ntents", "Cont3nts", "Content5s"):
        assert MASK in redact(f"{before} x{base('01' * 10)}")


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t", "\n\n"])
def test_white_space_at_the_ends_of_a_value_does_not_matter(end: str) -> None:
    for value in (f"{VALUES[0]}{end}", f"{end}{VALUES[0]}{end}"):
        redact = Redactor([value])
        assert redact(f"a {VALUES[0]} b") == f"a {MASK} b"
        assert VALUES[0] not in redact(f"a {value} b")
        assert MASK in redact(base(value))


def test_letters_of_another_case_are_another_value() -> None:
    redact = Redactor([VALUES[0]])
    for other in (VALUES[0].lower(), VALUES[0].upper(), quote(VALUES[0].lower()), base(VALUES[0].upper())):
        assert redact(other) == other


COMMANDS = (
    "xxd", "xxd -p", "xxd -i", "xxd -g1", "xxd -g4", "xxd -c8", "xxd -u", "xxd -e", "xxd -b", "od", "od -c",
    "od -An -c", "od -x", "od -b", "od -tx1", "od -An -tx1", "od -An -vtx1 -w8", "od -tx1z", "od -A x -t x1z -v",
    "od -tx4", "od -tx8", "od -tu1", "od -tx1c", "od -xc", "od -Ad -tx1c", "od -Ax -to2", "hexdump", "hexdump -C",
    "hexdump -c", "hexdump -b", "hexdump -x",
)  # fmt: skip
DUMPED = "hunter2-Hunter2_x9"


def dump(command: str, data: str) -> str:
    return subprocess.run(command.split(), input=data.encode(), capture_output=True, check=True).stdout.decode()


def rows(text: str) -> Iterator[str]:
    yield text
    yield "\n".join(f"+{line}" for line in text.split("\n"))
    yield "\n".join(f"   12\t{line}" for line in text.split("\n"))
    yield json.dumps(text)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_value_is_masked_in_a_dump(command: str) -> None:
    program, *_ = command.split()
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    redact = Redactor([DUMPED])
    for before in ("", "TOKEN=", "export X=ab\nY="):
        clear = dump(command, f"{before}{'-' * len(DUMPED)}\nand the rest of it, in words\n")
        for shown in map(redact, rows(dump(command, f"{before}{DUMPED}\nand the rest of it, in words\n"))):
            assert MASK in shown
            assert "hunter" not in shown.replace(" ", "").lower()
        assert redact(clear) == clear


def test_numbers_and_words_in_columns_stay() -> None:
    text = "total 12\n-rw-r--r-- 1 a a  104 117 110 116 101 114\n00:00:00 11:12:13 1 2 3 4 5 6 7 8\n"
    text += "   a   b   c   d   e   f   g\n"
    assert Redactor(VALUES)(text) == text

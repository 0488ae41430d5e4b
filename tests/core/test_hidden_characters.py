"""What a reader does not see is found, and what does something visible is left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.hidden_characters import find_hidden, remove_hidden

VISIBLE = [
    "👩‍👩‍👧 👍🏽 ❤️ 1️⃣ #️⃣ 🏳️‍🌈 🏴‍☠️ ☎️ ☎︎ ™️ ℹ️ 〰️ ㊗️ ‼️ ↔️ ▶️ 🇩🇪 👁️‍🗨️ 🧑‍⚕️ 🐈‍⬛",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f and "
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "می‌خواهم، کتاب‌ها، API‌ها، ۵‌ساله",
    "١٤٤٥ ه‍ and ‍ـب",
    "हिन्दी, क्‍ष, क्‌ष, र्‍य",
    "അവന്‍ വന്നു, അത്‌ നല്ലതാണ്‌.",
    "র‍্যাব, ৎ, ক্‌ষ",
    "ಸರ‍್ಕಾರ, ක්‍රමය, ශ්‍රී ලංකා",
    "ᠮᠣᠩᠭᠣᠯ᠎ᠠ, ᠪᠢ᠋",
    "naïve café, e\u0301, 東京, 한국어, Ελληνικά, עברית, tab\tand\nline, «\xa0bonjour\xa0», 日本語\u3000テキスト",
]


@pytest.mark.parametrize("text", VISIBLE)
def test_what_does_something_visible_stays(text: str) -> None:
    assert [f"{index}: U+{ord(text[index]):04X}" for index in find_hidden(text)] == []
    assert remove_hidden(text) == text


@pytest.mark.parametrize(
    "char",
    "\x00\x07\x1b\r\x7f\x85\xad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u200b\u200c\u200d\u200e\u2028\u2029\u202e"
    "\u2060\u2064\u2066\u206f\u3164\ufe00\ufe0e\ufe0f\ufeff\uffa0\ufff9\U0001d173\U000e0001\U000e0041\U000e007f"
    "\U000e0100",
)
def test_what_does_nothing_visible_is_hidden(char: str) -> None:
    assert list(find_hidden(f"ab{char}c")) == [2]
    assert remove_hidden(f"{char}{char}a{char}b{char * 3}") == "ab"


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("👩\u200d\u200d👧", "👩\u200d👧"),
        ("❤\ufe0f\ufe0f\ufe0f", "❤\ufe0f"),
        ("1\ufe0f 2", "1 2"),
        ("می\u200c\u200c\u200dخواهم", "می\u200cخواهم"),
        ("\U0001f3f4\U000e0069\U000e0067\U000e006e", "\U0001f3f4"),
        ("👍\U000e0061\U000e007f", "👍"),
        ("❤\U000e0100", "❤"),
        ("a\u200db", "ab"),
        ("क\u202eख", "कख"),
    ],
)
def test_a_joiner_or_selector_that_does_nothing_is_hidden(text: str, visible: str) -> None:
    assert remove_hidden(text) == visible


@given(st.text("a1 ❤👩بकത്ര്\u200c\u200d\ufe0f\u20e3\u180b\u061c\u17b4\u202e\U0001f3f4\U000e0067\U000e0062", max_size=12))
def test_removing_twice_is_removing_once(text: str) -> None:
    once = remove_hidden(text)
    assert remove_hidden(once) == once
    assert not list(find_hidden(once))


def test_every_format_and_control_character_is_decided() -> None:
    """Those that stay have a shape of their own."""
    visible = {
        char
        for char in map(chr, range(0x110000))
        if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and not list(find_hidden(f"a{char}b"))
    }
    shapes = [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)]
    assert visible <= {"\t", "\n", *map(chr, shapes)}

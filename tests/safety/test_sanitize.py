"""What hides or acts is taken out; what people honestly write stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.text import plain
from flue_ci.safety.sanitize import sanitize_for_model

PIECES = (
    *("<!--", "-->", "--!>", "<!-", "-", ">", "<", "`", "``", "```\n", "~~~\n", "\n", "\n\n", " ", "a", "b c", "@ada"),
    *(
        "#12",
        "&#64;",
        "<b title='x'>",
        "</b>",
        "<?",
        "?>",
        "<![CDATA[",
        "]]>",
        "[x](",
        ")",
        "![",
        "](https://evil.example)",
    ),
    *("https://github.com/a", "https://evil.example/x", "www.evil.example", "\u200b", "\u202e", "\U000e0041", "\u200d"),
    *(
        "[y]: //evil.example",
        "|",
        "$",
        "\\",
        "    ",
        "- ",
        "> ",
        "👩",
        "\ufe0f",
        "é",
        "e\u0301",
        "&lt;!--",
        "\x1b[2J",
        "\r",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
HONEST = [
    "Prose, with “quotes”, an em dash — and an ellipsis…",
    "def f(*, a=1, b: int = 2) -> None: return a < b and b > c",
    "`List<String>` and ``a ` b``; x && y; 3 > 2",
    "naïve café, 東京, 한국어, Ελληνικά, Привет, עברית, العربية, می‌خواهم, हिन्दी, क्‍ष",
    "👩‍👩‍👧 👍🏽 ❤️ 1️⃣ 🏳️‍🌈 ☎️ 🇩🇪",
    "| a | b |\n|:--|--:|\n| 1 | `2` |",
    "- [x] done\n- [ ] open\n  1. first\n",
    "See [the docs](https://github.com/a/b) and <kbd>Ctrl</kbd>.",
    "```python\n@decorator\ndef f(): ...  # <!-- kept -->\n```",
    "<details><summary>More</summary>\n\ntext\n\n</details>",
]


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_reaches_the_model_unchanged(text: str) -> None:
    cleaned = sanitize_for_model(text)
    assert cleaned.text == text
    assert cleaned.removals == {}


@pytest.mark.parametrize(
    "text",
    [
        "a <!-- HIDDEN --> b",
        "<!-- HIDDEN",
        "a\n\n  <!-- HIDDEN\nmore",
        "<!-- x --!> a <!-- HIDDEN --!>",
        "<!---> visible <!-- HIDDEN -->",
        "<<!-- -->!-- HIDDEN -->",
        "<<!-- <!-- -->!-- HIDDEN -->",
        "<!\u200b-- HIDDEN -->",
        "<!-- `HIDDEN` -->",
        "<!--\n```\nHIDDEN\n```\n-->",
        "<![CDATA[ HIDDEN ]]>",
        "<?php HIDDEN ?>",
        "<!DOCTYPE HIDDEN>",
        '<b title="HIDDEN">x</b>',
        "<img alt='HIDDEN' src='https://github.com/a.png'>",
        '<a href="https://github.com" aria-label="HIDDEN">x</a>',
    ],
)
def test_what_a_reader_of_the_page_does_not_see_is_not_told(text: str) -> None:
    cleaned = sanitize_for_model(text)
    assert "HIDDEN" not in cleaned.text
    assert cleaned.removals


@pytest.mark.parametrize(
    "char", "\x00\x07\x1b\x7f\x85\xad\u034f\u061c\u115f\u200b\u200e\u202e\u2060\u2066\u3164\ufeff\U000e0041\ufe00"
)
def test_invisible_characters_are_taken_out_everywhere(char: str) -> None:
    assert sanitize_for_model(f"a{char}b `c{char}d`").text == "ab `cd`"
    assert plain(f"a{char}b") == "ab"


def test_tags_that_are_not_harmless_are_inert() -> None:
    assert sanitize_for_model("<script>x</script> <b>y</b>").text == "&lt;script>x&lt;/script> <b>y</b>"


@given(TEXTS)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = sanitize_for_model(text).text
    assert sanitize_for_model(once).text == once
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    "piece",
    [
        "<!--",
        "<!-- -->",
        "`",
        "``a",
        "<b ",
        "<![CDATA[",
        "[x](",
        "https://a",
        "@a",
        "&#64;",
        "\u200d",
        "<",
        "- ```\n",
        "-eyJ-a",
        "a.b-#1",
    ],
)
def test_hostile_repetitions_come_to_an_end(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    sanitize_for_model(text)


@pytest.mark.parametrize("before", ["", "text\n", "text\n```\ncode\n```\n", "```\ncode\n```\ntext\n\n"])
def test_a_comment_that_does_not_end_hides_the_rest_wherever_it_begins(before: str) -> None:
    assert sanitize_for_model(f"{before}<!-- hidden\nand more").text == before

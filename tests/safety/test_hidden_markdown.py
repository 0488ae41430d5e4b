"""A model is told what a reader of GitHub's page sees: no more, no less, and the rest byte for byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.safety.sanitize import sanitize_for_model
from tests.support.github_comment import shown_text

HONEST = [
    "Prose, with “quotes”, an em dash — and an ellipsis…\nA second line.  \nA third.\\\nA fourth.",
    "e\u0301 and Å, ①, ﬁ: nothing is normalized; `e\u0301` neither",
    "if a < b and b > c: x <= y, 1<<2, a<-b, <3, <=>, Map<String, Int>, `List<int>`, `Vec<T>`, ``a ` <b>``",
    "```ts\nconst x: Array<string> = []; // <!-- kept -->\n<div title='kept'>\n```",
    "~~~\n<!-- kept\n```\n~~~\n\n    <b title='kept'> indented\n\n- item\n\n      <!-- kept -->\n",
    "regular expressions: ^(?:[^<>]+|\\\\.)*$, `(?<name>\\w+)`, \\d{1,3}, [a-z], [^n], a|b, `(?P<x>.)`, (?<!x), (?<=-)",
    "അവന്‍ വന്നു; می‌خواهم؛ क्‍ष; ශ්‍රී; 👩‍👩‍👧 ❤️ 1️⃣ 🏳️‍🌈; 日本語　テキスト; «\xa0ok\xa0»",
    "| a | b |\n|:--|--:|\n| 1 | `2` |\n| 3 |\n\n| x\\|y | z |\n|---|---|\n",
    "- [x] done\n- [ ] open\n  1. first\n     > quoted\n\n* * *\n\n# Title #\n\nOther\n=====\n",
    "[the docs](https://github.com/a/b), [1], [text][1], [1][], <https://a.b/c>, www.a.b, a@b.c, ![](https://a.b/c.png)"
    "\n\n[1]: https://github.com/a",
    "A note[^1] and[^more].\n\n[^1]: Said here.\n[^more]: And\n    here.",
    "<details open><summary>More</summary>\n\ntext <kbd>Ctrl</kbd> H<sub>2</sub>O<br/>\n\n</details>\n",
    '<p align="center"><img width="400" src="https://github.com/user-attachments/assets/1"></p>\n',
    '<a href="https://github.com">x</a> <ins>new</ins> <del>old</del>',
    "$x < y$, $$\\sum_i$$, [//]: # is a comment of Markdown\n\n<script> is shown, and so is `</textarea>`".replace(
        "<script>", "&lt;script>"
    ),
    "on 2 lines\n\n\n\n    code\n\ttab\n\n> > deep\n> lazy\nlazy",
    "```mermaid\ngraph TD; A-->B\n```\n\n```suggestion:-0+1\nx\n```\n\n```\nplain\n```",
    "C:\\dir\\<name>\\_x, &lt;b&gt; &amp; &copy; &#64; \\<b\\> \\*no\\*",
]


@pytest.mark.parametrize("text", HONEST)
def test_what_people_honestly_write_stays_byte_for_byte(text: str) -> None:
    cleaned = sanitize_for_model(text)
    assert cleaned.text == text
    assert cleaned.removals == {}


HIDDEN = [
    "[//]: # (HIDDEN)",
    "[comment]: <> (HIDDEN words)",
    "text\n\n[//]: # 'HIDDEN'\n[x]: HIDDEN\n\ntext",
    "> [x]: u\n> 'HIDDEN'",
    "[a]: u\n[a]: HIDDEN\n\n[a]",
    "[//]: # (x)\n    <!-- HIDDEN -->",
    "text\n\n[^1]: HIDDEN\n\n    HIDDEN\n",
    "> ===\n [^m]: HIDDEN",
    '[x](https://a.b "HIDDEN")',
    "[x](https://a.b 'HIDDEN\nHIDDEN')",
    "[x](<a b> (HIDDEN)) ![](u 'HIDDEN')",
    '[x]\n\n[x]: https://a.b "HIDDEN"',
    "[x]\n\n[x]: https://a.b\n  'HIDDEN'",
    "[x][many HIDDEN words]\n\n[many HIDDEN words]: https://a.b",
    "```py HIDDEN words\nx\n```",
    "- ~~~ py title='HIDDEN'\n  x\n  ~~~",
    f"```{'HIDDEN-' * 9}\nx\n```",
    "| a |\n|---|\n| b | HIDDEN |",
    "> a|b\n> -|-\n> 1|2|HIDDEN|HIDDEN",
    "[](https://HIDDEN)",
    "[ <!-- x --> ](https://HIDDEN) [*<b></b>*](HIDDEN)",
    "<a href='HIDDEN'></a> <a href='HIDDEN'> \n </a>",
    "- a <!-- HIDDEN -->\n  <!-- HIDDEN\n  HIDDEN -->\n\n1. > <!-- HIDDEN -->",
    "> <!-- HIDDEN\n> HIDDEN -->\n> text",
    "<div>\n<!-- HIDDEN -->\nx <b title='HIDDEN'>y</b>\n</div>",
    "# Title <!-- HIDDEN -->\n\n| a <!-- HIDDEN --> |\n|---|",
    "<!-- HIDDEN --!> a <!--> b <!---> c",
    "<!-- a\n\n# HIDDEN\n\n```\nHIDDEN\n```\n\n-->",
    "> <!-- a\n\nHIDDEN [x](HIDDEN)",
    "<div title='\n\nHIDDEN `HIDDEN` [x](HIDDEN)\n\n",
    '<div title="\n\nHIDDEN, and\n\n"> shown',
    "<b\n title='HIDDEN'>x</b> <b title=HIDDEN>x</b> <b HIDDEN>x</b> <b HIDDEN/>",
    "> <b\n> title='HIDDEN'>x</b>",
    "<img alt='HIDDEN' src='https://a.b/c.png' title=HIDDEN width='HIDDEN' height=HIDDEN>",
    "<details open='HIDDEN'><summary data-x='HIDDEN'>x</summary></details HIDDEN>",
    "<?php HIDDEN ?> <? HIDDEN ?>",
    "<![CDATA[ HIDDEN ]]>",
    "- <!DOCTYPE HIDDEN>",
    "<p>\n</ HIDDEN>\n</p>",
    "<ruby>x<rp>HIDDEN</rp></ruby>",
    "<video HIDDEN><source src='x' title=HIDDEN></video>",
    "a\u200b\u202eb <!--\u200b HIDDEN -->",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_what_the_page_does_not_show_is_taken_out(text: str) -> None:
    assert "HIDDEN" not in shown_text(text).replace("\u200b", "") or "rp" in text
    cleaned = sanitize_for_model(text)
    assert "HIDDEN" not in cleaned.text
    assert cleaned.removals
    assert sanitize_for_model(cleaned.text).text == cleaned.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<p hidden>SHOWN</p>", "<p>SHOWN</p>"),
        ("<template>SHOWN</template> <div hidden>x</div>", "SHOWN <div>x</div>"),
        ("<span style='display:none'>SHOWN</span>", "<span>SHOWN</span>"),
        ("a <!-- x --> b", "a  b"),
        ("a &lt;!-- SHOWN --&gt;", "a &lt;!-- SHOWN --&gt;"),
        ("\\<!-- SHOWN -->", "\\<!-- SHOWN -->"),
        ("<!-- x --> SHOWN", " SHOWN"),
        ("<? a > SHOWN ?>", " SHOWN ?>"),
        ("<script>SHOWN</script>", "&lt;script>SHOWN&lt;/script>"),
        ("<style>\nSHOWN\n</style>", "&lt;style>\nSHOWN\n&lt;/style>"),
        ("see List<int> and </T>", "see List[hidden tag: int] and [hidden tag: /T]"),
        ("/(?<year>\\d+)/", "/(?[hidden tag: year]\\d+)/"),
        ("![a screenshot](https://a.b/c.png)", "![hidden alt text: a screenshot](https://a.b/c.png)"),
        ("[x](u 't') | [y](v)", "[x](u) | [y](v)"),
        ("[x][two words]\n\n[two words]: https://a.b 't'", "[x](https://a.b)\n\n"),
        ("[two words]\n\n[two words]: https://a.b 't'", "[two words]\n\n[two words]: https://a.b"),
        ("```py x y\ncode\n```", "```py\ncode\n```"),
        ("|a|\n|-|\n|1|2|", "|a|\n|-|\n|1||"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("zero&#8203;width&ZeroWidthSpace; &#x202E;x &nbsp; &zwj;", "zerowidth x &nbsp; &zwj;"),
    ],
)
def test_what_stays_is_what_the_page_shows(text: str, told: str) -> None:
    assert sanitize_for_model(text).text == told


def test_what_is_taken_out_is_counted() -> None:
    text = "<!-- a\nb --> \n\n<b title=x>y</b>\n\n[x]: u\n\n![a](u 't')\u200b\n\n[](v)\n"
    assert sanitize_for_model(text).removals == {
        **{"hidden comments": 1, "hidden attributes": 1, "unused definitions": 1, "image descriptions": 1, "titles": 1},
        **{"invisible characters": 1, "empty links": 1},
    }


def test_a_text_that_cannot_be_read_says_so() -> None:
    text = f"{'> ' * 5_000}<!-- x -->\u200b"
    cleaned = sanitize_for_model(text)
    assert cleaned.text.startswith("[the source of a text that cannot be read")
    assert sanitize_for_model(cleaned.text).text == cleaned.text


INLINE = st.sampled_from(
    [
        *(
            "word",
            "*word*",
            "`word`",
            "[word](u)",
            "<b>word</b>",
            "<kbd>word</kbd>",
            "<span hidden>word</span>",
            "\\<word",
        ),
        *(
            "<template>word</template>",
            "&lt;word&gt;",
            "2 < 3",
            "<https://a.b/>",
            "[r]",
            "[^n]",
            "``a ` word``",
            "word\n",
        ),
        *(
            "<!-- word -->",
            "<!-- word\nword -->",
            "<? word ?>",
            "<![CDATA[ word ]]>",
            "<b title='word'>",
            "</b>",
            "<b word>",
        ),
        *(
            "[word](u 'word')",
            "[](u 'word')",
            "<a href=u></a>",
            "<!DOCTYPE word>",
            "[word][a long label]",
            "**",
            "_",
            "`",
        ),
    ]
)
BLOCKS = st.one_of(
    st.lists(INLINE, max_size=6).map(" ".join),
    st.sampled_from(
        [
            *(
                "# word",
                "word\n---",
                "```py word word\nword\n```",
                "~~~\n<!-- word -->\n~~~",
                "    <!-- word -->",
                "---",
            ),
            *(
                "[//]: # (word word)",
                "[r]: u 'word'",
                "[x]: u 'word'",
                "[a long label]: u (word)",
                "[^n]: word",
                "[^m]: word",
            ),
            *(
                "| word | word |\n|---|---|\n| word | word | word |",
                "<!-- word\n\nword -->",
                "<div word>\nword\n</div>",
            ),
            *(
                "<details><summary>word</summary>",
                "</details>",
                "<script>word</script>",
                "<div>\n<!-- word -->word\n</div>",
            ),
            *(
                "<!-- word",
                "<p title='word\n\nword",
                "- [x] word",
                "<pre>\nword <!-- word -->\n</pre>",
                "'> word",
                "\\[^n]: word",
            ),
        ]
    ),
)


def _nested(marker: str, inner: str) -> str:
    prefix = "> "
    if marker != "> ":
        prefix = " " * len(marker)
    return marker + inner.replace("\n", f"\n{prefix}")


TEXTS = st.recursive(
    st.lists(BLOCKS, min_size=1, max_size=5).map("\n\n".join),
    lambda inner: st.builds("{}\n\n{}".format, st.builds(_nested, st.sampled_from(["> ", "- ", "1. "]), inner), inner),
    max_leaves=4,
)


@given(TEXTS)
def test_every_word_of_the_page_is_told_and_no_other(text: str) -> None:
    numbers = iter(range(1, 10_000))
    text = re.sub("word", lambda _: f"w{next(numbers)}w", text)
    told = re.sub(r"\[hidden tag: [^\]]*\]", "", sanitize_for_model(text).text)
    assert re.findall(r"w\d+w", told) == sorted(re.findall(r"w\d+w", shown_text(text)), key=told.find)

"""A request counts where a person reads it as running text; the gate never refuses what counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.action.comment_request import read_command
from flue_ci.gate.comment_command import find_command

PIECES = (
    *("/flue fix\n", "/flue fix `a`\n", "@bot fix ", "`@bot x`", "`", "``", "```\n", "~~~\n", " ```\n", "- ```\n"),
    *(
        "<!--",
        "-->",
        "<!-- a\n",
        "\n<!--\n",
        "<!-->",
        "--!>",
        "<b title='",
        "'>",
        "</b>",
        "<div>\n",
        "<pre>\n",
        "</pre>\n",
    ),
    *(
        "> ",
        "- ",
        "1. ",
        "    ",
        "\t",
        "\n",
        "\n\n",
        "text\n",
        "text ",
        "# ",
        "|",
        "| a |\n|--|\n",
        "\\",
        "[x]:\n",
        "[^1]: ",
    ),
    *(
        "**",
        "*",
        "[",
        "](u)",
        "<blockquote>\n",
        "<details>\n",
        "===\n",
        "On Mon 3 Ada wrote:\n",
        "From: a\n",
        "\r",
        "```py\n",
    ),
    *(
        "-----Original Message-----\n",
        "https://a.b/",
        "~~",
        "~~/flue a~~\n",
        "| b |\n",
        "--|--\n",
        "www.a.b",
        "x",
        "~",
        "--",
        "a <!-- b\n",
        "\n/flue fix",
        "\n/flue fix",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@pytest.mark.parametrize(
    "text",
    [
        "/flue fix it",
        "Thanks!\n/flue fix it",
        "- done\n\n/flue fix it",
        "- done\n/flue fix it",
        "```\n/flue other\n```\n\n/flue fix it",
        "> /flue other\n\n/flue fix it",
        "- a\n  ```\n  x\n/flue fix it",
        "<!-- /flue other\n-->\n/flue fix it",
        "<details>\n\n/flue fix it",
        "<div>\n/flue fix it",
        "**/flue fix it**",
        "`a` and\n/flue fix it",
        "~~a~~\n/flue fix it",
        "| a |\n|--|\n\n/flue fix it",
        "[a](u)\n/flue fix it",
        "<pre>/flue other</pre>\n\n/flue fix it",
        "```\nFrom: a\n```\n/flue fix it",
        "On Mon 3 Ada wrote:\n> no\n\n/flue fix it",
    ],
)
def test_running_text_asks(text: str) -> None:
    command = read_command(text)
    assert command is not None
    assert (command.name, command.instruction) == ("fix", "it")
    assert find_command(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "```\n/flue fix it",
        "- ```\n  /flue fix it\n  ```",
        "1. a\n   ~~~\n   /flue fix it\n   ~~~",
        "`a\n/flue fix it`",
        "> a\n/flue fix it",
        "> - a\n/flue fix it",
        "<!--\n/flue fix it\n-->",
        "- <!--\n  /flue fix it\n  -->",
        "a <!-- b\n/flue fix it -->",
        "<div title='\n/flue fix it\n'>",
        "<?\n/flue fix it\n?>",
        "<![CDATA[\n/flue fix it\n]]>",
        "[x]:\n/flue 'fix it'",
        "[//]: # (\n/flue fix it\n)",
        "[x]: u '\n/flue fix it'",
        "[x](u '\n/flue fix it')",
        "[^1]: note\n/flue fix it",
        "<blockquote>\n/flue fix it\n</blockquote>",
        "<pre>\n/flue fix it\n</pre>",
        "<code>\n/flue fix it",
        "![a\n/flue fix it](u)",
        "Yes.\n\nOn Mon, Nov 3, 2025 Ada <a@example.com> wrote:\n\n/flue fix it",
        "Yes.\n\nFrom: Ada\nSent: Monday\n\n/flue fix it",
        "Yes.\n-----Original Message-----\n/flue fix it",
        f"{'> ' * 100}x\n\n/flue fix it",
        "~~/flue fix it~~",
        "~~a\n/flue fix it~~",
        "~/flue fix it~",
        "<del>\n/flue fix it\n</del>",
        "<s>a\n/flue fix it</s>",
        "| a |\n|--|\n/flue fix it",
        "| a |\n|--|\n| b |\n/flue fix it",
        "/flue fix it | a\n--|--",
        "[/flue fix it](u)",
        "[a\n/flue fix it](u)",
        "[a\n/flue fix it][x]\n\n[x]: u",
        "<a href='u'>\n/flue fix it\n</a>",
    ],
)
def test_code_quotes_hidden_text_and_mails_do_not(text: str) -> None:
    assert read_command(text) is None


def test_a_mention_asks_in_running_text_only() -> None:
    for text in ("hey @bot fix it", "see `@bot x` and @bot fix it", "[x](u) @bot fix it", "|a|\n|--|\n|@bot fix it|"):
        command = read_command(text, phrase="bot")
        assert command is not None
        assert (command.name, command.mention) == ("fix", True)
    for text in (
        "`a\n@bot fix` it",
        "[x](u '@bot fix')",
        "> @bot fix",
        "<b title='@bot fix'>x</b>",
        "~~@bot fix~~",
        "[@bot fix](u)",
        "//a.b/?@bot fix",
    ):
        assert text.startswith("//") or read_command(text, phrase="bot") is None


@given(TEXTS)
def test_the_gate_accepts_what_the_run_accepts(text: str) -> None:
    for phrase in ("", "bot"):
        command, first = read_command(text, phrase=phrase), find_command(text, phrase=phrase)
        if command is not None:
            assert first is not None
        if first is not None and first.is_certain:
            assert command is not None
            assert command.name == first.name

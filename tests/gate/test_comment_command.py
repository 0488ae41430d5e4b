"""Which comments ask for an agent, and for what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.gate.comment_command import find_command


@pytest.mark.parametrize(
    ("text", "name", "instruction"),
    [
        ("/flue fix-tests", "fix-tests", ""),
        ("/flue fix-tests only the parser please", "fix-tests", "only the parser please"),
        ("/FLUE Fix-Tests: now", "fix-tests", "now"),
        ("  /flue review", "review", ""),
        ("**/flue fix-tests** do it\n\n- all of it", "fix-tests", "do it\n\n- all of it"),
        ("/flue, fix-tests.", "fix-tests", ""),
        ("Thanks!\r\n/flue review the docs\r\n> as said", "review", "the docs\n> as said"),
        ("> /flue other\n\n/flue review", "review", ""),
        ("```\n/flue other\n```\n/flue review", "review", ""),
        ("<!-- /flue other\n-->\n/flue review", "review", ""),
        ("/flue", "", ""),
        ("/flue fix-tests *.py only", "fix-tests", "*.py only"),
        ("/flue fix-tests **/*.py, *all* of it*", "fix-tests", "**/*.py, *all* of it*"),
        ("/flue fix-tests __init__.py", "fix-tests", "__init__.py"),
        ("/flue fix-tests .github/x -", "fix-tests", ".github/x -"),
        ("/flue fix-tests --set a=b!", "fix-tests", "--set a=b!"),
        ("/flue fix-tests ~/x _y_ `z`", "fix-tests", "~/x _y_ `z`"),
        ("/flue fix-tests - the parser.", "fix-tests", "- the parser."),
        ("/flue fix-tests as follows:", "fix-tests", "as follows:"),
        ("/flue fix-tests as follows:\n\n```py\n  x  \n```\n", "fix-tests", "as follows:\n\n```py\n  x  \n```"),
        ("/flue fix-tests\n\n    code\n\nmore  \n", "fix-tests", "    code\n\nmore"),
        ("/flue fix-tests a  \n  b\n", "fix-tests", "a  \n  b"),
        ("**/flue fix-tests only *this* one**", "fix-tests", "only *this* one"),
        ("**/flue** fix-tests **it**", "fix-tests", "**it**"),
        ("/flue **fix-tests** it", "fix-tests", "it"),
        ("/flue *.py only", "", "*.py only"),
        ("/flue __init__.py", "", "__init__.py"),
        ("/flue .github/x", "", ".github/x"),
        ("/flue --set x", "", "--set x"),
        ("/flue src/x.py fails", "", "src/x.py fails"),
        ("/flue fix-tests: now, please", "fix-tests", "now, please"),
        ("/flue review\n\nOn Mon, Nov 3, 2025 Ada wrote:\nnothing of this", "review", ""),
    ],
)
def test_a_line_that_begins_with_the_trigger_asks(text: str, name: str, instruction: str) -> None:
    found = find_command(text)
    assert found is not None
    assert (found.name, found.instruction, found.mention) == (name, instruction, False)


@pytest.mark.parametrize(
    "text",
    [
        "please /flue fix-tests",
        "/flued fix-tests",
        "/flue-x",
        "/flue/fix-tests",
        "https://example.com/flue fix-tests",
        "    /flue fix-tests",
        "\t/flue fix-tests",
        "> /flue fix-tests",
        "   > /flue fix-tests",
        "`/flue fix-tests`",
        "```\n/flue fix-tests",
        "~~~ sh\n/flue fix-tests\n```\n",
        "````\n```\n/flue fix-tests\n````",
        "<!-- /flue fix-tests -->",
        "<!--\n/flue fix-tests",
        "text <!-- begins\n/flue fix-tests\n-->",
        "@flue fix-tests",
        "",
        "Yes.\n\nOn Mon, Nov 3, 2025 at 10:00 AM Ada <a@example.com> wrote:\n\n/flue fix-tests",
        "Yes.\n\nOn Mon, Nov 3, 2025 at 10:00 AM Ada Lovelace <a@example.com>\nwrote:\n/flue fix-tests",
        "Yes.\n\nFrom: Ada\n/flue fix-tests",
        "Yes.\n\n*From:* Ada <a@example.com>\n*Sent:* Monday\n\n/flue fix-tests",
        "Yes.\n-----Original Message-----\n/flue fix-tests",
        "Ja.\n-----Ursprüngliche Nachricht-----\n/flue fix-tests",
        "Ja.\n\nAm 03.11.2025 um 10:00 schrieb Ada:\n\n/flue fix-tests",
        "Oui.\n\nLe lun. 3 nov. 2025 à 10:00, Ada <a@example.com> a écrit :\n\n/flue fix-tests",
        "Sí.\n\nEl lun, 3 nov 2025 a las 10:00, Ada escribió:\n/flue fix-tests",
        "Ja.\n\nVon: Ada\nGesendet: Montag\n/flue fix-tests",
        "好。\n\n在 2025年11月3日，Ada 写道：\n/flue fix-tests",
        "はい\n\n2025年11月3日(月) 10:00 Ada <a@example.com>:\n\n/flue fix-tests",
        "Да\n\nпн, 3 нояб. 2025 г. в 10:00, Ada <a@example.com>:\n\n/flue fix-tests",
        "Yes.\n\nOn 3 Nov 2025, at 10:00, Ada Lovelace\n<a@example.com>\nwrote:\n\n/flue fix-tests",
    ],
)
def test_what_is_quoted_shown_hidden_or_another_word_does_not(text: str) -> None:
    assert find_command(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hey @flue fix-tests now", "fix-tests"),
        ("(@flue fix-tests)", "fix-tests"),
        ("**@FLUE** fix-tests", "fix-tests"),
        ("see `code` and @flue fix-tests", "fix-tests"),
        ("please, @flue: review", "review"),
    ],
)
def test_a_mention_counts_anywhere_in_running_text(text: str, name: str) -> None:
    found = find_command(text, phrase="flue")
    assert found is not None
    assert (found.name, found.mention) == (name, True)


@pytest.mark.parametrize(
    "text",
    [
        "ada@flue.example fix",
        "@flue-bot fix",
        "@flue/team fix",
        "@@flue fix",
        "`@flue fix`",
        "`` a ` @flue fix ``",
        "https://example.com/@flue fix",
        "www.example.com/@flue",
        "> @flue fix",
        "<!-- @flue fix -->",
    ],
)
def test_a_mention_that_is_none_does_not(text: str) -> None:
    assert find_command(text, phrase="flue") is None


@pytest.mark.parametrize(
    ("text", "name", "sha", "instruction"),
    [
        ("/flue fix-tests @abcdef1", "fix-tests", "abcdef1", ""),
        ("/flue fix-tests @ABCDEF1 only the parser", "fix-tests", "abcdef1", "only the parser"),
        ("/flue fix-tests: @abcdef1: now\nand that", "fix-tests", "abcdef1", "now\nand that"),
        (f"/flue fix-tests @{'a1' * 20}", "fix-tests", "a1" * 20, ""),
        (f"/flue fix-tests @{'a1' * 30}", "fix-tests", "a1" * 30, ""),
        ("/flue @abcdef1 go on", "", "abcdef1", "go on"),
        ("hey @bot fix-tests @abcdef1 now", "fix-tests", "abcdef1", "now"),
        ("/flue fix-tests @abcdef", "fix-tests", "", "@abcdef"),
        ("/flue fix-tests @abcdefg1", "fix-tests", "", "@abcdefg1"),
        ("/flue fix-tests @abcdef1-bot", "fix-tests", "", "@abcdef1-bot"),
        ("/flue fix-tests @abcdef1/team", "fix-tests", "", "@abcdef1/team"),
        ("/flue fix-tests ask @abcdef1", "fix-tests", "", "ask @abcdef1"),
    ],
)
def test_a_request_may_name_the_commit_before_the_instruction(text: str, name: str, sha: str, instruction: str) -> None:
    command = find_command(text, phrase="bot")
    assert command is not None
    assert (command.name, command.sha, command.instruction) == (name, sha, instruction)
    assert not sha or sha not in command.text


def test_the_words_of_the_trigger_are_free() -> None:
    found = find_command("/agent.run go on", trigger="/agent.run")
    assert found is not None
    assert found.text == "go on"
    assert find_command("/agentXrun go", trigger="/agent.run") is None


@pytest.mark.parametrize(
    "instruction",
    [
        "as Ada wrote on 2025-01-01:\n\nuse tabs",
        "what @ada wrote is this:\n\n- a",
        "do\n\nAda wrote 2 things:\n- a",
        "do\n\nAs Ada wrote in #1234:\n\nuse tabs",
        "rename\n\nFrom: a.py\nTo: b.py",
        "umbenennen\n\nVon: a.py\nAn: b.py\n\nund so weiter",
        "the banner is\n=== Begin build ===\nand stays",
        "the titles are\n\n----- One ------\n\nand more",
        "take\n-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
    ],
)
def test_an_instruction_that_looks_a_little_like_mail_is_whole(instruction: str) -> None:
    command = find_command(f"/flue fix-tests {instruction}")
    assert command is not None
    assert command.instruction == instruction
    assert find_command(f"As Ada wrote in #12:\n\n/flue fix-tests {instruction}") == command


@pytest.mark.parametrize(
    "text",
    [
        "As Ada wrote:\n> no\n\n/flue fix-tests",
        "On Mon 3 Ada wrote:\n> no\n\n/flue fix-tests",
        "See From here\n/flue fix-tests",
        "---\n/flue fix-tests",
        "- a\n  ```\n/flue fix-tests",
        "<!-- a --> text\n/flue fix-tests",
        "<!-->\n/flue fix-tests\n-->",
    ],
)
def test_what_may_be_running_text_is_accepted(text: str) -> None:
    assert find_command(text) is not None


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("Hey @flue fix-tests what Ada wrote on 2025-01-01:", "what Ada wrote on 2025-01-01:"),
        ("Hey @flue fix-tests what Ada wrote on 2025-01-01:\n\nuse tabs", "what Ada wrote on 2025-01-01:\n\nuse tabs"),
        ("please, @flue: fix-tests what @ada wrote in 2025:\n- a", "what @ada wrote in 2025:\n- a"),
        ("Bitte @flue fix-tests was Ada am 03.11.2025 schrieb:\na", "was Ada am 03.11.2025 schrieb:\na"),
    ],
)
def test_a_request_about_words_of_a_day_is_none_of_a_mail(text: str, instruction: str) -> None:
    command = find_command(text, phrase="flue")
    assert command is not None
    assert (command.name, command.instruction) == ("fix-tests", instruction)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.\n\nOn Mon, Nov 3, 2025 @flue fix-tests wrote:\n\na",
        "Yes.\n\nOn 2025-11-03, Hey @flue fix-tests wrote:\n\na",
        "Yes.\n\nHey @flue fix-tests <a@example.com> wrote in 2025:\n\na",
        "Yes.\n\nHey @flue fix-tests what Ada wrote on 11/3/2025 10:00:\n\na",
        "Yes.\n\nHey @flue fix-tests (a@example.com) wrote on 2025-11-03:\n\na",
        "Yes.\n\nAm 03.11.2025 schrieb @flue fix-tests:\n\na",
    ],
)
def test_the_name_of_who_wrote_a_mail_is_no_request(text: str) -> None:
    assert find_command(text, phrase="flue") is None


def test_only_behind_plain_text_the_gate_is_certain() -> None:
    for text, is_certain in (
        ("/flue fix", True),
        ("Thanks, Ada!\n\n**/flue fix** it", True),
        ("`a\n/flue fix` it", False),
        ("[x]:\n/flue fix", False),
        ("<b title='\n/flue fix'>", False),
    ):
        command = find_command(text)
        assert command is not None
        assert command.is_certain is is_certain


@given(st.text(alphabet=st.sampled_from("/flue @`~<!->\n *#a1-"), max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    for phrase in ("", "flue"):
        found = find_command(text, phrase=phrase)
        assert found is None or (not found.mention or "@" in text)


@pytest.mark.parametrize("piece", ["`", "``a", "<!--", "> ", "@flue-", "/flue", "*", "\n```", "https://", " "])
def test_hostile_repetitions_come_to_an_end(piece: str) -> None:
    find_command(piece * 300_000, phrase="flue")

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


@given(st.text(alphabet=st.sampled_from("/flue @`~<!->\n *#a1-"), max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    for phrase in ("", "flue"):
        found = find_command(text, phrase=phrase)
        assert found is None or (not found.mention or "@" in text)


@pytest.mark.parametrize("piece", ["`", "``a", "<!--", "> ", "@flue-", "/flue", "*", "\n```", "https://", " "])
def test_hostile_repetitions_come_to_an_end(piece: str) -> None:
    find_command(piece * 300_000, phrase="flue")

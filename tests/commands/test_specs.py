"""The list of agents, also of a repository that wants to do harm."""

from __future__ import annotations

from pathlib import Path

from flue_ci.commands.specs import agents, as_text

NASTY = "\x1b]0;x\x07\x1b[2J"


def spec(repo: Path, name: str, text: str) -> None:
    folder = repo / ".flue" / "agents"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yml").write_text(text)


def test_agents_are_listed_with_what_starts_them(tmp_path: Path) -> None:
    spec(tmp_path, "fix", "version: 1\nprompt: p\ndescription: Fixes.\ntriggers: {comment: fix}\n")
    spec(tmp_path, "review", "version: 1\nprompt: p\n")
    assert as_text(agents(tmp_path)).splitlines() == [
        "fix     Fixes.",
        "        started by /flue fix",
        "review  (no description)",
    ]


def test_nothing_of_a_spec_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    spec(tmp_path, "a", 'version: 1\nprompt: p\ndescription: "hi \\e[2J\\e]0;x\\a there"\n')
    spec(tmp_path, f"b{NASTY}", "version: 1\nprompt: p\nbogus: 1\n")
    found = agents(tmp_path)
    assert any("\x1b" in agent["description"] + agent["problem"] for agent in found)
    text = as_text(found)
    assert not any(char in text for char in "\x1b\x07")
    assert "rename the file" in text

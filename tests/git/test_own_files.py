"""A checkout's links lead nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_ci.git.path_rules import is_inside_repository, read_repository_file
from flue_ci.spec.hidden_text import visible_text
from flue_ci.spec.load import find_specs
from flue_ci.spec.skills import load_skills


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("host's own")
    repo = tmp_path / "repo"
    (repo / ".git").mkdir(parents=True)
    (repo / ".git" / "config").write_text("token")
    (repo / "CLAUDE.md").write_text("Be kind.")
    return repo


def test_a_link_inside_the_checkout_is_followed(repo: Path) -> None:
    (repo / "AGENTS.md").symlink_to("CLAUDE.md")
    assert read_repository_file(repo, repo / "AGENTS.md", 100) == "Be kind."
    assert read_repository_file(repo, repo / "AGENTS.md", 2) == "Be"


@pytest.mark.parametrize(
    "target", ["../secret", "/proc/self/environ", ".git/config", "nowhere", ".", "AGENTS.md", "/dev/zero"]
)
def test_any_other_link_reads_as_nothing(repo: Path, target: str) -> None:
    (repo / "AGENTS.md").symlink_to(target)
    assert not is_inside_repository(repo, repo / "AGENTS.md")
    assert read_repository_file(repo, repo / "AGENTS.md", 100) == ""


def test_a_spec_that_is_a_link_to_elsewhere_is_no_spec(repo: Path) -> None:
    agents = repo / ".flue" / "agents"
    agents.mkdir(parents=True)
    (agents / "a.yml").symlink_to("../../../secret")
    (agents / "b.yml").write_text("version: 1\n")
    assert [path.name for path in find_specs(repo)] == ["b.yml"]


def test_a_skill_is_read_with_its_files_but_not_through_links(repo: Path) -> None:
    for name in ("good", "led-away"):
        folder = repo / ".agents" / "skills" / name
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: How to be {name}.\n---\nText.\n")
        (folder / "more.md").write_text("more")
    (repo / ".agents/skills/good/secret.txt").symlink_to(repo.parent / "secret")
    (repo / ".agents/skills/led-away/SKILL.md").unlink()
    (repo / ".agents/skills/led-away/SKILL.md").symlink_to(repo.parent / "secret")
    skills, notes = load_skills(repo, "auto")
    assert [(skill.name, [*skill.files]) for skill in skills] == [("good", ["SKILL.md", "more.md"])]
    assert notes == (
        "skill led-away is left out: SKILL.md does not begin with a front matter (--- name, description ---)",
    )
    assert skills[0].path == "~/.flue/skills/good"


def test_a_skill_with_text_that_nobody_sees_is_left_out(repo: Path) -> None:
    for name, text in {"good": "Persian: می‌خواهم 👩‍👧\r\n", "odd": "Be kind.\n\u200bAnd\U000e0041 more."}.items():
        folder = repo / ".agents" / "skills" / name
        folder.mkdir(parents=True)
        content = f"\ufeff---\r\nname: {name}\r\ndescription: How to be {name}.\r\n---\r\n{text}"
        (folder / "SKILL.md").write_bytes(content.encode())
    skills, notes = load_skills(repo, "auto")
    assert [skill.name for skill in skills] == ["good"]
    assert notes == ("skill odd is left out: SKILL.md, line 6, column 1: invisible character U+200B zero width space",)


def test_prose_for_the_agent_is_what_its_reviewers_see() -> None:
    assert visible_text("\ufeffBe kind. 👩‍👧\r\n", "AGENTS.md") == ("Be kind. 👩‍👧\n", ())
    text, notes = visible_text("Be kind.\n\nAnd\u202e\U000e0041 more.", "AGENTS.md")
    assert text == "Be kind.\n\nAnd more."
    assert len(notes) == 1
    assert "AGENTS.md" in notes[0]
    assert "line 3, column 4: invisible character U+202E" in notes[0]

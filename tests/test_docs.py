"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from flue_ci.cli import cli
from flue_ci.core import errors
from flue_ci.spec.load import load_spec
from tests.support.spec_page import PAGE, page

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_the_spec_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.support.spec_page"


def test_the_spec_in_the_readme_is_valid() -> None:
    block = re.search(r"```yaml\n(# yaml-language-server.*?)```", README, re.DOTALL)
    assert block
    assert load_spec(Path("fix-tests.yml"), block[1].encode()).checks[0].name == "tests"


def test_the_readme_names_every_command() -> None:
    for name in cli.commands:
        assert f"flue-ci {name}" in README or f"`{name}" in README, name


def test_the_readme_names_every_exit_code() -> None:
    codes = {getattr(errors, name) for name in dir(errors) if name.startswith("EXIT_")}
    rows = set(re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE))
    assert {str(code) for code in codes if code < 128} | {"130, 143"} == rows


@pytest.mark.parametrize("words", sorted(set(re.findall(r"(?<!-)--[a-z][a-z-]+", README))))
def test_the_readme_names_no_option_that_does_not_exist(words: str) -> None:
    runner = CliRunner()
    known = "".join(runner.invoke(command, ["--help"]).output for command in (*cli.commands.values(), cli))
    foreign = {"--depth", "--stat"}  # git's
    assert words in known or words in foreign


def test_the_readme_links_only_to_files_that_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_security_page_names_only_tests_and_modules_that_exist() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if re.match(r"\| A\d+ ", line)]
    assert [row[1].strip() for row in rows] == [f"A{number}" for number in range(1, 23)]
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for row in rows:
        for name in re.findall(r"`([^`]+)`", row[4]):
            assert (ROOT / name).exists() if "/" in name else f"def {name}(" in tests, name
        for name in re.findall(r"`([^`]+)`", row[3]):
            assert (ROOT / name).exists() or is_in_package(name), name


def is_in_package(name: str) -> bool:
    """Whether a dotted name leads to a room, a module, or to something that a module defines."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ROOT.joinpath("flue_ci", *parts[:end])
        if module.with_suffix(".py").exists():
            text = module.with_suffix(".py").read_text(encoding="utf-8")
            return all(re.search(rf"^\s*(async )?(def|class) {part}\b", text, re.MULTILINE) for part in parts[end:])
    return ROOT.joinpath("flue_ci", *parts).is_dir()

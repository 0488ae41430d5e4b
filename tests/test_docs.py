"""What the documents say is what the code does."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from flue_ci import __version__
from flue_ci.cli import cli
from flue_ci.core import errors
from flue_ci.core.permissions import PERMISSIONS, TICK
from flue_ci.spec.json_schema import json_schema
from flue_ci.spec.load import load_spec
from scripts.docs_site import PAGES, rewrite_links
from tests.support.spec_page import PAGE, page

ROOT = Path(__file__).parents[1]
DOCS = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in PAGES)])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_about_publishing_has_the_permissions_of_the_code() -> None:
    page = (PAGE.parent / "publishing.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \| (`[a-z-]+: write`(?:, `[a-z-]+: write`)*) \|$", page)
    levels = {name: dict(re.findall(r"`([a-z-]+): (write)`", text)) for name, text in rows}
    assert levels == {name: needs for name, needs in PERMISSIONS.items() if name != TICK}
    assert "`actions: read` |" in page


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


each_page = pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)


def code_blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of each block of code, also of those in quotes and lists."""
    text = re.sub(r"^(?:> ?| {2,3}(?=```))", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]+`", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Those that GitHub gives the headings."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_every_link_leads_to_a_file_and_a_heading_that_exist(path: Path) -> None:
    links = re.findall(r'\]\((?!https?:)([^)\s]+)\)|(?:src|srcset|href)="(?!https?:)([^"]+)"', prose(path))
    for link in ("".join(pair) for pair in links):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_every_block_of_code_can_be_read(path: Path) -> None:
    for language, text in code_blocks(path):
        if language == "yaml":
            yaml.safe_load(text)
        elif language == "json":
            json.loads(text)
        elif language == "python":
            ast.parse(text.replace("…", "x"))
        elif language == "toml":
            tomllib.loads(text)


def commands_of(path: Path) -> Iterator[str]:
    """What follows `flue-ci` in blocks for a shell and in code within sentences, without comments."""
    lines = [
        line for language, text in code_blocks(path) if language in ("sh", "console") for line in text.splitlines()
    ]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))]:
        for part in re.split(r"&&|\|(?!kill)|;", line):
            if match := re.match(r"\s*(?:\$ )?(?:\.venv/bin/)?flue-ci (\S.*)", part):
                yield re.sub(r"\s#.*", "", match[1])


@each_page
def test_every_command_is_one_that_flue_ci_takes(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DIR", "report", "flue-ci-report"):
        (tmp_path / name).mkdir()
    for line in commands_of(path):
        words = [
            word
            for word in shlex.split(line.replace("…", "x").replace(" --sandbox folder", ""))
            if not re.match(r"[\[(]", word)
        ]
        if words[0].startswith("-") or words[0] in ("VERB", "ARGUMENTS"):
            continue
        command = cli.commands.get(words[0])
        assert command is not None, line
        if len(words) > 1 and not isinstance(command, click.Group) and ">" not in words and "FILE" not in words:
            command.make_context(words[0], words[1:])  # raises for what it does not take


def test_settings_of_others_are_mapped_to_keys_and_inputs_that_exist() -> None:
    """The right column of the tables in `Coming from another action`."""
    section = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8").split("## Coming from another action")[1]
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    known = {*action["inputs"], *action["outputs"], *keys(json_schema())}
    for row in re.findall(r"^\| .* \| (.*) \|$", section, re.MULTILINE):
        for name in re.findall(r"(?<!\[)`([a-z][\w.-]*)(?:: [^`]*)?`", row):
            assert name in known or name in ("main", "write", "edit"), row


def keys(schema: dict[str, Any], under: str = "") -> Iterator[str]:
    for choice in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        for name, value in choice.get("properties", {}).items():
            yield f"{under}{name}"
            yield from keys(value, f"{under}{name}.")


def test_the_site_has_every_page_once_and_its_links_work_there() -> None:
    config = yaml.safe_load((ROOT / ".github" / "mkdocs.yml").read_text(encoding="utf-8"))
    names = re.findall(r": ([\w-]+\.md)", yaml.safe_dump(config["nav"]))
    assert sorted(names) == sorted([*(path.name for path in (ROOT / "docs").glob("*.md")), *PAGES.values()])
    assert config["theme"]["font"] is False
    assert rewrite_links("[a](docs/spec.md#events) [b](SECURITY.md) `[c](x)`", "README.md") == (
        "[a](spec.md#events) [b](security.md) `[c](x)`"
    )
    assert rewrite_links("[a](../examples/agents) [b](action.md) [c](#d) [e](../README.md#f)", "docs/faq.md") == (
        "[a](https://github.com/flue-ci/flue-ci/blob/main/examples/agents) [b](action.md) [c](#d) [e](index.md#f)"
    )


def test_the_pictures_come_from_no_other_server_and_show_nothing_of_this_machine() -> None:
    picture = (ROOT / ".github" / "pictures" / "terminal.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", picture)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    }
    assert "clean&#160;sandbox" in picture
    assert "/tmp" not in picture


def test_licence_version_and_addresses_are_given() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["license"], project["version"]) == ("MIT", __version__)
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= set(project["urls"])
    heads = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert __version__ in heads

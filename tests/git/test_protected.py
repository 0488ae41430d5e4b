"""Protected paths: what runs or configures something as soon as somebody works there, however it is spelled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flue_ci.core.changes import ChangedFile
from flue_ci.git.checkout import find_checkout
from flue_ci.git.protected import is_protected, protected_folders, protected_paths
from tests.support.repos import new_repo

PROTECTED = """
.flue/agents/go.yml AGENTS.md sub/AGENTS.md CLAUDE.md CLAUDE.local.md .agents/skills/x/SKILL.md .claude/settings.json
.cursor/rules/a.mdc .cursorrules .mcp.json GEMINI.md .github/workflows/ci.yml .github/actions/x/action.yml
.github/CODEOWNERS CODEOWNERS docs/CODEOWNERS .gitlab-ci.yml .circleci/config.yml Jenkinsfile .githooks/post-checkout
.husky/pre-commit lefthook.yml .pre-commit-config.yaml .vscode/tasks.json .vscode/settings.json .vscode/launch.json
x.code-workspace .idea/workspace.xml .devcontainer/devcontainer.json .devcontainer.json .envrc sub/.envrc
.env .env.local mise.toml .mise.toml mise.local.toml .config/mise/config.toml .tool-versions .npmrc .yarnrc.yml
.yarn/releases/yarn.cjs
.cargo/config.toml rust-toolchain.toml .gitattributes .gitmodules .exrc .dir-locals.el sitecustomize.py a/evil.pth
.VSCODE/Tasks.JSON .Flue/agents/go.yml agents.md .ENVRC .vscode./tasks.json .vscode/tasks.json::$DATA
.vs\u200ccode/tasks.json .vscode\\tasks.json .vscode .flue
VSCODE~1/tasks.json sub/github~2/workflows/ci.yml PRE-CO~1.YAM
"""
FREE = """
src/flue.py flue/agents.py docs/agents.txt README.md src/hooks/use.ts github/x envrc .gitignore .editorconfig
package.json pyproject.toml Makefile tests/test_agents.py src/.envrc.example .env.example my.flue.d/x
rules/x vscode/tasks.json
src/a.py~ notes.~1~ ~1 home~old/x version~1.2.3 longname~1.txt
"""


@pytest.mark.parametrize("path", PROTECTED.split())
def test_a_path_that_is_obeyed_is_protected(path: str) -> None:
    assert is_protected(path)


@pytest.mark.parametrize("path", FREE.split())
def test_an_ordinary_path_is_not(path: str) -> None:
    assert not is_protected(path)


def test_a_rename_counts_on_both_sides() -> None:
    files = (
        ChangedFile(path="safe.txt", old_path=".envrc", kind="renamed"),
        ChangedFile(path=".mcp.json", old_path="b.json", kind="renamed"),
        ChangedFile(path="c", kind="added"),
        ChangedFile(path=".github/x", old_path=".envrc", kind="copied"),
        ChangedFile(path=".husky/x", kind="deleted"),
    )
    assert protected_paths(files) == (".envrc", ".mcp.json", ".github/x", ".husky/x")
    assert protected_paths(files, ["C"]) == (".envrc", ".mcp.json", "c", ".github/x", ".husky/x")


def test_the_folder_of_hooks_and_what_links_lead_to_count_as_well(tmp_path: Path) -> None:
    for name in ("tools/hooks", "editor"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".vscode").symlink_to("editor")
    (tmp_path / "plain").symlink_to("tools")
    (tmp_path / "scripts").symlink_to("tools/hooks")
    assert protected_folders(tmp_path, "") == (".vscode", "editor")
    assert protected_folders(tmp_path, "scripts") == (".vscode", "editor", "scripts", "tools/hooks")
    assert protected_folders(tmp_path, str(tmp_path / "scripts"))[2:] == ("scripts", "tools/hooks")
    assert protected_folders(tmp_path, "../outside") == (".vscode", "editor")
    assert is_protected("editor/tasks.json", ["editor"])
    assert not is_protected("editors/tasks.json", ["editor"])
    assert is_protected("anything", protected_folders(tmp_path, "."))


def test_files_of_the_checkout_that_hooks_lead_to_count_as_well(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", {"scripts/check.sh": ("file", b"exit 0"), "tools/pre-push": ("file", b"exit 0")})
    hooks = repo.path / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-commit").symlink_to("../../scripts/check.sh")
    repo.git("worktree", "add", "-q", str(tmp_path / "tree"))
    for top in (repo.path, tmp_path / "tree"):
        checkout = asyncio.run(find_checkout(top))
        assert is_protected("scripts/check.sh", checkout.protected) == (top == repo.path)
        assert not is_protected("scripts/other.sh", checkout.protected)
    (hooks / "pre-commit").unlink()
    hooks.rename(tmp_path / "moved")
    hooks.symlink_to("../tools")
    checkout = asyncio.run(find_checkout(repo.path))
    assert is_protected("tools/pre-push", checkout.protected)

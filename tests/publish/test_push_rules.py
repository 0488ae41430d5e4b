"""What is never pushed: protected files however they are spelled, and what the checks have not passed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flue_ci.core.changes import ChangedFile
from flue_ci.core.commits import TreeEntry
from flue_ci.publish.push_rules import (
    describe_protected,
    protected_changes,
    refused_by_checks,
    refused_by_report,
    secret_in,
)
from flue_ci.report.report import CommandResult, Publishing, Verification
from flue_ci.safety.redact import Redactor
from flue_ci.workspace.tree_entries import blobs_to_send
from tests.support.reports import FULL

PASSED = CommandResult(name="tests", command="true", exit_code=0)
CLEAN = Verification(where="fresh", ready=True)
WORKFLOW, BUILT_IN = "it is a workflow or an action", "it runs or configures something by itself"


def reasons(path: str, **keys: Any) -> dict[str, str]:
    return protected_changes([ChangedFile(path=path, kind="modified")], Publishing(**keys))


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".github/workflows",
        ".github",
        "sub/.GitHub/Workflows/deep/ci.yml",
        ".github/actions/x/index.js",
        ".github./workflows/ci.yml",
        ".github\\workflows\\ci.yml",
        "action.yml",
        "tool/Action.yaml",
    ],
)
def test_a_workflow_or_an_action_is_opened_by_nothing(path: str) -> None:
    assert reasons(path, allow=("**", path, ".github/**")) == {path: WORKFLOW}


@pytest.mark.parametrize(
    "path",
    [
        ".github/dependabot.yml", "CODEOWNERS", "docs/codeowners", "AGENTS.md", "sub/CLAUDE.md",
        ".flue/agents/a.yml", ".flue/config.yml", ".gitattributes", ".gitmodules", ".husky/pre-commit",
        ".gitlab-ci.yml", ".VSCode/tasks.json", ".devcontainer/devcontainer.json", ".vs\u200ccode/x",
    ],
)  # fmt: skip
def test_the_built_in_list_is_opened_one_by_one(path: str) -> None:
    assert reasons(path) == {path: BUILT_IN}
    assert reasons(path, allow=("other",)) == {path: BUILT_IN}
    assert reasons(path, allow=(path,)) == {}


@pytest.mark.parametrize(
    ("glob", "path", "is_protected"),
    [
        ("migrations/**", "migrations/1.sql", True),
        ("migrations/**", "Migrations/deep/1.sql", True),
        ("Migrations/**", "migrations/1.sql", True),
        ("migrations", "db/migrations/1.sql", True),
        ("migrations/", "db/migrations/1.sql", True),
        ("migrations/", "db/migrations", False),
        ("*.toml", "config/prod.toml", True),
        ("/*.toml", "config/prod.toml", False),
        ("db/**/*.sql", "db/a/b/c.sql", True),
        ("src/{a,b}.py", "src/b.py", True),
        ("src/{a,b}.py", "src/c.py", False),
        ("*.key", "a.key.txt", False),
        ("[z-a].yml", "x.py", True),  # nobody knows what it means
    ],
)
def test_the_specs_own_globs_protect(glob: str, path: str, is_protected: bool) -> None:
    assert bool(reasons(path, protect=(glob,))) is is_protected
    assert reasons(path, protect=(glob,), allow=(path,)) == {}


def test_a_pattern_that_cannot_be_read_opens_nothing() -> None:
    assert reasons(".envrc", allow=("[z-a]",)) == {".envrc": BUILT_IN}


def test_both_names_of_a_rename_count_and_all_are_listed() -> None:
    files = [
        ChangedFile(path="a.py", old_path=".envrc", kind="renamed"),
        ChangedFile(path=".mcp.json", old_path="b.json", kind="renamed"),
        ChangedFile(path=".github/workflows/x.yml", kind="deleted"),
        ChangedFile(path="docs/rules.md", kind="modified"),
        ChangedFile(path="c.py", kind="added"),
    ]
    found = protected_changes(files, Publishing(), ["docs/rules.md"])
    assert found == {
        ".envrc": BUILT_IN,
        ".mcp.json": BUILT_IN,
        ".github/workflows/x.yml": WORKFLOW,
        "docs/rules.md": BUILT_IN,
    }
    assert describe_protected(found) == (
        f"4 protected paths among the changes: .envrc, .mcp.json, docs/rules.md ({BUILT_IN}); "
        f".github/workflows/x.yml ({WORKFLOW})"
    )


BY_CHECKS: dict[str, tuple[dict[str, Any], str]] = {
    "all is well": ({}, ""),
    "no checks": ({"checks": (), "verification": None}, ""),
    "failed": ({"conclusion": "failed", "checks": (replace(PASSED, exit_code=1),)}, "the check tests was not run or"),
    "not run": ({"checks": (PASSED, replace(PASSED, name="lint", state="not-run", exit_code=-1))}, "lint was not run"),
    "out of time": ({"checks": (replace(PASSED, timed_out=True),)}, "did not pass"),
    "not known": ({"checks": (replace(PASSED, state="unknown", exit_code=255),)}, "did not pass"),
    "same sandbox": ({"verification": replace(CLEAN, where="same")}, "clean sandbox"),
    "no isolation": ({"verification": replace(CLEAN, isolated=False)}, "clean sandbox"),
    "never started": ({"verification": replace(CLEAN, ready=False)}, "clean sandbox"),
    "no verification": ({"verification": None}, "clean sandbox"),
    "a limit": ({"conclusion": "partial", "reason": "stopped by the limit of turns"}, "limit of turns"),
    "the model failed": ({"conclusion": "failed", "reason": "overloaded", "checks": ()}, "overloaded"),
    "interrupted": ({"conclusion": "cancelled", "reason": "interrupted"}, "interrupted"),
}


@pytest.mark.parametrize("name", BY_CHECKS)
def test_only_what_the_checks_passed_in_a_clean_sandbox_goes_through(name: str) -> None:
    keys, words = BY_CHECKS[name]
    reason = refused_by_checks(replace(FULL, **({"checks": (PASSED,), "verification": CLEAN} | keys)))
    assert words in reason
    assert bool(reason) is bool(words)


def patch_of(*lines: str, path: str = "a.txt") -> bytes:
    head = (
        f"diff --git a/{path} b/{path}\nindex {'0' * 40}..{'f' * 40} 100644\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n"
    )
    return (head + "".join(f"{line}\n" for line in lines)).encode()


def test_an_interrupted_run_is_no_change_for_anybody() -> None:
    report = replace(FULL, conclusion="cancelled")
    assert refused_by_report(report, Publishing(when="always"), b"x") == "the run was interrupted"
    assert refused_by_report(FULL, Publishing(when="always"), b"x") == ""


def test_a_secret_counts_where_it_is_added_and_not_where_it_was() -> None:
    redact = Redactor(["canary-secret-5c1f0e"])
    token = "ghp_Ab3dEf6hIj9lMn2pQr5tUv8xYz1bCd4fGh7j"
    other = patch_of("+x", path="b.txt")
    assert secret_in(other + patch_of("+key = canary-secret-5c1f0e"), (), redact) == "a.txt"
    assert secret_in(other + patch_of(f"+{token}"), (), redact) == "a.txt"
    assert secret_in(other + patch_of(f"-{token}", f" {token}", "+x"), (), redact) == ""
    assert secret_in(patch_of("+x", path="canary-secret-5c1f0e"), (), redact) == "canary-secret-5c1f0e"
    assert secret_in(patch_of(*["+x"] * 60_000, f"+{token}"), (), redact) == "a.txt"
    for content, place in ((b"\0canary-secret-5c1f0e", "b"), (b"\xff\xfe" + token.encode(), "b"), (b"\0x", "")):
        assert secret_in(b"", [TreeEntry(path="b", mode="100644", content=content)], redact) == place
    text = [TreeEntry(path="b", mode="100644", content=token.encode())]
    assert [secret_in(b"", text, redact, paths) for paths in ({"b"}, {"a"})] == ["b", ""]


def test_a_blob_is_counted_once_and_a_text_is_none() -> None:
    contents = [b"text", "größer".encode(), b"\0", b"\0", b"\xff", None]
    entries = [TreeEntry(path=str(number), mode="100644", content=each) for number, each in enumerate(contents)]
    assert blobs_to_send([*entries, TreeEntry(path="x", mode="100644", blob="a" * 40)]) == 2

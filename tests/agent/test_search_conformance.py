"""`grep` and `glob` against ripgrep itself, over random trees, ignore files and globs. `.ci/run` installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flue_ci.agent.tools.search import path_expression, search_script
from flue_ci.agent.tools.tool import ToolError

RG = shutil.which("rg")
NAMES = ("a.py", "b.ts", ".env", "x.log", "src", "lib", ".github", "a-b", "c.tsx")
PARTS = (
    "*",
    "**",
    "?",
    "a",
    "src",
    "lib",
    ".py",
    ".ts",
    ".log",
    ".",
    "[ab]",
    "[!a]",
    "{py,ts}",
    "{src,lib}",
    "/",
    "/",
    "*.",
)

trees = st.dictionaries(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join),
    st.sampled_from(("needle\n", "hay\n", "hay\r\nneedle\r\n", "Needle é\nneedle", "needle \udcff\n", "")),
    min_size=1,
    max_size=8,
)
globs = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("".join)
rules = st.lists(st.sampled_from(("*.log", "/src", "lib/", "!x.log", "a.*", ".env", "src/*", "**/b.ts")), max_size=3)


def test_ripgrep_is_there_where_everything_has_to_be_tested() -> None:
    assert RG or not os.environ.get("CI"), "without it, nothing holds the search tools against it: .ci/run installs it"


needs_ripgrep = pytest.mark.skipif(RG is None, reason="ripgrep is not installed; .ci/run installs it")


def make(folder: Path, tree: Mapping[str, str]) -> None:
    for name, text in tree.items():
        file = folder / name
        if any(parent.is_file() for parent in file.parents) or file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8", "surrogateescape"))


def ours(folder: Path, glob: str, pattern: str = "", path: str = "", case: str = "") -> tuple[int, list[str]]:
    values = {"task": "grep" if pattern else "list", "path": str(folder / path), "top": str(folder), "case": case}
    values |= {"glob": path_expression(glob, str(folder)), "pattern": pattern, "lines": "1000"}
    done = subprocess.run(["bash", "-c", search_script(values)], cwd=folder, capture_output=True, check=False)
    return done.returncode, sorted(done.stdout.decode("utf-8", "replace").splitlines())


def theirs(folder: Path, *arguments: str) -> list[str]:
    """ripgrep's answer, with hidden files and git's rules. (With globs of its own it would list ignored files.)"""
    assert RG
    command = [RG, "--no-config", "--hidden", "--no-ignore-dot", "--no-messages", "--glob=!.git", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return sorted(done.stdout.decode("utf-8", "replace").replace("\r", "").splitlines())


def by_ripgrep(folder: Path, glob: str) -> list[str] | None:
    """The files that ripgrep lists without a glob and with it; None when it cannot read it."""
    assert RG
    command = [RG, "--no-config", "--hidden", "--no-ignore", "--files", f"--glob={glob}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        return None
    return sorted(set(done.stdout.splitlines()) & set(theirs(folder, "--files")))


@needs_ripgrep
@given(tree=trees, glob=globs, ignore=rules, nested=rules)
@example(tree={"src/a.py": "", "a.py": ""}, glob="*.{py,ts}", ignore=[], nested=[])
@example(tree={"src/lib/a.py": "", "src/a.py": "", "a.py": ""}, glob="!src", ignore=[], nested=[])
@example(tree={"src/lib/a.py": "", "lib": ""}, glob="!lib/", ignore=[], nested=[])
@example(tree={"src/a.py": ""}, glob="src/", ignore=[], nested=[])
@example(tree={"src/x.log": "", "x.log": ""}, glob="*.log", ignore=["*.log"], nested=["!x.log"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 5)
@pytest.mark.long
def test_glob_lists_what_ripgrep_lists(
    tmp_path_factory: pytest.TempPathFactory,
    tree: Mapping[str, str],
    glob: str,
    ignore: Sequence[str],
    nested: Sequence[str],
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    make(folder, tree)
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    (folder / ".gitignore").write_text("\n".join(ignore) + "\n")
    if (folder / "src").is_dir() and not (folder / "src/.gitignore").exists():
        (folder / "src/.gitignore").write_text("\n".join(nested) + "\n")
    expected = by_ripgrep(folder, glob)
    try:
        code, files = ours(folder, glob)
    except ToolError:
        assert expected is None
        return
    if expected is not None:
        assert files == expected
        assert code == int(not files)


@needs_ripgrep
@given(
    tree=trees,
    pattern=st.sampled_from(("needle", "^needle$", r"n\w+e", "é", "hay|NEEDLE", r"\bneedle\b", r"e\s*$")),
    case=st.booleans(),
    ignore=rules,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 8)
def test_grep_finds_what_ripgrep_finds(
    tmp_path_factory: pytest.TempPathFactory, tree: Mapping[str, str], pattern: str, case: bool, ignore: Sequence[str]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    make(folder, tree)
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    (folder / ".gitignore").write_text("\n".join(ignore) + "\n")
    options = ["--crlf", "-n", "--no-heading", *(["-i"] if case else [])]
    _, lines = ours(folder, "", pattern, case="i" if case else "")
    assert lines == theirs(folder, *options, pattern)

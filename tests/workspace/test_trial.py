"""A patch that is handed out applies as people apply it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flue_ci.core.errors import ChangesRefused
from flue_ci.git.diffs import parse_diff
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.trial import try_patch
from flue_ci.workspace.verify import verify_patch
from tests.support.repos import Repo, Tree, new_repo, read_tree

LONG = b"".join(b"line %d\n" % number for number in range(60))
BASE: Tree = {
    "a": ("file", LONG),
    "b": ("file", LONG[::-1]),
    "d/x": ("file", b"x" + LONG),
    "d/y": ("exec", b"y" + LONG),
    "l": ("link", b"d"),
    "crlf": ("file", b"1\r\n2\r\n"),
}
MOVES = {
    "a swap": {"a": BASE["b"], "b": BASE["a"]},
    "a directory for a file": {"a": None, "a/z": BASE["a"]},
    "a file for a directory": {"d": BASE["d/x"], "d/x": None, "d/y": None},
    "a directory for a link": {"l": None, "l/x": BASE["d/x"], "d/x": None},
    "a link for a directory": {"d/x": None, "d/y": None, "d": ("link", b"e"), "e/x": BASE["d/x"]},
    "a chain": {"a": None, "b": BASE["a"], "c": BASE["b"]},
    "a cycle of directories": {"a": BASE["d/x"], "d/x": BASE["a"], "d/y": BASE["b"], "b": BASE["d/y"]},
    "a swap of a file and a directory": {"a": None, "d/x": None, "d/y": None, "a/x": BASE["d/x"], "d": BASE["a"]},
    "modes and line ends": {"d/y": ("file", LONG), "crlf": ("file", b"1\n2\r\n"), "a": ("exec", b"")},
}


async def make(directory: Path, changes: dict[str, tuple[str, bytes] | None]) -> tuple[Source, bytes, Tree]:
    """The source, git's own patch to the changed tree, and that tree."""
    repo = new_repo(directory / "repo", BASE)
    (directory / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=directory / "scratch")
    for path in changes:
        subprocess.run(["rm", "-rf", repo.path / path], check=False)
    repo.write({path: entry for path, entry in changes.items() if entry})
    repo.git("add", "-A")
    return source, repo.git("diff", "--cached", "--binary", "--full-index", "--no-renames"), read_tree(repo.path)


def apply_as_people_do(directory: Path, patch: bytes) -> Tree:
    copy = Repo(directory / "applied")
    copy.path.mkdir()
    copy.write(BASE)
    (directory / "p.patch").write_bytes(patch)
    subprocess.run(["git", "apply", directory / "p.patch"], cwd=copy.path, check=True)
    return read_tree(copy.path)


@pytest.mark.parametrize("name", MOVES)
async def test_files_that_change_places_come_in_a_patch_that_applies(tmp_path: Path, name: str) -> None:
    source, patch, tree = await make(tmp_path, MOVES[name])
    changes = await verify_patch(source, patch)
    assert apply_as_people_do(tmp_path, changes.patch) == tree
    assert changes.notes == ()


async def test_a_patch_that_does_not_lead_to_the_changes_is_none(tmp_path: Path) -> None:
    source, patch, _ = await make(tmp_path, {"a": ("file", LONG + b"more\n"), "b": None})
    changes = await verify_patch(source, patch)
    listing = ("diff-tree", "-r", "-z", "--raw", "--abbrev=64", source.tree, changes.tree)
    entries = parse_diff((await source.git.run(*listing)).out)[0]
    assert await try_patch(source, changes.patch, entries, {}) == ""
    for wrong in (changes.patch.replace(b"+more", b"+less"), changes.patch.replace(b" line 59", b" line 58"), b"x"):
        with pytest.raises(ChangesRefused, match="does not lead to the changes"):
            await try_patch(source, wrong, entries, {})


async def test_attributes_and_filters_of_the_repository_change_nothing(tmp_path: Path) -> None:
    attributes = ("file", b"* text eol=crlf ident filter=x\n*.bin -diff\n")
    source, patch, _ = await make(tmp_path, {".gitattributes": attributes, "n.bin": ("file", b"\0$Id$\n")})
    changes = await verify_patch(source, patch)
    assert changes.notes == ()
    # Whether git looks at a file that nobody touched, after its attributes changed, depends on the times in the index.
    assert [file.path for file in changes.files if file.path != "crlf"] == [".gitattributes", "n.bin"]

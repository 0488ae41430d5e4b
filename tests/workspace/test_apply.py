"""`--apply` puts all of a patch into the working tree, or nothing, and only where nothing has moved."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from flue_ci.core.errors import FlueError, UsageError, WorkspaceError
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.apply import apply_patch, unseen_paths
from tests.support.repos import EVERY_KIND, Repo, Tree, new_repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return new_repo(tmp_path / "repo", EVERY_KIND | {".gitignore": ("file", b"*.log\n")})


@pytest.fixture
async def source(repo: Repo, tmp_path: Path) -> Source:
    return await opened(repo, tmp_path)


async def opened(repo: Repo, tmp_path: Path) -> Source:
    (tmp_path / "scratch").mkdir()
    return await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")


CHANGES: Tree = {
    "plain.txt": ("exec", b"one\nTWO\nthree\n"),
    "crlf.txt": ("file", b"one\r\nTWO\r\n"),
    "picture.bin": ("file", bytes(range(255, -1, -1)) * 60),
    "link": ("link", b"tool.sh"),
    "dangling": ("file", b"a file\n"),
    "neu ü/x y.bin": ("exec", b"\0\1\2"),
    "new empty": ("file", b""),
}


def patch_for(repo: Repo, tmp_path: Path, changes: Tree, *removed: str) -> bytes:
    """The patch from the working tree of `repo` to the same with `changes`, as verifying makes it."""
    copy = new_repo(tmp_path / "copy", repo.tree())
    copy.write(changes)
    for name in removed:
        (copy.path / name).unlink()
    copy.git("add", "-A", "-f")
    return copy.git("diff", "--cached", "--binary", "--full-index", "-M", "HEAD")


async def test_every_kind_of_change_is_applied_and_the_index_is_left_alone(
    repo: Repo, source: Source, tmp_path: Path
) -> None:
    before, index = repo.tree(), repo.git("ls-files", "-s")
    patch = patch_for(repo, tmp_path, CHANGES, "mixed.txt", "dir with space/deep/er.txt")
    await apply_patch(repo.path, source, patch)
    gone = ("mixed.txt", "dir with space/deep/er.txt")
    assert repo.tree() == {path: entry for path, entry in (before | CHANGES).items() if path not in gone}
    assert repo.git("ls-files", "-s") == index


@pytest.mark.parametrize("mode", ["--cone", "--no-cone"])
async def test_a_sparse_checkout_gets_the_files_that_are_changed(repo: Repo, tmp_path: Path, mode: str) -> None:
    name = "dir with space/deep/er.txt"
    patch = patch_for(repo, tmp_path / "1", {name: ("exec", b"deep\nnew\n"), "far/new": ("file", b"x")})
    deletion = patch_for(repo, tmp_path / "2", {}, name)
    repo.git("sparse-checkout", "set", mode, "grün")
    assert not (repo.path / "dir with space").exists()
    source = await opened(repo, tmp_path)
    with pytest.raises(UsageError, match=f"delete what this sparse checkout leaves out anyway: {name}"):
        await apply_patch(repo.path, source, deletion)
    assert not (repo.path / "dir with space").exists()
    assert await apply_patch(repo.path, source, patch) == ()
    assert sorted(repo.status().split(b"\0")) == [b"", b" M dir with space/deep/er.txt", b"?? far/new"]
    assert await unseen_paths(repo.path, source, patch) == ()


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
async def test_changes_that_git_does_not_show_are_named(repo: Repo, tmp_path: Path, flag: str) -> None:
    patch = patch_for(repo, tmp_path, {"plain.txt": ("file", b"one\nTWO\nthree\n"), "empty": ("file", b"x")})
    repo.git("update-index", flag, "plain.txt")
    repo.put("plain.txt", b"one\ntwo\nthree\nof this machine\n")
    source = await opened(repo, tmp_path)
    await apply_patch(repo.path, source, patch)
    assert (repo.path / "plain.txt").read_bytes() == b"one\nTWO\nthree\nof this machine\n"
    assert await unseen_paths(repo.path, source, patch) == ("plain.txt",)


async def test_a_patch_fits_uncommitted_work_that_the_run_started_with(repo: Repo, tmp_path: Path) -> None:
    repo.put("plain.txt", b"mine\ntwo\nthree\n")
    repo.put("untracked", b"mine\n")
    repo.put("staged", b"mine\n")
    repo.git("add", "staged")
    status = repo.status()
    source = await opened(repo, tmp_path)
    patch = patch_for(repo, tmp_path, {"plain.txt": ("file", b"mine\ntwo\nTHREE\n"), "untracked": ("file", b"both\n")})
    await apply_patch(repo.path / "dir with space", source, patch)
    assert repo.tree()["plain.txt"] == ("file", b"mine\ntwo\nTHREE\n")
    assert repo.tree()["untracked"] == ("file", b"both\n")
    assert repo.status() == status


async def test_an_empty_patch_changes_nothing(repo: Repo, source: Source) -> None:
    before = repo.tree()
    await apply_patch(repo.path, source, b"")
    assert repo.tree() == before


async def refused(repo: Repo, source: Source, patch: bytes, kind: type[FlueError]) -> FlueError:
    before, status = repo.tree(), repo.status()
    with pytest.raises(kind) as caught:
        await apply_patch(repo.path, source, patch)
    assert (repo.tree(), repo.status()) == (before, status)
    assert "git apply" in caught.value.hint
    return caught.value


async def test_a_moved_head_is_refused(repo: Repo, source: Source, tmp_path: Path) -> None:
    patch = patch_for(repo, tmp_path, CHANGES)
    repo.put("other", b"x")
    repo.commit("meanwhile")
    error = await refused(repo, source, patch, UsageError)
    assert f"HEAD moved from {source.head[:12]}" in str(error)


@pytest.mark.parametrize("what", ["edit", "new file", "deletion", "mode"])
async def test_a_tree_that_changed_is_refused_with_what_changed(
    repo: Repo, source: Source, tmp_path: Path, what: str
) -> None:
    patch = patch_for(repo, tmp_path, CHANGES)
    if what == "edit":
        repo.put("tool.sh", b"changed\n")
    elif what == "new file":
        repo.put("extra ü", b"x")
    elif what == "deletion":
        (repo.path / "empty").unlink()
    else:
        (repo.path / "empty").chmod(0o755)
    name = {"edit": "tool.sh", "new file": "extra ü", "deletion": "empty", "mode": "empty"}[what]
    error = await refused(repo, source, patch, UsageError)
    assert str(error) == f"not applied: 1 file changed while the agent worked: {name}"


async def test_an_ignored_file_in_the_way_is_not_overwritten(repo: Repo, source: Source, tmp_path: Path) -> None:
    patch = patch_for(repo, tmp_path, {"a.log": ("file", b"theirs\n"), "plain.txt": ("file", b"x\n")})
    repo.put("a.log", b"mine\n")
    error = await refused(repo, source, patch, UsageError)
    assert "a.log" in str(error)


@pytest.mark.parametrize("ending", ["failure", "cancellation"])
async def test_a_patch_that_stops_half_way_is_taken_back(
    repo: Repo, source: Source, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that applies and then fails or hangs: what a full disk and Ctrl-C look like to us."""
    patch = patch_for(repo, tmp_path, CHANGES, "mixed.txt", "dir with space/deep/er.txt")
    real = subprocess.run(["which", "git"], capture_output=True, check=True).stdout.decode().strip()
    last = "exit 1" if ending == "failure" else f"touch '{tmp_path}/applied'; sleep 60"
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" --check "*|*" --numstat "*) ;;\n'
        f'*" apply "*) "{real}" "$@"; {last};; esac\nexec "{real}" "$@"\n'
    )
    program.chmod(0o755)
    path = os.environ["PATH"]
    before, status = repo.tree(), repo.status()
    monkeypatch.setenv("PATH", f"{program.parent}:{path}")
    task = asyncio.create_task(apply_patch(repo.path, source, patch))
    if ending == "cancellation":
        async with asyncio.timeout(60):
            while not (tmp_path / "applied").exists():
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(WorkspaceError, match="nothing was changed"):
            await task
    monkeypatch.setenv("PATH", path)
    assert repo.tree() == before
    assert repo.status() == status
    assert not (repo.path / "neu ü").exists()


SWAPPED: Tree = {"dir with space": ("file", b"a file now\n"), "plain.txt/inner/q": ("file", b"a directory now\n")}


def swapping(repo: Repo, tmp_path: Path) -> bytes:
    """A patch that makes a file of a directory and a directory of a file."""
    copy = new_repo(tmp_path / "copy", repo.tree())
    copy.git("rm", "-r", "-q", "dir with space", "plain.txt")
    copy.write(SWAPPED)
    copy.git("add", "-A", "-f")
    return copy.git("diff", "--cached", "--binary", "--full-index", "-M", "HEAD")


async def test_files_and_directories_change_places(repo: Repo, source: Source, tmp_path: Path) -> None:
    await apply_patch(repo.path, source, swapping(repo, tmp_path))
    tree = repo.tree()
    assert {path: tree[path] for path in SWAPPED} == SWAPPED
    assert "plain.txt" not in tree


async def test_files_and_directories_change_back_when_something_is_in_the_way(
    repo: Repo, source: Source, tmp_path: Path
) -> None:
    patch = swapping(repo, tmp_path)
    repo.put("dir with space/mine.log", b"ignored, and not in the patch\n")
    await refused(repo, source, patch, WorkspaceError)


PROTECTED: Tree = {
    ".envrc": ("file", b"export X=1\n"),
    ".vscode/tasks.json": ("file", b"{}\n"),
    "AGENTS.md": ("link", b"plain.txt"),
    ".GitHub/workflows/x.yml": ("file", b"on: push\n"),
}


async def test_protected_paths_are_left_out_and_named(repo: Repo, source: Source, tmp_path: Path) -> None:
    patch = patch_for(repo, tmp_path, CHANGES | PROTECTED)
    before = repo.tree()
    assert set(await apply_patch(repo.path, source, patch)) == set(PROTECTED)
    assert repo.tree() == before | CHANGES


async def test_protected_paths_are_applied_when_asked_for(repo: Repo, source: Source, tmp_path: Path) -> None:
    before = repo.tree()
    patch = patch_for(repo, tmp_path, CHANGES | PROTECTED)
    assert await apply_patch(repo.path, source, patch, with_protected=True) == ()
    assert repo.tree() == before | CHANGES | PROTECTED


@pytest.mark.parametrize("way", ["to", "from"])
async def test_a_rename_is_left_out_as_a_whole(tmp_path: Path, way: str) -> None:
    old, new = ("plain.txt", ".envrc") if way == "to" else (".envrc", "plain.txt")
    text = b"".join(b"line %d\n" % number for number in range(40))
    repo = new_repo(tmp_path / "repo", {old: ("file", text), "other": ("file", b"1\n")})
    source = await opened(repo, tmp_path)
    patch = patch_for(repo, tmp_path, {new: ("file", text + b"more\n"), "other": ("file", b"2\n")}, old)
    assert b"rename to" in patch
    assert await apply_patch(repo.path, source, patch) == (".envrc",)
    assert repo.tree() == {old: ("file", text), "other": ("file", b"2\n")}


async def test_a_file_in_place_of_a_folder_takes_no_protected_path_away(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", {"sub/.envrc": ("file", b"1\n")})
    source = await opened(repo, tmp_path)
    copy = new_repo(tmp_path / "copy", repo.tree())
    copy.git("rm", "-q", "sub/.envrc")
    copy.put("sub", b"a file\n")
    copy.git("add", "-A", "-f")
    patch = copy.git("diff", "--cached", "--binary", "--full-index", "-M", "HEAD")
    with pytest.raises(UsageError, match="only both can be applied"):
        await apply_patch(repo.path, source, patch)
    assert repo.tree() == {"sub/.envrc": ("file", b"1\n")}


@pytest.mark.parametrize("driver", ["clean", "smudge", "process"])
async def test_applying_starts_no_filter_of_the_checkout(repo: Repo, tmp_path: Path, driver: str) -> None:
    patch = patch_for(repo, tmp_path, {"plain.txt": ("file", b"one\nTWO\nthree\n"), "new": ("file", b"n\n")})
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/attributes").write_text("* filter=evil\n")
    repo.git("config", f"filter.evil.{driver}", f"touch '{tmp_path}/ran'; cat")
    source = await opened(repo, tmp_path)
    await apply_patch(repo.path, source, patch)
    assert not (tmp_path / "ran").exists()
    assert repo.tree()["plain.txt"] == ("file", b"one\nTWO\nthree\n")


@pytest.mark.parametrize("setting", ["setting", "beside the tree", "in the tree"])
async def test_line_ends_that_git_converts_still_fit(repo: Repo, tmp_path: Path, setting: str) -> None:
    patch = patch_for(repo, tmp_path, {"plain.txt": ("exec", b"one\nTWO\nthree\n")})
    (repo.path / ".git/info").mkdir(exist_ok=True)
    if setting == "setting":
        repo.git("config", "core.autocrlf", "true")
    elif setting == "beside the tree":
        (repo.path / ".git/info/attributes").write_text("plain.txt text eol=crlf")
    else:
        repo.put(".gitattributes", b"plain.txt text eol=crlf\n")
        repo.commit("attributes")
    (repo.path / "plain.txt").unlink()
    repo.git("checkout", "--", "plain.txt")
    source = await opened(repo, tmp_path)
    await apply_patch(repo.path, source, patch)
    assert repo.tree()["plain.txt"][1] == b"one\r\nTWO\r\nthree\r\n"

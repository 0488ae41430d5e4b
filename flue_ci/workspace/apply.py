"""`--apply`: puts a verified patch into the user's working tree, all of it or nothing, and only when the tree has not
changed since the run began.
"""

import filecmp
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from pathlib import Path

from flue_ci.core.errors import UsageError, WorkspaceError
from flue_ci.core.text import first_few, one_line, plural
from flue_ci.git.checkout import Checkout, find_checkout
from flue_ci.git.command import Git, read_objects, split_nul
from flue_ci.git.protected import is_protected, protected_paths
from flue_ci.git.snapshot import take_snapshot, without_filters
from flue_ci.git.source import Source
from flue_ci.workspace.verify import leave_out, verify_patch

_REMEDY = "The patch is kept; apply it yourself with: git apply --3way changes.patch"


async def apply_patch(repo: Path, source: Source, patch: bytes, *, with_protected: bool = False) -> tuple[str, ...]:
    """Applies `patch`, which `verify_patch` made, to the checkout that `repo` is or lies in. The index stays as it is.
    Returns the protected paths that were left out, unless `with_protected`.

    Raises `UsageError` with the difference when the checkout has changed since `source` was opened, `WorkspaceError`
    when the files cannot be written. Then nothing has changed.
    """
    if not patch:
        return ()
    checkout = await find_checkout(repo, source.git_dirs)
    await _check_unchanged(checkout, source)
    git = Git(cwd=checkout.top, user_config=True)
    omissions: list[str] = []
    if not with_protected:
        paths = map(str, await _patch_paths(git, patch))
        omissions = [path for path in paths if is_protected(path, checkout.protected)]
    if omissions:
        patch = await _without(source, patch, omissions, checkout.protected)
    if patch:
        await _apply(checkout, source, patch)
    return tuple(omissions)


async def _without(source: Source, patch: bytes, paths: Collection[str], folders: Collection[str]) -> bytes:
    changes = await leave_out(source, await verify_patch(source, patch), paths)
    if protected_paths(changes.files, folders):
        message = "not applied: a file takes the place of a folder with protected paths, so only both can be applied"
        raise UsageError(message, hint="--apply-protected applies both")
    return changes.patch


async def _apply(checkout: Checkout, source: Source, patch: bytes) -> None:
    git = without_filters(source.git, checkout)
    arguments = ("apply", "--binary", "--whitespace=nowarn")
    paths = await _patch_paths(git, patch)
    absent = [path for path in await _marked_paths(checkout, paths, "S") if not _is_entry(checkout.top / path)]
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="before-") as directory, ExitStack() as failure:
        _back_up(checkout.top, paths, Path(directory))
        # Also when cancelled: half of a patch is worse than none.
        failure.callback(_restore, checkout.top, paths, Path(directory))
        await _lay_out(source, checkout.top, [*absent, *_smudged_paths(source, checkout.top, paths)])
        check = await git.run(*arguments, "--check", stdin=patch, ok=None)
        if check.code:
            raise UsageError(f"the changes do not fit the working tree: {check.reason}", hint=_REMEDY)
        result = await git.run(*arguments, stdin=patch, ok=None)
        if result.code:
            message = f"the changes could not be written, nothing was changed: {result.reason}"
            raise WorkspaceError(message, hint=_REMEDY)
        if names := [one_line(str(path)) for path in absent if not _is_entry(checkout.top / path)]:
            message = f"the changes delete what this sparse checkout leaves out anyway: {first_few(names, 5)}"
            raise UsageError(message, hint="git sparse-checkout disable, then git apply; or git apply --index")
        failure.pop_all()


async def unseen_paths(repo: Path, source: Source, patch: bytes) -> tuple[str, ...]:
    """The paths of a patch whose changes `git status` does not show in this checkout, because they are marked as
    unchanged (`git update-index --assume-unchanged` or `--skip-worktree`)."""
    checkout = await find_checkout(repo, source.git_dirs)
    marks = "hsS"
    if checkout.sparse:  # there git takes the second mark from a file that is on the disk
        marks = "hs"
    git = Git(cwd=checkout.top, user_config=True)
    return tuple(map(str, await _marked_paths(checkout, await _patch_paths(git, patch), marks)))


async def _marked_paths(checkout: Checkout, paths: Collection[Path], marks: str) -> list[Path]:
    """Those of the paths that have one of these letters in `git ls-files -v`: a small one means assume-unchanged, `S`
    skip-worktree."""
    git = Git(cwd=checkout.top, user_config=True)
    lines = split_nul((await git.run("ls-files", "-v", "-z")).out)
    names = {os.fsdecode(line[2:]) for line in lines if chr(line[0]) in marks}
    return [path for path in paths if str(path) in names]


def _smudged_paths(source: Source, top: Path, paths: Collection[Path]) -> list[Path]:
    """Those whose content git-lfs has put in the place of their pointers; a patch is one of the pointers."""
    files = [file for file in source.lfs_files if Path(file.path) in paths and _is_entry(top / file.path)]
    return [Path(file.path) for file in files if filecmp.cmp(top / file.path, file.content, shallow=False)]


async def _lay_out(source: Source, top: Path, paths: Collection[Path]) -> None:
    """Writes files as the base has them, so that the patch fits."""
    if not paths:
        return
    entries = [line.split(b"\t", 1) for line in split_nul((await source.git.run("ls-tree", "-rz", source.tree)).out)]
    names = set(map(str, paths))
    blobs = {os.fsdecode(name): line.decode().split() for line, name in entries if os.fsdecode(name) in names}
    contents = await read_objects(source.git, [blob for _, _, blob in blobs.values()])
    for name, (mode, _, blob) in blobs.items():
        path = top / name
        if os.path.realpath(path.parent) != str(Path(os.path.realpath(top)) / Path(name).parent):
            continue  # a link leads elsewhere; git says so
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            path.symlink_to(os.fsdecode(contents[blob]))
        else:
            path.write_bytes(contents[blob])
            path.chmod(int(mode[-3:], 8))


async def _check_unchanged(checkout: Checkout, source: Source) -> None:
    if checkout.head != source.head:
        change = f"HEAD moved from {source.head[:12]} to {checkout.head[:12]} while the agent worked"
        raise UsageError(f"not applied: {change}", hint=_REMEDY)
    git = source.git
    current = await take_snapshot(git, checkout)
    if current.tree == source.tree:
        return
    result = await git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", source.tree, current.tree)
    names = [one_line(os.fsdecode(name)) for name in split_nul(result.out)]
    change = f"{plural(len(names), 'file')} changed while the agent worked: {first_few(names, 5)}"
    raise UsageError(f"not applied: {change}", hint=_REMEDY)


async def _patch_paths(git: Git, patch: bytes) -> list[Path]:
    """The paths that the patch names, relative to the top; old names of renames included."""
    forward = await git.run("apply", "--binary", "--numstat", "-z", stdin=patch)
    reverse = await git.run("apply", "--binary", "--numstat", "-z", "-R", stdin=patch)
    names = [line.split(b"\t", 2)[-1] for line in split_nul(forward.out) + split_nul(reverse.out)]
    return list(dict.fromkeys(Path(os.fsdecode(name)) for name in names if name))


def _back_up(top: Path, paths: Iterable[Path], backup: Path) -> None:
    for path in paths:
        if _is_entry(top / path) and not _is_entry(backup / path):
            (backup / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(top / path, backup / path, follow_symlinks=False)


def _restore(top: Path, paths: Iterable[Path], backup: Path) -> None:
    """Removes the new files, with directories that this leaves empty, and then puts back the old ones: where a file
    was, a directory may be now, and the other way round."""
    differences = [path for path in paths if not _is_same(top / path, backup / path)]
    for path in differences:
        if _is_entry(top / path):
            (top / path).unlink()
    for path in paths:
        _remove_empty((top / path).parent, top)
    for path in differences:
        if _is_entry(backup / path):
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(backup / path, top / path, follow_symlinks=False)


def _is_same(now: Path, before: Path) -> bool:
    """Whether git has left the entry as it was; where nothing can be written, that is true of all."""
    if not _is_entry(now) or not _is_entry(before):
        return _is_entry(now) == _is_entry(before)
    if now.is_symlink() or before.is_symlink():
        return now.is_symlink() and before.is_symlink() and now.readlink() == before.readlink()
    return now.stat().st_mode == before.stat().st_mode and filecmp.cmp(now, before, shallow=False)


def _is_entry(path: Path) -> bool:
    """True for what git tracks: a file or a link, not a directory."""
    return path.is_symlink() or path.is_file()


def _remove_empty(directory: Path, top: Path) -> None:
    while directory != top:
        try:
            directory.rmdir()
        except OSError:  # not empty, or removed already
            return
        directory = directory.parent

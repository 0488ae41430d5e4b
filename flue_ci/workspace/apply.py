"""`--apply`: puts a verified patch into the user's working tree, all of it or nothing, and only when the tree is as
the run found it.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from flue_ci.core.errors import UsageError, WorkspaceError
from flue_ci.core.text import one_line, plural
from flue_ci.git.checkout import Checkout, find_checkout
from flue_ci.git.command import Git, reason
from flue_ci.git.snapshot import take_snapshot
from flue_ci.git.source import Source

_REMEDY = "The patch is kept; apply it yourself with: git apply --3way changes.patch"


async def apply_patch(repo: Path, source: Source, patch: bytes) -> None:
    """Applies `patch`, which `verify_patch` made, to the checkout that `repo` is or lies in. The index stays as it is.

    Raises `UsageError` when the checkout is not as it was when `source` was opened, with what moved; `WorkspaceError`
    when the files cannot be written. Then nothing has changed.
    """
    if not patch:
        return
    checkout = await find_checkout(repo)
    await _check_unmoved(checkout, source)
    git = Git(cwd=checkout.top, user_config=True)
    arguments = ("apply", "--binary", "--whitespace=nowarn")
    checked = await git.run(*arguments, "--check", stdin=patch, ok=None)
    if checked.code:
        raise UsageError(f"the changes do not fit the working tree: {reason(checked.err, checked.code)}", hint=_REMEDY)
    touched = await _touched(git, patch)
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="before-") as kept:
        _keep(checkout.top, touched, Path(kept))
        done = False
        try:
            applied = await git.run(*arguments, stdin=patch, ok=None)
            done = applied.code == 0
        finally:  # also when cancelled: half of a patch is worse than none
            if not done:
                _restore(checkout.top, touched, Path(kept))
    if applied.code:
        raise WorkspaceError(
            f"the changes could not be written, nothing was changed: {reason(applied.err, applied.code)}", hint=_REMEDY
        )


async def _check_unmoved(checkout: Checkout, source: Source) -> None:
    if checkout.head != source.head:
        moved = f"HEAD moved from {source.short} to {checkout.head[:12]} while the agent worked"
        raise UsageError(f"not applied: {moved}", hint=_REMEDY)
    await source.settle()
    git = source.git
    now = await take_snapshot(git, checkout)
    if now.tree == source.tree:
        return
    done = await git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", source.tree, now.tree)
    names = [one_line(os.fsdecode(name)) for name in done.out.split(b"\0") if name]
    few = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    raise UsageError(f"not applied: {plural(len(names), 'file')} changed while the agent worked: {few}", hint=_REMEDY)


async def _touched(git: Git, patch: bytes) -> list[Path]:
    """The paths that the patch names, relative to the top; old names of renames included."""
    done = await git.run("apply", "--binary", "--numstat", "-z", stdin=patch)
    reverse = await git.run("apply", "--binary", "--numstat", "-z", "-R", stdin=patch)
    fields = [field.split(b"\t", 2) for out in (done.out, reverse.out) for field in out.split(b"\0") if field]
    return list(dict.fromkeys(Path(os.fsdecode(parts[-1])) for parts in fields if parts[-1]))


def _keep(top: Path, touched: Iterable[Path], kept: Path) -> None:
    for path in touched:
        if _is_entry(top / path) and not _is_entry(kept / path):
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(top / path, kept / path, follow_symlinks=False)


def _restore(top: Path, touched: Iterable[Path], kept: Path) -> None:
    """Removes what is there now, with directories that this leaves empty, and then puts back what was there: where a
    file stood, a directory may stand now, and the other way round."""
    changed = [path for path in touched if not _is_same(top / path, kept / path)]
    for path in changed:
        if _is_entry(top / path):
            (top / path).unlink()
    for path in touched:
        _remove_empty((top / path).parent, top)
    for path in changed:
        if _is_entry(kept / path):
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(kept / path, top / path, follow_symlinks=False)


def _is_same(now: Path, before: Path) -> bool:
    """True for what git did not get to; where nothing can be written, that is everything."""
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
        except OSError:  # not empty, or gone already
            return
        directory = directory.parent

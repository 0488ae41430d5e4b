"""`--apply`: puts a verified patch into the user's working tree, all of it or nothing, and only when the tree is as
the run found it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from flue_ci.checkout import Checkout, find_checkout
from flue_ci.errors import UsageError, WorkspaceError
from flue_ci.gitcmd import Git, reason
from flue_ci.snapshot import take_snapshot
from flue_ci.source import Source
from flue_ci.text import one_line, plural

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
    return [Path(os.fsdecode(parts[-1])) for parts in fields if parts[-1]]


def _keep(top: Path, touched: Iterable[Path], kept: Path) -> None:
    for path in touched:
        if os.path.lexists(top / path) and not os.path.lexists(kept / path):
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(top / path, kept / path, follow_symlinks=False)


def _restore(top: Path, touched: Iterable[Path], kept: Path) -> None:
    """Puts back what was there and removes what was not, with directories that this leaves empty."""
    for path in touched:
        before, now = kept / path, top / path
        if os.path.lexists(now):
            now.unlink()
        if os.path.lexists(before):
            now.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(before, now, follow_symlinks=False)
        else:
            _remove_empty(now.parent, top)


def _remove_empty(directory: Path, top: Path) -> None:
    while directory != top:
        try:
            directory.rmdir()
        except OSError:  # not empty, or gone already
            return
        directory = directory.parent

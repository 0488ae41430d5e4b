"""Takes what is uncommitted in a checkout as git objects in our own repository: files as their bytes are, without
filters.

The checkout is read only; its index is copied, so that files which git knows to be unchanged are not read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import human_bytes, one_line, plural
from flue_ci.git.checkout import Checkout, index_entries
from flue_ci.git.command import Git, environment_quote, object_sizes, read_objects

OVERLAY_LIMIT = 200_000_000  # bytes of changed and untracked files that travel
# For every path, before anything in the tree: no conversion of line ends, no filters, no drivers. `!` means
# unspecified.
NEUTRAL_ATTRIBUTES = "* -text !eol !crlf -filter -ident !working-tree-encoding !diff !merge\n"
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_POINTER_SIZE = 1024
MEMORY_BYTES = 6_000_000_000  # bytes for git: a commit of a few objects can stand for billions of files
_REGULAR = ("100644", "100755", "120000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The trees of a checkout: `head_tree` is its commit's, `staged` what its index holds, `tree` what lies on disk
    (ignored files left out).

    `intent_to_add` are paths that the index only announces. `nested` are repositories inside, which are left out.
    """

    head_tree: str
    staged_files: str
    tree: str
    intent_to_add: tuple[bytes, ...] = ()
    nested_repositories: tuple[str, ...] = ()
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status:
    """What `git status` says: paths whose file differs from the index, staged blobs, and the rest of `Snapshot`."""

    changed: dict[bytes, str]  # path: blob in the index when only the content differs, otherwise empty
    gone: frozenset[bytes]  # those of them that are no longer there
    untracked: tuple[bytes, ...]
    staged: tuple[str, ...]
    any_staged: bool
    intent_to_add: tuple[bytes, ...]
    nested: tuple[bytes, ...]


async def take_snapshot(git: Git, checkout: Checkout) -> Snapshot:
    """Writes the snapshot's objects into the bare repository at `git.cwd`, which has the checkout's commit already.

    Raises `WorkspaceError` for unmerged files and when more than `OVERLAY_LIMIT` bytes would have to travel.
    """
    view = _view(git, checkout)
    (git.cwd / "info/attributes").unlink(missing_ok=True)
    _copy_index(checkout, git.cwd)
    both = replace(view, env={**view.env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": environment_quote(checkout.objects)})
    status = await _status(both, checkout)
    same = await _same_in_lfs(both, checkout, status)
    changed = [path for path in status.changed if path not in same]
    head_tree = (await both.run("rev-parse", "--verify", f"{checkout.head}^{{tree}}")).line
    nested = tuple(one_line(os.fsdecode(path)) for path in status.nested)
    if not (changed or status.untracked or status.any_staged or status.intent_to_add):
        return Snapshot(
            head_tree=head_tree,
            staged_files=head_tree,
            tree=head_tree,
            nested_repositories=nested,
            files=index_entries(git.cwd / "index"),
        )
    _check_size(checkout.top, [*changed, *status.untracked])
    (git.cwd / "info/attributes").write_text(NEUTRAL_ATTRIBUTES)
    if status.staged:
        names = "".join(f"{name}\n" for name in status.staged).encode()
        await both.run("pack-objects", "--delta-base-offset", "-q", "objects/pack/pack", stdin=names)
    staged = (await view.run("write-tree", "--missing-ok")).line if status.any_staged else head_tree
    await _update(replace(view, cwd=checkout.top), status, [*changed, *status.untracked])
    tree = (await view.run("write-tree", "--missing-ok")).line
    return Snapshot(
        head_tree=head_tree,
        staged_files=staged,
        tree=tree,
        intent_to_add=status.intent_to_add,
        nested_repositories=nested,
        files=index_entries(git.cwd / "index"),
    )


async def _update(git: Git, status: _Status, paths: list[bytes]) -> None:
    """Puts the files as they are into the index. What is gone goes first: a link may stand where its directory was."""
    gone = b"".join(path + b"\0" for path in paths if path in status.gone)
    there = b"".join(path + b"\0" for path in paths if path not in status.gone)
    if gone:
        await git.run("update-index", "--force-remove", "-z", "--stdin", stdin=gone)
    await git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=there)


def _view(git: Git, checkout: Checkout) -> Git:
    """Our repository with their work tree, a copy of their index, and their settings about files."""
    passed = [f"{key}={value}" for key, value in checkout.settings.items() if re.match(r"core\.(?!excludesfile)", key)]
    env = {"GIT_DIR": str(git.cwd), "GIT_WORK_TREE": str(checkout.top), "GIT_INDEX_FILE": str(git.cwd / "index")}
    own = (
        "core.protectNTFS=false",
        "core.protectHFS=false",
        "core.splitIndex=false",
        f"core.excludesFile={os.devnull}",
    )
    return replace(git, env={**git.env, **env}, config=(*git.config, *passed, *own), memory=MEMORY_BYTES)


def _copy_index(checkout: Checkout, git_dir: Path) -> None:
    """With its time stamp, by which git tells files that may have changed in the same second. A split index is two
    files.
    """
    (git_dir / "index").unlink(missing_ok=True)
    for shared in checkout.index.parent.glob("sharedindex.*"):
        if shared.is_file():
            shutil.copy2(shared, git_dir / shared.name)
    if checkout.index.exists():
        shutil.copy2(checkout.index, git_dir / "index")


async def _status(git: Git, checkout: Checkout) -> _Status:
    done = await replace(git, cwd=checkout.top).run(
        "status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=all", "--no-renames"
    )
    return parse_status(done.out)


def parse_status(out: bytes) -> _Status:
    """Reads `git status --porcelain=v2 -z --no-renames` (git-status, "Porcelain Format Version 2")."""
    changed: dict[bytes, str] = {}
    gone: set[bytes] = set()
    untracked: list[bytes] = []
    staged: list[str] = []
    announced: list[bytes] = []
    nested: list[bytes] = []
    any_staged = False
    for record in filter(None, out.split(b"\0")):
        if record.startswith(b"? "):
            (nested if record.endswith(b"/") else untracked).append(record[2:])
            continue
        if record.startswith(b"u "):
            raise WorkspaceError(
                f"{one_line(os.fsdecode(record.split(b' ', 10)[10]))} is in an unresolved merge conflict",
                hint="Finish or abort the merge first (git status shows it).",
            )
        _, flags, _, _, in_index, on_disk, _, blob, path = record.split(b" ", 8)
        if flags == b".A":
            announced.append(path)
        if flags[:1] != b".":
            any_staged = True
            if in_index.decode() in _REGULAR:
                staged.append(blob.decode())
        if flags[1:] != b".":
            changed[path] = blob.decode() if in_index == on_disk else ""
        if flags[1:] == b"D":
            gone.add(path)
    return _Status(
        changed=changed,
        gone=frozenset(gone),
        untracked=tuple(untracked),
        staged=tuple(staged),
        any_staged=any_staged,
        intent_to_add=tuple(announced),
        nested=tuple(nested),
    )


async def _same_in_lfs(git: Git, checkout: Checkout, status: _Status) -> frozenset[bytes]:
    """Files that differ from the index only because git-lfs has put the real content in the place of its pointer."""
    if not any(key.startswith("filter.lfs") for key in checkout.settings):
        return frozenset()
    blobs = {path: blob for path, blob in status.changed.items() if blob}
    sizes = await object_sizes(git, blobs.values())
    pointers = await read_objects(git, [blob for blob, size in sizes.items() if size <= _POINTER_SIZE])
    return frozenset(
        path
        for path, blob in blobs.items()
        if blob in pointers and _is_content_of(pointers[blob], checkout.top / os.fsdecode(path))
    )


def _is_content_of(pointer: bytes, file: Path) -> bool:
    match = _POINTER.match(pointer)
    if not match or not file.is_file() or file.stat().st_size != int(match[2]):
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == match[1].decode()


def _check_size(top: Path, paths: Iterable[bytes]) -> None:
    sizes: list[tuple[int, str]] = []
    for path in paths:
        name = os.fsdecode(path)
        try:
            found = (top / name).lstat()
        except OSError:  # deleted, or gone since
            continue
        if stat.S_ISREG(found.st_mode):
            sizes.append((found.st_size, name))
    total = sum(size for size, _ in sizes)
    if total > OVERLAY_LIMIT:
        biggest = ", ".join(f"{one_line(name)} ({human_bytes(size)})" for size, name in sorted(sizes, reverse=True)[:3])
        raise WorkspaceError(
            f"{plural(len(sizes), 'uncommitted file')} of {human_bytes(total)}, more than {human_bytes(OVERLAY_LIMIT)}",
            hint=f"The biggest: {biggest}. Commit them, or name them in .gitignore: ignored files do not travel.",
        )

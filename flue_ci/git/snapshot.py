"""Takes what is uncommitted in a checkout as git objects into our own repository: the bytes of the files, without
filters.

The checkout is read only; its index is copied, so that files which git knows to be unchanged are not read again.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import human_bytes, one_line, plural
from flue_ci.git.checkout import Checkout, index_entries
from flue_ci.git.command import Git, object_sizes, pack_objects, read_objects, split_nul
from flue_ci.git.path_rules import BYTECODE

OVERLAY_LIMIT = 200_000_000  # bytes of changed and untracked files that are sent
# For every path, before anything in the tree: no conversion of line ends, no filters, no drivers. `!` means
# unspecified.
NEUTRAL_ATTRIBUTES = "* -text !eol !crlf -filter -ident !working-tree-encoding !diff !merge\n"
LFS_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
POINTER_SIZE = 1024
_ATTRIBUTES_LIMIT = 1_000_000
_BYTECODE = re.compile(BYTECODE.encode())
MEMORY_BYTES = 6_000_000_000  # bytes for git: a commit of a few objects can stand for billions of files
_REGULAR = ("100644", "100755", "120000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The trees of a checkout: `head_tree` is its commit's, `index_tree` what its index holds, `tree` the files on disk
    (without ignored ones and untracked bytecode).

    `intent_to_add` are paths of which the index has the name only. `nested_repositories` are left out. `filter_files`
    have a filter and may have changed: `tree` has them as git has stored them, or not at all. `files` counts the files
    of `tree`.
    """

    head_tree: str
    index_tree: str
    tree: str
    intent_to_add: tuple[bytes, ...] = ()
    nested_repositories: tuple[str, ...] = ()
    filter_files: tuple[str, ...] = ()
    files: int = 0


@dataclass(slots=True)
class _Status:
    """What `git status` prints. Paths of files that differ from the index are the keys of `disk_changes`; the value is
    the blob in the index when only the content differs, otherwise empty. `deletions` are those of them that are not on
    disk. `index_blobs` are the files in the index that differ from the commit, `index_changes` whether anything does.
    """

    disk_changes: dict[bytes, str] = field(default_factory=dict)
    deletions: set[bytes] = field(default_factory=set)
    untracked_files: list[bytes] = field(default_factory=list)
    index_blobs: list[str] = field(default_factory=list)
    index_changes: bool = False
    intent_to_add: list[bytes] = field(default_factory=list)
    nested_repositories: list[bytes] = field(default_factory=list)


async def take_snapshot(git: Git, checkout: Checkout, *, memory: int = MEMORY_BYTES) -> Snapshot:
    """Writes the snapshot's objects into the bare repository at `git.cwd`, which has the checkout's commit already.

    `memory` bounds git in bytes. Raises `WorkspaceError` for unmerged files and when more than `OVERLAY_LIMIT` bytes
    would have to be sent.
    """
    view = _view(git, checkout, memory)
    (git.cwd / "info/attributes").unlink(missing_ok=True)
    _copy_index(checkout, git.cwd)
    both = checkout.with_objects(view)
    options = ("--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=all", "--no-renames")
    status = parse_status((await replace(both, cwd=checkout.top).run("status", *options)).out)
    changes = [*(status.disk_changes.keys() - status.deletions), *status.untracked_files]
    filter_files = await _with_filter(checkout, changes)
    same = await _same_in_lfs(both, checkout, status) | filter_files
    paths = [path for path in [*status.disk_changes, *status.untracked_files] if path not in same]
    head_tree = (await both.run("rev-parse", "--verify", f"{checkout.head}^{{tree}}")).line
    index_tree = tree = head_tree
    if paths or status.index_changes or status.intent_to_add:
        _check_size(checkout.top, paths)
        (git.cwd / "info/attributes").write_text(NEUTRAL_ATTRIBUTES)
        if status.index_blobs:
            await pack_objects(both, status.index_blobs)
        if status.index_changes:
            index_tree = (await view.run("write-tree", "--missing-ok")).line
        await _update_index(replace(view, cwd=checkout.top), status, paths)
        tree = (await view.run("write-tree", "--missing-ok")).line
    return Snapshot(
        head_tree=head_tree,
        index_tree=index_tree,
        tree=tree,
        intent_to_add=tuple(status.intent_to_add),
        nested_repositories=tuple(one_line(os.fsdecode(path)) for path in status.nested_repositories),
        filter_files=tuple(sorted(one_line(os.fsdecode(path)) for path in filter_files)),
        files=index_entries(git.cwd / "index"),
    )


async def _update_index(git: Git, status: _Status, paths: list[bytes]) -> None:
    """Takes the files as they are on disk into the index. Deletions come first: a link may stand where the directory
    of a deleted file was."""
    deletions = b"".join(path + b"\0" for path in paths if path in status.deletions)
    files = b"".join(path + b"\0" for path in paths if path not in status.deletions)
    if deletions:
        await git.run("update-index", "--force-remove", "-z", "--stdin", stdin=deletions)
    await git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=files)


def _view(git: Git, checkout: Checkout, memory: int) -> Git:
    """Our repository with their work tree, a copy of their index, and their settings about files."""
    theirs = [f"{key}={value}" for key, value in checkout.settings.items() if re.match(r"core\.(?!excludesfile)", key)]
    ours = ("core.protectNTFS=false", "core.protectHFS=false", "core.splitIndex=false", "core.excludesFile=/dev/null")
    view = git.with_env(GIT_WORK_TREE=str(checkout.top), GIT_INDEX_FILE=str(git.cwd / "index"))
    return replace(view, config=(*git.config, *theirs, *ours), memory=memory)


def without_filters(git: Git, checkout: Checkout) -> Git:
    """Our repository at `git.cwd` with their work tree, settings and attributes, but without filters: those are
    programs that the checkout's configuration names."""
    attributes = b""
    theirs = checkout.objects.parent / "info/attributes"
    if theirs.is_file() and theirs.stat().st_size < _ATTRIBUTES_LIMIT:
        attributes = theirs.read_bytes() + b"\n"
    (git.cwd / "info/attributes").write_bytes(attributes + b"* !filter\n")
    return replace(_view(git, checkout, MEMORY_BYTES), cwd=checkout.top)


def _copy_index(checkout: Checkout, git_dir: Path) -> None:
    """With its time, by which git recognises files that may have changed in the same second. A split index is two
    files."""
    (git_dir / "index").unlink(missing_ok=True)
    for path in checkout.index.parent.glob("sharedindex.*"):
        if path.is_file():
            shutil.copy2(path, git_dir / path.name)
    if checkout.index.exists():
        shutil.copy2(checkout.index, git_dir / "index")


def parse_status(out: bytes) -> _Status:
    """Reads `git status --porcelain=v2 -z --no-renames` (git-status, "Porcelain Format Version 2"). Raises
    `WorkspaceError` for unmerged files."""
    status = _Status()
    for record in split_nul(out):
        if record.startswith(b"? "):
            if _BYTECODE.search(record[2:]):
                continue
            names = status.nested_repositories if record.endswith(b"/") else status.untracked_files
            names.append(record[2:])
            continue
        if record.startswith(b"u "):
            raise WorkspaceError(
                f"{one_line(os.fsdecode(record.split(b' ', 10)[10]))} is in an unresolved merge conflict",
                hint="Finish or abort the merge first (git status shows it).",
            )
        _, flags, _, _, index_mode, disk_mode, _, blob, path = record.split(b" ", 8)
        if flags == b".A":
            status.intent_to_add.append(path)
        if flags[:1] != b".":
            status.index_changes = True
            if index_mode.decode() in _REGULAR:
                status.index_blobs.append(blob.decode())
        if flags[1:] != b".":
            status.disk_changes[path] = blob.decode() if index_mode == disk_mode else ""
        if flags[1:] == b"D":
            status.deletions.add(path)
    return status


async def _with_filter(checkout: Checkout, paths: list[bytes]) -> frozenset[bytes]:
    """Those for which git would run a filter, git-lfs excepted. What such a file holds may be readable on this disk
    only (git-crypt), and what git would store of it only the filter knows, a program that we do not run."""
    drivers = {key.split(".", 1)[1].rpartition(".")[0] for key in checkout.settings if key.startswith("filter.")}
    if not paths or drivers <= {"lfs"}:
        return frozenset()
    git = Git(cwd=checkout.top, user_config=True)
    names = b"".join(path + b"\0" for path in paths)
    fields = (await git.run("check-attr", "-z", "--stdin", "filter", stdin=names)).out.split(b"\0")
    values = zip(fields[::3], fields[2::3], strict=False)
    return frozenset(path for path, value in values if os.fsdecode(value).lower() in drivers - {"lfs"})


async def _same_in_lfs(git: Git, checkout: Checkout, status: _Status) -> frozenset[bytes]:
    """Files that differ from the index only because git-lfs has put the real content in the place of its pointer."""
    if not any(key.startswith("filter.lfs") for key in checkout.settings):
        return frozenset()
    blobs = {path: blob for path, blob in status.disk_changes.items() if blob}
    sizes = await object_sizes(git, blobs.values())
    pointers = await read_objects(git, [blob for blob, size in sizes.items() if size <= POINTER_SIZE])
    return frozenset(
        path
        for path, blob in blobs.items()
        if blob in pointers and _is_content_of(pointers[blob], checkout.top / os.fsdecode(path))
    )


def _is_content_of(pointer: bytes, file: Path) -> bool:
    match = LFS_POINTER.match(pointer)
    if not match or not file.is_file() or file.stat().st_size != int(match[2]):
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == match[1].decode()


def _check_size(top: Path, paths: Iterable[bytes]) -> None:
    """Raises `WorkspaceError` when the files are more than `OVERLAY_LIMIT` bytes."""
    sizes: list[tuple[int, str]] = []
    for path in paths:
        name = os.fsdecode(path)
        try:
            status = (top / name).lstat()
        except OSError:  # deleted, perhaps since git looked
            continue
        if stat.S_ISREG(status.st_mode):
            sizes.append((status.st_size, name))
    total = sum(size for size, _ in sizes)
    if total > OVERLAY_LIMIT:
        biggest = ", ".join(f"{one_line(name)} ({human_bytes(size)})" for size, name in sorted(sizes, reverse=True)[:3])
        raise WorkspaceError(
            f"{plural(len(sizes), 'uncommitted file')} of {human_bytes(total)}, more than {human_bytes(OVERLAY_LIMIT)}",
            hint=f"The biggest: {biggest}. Commit them, or name them in .gitignore: ignored files do not travel.",
        )

"""Contents of files that Git LFS keeps: from the checkout's own store, else by the API of the forge that the repository
itself comes from, never of an endpoint that a file names. Each is checked by size and SHA-256.
"""

import asyncio
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from flue_ci.core.errors import FlueError
from flue_ci.core.text import first_few, human_bytes, one_line, plural
from flue_ci.git.checkout import find_checkout
from flue_ci.git.command import git_in, read_objects, split_nul
from flue_ci.git.fetch import Remote
from flue_ci.git.lfs_api import LfsPointer, download
from flue_ci.git.path_rules import display_name
from flue_ci.git.snapshot import LFS_POINTER, POINTER_SIZE
from flue_ci.git.source import LfsFile, Source, new_repository

_SHORTEST = 120  # bytes of a pointer
_LIST_BYTES = 200_000_000
_CHUNK = 1 << 20


async def fetch_lfs_files(
    source: Source, checkout: Path | None, git_dirs: tuple[Path, ...], remote: Remote | None, *, limit: int
) -> tuple[tuple[LfsFile, ...], list[str]]:
    """The files of `source` with what their pointers stand for, and notes on those that stay pointers: one for each
    reason. `checkout` is the work tree on this host, `remote` the repository on its forge; `limit`: bytes of all
    contents together."""
    pointers = sorted(await _pointers(source), key=lambda pointer: (pointer.size, pointer.path))
    if not pointers:
        return (), []
    folder = source.git_dir.parent / "lfs"
    folder.mkdir(exist_ok=True)
    problems: dict[str, str] = {}  # by oid
    total, by_oid = 0, dict[str, LfsPointer]()
    for pointer in pointers:
        total += pointer.size
        if total > limit:
            problems.setdefault(pointer.oid, f"all of them are more than {human_bytes(limit)}")
        else:
            by_oid.setdefault(pointer.oid, pointer)
    if checkout:
        store = (await find_checkout(checkout, git_dirs)).objects.parent / "lfs/objects"
        local = [pointer for pointer in pointers if pointer.oid in by_oid]
        await asyncio.to_thread(_copy_local, local, checkout, store, folder)
    missing = [each for oid, each in by_oid.items() if not (folder / oid).exists()]
    if missing and remote is None:
        reason = "this checkout lacks the content and has no repository on the forge (git lfs pull brings them)"
        problems |= {each.oid: reason for each in missing}
    elif missing and remote:
        try:
            problems |= await download(remote, missing, folder)
        except FlueError as error:
            reason = one_line(f"{error} ({error.hint})".removesuffix(" ()"), 300)
            problems |= {each.oid: reason for each in missing}
    files = tuple(
        LfsFile(path=pointer.path, mode=pointer.mode, oid=pointer.oid, content=folder / pointer.oid)
        for pointer in sorted(pointers, key=lambda pointer: pointer.path)
        if pointer.oid not in problems
    )
    return files, list(_notes(pointers, problems))


def _notes(pointers: Iterable[LfsPointer], problems: Mapping[str, str]) -> Iterable[str]:
    paths = defaultdict[str, list[str]](list)
    for pointer in pointers:
        if pointer.oid in problems:
            paths[problems[pointer.oid]].append(display_name(pointer.path))
    for reason, names in paths.items():
        files, verb = plural(len(names), "file"), "stay pointers"
        if len(names) == 1:
            verb = "stays a pointer"
        yield f"{files} kept with Git LFS {verb} inside, because {reason}: {first_few(sorted(names), 3)}"


async def _pointers(source: Source) -> list[LfsPointer]:
    """The files that are pointers and for which the attributes of the tree name the filter `lfs`."""
    tree = await source.git.run("ls-tree", "-r", "-z", "-l", "--full-tree", source.tree, limit=_LIST_BYTES)
    blobs: dict[str, tuple[str, str]] = {}
    for line in split_nul(tree.out):
        attributes, _, name = line.partition(b"\t")
        mode, _, blob, size = attributes.decode().split()
        if mode.startswith("100") and _SHORTEST <= int(size) <= POINTER_SIZE:
            blobs[os.fsdecode(name)] = mode, blob
    contents = await read_objects(source.git, [blob for _, blob in blobs.values()])
    pointers = []
    for path, (mode, blob) in blobs.items():
        if match := LFS_POINTER.fullmatch(contents.get(blob, b"")):
            pointers.append(LfsPointer(path=path, mode=mode, oid=match[1].decode(), size=int(match[2])))
    if not pointers:
        return []
    lfs_paths = await _with_filter(source, [pointer.path for pointer in pointers])
    return [pointer for pointer in pointers if pointer.path in lfs_paths]


async def _with_filter(source: Source, paths: list[str]) -> set[str]:
    """Those with the filter `lfs` by `.gitattributes` of the tree alone."""
    bare = source.git_dir.parent / "attributes.git"
    if not bare.exists():
        new_repository(bare, head="ref: refs/heads/main", object_format=source.object_format)
    git = git_in(bare).with_env(GIT_ALTERNATE_OBJECT_DIRECTORIES=str(source.git_dir / "objects"))
    await git.run("read-tree", source.tree)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    out = (await git.run("check-attr", "--cached", "-z", "--stdin", "filter", stdin=names)).out
    fields = out.split(b"\0")
    values = zip(fields[::3], fields[2::3], strict=False)
    return {os.fsdecode(path) for path, value in values if value == b"lfs"}


def _copy_local(pointers: Iterable[LfsPointer], checkout: Path, store: Path, folder: Path) -> None:
    """Copies what this host has, from the store or from the work tree. No link is followed: it may lead anywhere."""
    for pointer in pointers:
        oid = pointer.oid
        for top, name in ((store, f"{oid[:2]}/{oid[2:4]}/{oid}"), (checkout, pointer.path)):
            if not (folder / oid).exists() and os.path.realpath(top / name) == f"{os.path.realpath(top)}/{name}":
                _copy(top / name, pointer, folder)


def _copy(path: Path, pointer: LfsPointer, folder: Path) -> None:
    target = folder / f"{pointer.oid}.part"
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != pointer.size:
            return
        digest = hashlib.sha256()
        with path.open("rb") as source, target.open("wb") as copy:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
    except OSError:  # what cannot be read is not there
        return
    if digest.hexdigest() == pointer.oid:
        target.rename(folder / pointer.oid)

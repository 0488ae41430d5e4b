"""Copies a commit with a given depth of history from a checkout on this host into a bare repository of our own.

Only what is reachable from the commit is taken: other branches, stashes and deleted secrets stay where they are.
"""

import asyncio
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from flue_ci.git.checkout import Checkout, index_entries
from flue_ci.git.command import Git, GitCommandError, join_lines, pack_objects

_FEW_OBJECTS = 4096
_SMALLER_DEPTHS = (50, 10, 1)
_PACK_MAGIC = b"\xfftOc\x00\x00\x00\x02"


async def copy_whole_history(git: Git, checkout: Checkout, depth: int) -> int:
    """`copy_history` with as many of the `depth` generations (0: all) as have all their objects: of a partial clone,
    that may be the commit alone. Returns the depth; raises `GitCommandError` when not even the commit is whole."""
    depths = [depth, *(smaller for smaller in _SMALLER_DEPTHS if not depth or smaller < depth)]
    for generations in depths[:-1]:
        with suppress(GitCommandError):
            await copy_history(git, checkout, generations)
            return generations
    await copy_history(git, checkout, depths[-1])
    return depths[-1]


async def missing_objects(git: Git, checkout: Checkout) -> list[str]:
    """The names of what is missing of the checkout's commit, and then of its index. What is below a missing tree is
    only known when that tree is there."""
    both = checkout.with_objects(git)
    options = ("--objects", "--missing=print", "--no-object-names", "--no-walk")
    listing = (await both.run("rev-list", *options, checkout.head)).out.decode().split()
    if missing := [name[1:] for name in listing if name.startswith("?")]:
        return missing
    # Fails for a sparse index with a tree that is missing; then git status says so.
    index = both.with_env(GIT_INDEX_FILE=str(checkout.index))
    entries = (await index.run("ls-files", "--stage", "-z", ok=None)).out.split(b"\0")
    blobs = [entry.split(b" ", 2)[1].decode() for entry in entries if entry.startswith(b"1") and entry[:6] != b"160000"]
    checks = await both.run("cat-file", "--batch-check=%(objectname)", stdin=join_lines(blobs))
    return [line.split()[0] for line in checks.out.decode().splitlines() if line.endswith(" missing")]


async def copy_history(git: Git, checkout: Checkout, depth: int) -> None:
    """Fills the bare repository at `git.cwd` with the checkout's commit and the last `depth` generations (0: all).

    Depth counts as in `git fetch --depth`; commits whose parents stay behind are listed in our `shallow` file. Raises
    `GitCommandError`, for example when objects are missing (a partial clone).
    """
    both, head = checkout.with_objects(git), checkout.head
    _write_shallow(git.cwd, checkout.shallow)
    _write_shallow(git.cwd, await _boundary(both, head, depth, checkout.shallow))
    file_count = index_entries(checkout.index)
    packs = [idx for idx in checkout.objects.glob("pack/pack-*.idx") if _is_candidate(idx, file_count)]
    if not packs or not await _copy_packs(both, packs, head):
        await pack_objects(both, [head], "--revs")


def cut_points(
    parents: Mapping[str, tuple[str, ...]], head: str, depth: int, shallow: frozenset[str]
) -> frozenset[str] | None:
    """The commits of the first `depth` generations whose parents stay behind. None: one of them is not in `parents`."""
    ancestors, level, points = {head}, [head], set()
    for generation in range(1, depth + 1):
        following: list[str] = []
        for commit in level:
            if commit not in parents:
                return None
            if commit in shallow or (generation == depth and parents[commit]):
                points.add(commit)
            following += [parent for parent in parents[commit] if parent not in ancestors]
            ancestors.update(parents[commit])
        level = list(dict.fromkeys(following))
        if not level:
            break
    return frozenset(points)


async def _boundary(git: Git, head: str, depth: int, shallow: frozenset[str]) -> frozenset[str]:
    if depth == 0:
        if not shallow:
            return frozenset()
        result = await git.run("rev-list", head)
        return shallow & frozenset(result.out.decode().split())
    count = 4 * depth + 100  # nearly always enough; a history of many merges needs another look
    while True:
        result = await git.run("rev-list", "--parents", f"--max-count={count}", head)
        lines = [line.split() for line in result.out.decode().splitlines()]
        points = cut_points({line[0]: tuple(line[1:]) for line in lines}, head, depth, shallow)
        if points is not None:
            return points
        count *= 8


def _write_shallow(git_dir: Path, commits: Iterable[str]) -> None:
    (git_dir / "shallow").unlink(missing_ok=True)
    if lines := join_lines(sorted(commits)):
        (git_dir / "shallow").write_bytes(lines)


def _is_candidate(idx: Path, file_count: int) -> bool:
    """A pack of about the size of one commit, as a fresh or shallow clone has it, may hold nothing that we must leave
    behind. No links: they may lead to any file of this machine, also from the directory."""
    pack = idx.with_suffix(".pack")
    if idx.parent.is_symlink() or any(path.is_symlink() or not path.is_file() for path in (idx, pack)):
        return False
    if idx.with_suffix(".mtimes").exists():
        return False
    with idx.open("rb") as file:
        header = file.read(8 + 1024)
    return header.startswith(_PACK_MAGIC) and int.from_bytes(header[-4:], "big") <= 4 * file_count + _FEW_OBJECTS


async def _copy_packs(git: Git, packs: list[Path], head: str) -> bool:
    """Copies those packs that hold reachable objects only, and packs what they lack. False: there are none.

    A copy and no hard link: git updates the times of packs in which it finds an object, and the checkout is only read.
    """
    result = await git.run("rev-list", "--objects", "--no-object-names", head)
    size = len(head) // 2
    reachable = frozenset(_split(bytes.fromhex(result.out.decode().replace("\n", "")), size))
    missing, copies = set(reachable), 0
    for idx in packs:
        names = frozenset(_object_names(idx, size))
        if names <= reachable and names & missing and await asyncio.to_thread(_copy_pack, idx, git.cwd):
            missing -= names
            copies += 1
    if copies and missing:
        await pack_objects(git, [name.hex() for name in sorted(missing)])
    return copies > 0


def _copy_pack(idx: Path, git_dir: Path) -> bool:
    """False when it is gone: the checkout may be packed anew at any time."""
    target = git_dir / "objects/pack" / idx.name
    try:
        shutil.copyfile(idx.with_suffix(".pack"), target.with_suffix(".pack"))
        shutil.copyfile(idx, target)
    except FileNotFoundError:
        target.with_suffix(".pack").unlink(missing_ok=True)
        return False
    return True


def _object_names(idx: Path, size: int) -> Iterator[bytes]:
    """The object names in a pack's index, version 2 (git's `gitformat-pack`): header 8, fan-out 1024, then the
    sorted names of `size` bytes each."""
    data = idx.read_bytes()
    count = int.from_bytes(data[1028:1032], "big")
    return _split(data[1032 : 1032 + count * size], size)


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))

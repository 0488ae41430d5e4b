"""Puts a commit with a given depth of history from a checkout on this host into a bare repository of our own, without
reading it twice.

Only what is reachable from the commit is taken: other branches, stashes and deleted secrets stay where they are.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci.git.command import Git, environment_quote

_FEW_OBJECTS = 4096
_PACK_MAGIC = b"\xfftOc\x00\x00\x00\x02"


async def copy_history(
    git: Git, *, objects: Path, head: str, depth: int, cut: frozenset[str], entries: int
) -> tuple[Path, ...]:
    """Fills the bare repository at `git.cwd` with `head` and the last `depth` generations of commits (0: all there
    are).

    `objects` is the other repository's object directory, `cut` its shallow boundary, `entries` the number of files of
    `head`. Depth counts as in `git fetch --depth`; commits whose parents stay behind are listed in our `shallow`
    file. Raises `GitCommandError`, for example when objects are missing (a partial clone).
    """
    both = replace(git, env={**git.env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": environment_quote(objects)})
    _write_shallow(git.cwd, cut)
    _write_shallow(git.cwd, await _boundary(both, head, depth, cut))
    packs = [pack for pack in objects.glob("pack/pack-*.idx") if _could_be_all_ours(pack, entries)]
    if packs and (lent := await _borrow(both, packs, head)):
        return lent
    await both.run(
        "pack-objects", "--revs", "--delta-base-offset", "-q", "objects/pack/pack", stdin=head.encode() + b"\n"
    )
    return ()


async def settle(git: Git, lent: Iterable[Path]) -> None:
    """Copies lent packs, so that the repository at `git.cwd` is complete without the other one."""
    try:
        for idx in lent:
            target = git.cwd / "objects/pack" / idx.name
            await asyncio.to_thread(shutil.copyfile, idx.with_suffix(".pack"), target.with_suffix(".pack"))
            await asyncio.to_thread(shutil.copyfile, idx, target)
    except FileNotFoundError:  # the other repository was packed anew meanwhile
        head = (git.cwd / "HEAD").read_bytes()
        await lending(git, lent).run("pack-objects", "--revs", "-q", "objects/pack/pack", stdin=head)


def lending(git: Git, lent: Iterable[Path]) -> Git:
    """git that sees also the objects of the repositories that lend packs, for reading."""
    directories = {environment_quote(idx.parent.parent) for idx in lent}
    return replace(git, env={**git.env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(sorted(directories))})


def cut_points(
    parents: Mapping[str, tuple[str, ...]], head: str, depth: int, cut: frozenset[str]
) -> frozenset[str] | None:
    """The commits of the first `depth` generations whose parents stay behind. None: `parents` does not know all of
    them.
    """
    seen, level, found = {head}, [head], set()
    for generation in range(1, depth + 1):
        following: list[str] = []
        for commit in level:
            if commit not in parents:
                return None
            if commit in cut or (generation == depth and parents[commit]):
                found.add(commit)
            following += [parent for parent in parents[commit] if parent not in seen]
            seen.update(parents[commit])
        level = list(dict.fromkeys(following))
        if not level:
            break
    return frozenset(found)


async def _boundary(git: Git, head: str, depth: int, cut: frozenset[str]) -> frozenset[str]:
    if depth == 0:
        if not cut:
            return frozenset()
        done = await git.run("rev-list", head)
        return cut & frozenset(done.out.decode().split())
    wanted = 4 * depth + 100  # nearly always enough; a history of many merges needs another look
    while True:
        done = await git.run("rev-list", "--parents", f"--max-count={wanted}", head)
        lines = [line.split() for line in done.out.decode().splitlines()]
        points = cut_points({line[0]: tuple(line[1:]) for line in lines}, head, depth, cut)
        if points is not None:
            return points
        wanted *= 8


def _write_shallow(git_dir: Path, commits: Iterable[str]) -> None:
    lines = "".join(f"{commit}\n" for commit in sorted(commits))
    if lines:
        (git_dir / "shallow").write_text(lines)
    else:
        (git_dir / "shallow").unlink(missing_ok=True)


def _could_be_all_ours(idx: Path, entries: int) -> bool:
    """A pack of about the size of one commit, as a fresh or shallow clone has it, may hold nothing that we must
    leave behind. It travels as it is: a link may lead to any file of this machine.
    """
    if not all(path.is_file() and not path.is_symlink() for path in (idx, idx.with_suffix(".pack"))):
        return False
    if idx.with_suffix(".mtimes").exists():
        return False
    with idx.open("rb") as file:
        header = file.read(8 + 1024)
    return header.startswith(_PACK_MAGIC) and int.from_bytes(header[-4:], "big") <= 4 * entries + _FEW_OBJECTS


async def _borrow(git: Git, packs: list[Path], head: str) -> tuple[Path, ...]:
    """Those packs that hold reachable objects only: they can travel as they are. What they lack is packed."""
    done = await git.run("rev-list", "--objects", "--no-object-names", head)
    size = len(head) // 2
    missing = set(_split(bytes.fromhex(done.out.decode().replace("\n", "")), size))
    wanted, lent = frozenset(missing), []
    for idx in packs:
        held = frozenset(_names(idx, size))
        if held <= wanted and held & missing:
            missing -= held
            lent.append(idx)
    if lent and missing:
        names = "".join(f"{name.hex()}\n" for name in sorted(missing)).encode()
        await git.run("pack-objects", "--delta-base-offset", "-q", "objects/pack/pack", stdin=names)
    return tuple(lent)


def _names(idx: Path, size: int) -> Iterator[bytes]:
    """The object names in a pack's index, version 2 (git's `gitformat-pack`): header 8, fan-out 1024, then the
    sorted names.
    """
    data = idx.read_bytes()
    count = int.from_bytes(data[1028:1032], "big")
    return _split(data[1032 : 1032 + count * size], size)


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))

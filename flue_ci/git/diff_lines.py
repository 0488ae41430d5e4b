"""The lines that a diff of two commits shows, as a forge shows it: computed in the repository that was fetched."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from flue_ci.core.concurrency import together
from flue_ci.core.review_scope import DiffFile, Hunk
from flue_ci.git.command import Git, object_sizes, read_objects, split_nul

MAX_DIFF_BYTES = 50_000_000
_MAX_FILE_BYTES, _MAX_TEXT_BYTES = 1_000_000, 60_000_000  # of one file, of all whose texts are read
_MEMORY = 2_000_000_000  # for git: the commits may be a stranger's
_OPTIONS = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--unified=3", "--no-abbrev")
_PART = re.compile(rb"^diff --git .*$", re.MULTILINE)
_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_LINK = "160000"


async def merge_base(git: Git, base: str, head: str) -> str:
    """The commit where `head` left `base`; `base` itself when none is here. Raises `WorkspaceError`."""
    return (await git.run("merge-base", "--end-of-options", base, head, ok=(0, 1))).line or base


async def read_diff(git: Git, base: str, head: str) -> Mapping[str, DiffFile]:
    """The files that differ between two commits, by their path in `head` (or in `base`, when they are deleted). Raises
    `WorkspaceError`."""
    limited_git = Git(cwd=git.cwd, env=git.env, memory=_MEMORY)
    listing, patch = await together(
        limited_git.run("diff", *_OPTIONS, "--raw", "-z", "--end-of-options", base, head, limit=MAX_DIFF_BYTES),
        limited_git.run("diff", *_OPTIONS, "--patch", "--end-of-options", base, head, limit=MAX_DIFF_BYTES),
    )
    parts = _split(patch.out)
    files = []
    texts: dict[str, Sequence[str]] = {}
    for (old_mode, mode, old_blob, blob, _), old_path, path in _entries(listing.out.split(b"\0")):
        # A file that becomes a link, or the other way round, is shown as a deletion and an addition.
        count = 1 + (old_mode[:2] != mode[:2] and "000000" not in (old_mode, mode))
        hunks = tuple(hunk for part in parts[:count] for hunk in _hunks(part))
        del parts[:count]
        files.append((path, old_path, hunks, old_blob, blob))
        if hunks and _LINK not in (old_mode, mode):
            texts |= {old_blob: (), blob: ()}
    texts |= await _texts(limited_git, [name for name in texts if name.strip("0")])
    return {
        path: DiffFile(
            path=path, old_path=old_path, hunks=hunks, old_lines=texts.get(old_blob, ()), new_lines=texts.get(blob, ())
        )
        for path, old_path, hunks, old_blob, blob in files
    }


async def changed_paths(git: Git, before: str, after: str) -> tuple[list[str], Mapping[str, str]]:
    """The paths that differ between two commits, as they are in `after`; and where files of `before` are in it by
    another path ("": nowhere). Raises `WorkspaceError`."""
    command = ("diff", "--raw", "-z", "--find-renames", "--no-abbrev", "--end-of-options", before, after)
    out = (await git.run(*command, limit=MAX_DIFF_BYTES)).out
    paths: list[str] = []
    moves: dict[str, str] = {}
    for (*_, status), old_path, path in _entries(out.split(b"\0")):
        paths.append(path)
        if status.startswith("R"):
            moves[old_path] = path
        elif status == "D":
            moves[path] = ""
    return paths, moves


async def paths_in(git: Git, commit: str) -> frozenset[str]:
    """All files of a commit. Raises `WorkspaceError`."""
    out = (await git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, limit=MAX_DIFF_BYTES)).out
    return frozenset(name.decode("utf-8", "surrogateescape") for name in split_nul(out))


def _entries(fields: Sequence[bytes]) -> list[tuple[list[str], str, str]]:
    """Of `--raw -z`: modes, blobs and status; old path, path."""
    entries, values = [], iter(fields)
    for value in values:
        if not value.startswith(b":"):
            continue
        facts = value[1:].decode().split(" ")
        old_path = path = next(values).decode("utf-8", "surrogateescape")
        if facts[-1][0] in "RC":
            path = next(values).decode("utf-8", "surrogateescape")
        entries.append((facts, old_path, path))
    return entries


def _split(patch: bytes) -> list[bytes]:
    """The parts of a patch, one for each file. No line of a hunk begins as their first lines do."""
    starts = [*(match.start() for match in _PART.finditer(patch)), len(patch)]
    return [patch[start:end] for start, end in pairwise(starts)]


def _hunks(part: bytes) -> list[Hunk]:
    hunks = []
    for match in _HUNK.finditer(part):
        old, old_count, new, new_count = (1 if value is None else int(value) for value in match.groups())
        hunks.append(Hunk((old, old + old_count), (new, new + new_count)))
    return hunks


async def _texts(git: Git, blobs: Sequence[str]) -> dict[str, Sequence[str]]:
    """The lines of those blobs that are texts of a usual size."""
    sizes = {name: size for name, size in (await object_sizes(git, blobs)).items() if size <= _MAX_FILE_BYTES}
    names, total = [], 0
    for name, size in sizes.items():
        total += size
        if total <= _MAX_TEXT_BYTES:
            names.append(name)
    contents = await read_objects(git, names)
    return {name: _lines(data) for name, data in contents.items() if b"\0" not in data}


def _lines(data: bytes) -> list[str]:
    """As git counts them: only a line feed ends a line."""
    lines = data.split(b"\n")
    result = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    return [line.decode("utf-8", "replace") for line in result]

"""What differs between two trees or commits, as git lists it; and the lines that their diff shows, as a forge shows it:
computed in the repository that was fetched."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flue_ci.core.concurrency import together
from flue_ci.core.review_scope import DiffFile, Hunk
from flue_ci.git.command import Git, object_sizes, read_objects, split_nul

MAX_DIFF_BYTES = 50_000_000
_MAX_FILE_BYTES, _MAX_TEXT_BYTES = 1_000_000, 60_000_000  # of one file, of all whose texts are read
_MEMORY = 2_000_000_000  # for git: the commits may be a stranger's
_OPTIONS = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames", "--no-abbrev")
_PART = re.compile(rb"^diff --git .*$", re.MULTILINE)
_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_LINK = "160000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One changed path by `git diff-tree --raw`. `status` is its letter; modes are six octal digits, `000000` where the
    path does not exist. `old_path` is set for renames and copies."""

    status: str
    old_mode: str
    old_blob: str
    mode: str
    blob: str
    path: str
    old_path: str | None

    @property
    def lines(self) -> bytes:
        """What `git update-index -z --index-info` reads to make the change."""
        lines = index_line(self.mode, self.blob, self.path)
        if self.status == "R" and self.old_path:
            lines = index_line("000000", "0" * len(self.blob), self.old_path) + lines
        return lines


def index_line(mode: str, blob: str, path: str) -> bytes:
    """`MODE BLOB 0 TAB PATH NUL`: an entry of an index as git reads and writes it."""
    return f"{mode} {blob} 0\t".encode() + os.fsencode(path) + b"\0"


def parse_diff(out: bytes) -> tuple[list[Entry], dict[str, tuple[int, int, bool]]]:
    """Reads `git diff-tree -r -z --raw`, also with `--numstat`: the entries, and for each path lines added, lines
    deleted, binary."""
    fields = iter(out.split(b"\0"))
    entries: list[Entry] = []
    counts: dict[str, tuple[int, int, bool]] = {}
    for field in fields:
        if field.startswith(b":"):
            entries.append(_raw_entry(field, fields))
        elif field:
            plus, minus, path = field.split(b"\t", 2)
            if not path:  # a rename: both names follow as fields of their own
                next(fields)
                path = next(fields)
            counts[os.fsdecode(path)] = (0, 0, True) if plus == b"-" else (int(plus), int(minus), False)
    return entries, counts


def _raw_entry(field: bytes, following: Iterator[bytes]) -> Entry:
    """`:OLDMODE NEWMODE OLDBLOB NEWBLOB STATUS`, then one path, or two for renames and copies."""
    old_mode, mode, old_blob, blob, status = field[1:].decode().split(" ")
    path, old_path = os.fsdecode(next(following)), None
    if status[0] in "RC":
        old_path, path = path, os.fsdecode(next(following))
    return Entry(
        status=status[0], old_mode=old_mode, old_blob=old_blob, mode=mode, blob=blob, path=path, old_path=old_path
    )


async def merge_base(git: Git, base: str, head: str) -> str:
    """The commit where `head` left `base`; `base` itself when none is here. Raises `WorkspaceError`."""
    return (await git.run("merge-base", "--end-of-options", base, head, ok=(0, 1))).line or base


async def read_diff(git: Git, base: str, head: str) -> Mapping[str, DiffFile]:
    """The files that differ between two commits, by their path in `head` (or in `base`, when they are deleted). Raises
    `WorkspaceError`."""
    limited_git = Git(cwd=git.cwd, env=git.env, memory=_MEMORY)
    listing, patch = await together(
        limited_git.run("diff", *_OPTIONS, "--raw", "-z", "--end-of-options", base, head, limit=MAX_DIFF_BYTES),
        limited_git.run("diff", *_OPTIONS, "--unified=3", "--end-of-options", base, head, limit=MAX_DIFF_BYTES),
    )
    parts = _split(patch.out)
    files = []
    texts: dict[str, Sequence[str]] = {}
    for entry in parse_diff(listing.out)[0]:
        modes = entry.old_mode, entry.mode
        # A file that becomes a link, or the other way round, is shown as a deletion and an addition.
        count = 1 + (modes[0][:2] != modes[1][:2] and "000000" not in modes)
        hunks = tuple(hunk for part in parts[:count] for hunk in _hunks(part))
        del parts[:count]
        files.append((entry, hunks))
        if hunks and _LINK not in modes:
            texts |= {entry.old_blob: (), entry.blob: ()}
    texts |= await _texts(limited_git, [name for name in texts if name.strip("0")])
    return {
        entry.path: DiffFile(
            path=entry.path,
            old_path=entry.old_path or entry.path,
            hunks=hunks,
            old_lines=texts.get(entry.old_blob, ()),
            new_lines=texts.get(entry.blob, ()),
        )
        for entry, hunks in files
    }


async def changed_paths(git: Git, before: str, after: str) -> tuple[list[str], Mapping[str, str]]:
    """The paths that differ between two commits, as they are in `after`; and where files of `before` are in it by
    another path ("": nowhere). Raises `WorkspaceError`."""
    command = ("diff", "--raw", "-z", "--find-renames", "--no-abbrev", "--end-of-options", before, after)
    out = (await git.run(*command, limit=MAX_DIFF_BYTES)).out
    paths: list[str] = []
    moves: dict[str, str] = {}
    for entry in parse_diff(out)[0]:
        paths.append(entry.path)
        if entry.status == "R" and entry.old_path:
            moves[entry.old_path] = entry.path
        elif entry.status == "D":
            moves[entry.path] = ""
    return paths, moves


async def paths_in(git: Git, commit: str) -> frozenset[str]:
    """All files of a commit. Raises `WorkspaceError`."""
    out = (await git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, limit=MAX_DIFF_BYTES)).out
    return frozenset(name.decode("utf-8", "surrogateescape") for name in split_nul(out))


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

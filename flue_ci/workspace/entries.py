"""A changed path of two trees, as git lists it. Pure."""

import os
from collections.abc import Iterator
from dataclasses import dataclass


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
    """Reads `git diff-tree -r -z --raw --numstat`: the entries, and for each path lines added, lines deleted,
    binary."""
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

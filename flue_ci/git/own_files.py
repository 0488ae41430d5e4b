"""Reads files of a checkout. Its text is trusted; where its links lead is not: nothing outside of it, and nothing of
`.git`."""

from __future__ import annotations

from pathlib import Path


def is_inside_repository(root: Path, path: Path) -> bool:
    """True for a regular file that, all links followed, lies in `root` and not in its `.git`."""
    try:
        real, top = path.resolve(strict=True), root.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return real.is_file() and real.is_relative_to(top) and ".git" not in real.relative_to(top).parts


def read_repository_file(root: Path, path: Path, limit: int) -> str:
    """At most `limit` bytes of such a file as text; empty for any other. Raises `OSError` when it cannot be read."""
    if not is_inside_repository(root, path):
        return ""
    with path.resolve().open("rb") as file:
        return file.read(limit).decode("utf-8", "replace")

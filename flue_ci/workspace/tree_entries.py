"""Verified changes as the entries of a tree that a forge is to make."""

import os
import posixpath
from collections.abc import Iterable

from flue_ci.core.commits import TreeEntry
from flue_ci.git.command import read_objects, split_nul
from flue_ci.git.protected import is_protected
from flue_ci.git.source import Source
from flue_ci.workspace.verify import changed_entries

MAX_BYTES = 40_000_000  # of the files that are sent to a forge
MAX_BLOBS = 300  # GitHub takes 500 requests an hour that write something


async def tree_entries(source: Source, before: str, after: str) -> tuple[TreeEntry, ...]:
    """What leads from the tree `before`, which the forge has, to the tree `after` of this host. Content that the forge
    has already, because a file was renamed or only its mode changed, is named and not sent.

    Raises `TooMuchOutput` for more than `MAX_BYTES` of content.
    """
    entries = await changed_entries(source, before, after)
    on_forge = {entry.old_blob for entry in entries if entry.status != "A"}
    names = [entry.blob for entry in entries if entry.status != "D" and entry.blob not in on_forge]
    contents = await read_objects(source.git, names, limit=MAX_BYTES)
    result = []
    for entry in entries:
        if entry.status == "D":
            result.append(TreeEntry(path=entry.path, mode=entry.old_mode))
        elif entry.blob in on_forge:
            result.append(TreeEntry(path=entry.path, mode=entry.mode, blob=entry.blob))
        else:
            result.append(TreeEntry(path=entry.path, mode=entry.mode, content=contents[entry.blob]))
    return tuple(result)


def blobs_to_send(entries: Iterable[TreeEntry]) -> int:
    """How many different contents are no text, each of which is a request."""
    return len({entry.content for entry in entries if entry.content is not None and not is_text(entry.content)})


def is_text(content: bytes) -> bool:
    """Whether bytes are UTF-8 without NUL."""
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


async def linked_places(source: Source, *trees: str) -> tuple[str, ...]:
    """Where links with protected names lead, in the base and in `trees`: who changes that file changes what the name
    means."""
    places: dict[str, None] = {}
    for tree in (source.tree, *trees):
        lines = split_nul((await source.git.run("ls-tree", "-r", "-z", tree)).out)
        links = [line.partition(b"\t") for line in lines if line.startswith(b"120000 ")]
        names = {os.fsdecode(path): attributes.split()[2].decode() for attributes, _, path in links}
        names = {path: blob for path, blob in names.items() if is_protected(path)}
        targets = await read_objects(source.git, names.values(), limit=MAX_BYTES)
        for path, blob in names.items():
            place = posixpath.normpath(posixpath.join(posixpath.dirname(path), os.fsdecode(targets.get(blob, b""))))
            if not place.startswith(("/", "..")) and place != ".":
                places[place] = None
    return tuple(places)

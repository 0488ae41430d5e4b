"""Applies a patch that is about to be handed out: to an index, and in a private directory that holds only the files it
names, as a person calls `git apply`."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from flue_ci.core.errors import ChangesRefused
from flue_ci.git.command import Git
from flue_ci.git.diffs import Entry, index_line
from flue_ci.git.snapshot import NEUTRAL_ATTRIBUTES
from flue_ci.git.source import Source, new_repository
from flue_ci.workspace.entry_rules import SECONDS

_MEMORY = 2_000_000_000
_TREE_BYTES = 100_000_000  # of more files than that, only names are tried: in the index
# Names that only Windows or macOS takes for `.git` are a matter of `path_rules`.
STRICT = (
    "core.protectNTFS=false",
    "core.protectHFS=false",
    "core.symlinks=true",
    "core.fileMode=true",
    "apply.ignoreWhitespace=no",
)


async def try_patch(source: Source, patch: bytes, entries: Sequence[Entry], sizes: Mapping[str, int]) -> str:
    """What is wrong when somebody applies `patch` to files, or "". `entries` lead from the base to what it is to make,
    `sizes` are those of their blobs in bytes.

    Raises `ChangesRefused` when it does not even lead there in an index.
    """
    if not entries:
        return ""
    before, after = _index_lines(entries)
    with tempfile.TemporaryDirectory(dir=source.git_dir.parent, prefix="trial-") as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        git_dir = new_repository(Path(scratch, "git"), head=source.base, object_format=source.object_format)
        (git_dir / "info/attributes").write_text(NEUTRAL_ATTRIBUTES)
        (git_dir / "objects/info/alternates").write_text(f"{source.git_dir.absolute()}/objects\n")
        environment = {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(tree), "GIT_INDEX_FILE": f"{scratch}/index"}
        git = Git(
            cwd=tree, env=environment, config=(*STRICT, "core.bare=false", "apply.whitespace=nowarn"), memory=_MEMORY
        )
        await git.run("update-index", "-z", "--index-info", stdin=before)
        has_files = sum(sizes.values()) <= _TREE_BYTES
        if has_files:
            await git.run("checkout-index", "-a", "-q", timeout=SECONDS)
        applied = await git.run("apply", "--cached", stdin=patch, ok=None, timeout=SECONDS)
        listed = await git.run("ls-files", "-s", "-z")
        if applied.code or sorted(listed.out.split(b"\0")) != sorted(after.split(b"\0")):
            raise ChangesRefused(f"the patch does not lead to the changes: {applied.reason}")
        if not has_files:
            return ""
        applied = await git.run("apply", stdin=patch, ok=None, timeout=SECONDS)
        if applied.code:
            return applied.reason
        different = await git.run("ls-files", "-z", "-m", "-d", "-o")
        return different.line.replace("\0", " ").strip()


def _index_lines(entries: Sequence[Entry]) -> tuple[bytes, bytes]:
    """The files that the patch needs, and those that it leaves, as an index lists them."""
    before: dict[str, bytes] = {}
    for entry in entries:
        if entry.status != "A":
            path = entry.old_path or entry.path
            before[path] = index_line(entry.old_mode, entry.old_blob, path)
    after = dict(before)
    for entry in entries:
        if entry.status == "R" and entry.old_path:
            after.pop(entry.old_path, None)
        if entry.status == "D":
            after.pop(entry.path, None)
    for entry in entries:
        if entry.status != "D":
            after[entry.path] = index_line(entry.mode, entry.blob, entry.path)
    return b"".join(before.values()), b"".join(after.values())

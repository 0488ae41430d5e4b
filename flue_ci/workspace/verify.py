"""Decides on this host whether a patch from a sandbox is acceptable, and lists what it changes. Touches no work tree.

git itself applies the patch to an index of the base in the bare repository; our rules are then applied to the resulting
tree. File list, counts and the patch that is passed on come from this host's own trees, never from the bytes that
arrived.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from flue_ci.core.changes import ChangedFile, ChangeKind, ChangeSet
from flue_ci.core.errors import ChangesRefused
from flue_ci.core.text import human_bytes, one_line, plural
from flue_ci.git.command import GitCommandError, TooMuchOutput, object_sizes, read_objects, split_nul
from flue_ci.git.path_rules import display_name, fold_path, link_problem, path_problem
from flue_ci.git.source import Source

_MEMORY = 2_000_000_000  # for git on hostile input: a small patch can describe a lot
_SECONDS = 120.0
_TARGET_LIMIT = 4096  # the longest path that Linux follows
_LINK, _MODULE = "120000", "160000"
_LISTING = ("-r", "-z", "--raw", "--numstat", "--abbrev=64", "--no-renames", "--no-ext-diff", "--no-textconv")
_STRICT = (
    "core.protectNTFS=true",
    "core.protectHFS=true",
    "core.symlinks=true",
    "core.fileMode=true",
    "apply.ignoreWhitespace=no",
)
_LINK_LINE = re.compile(rb"(?:^|\0)120000 blob [0-9a-f]+\t([^\0]+)")
# Any mode but those of files, links and submodules: git accepts it silently. No line of a hunk starts like this.
_ODD_MODE = re.compile(
    rb"^(?:new file|deleted file|old|new) mode (?!(?:10[0-7]{4}|120000|160000)\r?$)(.*)", re.MULTILINE
)
_ENTRY = re.compile(rb"^diff --git (.*)\n(deleted file|new file)?", re.MULTILINE)
_LITERAL = re.compile(rb"^literal (\d{1,18})\r?$", re.MULTILINE)
_PATCH_HINT = "What came back is kept in the patch file for you to look at; nothing of it was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchLimits:
    """How much may come back: bytes of the patch, files changed, bytes of one changed file, bytes of all of them."""

    patch_bytes: int = 20_000_000
    files: int = 10_000
    file_bytes: int = 50_000_000
    total_bytes: int = 500_000_000


LIMITS = PatchLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One changed path by `git diff-tree --raw`. `status` is its letter; modes are six octal digits, `000000` where the
    path does not exist."""

    status: str
    old_mode: str
    old_blob: str
    mode: str
    blob: str
    path: str
    old_path: str | None


async def verify_patch(
    source: Source, patch: bytes, *, limits: PatchLimits = LIMITS, digest: str | None = None
) -> ChangeSet:
    """What `patch` (git's format) changes against `source.base`. `digest` is that of the entries which it has to
    lead to (see `entries_digest`), where that is known.

    Raises `ChangesRefused`, with the bytes, for a patch that git does not take in strict mode and for: paths with
    `..` or `.git` in any spelling, control characters or invalid UTF-8 in names, symbolic links that leave the
    repository, submodule links and `.gitmodules`, and everything over `limits`.
    """
    if not patch:
        return ChangeSet(tree=source.tree)
    try:
        return await _verify(source, patch, limits, digest)
    except ChangesRefused as error:
        raise ChangesRefused(str(error), hint=error.hint or _PATCH_HINT, patch=patch) from None


async def _verify(source: Source, patch: bytes, limits: PatchLimits, digest: str | None) -> ChangeSet:
    if len(patch) > limits.patch_bytes:
        limit = human_bytes(limits.patch_bytes)
        raise ChangesRefused(f"the changes are a patch of {human_bytes(len(patch))}, more than {limit}")
    if not patch.startswith(b"diff --git "):
        raise ChangesRefused("what came back is not a patch in git's format")
    if odd := _ODD_MODE.search(patch):
        raise ChangesRefused(f"the patch has a file of mode {one_line(odd[1].decode('ascii', 'replace'), 20)}")
    if name := _find_double(patch):
        raise ChangesRefused(f"the patch changes a file twice: {display_name(name)}")
    binary_bytes = sum(int(size) for size in _LITERAL.findall(patch))
    if binary_bytes > 2 * limits.total_bytes:  # both directions are in a patch
        raise ChangesRefused(f"the binary files of the patch have {human_bytes(binary_bytes)} when unpacked")
    tree = await _apply(source, patch)
    if digest is not None and await entries_digest(source, tree) != digest:
        raise ChangesRefused(
            "the patch does not lead to the files that are in the sandbox", hint="Run again; if it persists, report it."
        )
    return await _change_set(source, tree, limits)


def _find_double(patch: bytes) -> str:
    """The first name (as in `diff --git`) that the patch changes twice, or "".

    git would apply the second change to the result of the first, so that a reader of the patch is deceived. Only a
    deletion may be followed by an addition: so git writes a change of the type.
    """
    kinds: dict[bytes, bytes] = {}
    for names, kind in _ENTRY.findall(patch):
        if names in kinds and (kinds[names], kind) != (b"deleted file", b"new file"):
            return os.fsdecode(names)
        kinds[names] = kind
    return ""


async def subtract_setup_changes(source: Source, before: ChangeSet, after: ChangeSet) -> ChangeSet:
    """`after` without what `before` had changed already: only files that differ between the two count.

    So lock files and build information that setup commands leave behind are no result, unless the agent changes them
    further. Raises `ChangesRefused`.
    """
    entries = await changed_entries(source, before.tree, after.tree)
    lines = b"".join(_line(entry.mode, entry.blob, entry.path) for entry in entries)
    changes = await _change_set(source, await _changed_tree(source, lines), LIMITS)
    return replace(changes, notes=tuple(note for note in after.notes if note not in before.notes))


async def leave_out(source: Source, changes: ChangeSet, paths: Collection[str]) -> ChangeSet:
    """`changes` without the files that have one of `paths` as new or old name. Raises `ChangesRefused`."""
    lines = b""
    entries = await changed_entries(source, source.tree, changes.tree)
    partners = {file.path: file.old_path for file in changes.files if file.old_path}
    partners |= {old: new for new, old in partners.items()}
    for entry in entries:
        if entry.path not in paths and partners.get(entry.path) not in paths:
            lines += _line(entry.mode, entry.blob, entry.path)
    return await _change_set(source, await _changed_tree(source, lines), LIMITS)


async def _changed_tree(source: Source, lines: bytes) -> str:
    """The tree of the base with other entries, as `git update-index --index-info` reads them."""
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="verify-") as scratch:
        git = source.git.with_env(GIT_INDEX_FILE=f"{scratch}/index")
        await git.run("read-tree", source.tree)
        await git.run("update-index", "-z", "--index-info", stdin=lines)
        return (await git.run("write-tree")).line


async def _change_set(source: Source, tree: str, limits: PatchLimits) -> ChangeSet:
    """The list and the patch from the base to `tree`, made here; every entry has to keep the rules."""
    git = replace(source.git, memory=_MEMORY)
    options = ("-r", "-M", "-l2000", "--no-ext-diff", "--no-textconv", source.tree, tree)
    try:
        raw = await git.run("diff-tree", "-z", "--raw", "--numstat", "--abbrev=64", *options, timeout=_SECONDS)
        entries, counts = parse_diff(raw.out)
        await _check_entries(source, entries, limits)
        await _check_case_collisions(source, tree, entries)
        patch = await git.run(
            "diff-tree", "-p", "--binary", "--full-index", *options, timeout=_SECONDS, limit=limits.patch_bytes
        )
    except GitCommandError as error:
        raise ChangesRefused(f"the changes cannot be listed: {error}") from None
    except TooMuchOutput:
        raise ChangesRefused(f"the changes are a patch of more than {human_bytes(limits.patch_bytes)}") from None
    files = tuple(_changed_file(entry, counts) for entry in entries)
    return ChangeSet(files=files, patch=patch.out, tree=tree)


async def _apply(source: Source, patch: bytes) -> str:
    """The tree that results, with git's own checks of paths, symbolic links and preimages switched on."""
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="verify-") as scratch:
        git = source.git.with_env(GIT_INDEX_FILE=f"{scratch}/index")
        await git.run("read-tree", source.tree)  # without checks: the base is the user's own
        strict = replace(git, config=_STRICT, memory=_MEMORY)
        arguments = ("apply", "--cached", "--binary", "--whitespace=nowarn")
        result = await strict.run(*arguments, stdin=patch, ok=None, timeout=_SECONDS)
        if result.code:
            raise ChangesRefused(f"git refuses the patch: {result.reason}")
        result = await git.run("write-tree", ok=None)
        if result.code:
            raise ChangesRefused(f"git refuses the result: {result.reason}")
        return result.line


async def changed_entries(source: Source, before: str, after: str) -> list[Entry]:
    """Every path in which two trees differ, sorted by git; what was renamed is a deletion and an addition."""
    options = ("-r", "-z", "--raw", "--abbrev=64", "--no-renames", before, after)
    return parse_diff((await source.git.run("diff-tree", *options, timeout=_SECONDS)).out)[0]


async def entries_digest(source: Source, tree: str) -> str:
    """SHA-256 over what differs between the base and `tree`: the entries before, a NUL, and the entries after, each as
    `MODE BLOB 0 TAB PATH NUL` and sorted as bytes. The sandbox makes the same from its index."""
    entries = await changed_entries(source, source.tree, tree)
    before = (_line(entry.old_mode, entry.old_blob, entry.path) for entry in entries if entry.status != "A")
    after = (_line(entry.mode, entry.blob, entry.path) for entry in entries if entry.status != "D")
    return hashlib.sha256(b"".join(sorted(before)) + b"\0" + b"".join(sorted(after))).hexdigest()


def _line(mode: str, blob: str, path: str) -> bytes:
    return f"{mode} {blob} 0\t".encode() + os.fsencode(path) + b"\0"


async def _check_entries(source: Source, entries: list[Entry], limits: PatchLimits) -> None:
    if len(entries) > limits.files:
        raise ChangesRefused(f"{plural(len(entries), 'file')} changed, more than {limits.files:,}")
    for entry in entries:
        for path, in_base in ((entry.path, entry.status in "MDT"), (entry.old_path or "", True)):
            if problem := path_problem(path, in_base=in_base):
                raise ChangesRefused(f"{display_name(path)}: {problem}")
        if _MODULE in (entry.old_mode, entry.mode):
            raise ChangesRefused(
                f"{display_name(entry.path)}: a repository inside the repository (submodule link) was changed",
                hint="Repositories that a task creates belong outside of the work tree, or into .gitignore. "
                + _PATCH_HINT,
            )
    present = [entry for entry in entries if entry.status != "D"]
    sizes = await object_sizes(source.git, [entry.blob for entry in present])
    for entry in present:
        if sizes.get(entry.blob, 0) > limits.file_bytes:
            size = human_bytes(sizes[entry.blob])
            raise ChangesRefused(f"{display_name(entry.path)} has {size}, more than {human_bytes(limits.file_bytes)}")
    total = sum(sizes.get(entry.blob, 0) for entry in present)
    if total > limits.total_bytes:
        limit = human_bytes(limits.total_bytes)
        raise ChangesRefused(f"the changed files have {human_bytes(total)}, more than {limit}")
    await _check_links(source, [entry for entry in present if entry.mode == _LINK], sizes)


async def _check_case_collisions(source: Source, tree: str, entries: list[Entry]) -> None:
    """Raises `ChangesRefused` where a symbolic link and a directory differ in case only, such as `A` and `a/b`.

    On a file system that ignores case, `a/b` would be written to the place that the link `A` leads to.
    """
    new = {entry.path for entry in entries if entry.status in "ARCT"}
    if not new:
        return
    lines = (await source.git.run("ls-tree", "-r", "-z", "--full-tree", tree, timeout=_SECONDS)).out
    links = {fold_path(path): path for path in map(os.fsdecode, _LINK_LINE.findall(lines))}
    if not links:
        return
    paths = new
    if any(entry.mode == _LINK for entry in entries):
        paths = {os.fsdecode(line.partition(b"\t")[2]) for line in split_nul(lines)}
    for path in paths:
        parents = fold_path(path).split("/")[:-1]
        for end in range(len(parents)):
            link = links.get("/".join(parents[: end + 1]))
            if link is not None and (link in new or path in new):
                raise ChangesRefused(
                    f"{display_name(path)}: on some file systems the way there leads over {display_name(link)}"
                )


async def _check_links(source: Source, links: list[Entry], sizes: dict[str, int]) -> None:
    blobs = [entry.blob for entry in links if sizes.get(entry.blob, 0) <= _TARGET_LIMIT]
    targets = await read_objects(source.git, blobs)
    for entry in links:
        target = targets.get(entry.blob)
        problem = "its target is no path" if target is None else link_problem(entry.path, target)
        if problem:
            raise ChangesRefused(f"{display_name(entry.path)}: a symbolic link that is not accepted: {problem}")


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


def _changed_file(entry: Entry, counts: dict[str, tuple[int, int, bool]]) -> ChangedFile:
    plus, minus, binary = counts.get(entry.path, (0, 0, False))
    kinds: dict[str, ChangeKind] = {"A": "added", "D": "deleted", "R": "renamed", "C": "copied", "T": "type-changed"}
    kind = kinds.get(entry.status, "modified")
    if entry.status == "M" and entry.old_mode != entry.mode and not (plus or minus or binary):
        kind = "mode-changed"
    return ChangedFile(path=entry.path, old_path=entry.old_path, kind=kind, added=plus, deleted=minus, binary=binary)

"""Decides on this host whether a patch from a sandbox is acceptable, and says what it changes. Nothing of it touches
a work tree.

git itself applies the patch to an index of the base in the bare repository; our rules then look at the resulting
tree. File list, counts and the patch that is passed on come from this host's own trees, never from the bytes that
arrived.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.core.changes import ChangedFile, ChangeKind, ChangeSet
from flue_ci.core.errors import ChangesRefused
from flue_ci.core.text import human_bytes, one_line, plural
from flue_ci.git.command import GitCommandError, TooMuchOutput, object_sizes, read_objects, reason
from flue_ci.git.source import Source

_MEMORY = 2_000_000_000  # for git on hostile input: a small patch can describe a lot
_SECONDS = 120.0
_TARGET_LIMIT = 4096  # the longest path that Linux follows
_LINK, _MODULE = "120000", "160000"
_PROTECTED = (
    "core.protectNTFS=true",
    "core.protectHFS=true",
    "core.symlinks=true",
    "core.fileMode=true",
    "apply.ignoreWhitespace=no",
)
# What file systems of other people drop or fold: HFS+ ignores these, NTFS trailing dots and spaces, and what follows
# a colon.
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_GIT_ALIASES = re.compile(r"\.git|git~\d+")
_MODULES_ALIASES = re.compile(r"\.gitmodules|gitmod~\d+|(?=.{8}$)gi?7?e?b?a?~[1-9]\d*")
_LISTED_LINK = re.compile(rb"(?:^|\0)120000 blob [0-9a-f]+\t([^\0]+)")
# Files, links and submodules; git would take other kinds without a word. Inside of hunks every line starts otherwise.
_ODD_MODE = re.compile(
    rb"^(?:new file|deleted file|old|new) mode (?!(?:10[0-7]{4}|120000|160000)\r?$)(.*)", re.MULTILINE
)
_ENTRY = re.compile(rb"^diff --git (.*)\n(deleted file|new file)?", re.MULTILINE)
_LITERAL = re.compile(rb"^literal (\d{1,18})\r?$", re.MULTILINE)
_KEPT = "What came back is kept in the patch file for you to look at; nothing of it was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchLimits:
    """How much may come back: bytes of the patch, files changed, bytes of one changed file, bytes of all of them."""

    patch_bytes: int = 20_000_000
    files: int = 10_000
    file_bytes: int = 50_000_000
    total_bytes: int = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One changed path by `git diff-tree --raw`. `status` is its letter; modes are six octal digits, `000000` for
    absent.
    """

    status: str
    old_mode: str
    old_blob: str
    mode: str
    blob: str
    path: str
    old_path: str | None


async def verify_patch(
    source: Source, patch: bytes, *, caps: PatchLimits | None = None, digest: str | None = None
) -> ChangeSet:
    """What `patch` (git's format) changes against `source.base`. `digest` is that of the entries which it has to
    lead to (see `entries_digest`), where that is known.

    Raises `ChangesRefused`, with the bytes, for a patch that git does not take in strict mode and for: paths with
    `..` or `.git` in any spelling, control characters or invalid UTF-8 in names, symbolic links that leave the
    repository, submodule links and `.gitmodules`, and whatever is over `caps`.
    """
    caps = caps or PatchLimits()
    if not patch:
        return ChangeSet(tree=source.tree)
    try:
        return await _verify(source, patch, caps, digest)
    except ChangesRefused as refused:
        raise ChangesRefused(str(refused), hint=refused.hint or _KEPT, patch=patch) from None


async def _verify(source: Source, patch: bytes, caps: PatchLimits, expected: str | None) -> ChangeSet:
    if len(patch) > caps.patch_bytes:
        raise ChangesRefused(
            f"the changes are a patch of {human_bytes(len(patch))}, more than {human_bytes(caps.patch_bytes)}"
        )
    if not patch.startswith(b"diff --git "):
        raise ChangesRefused("what came back is not a patch in git's format")
    if odd := _ODD_MODE.search(patch):
        raise ChangesRefused(f"the patch has a file of mode {one_line(odd[1].decode('ascii', 'replace'), 20)}")
    if twice := _named_twice(patch):
        raise ChangesRefused(f"the patch changes a file twice: {display_name(twice)}")
    unpacked = sum(int(size) for size in _LITERAL.findall(patch))
    if unpacked > 2 * caps.total_bytes:  # both directions are in a patch
        raise ChangesRefused(f"the binary files of the patch have {human_bytes(unpacked)} when unpacked")
    await source.settle()
    tree = await _apply(source, patch)
    if expected is not None and await entries_digest(source, tree) != expected:
        raise ChangesRefused(
            "the patch does not lead to the files that are in the sandbox", hint="Run again; if it persists, report it."
        )
    return await _change_set(source, tree, caps)


def _named_twice(patch: bytes) -> str:
    """What git makes of such a patch is not what it reads like. A change of the type is a deletion and an addition."""
    seen: dict[bytes, bytes] = {}
    for names, what in _ENTRY.findall(patch):
        if names in seen and (seen[names], what) != (b"deleted file", b"new file"):
            return os.fsdecode(names)
        seen[names] = what
    return ""


async def subtract_setup_changes(source: Source, before: ChangeSet, after: ChangeSet) -> ChangeSet:
    """`after` without what `before` had done already: of both, only files that differ between them count.

    So what setup commands leave behind (lock files, build information) is nobody's change, unless the agent goes on
    with it. Raises `ChangesRefused`.
    """
    options = ("-r", "-z", "--raw", "--numstat", "--abbrev=64", "--no-renames", "--no-ext-diff", "--no-textconv")
    await source.settle()
    entries, _ = parse_diff((await source.git.run("diff-tree", *options, before.tree, after.tree)).out)
    none = "0" * len(source.tree)
    lines = [
        f"{entry.mode.lstrip('0') or '0'} {none if entry.status == 'D' else entry.blob}\t{entry.path}\0"
        for entry in entries
    ]
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="verify-") as scratch:
        git = replace(source.git, env={**source.git.env, "GIT_INDEX_FILE": str(Path(scratch) / "index")})
        await git.run("read-tree", source.tree)
        await git.run("update-index", "-z", "--index-info", stdin="".join(lines).encode("utf-8", "surrogateescape"))
        tree = (await git.run("write-tree")).line
    return await _change_set(source, tree, PatchLimits())


async def _change_set(source: Source, tree: str, caps: PatchLimits) -> ChangeSet:
    """The list and the patch from the base to `tree`, made here; every entry has to keep the rules."""
    git = replace(source.git, memory=_MEMORY)
    options = ("-r", "-M", "-l2000", "--no-ext-diff", "--no-textconv", source.tree, tree)
    try:
        listed = await git.run("diff-tree", "-z", "--raw", "--numstat", "--abbrev=64", *options, timeout=_SECONDS)
        entries, counts = parse_diff(listed.out)
        await _check_entries(source, entries, caps)
        await _check_case_collisions(source, tree, entries)
        made = await git.run(
            "diff-tree", "-p", "--binary", "--full-index", *options, timeout=_SECONDS, limit=caps.patch_bytes
        )
    except GitCommandError as failed:
        raise ChangesRefused(f"the changes cannot be listed: {failed}") from None
    except TooMuchOutput:
        raise ChangesRefused(f"the changes are a patch of more than {human_bytes(caps.patch_bytes)}") from None
    files = tuple(_changed_file(entry, counts) for entry in entries)
    return ChangeSet(files=files, patch=made.out, tree=tree)


async def _apply(source: Source, patch: bytes) -> str:
    """The tree that results, with git's own checks of paths, symbolic links and preimages switched on."""
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="verify-") as scratch:
        git = source.git
        git = replace(git, env={**git.env, "GIT_INDEX_FILE": str(Path(scratch) / "index")})
        await git.run("read-tree", source.tree)  # the base is the user's own: whatever it holds, it is not judged here
        strict = replace(git, config=_PROTECTED, memory=_MEMORY)
        done = await strict.run(
            "apply", "--cached", "--binary", "--whitespace=nowarn", stdin=patch, ok=None, timeout=_SECONDS
        )
        if done.code:
            raise ChangesRefused(f"git refuses the patch: {reason(done.err, done.code)}")
        written = await git.run("write-tree", ok=None)
        if written.code:
            raise ChangesRefused(f"git refuses the result: {reason(written.err, written.code)}")
        return written.line


async def entries_digest(source: Source, tree: str) -> str:
    """SHA-256 over what differs between the base and `tree`: the entries before, a NUL, and the entries after, each as
    `MODE BLOB 0 TAB PATH NUL` and sorted as bytes. The sandbox makes the same from its index.
    """
    done = await source.git.run(
        "diff-tree", "-r", "-z", "--raw", "--abbrev=64", "--no-renames", source.tree, tree, timeout=_SECONDS
    )
    entries, _ = parse_diff(done.out)
    before = (_line(entry.old_mode, entry.old_blob, entry.path) for entry in entries if entry.status != "A")
    after = (_line(entry.mode, entry.blob, entry.path) for entry in entries if entry.status != "D")
    return hashlib.sha256(b"".join(sorted(before)) + b"\0" + b"".join(sorted(after))).hexdigest()


def _line(mode: str, blob: str, path: str) -> bytes:
    return f"{mode} {blob} 0\t".encode() + os.fsencode(path) + b"\0"


async def _check_entries(source: Source, entries: list[Entry], caps: PatchLimits) -> None:
    if len(entries) > caps.files:
        raise ChangesRefused(f"{plural(len(entries), 'file')} changed, more than {caps.files:,}")
    for entry in entries:
        for path, known in ((entry.path, entry.status in "MDT"), (entry.old_path or "", True)):
            if problem := path_problem(path, known=known):
                raise ChangesRefused(f"{display_name(path)}: {problem}")
        if _MODULE in (entry.old_mode, entry.mode):
            raise ChangesRefused(
                f"{display_name(entry.path)}: a repository inside the repository (submodule link) was changed",
                hint="Repositories that a task creates belong outside of the work tree, or into .gitignore. " + _KEPT,
            )
    present = [entry for entry in entries if entry.status != "D"]
    sizes = await object_sizes(source.git, [entry.blob for entry in present])
    for entry in present:
        if sizes.get(entry.blob, 0) > caps.file_bytes:
            size = human_bytes(sizes[entry.blob])
            raise ChangesRefused(f"{display_name(entry.path)} has {size}, more than {human_bytes(caps.file_bytes)}")
    total = sum(sizes.get(entry.blob, 0) for entry in present)
    if total > caps.total_bytes:
        raise ChangesRefused(f"the changed files have {human_bytes(total)}, more than {human_bytes(caps.total_bytes)}")
    await _check_links(source, [entry for entry in present if entry.mode == _LINK], sizes)


async def _check_case_collisions(source: Source, tree: str, entries: list[Entry]) -> None:
    """Where the case of letters does not count, a link `A` is in the way to `a/b`, which then is written elsewhere."""
    new = {entry.path for entry in entries if entry.status in "ARCT"}
    if not new:
        return
    listed = (await source.git.run("ls-tree", "-r", "-z", "--full-tree", tree, timeout=_SECONDS)).out
    links = {_folded_path(path): path for path in map(os.fsdecode, _LISTED_LINK.findall(listed))}
    paths = new
    if any(entry.mode == _LINK for entry in entries):
        paths = {os.fsdecode(line.partition(b"\t")[2]) for line in listed.split(b"\0") if line}
    for path in paths if links else ():
        parents = _folded_path(path).split("/")[:-1]
        for end in range(len(parents)):
            link = links.get("/".join(parents[: end + 1]))
            if link is not None and (link in new or path in new):
                raise ChangesRefused(
                    f"{display_name(path)}: on some file systems the way there leads over {display_name(link)}"
                )


async def _check_links(source: Source, links: list[Entry], sizes: dict[str, int]) -> None:
    small = [entry.blob for entry in links if sizes.get(entry.blob, 0) <= _TARGET_LIMIT]
    targets = await read_objects(source.git, small)
    for entry in links:
        problem = link_problem(entry.path, targets[entry.blob]) if entry.blob in targets else "its target is no path"
        if problem:
            raise ChangesRefused(f"{display_name(entry.path)}: a symbolic link that is not accepted: {problem}")


def path_problem(path: str, *, known: bool = False) -> str | None:
    """Why a path (as from `os.fsdecode`) may not change; None when it may. Rules beyond those that git has itself."""
    if not path:
        return None
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if _UNPRINTABLE.search(path) and not known:
        return "the name holds control characters"
    parts = path.split("/")
    on_windows = re.split(r"[/\\]", path)
    if "" in parts or "." in parts or ".." in on_windows:
        return "the path is not a plain relative one"
    if any(_is_git(part) for part in on_windows):
        return "the path leads into a .git directory"
    if _MODULES_ALIASES.fullmatch(_folded(parts[-1])):
        return "submodules cannot be changed here"
    return None


def link_problem(path: str, target: bytes) -> str | None:
    """Why a symbolic link at `path` is not accepted; None when it stays inside the repository for certain.

    `..` counts at the start only: after a name it means the parent of wherever that name leads, which may be another
    link.
    """
    try:
        text = target.decode()
    except UnicodeDecodeError:
        return "its target is not UTF-8"
    if not text or _UNPRINTABLE.search(text):
        return "its target is no plain path"
    if text.startswith("/") or "\\" in text or re.match(r"[A-Za-z]:", text):
        return f"its target {display_name(text)} is not relative"
    parts = [part for part in text.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    if climbs > path.count("/"):
        return f"its target {display_name(text)} is outside of the repository"
    if ".." in parts[climbs:]:
        return f"its target {display_name(text)} has .. after a name"
    if any(_is_git(part) for part in parts):
        return f"its target {display_name(text)} leads into a .git directory"
    return None


def parse_diff(out: bytes) -> tuple[list[Entry], dict[str, tuple[int, int, bool]]]:
    """Reads `git diff-tree -r -z --raw --numstat`: the entries, and for each path lines added, lines deleted,
    binary.
    """
    fields = iter(out.split(b"\0"))
    entries: list[Entry] = []
    counts: dict[str, tuple[int, int, bool]] = {}
    for field in fields:
        if field.startswith(b":"):
            entries.append(_raw_entry(field, fields))
        elif field:
            added, deleted, path = field.split(b"\t", 2)
            if not path:  # a rename: both names follow as fields of their own
                next(fields)
                path = next(fields)
            binary = added == b"-"
            counts[os.fsdecode(path)] = (0, 0, True) if binary else (int(added), int(deleted), False)
    return entries, counts


def display_name(name: str) -> str:
    """A name from a stranger for one line of a message."""
    return one_line(
        name.encode("utf-8", "backslashreplace").decode().encode("unicode_escape").decode() if _odd(name) else name
    )


def _odd(name: str) -> bool:
    return bool(_UNPRINTABLE.search(name)) or any("\ud800" <= letter <= "\udfff" for letter in name)


def _raw_entry(field: bytes, following: Iterator[bytes]) -> Entry:
    """`:OLDMODE NEWMODE OLDBLOB NEWBLOB STATUS`, then one path, or two for renames and copies."""
    old_mode, mode, old_blob, blob, status = field[1:].decode().split(" ")
    first = os.fsdecode(next(following))
    renamed = status[0] in "RC"
    return Entry(
        status=status[0],
        old_mode=old_mode,
        old_blob=old_blob,
        mode=mode,
        blob=blob,
        path=os.fsdecode(next(following)) if renamed else first,
        old_path=first if renamed else None,
    )


def _changed_file(entry: Entry, counts: dict[str, tuple[int, int, bool]]) -> ChangedFile:
    added, deleted, binary = counts.get(entry.path, (0, 0, False))
    kind = _kind(entry, unchanged=not (added or deleted or binary))
    return ChangedFile(path=entry.path, old_path=entry.old_path, kind=kind, added=added, deleted=deleted, binary=binary)


def _kind(entry: Entry, *, unchanged: bool) -> ChangeKind:
    kinds: dict[str, ChangeKind] = {"A": "added", "D": "deleted", "R": "renamed", "C": "copied", "T": "type-changed"}
    if entry.status == "M" and unchanged and entry.old_mode != entry.mode:
        return "mode-changed"
    return kinds.get(entry.status, "modified")


def _is_git(part: str) -> bool:
    return bool(_GIT_ALIASES.fullmatch(_folded(part)))


def _folded(part: str) -> str:
    """The name as the most forgetful file system would keep it."""
    text = part if part.isascii() else unicodedata.normalize("NFD", _IGNORED_BY_HFS.sub("", part))
    return text.partition(":")[0].rstrip(". ").casefold()


def _folded_path(path: str) -> str:
    return "/".join(map(_folded, path.split("/")))

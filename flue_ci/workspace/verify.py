"""Decides on this host whether a patch from a sandbox is acceptable, and lists what it changes. Touches no work tree.

git itself applies the patch to an index of the base in the bare repository; the rules of `entry_rules` are then applied
to the resulting tree. File list, counts and the patch that is passed on come from this host's own trees, never from the
bytes that arrived.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath

from flue_ci.core.changes import ChangedFile, ChangeKind, ChangeSet
from flue_ci.core.errors import ChangesRefused
from flue_ci.core.text import human_bytes, one_line
from flue_ci.git.command import GitCommandError, TooMuchOutput, join_lines, object_sizes, read_objects
from flue_ci.git.diffs import Entry, index_line, parse_diff
from flue_ci.git.path_rules import display_name
from flue_ci.git.source import Source
from flue_ci.workspace.entry_rules import LIMITS, SECONDS, PatchLimits, describe_omissions, find_problems
from flue_ci.workspace.trial import STRICT, try_patch

_MEMORY = 2_000_000_000  # for git on hostile input: a small patch can describe a lot
# Any mode but those of files, links and submodules: git accepts it silently. No line of a hunk starts like this.
_ODD_MODE = re.compile(
    rb"^(?:new file|deleted file|old|new) mode (?!(?:10[0-7]{4}|120000|160000)\r?$)(.*)", re.MULTILINE
)
_ENTRY = re.compile(rb"^diff --git (.*)\n(deleted file|new file)?", re.MULTILINE)
_LITERAL = re.compile(rb"^literal (\d{1,18})\r?$", re.MULTILINE)
_GENERATED = b"linguist-generated"
_ATTRIBUTES_BYTES = 1_000_000  # of all files of attributes together; more are not read
_PATCH_HINT = "What came back is kept in the patch file for you to look at; nothing of it was used."


async def verify_patch(
    source: Source, patch: bytes, *, limits: PatchLimits = LIMITS, digest: str | None = None
) -> ChangeSet:
    """What `patch` (git's format) changes against `source.base`. `digest` is that of the entries which it has to
    lead to (see `entries_digest`), where that is known.

    An entry that breaks a rule is left out, and a note names it: `.git` in any spelling that git itself accepts,
    control characters or invalid UTF-8 in a name, a symbolic link that leaves the repository, submodule links and
    `.gitmodules`, and what is over `limits`. Raises `ChangesRefused`, with the bytes, for a patch that git does not
    take in strict mode, that contradicts itself, or that does not lead to `digest`.
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
    return await _change_set(source, await _apply(source, patch), limits, digest)


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
    if before.tree == source.tree:
        return replace(after, notes=tuple(note for note in after.notes if note not in before.notes))
    entries = await changed_entries(source, before.tree, after.tree)
    lines = b"".join(index_line(entry.mode, entry.blob, entry.path) for entry in entries)
    changes = await _change_set(source, await _changed_tree(source, lines), LIMITS)
    notes = dict.fromkeys((*after.notes, *changes.notes))
    return replace(changes, notes=tuple(note for note in notes if note not in before.notes))


async def leave_out(source: Source, changes: ChangeSet, paths: Collection[str]) -> ChangeSet:
    """`changes` without the files that have one of `paths` as new or old name. Raises `ChangesRefused`."""
    pairs = [(file.path, file.old_path) for file in changes.files if file.old_path]
    partners = {old for new, old in pairs if new in paths} | {new for new, old in pairs if old in paths}
    return await restore(source, changes, {*paths, *partners})


async def restore(source: Source, changes: ChangeSet, paths: Collection[str]) -> ChangeSet:
    """`changes` in which exactly `paths` are as in the base; a file that was renamed has two of them. Raises
    `ChangesRefused`."""
    entries = await changed_entries(source, source.tree, changes.tree)
    lines = b"".join(index_line(entry.mode, entry.blob, entry.path) for entry in entries if entry.path not in paths)
    restored = await _change_set(source, await _changed_tree(source, lines), LIMITS)
    return replace(restored, notes=changes.notes + restored.notes)


async def _changed_tree(source: Source, lines: bytes) -> str:
    """The tree of the base with other entries, as `git update-index --index-info` reads them."""
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="verify-") as scratch:
        git = source.git.with_env(GIT_INDEX_FILE=f"{scratch}/index")
        await git.run("read-tree", source.tree)
        await git.run("update-index", "-z", "--index-info", stdin=lines)
        return (await git.run("write-tree")).line


async def _change_set(source: Source, tree: str, limits: PatchLimits, digest: str | None = None) -> ChangeSet:
    """The list and the patch from the base to `tree`, made here, without the entries that break a rule. `digest` is
    that of all entries, where it is known."""
    problems: dict[str, str] = {}
    options, trouble = _BY_RENAME, ""
    while True:
        entries, counts = await _list_changes(source, tree, options)
        if digest not in (None, entries_digest(entries)):
            raise ChangesRefused(
                "the patch does not lead to the files that are in the sandbox",
                hint="Run again; if it persists, report it.",
            )
        digest = None  # of the rest there is none
        blobs = {blob for entry in entries for blob in (entry.blob, entry.old_blob)}
        sizes = await object_sizes(source.git, sorted(blob for blob in blobs if blob.strip("0")))
        more = await find_problems(source, tree, entries, sizes, limits)
        if not more:
            try:
                patch = await _make_patch(source, tree, limits, options)
            except TooMuchOutput:
                limits = _less(limits)
                continue
            try:
                trouble = await try_patch(source, patch, entries, sizes)
            except ChangesRefused as refusal:
                if options == _PLAIN:
                    raise
                trouble = str(refusal)
            if trouble and options == _BY_RENAME:
                options = _PLAIN
                continue
            break
        problems |= more
        lines = b"".join(entry.lines for entry in entries if entry.path not in more)
        tree = await _changed_tree(source, lines)
    attributes = await read_generated(source, [entry.path for entry in entries])
    files = tuple(_changed_file(entry, counts, attributes.get(entry.path)) for entry in entries)
    notes = describe_omissions(problems)
    if trouble:
        notes += (f"`git apply` alone does not take the patch, `git apply --index` may: {one_line(trouble, 200)}",)
    return ChangeSet(files=files, patch=patch, tree=tree, notes=notes)


def _less(limits: PatchLimits) -> PatchLimits:
    """Limits with which the patch becomes smaller. Raises `ChangesRefused` when they cannot be any lower."""
    total = min(limits.total_bytes, limits.patch_bytes) // 2
    if not total:
        raise ChangesRefused(f"the changes are a patch of more than {human_bytes(limits.patch_bytes)}")
    return replace(limits, total_bytes=total)


_BY_RENAME: tuple[str, ...] = ("-r", "-M", "-l2000", "--no-ext-diff", "--no-textconv")
_PLAIN: tuple[str, ...] = ("-r", "--no-renames", "--no-ext-diff", "--no-textconv")


async def _list_changes(
    source: Source, tree: str, options: tuple[str, ...]
) -> tuple[list[Entry], dict[str, tuple[int, int, bool]]]:
    arguments = ("diff-tree", "-z", "--raw", "--numstat", "--abbrev=64", *options, source.tree, tree)
    try:
        raw = await replace(source.git, memory=_MEMORY).run(*arguments, timeout=SECONDS)
    except GitCommandError as error:
        raise ChangesRefused(f"the changes cannot be listed: {error}") from None
    return parse_diff(raw.out)


async def _make_patch(source: Source, tree: str, limits: PatchLimits, options: tuple[str, ...]) -> bytes:
    """Raises `TooMuchOutput` when it is over the limit."""
    git = replace(source.git, memory=_MEMORY)
    arguments = ("diff-tree", "-p", "--binary", "--full-index", *options, source.tree, tree)
    try:
        return (await git.run(*arguments, timeout=SECONDS, limit=limits.patch_bytes)).out
    except GitCommandError as error:
        raise ChangesRefused(f"the changes cannot be listed: {error}") from None


async def _apply(source: Source, patch: bytes) -> str:
    """The tree that results, with git's own checks of paths, symbolic links and preimages switched on."""
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="verify-") as scratch:
        git = source.git.with_env(GIT_INDEX_FILE=f"{scratch}/index")
        await git.run("read-tree", source.tree)  # without checks: the base is the user's own
        strict = replace(git, config=STRICT, memory=_MEMORY)
        arguments = ("apply", "--cached", "--binary", "--whitespace=nowarn")
        result = await strict.run(*arguments, stdin=patch, ok=None, timeout=SECONDS)
        if result.code:
            raise ChangesRefused(f"git refuses the patch: {result.reason}")
        result = await git.run("write-tree", ok=None)
        if result.code:
            raise ChangesRefused(f"git refuses the result: {result.reason}")
        return result.line


async def changed_entries(source: Source, before: str, after: str) -> list[Entry]:
    """Every path in which two trees differ, sorted by git; what was renamed is a deletion and an addition."""
    options = ("-r", "-z", "--raw", "--abbrev=64", "--no-renames", before, after)
    return parse_diff((await source.git.run("diff-tree", *options, timeout=SECONDS)).out)[0]


def entries_digest(entries: Collection[Entry]) -> str:
    """SHA-256 over what differs between two trees: the entries before, a NUL, and the entries after, each as
    `MODE BLOB 0 TAB PATH NUL` and sorted as bytes. The sandbox makes the same from its index."""
    old = (entry for entry in entries if entry.status != "A")
    before = (index_line(entry.old_mode, entry.old_blob, entry.old_path or entry.path) for entry in old)
    after = (index_line(entry.mode, entry.blob, entry.path) for entry in entries if entry.status != "D")
    return hashlib.sha256(b"".join(sorted(before)) + b"\0" + b"".join(sorted(after))).hexdigest()


def _changed_file(entry: Entry, counts: dict[str, tuple[int, int, bool]], attribute: bool | None) -> ChangedFile:
    plus, minus, binary = counts.get(entry.path, (0, 0, False))
    kinds: dict[str, ChangeKind] = {"A": "added", "D": "deleted", "R": "renamed", "C": "copied", "T": "type-changed"}
    kind = kinds.get(entry.status, "modified")
    if entry.status == "M" and entry.old_mode != entry.mode and not (plus or minus or binary):
        kind = "mode-changed"
    file = ChangedFile(path=entry.path, old_path=entry.old_path, kind=kind, added=plus, deleted=minus, binary=binary)
    return replace(file, generated=attribute)


async def read_generated(source: Source, paths: Collection[str]) -> dict[str, bool]:
    """True for the paths that the repository itself calls generated, False for those that it calls none; others are
    left out. The `.gitattributes` of the agent's tree do not count: it could fold its own work away."""
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    # `cat-file` reads a name a line, so a directory with a line break in its own has no say.
    files = sorted(f"{folder}/.gitattributes".removeprefix("./") for folder in folders if "\n" not in folder)
    names = [f"{source.tree}:{file}" for file in files]
    try:
        contents = await read_objects(source.git, names, limit=_ATTRIBUTES_BYTES)
    except TooMuchOutput:
        return {}
    if not any(_GENERATED in content for content in contents.values()):
        return {}
    objects = await source.git.run("cat-file", "--batch-check=%(objecttype) %(objectname)", stdin=join_lines(names))
    lines = [line.split(b" ") for line in objects.out.split(b"\n")[:-1]]
    blobs = {file: line[1].decode() for file, line in zip(files, lines, strict=True) if line[0] == b"blob"}
    with tempfile.TemporaryDirectory(dir=source.git_dir, prefix="attributes-") as scratch:
        git = source.git.with_env(GIT_INDEX_FILE=f"{scratch}/index")
        index = b"".join(index_line("100644", blob, file) for file, blob in blobs.items())
        await git.run("update-index", "-z", "--index-info", stdin=index)
        stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
        result = await git.run("check-attr", "--cached", "-z", "--stdin", _GENERATED.decode(), stdin=stdin)
    fields = result.out.split(b"\0")
    values = {os.fsdecode(path): value for path, value in zip(fields[::3], fields[2::3], strict=False)}
    return {path: value not in (b"unset", b"false") for path, value in values.items() if value != b"unspecified"}

"""The repository as data on this host: a bare repository of our own with exactly what may travel into a sandbox.

It is what changes are later verified against. The user's checkout is read, never written to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import plural
from flue_ci.git.checkout import Checkout, find_checkout, index_entries
from flue_ci.git.command import Git, GitCommandError, TooMuchOutput, read_objects
from flue_ci.git.history import copy_history, lending, settle
from flue_ci.git.snapshot import Snapshot, take_snapshot

_EXCLUDE = "info/exclude"
_NOTED_BYTES = 2_000_000
_SETTLED = "settled"  # a mark in `git_dir`
_OVERLAY_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "flue-ci"), ("EMAIL", "flue-ci@localhost"), ("DATE", "@0 +0000"))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A repository ready to travel. Names of commits and trees are full hexadecimal.

    `git_dir` is the bare repository; everything in its `objects` travels, and so do the packs of the checkout that are
    `lent` (their indexes) until `settle`. `head` is the commit that is checked out, `ref` its branch (None: detached),
    `refs` what else has a name inside: full ref names and their commits. `base` is the commit, `tree` its tree, that
    changes are measured against: `head` itself, or, when `dirty`, a commit on top of it with the uncommitted files.
    `staged` is the tree that the index holds. `files` counts the files of `tree`, `pack_bytes` what travels; `notes`
    are for people: what does not travel.
    """

    name: str
    git_dir: Path
    object_format: str
    head: str
    ref: str | None
    base: str
    tree: str
    index_tree: str
    intent_to_add: tuple[bytes, ...] = ()
    dirty: bool = False
    files: int = 0
    pack_bytes: int = 0
    notes: tuple[str, ...] = ()
    lent: tuple[Path, ...] = ()
    refs: Mapping[str, str] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The commit as people name it."""
        return self.head[:12]

    @property
    def git(self) -> Git:
        """git on `git_dir`, without anybody's configuration."""
        return _git(self.git_dir) if self.settled else lending(_git(self.git_dir), self.lent)

    @property
    def settled(self) -> bool:
        """Nothing is lent any more: git sees exactly what travelled, and no other object of the checkout."""
        return not self.lent or (self.git_dir / _SETTLED).exists()

    async def settle(self) -> None:
        """Copies what is lent. Before anything hostile is looked at: it could name other objects of the checkout."""
        if not self.settled:
            await settle(_git(self.git_dir), self.lent)
            (self.git_dir / _SETTLED).touch()

    async def is_sendable(self) -> list[Path]:
        """The files below `objects` that go into a sandbox, wherever they are now."""
        if not all(idx.exists() and idx.with_suffix(".pack").exists() for idx in self.lent):
            await self.settle()
        lent = [] if self.settled else [file for idx in self.lent for file in (idx, idx.with_suffix(".pack"))]
        return [*lent, *(path for path in (self.git_dir / "objects").rglob("*") if path.is_file())]


async def open_checkout(repo: Path, *, history: int | None, scratch: Path) -> Source:
    """Reads the checkout that `repo` is or lies in: the commit with `history` generations (0 or None: all), and what
    is uncommitted.

    `scratch` is an existing directory of this host, outside of the repository; it has to stay as long as the `Source`
    is used. Raises `WorkspaceError` with a hint.
    """
    checkout = await find_checkout(repo)
    git_dir = new_repository(
        scratch / "source.git", head=checkout.head, object_format=checkout.object_format, exclude=checkout.exclude
    )
    notes: list[str] = []
    try:
        async with asyncio.TaskGroup() as together:  # neither needs what the other writes
            copying = together.create_task(_copy(checkout, git_dir, history or 0, notes))
            looking = together.create_task(take_snapshot(_git(git_dir), checkout))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    lent, snapshot = copying.result(), looking.result()
    git = lending(_git(git_dir), lent)
    base = await _base(git, checkout, snapshot)
    notes += await _notes(git, base, snapshot)
    return Source(
        name=safe_name(checkout.top.name),
        git_dir=git_dir,
        object_format=checkout.object_format,
        head=checkout.head,
        ref=checkout.ref,
        base=base,
        tree=snapshot.tree,
        index_tree=snapshot.staged_files,
        intent_to_add=snapshot.intent_to_add,
        dirty={snapshot.tree, snapshot.staged_files} != {snapshot.head_tree},
        files=snapshot.files,
        pack_bytes=await asyncio.to_thread(size_of, git_dir / "objects", lent),
        notes=tuple(notes),
        lent=lent,
    )


async def _copy(checkout: Checkout, git_dir: Path, depth: int, notes: list[str]) -> tuple[Path, ...]:
    async def copy(generations: int) -> tuple[Path, ...]:
        return await copy_history(
            _git(git_dir),
            objects=checkout.objects,
            head=checkout.head,
            depth=generations,
            cut=checkout.shallow,
            entries=index_entries(checkout.index),
        )

    try:
        try:
            return await copy(depth)
        except GitCommandError:
            if not checkout.partial or depth == 1:
                raise
            notes.append("the checkout is a partial clone: only its current commit travels, without history")
            return await copy(1)
    except GitCommandError as failed:
        raise WorkspaceError(
            f"the history of {checkout.top} cannot be read: {failed}",
            hint="git fsck shows what is wrong with the repository.",
        ) from failed


async def _base(git: Git, checkout: Checkout, snapshot: Snapshot) -> str:
    """The commit that changes are measured against; the same for the same files, whenever and by whom it is made."""
    if snapshot.tree == snapshot.head_tree:
        return checkout.head
    named = replace(git, env={**git.env, **_OVERLAY_AUTHOR})
    done = await named.run("commit-tree", "-p", checkout.head, "-m", "uncommitted changes", snapshot.tree)
    return done.line


async def _notes(git: Git, base: str, snapshot: Snapshot) -> list[str]:
    notes = await commit_notes(git, base)
    if snapshot.nested_repositories:
        few = ", ".join(snapshot.nested_repositories[:3]) + (", …" if len(snapshot.nested_repositories) > 3 else "")
        notes.append(
            f"{plural(len(snapshot.nested_repositories), 'untracked directory')} "
            f"with a repository inside left out: {few}"
        )
    return notes


async def commit_notes(git: Git, base: str) -> list[str]:
    """What of a commit does not travel, for people. Files of an absurd size are not looked at."""
    notes: list[str] = []
    try:
        found = await read_objects(git, (f"{base}:.gitmodules", f"{base}:.gitattributes"), limit=_NOTED_BYTES)
    except TooMuchOutput:
        return notes
    if f"{base}:.gitmodules" in found:
        notes.append("submodules do not travel: their directories are empty inside")
    if re.search(rb"^[^#\n]*\bfilter=lfs\b", found.get(f"{base}:.gitattributes", b""), re.MULTILINE):
        notes.append("files kept with Git LFS are pointer files inside")
    return notes


def _git(git_dir: Path) -> Git:
    return Git(cwd=git_dir, env={"GIT_DIR": str(git_dir)})


def new_repository(git_dir: Path, *, head: str, object_format: str = "sha1", exclude: bytes = b"") -> Path:
    """An empty bare repository, written by hand: `git init` would consult templates and configuration.

    `head` is what its HEAD says: a commit, or `ref: ` and a ref; `exclude` are ignore rules.
    """
    for directory in ("objects/pack", "objects/info", "refs/heads", "info"):
        (git_dir / directory).mkdir(parents=True)
    (git_dir / "HEAD").write_text(f"{head}\n")
    version = "1" if object_format != "sha1" else "0"
    config = f"[core]\n\trepositoryformatversion = {version}\n\tbare = true\n"
    if version == "1":
        config += f"[extensions]\n\tobjectFormat = {object_format}\n"
    (git_dir / "config").write_text(config)
    (git_dir / _EXCLUDE).write_bytes(exclude)
    return git_dir.absolute()


def safe_name(name: str) -> str:
    """A directory name for the inside that needs no quoting and hides nowhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "repository"


def size_of(directory: Path, lent: tuple[Path, ...] = ()) -> int:
    """Bytes of all files below `directory` and of the packs that are `lent`."""
    files = [*directory.rglob("*"), *lent, *(idx.with_suffix(".pack") for idx in lent)]
    return sum(path.stat().st_size for path in files if path.is_file())

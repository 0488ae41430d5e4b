"""The repository as data on this host: a bare repository of our own with exactly what may go into a sandbox.

Changes are later verified against it. The user's checkout is read, never written to.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from flue_ci.core.concurrency import together
from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import first_few, plural
from flue_ci.git.checkout import Checkout, find_checkout
from flue_ci.git.command import Git, GitCommandError, TooMuchOutput, git_in, read_objects
from flue_ci.git.history import copy_whole_history, missing_objects
from flue_ci.git.snapshot import MEMORY_BYTES, take_snapshot

# Brings objects of these names, which a partial clone lacks, into a new directory: `objects` of a repository, which it
# returns. Raises `WorkspaceError` with what the user can do.
Completion = Callable[[Checkout, Sequence[str], Path], Awaitable[Path]]
SUBMODULES_NOTE = "submodules do not travel: their directories are empty inside"
LFS_NOTE = "files kept with Git LFS are pointer files inside"
_COMPLETION_ROUNDS = 4  # trees, what is below them, and what the index has besides
_NOTES_BYTES = 2_000_000
# The commit is the same for the same files, whenever and by whom it is made.
_OVERLAY_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "flue-ci"), ("EMAIL", "flue-ci@localhost"), ("DATE", "@0 +0000"))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LfsFile:
    """A file that Git LFS keeps. The tree has a pointer at `path`; `content` is a file of this host with what it stands
    for, of that SHA-256 (`oid`). `mode` is git's: 100644 or 100755."""

    path: str
    mode: str
    oid: str
    content: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A repository ready for a sandbox. Names of commits and trees are full hexadecimal.

    `git_dir` is the bare repository; everything in its `objects` goes into the sandbox, and git sees no other objects.
    `head` is the commit that is checked out, `ref` its branch (None: detached), `refs` the other refs inside: full
    names and their commits. `base` is the commit, `tree` its tree, that changes are measured against: `head` itself,
    or, when `dirty`, a commit on top of it with the uncommitted files. `index_tree` is the tree that the index holds,
    `intent_to_add` the paths of which it has the name only. `files` counts the files of `tree`, `pack_bytes` the bytes
    of `objects`; `notes` tell people what does not go into the sandbox. `git_dirs` are the places outside of the
    checkout that its `.git` may lead to, `protected` are folders of it that count as protected paths.

    What goes along besides: `submodules` by their paths, and `lfs_files`, whose contents stand in the place of their
    pointers inside.
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
    refs: Mapping[str, str] = field(default_factory=dict)
    git_dirs: tuple[Path, ...] = ()
    protected: tuple[str, ...] = ()
    submodules: Mapping[str, "Source"] = field(default_factory=dict)
    lfs_files: tuple[LfsFile, ...] = ()

    @property
    def git(self) -> Git:
        """git on `git_dir`, without the user's and the system's configuration."""
        return git_in(self.git_dir)

    def object_files(self) -> list[Path]:
        """The files below `objects`: packs, their indexes, and single objects."""
        paths = (self.git_dir / "objects").rglob("*")
        return [path for path in paths if path.is_file() and not path.name.startswith("tmp_")]  # git was interrupted


async def open_checkout(
    repo: Path,
    *,
    history: int | None,
    scratch: Path,
    memory: int = MEMORY_BYTES,
    git_dirs: tuple[Path, ...] = (),
    complete: Completion | None = None,
) -> Source:
    """Reads the checkout that `repo` is or lies in: the commit with `history` generations (0 or None: all), and what
    is uncommitted.

    `scratch` is an existing directory of this host, outside of the repository; it has to stay as long as the `Source`
    is used. `memory` bounds git in bytes; `git_dirs` are the places outside that its `.git` may lead to; `complete`
    brings what a partial clone lacks. Raises `WorkspaceError` with a hint.
    """
    checkout = await find_checkout(repo, git_dirs)
    git_dir = new_repository(
        scratch / "source.git", head=checkout.head, object_format=checkout.object_format, exclude=checkout.exclude
    )
    git = git_in(git_dir)
    if checkout.partial and complete:
        checkout = await _complete_commit(git, checkout, scratch, complete)
    # Neither needs what the other writes.
    notes, snapshot = await together(
        _copy_history(git, checkout, history or 0), take_snapshot(git, checkout, memory=memory)
    )
    base = checkout.head
    if snapshot.tree != snapshot.head_tree:
        commit = ("commit-tree", "-p", checkout.head, "-m", "uncommitted changes", snapshot.tree)
        base = (await git.with_env(**_OVERLAY_AUTHOR).run(*commit)).line
    notes += await commit_notes(git, base)
    if names := snapshot.nested_repositories:
        directories = f"{plural(len(names), 'untracked directory')} with a repository inside left out"
        notes.append(f"{directories}: {first_few(names, 3)}")
    if names := snapshot.filter_files:
        files = f"{plural(len(names), 'file')} with a git filter (git-crypt and the like)"
        notes.append(f"{files} as the last commit or the index has them: {first_few(names, 3)}")
    return Source(
        name=safe_name(checkout.top.name),
        git_dir=git_dir,
        object_format=checkout.object_format,
        head=checkout.head,
        ref=checkout.ref,
        base=base,
        tree=snapshot.tree,
        index_tree=snapshot.index_tree,
        intent_to_add=snapshot.intent_to_add,
        dirty={snapshot.tree, snapshot.index_tree} != {snapshot.head_tree},
        files=snapshot.files,
        pack_bytes=await asyncio.to_thread(size_of, git_dir / "objects"),
        notes=tuple(notes),
        git_dirs=git_dirs,
        protected=checkout.protected,
    )


async def _complete_commit(git: Git, checkout: Checkout, scratch: Path, complete: Completion) -> Checkout:
    """The checkout with all objects of its commit and its index. git's own way to fetch them is never taken: the
    checkout's configuration says which program that runs."""
    for number in range(_COMPLETION_ROUNDS):
        names = await missing_objects(git, checkout)
        if not names:
            break
        objects = await complete(checkout, names, scratch / f"missing-{number}")
        checkout = replace(checkout, additions=(*checkout.additions, objects))
    return checkout


async def _copy_history(git: Git, checkout: Checkout, depth: int) -> list[str]:
    """Returns notes for people."""
    try:
        generations = await copy_whole_history(git, checkout, depth)
    except GitCommandError as error:
        raise WorkspaceError(
            f"the history of {checkout.top} cannot be read: {error}",
            hint="git fsck shows what is wrong with the repository.",
        ) from error
    if generations == depth:
        return []
    extent = f"only its last {generations} generations of commits travel"
    if generations == 1:
        extent = "only its current commit travels, without history"
    if checkout.partial:
        return [f"the checkout is a partial clone: {extent}"]
    return [f"objects are missing in the history of the checkout (git fsck names them): {extent}"]


async def commit_notes(git: Git, base: str) -> list[str]:
    """What of a commit does not go into the sandbox, for people. Files of an absurd size are not looked at."""
    notes: list[str] = []
    try:
        contents = await read_objects(git, (f"{base}:.gitmodules", f"{base}:.gitattributes"), limit=_NOTES_BYTES)
    except TooMuchOutput:
        return notes
    if f"{base}:.gitmodules" in contents:
        notes.append(SUBMODULES_NOTE)
    if re.search(rb"^[^#\n]*\bfilter=lfs\b", contents.get(f"{base}:.gitattributes", b""), re.MULTILINE):
        notes.append(LFS_NOTE)
    return notes


def new_repository(git_dir: Path, *, head: str, object_format: str = "sha1", exclude: bytes = b"") -> Path:
    """An empty bare repository, written by hand: `git init` would consult templates and configuration.

    `head` is the text of its HEAD: a commit, or `ref: ` and a ref; `exclude` are ignore rules. Returns its absolute
    path.
    """
    for directory in ("objects/pack", "objects/info", "refs/heads", "info"):
        (git_dir / directory).mkdir(parents=True)
    (git_dir / "HEAD").write_text(f"{head}\n")
    (git_dir / "config").write_text(repository_config(object_format, bare=True))
    (git_dir / "info/exclude").write_bytes(exclude)
    return git_dir.absolute()


def repository_config(object_format: str, *, bare: bool) -> str:
    """The configuration that every repository has."""
    version, extensions = 0, ""
    if object_format != "sha1":
        version, extensions = 1, f"[extensions]\n\tobjectFormat = {object_format}\n"
    return f"{extensions}[core]\n\trepositoryformatversion = {version}\n\tbare = {str(bare).lower()}\n"


def safe_name(name: str) -> str:
    """A directory name for the sandbox that needs no quoting and is not hidden."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "repository"


def size_of(directory: Path) -> int:
    """Bytes of all files below `directory`, in which git may be writing."""
    total = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # git renames and removes its temporary files
            if path.is_file():
                total += path.stat().st_size
    return total

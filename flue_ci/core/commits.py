"""Commits on a forge: what they are made of, and a forge that takes them. Which changes go there `publish` decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """A path of a tree that is to be made. `mode` is git's (`100644`, `100755`, `120000`); `blob` names an object that
    the repository has already, else `content` are its bytes; with neither the path is deleted."""

    path: str
    mode: str
    blob: str = ""
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRecord:
    """A commit on the forge. Names are full hexadecimal; `verified`: the forge itself vouches for its signature. In a
    list, `author` and `committer` are the logins of accounts, "" for nobody's."""

    sha: str
    tree: str
    parents: tuple[str, ...] = ()
    message: str = ""
    url: str = ""
    verified: bool = False
    author: str = ""
    committer: str = ""


@runtime_checkable
class ChangesForge(Protocol):
    """A forge that takes commits without git. Nothing is seen of trees and commits until a branch is at them, so that
    everything but the move of a branch may be repeated. Raises `ForgeError`."""

    async def branch_head(self, branch: str) -> str:
        """The commit that the branch is at; "" when there is no such branch."""

    async def create_tree(self, base_tree: str, entries: Sequence[TreeEntry]) -> str:
        """The tree `base_tree` with other entries; the order of the entries means nothing."""

    async def create_commit(self, *, message: str, tree: str, parents: Sequence[str]) -> CommitRecord:
        """A commit of the token's account, signed by the forge where it does that."""

    async def commits_between(self, base: str, head: str) -> tuple[CommitRecord, ...] | None:
        """The commits on top of `base` up to `head`, oldest first; None when `head` is not on top of it."""

    async def commits_ahead(self, base: str, head: str) -> tuple[CommitRecord, ...]:
        """The commits of `head` that `base` has not, oldest first, wherever the two parted; at most 250."""

    async def move_branch(self, branch: str, sha: str) -> None:
        """Forward only. Raises `BranchRefused`."""

    async def create_branch(self, branch: str, sha: str) -> None:
        """A new branch. Raises `BranchRefused`."""

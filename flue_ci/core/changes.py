"""The words for what an agent changed. Filled only from what the host itself verified, see `workspace`."""

from dataclasses import dataclass, field
from typing import Literal

ChangeKind = Literal["added", "modified", "deleted", "renamed", "copied", "type-changed", "mode-changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One file. `path` is relative, with `/`; `old_path` is set for renames and copies. Lines are 0 for binary
    files. `generated` is what the repository's attributes say, None for nothing."""

    path: str
    old_path: str | None = None
    kind: ChangeKind
    added: int = 0
    deleted: int = 0
    binary: bool = False
    generated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What changed against the base. `patch` is in git's format with full index lines and binary data, empty for no
    change. `tree` names the tree that it leads to, in the source's repository. `notes` tell people what was left
    out. `may_have_more`: the agent's repository may hold other work, see `OtherWork`."""

    files: tuple[ChangedFile, ...] = ()
    patch: bytes = b""
    tree: str = ""
    notes: tuple[str, ...] = ()
    may_have_more: bool = field(default=False, compare=False)

    @property
    def added(self) -> int:
        return sum(file.added for file in self.files)

    @property
    def deleted(self) -> int:
        return sum(file.deleted for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedChanges:
    """A commit of the agent's on the base: its message, untrusted, and what the base and all commits up to it differ
    in. No check has run on it unless it is the last."""

    message: str
    changes: ChangeSet


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherWork:
    """What the agent left beside the work tree: a branch, a stash, or a commit that no branch holds. `label` names it
    for people, `name` (`[a-z0-9-]`, once in a run) for files. `changes` are verified, and never checked."""

    label: str
    name: str
    changes: ChangeSet

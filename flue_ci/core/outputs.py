"""What a forge that takes labels, assignees and check runs can do, and one on which pull requests are opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flue_ci.core.discussion import FileDiff, PullRequest
from flue_ci.core.proposals import Annotation, Conclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """A check run that is over, at commit `sha`. `key` is the same for the same run and proposal, so that it is written
    once. `summary` is Markdown, title and annotations are plain text."""

    sha: str
    name: str
    key: str
    conclusion: Conclusion
    title: str
    summary: str = ""
    annotations: tuple[Annotation, ...] = ()


@runtime_checkable
class OutputsForge(Protocol):
    """Everything is written once, also by a second attempt. Each raises `ForgeError`."""

    async def add_labels(self, number: int, labels: Sequence[str]) -> None:
        """To an issue or a pull request. Labels that the repository does not have are made."""

    async def assign(self, number: int, logins: Sequence[str]) -> tuple[str, ...]:
        """The logins that are assigned now; a forge leaves out those that cannot be."""

    async def write_check_run(self, check: CheckRun) -> str:
        """The page of the check run."""


@runtime_checkable
class PullRequestForge(Protocol):
    """A forge on which pull requests are opened. Raises `ForgeError`."""

    async def default_branch(self) -> str:
        """Its name."""

    async def open_pulls(self) -> list[PullRequest]:
        """Those of this repository, the newest first; of very many only the newest."""

    async def pulls_from(self, branch: str) -> list[PullRequest]:
        """Those that came from a branch of this repository, open or not."""

    async def create_pull(self, *, title: str, body: str, head: str, base: str, draft: bool) -> PullRequest:
        """A pull request of the branch `head` of this repository; the one that there is already, if any."""

    async def edit_pull(self, number: int, *, title: str, body: str) -> PullRequest:
        """The pull request with another title and body."""

    async def request_reviewers(self, number: int, names: Sequence[str]) -> None:
        """Logins, and teams as `owner/team`: all of them or, with an error, none."""

    async def has_reviews(self, number: int) -> bool:
        """Whether somebody has reviewed the pull request."""

    async def add_labels(self, number: int, labels: Sequence[str]) -> None:
        """To an issue or pull request."""

    async def changed_files(self, number: int) -> list[FileDiff]:
        """The files of a pull request with their diffs; one that is large may have none."""

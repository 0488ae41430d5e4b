"""What a forge on which pull requests are opened can do."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from flue_ci.core.discussion import FileDiff, PullRequest


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

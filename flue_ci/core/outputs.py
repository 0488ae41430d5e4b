"""What a forge that takes labels, assignees and check runs can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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

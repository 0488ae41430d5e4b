"""Where a run takes things from: the repository, the trusted files, and what the prompt may mention of both."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flue_ci.git.command import plain_environment
from flue_ci.git.source import Source, open_checkout
from flue_ci.report.report import Trigger


class RunInputs(Protocol):
    """One run's inputs, from a checkout or from GitHub."""

    @property
    def trusted_folder(self) -> Path:
        """A folder with the agent specs, AGENTS.md and skills of people who may write to the repository."""
        ...

    @property
    def name(self) -> str:
        """The repository, for people."""
        ...

    @property
    def run_id(self) -> str:
        """Identifies the run's sandboxes among all others."""
        ...

    @property
    def variables(self) -> Mapping[str, object]:
        """The variables of prompt templates, besides `agent` and `instruction`."""
        ...

    @property
    def trigger(self) -> Trigger | None:
        """What started the run on GitHub; None in a checkout."""
        ...

    async def source(self) -> Source:
        """The repository as it travels into the sandbox; it may be a stranger's. Raises `FlueError`."""
        ...

    async def discussion(self) -> tuple[str, Sequence[str]]:
        """What the task says beyond the prompt, and notes for people. Raises `FlueError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutInputs:
    """The checkout at `repo`, for everything. `history` is the number of commits that travel, `mentions_repo` whether
    a prompt may name the branch and the commit."""

    repo: Path
    history: int
    scratch: Path
    mentions_repo: bool
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    trigger: None = None

    @property
    def trusted_folder(self) -> Path:
        return self.repo

    @property
    def name(self) -> str:
        return self.repo.name

    @property
    def variables(self) -> Mapping[str, object]:
        repo = {"name": self.name}
        if self.mentions_repo:
            repo |= _head(self.repo)
        return {"repo": repo, "event": {"name": "local"}}

    async def source(self) -> Source:
        return await open_checkout(self.repo, history=self.history, scratch=self.scratch)

    async def discussion(self) -> tuple[str, Sequence[str]]:
        return "", ()


def _head(repo: Path) -> dict[str, str]:
    """`ref` and `sha` of the checkout, as far as it has them."""
    values = {}
    for name, arguments in (("sha", ["rev-parse", "HEAD"]), ("ref", ["symbolic-ref", "--short", "HEAD"])):
        process = subprocess.run(
            ["git", *arguments], cwd=repo, env=plain_environment(), capture_output=True, text=True, check=False
        )
        if process.returncode == 0:
            values[name] = process.stdout.strip()
    return values

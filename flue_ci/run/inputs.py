"""Where a run takes things from: the repository, the trusted files, and what the prompt may mention of both."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.git.command import run_git
from flue_ci.git.source import Source, open_checkout
from flue_ci.report.report import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs(ABC):
    """One run's inputs, from a checkout or from GitHub.

    `trusted_folder` holds the agent specs, AGENTS.md and skills of people who may write to the repository; `name` is
    the repository, for people. `variables` are those of prompt templates, besides `agent` and `instruction`. `trigger`
    is what started the run on GitHub. `run_id` identifies the run's sandboxes among all others.
    """

    trusted_folder: Path
    name: str
    variables: Mapping[str, object]
    trigger: Trigger | None = None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @abstractmethod
    async def source(self) -> Source:
        """The repository as it travels into the sandbox; it may be a stranger's. Raises `FlueError`."""

    async def discussion(self) -> tuple[str, Sequence[str]]:
        """What the task says beyond the prompt, and notes for people. Raises `FlueError`."""
        return "", ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutInputs(RunInputs):
    """The checkout at `trusted_folder`, for everything. `history` is the number of commits that travel."""

    history: int
    scratch: Path

    async def source(self) -> Source:
        return await open_checkout(self.trusted_folder, history=self.history, scratch=self.scratch)


def checkout_inputs(repo: Path, *, history: int, scratch: Path, mentions_repo: bool) -> CheckoutInputs:
    """The inputs of a local run. `mentions_repo`: a prompt may name the branch and the commit."""
    about = {"name": repo.name}
    if mentions_repo:
        about |= _head(repo)
    variables = {"repo": about, "event": {"name": "local"}}
    return CheckoutInputs(trusted_folder=repo, name=repo.name, variables=variables, history=history, scratch=scratch)


def _head(repo: Path) -> dict[str, str]:
    """`ref` and `sha` of the checkout, as far as it has them."""
    values = {}
    for name, arguments in (("sha", ["rev-parse", "HEAD"]), ("ref", ["symbolic-ref", "--short", "HEAD"])):
        result = run_git(*arguments, cwd=repo)
        if result.code == 0:
            values[name] = result.line
    return values

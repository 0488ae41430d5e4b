"""Where a run takes things from: the repository, the trusted texts, and what a prompt may mention of both."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.git.command import plain_environment
from flue_ci.git.source import Source, open_checkout
from flue_ci.report.report import Trigger
from flue_ci.run.pipeline import no_discussion


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """One run's sources.

    `trusted` is a folder with agent specs, AGENTS.md and skills that people with rights to the repository wrote;
    `source` gives the repository as it is to travel, which may be a stranger's; `told` is what the task says beyond the
    prompt. `variables` are those of prompt templates, besides `agent` and `instruction`. `run` identifies the run's
    sandboxes among all others.
    """

    trusted_folder: Path
    name: str
    source: Callable[[], Awaitable[Source]]
    discussion: Callable[[], Awaitable[tuple[str, Sequence[str]]]] = no_discussion
    variables: Mapping[str, object] = field(default_factory=dict)
    trigger: Trigger | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


def checkout(repo: Path, *, history: int, scratch: Path, mentions_repo: bool) -> RunInputs:
    """The checkout at `repo`, for everything. `mentions_repo`: a prompt may name its branch and commit."""

    async def source() -> Source:
        return await open_checkout(repo, history=history, scratch=scratch)

    about = {"name": repo.name, **(_head(repo) if mentions_repo else {})}
    return RunInputs(
        trusted_folder=repo, name=repo.name, source=source, variables={"repo": about, "event": {"name": "local"}}
    )


def _head(repo: Path) -> dict[str, str]:
    """`ref` and `sha` of the checkout, as far as there are."""
    told = {}
    for name, arguments in (("sha", ["rev-parse", "HEAD"]), ("ref", ["symbolic-ref", "--short", "HEAD"])):
        done = subprocess.run(
            ["git", *arguments], cwd=repo, env=plain_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            told[name] = done.stdout.strip()
    return told

"""A run before it starts: what was asked for (`RunOptions`), where it takes things from (`RunInputs`), what it is to do
(`RunPlan`) and what it is done with (`RunServices`). `assembly` makes the plan, `pipeline` carries it out.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from flue_ci.agent.system_prompt import PromptParts
from flue_ci.core.ports import Engine, Model, SandboxProvider, SandboxRequest
from flue_ci.core.review_scope import ReviewScope
from flue_ci.git.command import run_git
from flue_ci.git.completion import complete_from_github
from flue_ci.git.contents import ContentOptions, add_checkout_contents
from flue_ci.git.source import Source, open_checkout
from flue_ci.report.report import Publishing, Report, Trigger
from flue_ci.run.commands import HostCommand
from flue_ci.safety.redact import Redactor
from flue_ci.settings import GitHubSettings

RESCUE_SECONDS = 4.0  # a runner that cancels a job kills it soon after the signal


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line or the workflow chose, named after the options of `flue-ci run`. `record` and `replay` are
    files for the model's side of the run.

    `allow_base_url` (hosts), `allow_secret` (names) and `allow_git_dir` are the user's consent to what files of the
    checkout ask for; `apply_protected` lets `apply` write protected paths too; `publish` is where the changes go on
    GitHub. The last five and these are for a terminal only.
    """

    agent: str
    instruction: str = ""
    repo: Path = Path()
    sandbox: str = "e2b"
    no_isolation: bool = False
    model: str | None = None
    template: str | None = None
    settings: tuple[str, ...] = ()
    out: Path | None = None
    dry_run: bool = False
    allow_base_url: tuple[str, ...] = ()
    allow_secret: tuple[str, ...] = ()
    allow_git_dir: tuple[Path, ...] = ()
    record: Path | None = None
    replay: Path | None = None
    publish: str | None = None
    apply: bool = False
    apply_protected: bool = False
    json: bool = False
    quiet: bool = False
    show_diff: bool = False

    @property
    def overrides(self) -> tuple[str, ...]:
        """`KEY=VALUE` of everything that is to be otherwise than in the spec."""
        overrides = [*self.settings]
        if self.model:
            overrides.append(f"model.name={self.model}")
        if self.publish:
            overrides.append(f"publish.changes={self.publish}")
        if self.template:
            overrides.append(f"sandbox.template={self.template}")
        return tuple(overrides)


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

    async def review_scope(self, source: Source) -> tuple[ReviewScope, Sequence[str]]:
        """What a review of `source` is about, and notes for people. Raises `FlueError`."""
        return ReviewScope(head=source.head), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutInputs(RunInputs):
    """The checkout at `trusted_folder`, for everything. `history` is the number of commits that travel; `git_dirs` are
    the git directories elsewhere that its `.git` may lead to; `contents` is what goes along besides, and `github` from
    where what the checkout lacks is fetched."""

    history: int
    scratch: Path
    contents: ContentOptions
    github: GitHubSettings
    git_dirs: tuple[Path, ...] = ()

    async def source(self) -> Source:
        repo = self.trusted_folder
        source = await open_checkout(
            repo,
            history=self.history,
            scratch=self.scratch,
            git_dirs=self.git_dirs,
            complete=partial(complete_from_github, self.github),
        )
        return await add_checkout_contents(source, self.contents, repo, self.github, self.git_dirs)


def checkout_variables(repo: Path, *, mentions_repo: bool) -> dict[str, object]:
    """Those of prompt templates. `mentions_repo`: a prompt may name the branch and the commit."""
    about = {"name": repo.name}
    commands = {"sha": ("rev-parse", "HEAD"), "ref": ("symbolic-ref", "--short", "HEAD")}
    for name, command in commands.items():
        if mentions_repo and (result := run_git(*command, cwd=repo)).code == 0:
            about[name] = result.line
    return {"repo": about, "event": {"name": "local"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPlan:
    """Where the checks run: in a second, clean sandbox, or in the agent's own. `setup_again`: setup always runs once
    more after the changes, not only when they touch what it depends on. Not `isolated`: a sandbox is only a folder of
    this machine."""

    where: Literal["fresh", "same"] = "fresh"
    setup_again: bool = False
    isolated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What was decided to do. `spec` is the spec's path for people, `prompt` what the engine's task is made of,
    `request` the sandbox with its network in both phases. `secrets` are the names of those visible inside."""

    agent: str
    instruction: str
    model: str
    spec: str
    prompt: PromptParts
    request: SandboxRequest
    setup: tuple[HostCommand, ...] = ()
    checks: tuple[HostCommand, ...] = ()
    verify: VerifyPlan = field(default_factory=VerifyPlan)
    secrets: tuple[str, ...] = ()
    trigger: Trigger | None = None
    publish: Publishing = field(default_factory=Publishing)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunServices:
    """What a run is done with. `files` are put into the sandbox's home, by their paths there. `holds_secret` tells
    whether bytes contain a secret of this run; `signal` gives the number of the first signal that came, or 0. After a
    signal, saving the changes may take `rescue_seconds`."""

    provider: SandboxProvider
    engine: Engine
    inputs: RunInputs
    files: Mapping[str, Path]
    holds_secret: Callable[[bytes], bool]
    signal: Callable[[], int]
    rescue_seconds: float = RESCUE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A run ready to start; nothing is started and nothing is spent yet. `redact` knows every secret of the
    environment and of the spec. `notes` are for people to read before it starts, `report_notes` with its report."""

    plan: RunPlan
    services: RunServices
    redact: Redactor
    notes: tuple[str, ...]
    report_notes: tuple[str, ...] = ()
    model: Model

    async def aclose(self) -> None:
        """Closes the model's connections."""
        await self.model.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. `patch` holds the refused bytes when the changes were refused, and is empty when there are
    none; `other_patches` are those of other work in git, by file name. `source` is None when the repository was never
    read."""

    report: Report
    patch: bytes = b""
    other_patches: Mapping[str, bytes] = field(default_factory=dict)
    source: Source | None = None

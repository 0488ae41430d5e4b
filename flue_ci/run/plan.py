"""A run before it starts: what it is to do (`RunPlan`) and what it is done with (`RunServices`).

`assembly` makes both, `pipeline` uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.agent.system_prompt import PromptParts
from flue_ci.core.ports import Engine, Model, SandboxProvider, SandboxRequest
from flue_ci.git.source import Source
from flue_ci.report.report import Publishing, Report, Trigger
from flue_ci.run.commands import HostCommand
from flue_ci.run.inputs import RunInputs
from flue_ci.safety.redact import Redactor

RESCUE_SECONDS = 4.0  # a runner that cancels a job kills it soon after the signal


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line or the workflow chose, named after the options of `flue-ci run`. `record` and `replay` are
    files for the model's side of the run.

    The last four are for a terminal only.
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
    record: Path | None = None
    replay: Path | None = None
    apply: bool = False
    json: bool = False
    quiet: bool = False
    show_diff: bool = False

    @property
    def overrides(self) -> tuple[str, ...]:
        """`KEY=VALUE` of everything that is to be otherwise than in the spec."""
        overrides = [*self.settings]
        if self.model:
            overrides.append(f"model.name={self.model}")
        if self.template:
            overrides.append(f"sandbox.template={self.template}")
        return tuple(overrides)


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
    secrets: tuple[str, ...] = ()
    wants_changes: bool = True
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
    environment and of the spec. `notes` are for people to read before it starts."""

    plan: RunPlan
    services: RunServices
    redact: Redactor
    notes: tuple[str, ...]
    model: Model

    async def aclose(self) -> None:
        """Closes the model's connections."""
        await self.model.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. `patch` holds the refused bytes when the changes were refused, and is empty when there are
    none; `source` is None when the repository was never read."""

    report: Report
    patch: bytes = b""
    source: Source | None = None

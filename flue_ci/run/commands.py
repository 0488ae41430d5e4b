"""Runs the spec's `setup` and `checks` in the sandbox. The host records what happened; the model has no say in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flue_ci.core.events import CommandEnded, CommandOutput, CommandStarted, Observer
from flue_ci.core.ports import Sandbox
from flue_ci.core.text import plain
from flue_ci.report.report import CommandResult

OUTPUT_LIMIT = 32_768  # bytes of each command's output in the report: head and tail


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCommand:
    """A command of the spec. `timeout` in seconds."""

    kind: Literal["setup", "check"]
    name: str
    run: str
    timeout: float


async def run_commands(
    commands: Sequence[HostCommand], sandbox: Sandbox, *, cwd: str, observe: Observer, stop_at_failure: bool
) -> tuple[CommandResult, ...]:
    """Runs them one after another in `cwd`. With `stop_at_failure` the rest is left out after one that fails. Raises
    `SandboxLost`."""
    results: list[CommandResult] = []
    for command in commands:
        result = await _run_command(command, sandbox, cwd, observe)
        results.append(result)
        if stop_at_failure and not result.passed:
            break
    return tuple(results)


async def _run_command(command: HostCommand, sandbox: Sandbox, cwd: str, observe: Observer) -> CommandResult:
    observe(CommandStarted(kind=command.kind, name=command.name, command=command.run))
    result = await sandbox.exec(
        command.run,
        timeout=command.timeout,
        cwd=cwd,
        on_output=lambda data: observe(CommandOutput(data=data)),
        limit=OUTPUT_LIMIT,
    )
    ending = CommandEnded(
        kind=command.kind,
        name=command.name,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        seconds=result.seconds,
    )
    observe(ending)
    return CommandResult(
        name=command.name,
        command=command.run,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        seconds=round(result.seconds, 3),
        output=plain(result.output.decode("utf-8", "replace")),
    )

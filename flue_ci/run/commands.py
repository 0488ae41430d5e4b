"""Runs the spec's `setup` and `checks` in a sandbox. The host records what happened; the model has no say in it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from flue_ci.core.events import CommandEnded, CommandOutput, CommandStarted, Observer
from flue_ci.core.ports import ExecResult, Sandbox
from flue_ci.core.text import plain
from flue_ci.report.report import NO_EXIT_CODE, CommandResult

OUTPUT_LIMIT = 32_768  # bytes of each command's output in the report: head and tail


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCommand:
    """A command of the spec. `timeout` in seconds."""

    kind: Literal["setup", "check"]
    name: str
    run: str
    timeout: float

    def not_run(self) -> CommandResult:
        """Its result before it has run, or when it never does."""
        return CommandResult(name=self.name, command=self.run, exit_code=NO_EXIT_CODE, state="not-run")


async def run_commands(
    commands: Sequence[HostCommand], sandbox: Sandbox, *, cwd: str, observe: Observer
) -> AsyncIterator[CommandResult]:
    """Runs them one after another in `cwd`; setup stops after one that fails. Nothing of the user's home has a say in
    the shell of a check. Raises `SandboxLost`."""
    for command in commands:
        result = await _run_command(command, sandbox, cwd, observe)
        yield result
        if command.kind == "setup" and not result.passed:
            return


async def _run_command(command: HostCommand, sandbox: Sandbox, cwd: str, observe: Observer) -> CommandResult:
    observe(CommandStarted(kind=command.kind, name=command.name, command=command.run))
    result = await sandbox.exec(
        command.run,
        timeout=command.timeout,
        cwd=cwd,
        on_output=lambda data: observe(CommandOutput(data=data)),
        limit=OUTPUT_LIMIT,
        login=command.kind == "setup",
    )
    ending = CommandEnded(
        kind=command.kind,
        name=command.name,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        seconds=result.seconds,
        known=result.known,
    )
    observe(ending)
    return _command_result(command, result)


def _command_result(command: HostCommand, result: ExecResult) -> CommandResult:
    return CommandResult(
        name=command.name,
        command=command.run,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        seconds=round(result.seconds, 3),
        output=plain(result.output.decode("utf-8", "replace")),
        state="ended" if result.known else "unknown",
    )

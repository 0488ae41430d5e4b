"""Runs the spec's `setup` and `checks` in the sandbox. The host records what happened; the model has no say in it.

What the agent did to the machine is kept out of the checks: before they run, its processes are ended and the shell's
start-up files are as they were. What git ignores and what was installed stays the agent's: only a fresh sandbox could
do without.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flue_ci.core.errors import SandboxError
from flue_ci.core.events import CommandEnded, CommandOutput, CommandStarted, Observer
from flue_ci.core.ports import Sandbox
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import plain
from flue_ci.report.report import CommandResult

OUTPUT_LIMIT = 32_768  # bytes of each command's output in the report: head and tail
_PROFILE_SECONDS = 60.0
# What a login bash reads from the home directory. The copies are root's.
_PROFILE_FILES = ".bash_profile .bash_login .profile .bashrc .bash_logout .bash_aliases"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCommand:
    """A command of the spec. `timeout` in seconds."""

    kind: Literal["setup", "check"]
    name: str
    run: str
    timeout: float


async def run_commands(
    commands: Sequence[HostCommand], sandbox: Sandbox, *, cwd: str, observe: Observer, stop_at_failure: bool = False
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


async def save_shell_profile(sandbox: Sandbox) -> None:
    """Before the agent: copies the start-up files out of its reach. Raises `SandboxError` when that fails."""
    await _run_as_root(sandbox, "save_shell_profile.sh")


async def restore_shell_profile(sandbox: Sandbox) -> None:
    """After the agent: ends every process of the ordinary user and puts the start-up files back. Raises `SandboxError`
    when that fails."""
    await sandbox.end_processes()
    await _run_as_root(sandbox, "restore_shell_profile.sh")


async def _run_as_root(sandbox: Sandbox, name: str) -> None:
    script = shell_script({"home": sandbox.info.home, "files": _PROFILE_FILES}, load_script("flue_ci.run", name))
    result = await sandbox.exec(script, timeout=_PROFILE_SECONDS, user="root")
    if result.exit_code:
        output = result.output.decode("utf-8", "replace").strip()
        raise SandboxError(f"the checks could not be kept apart from the agent: {output or result.exit_code}")

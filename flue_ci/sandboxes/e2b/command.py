"""One command in an E2B sandbox: the script around it (`command.sh`), and what is known of its output and its end."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Callable
from typing import Literal

from flue_ci.core.ports import ExecResult
from flue_ci.core.shell import load_script, shell_script
from flue_ci.sandboxes.output import CommandOutput

KILL_AFTER = 5  # seconds between SIGTERM and SIGKILL at the deadline
INLINE_BYTES = 100_000  # of command text, quoted, that go on the command line; one argument may have 128 KiB
_QUIET = 0.3  # seconds of silence after which the output of a finished command counts as complete
_DRAIN = 3.0  # seconds for which a finished command's background children may go on sending output


class RemoteCommand:
    """What is run, and what is known of it. `token` marks our own lines on standard error."""

    def __init__(self, text: str, timeout: float, limit: int, on_output: Callable[[bytes], None] | None) -> None:
        self.text = text.encode(errors="replace").decode()
        self.timeout = timeout
        self.token = f"flue-{secrets.token_hex(8)}"
        self.output = CommandOutput(limit, on_output)
        self.pid: int | None = None  # of the script, once it is known
        self.group: int | None = None  # process group of the command
        self.has_started = False  # the script has reported
        self.exit_code: int | None = None
        self.cwd_problem: Literal["", "missing", "denied"] = ""
        self.is_over = asyncio.Event()  # the command has ended, even if its children have not
        self._stderr = ""  # the last line, as far as it came

    @property
    def file(self) -> str:
        """Where the text goes that is too long for a command line (or cannot stand there); empty when it need not."""
        if len(shlex.quote(self.text).encode()) <= INLINE_BYTES and "\0" not in self.text:
            return ""
        return f"/tmp/.{self.token}"  # noqa: S108 (in the sandbox, and with a random name)

    def script(self, cwd: str) -> str:
        """The script to run. `cwd` is absolute; empty for the home of the user who runs it."""
        values = {
            "flue_cwd": cwd,
            "flue_token": self.token,
            "flue_kill_after": str(KILL_AFTER),
            "flue_seconds": f"{self.timeout:.3f}",
            "flue_whole_seconds": str(int(self.timeout)),
            "flue_command": f'eval "$(cat {self.file}; rm -f {self.file})"' if self.file else self.text,
        }
        return shell_script(values, load_script("flue_ci.sandboxes.e2b", "command.sh"))

    def kill_script(self) -> str:
        """A script that ends the command with its children."""
        values = {"flue_pid": str(self.pid), "flue_group": str(self.group or ""), "flue_file": self.file}
        return shell_script(values, load_script("flue_ci.sandboxes.e2b", "kill_command.sh"))

    def on_stdout(self, text: str) -> None:
        """Takes a piece of the command's output."""
        self.output.add(text.encode(errors="replace"))
        if self.output.error is not None:
            self.is_over.set()

    def on_stderr(self, text: str) -> None:
        """Takes a piece of what the script and the shell around it write: reports, and noise."""
        *lines, rest = (self._stderr + text).split("\n")
        self._stderr = rest[-200:]
        for line in lines:
            token, _, report = line.partition(" ")
            if token == self.token:
                self._handle_report(report)

    def _handle_report(self, report: str) -> None:
        self.has_started = True
        match report.split(" "):
            case ["missing" | "denied" as problem]:
                self.cwd_problem = problem
                self.is_over.set()
            case ["start", number] if number.isdigit():
                self.group = int(number)
            case ["exit", number] if number.isdigit():
                self.end(int(number))

    def end(self, exit_code: int) -> None:
        """The command has ended. The first exit code that is reported counts."""
        if self.exit_code is None:
            self.exit_code = exit_code
        self.is_over.set()

    async def drain(self, stream: asyncio.Task[None]) -> None:
        """After the end: wait for output that is on its way, but not for children that keep the stream open."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _DRAIN
        while not stream.done() and clock() < deadline:
            before = self.output.content.total
            await asyncio.wait([stream], timeout=_QUIET)
            if self.output.content.total == before:
                return

    def result(self, cwd: str, seconds: float) -> ExecResult:
        """What `exec` returns, or raises: the trouble with `cwd`, and what the listener of the output raised."""
        if self.output.error is not None:
            raise self.output.error
        if self.cwd_problem == "missing":
            raise FileNotFoundError(f"no such directory in the sandbox: {cwd}")
        if self.cwd_problem == "denied":
            raise PermissionError(f"not allowed in the sandbox: {cwd}")
        code, timed_out = classify_exit(self.exit_code, seconds=seconds, timeout=self.timeout)
        if not self.has_started and self.exit_code not in (-1, None):
            # A check must never report a success of a command that did not run.
            self.on_stdout(
                f"[the login shell ended ({code}) before the command could run: look at its profile files]\n"
            )
            code = 126
        return self.output.result(code, timed_out=timed_out, seconds=seconds)


def classify_exit(exit_code: int | None, *, seconds: float, timeout: float) -> tuple[int, bool]:
    """The exit code of the contract, and whether the command timed out.

    `timeout` of coreutils ends with 124, or 137 when it had to kill. E2B gives -1 for death by a signal, which only a
    process of the sandbox can have sent before the deadline. None: it ended without an exit code.
    """
    if exit_code in (124, 137, -1) and seconds >= timeout:
        return 124, True
    if exit_code is None or exit_code == -1:
        return 137, False
    return exit_code, False

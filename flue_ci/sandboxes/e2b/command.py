"""One command in an E2B sandbox: the script around it (`command.sh`), started once, followed across lost connections,
and ended with its children."""

import asyncio
import secrets
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import SandboxLost
from flue_ci.core.ports import ExecResult, User
from flue_ci.core.retry import Retry
from flue_ci.core.shell import load_script, shell_script
from flue_ci.sandboxes.e2b.errors import Timeouts, VendorError, vendor_call
from flue_ci.sandboxes.output import CommandOutput

KILL_AFTER = 5  # seconds between SIGTERM and SIGKILL at the deadline
INLINE_BYTES = 100_000  # of command text, quoted, that go on the command line; one argument may have 128 KiB
SERVER_GRACE = 15.0  # seconds after the deadline when E2B itself kills the script: later than the script ever needs
OUR_GRACE = 30.0  # seconds after the deadline when no answer is expected any more
_END_SECONDS = 3.0  # that ending a command may take
_QUIET = 0.3  # seconds of silence after which the output of a finished command counts as complete
_DRAIN = 3.0  # seconds for which a finished command's background children may go on sending output


def account(user: User) -> str | None:
    """The user's name for the SDK; None is the template's own ordinary user."""
    return "root" if user == "root" else None


@dataclass(kw_only=True, eq=False, repr=False)
class RemoteCommand:
    """What is run, and what is known of it. `vendor` is the SDK's sandbox; `cwd` is absolute, empty for the home of the
    `user`; `loss_error` makes the error for a failure and what was being done."""

    vendor: Any
    text: str
    timeout: float
    output: CommandOutput
    cwd: str
    env: Mapping[str, str]
    user: User
    loss_error: Callable[[VendorError | None, str], SandboxLost]
    timeouts: Timeouts
    token: str = field(default_factory=lambda: f"flue-{secrets.token_hex(8)}")  # marks our lines on standard error
    pid: int | None = None  # of the script, once it is known
    group: int | None = None  # process group of the command
    has_started: bool = False  # the script has reported
    exit_code: int | None = None
    cwd_problem: Literal["", "missing", "denied"] = ""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)  # it has ended, even if its children have not
    last_line: str = ""  # of standard error, as far as it came

    @property
    def file(self) -> str:
        """Where the text goes that is too long for a command line (or cannot stand there); empty when it need not."""
        if len(shlex.quote(self.text).encode()) <= INLINE_BYTES and "\0" not in self.text:
            return ""
        return f"/tmp/.{self.token}"  # noqa: S108 (in the sandbox, and with a random name)

    async def wait(self) -> None:
        """Starts it, and listens until its stream ends; connects again when only the connection broke. Raises
        `SandboxLost`."""
        handle = await self._start()
        while True:
            try:
                async with vendor_call():
                    self._end((await handle.wait()).exit_code)
                return
            except VendorError as error:
                failure = error
                if error.exit_code is not None:
                    self._end(error.exit_code)
                if self.is_over.is_set():
                    return
            finally:
                await _disconnect(handle)
            handle = await self._reconnect(failure)

    async def _start(self) -> Any:
        """The SDK's handle of it. A command is never sent twice, unless E2B said that it did not take it."""
        retry = Retry(self.timeouts.repeat)
        while True:
            request = asyncio.ensure_future(self._send())
            try:
                handle = await asyncio.shield(request)
            except asyncio.CancelledError:
                # It may run already: its number is needed to end it.
                await finish(asyncio.wait([request], timeout=_END_SECONDS))
                if request.done() and not request.cancelled() and request.exception() is None:
                    self.pid = request.result().pid
                    await _disconnect(request.result())
                request.cancel()
                raise
            except VendorError as error:
                wait = retry.next_wait()
                if error.status != 429 or wait is None:
                    raise self.loss_error(error, "a command could not be started") from error
                await asyncio.sleep(wait)
            else:
                self.pid = handle.pid
                return handle

    async def _send(self) -> Any:
        values = {
            "flue_cwd": self.cwd,
            "flue_token": self.token,
            "flue_kill_after": str(KILL_AFTER),
            "flue_seconds": f"{self.timeout:.3f}",
            "flue_whole_seconds": str(int(self.timeout)),
            "flue_command": f'eval "$(cat {self.file}; rm -f {self.file})"' if self.file else self.text,
        }
        async with vendor_call():
            return await self.vendor.commands.run(
                shell_script(values, load_script("flue_ci.sandboxes.e2b", "command.sh")),
                background=True,
                envs=dict(self.env),
                user=account(self.user),
                cwd="/",
                stdin=False,
                request_timeout=OUR_GRACE,
                **self._stream_options(),
            )

    def _stream_options(self) -> dict[str, Any]:
        listeners = {"on_stdout": self._on_stdout, "on_stderr": self._on_stderr}
        return {"timeout": self.timeout + SERVER_GRACE, "retain_output": False, **listeners}

    async def _reconnect(self, failure: VendorError) -> Any:
        """A new stream of a command that went on without us. What it wrote meanwhile is lost; the output says so."""
        retry = Retry(self.timeouts.reconnect)
        while not failure.is_gone and (wait := retry.next_wait()) is not None:
            await asyncio.sleep(wait)
            try:
                async with vendor_call():
                    options = self._stream_options()
                    handle = await self.vendor.commands.connect(self.pid, request_timeout=10, **options)
            except VendorError as error:
                failure = error
                continue
            self.has_started = True
            self._on_stdout("\n[… the connection was lost for a moment; output may be missing here …]\n")
            return handle
        doing = "the connection to a running command was lost, and its result with it"
        raise self.loss_error(failure, doing) from failure

    def _on_stdout(self, text: str) -> None:
        self.output.add(text.encode(errors="replace"))
        if self.output.error is not None:
            self.is_over.set()

    def _on_stderr(self, text: str) -> None:
        """Takes a piece of what the script and the shell around it write: reports, and noise."""
        *lines, rest = (self.last_line + text).split("\n")
        self.last_line = rest[-200:]
        for line in lines:
            token, *report = line.split(" ")
            if token != self.token:
                continue
            self.has_started = True
            match report:
                case ["missing" | "denied" as problem]:
                    self.cwd_problem = problem
                    self.is_over.set()
                case ["start", number] if number.isdigit():
                    self.group = int(number)
                case ["exit", number] if number.isdigit():
                    self._end(int(number))

    def _end(self, exit_code: int) -> None:
        """The command has ended. The first exit code that is reported counts."""
        if self.exit_code is None:
            self.exit_code = exit_code
        self.is_over.set()

    async def drain(self, stream: asyncio.Task[None]) -> None:
        """After the end: wait for output that is on its way, but not for children that keep the stream open."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _DRAIN
        while not stream.done() and clock() < deadline:
            before = self.output.total
            await asyncio.wait([stream], timeout=_QUIET)
            if self.output.total == before:
                return

    async def kill(self) -> None:
        """Ends what may still run of it, as far as one short request can. Nothing to do after an ordinary end."""
        if self.exit_code not in (None, -1) or self.cwd_problem or self.pid is None:
            return
        values = {"flue_pid": str(self.pid), "flue_group": str(self.group or ""), "flue_file": self.file}
        script = shell_script(values, load_script("flue_ci.sandboxes.e2b", "kill_command.sh"))
        with suppress(VendorError):
            async with vendor_call(_END_SECONDS):
                handle = await self.vendor.commands.run(
                    script, background=True, user=account(self.user), cwd="/", timeout=10, request_timeout=3
                )
                await handle.disconnect()

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
            text = f"[the login shell ended ({code}) before the command could run: look at its profile files]\n"
            self._on_stdout(text)
            code = 126
        return self.output.result(code, timed_out=timed_out, seconds=seconds)


async def _disconnect(handle: Any) -> None:
    with suppress(VendorError):
        async with vendor_call():
            await handle.disconnect()


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

"""One command in an E2B sandbox: the script around it (`command.sh`), started once, followed across lost connections,
and ended with its children."""

import asyncio
import secrets
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import SandboxLost
from flue_ci.core.ports import ExecResult, User
from flue_ci.core.retry import Retry
from flue_ci.core.shell import load_script, shell_script
from flue_ci.sandboxes.e2b.errors import Timeouts, VendorError, vendor_call
from flue_ci.sandboxes.e2b.marks import claim_mark, new_mark
from flue_ci.sandboxes.output import CommandOutput

INLINE_BYTES = 100_000  # of command text, quoted, that go on the command line; one argument may have 128 KiB
OUR_GRACE = 30.0  # seconds after the deadline when no answer is expected any more
UNKNOWN_CODE = 255  # stands for an exit code that is not known
_LAST_SECONDS = 1.0  # for a stream whose command has ended
_END_SECONDS = 3.0  # that ending a command may take
_REPORT_SECONDS = 5.0  # between our script's report of its end and E2B's, at most
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # where only root writes
# What would make root's shell run other code than its own. The spec may set them for the ordinary user.
_SHELL_VARIABLES = ("BASH_ENV", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The ordinary user, as the machine described it before anything else ran there. `path` is the PATH of its shell.
    `has_sudo`: it is root, or becomes root without a password."""

    name: str
    home: str
    path: str
    has_sudo: bool


@dataclass(kw_only=True, eq=False, repr=False)
class RemoteCommand:
    """What is run, and what is known of it. `vendor` is the SDK's sandbox; `cwd` is absolute, empty for the home of the
    `user`; `loss_error` makes the error for a failure and what was being done. `apart` is the account of a command that
    runs apart from the start-up files of its user: root starts it.

    Its exit code is what E2B reports as its end. What our script reports can make a zero unknown, and nothing else: a
    program inside can write the same line.
    """

    vendor: Any
    text: str
    timeout: float
    output: CommandOutput
    cwd: str
    env: Mapping[str, str]
    user: User
    loss_error: Callable[[VendorError | None, str], SandboxLost]
    timeouts: Timeouts
    apart: Account | None = None
    user_name: str | None = None  # of the ordinary user, for the SDK; None: the one that the template names
    token: str = field(default_factory=lambda: f"flue-{secrets.token_hex(8)}")  # marks our lines on standard error
    mark: str = field(default_factory=new_mark)
    name: str = field(default_factory=lambda: f"flue-{secrets.token_hex(8)}")  # of its files
    pieces: int = 0  # of output that came
    pid: int | None = None  # of the script, once it is known
    group: int | None = None  # process group of the command
    has_started: bool = False  # the script has reported
    was_interrupted: bool = False  # the connection was lost for a while
    exit_code: int | None = None  # that E2B reported
    confirmation: int | None = None  # the exit code that the script reported
    problem: Literal["", "missing", "denied", "unable", "repeated"] = ""  # before the command could run
    is_over: asyncio.Event = field(default_factory=asyncio.Event)  # there is nothing to wait for any more
    last_line: str = ""  # of standard error, as far as it came

    @property
    def starter(self) -> User:
        """Who starts it."""
        if self.apart:
            return "root"
        return self.user

    @property
    def starter_name(self) -> str | None:
        """Their name for the SDK. The ordinary user is named too: a daemon that was restarted has forgotten them."""
        if self.starter == "root":
            return "root"
        return self.user_name

    @property
    def file(self) -> str:
        """Where the text goes that is too long for a command line (or cannot stand there); empty when it need not."""
        if len(shlex.quote(self.text).encode()) <= INLINE_BYTES and "\0" not in self.text:
            return ""
        return f"/tmp/.{self.name}"  # noqa: S108 (in the sandbox, and with a random name)

    @property
    def is_unconfirmed(self) -> bool:
        """E2B reported a zero, and the script around the command did not. A report that may have been lost with the
        connection counts only where the code is to be evidence."""
        if self.exit_code != 0 or not self.has_started:
            return False
        if self.confirmation is None and self.was_interrupted:
            return self.apart is not None
        return self.confirmation != 0

    async def wait(self) -> None:
        """Starts it, and listens until its end is reported; connects again when only the connection broke. Raises
        `SandboxLost`."""
        handle = await self._start()
        while handle is not None:
            try:
                self.exit_code = await self._listen(handle)
            except VendorError as error:
                failure, self.exit_code = error, error.exit_code
            if self.exit_code is not None or self.is_over.is_set():
                break
            handle = await self._reconnect(failure)
        if self.exit_code == 0 and self.confirmation is None:
            self.confirmation = await self._recorded_code()
        self.is_over.set()

    async def _listen(self, handle: Any) -> int:
        """The exit code, from the stream of `handle`. A stream that is silent for long may be dead without a word: a
        new one takes its place, unless the old one shows life meanwhile. Raises `VendorError`."""
        waiting = asyncio.ensure_future(_exit_code(handle))
        was_renewed = False
        try:
            pieces = self.pieces
            while not (await asyncio.wait([waiting], timeout=self.timeouts.silence))[0]:
                if self.pieces == pieces:
                    try:
                        newer = await self._connect()
                    except VendorError as error:
                        if error.is_missing_file and not (await asyncio.wait([waiting], timeout=_LAST_SECONDS))[0]:
                            raise  # it ended, and the stream did not say so
                        continue
                    if self.pieces == pieces and not waiting.done():
                        handle, newer, was_renewed = newer, handle, True
                        waiting.cancel()
                        waiting = asyncio.ensure_future(_exit_code(handle))
                    await _disconnect(newer)
                pieces = self.pieces
            code: int = waiting.result()
            if was_renewed and self.confirmation is None:
                self._note_interruption()
            return code
        finally:
            waiting.cancel()
            await _disconnect(handle)

    def _note_interruption(self) -> None:
        self.has_started = self.was_interrupted = True
        if self.confirmation is None:
            self._on_stdout("\n[… the connection was lost for a moment; output may be missing here …]\n")

    async def _start(self) -> Any:
        """The SDK's handle of it; None: it ended, and root wrote its exit code down. A command is sent again only when
        it surely did not start. Raises `SandboxLost`."""
        retry = Retry(self.timeouts.reconnect)
        is_in_doubt = False
        while True:
            try:
                if not is_in_doubt:
                    handle = await self._send_once()
                    self.pid = handle.pid
                    return handle
                if await self._has_started():
                    return await self._take_up()
                is_in_doubt, self.mark = False, new_mark()
            except VendorError as error:
                is_in_doubt = is_in_doubt or not error.is_turned_away
                wait = retry.next_wait()
                if error.is_permanent or error.is_mismatch or wait is None:
                    raise self.loss_error(error, self._start_failure()) from error
                await asyncio.sleep(wait)

    async def _send_once(self) -> Any:
        request = asyncio.ensure_future(self._send())
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            # It may run already: its number is needed to end it.
            await finish(asyncio.wait([request], timeout=_END_SECONDS))
            if request.done() and not request.cancelled() and request.exception() is None:
                self.pid = request.result().pid
                await _disconnect(request.result())
            request.cancel()
            raise

    async def _has_started(self) -> bool:
        """Whether a command without an answer has started; if not, it never will. Raises `SandboxLost` too."""
        if await self._find():
            return True
        word = await claim_mark(self.vendor.commands.run, self.mark, self.token, self.starter_name)
        if word not in ("claimed", "started"):
            raise self.loss_error(None, "whether a command started is not known")
        return word == "started"

    async def _find(self) -> bool:
        """Whether it runs, as far as E2B knows; then with its number."""
        async with vendor_call(OUR_GRACE):
            processes = await self.vendor.commands.list(request_timeout=20)
        for process in processes:
            if any(self.mark in argument for argument in process.args):
                self.pid = process.pid
        return self.pid is not None

    async def _take_up(self) -> Any:
        """As `_start`, of a command that started without an answer."""
        if not await self._find():
            self.exit_code = self.confirmation = await self._recorded_code()
            if self.exit_code is None:
                raise self.loss_error(None, "the connection was lost as a command started, and its result with it")
            self.has_started = True
            return None
        handle = await self._connect()
        self._note_interruption()
        return handle

    def _start_failure(self) -> str:
        if self.apart:
            return "root could not start a command there, which keeps it apart from the user's start-up files"
        return "a command could not be started"

    async def _send(self) -> Any:
        values = {
            "flue_cwd": self.cwd,
            "flue_kill_after": str(self.timeouts.kill_after),
            "flue_seconds": f"{self.timeout:.3f}",
            "flue_whole_seconds": str(int(self.timeout)),
            "flue_file": self.file,
            "flue_mark": self.mark,
            "flue_command": self.text,
            "flue_account": "",
        }
        if self.apart:
            values["flue_cwd"] = self.cwd or self.apart.home
            values |= {"flue_account": self.apart.name, "flue_home": self.apart.home, "flue_path": self.apart.path}
            values["flue_status_name"] = self.name
        if self.file:
            removal = f"; rm -f {self.file}" * (not self.apart)  # root's file is removed by root
            values["flue_command"] = f'eval "$(cat {self.file}{removal})"'
        async with vendor_call():
            return await self.vendor.commands.run(
                shell_script(values, load_script("flue_ci.sandboxes.e2b", "command.sh")),
                background=True,
                envs=self._environment(),
                user=self.starter_name,
                cwd="/",
                stdin=False,
                request_timeout=OUR_GRACE,
                **self._stream_options(),
            )

    def _environment(self) -> dict[str, str]:
        """Of the script. Where it keeps the command apart, the command's variables come in disguise."""
        if not self.apart:
            return {"flue_token": self.token} | dict(self.env)
        values = {f"flue_env_{name}": value for name, value in self.env.items() if name not in _SHELL_VARIABLES[:2]}
        plain = {name: "" for name in _SHELL_VARIABLES if name in self.env}
        return {"flue_token": self.token, "PATH": _SYSTEM_PATH} | plain | values

    def _stream_options(self) -> dict[str, Any]:
        listeners = {"on_stdout": self._on_stdout, "on_stderr": self._on_stderr}
        return {"timeout": self.timeout + self.timeouts.server_grace, "retain_output": False, **listeners}

    async def _reconnect(self, failure: VendorError) -> Any:
        """A new stream of a command that went on without us. What it wrote meanwhile is lost; the output says so. None:
        E2B does not know the command any more, but root wrote its exit code down."""
        retry = Retry(self.timeouts.reconnect)
        while not failure.is_gone and not failure.is_missing_file and (wait := retry.next_wait()) is not None:
            await asyncio.sleep(wait)
            try:
                handle = await self._connect()
            except VendorError as error:
                failure = error
                continue
            self._note_interruption()
            return handle
        code = None
        if not failure.is_gone:
            code = await self._recorded_code()
        if code is None:
            doing = "the connection to a running command was lost, and its result with it"
            raise self.loss_error(failure, doing) from failure
        self.exit_code = self.confirmation = code
        return None

    async def _connect(self) -> Any:
        """A new stream. Raises `VendorError`."""
        async with vendor_call(OUR_GRACE):
            return await self.vendor.commands.connect(self.pid, request_timeout=10, **self._stream_options())

    async def _recorded_code(self) -> int | None:
        """The exit code that root wrote down; None without such a record, and where the ordinary user can be root."""
        if self.apart is None or self.apart.has_sudo:
            return None
        script = shell_script({"flue_status_name": self.name}, load_script("flue_ci.sandboxes.e2b", "read_status.sh"))
        output = ""
        with suppress(VendorError):
            async with vendor_call(OUR_GRACE):
                run = self.vendor.commands.run
                output = (await run(script, user="root", cwd="/", timeout=20, request_timeout=20)).stdout
        code = output.rpartition("\nstatus ")[2].strip()
        if not code.isdigit():
            return None
        return int(code)

    def _on_stdout(self, text: str) -> None:
        self.pieces += 1
        self.output.add(text.encode(errors="replace"))
        if self.output.error is not None:
            self.is_over.set()

    def _on_stderr(self, text: str) -> None:
        """Takes a piece of what the script and the shell around it write: reports, and noise."""
        self.pieces += 1
        *lines, rest = (self.last_line + text).split("\n")
        self.last_line = rest[-200:]
        for line in lines:
            token, *report = line.split(" ")
            if token != self.token:
                continue
            self.has_started = True
            match report:
                case ["missing" | "denied" | "unable" | "repeated" as problem]:
                    self.problem = problem
                    self.is_over.set()
                case ["start", number] if number.isdigit():
                    self.group = int(number)
                case ["exit", number] if number.isdigit():
                    self.confirmation = int(number)
                    asyncio.get_running_loop().call_later(_REPORT_SECONDS, self.is_over.set)

    async def kill(self) -> None:
        """Ends what may still run of it, as far as one short request can. Nothing to do after an ordinary end."""
        has_ended = self.exit_code not in (None, -1) and not self.is_unconfirmed
        if has_ended or self.problem or self.pid is None:
            return
        values = {"flue_pid": str(self.pid), "flue_group": str(self.group or ""), "flue_file": self.file}
        script = shell_script(values, load_script("flue_ci.sandboxes.e2b", "kill_command.sh"))
        with suppress(VendorError):
            async with vendor_call(_END_SECONDS):
                handle = await self.vendor.commands.run(
                    script, background=True, user=self.starter_name, cwd="/", timeout=10, request_timeout=3
                )
                await handle.disconnect()

    def result(self, cwd: str, seconds: float) -> ExecResult:
        """What `exec` returns, or raises: the trouble with `cwd`, and what the listener of the output raised."""
        if self.output.error is not None:
            raise self.output.error
        if self.problem == "missing":
            raise FileNotFoundError(f"no such directory in the sandbox: {cwd}")
        if self.problem == "repeated":
            raise self.loss_error(None, "a command had started before, and its result is lost")
        if self.problem == "denied":
            raise PermissionError(f"not allowed in the sandbox: {cwd}")
        if self.problem == "unable":
            needs = "it needs root and one of setpriv, runuser and su"
            raise self.loss_error(None, f"a command cannot be kept apart from the user's start-up files: {needs}")
        if self.exit_code is None or self.is_unconfirmed:
            self._on_stdout("\n[the exit code is not known: E2B and the shell around the command do not agree on it]\n")
            return replace(self.output.result(UNKNOWN_CODE, timed_out=False, seconds=seconds), known=False)
        code, timed_out = classify_exit(self.exit_code, seconds=seconds, timeout=self.timeout)
        if not self.has_started and self.exit_code != -1:
            # A check must never report a success of a command that did not run.
            text = f"[the login shell ended ({code}) before the command could run: look at its profile files]\n"
            self._on_stdout(text)
            code = 126
        return self.output.result(code, timed_out=timed_out, seconds=seconds)


async def _exit_code(handle: Any) -> int:
    async with vendor_call():
        return int((await handle.wait()).exit_code)


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

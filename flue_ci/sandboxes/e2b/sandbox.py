"""A running E2B sandbox: the `Sandbox` contract over the SDK's object."""

import asyncio
import math
import posixpath
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import SandboxLost
from flue_ci.core.events import Notice, Observer
from flue_ci.core.ports import ExecResult, Network, SandboxInfo, SandboxRequest, User
from flue_ci.core.retry import Retry
from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import human_bytes, human_seconds
from flue_ci.sandboxes.e2b.command import OUR_GRACE, Account, RemoteCommand
from flue_ci.sandboxes.e2b.errors import Timeouts, VendorError, mask, network_error, refusal_error, vendor_call
from flue_ci.sandboxes.e2b.lifetime import PLAN_HINT, Lifetime
from flue_ci.sandboxes.e2b.network import Firewall
from flue_ci.sandboxes.e2b.root_files import check_entry, look, receive, send, upload_seconds
from flue_ci.sandboxes.e2b.user_files import INLINE_BYTES, read_file, unpredictable_name, write_file
from flue_ci.sandboxes.output import CommandOutput

T = TypeVar("T")

# Why the ordinary user's processes were not ended, by the word of `end_processes.sh`.
_UNQUIET = {
    "root": "the template's ordinary user is root: its processes cannot be told from the machine's, and none was ended",
    "unprivileged": "the machine gave no root to end the ordinary user's processes, and none was ended",
    "unable": "the template has neither setpriv nor runuser to end the ordinary user's processes, and none was ended",
    "foreign": "the server is not recognized as E2B's and may share its machine with others: no process was ended",
}

_KILL_SECONDS = 2.5  # for one attempt
_LAST_SECONDS = 1.0  # for the end of a stream with nothing to come
_FULL_TIME_SECONDS = 1.0  # before the end of its time a sandbox that is lost counts as one that used it up


class E2BSandbox:
    """See `ports.Sandbox`. `vendor` is the SDK's sandbox; `secrets` are values that no message may hold."""

    def __init__(
        self,
        vendor: Any,
        request: SandboxRequest,
        *,
        timeouts: Timeouts,
        observe: Observer,
        secrets: tuple[str, ...],
        firewall: Firewall | None = None,
    ) -> None:
        self._vendor, self._request, self._observe = vendor, request, observe
        self._timeouts, self._secrets = timeouts, secrets
        self._firewall = firewall or Firewall()
        self._network = request.network
        self._lifetime = Lifetime(vendor, request.max_seconds, timeouts, self._notify)
        self._account = Account(name="", home="", path="", has_sudo=False)
        self._is_closed = asyncio.Event()
        self._heartbeat: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo(
            provider="e2b",
            id=self._vendor.sandbox_id,
            template=self._request.template,
            home=self._account.home,
            seconds_left=self._lifetime.remaining_seconds(),
            has_root=self._account.has_sudo,
        )

    async def initialize(self) -> None:
        """Learns where home is, and starts the heartbeat. Raises `SandboxLost`. Part of `open`."""
        if self._request.max_seconds > self._timeouts.ttl:
            self._heartbeat = asyncio.create_task(self._lifetime.extend())
        script = load_script("flue_ci.sandboxes.e2b", "account.sh")
        answer = await self._repeat(
            lambda: self._vendor.commands.run(script, cwd="/", timeout=30, request_timeout=30),
            "it did not answer its first command",
        )
        home, name, sudo, path = answer.stdout.rstrip("\n").split("\n")[-4:]
        home = posixpath.normpath(home)
        if not home.startswith("/"):
            raise self._loss_error(None, "it has no home directory")
        # A directory of the home is not the machine's, because what is in it may change. What package managers install
        # for a user is found after all that the machine has.
        places = [
            place for place in path.split(":") if place.startswith("/") and not f"{place}/".startswith(f"{home}/")
        ]
        path = ":".join([*places, f"{home}/.local/bin"])
        self._account = Account(name=name, home=home, path=path, has_sudo=sudo == "yes")

    async def exec(  # noqa: PLR0913 (the contract)
        self,
        command: str,
        *,
        timeout: float,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: User = "user",
        on_output: Callable[[bytes], None] | None = None,
        limit: int = 65_536,
        login: bool = True,
    ) -> ExecResult:
        """See `ports.Sandbox`. `ValueError` for a `timeout` that is not finite and positive."""
        if not 0 < timeout < math.inf:
            raise ValueError(f"a command needs a finite time, not {timeout}")
        self._check_open()
        remote = RemoteCommand(
            vendor=self._vendor,
            text=command.encode(errors="replace").decode(),
            timeout=timeout,
            output=CommandOutput(limit, on_output),
            cwd=cwd and self._path(cwd),
            env={**self._request.env, **(env or {})},  # which a daemon that was restarted has forgotten
            user=user,
            loss_error=self._loss_error,
            timeouts=self._timeouts,
            user_name=self._user_name("user"),
        )
        if not login:
            remote.apart = self._account
            if user == "root":
                remote.apart = replace(self._account, name="root", home="/root")
        if remote.file:
            try:
                await self._upload(remote.file, remote.text.encode(), remote.starter)
            except PermissionError as error:  # a full disk is no trouble with `cwd`
                return ExecResult(exit_code=126, output=f"[the command was not started: {error.strerror}]\n".encode())
        start = time.monotonic()
        await self._supervise(remote)
        return remote.result(cwd, time.monotonic() - start)

    async def _supervise(self, command: RemoteCommand) -> None:
        """Until the command is over, the sandbox is closed, or no answer comes; then nothing of it is left running."""
        stream = asyncio.create_task(command.wait())
        events = (command.is_over, self._is_closed)
        watches: list[asyncio.Task[Any]] = [stream, *(asyncio.create_task(event.wait()) for event in events)]
        seconds = command.timeout + OUR_GRACE
        try:
            await asyncio.wait(watches, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if command.is_over.is_set():
                await asyncio.wait([stream], timeout=_LAST_SECONDS)
            elif self._is_closed.is_set():
                raise self._loss_error(None, "it was closed while a command ran")
            elif stream.done():
                stream.result()
            else:
                raise self._loss_error(None, f"a command got no answer for {human_seconds(seconds)}")
        finally:
            for watch in watches:
                watch.cancel()
            await finish(self._end_command(command, watches))

    async def _end_command(self, command: RemoteCommand, watches: list[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*watches, return_exceptions=True)
        if not self._is_closed.is_set():
            await command.kill()

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        """See `ports.Sandbox`. For the ordinary user by a command of theirs; only root's work uses E2B's file API."""
        target = self._path(path)
        doing = f"{path} could not be read"
        if user == "root":
            return await self._download(path, limit)
        return await self._repeat(lambda: read_file(self._run, target, limit), doing, path=target, seconds=600)

    async def _download(self, path: str, limit: int | None) -> bytes:
        target, files = self._path(path), self._vendor.files
        if limit is not None:
            doing = f"{path} could not be looked at"
            check_entry(await self._repeat(lambda: look(files, target), doing, path=target, user="root"), target, limit)
        most = math.inf if limit is None else limit
        doing = f"{path} could not be read"
        data = await self._repeat(lambda: receive(files, target, most), doing, path=target, user="root", seconds=600)
        if len(data) > most:  # it grew meanwhile
            raise ValueError(f"{path} has more than {human_bytes(int(most))}: {len(data):,} bytes and counting")
        return data

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        """See `ports.Sandbox`. For the ordinary user by a command of theirs; only root's work uses E2B's file API."""
        if user == "root":
            await self._upload(path, data, user)
            return
        target = self._path(path)
        uploads: list[str] = []

        async def attempt() -> None:
            content = b""
            if isinstance(data, bytes) and len(data) <= INLINE_BYTES:
                content = data
            else:
                await self._send_new(uploads, data)
            await write_file(self._run, target, content, uploads)

        doing = f"{path} could not be written"
        try:
            await self._repeat(attempt, doing, path=target, seconds=600 + upload_seconds(data))
        except PermissionError:
            await self._remove(uploads)
            raise

    async def upload_file(self, data: Path) -> str:
        """See `ports.FileUploader`."""
        uploads: list[str] = []
        try:
            doing, path = f"{data.name} could not be written", f"/tmp/{data.name}"  # noqa: S108
            await self._repeat(lambda: self._send_new(uploads, data), doing, path=path, seconds=upload_seconds(data))
        except PermissionError:
            await self._remove(uploads)
            raise
        await self._remove(uploads[:-1])
        return uploads[-1]

    async def _send_new(self, uploads: list[str], data: bytes | Path) -> None:
        """With a new name each time: nobody can wait for it, and root follows no link that was put in its place."""
        uploads.append(f"/tmp/.{unpredictable_name()}")  # noqa: S108
        await send(self._vendor.files, uploads[-1], data, self._user_name("user"))

    async def _remove(self, uploads: list[str]) -> None:
        """The part that came must not fill the disk."""
        if uploads:
            with suppress(VendorError):
                async with vendor_call(_KILL_SECONDS):
                    await self._run(f"rm -f -- {' '.join(uploads)}", cwd="/", timeout=5, request_timeout=5)

    async def _upload(self, path: str, data: bytes | Path, user: User) -> None:
        """By E2B's file API, which acts as root whatever user is named, and gives the file to that user."""
        target, files, name = self._path(path), self._vendor.files, self._user_name(user)
        doing, seconds = f"{path} could not be written", upload_seconds(data)
        await self._repeat(lambda: send(files, target, data, name), doing, path=target, user=user, seconds=seconds)

    async def set_network(self, network: Network) -> None:
        """See `ports.Sandbox`. E2B's rules leave existing connections alone: when less is to be reachable, the ordinary
        user's processes end with theirs."""
        self._secrets += tuple(rule.value for rule in network.inject)
        try:
            await self._repeat(
                lambda: self._vendor.update_network(self._firewall.policy(network, replace=True)),
                "its network could not be switched",
            )
        except SandboxLost as error:
            cause = error.__cause__
            if isinstance(cause, VendorError) and cause.status in (400, 403):  # the sandbox lives, and stays as it was
                raise refusal_error(cause, mask(str(cause), self._secrets)) from cause
            raise
        is_new, self._network = network != self._network, network
        if is_new and network.mode != "open" and (problem := await self.end_processes()):
            self._observe(Notice(text=f"connections that exist may go on in the new network: {problem}"))

    async def end_processes(self) -> str:
        """See `ports.Sandbox`. Raises `SandboxLost`."""
        values = {"flue_home": self._account.home, "flue_sandbox": self.info.id}
        script = load_script("flue_ci.sandboxes.e2b", "end_processes.sh")
        try:
            result = await self.exec(shell_script(values, script), timeout=60, user="root")
        except SandboxLost as error:
            if isinstance(error.__cause__, VendorError) and error.__cause__.status == 401:
                return _UNQUIET["unprivileged"]
            raise
        word, _, rest = result.output.decode("utf-8", "replace").strip().rpartition("\n")[2].partition(" ")
        if word == "quiet" and result.exit_code == 0:
            return ""
        if word in _UNQUIET:
            return _UNQUIET[word]
        if word == "left":
            return f"{rest} processes of the ordinary user could not be ended"
        text = mask(result.output.decode("utf-8", "replace"), self._secrets)
        return f"whether processes of the ordinary user go on is not known: {text or result.exit_code}"

    def _notify(self, text: str) -> None:
        self._observe(Notice(text=mask(text, self._secrets)))

    async def close(self) -> None:
        """See `ports.Sandbox`."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._kill())
        await finish(asyncio.wait([self._closing], timeout=self._timeouts.kill.timeout + 1))

    async def _kill(self) -> None:
        """Tries until E2B confirms it. Each attempt and all together are bounded by the clock, not by a cancellation,
        which a library may swallow."""
        self._is_closed.set()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        policy, retry = self._timeouts.kill, Retry(self._timeouts.kill)
        while True:
            try:
                seconds = min(_KILL_SECONDS, policy.timeout - retry.elapsed)  # the SDK's own limit fires late
                async with vendor_call(seconds):
                    await self._vendor.kill(request_timeout=_KILL_SECONDS, retries=0)
                return
            except VendorError as error:
                wait = retry.next_wait()
                if error.is_refusal or wait is None:
                    text = mask(str(error), self._secrets)
                    break
            await asyncio.sleep(wait)
        ttl = human_seconds(self._timeouts.ttl)
        self._observe(Notice(text=f"could not make sure that sandbox {self.info.id} ended ({text}); it does in {ttl}"))

    def _user_name(self, user: User) -> str | None:
        """For the SDK; None is the template's own ordinary user, whose name is not known yet, or `root` like E2B's own
        choice for a daemon that has forgotten it."""
        if user == "root":
            return "root"
        if self._account.name in ("", "root"):
            return None
        return self._account.name

    async def _run(self, script: str, **options: Any) -> Any:
        """The SDK's result of a script of the ordinary user."""
        return await self._vendor.commands.run(script, user=self._user_name("user"), **options)

    def _path(self, path: str) -> str:
        if "\0" in path or path.encode(errors="replace").decode() != path:
            raise FileNotFoundError(f"no such file in the sandbox: {path!r}")
        return posixpath.join(self._account.home, path)

    def _check_open(self) -> None:
        if self._is_closed.is_set():
            raise self._loss_error(None, "it was closed")

    async def _repeat(
        self, call: Callable[[], Awaitable[T]], doing: str, *, path: str = "", user: User = "user", seconds: float = 60
    ) -> T:
        """The result of a call that may be repeated. Raises what the contract allows."""
        retry = Retry(self._timeouts.repeat)
        while True:
            self._check_open()
            try:
                async with vendor_call(seconds):
                    return await call()
            except VendorError as error:
                if path and (problem := error.file_error(path) or await self._directory_error(error, path, user)):
                    raise problem from None
                if self._firewall.learns(error):
                    continue
                wait = retry.next_wait()
                if error.is_permanent or error.status == 400 or wait is None:
                    raise self._loss_error(error, doing) from error
            await asyncio.sleep(wait)

    async def _directory_error(self, error: VendorError, path: str, user: User) -> OSError | None:
        """Servers word "that is a directory" differently; when one only calls the request invalid, look."""
        if not error.is_invalid_argument:
            return None
        with suppress(VendorError):
            async with vendor_call():
                entry = await self._vendor.files.get_info(path, user=self._user_name(user))
            if getattr(entry.type, "value", "") == "dir":
                return IsADirectoryError(f"is a directory in the sandbox: {path}")
        return None

    def _loss_error(self, error: VendorError | None, doing: str) -> SandboxLost:
        """What happened while `doing`: closed, out of time, or gone for the reason in `error`."""
        if self._is_closed.is_set():
            return SandboxLost(f"sandbox {self.info.id} was closed")
        if self._lifetime.remaining_seconds() <= _FULL_TIME_SECONDS:
            limit, hint = human_seconds(round(self._lifetime.seconds)), "raise `sandbox.timeout` in the spec"
            if self._lifetime.is_capped:
                hint = PLAN_HINT
            return SandboxLost(f"sandbox {self.info.id} used up its time of {limit}; {doing}", hint=hint)
        if error is not None and (problem := network_error(error, self._vendor.envd_api_url)):
            return SandboxLost(f"sandbox {self.info.id} cannot be reached: {doing}; {problem}", hint=problem.hint)
        if error is not None:
            doing = f"{doing}: {mask(str(error), self._secrets)}"
        hint = "start the run again; https://status.e2b.dev shows whether E2B has trouble"
        return SandboxLost(f"sandbox {self.info.id} is lost: {doing}", hint=hint)

"""A running E2B sandbox: the `Sandbox` contract over the SDK's object, whose failures and odd corners stop here."""

from __future__ import annotations

import asyncio
import math
import posixpath
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flue_ci.core.errors import SandboxLost
from flue_ci.core.events import Notice, Observer
from flue_ci.core.ports import ExecResult, Network, SandboxInfo, SandboxRequest, User
from flue_ci.core.text import human_bytes, human_seconds
from flue_ci.sandboxes.e2b import errors as failures
from flue_ci.sandboxes.e2b.command import RemoteCommand
from flue_ci.sandboxes.e2b.network import policy
from flue_ci.sandboxes.e2b.process import OUR_GRACE, RemoteProcess, account, bounded, finish

T = TypeVar("T")

_TRIES = 3  # for calls that may be repeated
_SLOW_UPLOAD = 200_000  # bytes a second, below which an upload counts as stuck

# As root. Only where E2B's own daemon runs, in this very process namespace, is the machine a sandbox and nothing else,
# so
# that all that belongs to the ordinary user is the agent's; a server that imitates E2B may share its processes with
# others.
END_PROCESSES = """
[ "$(id -u)" = 0 ] || exit 0
ours=no
for comm in $(grep -lx envd /proc/[0-9]*/comm 2>/dev/null); do
  [ "$(readlink "${{comm%/comm}}/ns/pid")" != "$(readlink /proc/self/ns/pid)" ] || ours=yes
done
[ "$ours" = yes ] || exit 0
user=$(stat -c %u -- {home}) || exit 1
[ "$user" != 0 ] || exit 0
for round in 1 2 3 4 5; do
  found=$(find /proc -maxdepth 1 -name '[1-9]*' -uid "$user" -printf '%f ')
  [ -n "$found" ] || exit 0
  kill -KILL $found 2>/dev/null
  sleep 0.05
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How patient we are, in seconds. Tests shorten it."""

    ttl: float = 300.0  # after which E2B ends a sandbox that nobody extended
    heartbeat: float = 80.0
    first_wait: float = 1.0  # between attempts to start; doubles up to `longest_wait`
    longest_wait: float = 30.0
    retry_timeout: float = 180.0  # for all attempts to start together
    creating: float = 120.0  # for one of them
    closing: float = 6.0
    repeat: float = 0.3  # before a call is repeated; doubles


class _TooLarge(ValueError):
    """Told apart from the ValueErrors of the SDK."""


class E2BSandbox:
    """See `ports.Sandbox`. `vendor` is the SDK's sandbox; `secrets` are values that no message may hold."""

    def __init__(
        self, vendor: Any, request: SandboxRequest, *, pace: Timeouts, observe: Observer, secrets: tuple[str, ...]
    ) -> None:
        self._vendor, self._request, self._pace, self._observe, self._secrets = vendor, request, pace, observe, secrets
        self._network = request.network
        self._ends = time.monotonic() + request.max_seconds
        self._home = ""
        self._gone = asyncio.Event()
        self._heart: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo(provider="e2b", id=self._vendor.sandbox_id, template=self._request.template, home=self._home)

    async def initialize(self) -> None:
        """Learn where home is, and start the heartbeat. Raises `SandboxLost`. Part of `open`."""
        if self._request.max_seconds > self._pace.ttl:
            self._heart = asyncio.create_task(self._keep_alive())
        said = await self._repeat(
            lambda: self._vendor.commands.run('printf "\\n%s\\n" "$HOME"', cwd="/", timeout=30, request_timeout=30),
            "it did not answer its first command",
        )
        self._home = posixpath.normpath(said.stdout.strip().rpartition("\n")[2])
        if not self._home.startswith("/"):
            raise self._lost(None, "it has no home directory")

    # Commands

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
    ) -> ExecResult:
        if not 0 < timeout < math.inf:
            raise ValueError(f"a command needs a finite time, not {timeout}")
        self._check_open()
        work = RemoteCommand(command, timeout, limit, on_output)
        where = self._path(cwd) if cwd else ""
        if work.file:
            await self.write(work.file, work.text.encode(), user=user)
        running = RemoteProcess(
            self._vendor, work, cwd=where, env=env or {}, user=user, lost=self._lost, pause=self._pace.repeat
        )
        begun = time.monotonic()
        await self._supervise(running)
        seconds = time.monotonic() - begun
        if work.trouble is not None:
            raise work.trouble
        if work.cwd_problem == "missing":
            raise FileNotFoundError(f"no such directory in the sandbox: {cwd}")
        if work.cwd_problem == "denied":
            raise PermissionError(f"not allowed in the sandbox: {cwd}")
        # -1 is death by a signal, which only somebody in the sandbox can have sent before the deadline.
        timed_out = work.exit_code in (124, 137, -1) and seconds >= timeout
        code = 124 if timed_out else 137 if work.exit_code in (-1, None) else work.exit_code
        if not work.ran and work.exit_code not in (-1, None):
            # A success that never happened is the last thing that a check may report.
            work.on_stdout(
                f"[the login shell ended ({code}) before the command could run: look at its profile files]\n"
            )
            code = 126
        return ExecResult(
            exit_code=code or 0,
            output=work.output.value(),
            omitted_bytes=work.output.omitted_bytes,
            timed_out=timed_out,
            seconds=seconds,
        )

    async def _supervise(self, running: RemoteProcess) -> None:
        """Until the command is over, the sandbox is gone, or nobody answers; then nothing of it is left running."""
        work = running.work
        stream = asyncio.create_task(running.wait())
        watches: list[asyncio.Task[Any]] = [
            stream,
            asyncio.create_task(work.over.wait()),
            asyncio.create_task(self._gone.wait()),
        ]
        try:
            await asyncio.wait(watches, timeout=work.timeout + OUR_GRACE, return_when=asyncio.FIRST_COMPLETED)
            if self._gone.is_set() and not work.over.is_set():
                raise self._lost(None, "it was closed while a command ran")
            if work.over.is_set():
                await work.drain(stream)
            elif stream.done():
                stream.result()
            else:
                raise self._lost(None, f"a command got no answer for {human_seconds(work.timeout + OUR_GRACE)}")
        finally:
            for watch in watches:
                watch.cancel()
            await finish(self._leave(running, watches))

    async def _leave(self, running: RemoteProcess, watches: list[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*watches, return_exceptions=True)
        if not self._gone.is_set():
            await running.end()

    # Files

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        target = self._path(path)
        if limit is not None:
            await self._check_size(target, limit, user)

        async def download() -> bytes:
            data = bytearray()
            async with await self._vendor.files.read(target, format="stream", user=account(user)) as pieces:
                async for piece in pieces:
                    data += piece
                    if limit is not None and len(data) > limit:
                        raise _TooLarge(f"{path} has more than {human_bytes(limit)}: {len(data):,} bytes and counting")
            return bytes(data)

        return await self._repeat(download, f"{path} could not be read", path=target, user=user, seconds=600)

    async def _check_size(self, path: str, limit: int, user: User) -> None:
        """Before a byte is moved. A special file would never end, or never begin."""

        async def ask(name: str) -> Any:
            call = lambda: self._vendor.files.get_info(name, user=account(user))  # noqa: E731
            return await self._repeat(call, f"{path} could not be looked at", path=path, user=user)

        entry = await ask(path)
        if entry.symlink_target and entry.symlink_target != path:
            entry = await ask(entry.symlink_target)
        kind = getattr(entry.type, "value", "")
        if kind == "dir":
            raise IsADirectoryError(f"is a directory in the sandbox: {path}")
        if kind not in ("file", "symlink"):
            raise PermissionError(f"not a regular file in the sandbox: {path}")
        if kind == "file" and entry.size > limit:
            raise ValueError(f"{path} has {entry.size:,} bytes; the limit is {limit:,}")

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        target = self._path(path)
        size = data.stat().st_size if isinstance(data, Path) else len(data)
        seconds = 60 + size / _SLOW_UPLOAD

        async def upload() -> None:
            files, name = self._vendor.files, account(user)
            if isinstance(data, Path):
                with data.open("rb") as file:
                    await files.write(target, file, user=name)
            else:
                await files.write(target, data, user=name, use_octet_stream=True, request_timeout=seconds)

        await self._repeat(upload, f"{path} could not be written", path=target, user=user, seconds=seconds)

    # Network, life

    async def set_network(self, network: Network) -> None:
        """As in the contract. E2B's rules let connections go on that exist already: when less is to be reachable, the
        ordinary user's processes end with theirs."""
        self._secrets += tuple(rule.value for rule in network.inject)
        await self._repeat(
            lambda: self._vendor.update_network(policy(network, replace=True)), "its network could not be switched"
        )
        changed, self._network = network != self._network, network
        if changed and network.mode != "open":
            await self.end_processes()

    async def end_processes(self) -> None:
        home = shlex.quote(self.info.home)
        result = await self.exec(END_PROCESSES.format(home=home), timeout=60, user="root")
        if result.exit_code:
            said = failures.describe(RuntimeError(result.output.decode("utf-8", "replace")), self._secrets)
            raise SandboxLost(f"processes in the sandbox could not be ended: {said}")

    async def _keep_alive(self) -> None:
        """Extend the sandbox's life in small steps until its whole time is used up."""
        pause = self._pace.heartbeat
        while (left := self._ends - time.monotonic()) > self._pace.ttl - pause:
            await asyncio.sleep(pause)
            pause = self._pace.heartbeat
            left = self._ends - time.monotonic()
            try:
                await self._vendor.set_timeout(max(1, math.ceil(min(self._pace.ttl, left))), request_timeout=20)
            except Exception as error:  # noqa: BLE001 (whatever it is: the next beat tries again, commands will tell)
                if failures.is_gone(error):
                    return
                if failures.is_refusal(error):
                    text = failures.describe(error, self._secrets)
                    self._observe(Notice(text=f"E2B does not extend the sandbox's life: {text}"))
                    return
                pause = self._pace.heartbeat / 4

    async def close(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await finish(bounded(self._ending, self._pace.closing + 1))

    async def _end(self) -> None:
        self._gone.set()
        if self._heart is not None:
            self._heart.cancel()
        text = "no answer"
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.closing):
                while True:
                    try:
                        async with asyncio.timeout(2.5):  # the SDK's own limit fires late
                            await self._vendor.kill(request_timeout=2.5, retries=0)
                        return
                    except Exception as error:  # noqa: BLE001 (a kill is tried again whatever went wrong)
                        text = failures.describe(error, self._secrets)
                        if failures.is_refusal(error):
                            break
                    await asyncio.sleep(self._pace.repeat)
        left = human_seconds(self._pace.ttl)
        self._observe(Notice(text=f"could not make sure that sandbox {self.info.id} ended ({text}); it does in {left}"))

    # What all of them need

    def _path(self, path: str) -> str:
        if "\0" in path or path.encode(errors="replace").decode() != path:
            raise FileNotFoundError(f"no such file in the sandbox: {path!r}")
        return posixpath.join(self._home, path)

    def _check_open(self) -> None:
        if self._gone.is_set():
            raise self._lost(None, "it was closed")

    async def _repeat(
        self, call: Callable[[], Awaitable[T]], doing: str, *, path: str = "", user: User = "user", seconds: float = 60
    ) -> T:
        """The result of a call that may be repeated. Raises what the contract allows, and `_TooLarge`."""
        for attempt in range(_TRIES):
            self._check_open()
            try:
                async with asyncio.timeout(seconds):
                    return await call()
            except _TooLarge:
                raise
            except Exception as error:
                if path and (trouble := failures.file_error(error, path) or await self._directory(error, path, user)):
                    raise trouble from None
                if failures.is_permanent(error) or attempt == _TRIES - 1:
                    raise self._lost(error, doing) from error
            await asyncio.sleep(self._pace.repeat * 2**attempt)
        raise AssertionError("unreachable")

    async def _directory(self, error: Exception, path: str, user: User) -> OSError | None:
        """Servers word "that is a directory" differently; when one only calls the request invalid, look."""
        if "e2b.InvalidArgumentException" not in failures.kinds(error):
            return None
        with suppress(Exception):
            entry = await self._vendor.files.get_info(path, user=account(user))
            if getattr(entry.type, "value", "") == "dir":
                return IsADirectoryError(f"is a directory in the sandbox: {path}")
        return None

    def _lost(self, error: Exception | None, doing: str) -> SandboxLost:
        said = f": {failures.describe(error, self._secrets)}" if error is not None else ""
        if self._gone.is_set():
            return SandboxLost(f"sandbox {self.info.id} was closed")
        if time.monotonic() >= self._ends - 1:
            used = human_seconds(self._request.max_seconds)
            hint = "raise `sandbox.timeout` in the spec"
            return SandboxLost(f"sandbox {self.info.id} used up its time of {used}; {doing}", hint=hint)
        hint = "start the run again; https://status.e2b.dev shows whether E2B has trouble"
        return SandboxLost(f"sandbox {self.info.id} is lost: {doing}{said}", hint=hint)

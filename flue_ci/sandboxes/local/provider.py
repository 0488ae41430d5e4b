"""The sandbox on this machine, for laptops and demos: bubblewrap on Linux or, on demand and loudly, no isolation."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import posixpath
import pwd
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import Notice, Observer
from flue_ci.core.ports import ExecResult, Network, SandboxInfo, SandboxRequest, User
from flue_ci.core.text import HeadTail
from flue_ci.sandboxes.local import bubblewrap as jail
from flue_ci.sandboxes.local import state as leftovers
from flue_ci.sandboxes.local.bubblewrap import diagnose
from flue_ci.sandboxes.local.client import SupervisorClient, SupervisorCommand, file_error

_T = TypeVar("_T")
_PIECE = 1 << 20
_INLINE = 1 << 18  # bytes that are written at once; a thread would cost more


class LocalProvider:
    """Local sandboxes; `keep_root` is where their private directories are (default: the temporary directory)."""

    name = "local"

    def __init__(self, isolation: bool = True, keep_root: Path | None = None) -> None:
        self._isolation = isolation
        self._parent = keep_root

    def check(self, request: SandboxRequest) -> None:
        """Raise `SandboxError` for what cannot be had here. Whether the kernel plays along shows when it is opened."""
        _check_network(request.network, isolation=self._isolation)
        if not Path("/bin/bash").exists():
            raise SandboxError("/bin/bash is not installed", hint="install bash, or use --sandbox e2b")
        if self._isolation and sys.platform != "linux":
            raise SandboxError(
                "the local sandbox needs bubblewrap, which exists only on Linux",
                hint="use --sandbox e2b, or run commands unprotected with --no-isolation",
            )
        if self._isolation and not shutil.which("bwrap"):
            raise SandboxError("bubblewrap is not installed", hint=jail.INSTALL)

    async def open(self, request: SandboxRequest, observe: Observer) -> LocalSandbox:
        """Start one: about 40 ms. Raises `SandboxError`; then, and when cancelled, nothing is left."""
        self.check(request)
        if not self._isolation:
            closed = (
                "" if request.network.mode == "open" else f", and with the network open (asked for: {request.network})"
            )
            observe(Notice(text=f"NO ISOLATION: commands run as you, with access to all your files{closed}"))
        drop = jail.NOBODY_ELSE if self._isolation and jail.is_real_root() else None
        try:
            private = leftovers.create(self._parent, drop)
            box = LocalSandbox(request, private, isolation=self._isolation)
            try:
                leftovers.note(private, request.metadata, [], isolated=self._isolation)
                jail.prepare(private)
                await box.begin()
            except BaseException:
                box.abandon()
                raise
        except OSError as error:
            hint = "see that the temporary directory (TMPDIR) exists, is writable and has space"
            raise SandboxError(f"cannot set up the local sandbox: {error}", hint=hint) from error
        return box

    async def list(self, metadata: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        """Ours on this machine, also those whose flue-ci was killed and could not tidy up."""
        wanted = metadata.items()
        return [
            (leftover.id, leftover.metadata)
            for leftover in leftovers.find(self._parent)
            if wanted <= leftover.metadata.items()
        ]

    async def kill(self, sandbox_id: str) -> bool:
        """End its processes and remove its directory, whoever started it, as long as it is ours."""
        return await asyncio.to_thread(leftovers.end, sandbox_id, self._parent)


class LocalSandbox:
    """One private directory on the host and a supervisor that sees it; a second one for root, from its first use on."""

    def __init__(self, request: SandboxRequest, private: Path, *, isolation: bool) -> None:
        self._request = request
        self._private = private
        self._isolation = isolation
        self._network = request.network
        self._until = time.monotonic() + request.max_seconds
        self._cells: dict[User, SupervisorClient] = {}
        self._changing = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None
        self._homes: dict[User, str] = (
            {"user": jail.HOME, "root": jail.ROOT_HOME}
            if isolation
            else {"user": str(private / "home"), "root": str(private / "root")}
        )
        self._info = SandboxInfo(
            provider=LocalProvider.name,
            id=private.name.removeprefix(leftovers.PREFIX),
            template="host",
            home=self._homes["user"],
        )

    @property
    def info(self) -> SandboxInfo:
        return self._info

    async def begin(self) -> None:
        """Start what the ordinary user's commands run in. Raises `SandboxError`."""
        await self._cell("user")

    async def exec(  # noqa: PLR0913 (as in the contract)
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
        """As in the contract. `cwd` defaults to the user's own home; root has no network, and sees no other processes.

        Without isolation root is the same user with another home.
        """
        cell = await self._cell(user)
        kept = HeadTail(limit)

        def listen(data: bytes) -> None:
            kept.add(data)
            if on_output:
                on_output(data)

        asked = SupervisorCommand(
            text=command,
            cwd=self._path(cwd, user) if cwd else self._homes[user],
            env={**self._environment(user), **self._request.env, **(env or {})},
            seconds=timeout,
        )
        started = time.monotonic()
        code, timed_out = await cell.run(asked, listen)
        return ExecResult(
            exit_code=code,
            output=kept.value(),
            omitted_bytes=kept.omitted_bytes,
            timed_out=timed_out,
            seconds=time.monotonic() - started,
        )

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        """As in the contract. Opened inside, so that links lead nowhere else; only regular files."""
        cell = await self._cell(user)
        file = await cell.open(self._path(path, user), writing=False)
        size = os.fstat(file).st_size
        if limit is not None and size > limit:
            os.close(file)
            raise ValueError(f"{path} has {size:,} bytes, more than {limit:,}")
        try:
            return await _in_thread_if(size > _INLINE, partial(_read, file, size))
        except OSError as error:
            raise file_error(error.errno or errno.EIO, path) from error

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        """As in the contract. Opened inside, like `read`; an existing file keeps its mode."""
        cell = await self._cell(user)
        source = data.open("rb", buffering=0) if isinstance(data, Path) else io.BytesIO(data)
        large = isinstance(data, Path) or len(data) > _INLINE
        try:
            file = await cell.open(self._path(path, user), writing=True)
        except BaseException:
            source.close()
            raise
        try:
            await _in_thread_if(large, partial(_write, file, source))
        except OSError as error:
            raise file_error(error.errno or errno.EIO, path) from error

    async def set_network(self, network: Network) -> None:
        """Switch egress. A change starts new namespaces with the same files, and ends all processes of the user."""
        _check_network(network, isolation=self._isolation)
        if self._closing:
            raise _closed()
        changes = network.mode != self._network.mode and self._isolation
        self._network = network
        if changes:
            await self.end_processes()

    async def end_processes(self) -> None:
        """See `Sandbox`: the user's namespaces are made anew over the same files."""
        if self._closing:
            raise _closed()
        async with self._changing:
            old = self._cells.pop("user", None)
            if old:
                old.disconnect()
                await asyncio.to_thread(old.wait)
        await self._cell("user")

    async def close(self) -> None:
        """End everything and remove the private directory; what takes longer than six seconds goes on by itself."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    def abandon(self) -> None:
        """The same at once and without the loop's help, for a sandbox that nobody has used yet."""
        cells = list(self._cells.values())
        for cell in cells:
            cell.disconnect()
        self._clear(cells)

    async def _close(self) -> None:
        cells = list(self._cells.values())
        for cell in cells:
            cell.disconnect()
        await asyncio.to_thread(self._clear, cells)

    def _clear(self, cells: list[SupervisorClient]) -> None:
        until = time.monotonic() + 6
        for cell in cells:
            cell.wait()
        leftovers.remove(self._private, seconds=max(until - time.monotonic(), 1))

    async def _cell(self, user: User) -> SupervisorClient:
        """The running supervisor of the user, started when there is none. Raises `SandboxLost` for a closed sandbox."""
        if self._closing:
            raise _closed()
        who: User = user if self._isolation else "user"
        async with self._changing:
            if cell := self._cells.get(who):
                return cell
            left = self._until - time.monotonic()
            if left <= 0:
                raise SandboxLost(f"the sandbox's time ({self._request.max_seconds:.0f} s) is over")
            root = who == "root"
            network = not root and self._network.mode == "open"
            view = jail.MountView(private=self._private, network=network, root=root)
            cell = await SupervisorClient.start(view, left, isolated=self._isolation)
            if self._closing:  # meanwhile
                cell.disconnect()
                await asyncio.to_thread(cell.wait)
                raise _closed()
            self._cells[who] = cell
            processes = [cell.process.pid for cell in self._cells.values()]
            leftovers.note(self._private, self._request.metadata, processes, isolated=self._isolation)
            return cell

    def _path(self, path: str, user: User) -> str:
        """Absolute, as seen inside. Without isolation root's `/root` is the private directory that stands for it."""
        if "\0" in path:
            raise file_error(errno.ENOENT, path.replace("\0", "\\0"))
        path = posixpath.join(self._info.home, path)
        if not self._isolation and user == "root" and f"{path}/".startswith(f"{jail.ROOT_HOME}/"):
            return self._homes["root"] + path.removeprefix(jail.ROOT_HOME)
        return path

    def _environment(self, user: User) -> dict[str, str]:
        name: str = user
        path = jail.path_variable()
        if not self._isolation:
            name = pwd.getpwuid(os.geteuid()).pw_name
            path = os.environ.get("PATH", jail.SYSTEM_PATH)
        return {
            "PATH": path,
            "HOME": self._homes[user],
            "USER": name,
            "LOGNAME": name,
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
        }


def _check_network(network: Network, *, isolation: bool) -> None:
    hint = "use `open` or `none`, or --sandbox e2b"
    if network.inject:
        raise SandboxError("the local sandbox cannot inject headers: it has no egress proxy", hint=hint)
    if isolation and network.mode == "hosts":
        raise SandboxError(f"the local sandbox cannot restrict the network to hosts ({network})", hint=hint)


def _closed() -> SandboxLost:
    return SandboxLost("the local sandbox has been closed")


async def _in_thread_if(large: bool, work: Callable[[], _T]) -> _T:
    """Not cut short by cancellation: the work closes its own files."""
    return await asyncio.shield(asyncio.to_thread(work)) if large else work()


def _read(file: int, size: int) -> bytes:
    pieces = []
    with open(file, "rb", buffering=0) as stream:
        while size > 0 and (piece := stream.read(min(size, _PIECE))):
            pieces.append(piece)
            size -= len(piece)
    return b"".join(pieces)


def _write(file: int, source: IO[bytes]) -> None:
    with source, open(file, "wb", buffering=0) as target:
        shutil.copyfileobj(source, target, _PIECE)


__all__ = ["LocalProvider", "LocalSandbox", "diagnose"]

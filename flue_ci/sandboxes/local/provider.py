"""The sandbox on this machine, for laptops and demos: bubblewrap on Linux or, on request, no isolation at all."""

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
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import IO

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import Diagnostic, SandboxError, SandboxLost
from flue_ci.core.events import Notice, Observer
from flue_ci.core.ports import ExecResult, Network, SandboxInfo, SandboxRequest, User
from flue_ci.sandboxes.local import bounds, bubblewrap, state
from flue_ci.sandboxes.local.client import SupervisorClient, file_error
from flue_ci.sandboxes.local.features import Features
from flue_ci.sandboxes.output import CommandOutput
from flue_ci.settings import Settings

_CLOSE_SECONDS = 6.0


class LocalProvider:
    """Local sandboxes; `directory` is where their private directories are (default: the temporary directory)."""

    name = "local"

    def __init__(self, isolation: bool = True, directory: Path | None = None) -> None:
        self._isolation = isolation
        self._directory = directory
        self._features = Features()
        self._has_warned = False

    @classmethod
    def from_settings(cls, settings: Settings) -> LocalProvider:
        """See `registry.SandboxAdapter`."""
        return cls()

    @classmethod
    def missing_keys(cls, settings: Settings) -> tuple[str, ...]:
        """See `registry.SandboxAdapter`. It needs no key."""
        return ()

    @classmethod
    async def diagnose(cls, settings: Settings, *, offline: bool) -> Diagnostic:
        """See `registry.SandboxAdapter`. Starts a sandbox that does nothing; its failure is only a note.

        The hint of a sandbox that works has what makes it less tight on this machine, a line each.
        """
        request = SandboxRequest(env={}, metadata={}, network=Network(mode="open"), max_seconds=60)
        provider = cls()
        try:
            sandbox = await provider.open(request, lambda event: None)
            await sandbox.close()
        except SandboxError as error:
            return Diagnostic(key="local sandbox", severity="note", message=str(error), hint=error.hint)
        hint = "\n".join(provider._features.gaps)
        return Diagnostic(key="local sandbox", severity="ok", message="bubblewrap works", hint=hint)

    @staticmethod
    def preload() -> None:
        """See `registry.SandboxAdapter`. There is no SDK."""

    def without_isolation(self) -> LocalProvider:
        """See `ports.WithoutIsolation`."""
        return LocalProvider(isolation=False, directory=self._directory)

    def check(self, request: SandboxRequest) -> None:
        """See `ports.SandboxProvider`. Whether the kernel allows it shows when it is opened."""
        for network in request.networks:
            _check_network(network, isolation=self._isolation)
        bubblewrap.check_host(isolation=self._isolation)

    async def open(self, request: SandboxRequest, observe: Observer) -> LocalSandbox:
        """Start one: about 40 ms. Raises `SandboxError`; then, and when cancelled, nothing is left."""
        self.check(request)
        if not self._isolation and not self._has_warned:
            self._has_warned = True
            warning = "NO ISOLATION: commands run as you, with access to all your files"
            if request.network.mode != "open":
                warning += f", and with the network open (asked for: {request.network})"
            observe(Notice(text=warning))
        features = self._features if self._isolation else None
        try:
            private = state.create_directory(self._directory, bubblewrap.sandbox_uid() if self._isolation else None)
            sandbox = LocalSandbox(request, private, observe, features)
            async with AsyncExitStack() as cleanup:
                cleanup.push_async_callback(sandbox.close)
                state.write_note(private, request.metadata, [], isolation=self._isolation)
                bubblewrap.prepare(private)
                await sandbox.client("user")
                cleanup.pop_all()
        except OSError as error:
            hint = "see that the temporary directory (TMPDIR) exists, is writable and has space"
            raise SandboxError(f"cannot set up the local sandbox: {error}", hint=hint) from error
        return sandbox

    async def list(self, metadata: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        """Ours on this machine, also those whose flue-ci was killed and could not tidy up."""
        orphans = state.find_orphans(self._directory)
        return [(orphan.id, orphan.metadata) for orphan in orphans if metadata.items() <= orphan.metadata.items()]

    async def kill(self, sandbox_id: str) -> bool:
        """End its processes and remove its directory, as long as it is ours; any process may have started it."""
        return await asyncio.to_thread(state.end_orphan, sandbox_id, self._directory)


class LocalSandbox:
    """One private directory on the host and a supervisor that sees it; a second one for root, from its first use on."""

    def __init__(self, request: SandboxRequest, private: Path, observe: Observer, features: Features | None) -> None:
        """Without `features`: without isolation."""
        self._request, self._private, self._observe, self._features = request, private, observe, features
        self._isolation = isolation = features is not None
        self._network = request.network
        self._deadline = time.monotonic() + request.max_seconds
        self._clients: dict[User, SupervisorClient] = {}
        self._lock = asyncio.Lock()  # while supervisors are started or replaced
        self._closing: asyncio.Task[None] | None = None
        homes = (bubblewrap.HOME, bubblewrap.ROOT_HOME) if isolation else (private / "home", private / "root")
        self._homes: dict[User, str] = {"user": str(homes[0]), "root": str(homes[1])}

    @property
    def info(self) -> SandboxInfo:
        name = self._private.name.removeprefix(state.PREFIX)
        seconds = self._deadline - time.monotonic()
        return SandboxInfo(provider="local", id=name, template="host", home=self._homes["user"], seconds_left=seconds)

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
        login: bool = True,
    ) -> ExecResult:
        """As in the contract. `cwd` defaults to the user's own home; root has no network, and sees no other processes.

        Without isolation root is the same user with another home.
        """
        client = await self.client(user)
        output = CommandOutput(limit, on_output)
        directory = self._path(cwd or self._homes[user], user)
        variables = {**self._environment(user), **self._request.env, **(env or {})}
        if not login:
            variables.pop("BASH_ENV", None)
            if "PATH" not in {
                *self._request.env,
                *(env or {}),
            }:  # what package managers install for a user, after all else
                variables["PATH"] += f":{self._homes[user]}/.local/bin"
        start = time.monotonic()
        code, timed_out = await client.run(command, directory, variables, timeout, output, login=login)
        return output.result(code, timed_out=timed_out, seconds=time.monotonic() - start)

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        """As in the contract. Opened inside, so that links lead nowhere else; only regular files."""
        client = await self.client(user)
        file = await client.open(self._path(path, user), writing=False)
        size = os.fstat(file).st_size
        if limit is not None and size > limit:
            os.close(file)
            raise ValueError(f"{path} has {size:,} bytes, more than {limit:,}")
        try:
            return await asyncio.shield(asyncio.to_thread(_read, file, size))  # it closes the file, also when cancelled
        except OSError as error:
            raise file_error(error.errno or errno.EIO, path) from error

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        """As in the contract. Opened inside, like `read`; an existing file keeps its mode."""
        client = await self.client(user)
        source: IO[bytes] = data.open("rb", buffering=0) if isinstance(data, Path) else io.BytesIO(data)
        with ExitStack() as cleanup:
            cleanup.enter_context(source)
            file = await client.open(self._path(path, user), writing=True)
            cleanup.pop_all()
        try:
            await asyncio.shield(asyncio.to_thread(_write, file, source))
        except OSError as error:
            raise file_error(error.errno or errno.EIO, path) from error

    async def set_network(self, network: Network) -> None:
        """Switch egress. A change ends all processes of the user, and what comes next has new namespaces with the same
        files."""
        _check_network(network, isolation=self._isolation)
        self._check_open()
        is_change = network.mode != self._network.mode and self._isolation
        self._network = network
        if is_change and (rest := await self.end_processes()):
            raise SandboxLost(rest)  # it would keep the old network

    async def end_processes(self) -> str:
        """See `Sandbox`: the user's namespaces end; the next command gets new ones over the same files.

        Without isolation these are the descendants of what we started. What they handed to another program of the
        machine (cron, systemd, Docker) is not one.
        """
        self._check_open()
        is_quiet = True
        async with self._lock:
            if client := self._clients.pop("user", None):
                is_quiet = await client.close()
        if is_quiet:
            return ""
        return "processes of the local sandbox may still run: their end could not be verified"

    async def close(self) -> None:
        """End everything and remove the private directory; what takes longer than six seconds goes on by itself."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await finish(asyncio.wait([self._closing]))

    async def _close(self) -> None:
        deadline = time.monotonic() + _CLOSE_SECONDS
        await asyncio.gather(*(client.close() for client in self._clients.values()))
        bounds.remove_groups(self._private.name)
        seconds = max(deadline - time.monotonic(), 1)
        await asyncio.to_thread(state.remove_directory, self._private, seconds=seconds)

    def _check_open(self) -> None:
        if self._closing:
            raise SandboxLost("the local sandbox has been closed")

    async def client(self, user: User) -> SupervisorClient:
        """The running supervisor of the user, started when there is none. Raises `SandboxLost` for a closed sandbox."""
        self._check_open()
        account: User = user if self._isolation else "user"
        async with self._lock:
            if client := self._clients.get(account):
                return client
            seconds = self._deadline - time.monotonic()
            if seconds <= 0:
                raise SandboxLost(f"the sandbox's time ({self._request.max_seconds:.0f} s) is over")
            is_root = account == "root"
            has_network = not is_root and self._network.mode == "open"
            view = bubblewrap.MountView(private=self._private, network=has_network, root=is_root)
            if self._features:
                client = await self._features.start(view, seconds)
                if gaps := self._features.unreported_gaps():
                    self._observe(Notice(text=f"the local sandbox on this machine: {'; '.join(gaps)}"))
            else:
                client = await SupervisorClient.start(view, seconds, isolation=False)
            if self._closing:  # meanwhile
                await client.close()
                self._check_open()
            self._clients[account] = client
            processes = [client.process.pid for client in self._clients.values()]
            state.write_note(self._private, self._request.metadata, processes, isolation=self._isolation)
            return client

    def _path(self, path: str, user: User) -> str:
        """Absolute, as seen inside. Without isolation root's `/root` is the private directory that stands for it."""
        if "\0" in path:
            raise file_error(errno.ENOENT, path.replace("\0", "\\0"))
        path = posixpath.join(self._homes["user"], path)
        if not self._isolation and user == "root" and f"{path}/".startswith(f"{bubblewrap.ROOT_HOME}/"):
            return self._homes["root"] + path.removeprefix(bubblewrap.ROOT_HOME)
        return path

    def _environment(self, user: User) -> dict[str, str]:
        name: str = user
        path = bubblewrap.path_variable()
        if not self._isolation:
            with suppress(KeyError):  # a container's user may have no entry
                name = pwd.getpwuid(os.geteuid()).pw_name
            path = os.environ.get("PATH", bubblewrap.SYSTEM_PATH)
            if not shutil.which("python3", path=path):  # the one that runs us, as inside bubblewrap
                path = f"{path}:{sys.base_prefix}/bin"
        names = {"USER": name, "LOGNAME": name}
        return {"PATH": path, "HOME": self._homes[user], **names, "LANG": "C.UTF-8", "SHELL": "/bin/bash"}


def _check_network(network: Network, *, isolation: bool) -> None:
    hint = "use `open` or `none`, or --sandbox e2b"
    if network.inject:
        raise SandboxError("the local sandbox cannot inject headers: it has no egress proxy", hint=hint)
    if isolation and network.mode == "hosts":
        raise SandboxError(f"the local sandbox cannot restrict the network to hosts ({network})", hint=hint)


def _read(file: int, size: int) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(size)


def _write(file: int, source: IO[bytes]) -> None:
    with source, open(file, "wb", buffering=0) as target:
        shutil.copyfileobj(source, target, 1 << 20)

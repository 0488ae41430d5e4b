"""A sandbox of directories and processes of this machine, and variants of it with one fault each.

It keeps the contract as far as the tests need it, and isolates nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import Observer
from flue_ci.core.ports import ExecResult, Network, SandboxInfo, SandboxRequest, User
from flue_ci.core.text import HeadTail


class ToySandbox:
    """See `ports.Sandbox`. A command writes into a file, which is read while it runs."""

    def __init__(self, request: SandboxRequest) -> None:
        self.request = request
        self.directory = tempfile.TemporaryDirectory(prefix="toy-")
        self.homes = {user: f"{self.directory.name}/{user}" for user in ("user", "root")}
        for home in self.homes.values():
            Path(home).mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.is_closed = False

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo(provider="toy", id=Path(self.directory.name).name, template="", home=self.homes["user"])

    async def exec(
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
        self.check_open()
        directory = self.path(cwd) if cwd else Path(self.homes[user])
        if not directory.is_dir():
            raise FileNotFoundError(f"no such directory: {cwd}")
        output = HeadTail(limit)
        with tempfile.TemporaryFile() as file:
            start = time.monotonic()
            process = self.start(command, directory, self.environment(user) | dict(env or {}), file)
            try:
                timed_out = await self.wait(process, start + timeout, lambda: self.forward(file, output, on_output))
            except asyncio.CancelledError:
                self.end_group(process)
                raise
        code = process.returncode
        if timed_out:
            code = 124
        elif code < 0:
            code = 128 - code
        seconds = time.monotonic() - start
        return ExecResult(
            exit_code=code,
            output=output.value(),
            omitted_bytes=output.omitted_bytes,
            timed_out=timed_out,
            seconds=seconds,
        )

    def environment(self, user: User) -> dict[str, str]:
        names = {"HOME": self.homes[user], "USER": user, "LOGNAME": user, "LANG": "C.UTF-8", "SHELL": "/bin/bash"}
        return names | {"PATH": os.environ["PATH"]} | dict(self.request.env)

    def start(
        self, command: str, directory: Path, environment: dict[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["/bin/bash", "--noprofile", "-l", "-c", command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    async def wait(self, process: subprocess.Popen[bytes], deadline: float, forward: Callable[[], None]) -> bool:
        """Until it ends; whether its time was over."""
        timed_out = False
        while process.poll() is None:
            await asyncio.sleep(0.01)
            forward()
            if time.monotonic() > deadline + 5:
                self.end_group(process)
            elif time.monotonic() > deadline and not timed_out:
                timed_out = True
                os.killpg(process.pid, signal.SIGTERM)
        self.check_open()
        forward()
        if timed_out:
            self.end_group(process)
        return timed_out

    def forward(self, file: IO[bytes], output: HeadTail, on_output: Callable[[bytes], None] | None) -> None:
        while data := os.pread(file.fileno(), 65_536, output.total):
            output.add(data)
            if on_output:
                on_output(data)

    def end_group(self, process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def check_open(self) -> None:
        if self.is_closed:
            raise SandboxLost("the toy is closed")

    def path(self, path: str) -> Path:
        return Path(self.homes["user"], path)

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        self.check_open()
        file = self.path(path)
        try:
            status = file.stat()
        except NotADirectoryError:
            raise FileNotFoundError(path) from None
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(path)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionError(path)
        if limit is not None and status.st_size > limit:
            raise ValueError(f"{path} has {status.st_size} bytes")
        return file.read_bytes()

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        self.check_open()
        file = self.path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data.read_bytes() if isinstance(data, Path) else data)
        except (NotADirectoryError, FileExistsError):
            raise FileNotFoundError(path) from None

    async def set_network(self, network: Network) -> None:
        self.check_open()

    async def end_processes(self) -> str:
        for process in self.processes:
            self.end_group(process)
        return ""

    async def close(self) -> None:
        self.is_closed = True
        await self.end_processes()
        self.directory.cleanup()


class ToyProvider:
    """See `ports.SandboxProvider`. `sandbox_class` is what it opens."""

    name = "toy"

    def __init__(self, sandbox_class: type[ToySandbox] = ToySandbox) -> None:
        self.sandbox_class = sandbox_class
        self.sandboxes: list[ToySandbox] = []

    def check(self, request: SandboxRequest) -> None:
        if any(network.mode == "hosts" or network.inject for network in request.networks):
            raise SandboxError("the toy has no egress proxy", hint="use another sandbox")

    async def open(self, request: SandboxRequest, observe: Observer) -> ToySandbox:
        self.check(request)
        sandbox = self.sandbox_class(request)
        self.sandboxes.append(sandbox)
        return sandbox

    async def list(self, metadata: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        running = [(each.info.id, each.request.metadata) for each in self.sandboxes if not each.is_closed]
        return [(id, labels) for id, labels in running if metadata.items() <= labels.items()]

    async def kill(self, sandbox_id: str) -> bool:
        for sandbox in self.sandboxes:
            if sandbox.info.id == sandbox_id and not sandbox.is_closed:
                await sandbox.close()
                return True
        return False

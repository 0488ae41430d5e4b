"""A sandbox that is only a folder of this machine: good for trying things out, it protects nothing."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from flue_ci.core.errors import Diagnostic, SandboxError, SandboxLost
from flue_ci.core.ports import ExecResult, SandboxInfo
from flue_ci.core.text import HeadTail


class FolderProvider:
    name = "folder"
    from_settings = classmethod(lambda cls, settings: cls())
    missing_keys = staticmethod(lambda settings: ())
    preload = staticmethod(lambda: None)

    @classmethod
    async def diagnose(cls, settings, *, offline):
        return Diagnostic(key="folder", message="works everywhere", severity="ok")

    def check(self, request):
        if any(network.mode != "open" or network.inject for network in request.networks):
            raise SandboxError("a folder cannot restrict the network", hint="set `sandbox.network.agent: open`")

    async def open(self, request, observe):
        return FolderSandbox(Path(tempfile.mkdtemp(prefix="flue-ci-folder-")), request)

    async def list(self, metadata):
        return []  # nothing outlives the process that opened it

    async def kill(self, sandbox_id):
        return False


class FolderSandbox:
    def __init__(self, folder, request):
        self._env, self._homes, self._groups = dict(request.env), {"user": folder, "root": folder / ".root"}, set()
        self._homes["root"].mkdir()
        self.info = SandboxInfo(provider="folder", id=folder.name, template=request.template, home=str(folder))

    async def exec(self, command, *, timeout, cwd="", env=None, user="user", on_output=None, limit=65_536):
        home, start, output = self._path("", user), time.monotonic(), HeadTail(limit)
        if not self._path(cwd, user).is_dir():
            raise FileNotFoundError(cwd)
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": user, **self._env, **(env or {})}
        limited = ("timeout", "-k", "5", str(timeout), "bash", "-lc", command)
        with tempfile.TemporaryFile() as file:
            streams = {"stdin": asyncio.subprocess.DEVNULL, "stdout": file, "stderr": file}
            process = await asyncio.create_subprocess_exec(
                *limited, cwd=self._path(cwd, user), env=variables, start_new_session=True, **streams
            )
            self._groups.add(process.pid)
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await self.end_processes()
                raise
            file.seek(0)
            while data := file.read(65_536):
                output.add(data)
                if on_output:
                    on_output(data)
        seconds = time.monotonic() - start
        timed_out = code == 124 and seconds >= timeout
        return ExecResult(
            exit_code=code,
            output=output.value(),
            omitted_bytes=output.omitted_bytes,
            timed_out=timed_out,
            seconds=seconds,
        )

    def _path(self, path, user="user"):
        if not self._homes["user"].is_dir():
            raise SandboxLost("the sandbox was closed")
        return self._homes[user] / path

    async def read(self, path, *, limit=None, user="user"):
        data = self._path(path, user).read_bytes()
        if limit is not None and len(data) > limit:
            raise ValueError(f"{path} has {len(data)} bytes")
        return data

    async def write(self, path, data, *, user="user"):
        target = self._path(path, user)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.read_bytes() if isinstance(data, Path) else data)

    async def set_network(self, network):
        pass  # `check` has refused everything but an open one

    async def end_processes(self):
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    async def close(self):
        await self.end_processes()
        shutil.rmtree(self._homes["user"], ignore_errors=True)

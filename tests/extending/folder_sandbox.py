"""A sandbox that is only a folder of this machine: good for trying things out, it protects nothing."""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from flue_ci.core.errors import Diagnostic, SandboxError, SandboxLost
from flue_ci.core.ports import ExecResult, SandboxInfo
from flue_ci.core.text import HeadTail


class FolderProvider:
    name = "folder"
    from_settings = classmethod(lambda cls, settings: cls())
    missing_keys = staticmethod(lambda settings: ())
    preload = staticmethod(lambda: None)

    @staticmethod
    async def diagnose(settings, *, offline):
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
        self._folder, self._env = folder, dict(request.env)
        (folder / ".root").mkdir()
        self.info = SandboxInfo(provider="folder", id=folder.name, template=request.template, home=str(folder))

    async def exec(self, command, *, timeout, cwd="", env=None, user="user", on_output=None, limit=65_536, login=True):
        start, output, home = time.monotonic(), HeadTail(limit), "" if user == "user" else ".root"
        script = ("timeout", "-k", "5", str(timeout), "bash", "-lc" if login else "-c", command)
        environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self._path(home)), **self._env, **(env or {})}
        with tempfile.TemporaryFile() as file:  # a background process that keeps it open holds nothing up
            options = {"stdin": asyncio.subprocess.DEVNULL, "stdout": file, "stderr": file, "env": environ}
            process = await asyncio.create_subprocess_exec(*script, cwd=self._path(cwd or home), **options)
            code = await process.wait()
            file.seek(0)
            output.add(file.read())
        if on_output and output.total:
            on_output(output.value())
        seconds = time.monotonic() - start
        late, size = code == 124 and seconds >= timeout, output.omitted_bytes
        return ExecResult(exit_code=code, output=output.value(), omitted_bytes=size, timed_out=late, seconds=seconds)

    def _path(self, path):
        if not self._folder.is_dir():
            raise SandboxLost("the sandbox was closed")
        return self._folder / path

    async def read(self, path, *, limit=None, user="user"):
        return self._path(path).read_bytes()

    async def write(self, path, data, *, user="user"):
        file, data = self._path(path), data if isinstance(data, bytes) else data.read_bytes()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    async def set_network(self, network):
        """Nothing to do: `check` refuses everything but an open one."""

    async def end_processes(self):
        return "processes of the agent may still run: a folder cannot tell them from others"

    async def close(self):
        shutil.rmtree(self._folder, ignore_errors=True)

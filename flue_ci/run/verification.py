"""The clean sandbox in which the checks run: prepared while the agent works, with the base, setup and the verified
changes in it, and nothing else of the agent's. And which changes concern setup, so that it runs again: manifests and
lock files, what its commands name, and everything when they build.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files as package_files

from flue_ci.core.changes import ChangedFile, ChangeSet
from flue_ci.core.errors import FlueError, SandboxError
from flue_ci.core.events import Notice, Observer, ProgressEvent
from flue_ci.core.ports import Sandbox, SandboxProvider, SandboxRequest
from flue_ci.core.text import one_line
from flue_ci.git.source import Source
from flue_ci.report.conclusion import describe_ending
from flue_ci.report.report import CommandResult, SandboxUsed
from flue_ci.run.commands import HostCommand, run_commands
from flue_ci.run.plan import RunPlan
from flue_ci.workspace.place import place_changes
from flue_ci.workspace.upload import Workspace, upload

_LONGEST = 86_400.0  # seconds that a sandbox may live
_PROBE = '[ "$(id -u)" = 0 ] || sudo -n true'
_WORD = re.compile(r"""[^\s"'`;&|<>()$=]+""")
_BUILDS = re.compile(r"(?<![\w-])(?:build|compile|make|cmake|bundle:|dist)(?![\w-])")
_SOURCES = re.compile(r"(?:^|[;&|({])\s*\.\s+\S+", re.MULTILINE)  # `. .venv/bin/activate`
_INSTALLS_ALL = re.compile(r"""(?<!\S)['"]?\./?(?:\[[^\]\s]*\])?['"]?(?=[\s;&|)]|$)""")
_EDITABLE = re.compile(r"(?<!\S)(?:-e|--editable)[ =]\S+")  # what pip installs so follows the files by itself


class CleanSandbox:
    """One run's second sandbox. `start` may be called at any time and more than once; `close` ends whatever there is.

    `setup` are the results of setup in it, `setup_again` tells whether it ran once more after the changes.
    """

    def __init__(self, plan: RunPlan, provider: SandboxProvider, observe: Observer) -> None:
        self.setup: tuple[CommandResult, ...] = ()
        self.setup_again = False
        self._plan, self._provider, self._observe = plan, provider, observe
        self._request = _request(plan)
        self._sandbox: Sandbox | None = None
        self._networks: dict[str, str] = {}
        self._opened = self._seconds = 0.0
        self._preparation: asyncio.Task[Workspace] | None = None

    def start(self, source: Source) -> None:
        """Begins to prepare it, in the background."""
        if self._preparation is None:
            self._preparation = asyncio.ensure_future(self._prepare(source))

    async def receive(self, source: Source, changes: ChangeSet) -> tuple[Sandbox, Workspace]:
        """The sandbox with the changes in it, ready for checks. Raises `SandboxError` when there is none."""
        self.start(source)
        assert self._preparation
        try:
            workspace = await self._preparation
            assert self._sandbox
            await place_changes(source, changes, workspace, self._sandbox)
            if self._plan.setup and (self._plan.verify.setup_again or touches_setup(changes.files, self._plan.setup)):
                self.setup_again = True
                await self._sandbox.set_network(self._request.network)
                await self._set_up(self._sandbox, workspace, self._observe)
                await place_changes(source, changes, workspace, self._sandbox)  # where setup wrote over them
        except FlueError as error:
            message = f"the checks were not run, because there is no clean sandbox for them: {error}"
            raise SandboxError(message, hint=error.hint) from error
        return self._sandbox, workspace

    async def _prepare(self, source: Source) -> Workspace:
        self._sandbox = await self._provider.open(self._request, self._observe_quietly)
        self._opened = time.monotonic()
        workspace = await upload(source, self._sandbox)
        if self._plan.setup:
            await self._set_up(self._sandbox, workspace, self._observe_quietly)
        self._networks["checks"] = str(self._request.networks[-1])
        return workspace

    async def _set_up(self, sandbox: Sandbox, workspace: Workspace, observe: Observer) -> None:
        """Setup with its own network, and then the network of the checks."""
        self._networks["setup"] = str(self._request.network)
        async for result in run_commands(self._plan.setup, sandbox, cwd=workspace.root, observe=observe):
            self.setup += (result,)
            if not result.passed:
                message = f"setup command `{one_line(result.command, 60)}` {describe_ending(result)} there"
                raise SandboxError(message, hint="\n".join(result.output.rstrip().splitlines()[-10:]))
        await sandbox.set_network(self._request.networks[-1])

    def _observe_quietly(self, event: ProgressEvent) -> None:
        """The agent is at work: people learn only of trouble."""
        if isinstance(event, Notice):
            self._observe(Notice(text=f"clean sandbox: {event.text}"))

    async def close(self) -> None:
        """Ends the preparation and kills the sandbox. Idempotent; bounded as the provider's own ends are."""
        if self._preparation is not None:
            self._preparation.cancel()
            await asyncio.wait([self._preparation])  # whatever it raises, the sandbox has to be ended
            if not self._preparation.cancelled():
                error = self._preparation.exception()
                if error is not None and not isinstance(error, FlueError):
                    self._observe(Notice(text=f"the clean sandbox was not ready: {type(error).__name__}: {error}"))
        if self._sandbox is not None:
            await self._sandbox.close()
            self._seconds = self._seconds or time.monotonic() - self._opened

    @property
    def usage(self) -> SandboxUsed | None:
        """The sandbox as the report has it; None when none was started."""
        if self._sandbox is None:
            return None
        info = self._sandbox.info
        return SandboxUsed(
            provider=info.provider,
            id=info.id,
            template=info.template,
            network=self._networks,
            secrets=self._plan.secrets,
            seconds=round(self._seconds, 3),
        )


async def can_become_root(sandbox: Sandbox) -> bool:
    """Whether the ordinary user inside is root, or becomes root without a password; also when that cannot be found
    out. Raises `SandboxLost`."""
    if sandbox.info.has_root is not None:
        return sandbox.info.has_root
    result = await sandbox.exec(_PROBE, timeout=20, limit=1_000)
    return result.exit_code == 0 or result.timed_out


def _request(plan: RunPlan) -> SandboxRequest:
    """As the agent's. Its own time comes on top of the agent's, because it starts while the agent works."""
    minutes = plan.prompt.limits.minutes or 0.0
    request = plan.request
    seconds = min(request.max_seconds + 60 * minutes, _LONGEST)
    return replace(request, max_seconds=seconds, metadata={**request.metadata, "role": "verify"})


def touches_setup(files: Iterable[ChangedFile], setup: Sequence[HostCommand]) -> bool:
    """Whether setup could come to something else with these files: one is a manifest or a lock file, or is named in a
    command (or lies in a directory that is); or there are any, and a command builds or installs the repository."""
    paths = [path for file in files for path in (file.path, file.old_path) if path]
    commands = [_EDITABLE.sub("", command.run) for command in setup]
    if paths and any(_BUILDS.search(each) or _INSTALLS_ALL.search(_SOURCES.sub("", each)) for each in commands):
        return True
    words = {word.removeprefix("./").rstrip("/") for command in commands for word in _WORD.findall(command)}
    return any(_is_manifest(path) or not words.isdisjoint(_command_names(path)) for path in paths)


def _command_names(path: str) -> list[str]:
    """What a command may call it: its name, its path, and the directories above it."""
    parts = path.split("/")
    return [parts[-1], *("/".join(parts[:end]) for end in range(1, len(parts) + 1))]


def _is_manifest(path: str) -> bool:
    names = ["/".join(path.split("/")[-length:]) for length in (1, 2)]
    return any(fnmatchcase(name, pattern) for name in names for pattern in _patterns())


@cache
def _patterns() -> tuple[str, ...]:
    lines = (package_files("flue_ci.run") / "manifests.txt").read_text("utf-8").splitlines()
    return tuple(pattern for line in lines if not line.startswith("#") for pattern in line.split())

"""The one place that runs git on the host: fixed argument lists, a clean environment, no hooks, no prompts, errors
in our words.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from flue_ci.core.concurrency import together
from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import HeadTail, one_line

OLDEST = (2, 34)
INSTALL_HINT = "Install git 2.34 or newer and make sure that it is on PATH."

# Nothing of ours may start a program, ask, tidy up in the background, or wait for the disk (what we write is
# temporary).
_NEUTRAL = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false"),
    *("-c", "core.fsync=none", "-c", "credential.helper=", "-c", "protocol.allow=never"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false"),
)
_PASSED_VARIABLES = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")
_VARIABLES = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
}
_OWN_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1"}
# A repository's own `protocol.ext.allow` goes before our `protocol.allow`, and a missing object of a partial clone is
# enough to make git talk to the address in that configuration. Nothing in it goes before this variable.
_THEIR_CONFIG = {"GIT_ALLOW_PROTOCOL": "none"}
_SMALL_WINDOWS = ("-c", "core.packedGitWindowSize=32m", "-c", "core.packedGitLimit=256m")
_CHUNK = 1 << 16
TIMEOUT_CODE = 124  # the exit code where git was ended because it took too long
# A few objects can stand for billions of files, all of which git would list. Lists of honest repositories stay below.
MAX_OUTPUT_BYTES = 512_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GitResult:
    """How git ended: exit code, standard output, and the head and tail of standard error."""

    code: int
    out: bytes
    err: str

    @property
    def line(self) -> str:
        """Standard output as one line, for commands that print one name."""
        return os.fsdecode(self.out.removesuffix(b"\n"))

    @property
    def reason(self) -> str:
        """The last error message as one line, or the exit code where there is none."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("fatal:", "error:"))]
        last = (errors or lines or [f"exit code {self.code}"])[-1]
        return one_line(last.removeprefix("fatal:").removeprefix("error:"), 300)


class GitCommandError(WorkspaceError):
    """git ended with an exit code that is no result. The message is `what` and the reason in `result`."""

    def __init__(self, what: str, result: GitResult) -> None:
        super().__init__(f"{what}: {result.reason}")
        self.result = result


class TooMuchOutput(WorkspaceError):
    """git wrote more bytes than the limit and was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Where git runs and with what.

    `user_config`: the user's own configuration counts (their checkout, their `safe.directory`); otherwise neither the
    system's nor the user's does. `env` is added to a fixed, small environment. For hostile input, `memory` bounds the
    process in bytes.
    """

    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    config: tuple[str, ...] = ()  # `key=value`
    user_config: bool = False
    memory: int | None = None

    def with_env(self, **variables: str) -> Git:
        """The same with more environment variables."""
        return replace(self, env={**self.env, **variables})

    async def run(
        self,
        *args: str,
        stdin: bytes = b"",
        ok: tuple[int, ...] | None = (0,),
        limit: int = MAX_OUTPUT_BYTES,
        timeout: float = 600,
    ) -> GitResult:
        """Runs `git ARGS` to its end. `ok` are the exit codes that are results (None: all); `timeout` in seconds.

        Raises `GitCommandError` for other exit codes and for the timeout, `TooMuchOutput` beyond `limit` bytes of
        standard output. A cancelled call leaves no process behind.
        """
        process = await self._start(args)
        try:
            async with asyncio.timeout(timeout):
                result = await _communicate(process, stdin, limit)
        except TooMuchOutput as error:
            raise TooMuchOutput(f"git {args[0]}: {error}") from None
        except TimeoutError:
            result = GitResult(code=TIMEOUT_CODE, out=b"", err=f"no end after {timeout:.0f} seconds")
            raise GitCommandError(f"git {args[0]}", result) from None
        finally:
            await _end(process)
        if ok is not None and result.code not in ok:
            raise GitCommandError(f"git {args[0]}", result)
        return result

    async def _start(self, args: tuple[str, ...]) -> asyncio.subprocess.Process:
        command: tuple[str, ...] = ("git", *_NEUTRAL, *_options(self.config), *args)
        if self.memory is not None:
            command = ("git", *_NEUTRAL, *_SMALL_WINDOWS, *_options(self.config), *args)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.cwd,
                env=git_environment(user_config=self.user_config) | dict(self.env),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C on the terminal is ours to handle
            )
        except NotADirectoryError:
            raise WorkspaceError(f"{self.cwd} is not a directory") from None
        except FileNotFoundError:
            if not self.cwd.is_dir():
                raise WorkspaceError(f"{self.cwd} does not exist") from None
            raise WorkspaceError("git is not installed", hint=INSTALL_HINT) from None
        except PermissionError as error:
            raise WorkspaceError(f"{self.cwd} cannot be entered: {error.strerror}") from None
        if self.memory is not None:
            _limit_memory(process, self.memory)
        return process


def git_in(git_dir: Path) -> Git:
    """git on a bare repository of our own, without the user's and the system's configuration."""
    return Git(cwd=git_dir, env={"GIT_DIR": str(git_dir)})


def run_git(*args: str, cwd: Path, config: tuple[str, ...] = ()) -> GitResult:
    """Runs `git ARGS` in the user's own directory `cwd`, with their configuration and `config` (`key=value`).

    For short commands where there is no event loop; any exit code is a result. Raises `WorkspaceError` when git is not
    installed.
    """
    environment = git_environment(user_config=True)
    if shutil.which("git", path=environment.get("PATH")) is None:
        raise WorkspaceError("git is not installed", hint=INSTALL_HINT)
    command = ["git", *_NEUTRAL, *_options(config), *args]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
    return GitResult(code=result.returncode, out=result.stdout, err=result.stderr.decode("utf-8", "replace"))


def git_version(oldest: tuple[int, int] = OLDEST, hint: str = INSTALL_HINT) -> str:
    """The line of `git version`. Raises `WorkspaceError` when git is not installed or older than `oldest`."""
    return check_version(run_git("version", cwd=Path("/")), oldest, hint)


def check_version(result: GitResult, oldest: tuple[int, int] = OLDEST, hint: str = INSTALL_HINT) -> str:
    """The line of `git version`. Raises `WorkspaceError` for a git older than `oldest`."""
    match = re.search(r"(?<!\d)(\d+)\.(\d+)", result.line)
    if not match or (int(match[1]), int(match[2])) < oldest:
        raise WorkspaceError(f"{result.line or 'git'} is too old", hint=hint)
    return result.line


async def object_sizes(git: Git, names: Iterable[str]) -> dict[str, int]:
    """The size in bytes of each object; those that are missing are left out."""
    result = await git.run("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=join_lines(names))
    lines = (line.partition(" ") for line in result.out.decode().splitlines())
    return {name: int(size) for name, _, size in lines if size.isdigit()}


async def read_objects(git: Git, names: Iterable[str], *, limit: int = MAX_OUTPUT_BYTES) -> dict[str, bytes]:
    """The content of each object (names as git takes them); those that are missing are left out. For small ones.

    Raises `TooMuchOutput` when all together are more than `limit` bytes.
    """
    unique = list(dict.fromkeys(names))
    if not unique:
        return {}
    out = (await git.run("cat-file", "--batch", stdin=join_lines(unique), limit=limit)).out
    contents: dict[str, bytes] = {}
    start = 0
    for name in unique:
        end = out.index(b"\n", start)
        size = out[start:end].rsplit(b" ", 1)[1]
        start = end + 1
        if size.isdigit():
            end = start + int(size)
            contents[name] = out[start:end]
            start = end + 1
    return contents


async def pack_objects(git: Git, names: Iterable[str], *options: str, target: str = "objects/pack/pack") -> str:
    """Packs objects into `TARGET-NAME.pack`, with an index beside it; returns the NAME."""
    command = ("pack-objects", *options, "--delta-base-offset", "-q", target)
    return (await git.run(*command, stdin=join_lines(names))).line


def join_lines(names: Iterable[str]) -> bytes:
    """One name on each line, as git reads them from standard input. Raises `ValueError` for one with a line break."""
    lines = [os.fsencode(name) for name in names]
    if any(b"\n" in line or line.endswith(b"\r") for line in lines):
        raise ValueError("a name with a line break has no line of its own")
    return b"".join(line + b"\n" for line in lines)


def split_nul(out: bytes) -> list[bytes]:
    """The fields of an output with `-z`, where a NUL ends each."""
    return [field for field in out.split(b"\0") if field]


def git_environment(*, user_config: bool) -> dict[str, str]:
    """The environment of every git: no variable of ours leads it to another repository."""
    variables = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ} | _VARIABLES
    return variables | (_THEIR_CONFIG if user_config else _OWN_CONFIG)


def _options(settings: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("-c", setting))


def _limit_memory(process: asyncio.subprocess.Process, memory: int) -> None:
    """From outside: a shell in between would be one program more for each git. Only Linux can; elsewhere the time limit
    and the size limits have to do."""
    if sys.platform == "linux":
        with suppress(OSError, ValueError):  # it has ended, or the limit of all processes is lower
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))


async def _communicate(process: asyncio.subprocess.Process, stdin: bytes, limit: int) -> GitResult:
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(stdin)  # nothing waits for it: git may end without reading everything
    process.stdin.close()
    output, errors = await together(_read(process.stdout, limit), _read_bounded(process.stderr))
    return GitResult(code=await process.wait(), out=output, err=errors)


async def _read(pipe: asyncio.StreamReader, limit: int) -> bytes:
    data = bytearray()
    while chunk := await pipe.read(_CHUNK):
        data += chunk
        if len(data) > limit:
            raise TooMuchOutput(f"more than {limit} bytes")
    return bytes(data)


async def _read_bounded(pipe: asyncio.StreamReader) -> str:
    text = HeadTail(_CHUNK)
    while chunk := await pipe.read(_CHUNK):
        text.add(chunk)
    return text.value().decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills what still runs; the leader is reaped, so that no zombie and no open pipe is left."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, process.stderr):  # `wait` does not return while there is something left to read
            while pipe and await pipe.read(_CHUNK):
                pass
        await process.wait()

"""Starts commands: `flue-ci` in a process that need not import everything first, and any command as it is.

A start of Python that imports two SDKs takes 1.5 s of processor time, a fork of a process that has done so a tenth of
it. What such a fork has is its own: session, environment, directory, streams, signal handlers. How long a real start
takes, and that it works, is tested with real starts (`program`).

Each command is below a process of its own, its launcher, which ends when nothing that descends from the command lives
any more.
"""

from __future__ import annotations

import ast
import atexit
import ctypes
import gc
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

PROJECT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-P", "-m", "flue_ci")  # a real start
MAIN = "flue_ci.__main__:main"
_PR_SET_CHILD_SUBREAPER = 36
_SHARED = "TESTS_FORK_SERVER"  # the address of the server of which all others are forks, where there is one
# What packages import when they are first used; without these, each command would. Only a matter of speed.
_IMPORTED_LATE = (
    "_strptime",
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "h2.connection",
    "httpcore2",
    "jinja2.meta",
    "jinja2.sandbox",
    "jsonschema",
    "opentelemetry.metrics",
    "opentelemetry.propagate",
    "rich._emoji_codes",
)
# Expressions that they make then, with their flags.
_COMPILED_LATE = (
    (r"^127\.0\.0\.1$", 0),
    (r"(?s:.*)\Z", 0),
    (r"(?s:c(?>.*?\-).*\.patch)\Z", 0),
    (r" {4}|\t| {0,3}>", 0),
    (r"[a-z0-9-]+", 0),
    (r"([^/:]+):(.*)", re.DOTALL),
    (r"//([^/#?]*)(.*)", re.DOTALL),
)
_EXPRESSION = re.compile(
    r"""\bre\.(?:match|search|sub|fullmatch|findall|finditer|split)\(\s*(r?b?"(?:[^"\\\n]|\\.)*"),"""
)


class Process:
    """A command that was started. `pid` is its process id, and that of its process group and of its session; `launcher`
    is the process below which all that descends from it stays."""

    def __init__(self, status: int) -> None:
        self._status = io.FileIO(status)
        self._code: int | None = None
        first = self._status.readline().split()
        if not first:
            raise RuntimeError(
                "the fork server ended, or could not start a command: see what it wrote to standard error"
            )
        self.launcher, self.pid = (int(word) for word in first)

    def send(self, number: signal.Signals) -> None:
        """SIGINT as Ctrl-C sends it, to the whole process group; others as a runner does, to the command alone."""
        if number == signal.SIGINT:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """The exit code (128 + N for signal N), when everything is gone. Raises `TimeoutExpired`."""
        if self._code is None:
            if not select.select([self._status], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", seconds)
            self._code = int(self._status.readline())
            self._status.close()
        return self._code

    def has_ended(self) -> bool:
        return self._code is not None or bool(select.select([self._status], [], [], 0)[0])

    def kill(self, seconds: float = 60) -> None:
        """Kills whatever of it still lives, and waits for that."""
        until = time.monotonic() + seconds
        while not self.has_ended():
            for pid in descendants(self.launcher):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(f"process {self.pid}", seconds)
            time.sleep(0.01)
        self.wait(seconds)


def descendants(root: int) -> dict[int, str]:
    """Command lines of all living processes below one, by id."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    below, added = {root}, True
    while added:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below, added = below | more, bool(more)
    lines: dict[int, str] = {}
    for pid in below - {root}:
        try:
            lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return lines


class ForkServer:
    """The client's side of a process that has all imports, and starts commands. Any number may run at a time."""

    def __init__(self, *, imports: bool = True) -> None:
        """`imports`: whether commands find everything imported."""
        self._process: subprocess.Popen[bytes] | None = None
        if imports and _SHARED in os.environ:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            client.connect(os.environ[_SHARED])
        else:
            client, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with server:
                self._process = _start(server, *(["imports"] if imports else []), stdin=subprocess.DEVNULL)
        self._socket = client
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: int,
        stderr: int,
        stdin: int | None = None,
        program: Sequence[str] = (),
        main: str = MAIN,
    ) -> Process:
        """`flue-ci ARGUMENTS` (or another `main:function`) in a fork; or a real start of `program` with these
        arguments, where one is named. Without `stdin` there is nothing to be read."""
        request = {"program": [*program], "arguments": [*arguments], "env": dict(env), "cwd": str(cwd), "main": main}
        reading, writing = os.pipe()
        try:
            with self._lock:
                streams = [stdout, stderr, *([] if stdin is None else [stdin])]
                socket.send_fds(self._socket, [json.dumps(request).encode()], [writing, *streams])
        finally:
            os.close(writing)
        return Process(reading)

    def run(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        on_start: Callable[[int], None] = lambda _: None,
        main: str = MAIN,
    ) -> subprocess.CompletedProcess[str]:
        """`flue-ci ARGUMENTS` (or another `main:function`) in a fork to the end of all that descends from it, as
        `subprocess.run` with captured text; `on_start` gets its process id. Raises `TimeoutExpired`, after which all
        of it is dead."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.start(arguments, env=env, cwd=cwd, stdout=out.fileno(), stderr=err.fileno(), main=main)
            on_start(process.pid)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode(errors="replace"))
        return subprocess.CompletedProcess([*arguments], code, *texts)

    def close(self) -> None:
        """Ends the server, and with it all that still runs."""
        with self._socket, suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(30)
            self._socket.recv(1)  # nothing, when the server ends
        if self._process:
            self._process.wait(30)


def share() -> Callable[[], None]:
    """Makes the servers of this process, and of those that it starts from now on, forks of one, which imports what it
    does when the first of them asks. Returns what ends it."""
    folder = Path(tempfile.mkdtemp(prefix="fork-server-", dir="/tmp"))  # a short path, as sockets need it
    os.environ[_SHARED] = str(folder / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.environ[_SHARED])
        listener.listen()
        process = _start(listener, "shared", stdin=subprocess.PIPE)

    def end() -> None:
        del os.environ[_SHARED]
        process.communicate()
        shutil.rmtree(folder)

    return end


def _start(connection: socket.socket, *words: str, stdin: int) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.support.fork_server", str(connection.fileno()), *words],
        env=inherited | {"PYTHONPATH": str(PROJECT)},
        pass_fds=[connection.fileno()],
        cwd=PROJECT,
        stdin=stdin,
        start_new_session=True,  # Ctrl-C is for the tests
    )


@cache
def fork_server() -> ForkServer:
    """The one of this process."""
    return ForkServer()


# The server's side


def _share(listener: socket.socket) -> None:
    """A fork for each client, until standard input ends."""
    loaded = False
    while True:
        ready = select.select([listener, 0], [], [])[0]
        _reap()
        if listener not in ready:
            return
        connection, _ = listener.accept()
        if not loaded:
            _make_ready()
            loaded = True
        if not os.fork():
            listener.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            _exit_with(partial(_serve, connection))
        connection.close()


def _serve(connection: socket.socket) -> None:
    while True:
        data, fds, _, _ = socket.recv_fds(connection, 1_000_000, 4)
        _reap()
        if not data:
            _kill_all()
            return
        if not os.fork():
            connection.close()
            _exit_with(partial(_launch, json.loads(data), fds))
        for fd in fds:
            os.close(fd)


def _reap() -> None:
    """Launchers that have ended, so that their processor time counts as that of the tests."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _kill_all() -> None:
    """Ends what a test that failed has left; each launcher follows."""
    for _ in range(100):
        launchers = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for pid in [pid for launcher in launchers for pid in descendants(int(launcher))]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not launchers:
            return
        time.sleep(0.05)
        _reap()


def _exit_with(function: Callable[[], object]) -> NoReturn:
    """A fork must not go on in its parent's code, whatever happens."""
    try:
        function()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(70)


def _launch(request: dict[str, Any], fds: Sequence[int]) -> NoReturn:
    """Starts the command, and writes two lines to its client: the launcher's and the command's process id, and in the
    end the command's exit code."""
    status, *streams = fds
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become children of this process
    command = os.fork()
    if not command:
        _exit_with(partial(_become, request, streams, status))
    for fd in streams:
        os.close(fd)
    code = 0
    while True:
        try:
            pid, wait_status = os.wait()
        except ChildProcessError:
            break
        if pid == command:
            exit_code = os.waitstatus_to_exitcode(wait_status)
            code = exit_code if exit_code >= 0 else 128 - exit_code
    os.write(status, f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int], status: int) -> None:
    """The command itself: in a session of its own, and with nothing of the server's that a real start does not have."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL if request["program"] else signal.default_int_handler)
    os.chdir(request["cwd"])
    for number, fd in zip((1, 2, 0), streams, strict=False):
        os.dup2(fd, number)
    os.write(status, f"{os.getppid()} {os.getpid()}\n".encode())
    os.closerange(3, 1_024)
    if request["program"]:
        words = [*request["program"], *request["arguments"]]
        os.execvpe(words[0], words, request["env"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    sys.argv = ["flue-ci", *request["arguments"]]
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    module, _, function = request["main"].partition(":")
    code: object = 0
    try:
        getattr(importlib.import_module(module), function)()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


def _load() -> None:
    """Imports everything that a command may need, the adapters' SDKs included. What cannot be imported is the business
    of the command that needs it."""
    import flue_ci

    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as in tests/conftest.py
    for found in pkgutil.walk_packages(flue_ci.__path__, "flue_ci."):
        if not found.name.startswith(("flue_ci.__main__", "flue_ci.demo", "flue_ci.testing")):
            with suppress(Exception):
                for preload in _preloads(importlib.import_module(found.name)):
                    preload()
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    _make_what_is_made_once()


def _make_what_is_made_once() -> None:
    """Templates, tables and expressions that a process of the package makes when it first needs them."""
    for name, module in [*sys.modules.items()]:
        if name.startswith("flue_ci."):
            for value in vars(module).values():
                if hasattr(value, "cache_info") and not inspect.signature(value).parameters:
                    with suppress(Exception):
                        value()
                if hasattr(value, "model_rebuild"):  # pydantic completes some models when they are first used
                    with suppress(Exception):
                        value.model_rebuild()
            for expression in _EXPRESSION.findall(Path(module.__file__ or os.devnull).read_text()):
                with suppress(Exception):
                    re.compile(ast.literal_eval(expression))  # which `re` remembers
    for expression, flags in _COMPILED_LATE:
        re.compile(expression, flags)
    for key in importlib.import_module("flue_ci.safety.key_patterns").KEY_PATTERNS:
        importlib.import_module("flue_ci.safety.key_patterns")._compile(key.regex)
    with suppress(Exception):  # its expressions are compiled with its first instance
        importlib.import_module("flue_ci.report.page.colours")._lexer("app.py")
    with suppress(Exception):
        importlib.import_module("flue_ci.safety.redact").Redactor(["a secret of nobody"])("some words")
    with suppress(Exception):
        importlib.import_module("rich.cells").cell_len("…")  # of a table that it reads then
    with suppress(Exception):  # pydantic makes a model's validator when it is first used
        importlib.import_module("flue_ci.spec.load").load_spec(Path("warm.yml"), b"version: 1\nprompt: '{{ title }}'\n")


def _preloads(module: ModuleType) -> Iterator[Callable[[], object]]:
    """The functions `preload` of a module and of its classes; each imports an SDK."""
    for value in vars(module).values():
        if getattr(value, "__module__", "") == module.__name__:
            yield from [each for each in (value, getattr(value, "preload", None)) if _name(each) == "preload"]


def _name(value: object) -> str:
    return str(getattr(value, "__name__", ""))


def _check() -> None:
    """What a fork would share with all others, or lose."""
    threads = Path("/proc/self/task")  # also those of native code
    assert len([*threads.iterdir()]) == 1, "a fork has only the thread that made it"
    assert tempfile.tempdir is None, "TMPDIR was read at import"


def _make_ready(*, imports: bool = True) -> None:
    gc.disable()
    if imports:
        _load()
    _check()
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    given = socket.socket(fileno=int(sys.argv[1]))
    if sys.argv[2:] == ["shared"]:
        _share(given)
    else:
        _make_ready(imports=sys.argv[2:] == ["imports"])
        _serve(given)

"""Runs `flue-ci` in processes that need not import everything first: each is forked from one that has.

`Warm()` starts that one; `run` is like `subprocess.run` and gives the same: a process of its own with its own
environment, directory and output. How long the real start takes, and that it works, is tested with real starts.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).parents[2]


class Warm:
    """One process with all imports, and the forks that it makes, one after the other."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.support.warm", str(its.fileno())],
                env=kept | {"PYTHONPATH": str(PROJECT)},
                pass_fds=[its.fileno()],
                cwd=PROJECT,
            )
        self._socket = ours
        atexit.register(self._end)

    def run(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        started: Callable[[int], None] = lambda _: None,
    ) -> subprocess.CompletedProcess[str]:
        """`flue-ci ARGUMENTS`, to its end; `started` is given its process id. Raises `TimeoutExpired`, after which it
        is dead."""
        asked = json.dumps({"arguments": [*arguments], "env": dict(env), "cwd": str(cwd)}).encode()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self._socket, [asked], [out.fileno(), err.fileno()])
            pid = int(self._socket.recv(100))
            started(pid)
            self._socket.settimeout(timeout)
            try:
                code = int(self._socket.recv(100))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.settimeout(10)
                self._socket.recv(100)
                raise subprocess.TimeoutExpired([*arguments], timeout) from None
            finally:
                self._socket.settimeout(None)
            said = []
            for stream in (out, err):
                stream.seek(0)
                said.append(stream.read().decode(errors="replace"))
        return subprocess.CompletedProcess([*arguments], code, *said)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait(10)


@cache
def warm() -> Warm:
    """The one of this process."""
    return Warm()


def _serve(connection: socket.socket) -> None:
    while True:
        asked, fds, _, _ = socket.recv_fds(connection, 1_000_000, 2)
        if not asked:
            return
        pid = os.fork()
        if not pid:
            connection.close()
            _become(json.loads(asked), fds)
        for fd in fds:
            os.close(fd)
        connection.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(asked: dict[str, object], fds: Sequence[int]) -> NoReturn:
    os.setsid()
    for number, fd in enumerate(fds, 1):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[arg-type]
    os.chdir(str(asked["cwd"]))
    sys.argv = ["flue-ci", *asked["arguments"]]  # type: ignore[misc]
    from flue_ci.__main__ import main

    main()


def _load() -> None:
    from flue_ci.action import republish, respond
    from flue_ci.forges.github import client as github
    from flue_ci.models.claude.client import Claude
    from flue_ci.sandboxes.e2b.provider import E2BProvider

    assert respond
    assert republish
    github.preload()
    E2BProvider.preload()
    Claude.preload()


if __name__ == "__main__":
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))

"""After `end_processes` nothing of the agent runs; a check's shell is nobody's but ours. With and without isolation."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.errors import SandboxLost
from flue_ci.core.events import ProgressEvent
from flue_ci.sandboxes.local.provider import LocalProvider, LocalSandbox
from flue_ci.sandboxes.local.state import find_orphans, start_time
from flue_ci.testing.sandbox_commands import REQUEST, heartbeat_stops, run, text

pytestmark = pytest.mark.parametrize("isolation", [True, False], ids=["isolated", "plain"])

# Forks and ends all the time: no process of it lives longer than a list of processes takes.
RESTLESS = """
import os, time
os.setsid()
while True:
    if os.fork():
        os._exit(0)
    with open("beats", "a") as file:
        file.write("beat\\n")
"""
# Five of them at once, each generation in a session of its own.
SESSIONS = """
import os, time
for _ in range(5):
    if not os.fork():
        break
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
    with open("beats", "a") as file:
        file.write("beat\\n")
"""
STUBBORN = """
import os, signal, time
for number in set(range(1, 65)) - {9, 19, 32, 33}:
    signal.signal(number, signal.SIG_IGN)
if os.fork() or os.setsid() or os.fork():
    os._exit(0)
while True:
    with open("beats", "a") as file:
        file.write("beat\\n")
    time.sleep(0.05)
"""


def quiet(_: ProgressEvent) -> None:
    pass


@pytest.fixture
async def box(tmp_path: Path, isolation: bool) -> AsyncIterator[LocalSandbox]:
    box = await LocalProvider(isolation, tmp_path).open(REQUEST, quiet)
    yield box
    await box.close()


@pytest.mark.parametrize("program", [RESTLESS, SESSIONS, STUBBORN], ids=["restless", "sessions", "stubborn"])
async def test_nothing_goes_on_after_the_end_of_all_processes(box: LocalSandbox, program: str) -> None:
    await box.write("program.py", program.encode())
    await run(box, "python3 program.py > /dev/null 2>&1 & until [ -s beats ]; do sleep 0.05; done")
    assert await box.end_processes() == ""
    size = len(await box.read("beats"))
    assert await heartbeat_stops(box)
    assert len(await box.read("beats")) == size
    assert await text(box, "echo alive") == "alive"


async def test_an_end_that_nobody_confirmed_is_not_called_quiet(box: LocalSandbox, isolation: bool) -> None:
    client = await box.client("user")
    if isolation:
        os.kill(client.process.pid, signal.SIGKILL)  # bubblewrap; its processes end on their own
    else:
        with pytest.raises(SandboxLost):
            await run(box, "setsid sleep 5 & kill -KILL $PPID")  # the one that would find the others
    assert "could not be verified" in await box.end_processes()


async def test_nothing_of_the_home_has_a_say_in_a_shell_without_login(box: LocalSandbox) -> None:
    for name in (".bash_profile", ".bash_login", ".profile", ".bashrc", ".bash_env", ".inputrc"):
        await box.write(name, b"exit 0\n")
    await box.write("bin/python3", b"#!/bin/sh\nexit 0\n")
    await run(box, "chmod +x bin/python3; echo 'PATH=~/bin:$PATH; export PATH BASH_ENV=~/.bash_env' > .bash_profile")
    for command in ("false", "python3 -c 'raise SystemExit(1)'", "bash -c false", "# " + "x" * 200_000 + "\nfalse"):
        result = await box.exec(command, timeout=30, login=False, env={"BASH_ENV": "~/.bash_env", "ENV": "~/.bashrc"})
        assert result.exit_code == 1, command[:60]


async def test_a_shell_without_login_has_the_same_variables(box: LocalSandbox) -> None:
    names = "env -0 | cut -z -d= -f1 | sort -z | tr '\\0' ' '; echo $PATH; pwd"
    login = await box.exec(names, timeout=30)
    apart = (await box.exec(names, timeout=30, login=False)).output
    assert apart.replace(b":" + box.info.home.encode() + b"/.local/bin\n", b"\n") == login.output
    assert b"CONTRACT_WORD" in login.output
    result = await box.exec("echo $PATH; exit 3", timeout=30, login=False, env={"PATH": "/usr/bin:/bin"})
    assert (result.output, result.exit_code) == (b"/usr/bin:/bin\n", 3)


async def test_nothing_is_started_until_the_next_command(box: LocalSandbox, tmp_path: Path) -> None:
    assert await text(box, "echo before > file; cat file") == "before"
    for _ in range(2):
        assert await box.end_processes() == ""
        (sandbox,) = find_orphans(tmp_path)
        assert [pid for pid, started_at in sandbox.processes if start_time(pid) == started_at] == []
    assert await text(box, "cat file") == "before"

"""Attacks at E2B on what a run rests on: exit codes, the end of processes, system files behind the model's tools."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import Notice, ProgressEvent
from flue_ci.core.ports import Network, Sandbox, SandboxRequest
from flue_ci.core.retry import RetryPolicy
from flue_ci.sandboxes.e2b.errors import Timeouts
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.e2b.sandbox import E2BSandbox
from tests.support.e2b_machine import MachineOptions
from tests.support.e2b_server import E2BServer

REQUEST = SandboxRequest(env={"WORD": "x y"}, metadata={"flue-ci": "1", "run": "evidence"}, network=Network())
FAST = Timeouts(
    pace=0.0,
    repeat=RetryPolicy(attempts=3, first_wait=0.02),
    reconnect=RetryPolicy(attempts=4, first_wait=0.02),
)
HANG_SECONDS = 60.0
PYTHON = "/usr/bin/python3"  # one that a sandbox sees: this one's may be in a home
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which(PYTHON),
    reason="the test server's machines need root for namespaces, and the attacks a python",
)

# Takes the standard error of every process above it, and writes there that the command ended well.
FORGERY = r"""
import ctypes, os, re, sys
libc = ctypes.CDLL(None, use_errno=True)
pid, texts = os.getpid(), []
while pid > 0:
    status = open(f"/proc/{pid}/status").read()
    pid = int(re.search(r"PPid:\s+(\d+)", status)[1])
    if pid > 0:
        texts += [open(f"/proc/{pid}/cmdline", "rb").read()]
        try:
            texts += [open(f"/proc/{pid}/environ", "rb").read()]
        except OSError:
            pass
tokens = set(re.findall(rb"flue-[0-9a-f]{16}", b" ".join(texts)))
pid = os.getpid()
while pid > 0:
    pid = int(re.search(r"PPid:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])
    if pid <= 0:
        break
    target = libc.syscall(434, pid, 0)
    for number in range(12):
        stolen = libc.syscall(438, target, number, 0)
        for token in tokens if stolen >= 0 else ():
            try:
                os.write(stolen, b"\n" + token + b" exit 0\n")
                print("stolen")
            except OSError:
                pass
"""


@pytest.fixture
def server() -> Iterator[E2BServer]:
    with E2BServer() as server:
        yield server
        assert server.processes() == []


@asynccontextmanager
async def opened(server: E2BServer, notices: list[str] | None = None) -> AsyncIterator[E2BSandbox]:
    def observe(event: ProgressEvent) -> None:
        if isinstance(event, Notice) and notices is not None:
            notices.append(event.text)

    provider = E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url, timeouts=FAST)
    box = await provider.open(REQUEST, observe)
    try:
        yield box
    finally:
        await box.close()


@pytest.fixture
async def box(server: E2BServer) -> AsyncIterator[E2BSandbox]:
    async with opened(server) as box:
        yield box


async def output(box: Sandbox, command: str, **options: object) -> str:
    result = await box.exec(command, timeout=30, **options)  # type: ignore[arg-type]
    return result.output.decode()


# Exit codes


@pytest.mark.parametrize("login", [True, False])
async def test_a_program_of_a_command_cannot_say_how_the_command_ended(box: E2BSandbox, login: bool) -> None:
    await box.write("test_it.py", FORGERY.encode())
    assert "stolen" in await output(box, f"{PYTHON} test_it.py")
    result = await box.exec(f"{PYTHON} test_it.py; sleep 0.3; exit 7", timeout=30, login=login)
    assert (result.exit_code, result.known, result.timed_out) == (7, True, False)
    result = await box.exec(f"{PYTHON} test_it.py; false", timeout=30, login=login)
    assert result.exit_code == 1


TRACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
parent = os.getppid()
print("traced" if libc.ptrace(16, parent, 0, 0) == 0 else "refused")
print("read" if os.access(f"/proc/{parent}/mem", os.W_OK) else "refused")
"""


async def test_nor_by_tracing_the_shell_of_the_command(box: E2BSandbox) -> None:
    await box.write("test_it.py", TRACE.encode())
    result = await box.exec(f"{PYTHON} test_it.py; exit 7", timeout=30, login=False)
    assert (result.exit_code, result.output) == (7, b"refused\nrefused\n")


@pytest.mark.parametrize("login", [True, False])
async def test_a_command_can_open_its_output_by_name(box: E2BSandbox, login: bool) -> None:
    command = "echo one >/dev/stderr; echo two | tee /dev/stderr >/dev/null; (echo three >/proc/self/fd/1)"
    result = await box.exec(f"set -e; {command}", timeout=30, login=login)
    assert (result.exit_code, result.output) == (0, b"one\ntwo\nthree\n")


@pytest.mark.parametrize("login", [True, False])
async def test_nor_when_the_stream_breaks_in_between(server: E2BServer, box: E2BSandbox, login: bool) -> None:
    await box.write("test_it.py", FORGERY.encode())
    server.faults.add("start", drop="during", after_bytes=200)
    command = f"{PYTHON} test_it.py; for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; exit 7"
    result = await asyncio.wait_for(box.exec(command, timeout=30, login=login), HANG_SECONDS)
    assert result.exit_code == 7
    assert server.recorded("attach")


async def test_the_token_of_our_reports_is_on_no_command_line(box: E2BSandbox) -> None:
    for login in (True, False):
        lines = await output(box, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", login=login)
        assert "flue_token=" not in lines
    await box.write("look.py", b"import re,os;print(open(f'/proc/{os.getppid()}/environ','rb').read())")
    assert "flue" not in await output(box, "env", login=False)


@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("command", ["exit 3", "kill -KILL $(ps -o ppid= -p $PPID); sleep 1; exit 3"])
async def test_a_zero_that_our_script_does_not_confirm_is_unknown_and_a_failure(
    server: E2BServer, box: E2BSandbox, command: str, login: bool
) -> None:
    """Once in 150 long commands E2B reported a zero although the command was not over."""
    server.faults.add("start", end_code=0)
    result = await asyncio.wait_for(box.exec(command, timeout=30, login=login), HANG_SECONDS)
    assert result.exit_code != 0
    assert not result.known
    assert b"exit code is not known" in result.output


@pytest.mark.parametrize("code", [0, 5])
async def test_after_a_lost_stream_the_code_is_what_root_wrote_down(
    server: E2BServer, box: E2BSandbox, code: int
) -> None:
    server.faults.add("start", drop="during", after_bytes=200)
    server.faults.add("attach", status=404, message="process not found", times=None)
    command = f"echo {'x' * 300}; exit {code}"  # it is over when its stream is missed
    task = asyncio.create_task(box.exec(command, timeout=60, login=False))
    result = await asyncio.wait_for(task, HANG_SECONDS)
    assert (result.exit_code, result.known) == (code, True)


async def test_after_a_lost_stream_a_code_is_not_believed_where_the_user_can_be_root() -> None:
    with E2BServer(machine=MachineOptions(sudo=True)) as server:
        async with opened(server) as box:
            assert "0" in await output(box, "sudo -n id -u")
            server.faults.add("start", drop="during", after_bytes=200)
            server.faults.add("attach", status=404, message="process not found", times=None)
            with pytest.raises(SandboxLost, match="connection to a running command was lost"):
                await asyncio.wait_for(
                    box.exec("for i in 1 2 3; do echo $i; sleep 0.05; done", timeout=60, login=False), HANG_SECONDS
                )


async def test_what_root_wrote_down_is_out_of_the_users_reach(box: E2BSandbox) -> None:
    await box.exec("true", timeout=30, login=False)
    assert (await box.exec("ls ~root/.flue-ci-status", timeout=30)).exit_code != 0


# Apart from the user's files

TRAP = b"case $BASH_EXECUTION_STRING in *) exit 0 ;; esac\nfalse() { true; }\n"


async def test_no_file_of_the_home_and_no_variable_changes_a_check(server: E2BServer) -> None:
    request = SandboxRequest(
        env={"BASH_ENV": "/home/user/trap", "ENV": "/home/user/trap", "WORD": "x y"},
        metadata={"flue-ci": "1"},
        network=Network(),
    )
    provider = E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url)
    box = await provider.open(request, lambda event: None)
    for name in (".bash_profile", ".bash_login", ".profile", ".bashrc", "trap"):
        await box.write(name, TRAP)
    await output(box, "mkdir -p ~/bin ~/.local/bin", login=False)
    for place in ("bin", ".local/bin"):
        await box.write(f"{place}/grep", b"#!/bin/sh\necho replaced\n")
        await output(box, f"chmod +x {place}/grep", login=False)
    result = await box.exec("false", timeout=30, login=False)
    assert result.exit_code == 1
    text = await output(box, 'echo "$WORD"; pwd; id -un; type -P grep; shopt -q login_shell || echo plain', login=False)
    assert text.split("\n")[:3] == ["x y", "/home/user", "user"]
    assert "/home/user" not in text.split("\n")[3]
    assert "plain" in text
    path = (await output(box, 'printf %s "$PATH"', login=False)).split(":")
    assert [place for place in path if place.startswith("/home/user")] == path[-1:] == ["/home/user/.local/bin"]
    await box.close()


async def test_the_path_of_the_request_goes_first(server: E2BServer) -> None:
    request = SandboxRequest(env={"PATH": "/opt/tools:/usr/bin:/bin"}, metadata={"flue-ci": "1"}, network=Network())
    provider = E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url)
    box = await provider.open(request, lambda event: None)
    assert await output(box, 'printf %s "$PATH"', login=False) == "/opt/tools:/usr/bin:/bin"
    await box.close()


async def test_where_there_is_no_root_a_command_is_not_run_apart_and_says_why() -> None:
    with E2BServer(has_root=False) as server:
        async with opened(server) as box:
            with pytest.raises(SandboxLost, match="root could not start"):
                await box.exec("touch ran", timeout=30, login=False)
            with pytest.raises(FileNotFoundError):
                await box.read("ran")


async def test_where_no_tool_changes_the_user_a_command_is_not_run_apart_and_says_why(box: E2BSandbox) -> None:
    removal = "rm -f /usr/bin/setpriv /usr/sbin/runuser /usr/bin/su; ls /usr/bin/setpriv /usr/sbin/runuser /usr/bin/su"
    assert "No such file" in await output(box, removal, user="root")
    with pytest.raises(SandboxLost, match="setpriv, runuser and su"):
        await box.exec("touch ran", timeout=30, login=False)


@pytest.mark.parametrize("tool", ["runuser", "su"])
async def test_other_tools_that_change_the_user_do_as_well(box: E2BSandbox, tool: str) -> None:
    removal = {"runuser": "rm /usr/bin/setpriv", "su": "rm /usr/bin/setpriv /usr/sbin/runuser"}[tool]
    await box.exec(removal, timeout=30, user="root")
    result = await box.exec('id -un; echo "$WORD $HOME"; exit 6', timeout=30, login=False)
    assert (result.exit_code, result.output) == (6, b"user\nx y /home/user\n")


async def test_a_long_check_cannot_be_changed_by_the_user(box: E2BSandbox) -> None:
    listing = await output(box, "#" + "x" * 200_000 + "\nls -ln /tmp/.flue-*; id -un", login=False)
    assert listing.split()[2] == "0", listing
    assert listing.endswith("user\n")
    assert "flue" not in await output(box, "ls -A /tmp")


# The end of processes

STORM = """
import os, signal, time
for number in (1, 2, 15, 17): signal.signal(number, signal.SIG_IGN)
os.setsid()
deadline = time.time() + 60
while time.time() < deadline:
    if os.fork(): os._exit(0)
"""
HIDDEN = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); time.sleep(300)"
HARD_TO_END = {
    "setsid": "setsid nohup sleep 300 >/dev/null 2>&1 &",
    "double fork": "( (setsid sleep 300 &) & ) >/dev/null 2>&1",
    "storm": f"for i in 1 2 3 4; do {PYTHON} storm.py >/dev/null 2>&1 & done; sleep 0.3",
    "not dumpable": f"setsid {PYTHON} -c '{HIDDEN}' >/dev/null 2>&1 & sleep 0.3",
    "stopped": "setsid bash -c 'kill -STOP $$' >/dev/null 2>&1 &",
    "holds its output": "sleep 300 &",
}
LIVING = "grep -lE '^Uid:.*\\b1000\\b' /proc/[0-9]*/status 2>/dev/null | xargs -r grep -sLE '^State:\\s+Z' | wc -l"
LAST_NUMBERS = "cut -d' ' -f5 /proc/loadavg; sleep 0.3; cut -d' ' -f5 /proc/loadavg"


async def activity(box: Sandbox) -> int:
    """Processes of the user, and those that were started in a moment: some are too short to be seen."""
    first, last = (int(number) for number in (await output(box, LAST_NUMBERS, user="root")).split())
    return int(await output(box, LIVING, user="root")) + (last - first) // 20


@pytest.mark.family(2)
@pytest.mark.parametrize("kind", HARD_TO_END)
@pytest.mark.long
async def test_every_process_of_the_user_ends(box: E2BSandbox, kind: str) -> None:
    await box.write("storm.py", STORM.encode())
    await box.exec(HARD_TO_END[kind], timeout=30)
    assert await activity(box) > 0
    assert await asyncio.wait_for(box.end_processes(), HANG_SECONDS) == ""
    assert await activity(box) == 0


async def test_with_everything_at_once_as_well(box: E2BSandbox) -> None:
    await box.write("storm.py", STORM.encode())
    for command in HARD_TO_END.values():
        await box.exec(command, timeout=30)
    assert await asyncio.wait_for(box.end_processes(), HANG_SECONDS) == ""
    assert await activity(box) == 0


@pytest.mark.parametrize("daemon", ["envd", "envd.next", "another"])
async def test_the_name_of_the_daemon_is_not_what_counts(daemon: str) -> None:
    with E2BServer(machine=MachineOptions(daemon=daemon)) as server:
        async with opened(server) as box:
            await box.exec("setsid sleep 300 >/dev/null 2>&1 &", timeout=30)
            assert await box.end_processes() == ""
            assert int(await output(box, LIVING, user="root")) == 0


async def test_a_server_on_somebodys_machine_ends_nothing_and_says_so() -> None:
    with E2BServer(machine=MachineOptions(daemon="")) as server:
        notices: list[str] = []
        async with opened(server, notices) as box:
            await box.exec("sleep 300 >/dev/null 2>&1 &", timeout=30)
            assert "no process was ended" in await box.end_processes()
            await box.set_network(Network(mode="open"))
            await box.set_network(Network(mode="none"))
            assert any("no process was ended" in notice for notice in notices)
            assert [line for _, line in server.processes() if line.startswith("sleep 300")]


async def test_a_template_whose_user_is_root_is_named() -> None:
    with E2BServer(machine=MachineOptions(user="root")) as server:
        async with opened(server) as box:
            assert "ordinary user is root" in await box.end_processes()


async def test_a_machine_without_root_is_named() -> None:
    with E2BServer(has_root=False) as server:
        async with opened(server) as box:
            assert "root" in await box.end_processes()


# The model's hands

ROOT_HOME = "/root"
OUT_OF_REACH = [
    "/usr/bin/python3",
    "/etc/profile.d/trap.sh",
    f"{ROOT_HOME}/.bash_profile",
    "/etc/passwd",
    "/bin/new-program",
]


@pytest.mark.parametrize("path", OUT_OF_REACH)
async def test_files_of_the_system_are_not_written(box: E2BSandbox, path: str) -> None:
    await box.exec(f"ln -s {path} link; ln -s {Path(path).parent} folder", timeout=30)
    before = await output(box, f"sha256sum {path} 2>&1", user="root")
    for way in (path, "link", f"folder/{Path(path).name}"):
        with pytest.raises(PermissionError):
            await box.write(way, b"#!/bin/sh\nexit 0\n")
    assert await output(box, f"sha256sum {path} 2>&1", user="root") == before


async def test_files_of_root_are_not_read(box: E2BSandbox) -> None:
    await box.write("/root/secret", b"of root", user="root")
    await box.exec("ln -s /root/secret link; ln -s /root folder", timeout=30)
    for path in ("/root/secret", "link", "folder/secret", "/etc/shadow"):
        with pytest.raises(PermissionError):
            await box.read(path, limit=1000)
    assert await box.read("/root/secret", user="root") == b"of root"


async def test_a_file_tool_is_one_request(server: E2BServer, box: E2BSandbox) -> None:
    before = len(server.requests)
    await box.write("file", b"x" * 50_000)
    await box.read("file", limit=100_000)
    assert [request.route for request in server.requests[before:]] == ["start", "start"]


async def test_a_write_keeps_mode_and_owner_and_goes_through_a_profile_that_ends_the_shell(box: E2BSandbox) -> None:
    await box.write(".bash_profile", b"exit 0\n")
    await box.write("script", b"one")
    await box.exec("chmod 751 /home/user/script", timeout=30, user="root")
    await box.write("script", b"two")
    assert await output(box, "stat -c '%a %U' /home/user/script", user="root") == "751 user\n"
    assert await box.read("script") == b"two"


# Redirects, and the addresses that a closed network denies


@pytest.mark.parametrize("route", ["start", "read"])
async def test_a_redirect_of_the_daemon_is_not_followed(server: E2BServer, route: str) -> None:
    with E2BServer() as other:
        async with opened(server) as box:
            server.faults.add(route, status=307, location=other.url, times=None)
            with pytest.raises(SandboxLost):
                await {"start": lambda: box.exec("true", timeout=10), "read": lambda: box.read("x", user="root")}[
                    route
                ]()
        assert other.requests == []


async def test_a_redirect_of_the_api_is_not_followed(server: E2BServer) -> None:
    with E2BServer() as other:
        server.faults.add("create", status=307, location=other.url, times=None)
        provider = E2BProvider(
            api_key=server.api_key,
            api_url=server.url,
            sandbox_url=server.url,
            timeouts=Timeouts(start=RetryPolicy(attempts=1), kill=RetryPolicy(timeout=1)),
        )
        with pytest.raises(SandboxError):
            await provider.open(REQUEST, lambda event: None)
        assert other.requests == []


async def test_where_the_range_of_all_ipv6_addresses_is_refused_it_is_left_out() -> None:
    with E2BServer() as server:
        server.refuse_ipv6()
        async with opened(server) as box:
            await box.set_network(Network(mode="hosts", hosts=("docs.example.org",)))
        denied = [request.json["network"]["denyOut"] for request in server.recorded("create")]
        assert denied == [["0.0.0.0/0", "::/0"], ["0.0.0.0/0"]]
        assert [request.json["denyOut"] for request in server.recorded("network")] == [["0.0.0.0/0"]]

"""What cannot be seen, reached or harmed from inside of the local sandbox, run by root and by an ordinary user."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flue_ci.core.events import ProgressEvent
from flue_ci.core.ports import Network, Sandbox, SandboxRequest, User
from flue_ci.sandboxes.local.provider import LocalProvider
from flue_ci.testing.sandbox_commands import text

CLOSED = SandboxRequest(env={}, metadata={"run": "isolation"}, network=Network(mode="none"), max_seconds=300)
OPEN = SandboxRequest(env={}, metadata={"run": "isolation"}, network=Network(mode="open"), max_seconds=300)
SOURCE = Path(__file__).parents[2] / "flue_ci"


def quiet(_: ProgressEvent) -> None:
    pass


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Sandbox]:
    box = await LocalProvider(directory=tmp_path).open(CLOSED, quiet)
    yield box
    await box.close()


@pytest.fixture
async def open_box(tmp_path: Path, machines_network: None) -> AsyncIterator[Sandbox]:
    box = await LocalProvider(directory=tmp_path).open(OPEN, quiet)
    yield box
    await box.close()


@pytest.fixture
def host_port() -> Iterator[int]:
    """A server on the host's loopback that greets whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"hello from the host\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


async def said(box: Sandbox, command: str, user: User = "user") -> str:
    """Everything a command says, however it ends."""
    return (await box.exec(command, timeout=60, user=user, limit=4_000_000)).output.decode(errors="replace")


async def python(box: Sandbox, code: str) -> str:
    await box.write("probe.py", textwrap.dedent(code).encode())
    return (await said(box, "python3 probe.py")).strip()


# The host's secrets

SEARCHING = """
import asyncio, json, os, sys
from pathlib import Path
from flue_ci.core.ports import Network, SandboxRequest
from flue_ci.sandboxes.local.provider import LocalProvider
from flue_ci.__main__ import _hide_memory

_hide_memory()  # as every command does: bubblewrap must work for such a parent too

# The pattern does not contain what it finds: it stands in command lines itself.
SEARCH = '''
PATTERN="canary-[4]711"
env | grep "$PATTERN" && echo FOUND in the environment
for file in /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/self/mountinfo /proc/[0-9]*/task/*/environ; do
    tr '\\\\0' '\\\\n' < $file 2>/dev/null | grep "$PATTERN" && echo FOUND in $file
done
ps auxwwe | grep "$PATTERN" && echo FOUND by ps
grep -rsI "$PATTERN" /etc /home /root /run /tmp /var /dev/shm /opt /mnt /srv /media "$1" && echo FOUND in files
ls -d "$1" && echo FOUND the directory
cat /etc/shadow /etc/gshadow /etc/sudoers && echo FOUND the passwords
cat /proc/1/environ /proc/1/mem /proc/1/maps && echo FOUND memory
ls -d /sys /boot /opt /mnt /srv /media /lost+found && echo FOUND more of the system
for name in shadow gshadow sudoers machine-id hostname gitconfig npmrc pip.conf passwd- ssl/private ssh; do
    test -e /etc/$name && echo FOUND $name
done
echo searched
'''

async def main():
    request = SandboxRequest(env={"GIVEN": "yes"}, metadata={}, network=Network(mode=sys.argv[2]))
    box = await LocalProvider(directory=Path(sys.argv[1])).open(request, lambda event: None)
    told = {}
    for user in ("user", "root"):
        result = await box.exec(f"set -- {os.environ['HOME']!r}; {SEARCH}", timeout=60, user=user)
        told[user] = result.output.decode(errors="replace")
    told["names"] = (await box.exec("env -0 | cut -z -d= -f1 | tr '\\\\0' ' '", timeout=60)).output.decode().split()
    told["who"] = (await box.exec("id -u; id -g; id -G; id -un; cd; pwd", timeout=60)).output.decode().split()
    told["parents"] = os.geteuid()
    await box.exec("mkdir -p a/b; touch a/b/c; chmod 0 a/b a", timeout=60)
    await box.close()
    told["left"] = os.listdir(sys.argv[1])
    print(json.dumps(told))

asyncio.run(main())
"""


def ordinary_user(tmp_path: Path) -> tuple[list[str], Path]:
    """(what to put before a script to run it as an ordinary user, the parent directory of `flue_ci` for that user)."""
    if os.geteuid():
        return [sys.executable], SOURCE.parent
    place = tmp_path / "public"
    shutil.copytree(SOURCE, place / "lib" / "flue_ci")  # with what was compiled: that takes a second
    for path in (place, *place.rglob("*")):
        path.chmod(0o755)
    uid = "54321"
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
    # Neither pytest's directories nor a Python in /root can be reached by others: show them at a place that can.
    stage = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/mnt", "--ro-bind", str(place), "/mnt/public"]
    stage += ["--bind", str(tmp_path / "places"), "/mnt/places", "--ro-bind", sys.base_prefix, "/mnt/python"]
    stage += ["--ro-bind", sysconfig.get_path("purelib"), "/mnt/packages", "--"]
    os.chown(tmp_path / "places", int(uid), int(uid))
    return [*stage, *drop, f"/mnt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"], Path(
        "/mnt/public/lib"
    )


@pytest.mark.family(1)
@pytest.mark.parametrize("network", ["none", "open"])
@pytest.mark.parametrize("who", ["this user", "an ordinary user"])
def test_secrets_of_the_host_are_out_of_reach(who: str, network: str, tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    home = tmp_path / "home-of-the-host"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_rsa").write_text("canary-4711")
    places, library, before = str(tmp_path / "places"), str(SOURCE.parent), [sys.executable]
    if who == "an ordinary user":
        before, parent = ordinary_user(tmp_path)
        library = str(parent)
        places = places if os.geteuid() else "/mnt/places"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": library,
        "ANTHROPIC_API_KEY": "canary-4711",
        "LD_SECRET": "canary-4711",
    }
    done = subprocess.run(
        [*before, "-c", SEARCHING, places, network, "canary-4711"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for user in ("user", "root"):
        assert "searched" in told[user]
        assert "FOUND" not in told[user], told[user]
        assert "canary-4711" not in told[user]
    expected = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL", "GIVEN"}
    assert set(told["names"]) - {"PWD", "SHLVL", "_"} == expected
    assert told["who"] == ["1000", "1000", "1000", "user", "/home/user"]
    assert (told["parents"] != 0) == (who == "an ordinary user" or os.geteuid() != 0)
    assert told["left"] == []


HOLDING_A_KEY = """
import ctypes, os, socket, subprocess, sys
server = socket.create_server(("127.0.0.1", 0))
environ = {**os.environ, "ANTHROPIC_API_KEY": "canary-4711", "HOME": "/nowhere",
           "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}"}
flue = subprocess.Popen([sys.executable, "-m", "flue_ci", "doctor"], env=environ, stdout=subprocess.PIPE)
server.settimeout(60)
connection = server.accept()[0]  # now it waits for an answer that never comes
for name in ("environ", "mem", "maps", "fd", "io", "cwd", "root", "auxv", "syscall"):
    try:
        path = f"/proc/{flue.pid}/{name}"
        if name in ("cwd", "root"):
            os.readlink(path)
        elif name == "fd":
            os.listdir(path)
        else:
            open(path, "rb").read(1)
        print("read", name)
    except PermissionError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
print("traced" if libc.ptrace(0x4206, flue.pid, 0, 0) == 0 else "not traced")  # PTRACE_SEIZE
connection.close()
server.close()
print(b"flue-ci" in flue.communicate(timeout=60)[0])
"""


def test_a_flue_ci_that_holds_keys_cannot_be_read_by_the_same_user(tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    before, library = ordinary_user(tmp_path)
    packages, libraries = "/mnt/packages", "/mnt/python/lib"
    if os.geteuid():
        packages, libraries = sysconfig.get_path("purelib"), ""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{library}:{packages}", "LD_LIBRARY_PATH": libraries}
    command = [*before, "-c", HOLDING_A_KEY]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.split("\n"), done.returncode) == (["not traced", "True", ""], 0), done.stderr


TRACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
parent = os.getppid()
print("traced" if libc.ptrace(16, parent, 0, 0) == 0 else "refused")
print("read" if os.access(f"/proc/{parent}/mem", os.W_OK) else "refused")
"""


async def test_a_program_cannot_say_how_the_shell_of_its_check_ends() -> None:
    request = SandboxRequest(env={}, metadata={}, network=Network())
    box = await LocalProvider().open(request, lambda event: None)
    try:
        await box.write("test_it.py", TRACE.encode())
        result = await box.exec("python3 test_it.py; exit 7", timeout=30, login=False)
        assert (result.exit_code, result.output) == (7, b"refused\nrefused\n")
        result = await box.exec("echo seen >/dev/stderr; diff <(echo a) <(echo a)", timeout=30, login=False)
        assert (result.exit_code, result.output) == (0, b"seen\n")
        result = await box.exec("chmod 777 /run/flue-ci/bash; cat /run/flue-ci/bash", timeout=30)
        assert result.exit_code
    finally:
        await box.close()


async def test_no_value_stands_on_a_command_line_of_the_host(tmp_path: Path) -> None:
    request = SandboxRequest(env={"TOKEN": "value-0815"}, metadata={"run": "value-0815"}, network=Network())
    box = await LocalProvider(directory=tmp_path).open(request, quiet)
    running = asyncio.create_task(box.exec("echo ready; sleep 30", timeout=60, env={"OTHER": "value-0815"}))
    await asyncio.sleep(0.3)
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    assert any(b"bwrap" in line for line in lines)
    assert not [line for line in lines if b"value-0815" in line]
    running.cancel()
    await box.close()


async def test_only_processes_of_the_sandbox_are_visible(box: Sandbox) -> None:
    assert int(await text(box, "ls -d /proc/[0-9]* | wc -l")) < 8
    assert str(os.getpid()) not in (await text(box, "ps -eo pid=")).split()
    assert "pytest" not in await text(box, "ps -eo args=")


async def test_the_keys_of_the_hosts_keyring_stay_there(box: Sandbox, tmp_path: Path) -> None:
    # A key in a session keyring can be used by everything that inherits the keyring.
    script = f"""
import asyncio, ctypes, os, sys
sys.path.insert(0, {str(SOURCE.parent)!r})
from pathlib import Path
from flue_ci.core.ports import Network, SandboxRequest
from flue_ci.sandboxes.local.provider import LocalProvider
numbers = {{"x86_64": (248, 250), "aarch64": (217, 219)}}[os.uname().machine]
libc = ctypes.CDLL(None)
libc.syscall(numbers[1], 1, None)
libc.syscall(numbers[0], b"user", b"flue-key", b"canary-4711", 11, ctypes.c_long(-3))
PROBE = f'''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
key = libc.syscall({{numbers[1]}}, 10, ctypes.c_long(-3), b"user", b"flue-key", 0)
print("found" if key > 0 else "no key")
'''
exec(PROBE.replace("found", "host found").replace("no key", "host has no key"))
async def main():
    request = SandboxRequest(env={{}}, metadata={{}}, network=Network())
    box = await LocalProvider(directory=Path({str(tmp_path)!r})).open(request, lambda event: None)
    await box.write("probe.py", PROBE.encode())
    print((await box.exec("python3 probe.py; cat /proc/keys", timeout=60)).output.decode())
    await box.close()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[0] in {"host found", "host has no key"}  # some containers forbid keyrings altogether
    assert lines[1] == "no key"
    assert "flue-key" not in done.stdout


# The host's system


async def test_the_system_is_read_only(box: Sandbox) -> None:
    for place in ("/", "/usr", "/usr/bin", "/etc", "/etc/ssl", "/root", "/home", "/var", "/lib"):
        result = await box.exec(f"touch {place}/flue-was-here", timeout=30)
        assert result.exit_code != 0, place
    for place in ("/usr/bin/env", "/etc/passwd", "/etc/hosts", "/run/flue-ci/supervisor"):
        for change in (f": > {place}", f"rm -f {place}", f"mv {place} /tmp/x", f"chmod 777 {place}"):
            assert (await box.exec(change, timeout=30)).exit_code != 0, change
    for place in ("~", "/tmp", "/var/tmp", "/dev/shm", "/run"):
        assert await text(box, f"touch {place}/mine && echo yes") == "yes"


async def test_the_kernels_settings_and_the_hosts_devices_cannot_be_changed(box: Sandbox) -> None:
    # As root of the host these need more than namespaces. Each would write what is already there.
    for user in ("user", "root"):
        pattern = "/proc/sys/kernel/core_pattern"
        for attack in (
            f"cat {pattern} > /tmp/pattern; cat /tmp/pattern > {pattern}",
            "chmod 666 /dev/null",
            "chown 0:0 /dev/null",
            "touch -d 2020-01-01 /dev/zero",
            "mknod /tmp/disk b 8 0",
            "echo h > /proc/sysrq-trigger",
            "mount -t tmpfs none /tmp",
            "mount -o remount,rw /usr",
            "unshare -Ur mount -o remount,rw,bind /usr",
            "unshare -Urm sh -c 'mount -o remount,rw,bind /usr && touch /usr/flue-was-here'",
            "unshare -Urm umount /etc/passwd",
            "nsenter -t 1 -m -u true",
            "dmesg",
        ):
            result = await box.exec(attack, timeout=30, user=user)
            assert result.exit_code != 0, (attack, result.output)
    assert "0000000000000000" in await text(box, "grep CapEff /proc/self/status; grep CapBnd /proc/self/status")
    assert await text(box, "grep NoNewPrivs /proc/self/status | cut -f2") == "1"
    assert "nosuid" in await text(box, "grep ' /usr ' /proc/self/mountinfo")


async def test_links_lead_nowhere_outside(box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-4711")
    depth = "../" * 20
    await said(
        box,
        f"ln -s {secret} file; ln -s {tmp_path} folder; ln -s / top; ln -s {depth}{secret} relative; ln -s loop loop; "
        "ln -s /proc/self/root/ self; ln -s /proc/1/root first; ln -s /etc/shadow shadow; "
        "ln -s /proc/1/environ environ",
    )
    inside = (await box.read("/etc/passwd")).decode()
    assert "user:x:1000" in inside
    assert (await box.read("top/etc/passwd")).decode() == inside
    attempts = ["file", "folder/secret", "relative", "loop", "shadow", "environ", str(secret), f"{depth}{secret}"]
    attempts += [f"top{secret}", f"self{secret}", f"first{secret}", "/proc/self/environ", "/proc/self/mem", "/dev/mem"]
    attempts += ["/proc/cpuinfo"]  # its size is 0: better refused than read as empty
    for path in attempts:
        with pytest.raises((FileNotFoundError, PermissionError, IsADirectoryError)):
            await box.read(path)
    for path in [*attempts, "/usr/bin/env", "/etc/passwd", "/proc/self/oom_score_adj", "/proc/1/comm"]:
        try:
            await box.write(path, b"overwritten")
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            pass  # or it became a file inside
    assert secret.read_text() == "canary-4711"
    assert "overwritten" not in Path("/etc/passwd").read_text()
    assert (await box.read("/etc/passwd")).decode() == inside


async def test_links_in_roots_way_lead_nowhere_outside_either(box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary-4711")
    await box.exec(f"ln -s {secret} /root/link", timeout=30, user="root")
    with pytest.raises(FileNotFoundError):
        await box.read("/root/link", user="root")
    with pytest.raises((FileNotFoundError, PermissionError)):
        await box.write("/root/link", b"x", user="root")
    assert secret.read_text() == "canary-4711"


# Root inside


async def test_roots_files_and_processes_are_invisible_to_the_user(box: Sandbox) -> None:
    await box.write("/root/base/secret", b"of the host", user="root")
    running = asyncio.create_task(box.exec("exec -a roots-own-work sleep 60", timeout=60, user="root"))
    assert await text(box, "find /root -name secret; ls -d /root/base 2>/dev/null || echo nothing") == "nothing"
    for path in ("/root/base/secret", "/root/base"):
        with pytest.raises(FileNotFoundError):
            await box.read(path)
    with pytest.raises((FileNotFoundError, PermissionError)):
        await box.write("/root/base/secret", b"changed")
    assert "roots-own-work" not in await text(box, "ps -eo args=")
    assert (await said(box, "find / -xdev -name secret -not -path '/proc/*' 2>/dev/null")).strip() == ""
    assert await box.read("/root/base/secret", user="root") == b"of the host"
    running.cancel()


async def test_root_sees_the_users_files_but_not_the_users_processes_and_shell_profile(box: Sandbox) -> None:
    await box.write("shared/file", b"shared")
    await box.write(".bash_profile", b"echo profile of the user")
    running = asyncio.create_task(box.exec("exec -a users-own-work sleep 60", timeout=60))
    seen = await said(box, "cat /home/user/shared/file; echo; id -u; pwd; ps -eo args=", user="root")
    assert seen.startswith("shared\n0\n/root\n")
    assert "users-own-work" not in seen
    running.cancel()


async def test_root_has_no_network_even_when_the_user_has(open_box: Sandbox, host_port: int) -> None:
    connect = f"exec 3<>/dev/tcp/127.0.0.1/{host_port} && head -n 1 <&3"
    assert await text(open_box, connect) == "hello from the host"
    assert (await open_box.exec(connect, timeout=30, user="root")).exit_code != 0


# The supervisor


async def test_the_supervisor_cannot_be_signalled(box: Sandbox) -> None:
    await said(box, "for n in $(seq 1 64); do kill -$n 1; done; pkill -9 python; kill -9 -- -1")
    await said(box, "for n in $(seq 1 64); do kill -$n 1; done")
    assert await text(box, "echo alive") == "alive"


async def test_the_supervisor_cannot_be_traced_or_read(box: Sandbox) -> None:
    told = await python(
        box,
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def refused(name, *arguments):
            ctypes.set_errno(0)
            result = getattr(libc, name)(*arguments)
            print(name, arguments[0], "refused" if result < 0 else "allowed", ctypes.get_errno())
        refused("ptrace", 16, 1, 0, 0)
        refused("ptrace", 0x4206, 1, 0, 0)
        pidfd = os.pidfd_open(1)
        for number in range(8):
            refused("syscall", 438, pidfd, number, 0)
        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
        buffer = ctypes.create_string_buffer(8)
        here, there = Vector(ctypes.addressof(buffer), 8), Vector(0x400000, 8)
        refused("process_vm_readv", 1, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        for name in ("environ", "mem", "maps", "fd", "cwd", "root", "exe", "fd/0", "syscall", "map_files", "auxv"):
            try:
                os.listdir(f"/proc/1/{name}") if name in ("fd", "map_files") else open(f"/proc/1/{name}", "rb").read(1)
                print(name, "allowed")
            except OSError as error:
                print(name, "refused")
        """,
    )
    assert told.count("refused") == 22, told
    assert "allowed" not in told


async def test_commands_inherit_no_open_files(box: Sandbox) -> None:
    assert await text(box, "ls /proc/self/fd | wc -l") == "4"  # the three, and the one that lists
    long = "# " + "x" * 200_000
    assert await text(box, f"ls -l /proc/self/fd | wc -l {long}") == "5"
    files = await text(box, "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2")
    assert files.splitlines()[0] == "/dev/null"
    assert all(line.startswith("pipe:") for line in files.splitlines()[1:])


# Network


async def test_nothing_of_the_network_is_reachable_while_it_is_closed(box: Sandbox, host_port: int) -> None:
    assert (await box.exec(f"exec 3<>/dev/tcp/127.0.0.1/{host_port}", timeout=30)).exit_code != 0
    assert (await text(box, "tail -n +3 /proc/net/dev | cut -d: -f1")).split() == ["lo"]
    assert await text(box, "tail -n +2 /proc/net/route | wc -l; ls /etc/resolv.conf || true") == (
        "0\nls: cannot access '/etc/resolv.conf': No such file or directory"
    )
    told = await python(
        box,
        """
        import socket
        for family, address in ((socket.AF_INET, ("192.0.2.1", 53)), (socket.AF_INET6, ("2001:db8::1", 53))):
            try:
                socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", address)
                print("sent")
            except OSError:
                print("unreachable")
        try:
            socket.getaddrinfo("example.com", 80)
            print("resolved")
        except OSError:
            print("unknown")
        print(socket.gethostbyname(socket.gethostname()))
        """,
    )
    assert told.split() == ["unreachable", "unreachable", "unknown", "127.0.0.1"]


async def test_a_server_inside_is_reachable_inside_and_only_there(box: Sandbox) -> None:
    await box.write("page", b"hello from inside")
    await text(box, "python3 -m http.server 18765 --bind 127.0.0.1 & echo started")
    fetch = "for i in $(seq 100); do exec 3<>/dev/tcp/127.0.0.1/18765 && break; sleep 0.05; done 2>/dev/null; "
    fetch += "printf 'GET /page HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3 | tail -n 1"
    assert await text(box, fetch) == "hello from inside"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 18765), timeout=5)


async def test_the_network_opens_and_closes_on_request(machines_network: None, box: Sandbox, host_port: int) -> None:
    connect = f"exec 3<>/dev/tcp/127.0.0.1/{host_port} && head -n 1 <&3"
    for _ in range(2):
        assert (await box.exec(connect, timeout=30)).exit_code != 0
        await box.set_network(Network(mode="open"))
        assert await text(box, connect) == "hello from the host"
        await box.set_network(Network(mode="none"))
    assert (await box.exec(connect, timeout=30)).exit_code != 0


async def test_the_machines_network_resolves_names_as_the_host_does(open_box: Sandbox) -> None:
    if Path("/etc/resolv.conf").exists():
        assert (await open_box.read("/etc/resolv.conf")) == Path("/etc/resolv.conf").read_bytes()
    assert await text(open_box, "getent hosts localhost | wc -l") == "1"


def landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_ulong(0), ctypes.c_ulong(1)))


@pytest.mark.parametrize("network", ["none", "open"])
async def test_abstract_sockets_of_the_host_are_out_of_reach(network: str, tmp_path: Path) -> None:
    name = f"flue-abstract-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        box = await LocalProvider(directory=tmp_path).open(OPEN if network == "open" else CLOSED, quiet)
        told = await python(
            box,
            f"""
            import socket, threading
            try:
                socket.socket(socket.AF_UNIX).connect("\\0{name}")
                print("connected")
            except OSError:
                print("refused")
            own = socket.socket(socket.AF_UNIX)
            own.bind("\\0{name}-inside")
            own.listen()
            socket.socket(socket.AF_UNIX).connect("\\0{name}-inside")
            print("own works")
            """,
        )
        await box.close()
    reachable = network == "open" and landlock_version() < 6  # Linux before 6.12 has no means against it
    assert told.splitlines() == ["connected" if reachable else "refused", "own works"]


# Neighbours


async def test_two_sandboxes_do_not_see_each_other(tmp_path: Path) -> None:
    provider = LocalProvider(directory=tmp_path)
    one, two = await asyncio.gather(provider.open(CLOSED, quiet), provider.open(CLOSED, quiet))
    await said(one, "echo mine | tee ~/mine /tmp/mine /var/tmp/mine /dev/shm/mine /run/mine; sleep 60 &")
    await one.exec("echo mine > /root/mine", timeout=30, user="root")
    await said(one, "python3 -m http.server 18766 --bind 127.0.0.1 & sleep 0.5")
    assert await said(two, "find / -xdev -name mine 2>/dev/null; ls ~ /tmp /var/tmp /dev/shm; pgrep sleep") == (
        "/dev/shm:\n\n/home/user:\n\n/tmp:\n\n/var/tmp:\n"
    )
    assert (await two.exec("exec 3<>/dev/tcp/127.0.0.1/18766", timeout=30)).exit_code != 0
    assert await said(two, "ls /root", user="root") == await said(one, "ls /root | grep -v mine", user="root")
    await asyncio.gather(one.close(), two.close())

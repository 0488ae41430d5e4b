"""How much of the machine and of its kernel a program in the local sandbox can get at, and that tools still work."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.events import Notice, ProgressEvent
from flue_ci.core.ports import Network, SandboxRequest
from flue_ci.sandboxes.local import bounds
from flue_ci.sandboxes.local.provider import LocalProvider, LocalSandbox
from flue_ci.settings import Settings
from flue_ci.testing.sandbox_commands import run, text

CLOSED = SandboxRequest(env={}, metadata={"run": "bounds"}, network=Network(mode="none"), max_seconds=300)
MACHINE = os.uname().machine
x86_only = pytest.mark.skipif(MACHINE != "x86_64", reason="a second table of system calls is a matter of x86-64")


def quiet(_: ProgressEvent) -> None:
    pass


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[LocalSandbox]:
    box = await LocalProvider(directory=tmp_path).open(CLOSED, quiet)
    yield box
    await box.close()


async def python(box: LocalSandbox, code: str, arguments: str = "") -> str:
    await box.write("probe.py", textwrap.dedent(code).encode())
    return (await run(box, f"python3 probe.py {arguments}", timeout=60)).output.decode().strip()


# System calls

# By name: the numbers on x86-64 and aarch64, as the kernel's headers have them.
CALLS = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "open_by_handle_at": (304, 265),
    "mount": (165, 40),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "setns": (308, 268),
}
CALL = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in sys.argv[1:]:
    result = libc.syscall(int(number), 0, 0, 0, 0, 0, 0)
    print(errno.errorcode.get(ctypes.get_errno(), "allowed") if result < 0 else "allowed")
"""


@pytest.mark.skipif(MACHINE not in ("x86_64", "aarch64"), reason="the filter exists for these two")
async def test_system_calls_that_no_build_needs_are_denied(box: LocalSandbox) -> None:
    column = ("x86_64", "aarch64").index(MACHINE)
    numbers = " ".join(str(each[column]) for each in CALLS.values())
    answers = (await python(box, CALL, numbers)).split()
    assert dict(zip(CALLS, answers, strict=True)) == dict.fromkeys(CALLS, "EPERM")


@x86_only
async def test_the_second_table_of_system_calls_is_closed(box: LocalSandbox) -> None:
    numbers = [0x4000_0000 | number for number in (39, 425, 250, 321)]
    assert set((await python(box, CALL, " ".join(map(str, numbers)))).split()) == {"EPERM"}


@x86_only
async def test_calls_of_32_bit_programs_are_closed(box: LocalSandbox) -> None:
    code = """
    import ctypes, mmap
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex("b814000000cd80c3"))  # getpid by int 0x80
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    print("allowed", ctypes.CFUNCTYPE(ctypes.c_int)(address)())
    """
    assert "allowed" not in await python(box, code)


@pytest.mark.parametrize("user", ["user", "root"])
async def test_there_are_no_user_namespaces_inside(box: LocalSandbox, user: str) -> None:
    code = """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = {"x86_64": (272, 56, 435), "aarch64": (97, 220, 435)}[os.uname().machine]
    new_user = 0x10000000
    print("unshare", libc.syscall(numbers[0], ctypes.c_ulong(new_user)) == 0)
    print("unshare more", libc.syscall(numbers[0], ctypes.c_ulong(new_user | 0x20000)) == 0)
    child = libc.syscall(numbers[1], ctypes.c_ulong(new_user | 17), 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    print("clone", child > 0)
    arguments = (ctypes.c_uint64 * 11)(new_user, 0, 0, 0, 17)
    child = libc.syscall(numbers[2], arguments, ctypes.c_ulong(88))
    if child == 0:
        os._exit(0)
    print("clone3", child > 0)
    """
    path = f"/{'root' if user == 'root' else 'home/user'}/probe.py"
    await box.write(path, textwrap.dedent(code).encode(), user=user)
    output = (await box.exec(f"python3 {path}", timeout=60, user=user)).output.decode()
    assert output == "unshare False\nunshare more False\nclone False\nclone3 False\n"


async def test_only_usual_kinds_of_sockets_can_be_made(box: LocalSandbox) -> None:
    code = """
    import socket
    for family in range(1, 46):
        try:
            socket.socket(family, socket.SOCK_DGRAM).close()
            print(family)
        except OSError:
            try:
                socket.socket(family, socket.SOCK_STREAM).close()
                print(family)
            except OSError:
                pass
    """
    assert set((await python(box, code)).split()) <= {"1", "2", "10", "16"}


TOOLS = {
    "node": 'node -e \'require("fs").readFile("/etc/passwd", () => console.log("works"))\'',
    "go": "export PATH=$PATH:/usr/local/go/bin GOFLAGS=-mod=mod GOTOOLCHAIN=local; "
    "printf 'package main\\nfunc main() { c := make(chan int); go func() { c <- 1 }(); <-c; print(\"works\") }' > m.go;"
    " go run m.go",
    "java": "echo 'class M { public static void main(String[] a) throws Exception {"
    ' Thread t = new Thread(() -> System.out.println("works")); t.start(); t.join(); } }\' > M.java; java M.java',
    "gcc": "echo 'int main() { return puts(\"works\"); }' | gcc -w -x c - && ./a.out",
    "git": "git init -q . && git status -s | wc -l && echo works",
    "strace": "strace -f -o trace sh -c 'true | true' && grep -q execve trace && echo works",
    "gdb": "gdb -batch -ex run -ex 'print 6*7' /bin/true 2>&1 | grep -q '= 42' && echo works",
    "python3": "python3 -c 'import concurrent.futures as c, multiprocessing as m\n"
    'print(list(c.ThreadPoolExecutor(8).map(str, range(3))), m.Pool(2).map(abs, [-1]), "works")\'',
    "make": "printf 'all: a b c\\n\\t@echo works\\na b c:\\n\\t@true\\n' > Makefile; make -s -j4",
}


@pytest.mark.family(3)
@pytest.mark.parametrize("tool", TOOLS)
async def test_tools_of_developers_work(box: LocalSandbox, tool: str) -> None:
    if (await run(box, f"PATH=$PATH:/usr/local/go/bin; command -v {tool}")).exit_code:
        pytest.skip(f"no {tool} inside, as on this machine")
    result = await run(box, TOOLS[tool], timeout=60)
    assert b"works" in result.output, result.output


# Memory, processes, files


@pytest.fixture
async def box_on_disk() -> AsyncIterator[LocalSandbox]:
    """A sandbox whose directory is on a disk, whatever holds the temporary files of tests."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        box = await LocalProvider(directory=Path(directory)).open(CLOSED, quiet)
        yield box
        await box.close()


async def test_file_systems_in_memory_are_small(box_on_disk: LocalSandbox) -> None:
    box, sizes = box_on_disk, {}
    for line in (await text(box, "df -B1 --output=fstype,size,target | tail -n +2")).splitlines():
        kind, size, target = line.split()
        is_writable = (await run(box, f"touch {target}/here")).exit_code == 0
        if kind == "tmpfs" and is_writable:
            sizes[target] = int(size)
    assert sizes == {"/run": 256 << 20, "/dev/shm": 1 << 30}
    result = await run(box, "head -c 300000000 /dev/zero > /run/large", timeout=60)
    assert (result.exit_code, b"No space left" in result.output) == (1, True)


@pytest.mark.parametrize("isolation", [True, False], ids=["isolated", "plain"])
async def test_the_number_of_processes_has_a_bound_and_the_address_space_has_none(
    isolation: bool, tmp_path: Path
) -> None:
    running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    box = await LocalProvider(isolation, tmp_path).open(CLOSED, quiet)
    processes, space, core, file = (await text(box, "ulimit -u; ulimit -v; ulimit -Hc; ulimit -f")).split()
    await box.close()
    assert 1000 < int(processes) < running + 10_000
    assert (space, core) == ("unlimited", "0")
    assert 1 << 20 < int(file) < 1 << 28  # KiB


async def test_a_program_that_forks_without_end_stays_within_its_bound(box: LocalSandbox) -> None:
    code = """
    import os, resource, time
    resource.setrlimit(resource.RLIMIT_NPROC, (int(os.sysconf("SC_CHILD_MAX")), resource.RLIM_INFINITY))
    """
    assert "Error" in await python(box, code)  # a limit cannot be raised
    code = """
    import os, resource, time
    # The same bound, only lower: nobody wants 5,000 processes in a test.
    resource.setrlimit(resource.RLIMIT_NPROC, (200, 200))
    for count in range(10_000):
        try:
            if not os.fork():
                time.sleep(60)
        except OSError:
            print(count)
            break
    """
    assert int(await python(box, code)) < 200
    assert await box.end_processes() == ""
    assert await text(box, "echo alive") == "alive"


async def test_memory_and_processes_are_bounded_together(box: LocalSandbox, tmp_path: Path) -> None:
    if not bounds.has_groups():
        pytest.skip("there is no control group that this user may use")
    process = (await box.client("user")).process.pid
    root = (await box.exec("true", timeout=30, user="root")) and (await box.client("root")).process.pid
    name = next(tmp_path.glob("flue-ci-*")).name
    for pid in (process, root):
        assert Path(f"/proc/{pid}/cgroup").read_text().count(f"/{name}") >= 1
    files = [file for path in Path("/sys/fs/cgroup").rglob(name) for file in path.iterdir()]
    memory = [file for file in files if file.name in ("memory.max", "memory.limit_in_bytes")]
    assert [int(file.read_text()) for file in files if file.name == "pids.max"] == [4096]
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available // 2 < int(memory[0].read_text()) < available
    memory[0].write_text(str(128 << 20))  # nobody wants to fill the machine's memory in a test
    result = await run(box, "python3 -c 'x = bytearray(b\"x\") * (1 << 30); print(1)'; echo code $?", timeout=60)
    assert b"code 137" in result.output
    assert await text(box, "echo alive") == "alive"
    await box.close()
    assert not any(file.exists() for file in files)


# Where the machine cannot

OLD_BUBBLEWRAP = """#!/bin/sh
options=$*
[ "$1" = --args ] && options=$(tr '\\0' ' ' < "/proc/self/fd/$2")
if printf %s "$options" | grep -q -e --disable-userns -e --size; then
    echo 'bwrap: Unknown option --disable-userns' >&2
    exit 1
fi
exec {bwrap} "$@"
"""


async def test_an_older_bubblewrap_does_what_it_can_and_says_what_it_cannot(tmp_path: Path, programs: Path) -> None:
    (programs / "bwrap").write_text(
        OLD_BUBBLEWRAP.format(bwrap=shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin"))
    )
    (programs / "bwrap").chmod(0o755)
    events: list[ProgressEvent] = []
    provider = LocalProvider(directory=tmp_path)
    for _ in range(2):
        box = await provider.open(CLOSED, events.append)
        assert (await run(box, "unshare -U true")).exit_code != 0  # the filter denies it all the same
        assert await text(box, "touch /dev/shm/x /run/x && echo works") == "works"
        await box.exec("true", timeout=30, user="root")
        await box.close()
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1  # for one provider, which is that of one run
    assert "cannot bound the memory of /run and /dev/shm" in notices[0]
    diagnostic = await LocalProvider.diagnose(Settings(), offline=True)
    assert (diagnostic.severity, diagnostic.message) == ("ok", "bubblewrap works")
    assert "cannot bound" in diagnostic.hint

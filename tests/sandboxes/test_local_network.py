"""An open network of the local sandbox leads to the outside, and to nothing that is local. Without pasta it says so."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flue_ci.core.events import Notice, ProgressEvent
from flue_ci.core.ports import Network, SandboxRequest
from flue_ci.sandboxes.local import network
from flue_ci.sandboxes.local.provider import LocalProvider, LocalSandbox
from flue_ci.settings import Settings
from flue_ci.testing.sandbox_commands import run, text

CLOSED = SandboxRequest(env={}, metadata={"run": "network"}, network=Network(mode="none"), max_seconds=300)
OPEN = SandboxRequest(env={}, metadata={"run": "network"}, network=Network(mode="open"), max_seconds=300)
needs_pasta = pytest.mark.skipif(not network.is_available(), reason="needs pasta (package passt) and /dev/net/tun")


def quiet(_: ProgressEvent) -> None:
    pass


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[LocalSandbox]:
    box = await LocalProvider(directory=tmp_path).open(OPEN, quiet)
    yield box
    await box.close()


@pytest.fixture
def servers() -> Iterator[tuple[list[socket.socket], int]]:
    """Servers of the machine on one port, for TCP on every address and for UDP."""
    with ExitStack() as cleanup:
        tcp = cleanup.enter_context(socket.create_server(("0.0.0.0", 0)))
        port = tcp.getsockname()[1]
        udp = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("0.0.0.0", port))
        for server in (tcp, udp):
            server.settimeout(1.5)
        yield [tcp, udp], port


def addresses_of_the_machine() -> set[str]:
    done = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True)
    return {line.split()[3].split("/")[0] for line in done.stdout.splitlines()}


KNOCKING = """
import socket, sys
port = int(sys.argv[1])
for address in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        knock = socket.socket(family, kind)
        knock.settimeout(3)
        knock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            knock.connect((address, port))
            knock.send(b"knock")
            if kind == socket.SOCK_STREAM:
                print("connected", address)
        except TimeoutError:
            print("on its way to", address)
        except OSError:
            pass
print("knocked")
"""
LOCAL = """
    127.0.0.1 127.0.0.2 127.1.2.3 0.0.0.0 ::1 ::ffff:127.0.0.1 169.254.169.254 169.254.1.1 10.0.0.1 10.255.255.53
    172.16.0.1 172.17.0.1 172.31.255.1 192.168.0.1 192.168.255.254 100.64.0.1 192.0.0.1 198.18.0.1 198.51.100.1
    224.0.0.1 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.255 fe80::1%2 ff02::1%2 ff02::fb%2 fd00::1
    ::ffff:10.0.0.1 ::ffff:169.254.169.254 fd00:ec2::254
""".split()  # noqa: SIM905


@needs_pasta
async def test_nothing_local_can_be_reached(box: LocalSandbox, servers: tuple[list[socket.socket], int]) -> None:
    (tcp, udp), port = servers
    await box.write("knock.py", KNOCKING.encode())
    targets = " ".join([*LOCAL, *sorted(addresses_of_the_machine())])
    result = await run(box, f"python3 knock.py {port} {targets}; echo $(hostname -I)", timeout=200)
    assert result.output.decode().splitlines()[0] == "knocked", result.output
    for server in (tcp, udp):
        with pytest.raises(TimeoutError):
            server.recvfrom(100) if server is udp else server.accept()


@needs_pasta
async def test_the_routes_are_out_of_the_programs_reach(box: LocalSandbox) -> None:
    for user in ("user", "root"):
        for attack in (
            "ip route del unreachable 10.0.0.0/8",
            "ip route add 10.0.0.1 dev $(ip -o link | tail -n 1 | cut -d: -f2)",
            "ip link add name dummy type dummy",
            "ip addr add 10.0.0.7/8 dev lo",
            "ip rule add to 10.0.0.0/8 table 99",
            "nsenter -t 1 -n true",
            "unshare -Urn true",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ):
            result = await box.exec(attack, timeout=30, user=user)
            assert result.exit_code != 0, (attack, result.output)
    assert "0000000000000000" in await text(box, "grep -E 'Cap(Eff|Prm|Amb)' /proc/self/status | sort -u -k2")
    assert "unreachable 10.0.0.0/8" in await text(box, "ip route")


@needs_pasta
async def test_abstract_sockets_and_ports_stay_apart(box: LocalSandbox, tmp_path: Path) -> None:
    name = f"flue-network-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        code = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
        assert (await run(box, f'python3 -c "{code}"')).exit_code != 0
    await text(box, "python3 -m http.server 18767 > /dev/null 2>&1 & sleep 1; echo started")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 18767), timeout=3)


@needs_pasta
async def test_names_are_resolved_by_a_name_server_that_is_not_in_the_local_network(box: LocalSandbox) -> None:
    assert (await box.read("/etc/resolv.conf")).decode() == network.RESOLV_CONF
    assert Path("/etc/hosts").read_text() not in (await box.read("/etc/hosts")).decode()
    assert "unreachable" not in await text(box, "ip route get 203.0.113.9 2>&1 || echo unreachable")


@needs_pasta
async def test_an_own_network_ends_with_its_sandbox(tmp_path: Path) -> None:
    def running() -> bool:
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return str(tmp_path) in lines

    def ends() -> bool:
        until = time.monotonic() + 10
        while running() and time.monotonic() < until:
            time.sleep(0.1)
        return not running()

    box = await LocalProvider(directory=tmp_path).open(OPEN, quiet)
    await run(box, "sleep 60 & echo $!")
    assert await box.end_processes() == ""
    assert await text(box, "pgrep sleep || echo none") == "none"
    await box.close()
    assert ends()
    code = f"""
    import asyncio, os, signal
    from pathlib import Path
    from flue_ci.core.ports import Network, SandboxRequest
    from flue_ci.sandboxes.local.provider import LocalProvider
    async def main():
        request = SandboxRequest(env={{}}, metadata={{}}, network=Network(mode="open"))
        await LocalProvider(directory=Path({str(tmp_path)!r})).open(request, lambda event: None)
        os.kill(os.getpid(), signal.SIGKILL)
    asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert await asyncio.to_thread(ends)


async def test_without_pasta_an_open_network_is_the_machines_and_that_is_said_aloud(
    machines_network: None, tmp_path: Path, servers: tuple[list[socket.socket], int]
) -> None:
    events: list[ProgressEvent] = []
    box = await LocalProvider(directory=tmp_path).open(CLOSED, events.append)
    assert not [event for event in events if isinstance(event, Notice)]
    for phase in (OPEN.network, CLOSED.network, OPEN.network):
        await box.set_network(phase)
    await text(box, f"exec 3<>/dev/tcp/127.0.0.1/{servers[1]}; echo connected")
    await box.close()
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "AN OPEN NETWORK IS THIS MACHINE'S OWN" in notices[0]
    diagnostic = await LocalProvider.diagnose(Settings(), offline=True)
    assert "AN OPEN NETWORK IS THIS MACHINE'S OWN" in diagnostic.hint

"""The E2B sandbox against an E2B-compatible server: the contract, and each request field by field."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.ports import HeaderRule, Network, Sandbox, SandboxProvider, SandboxRequest
from flue_ci.sandboxes.e2b.errors import Timeouts
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.e2b.sandbox import E2BSandbox
from flue_ci.testing.sandbox_commands import HEARTBEAT, REQUEST, read_eventually
from flue_ci.testing.sandbox_contract import SandboxContract, ignore
from tests.support.e2b_machine import MachineOptions
from tests.support.e2b_server import E2BServer

ALL = ["0.0.0.0/0", "::/0"]
TOKEN_RULE = HeaderRule(host="Packages.example.com", header="Authorization", value="Bearer of-the-host")
OTHER_RULE = HeaderRule(host="packages.example.com", header="X-Team", value="blue")
TRANSFORM = {"transform": {"headers": {"Authorization": "Bearer of-the-host", "X-Team": "blue"}}}
INJECT = (TOKEN_RULE, OTHER_RULE)
RULES = {"packages.example.com": [TRANSFORM]}
QUICK = Timeouts(pace=0.0, kill_after=1)


@pytest.fixture(scope="module")
def shared() -> Iterator[E2BServer]:
    """One server for all tests that only need a sandbox."""
    with E2BServer() as server:
        yield server


@pytest.fixture
def server() -> Iterator[E2BServer]:
    """A server of the test's own, whose records and sandboxes are all from this test."""
    with E2BServer(page=2) as server:
        yield server


def provider_of(server: E2BServer, timeouts: Timeouts | None = None) -> E2BProvider:
    return E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url, timeouts=timeouts or QUICK)


def asked(network: Network | None = None, **changes: Any) -> SandboxRequest:
    given: dict[str, Any] = {"env": {}, "metadata": {"flue-ci": "1"}, "network": network or Network(), **changes}
    return SandboxRequest(**given)


@asynccontextmanager
async def opened(
    server: E2BServer, request: SandboxRequest, timeouts: Timeouts | None = None
) -> AsyncIterator[E2BSandbox]:
    box = await provider_of(server, timeouts).open(request, ignore)
    try:
        yield box
    finally:
        await box.close()


class TestContract(SandboxContract):
    also_visible = frozenset({"E2B_SANDBOX", "E2B_SANDBOX_ID"})

    @pytest.fixture
    def provider(self, shared: E2BServer) -> SandboxProvider:
        return provider_of(shared)

    @pytest.fixture
    async def sandbox(self, shared: E2BServer) -> AsyncIterator[Sandbox]:
        async with opened(shared, REQUEST) as sandbox:
            self.root_is_apart = self.has_root = shared.sandboxes[sandbox.info.id].machine.isolated
            yield sandbox
        assert shared.processes() == []


# Starting


async def test_the_request_for_a_sandbox_says_what_was_asked_and_nothing_more(server: E2BServer) -> None:
    metadata = {"flue-ci": "1", "repo": "ada/engine", "run_id": "17", "note": "a b=c&d"}
    request = asked(env={"WORD": "two words"}, metadata=metadata, max_seconds=1800.0)
    async with opened(server, request) as box:
        create = server.recorded("create")[0]
        attempt = create.json["metadata"].pop("flue-ci-attempt")
        assert create.json == {
            "templateID": "base",
            "timeout": 300,
            "autoPause": False,
            "metadata": metadata,
            "envVars": {"WORD": "two words"},
            "network": {"denyOut": ALL, "dnsServers": [], "allowPublicTraffic": False},
        }
        assert re.fullmatch(r"[0-9a-f]{32}", attempt)
        assert re.fullmatch(r"flue-ci-[0-9a-f-]{36}", create.headers["idempotency-key"])
        assert create.headers["x-api-key"] == server.api_key
        assert box.info.id in server.sandboxes
        assert (box.info.provider, box.info.template) == ("e2b", "base")


async def test_a_short_life_is_asked_for_as_it_is_and_needs_no_heartbeat(server: E2BServer) -> None:
    async with opened(server, asked(max_seconds=90.5), Timeouts(heartbeat=0.05)):
        await asyncio.sleep(0.3)
        assert server.recorded("create")[0].json["timeout"] == 91
        assert server.recorded("timeout") == []


async def test_every_start_has_a_key_of_its_own(server: E2BServer) -> None:
    async with opened(server, asked()), opened(server, asked()):
        keys = [create.headers["idempotency-key"] for create in server.recorded("create")]
        assert len(set(keys)) == len(server.sandboxes) == 2


async def test_a_key_with_a_newline_from_a_secret_store_works(server: E2BServer) -> None:
    provider = E2BProvider(api_key=f"{server.api_key}\n", api_url=server.url, sandbox_url=server.url)
    box = await provider.open(asked(), ignore)
    await box.close()
    assert server.sandboxes == {}


async def test_home_is_where_the_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with E2BServer(machine=MachineOptions(isolate=False)) as server:
        async with opened(server, asked()) as box:
            assert box.info.home not in ("", "/root", "/home/user")
            await box.write("sub/file", b"here")
            assert (await box.exec("cat sub/file; pwd", timeout=20)).output.decode() == f"here{box.info.home}\n"
        assert server.processes() == []


# Network

POLICIES = [
    (Network(mode="open"), {}),
    (Network(mode="none"), {"denyOut": ALL, "dnsServers": []}),
    (
        Network(mode="hosts", hosts=("docs.example.org", "*.docs.example.org")),
        {"denyOut": ALL, "allowOut": ["docs.example.org", "*.docs.example.org"]},
    ),
    (Network(mode="hosts"), {"denyOut": ALL, "dnsServers": []}),
    (Network(mode="open", inject=INJECT), {"rules": RULES}),
    (Network(mode="none", inject=INJECT), {"denyOut": ALL, "allowOut": ["packages.example.com"], "rules": RULES}),
    (
        Network(mode="hosts", hosts=("docs.example.org", "packages.example.com"), inject=INJECT),
        {"denyOut": ALL, "allowOut": ["docs.example.org", "packages.example.com"], "rules": RULES},
    ),
]


@pytest.mark.parametrize(("network", "sent"), POLICIES)
async def test_the_network_of_the_start_is_in_the_request(
    server: E2BServer, network: Network, sent: dict[str, Any]
) -> None:
    async with opened(server, asked(network)):
        assert server.recorded("create")[0].json["network"] == {**sent, "allowPublicTraffic": False}


@pytest.mark.parametrize(("network", "sent"), POLICIES)
async def test_a_switch_of_the_network_replaces_everything(
    server: E2BServer, network: Network, sent: dict[str, Any]
) -> None:
    before = Network(mode="hosts", hosts=("before.example.com",), inject=INJECT)
    async with opened(server, asked(before)) as box:
        await box.set_network(network)
        switch = server.recorded("network")[0]
        assert switch.method == "PUT"
        assert switch.path == f"/sandboxes/{box.info.id}/network"
        assert switch.json == sent


async def test_a_team_without_added_headers_can_switch_networks_and_learns_what_it_cannot_have(
    server: E2BServer,
) -> None:
    server.refuse_headers()
    async with opened(server, asked()) as box:
        await box.set_network(Network(mode="hosts", hosts=("docs.example.org",)))
        await box.set_network(Network())
        with pytest.raises(SandboxError, match="does not add headers") as refused:
            await box.set_network(Network(inject=INJECT))
        assert "sandbox.network.inject" in refused.value.hint
        assert not isinstance(refused.value, SandboxLost)
        assert len(server.recorded("network")) == 3
    with pytest.raises(SandboxError, match="does not add headers"):
        await provider_of(server).open(asked(Network(inject=INJECT)), ignore)


@pytest.mark.parametrize(
    "host", ["https://docs.example.org", "docs.example.org:443", "docs.example.org/simple", "a b", "", "-x"]
)
def test_a_host_that_is_none_is_refused_before_anything_happens(server: E2BServer, host: str) -> None:
    with pytest.raises(SandboxError, match="host name") as refused:
        provider_of(server).check(asked(Network(mode="hosts", hosts=(host,))))
    assert "packages.example.com" in refused.value.hint


@pytest.mark.parametrize(
    "rule",
    [
        HeaderRule(host="10.0.0.1", header="X", value="y"),
        HeaderRule(host="*", header="X", value="y"),
        HeaderRule(host="*.example.com", header="X", value="y"),
        HeaderRule(host="a.example.com", header="X", value="Evil" * 513),
        HeaderRule(host="a.example.com", header="X y", value="z"),
        HeaderRule(host="a.example.com", header="X", value="y\r\nEvil: z"),
    ],
)
def test_a_header_that_cannot_be_added_is_refused_without_showing_its_value(
    server: E2BServer, rule: HeaderRule
) -> None:
    with pytest.raises(SandboxError) as refused:
        provider_of(server).check(asked(Network(inject=(rule,))))
    assert "Evil" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"template": ""}, "template"), ({"max_seconds": 90_000.0}, "25h"), ({"max_seconds": 0.0}, "0ms")],
)
def test_an_impossible_request_is_refused_before_anything_happens(
    server: E2BServer, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(SandboxError, match=re.escape(word)) as refused:
        provider_of(server).check(asked(**changes))
    assert refused.value.hint


async def test_without_a_key_nothing_is_asked(server: E2BServer) -> None:
    provider = E2BProvider(api_url=server.url, sandbox_url=server.url)
    for refuse in (provider.open(asked(), ignore), provider.list({"flue-ci": "1"})):
        with pytest.raises(SandboxError, match="no API key") as refused:
            await refuse
        assert "E2B_API_KEY" in refused.value.hint
    assert server.requests == []


# Life


@pytest.mark.long
async def test_the_heartbeat_extends_a_life_in_small_steps_until_its_time_is_used_up(server: E2BServer) -> None:
    box = await provider_of(server, Timeouts(ttl=2, heartbeat=0.5)).open(asked(max_seconds=4), ignore)
    await asyncio.sleep(2.6)
    assert box.info.id in server.sandboxes, "it outlives the time that it was created with"
    with pytest.raises(SandboxLost, match="used up its time") as lost:
        await asyncio.wait_for(box.exec("echo alive; sleep 60", timeout=60), 30)
    assert "sandbox.timeout" in lost.value.hint
    await box.close()
    steps = [beat.json["timeout"] for beat in server.recorded("timeout")]
    assert 3 <= len(steps) <= 7
    assert steps[0] == 2
    assert steps[-1] <= 2
    assert server.sandboxes == {}


async def test_a_life_that_the_plan_cuts_short_is_told_before_it_ends() -> None:
    with E2BServer(max_timeout=3) as server:
        notices: list[str] = []
        provider = provider_of(server, Timeouts(ttl=2, heartbeat=0.5))
        box = await provider.open(asked(max_seconds=60), lambda event: notices.append(getattr(event, "text", "")))
        with pytest.raises(SandboxLost, match=r"used up its time of 3(\.0)?s") as lost:
            await asyncio.wait_for(box.exec("sleep 60", timeout=60), 30)
        assert "plan" in lost.value.hint
        assert (box.info.seconds_left or 0) < 1
        assert ["after its start" in notice for notice in notices] == [True, False]
        assert "plan" in notices[1]
        await box.close()


async def test_a_heartbeat_that_fails_is_tried_again_soon(server: E2BServer) -> None:
    server.faults.add("timeout", status=500, times=2)
    async with opened(server, asked(max_seconds=60), Timeouts(ttl=2, heartbeat=0.6)) as box:
        await asyncio.sleep(2.5)
        assert (await box.exec("echo alive", timeout=20)).output == b"alive\n"


async def test_closing_kills_what_was_left_running(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        command = f"setsid nohup sleep 300 >/dev/null 2>&1 & (trap '' TERM; {HEARTBEAT}) & echo started"
        if server.sandboxes[box.info.id].machine.isolated:  # otherwise the test server itself would lose sight of it
            command = f"env -i sleep 300 & {command}"
        assert (await box.exec(command, timeout=30)).output == b"started\n"
        await read_eventually(box, "beats")
    assert server.sandboxes == {}
    assert server.processes() == []
    assert len(server.recorded("kill")) == 1


async def test_closing_waits_for_the_kill_even_when_it_is_cancelled(server: E2BServer) -> None:
    box = await provider_of(server).open(asked(), ignore)
    server.faults.add("kill", delay=0.5)
    closing = asyncio.create_task(box.close())
    for _ in range(3):
        await asyncio.sleep(0.1)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(closing, 20)
    assert server.sandboxes == {}


async def test_two_sandboxes_at_once_keep_to_themselves(server: E2BServer) -> None:
    async with opened(server, asked()) as one, opened(server, asked()) as other:
        await asyncio.gather(one.write("name", b"one"), other.write("name", b"other"))
        results = await asyncio.gather(*(box.exec("cat name", timeout=20) for box in (one, other)))
        assert [result.output for result in results] == [b"one", b"other"]
        await one.close()
        assert list(server.sandboxes) == [other.info.id]
        assert (await other.exec("cat name", timeout=20)).output == b"other"


async def test_a_cancelled_start_leaves_a_sandbox_with_the_same_metadata_alone(server: E2BServer) -> None:
    async with opened(server, asked()) as mine:
        server.faults.add("create", delay=1.0)
        task = asyncio.create_task(provider_of(server).open(asked(), ignore))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(server.sandboxes) == [mine.info.id]
        assert (await mine.exec("echo still here", timeout=20)).output == b"still here\n"


async def test_a_sweep_finds_exactly_what_has_all_the_metadata_over_several_pages(server: E2BServer) -> None:
    provider = provider_of(server)
    wanted = {"flue-ci": "1", "run_id": "17", "note": "a b=c&d"}
    others = [{"flue-ci": "1", "run_id": "18", "note": "a b=c&d"}, {"flue-ci": "1"}, {"run_id": "17"}]
    boxes = [await provider.open(asked(metadata=metadata), ignore) for metadata in [*[wanted] * 5, *others]]
    try:
        found = await provider.list(wanted)
        assert {name for name, _ in found} == {box.info.id for box in boxes[:5]}
        assert all(wanted.items() <= metadata.items() for _, metadata in found)
        assert await provider.kill(found[0][0]) is True
        assert await provider.kill(found[0][0]) is False
        assert len(server.sandboxes) == 7
        assert len(await provider.list({"flue-ci": "1"})) == 6
        with pytest.raises(SandboxError, match="metadata"):
            await provider.list({})
    finally:
        await asyncio.gather(*(box.close() for box in boxes))


# Commands and files on the wire


async def test_a_command_is_one_request_with_its_environment_beside_it(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        before = len(server.requests)
        await box.exec("echo hello", timeout=20, env={"A": "1"})
        assert [request.route for request in server.requests[before:]] == ["start"]
        assert server.requests[-1].headers["authorization"] == f"Basic {base64.b64encode(b'user:').decode()}"
        await box.exec("echo hello", timeout=20, user="root")
        assert server.requests[-1].headers["authorization"] == f"Basic {base64.b64encode(b'root:').decode()}"


async def test_a_file_over_the_limit_is_not_downloaded(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        await box.write("large", b"x" * 2_000_000)
        with pytest.raises(ValueError, match="2,000,000"):
            await box.read("large", limit=1000)
        await box.exec("ln -s large link", timeout=20)
        with pytest.raises(ValueError, match="2,000,000"):
            await box.read("link", limit=1000)
        assert server.recorded("read") == []


async def test_a_growing_file_is_cut_off_at_the_limit(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        with pytest.raises(ValueError, match="more than"):
            await box.read("/proc/kallsyms", limit=10)


async def test_a_place_that_cannot_be_written_is_not_allowed(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        for path in ("/sys/kernel/no", "/proc/1/no"):
            with pytest.raises((PermissionError, FileNotFoundError)):
                await box.write(path, b"x")


async def test_a_shell_that_never_gets_to_the_command_is_no_success(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        await box.write(".bash_profile", b"exit 0\n")
        result = await box.exec("false", timeout=20)
        assert result.exit_code == 126
        assert b"profile" in result.output


async def test_a_command_that_stops_its_own_guard_is_ended_all_the_same(server: E2BServer) -> None:
    async with opened(server, asked(), Timeouts(server_grace=2.0)) as box:
        result = await asyncio.wait_for(box.exec("kill -STOP $PPID; echo alone; sleep 300", timeout=1), 60)
        assert (result.exit_code, result.timed_out, result.output) == (124, True, b"alone\n")
        assert await asyncio.to_thread(server.processes) == []


def peak_memory() -> int:
    """Bytes of the highest resident size since the last `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


async def test_thirty_megabytes_of_output_stay_out_of_memory(server: E2BServer) -> None:
    async with opened(server, asked()) as box:
        await box.exec("head -c 1000000 /dev/zero", timeout=60)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_memory()
        result = await box.exec("head -c 30000000 /dev/zero | tr '\\0' x; echo the end", timeout=120, limit=16_000)
        assert result.omitted_bytes == 30_000_008 - 16_000
        assert result.output.endswith(b"the end\n")
        assert peak_memory() - before < 25_000_000  # the test server is in this process too


async def test_an_observer_that_fails_ends_the_command_and_is_heard(server: E2BServer) -> None:
    async with opened(server, asked()) as box:

        def fail(data: bytes) -> None:
            raise RuntimeError("the terminal is gone")

        with pytest.raises(RuntimeError, match="the terminal is gone"):
            await asyncio.wait_for(box.exec("echo hello; sleep 300", timeout=300, on_output=fail), 30)
        assert (await box.exec("echo still here", timeout=20)).output == b"still here\n"


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.1, 0.3])
async def test_a_command_cancelled_at_any_moment_leaves_no_process(server: E2BServer, seconds: float) -> None:
    async with opened(server, asked()) as box:
        task = asyncio.create_task(box.exec("(trap '' TERM; sleep 300) & sleep 300", timeout=300))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        assert await asyncio.to_thread(server.processes) == []
        assert box.info.id in server.sandboxes


async def test_two_sandboxes_of_a_run_are_not_asked_for_in_the_same_second(server: E2BServer) -> None:
    provider = provider_of(server, Timeouts(pace=0.5))
    boxes = await asyncio.gather(provider.open(asked(), ignore), provider.open(asked(), ignore))
    first, second = [request.at for request in server.recorded("create")]
    assert second - first > 0.4
    await asyncio.gather(*(box.close() for box in boxes))

"""What is promised about every sandbox of a run: what is in it, what it reaches, that it ends, and with its own run.

What one provider promises for itself is in `test_local_isolation`, `test_local` and `test_e2b`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flue_ci.agent.system_prompt import PromptParts
from flue_ci.core.errors import FlueError, SandboxLost
from flue_ci.core.events import Observer, ProgressEvent
from flue_ci.core.messages import Outcome, Usage
from flue_ci.core.ports import EngineRequirements, Limits, Network, Sandbox, SandboxProvider, SandboxRequest, Task
from flue_ci.git.source import Source, open_checkout
from flue_ci.report.report import Report
from flue_ci.run.commands import HostCommand
from flue_ci.run.pipeline import run_agent
from flue_ci.run.plan import RunInputs, RunPlan, RunServices
from flue_ci.sandboxes.e2b.errors import Timeouts
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.local import state
from flue_ci.sandboxes.local.provider import LocalProvider
from tests.support.e2b_server import E2BServer
from tests.support.repos import EVERY_KIND, new_repo, shell

SENTINEL = "sentinel-of-the-host-0815"
CLOSED, OPEN = Network(mode="none"), Network(mode="open")
KINDS = ("local", "e2b")
HANG_GUARD = 60.0  # seconds; so that a hanging sandbox fails instead of blocking


class World:
    """A provider, and what is left of its sandboxes."""

    def __init__(self, provider: SandboxProvider, place: Path, server: E2BServer | None) -> None:
        self.provider, self.place, self.server = provider, place, server

    def nothing_is_left(self) -> bool:
        if self.server:
            return not self.server.sandboxes and not self.server.processes()
        return not list(self.place.iterdir())


@contextmanager
def world_of(kind: str, tmp_path: Path) -> Iterator[World]:
    place = tmp_path / "place"
    place.mkdir()
    if kind == "local":
        yield World(LocalProvider(directory=place), place, None)
    else:
        with E2BServer() as server:
            places = {"api_url": server.url, "sandbox_url": server.url}
            provider = E2BProvider(api_key=server.api_key, **places, timeouts=Timeouts(pace=0.0))
            yield World(provider, place, server)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with world_of(request.param, tmp_path) as world:
        yield world


@pytest.fixture
def host_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Secrets and traps wherever a process of the host could have them."""
    names = [
        "ANTHROPIC_API_KEY",
        "E2B_API_KEY",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "ACTIONS_RUNTIME_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
    ]
    names += ["GITHUB_ENV", "RUNNER_TEMP", "GIT_DIR", "FLUE_CI_SECRET", "SSH_AUTH_SOCK", "http_proxy", "NPM_TOKEN"]
    for name in names:
        monkeypatch.setenv(name, f"{SENTINEL}-{name}")
    (tmp_path / "trap").write_text(f"export LEAKED={SENTINEL}\n")
    for name in ("BASH_ENV", "ENV"):
        monkeypatch.setenv(name, str(tmp_path / "trap"))


def ignore(event: ProgressEvent) -> None:
    """Nobody watches."""


def asked(network: Network = CLOSED, run: str = "proofs", **env: str) -> SandboxRequest:
    return SandboxRequest(env=env, metadata={"flue-ci": "1", "run": run}, network=network, max_seconds=300)


# What is inside


async def variables(box: Sandbox, user: str) -> dict[str, str]:
    result = await box.exec("env -0", timeout=30, user=user)  # type: ignore[arg-type]
    pairs = (pair.partition("=") for pair in result.output.decode().split("\0") if pair)
    return {name: value for name, _, value in pairs}


async def test_the_environment_is_what_was_asked_for_and_nothing_more(world: World, host_secrets: None) -> None:
    box = await world.provider.open(asked(GIVEN="yes"), ignore)
    standard = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL", "PWD", "OLDPWD", "SHLVL", "_"}
    if world.server:
        standard |= {"E2B_SANDBOX", "E2B_SANDBOX_ID"}
    for network in (CLOSED, OPEN, CLOSED):
        for user in ("user", "root"):
            found = await variables(box, user)
            assert {name: value for name, value in found.items() if name not in standard} == {"GIVEN": "yes"}
            assert SENTINEL not in str(found)
        await box.set_network(network)
    await box.close()


async def test_no_file_and_no_process_inside_knows_a_secret_of_the_host(
    world: World, host_secrets: None, tmp_path: Path
) -> None:
    """The server that stands in for E2B is on this machine, so its processes show the host's where /proc is shared."""
    (tmp_path / "secret").write_text(f"{SENTINEL}\n")
    box = await world.provider.open(asked(), ignore)
    mine = "for p in /proc/self /proc/$PPID; do cat $p/environ $p/cmdline; ls -l $p/fd; cat $p/mountinfo; done"
    pattern = SENTINEL.replace("0815", "[0]815")
    files = f"grep -rsl '{pattern}' ~ /tmp /var/tmp /dev/shm /root /etc /run 2>/dev/null"
    result = await box.exec(f"{mine} 2>/dev/null; {files}; echo searched", timeout=120, limit=4_000_000)
    await box.close()
    assert result.output.endswith(b"searched\n")
    assert SENTINEL.encode() not in result.output


async def test_the_key_that_controls_sandboxes_is_sent_to_those_who_control_them_and_to_no_sandbox(
    host_secrets: None, tmp_path: Path
) -> None:
    with world_of("e2b", tmp_path) as world:
        assert world.server
        box = await world.provider.open(asked(OPEN), ignore)
        await box.write("file", b"x")
        await box.read("file", limit=10)
        await box.write("file", b"x", user="root")
        await box.read("file", user="root")
        await box.exec("true", timeout=30)
        await box.set_network(CLOSED)
        found = (await box.exec(f"grep -rs '{world.server.api_key[:20]}' ~ /tmp; env", timeout=60)).output
        await box.close()
        control = {"create", "list", "kill", "network", "timeout", "get", "connect"}
        for request in world.server.requests:
            everything = f"{request.path} {dict(request.query)} {dict(request.headers)} {request.json}"
            assert SENTINEL not in everything
            assert (world.server.api_key in everything) == (request.route in control), request.route
        assert {request.route for request in world.server.requests} >= {
            "create",
            "start",
            "read",
            "write",
            "network",
            "kill",
        }
        assert world.server.api_key.encode() not in found


@pytest.mark.parametrize("isolation", [True, False], ids=["isolated", "plain"])
async def test_open_files_and_sockets_of_the_host_are_not_inherited(isolation: bool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SENTINEL)
    (tmp_path / "place").mkdir()
    with (tmp_path / "secret").open() as file, socket.create_server(("127.0.0.1", 0)) as server:
        for descriptor in (file.fileno(), server.fileno()):
            os.set_inheritable(descriptor, True)
        box = await LocalProvider(isolation=isolation, directory=tmp_path / "place").open(asked(OPEN), ignore)
        await box.write(
            "probe.py", b"import os\nfor n in range(4096):\n try: os.fstat(n)\n except OSError: continue\n print(n)\n"
        )
        for user in ("user", "root"):
            command = "exec python3 /home/user/probe.py" if isolation else f"exec python3 '{box.info.home}/probe.py'"
            result = await box.exec(command, timeout=30, user=user)  # type: ignore[arg-type]
            assert result.output.split() == [b"0", b"1", b"2"], user
        await box.close()


@pytest.mark.parametrize("network", [CLOSED, OPEN], ids=str)
async def test_sockets_in_the_hosts_file_system_are_out_of_reach(network: Network, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    places = [Path("/tmp") / f"flue-ci-proof-{os.getpid()}.sock", tmp_path / "agent.sock"]
    servers = []
    try:
        for place in places:
            server = socket.socket(socket.AF_UNIX)
            server.bind(str(place))
            server.listen()
            servers.append(server)
        box = await LocalProvider(directory=tmp_path / "place").open(asked(network), ignore)
        listed = " ".join(f"'{place}'" for place in [*places, "/var/run/docker.sock", "/run/user", "/run/dbus"])
        assert (await shell(box, f"ls -d {listed} 2>/dev/null || echo none")) == "none\n"
        await box.close()
    finally:
        for server, place in zip(servers, places, strict=False):
            server.close()
            place.unlink()


# The phases


@contextmanager
def listening() -> Iterator[tuple[int, list[socket.socket]]]:
    """A server on the host's loopback: its port, and the connections that were made to it, still open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        met: list[socket.socket] = []

        def meet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"hello\n")
                met.append(connection)

        thread = threading.Thread(target=meet, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], met
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in met:
                connection.close()


async def test_a_connection_that_setup_left_behind_ends_with_setup(machines_network: None, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with listening() as (port, met):
        box = await LocalProvider(directory=tmp_path / "place").open(asked(OPEN), ignore)
        hold = f"exec 3<>/dev/tcp/127.0.0.1/{port}; head -n 1 <&3 > got; exec sleep 300"
        await shell(box, f"setsid nohup bash -c '{hold}' >/dev/null 2>&1 & until [ -s got ]; do sleep 0.05; done")
        assert len(met) == 1
        await box.set_network(CLOSED)
        met[0].settimeout(HANG_GUARD)
        assert await asyncio.to_thread(met[0].recv, 1) == b""
        assert (await box.exec(f"exec 3<>/dev/tcp/127.0.0.1/{port}", timeout=30)).exit_code != 0
        await box.close()


@pytest.mark.parametrize(
    ("before", "after", "ended"),
    [
        (OPEN, CLOSED, True),
        (OPEN, Network(mode="hosts", hosts=("docs.example.org",)), True),
        (CLOSED, OPEN, False),
        (CLOSED, CLOSED, False),
    ],
    ids=str,
)
async def test_at_e2b_processes_end_when_less_is_to_be_reachable(
    tmp_path: Path, before: Network, after: Network, ended: bool
) -> None:
    """E2B lets connections go on that exist when its rules change, so those who have them have to go."""
    with world_of("e2b", tmp_path) as world:
        assert world.server
        box = await world.provider.open(asked(before), ignore)
        already = len(world.server.requests)
        await box.set_network(after)
        routes = [request.route for request in world.server.requests[already:]]
        assert routes == (["network", "start"] if ended else ["network"])
        if ended:
            assert "authorization" in world.server.requests[-1].headers  # as root
        await box.close()


class Acting:
    """An engine that does what a test says."""

    def __init__(self, act: Callable[[Sandbox], Awaitable[object]]) -> None:
        self._act = act

    requirements = EngineRequirements()

    async def prepare(self) -> None:
        pass

    async def run(self, task: Task, box: Sandbox, observe: Observer) -> Outcome:
        await self._act(box)
        return Outcome(status="done", reason="", summary="done", usage=Usage())


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSource(RunInputs):
    """Inputs of a run that has nothing but a repository."""

    repository: Source

    async def source(self) -> Source:
        return self.repository


@pytest.fixture
async def source(tmp_path: Path) -> Source:
    (tmp_path / "scratch").mkdir()
    return await open_checkout(new_repo(tmp_path / "repo", EVERY_KIND).path, history=1, scratch=tmp_path / "scratch")


async def one_run(
    world: World,
    source: Source,
    act: Callable[[Sandbox], Awaitable[object]],
    *,
    request: SandboxRequest | None = None,
    setup: str = "true",
    check: str = "true",
) -> Report:
    prompt = PromptParts(instructions="", prompt="do it", network=CLOSED, tools=("bash",), limits=Limits())
    plan = RunPlan(
        agent="proof",
        instruction="",
        model="none",
        spec="",
        prompt=prompt,
        request=replace(request or asked(OPEN), agent_network=CLOSED),
        setup=(HostCommand(kind="setup", name="setup", run=setup, timeout=30.0),),
        checks=(HostCommand(kind="check", name="check", run=check, timeout=30.0),),
    )
    services = RunServices(
        provider=world.provider,
        engine=Acting(act),
        inputs=GivenSource(trusted_folder=Path(), name="proof", variables={}, repository=source),
        files={},
        holds_secret=lambda data: False,
        signal=lambda: 0,
    )
    return (await run_agent(plan, services, ignore)).report


async def test_setup_has_its_network_and_the_agent_and_the_checks_have_theirs(
    machines_network: None, tmp_path: Path, source: Source
) -> None:
    with world_of("local", tmp_path) as world, listening() as (port, met):
        reach = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        codes = []

        async def act(box: Sandbox) -> None:
            codes.append((await box.exec(reach, timeout=30)).exit_code)

        report = await one_run(world, source, act, setup=reach, check=f"! ({reach})")
        assert [command.exit_code for command in (*report.setup, *report.checks)] == [0, 0]
        assert codes != [0]
        assert len(met) == 2  # setup of both sandboxes
        assert report.sandbox.network == {"setup": "open", "agent": "none"}
        assert report.verification
        assert report.verification.sandbox
        assert report.verification.sandbox.network == {"setup": "open", "checks": "none"}


async def test_at_e2b_the_network_of_each_phase_is_asked_for_in_time(tmp_path: Path, source: Source) -> None:
    with world_of("e2b", tmp_path) as world:
        assert world.server
        moments: list[int] = []

        async def act(box: Sandbox) -> None:
            assert world.server
            moments.append(len(world.server.requests))

        report = await one_run(world, source, act)
        requests = world.server.requests
        assert requests[0].route == "create"
        assert requests[0].json["network"] == {"allowPublicTraffic": False}
        switches = [place for place, request in enumerate(requests) if request.route == "network"]
        assert len(switches) == 2  # the second one is the clean sandbox's
        assert switches[0] < moments[0]
        for place in switches:
            assert requests[place].json == {"denyOut": ["0.0.0.0/0", "::/0"], "dnsServers": []}
        assert report.sandbox.network == {"setup": "open", "agent": "none"}
        assert requests[-1].route == "kill"


# The end


async def give_up(box: Sandbox) -> None:
    raise FlueError("it gave up")


async def break_down(box: Sandbox) -> None:
    raise ZeroDivisionError


async def leave_a_process(box: Sandbox) -> None:
    await box.exec(
        "setsid nohup sleep 300 >/dev/null 2>&1 & (trap '' TERM HUP INT; sleep 300) & echo x > ~/repo/new", timeout=30
    )


async def delete_everything(box: Sandbox) -> None:
    await box.exec("rm -rf ~/repo", timeout=30)


async def close_it(box: Sandbox) -> None:
    await box.close()


async def lose_it(box: Sandbox) -> None:
    raise SandboxLost("gone")


ENDINGS: dict[str, tuple[Callable[[Sandbox], Awaitable[object]], dict[str, str], str]] = {
    "done": (leave_a_process, {}, "success"),
    "a failing check": (leave_a_process, {"check": "false"}, "failed"),
    "a failing setup": (leave_a_process, {"setup": "sleep 300 & false"}, "failed"),
    "given up": (give_up, {}, "failed"),
    "a bug": (break_down, {}, "failed"),
    "changes that cannot be collected": (delete_everything, {}, "failed"),
    "a sandbox that was closed": (close_it, {}, "failed"),
    "a sandbox that was lost": (lose_it, {}, "failed"),
}


@pytest.mark.family(3)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_no_sandbox_and_no_process_outlives_its_run(world: World, source: Source, ending: str) -> None:
    act, commands, conclusion = ENDINGS[ending]
    report = await one_run(world, source, act, **commands)  # type: ignore[arg-type]
    assert report.conclusion == conclusion
    assert world.nothing_is_left()


async def test_no_sandbox_outlives_a_run_that_was_cancelled(world: World, source: Source) -> None:
    begun = asyncio.Event()

    async def act(box: Sandbox) -> None:
        begun.set()
        await box.exec("(trap '' TERM; sleep 300) & sleep 300", timeout=300)

    running = asyncio.create_task(one_run(world, source, act))
    await asyncio.wait_for(begun.wait(), HANG_GUARD)
    running.cancel()
    report = await asyncio.wait_for(running, HANG_GUARD)
    assert report.conclusion == "cancelled"
    assert world.nothing_is_left()


async def test_cleaning_up_after_one_run_leaves_every_other_alone(world: World) -> None:
    """Also runs whose names begin or end alike, a sandbox of the same owner that is not ours, and our own next one."""
    runs = ["17", "1", "171", "017", "17 ", "17&run=1", "*", ""]
    boxes = {run: await world.provider.open(asked(run=run), ignore) for run in runs}
    twin = await world.provider.open(asked(run="17"), ignore)
    foreign = await world.provider.open(replace(asked(), metadata={"run": "17"}), ignore)
    try:
        found = await world.provider.list({"flue-ci": "1", "run": "17"})
        assert {name for name, _ in found} == {boxes["17"].info.id, twin.info.id}
        for name, _ in found:
            assert await world.provider.kill(name)
        for run, box in boxes.items():
            if run == "17":
                with pytest.raises(SandboxLost):
                    await asyncio.wait_for(box.exec("true", timeout=30), HANG_GUARD)
            else:
                assert await shell(box, "echo alive") == "alive\n", run
        assert await shell(foreign, "echo alive") == "alive\n"
    finally:
        await asyncio.gather(*(box.close() for box in [*boxes.values(), twin, foreign]))
    assert world.nothing_is_left()


@pytest.mark.family(1)
async def test_two_runs_at_once_keep_to_their_own_sandboxes(world: World, source: Source, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    same = await open_checkout(tmp_path / "repo", history=1, scratch=tmp_path / "another")
    seen: dict[str, str] = {}

    async def first(box: Sandbox) -> None:
        await box.write("mark", b"first")
        seen["first"] = box.info.id
        raise FlueError("this one ends early")

    async def second(box: Sandbox) -> None:
        await box.write("mark", b"second")
        seen["second"] = box.info.id
        async with asyncio.timeout(HANG_GUARD):
            await ended.wait()
        assert await box.read("mark") == b"second"
        assert [name for name, _ in await world.provider.list({"flue-ci": "1"})] == [box.info.id]

    ended = asyncio.Event()
    other = asyncio.create_task(one_run(world, same, second, request=asked(OPEN, run="second")))
    report = await one_run(world, source, first, request=asked(OPEN, run="first"))
    ended.set()
    assert (report.conclusion, (await other).conclusion) == ("failed", "no-op")
    assert seen["first"] != seen["second"]
    assert world.nothing_is_left()


async def test_a_note_that_somebody_else_wrote_leads_to_nobodys_process(tmp_path: Path) -> None:
    """Sandboxes of this machine are found by directories in a place where others can write, too."""
    place = tmp_path / "place"
    place.mkdir(mode=0o777)
    provider = LocalProvider(directory=place)
    forged = place / f"{state.PREFIX}forged"
    forged.mkdir(mode=0o700)
    state.write_note(forged, {"flue-ci": "1", "run": "17"}, [os.getpid()], isolation=True)
    forged.chmod(0o755)  # ours alone are for nobody else
    link = place / f"{state.PREFIX}linked"
    link.symlink_to(forged)
    assert await provider.list({"flue-ci": "1", "run": "17"}) == []
    for name in ("forged", "linked", "../forged", ""):
        assert not await provider.kill(name)
    assert forged.exists()

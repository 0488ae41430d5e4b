"""What goes wrong at E2B, and what comes of it: a sandbox after all, or an error with what to do, and nothing left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import Notice, ProgressEvent
from flue_ci.core.ports import HeaderRule, Network, SandboxRequest, User
from flue_ci.core.retry import RetryPolicy
from flue_ci.sandboxes.e2b.command import classify_exit
from flue_ci.sandboxes.e2b.errors import Timeouts, VendorError, vendor_call
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.e2b.sandbox import E2BSandbox
from tests.support import e2b_control
from tests.support.e2b_server import E2BServer

FAST = Timeouts(
    pace=0.0,
    start=RetryPolicy(timeout=20, first_wait=0.05, max_wait=0.2),
    repeat=RetryPolicy(attempts=3, first_wait=0.02),
    reconnect=RetryPolicy(attempts=4, first_wait=0.02),
    kill=RetryPolicy(timeout=4, first_wait=0.02, growth=1),
)
# For what never works: a few attempts are enough.
HASTY = replace(
    FAST,
    start=RetryPolicy(attempts=3, first_wait=0.05),
    kill=RetryPolicy(timeout=1, first_wait=0.1, growth=1),
)
REQUEST = SandboxRequest(env={}, metadata={"flue-ci": "1", "run_id": "17"}, network=Network())
HANG_GUARD = 60
HAS_ROOT = os.geteuid() == 0  # otherwise the test server has no machine with another user
LOGINS = [True, False][: 1 + HAS_ROOT]


@pytest.fixture
def server() -> Iterator[E2BServer]:
    with E2BServer() as server:
        yield server
        assert server.processes() == []


@pytest.fixture
async def box(server: E2BServer) -> AsyncIterator[E2BSandbox]:
    box = await provider_of(server).open(REQUEST, lambda event: None)
    yield box
    await box.close()
    assert server.sandboxes == {}


def provider_of(server: E2BServer, timeouts: Timeouts = FAST, api_key: str = "") -> E2BProvider:
    return E2BProvider(api_key=api_key or server.api_key, api_url=server.url, sandbox_url=server.url, timeouts=timeouts)


class Watcher:
    """Collects what people are told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def __call__(self, event: ProgressEvent) -> None:
        assert isinstance(event, Notice)
        self.notices.append(event.text)


async def refused(provider: E2BProvider, request: SandboxRequest = REQUEST) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        await asyncio.wait_for(provider.open(request, lambda event: None), HANG_GUARD)
    return caught.value


def keys(server: E2BServer) -> set[str]:
    return {create.headers["idempotency-key"] for create in server.recorded("create")}


# Starting: what is final


async def test_a_wrong_key_is_said_at_once(server: E2BServer) -> None:
    error = await refused(provider_of(server, api_key="e2b_wrong_and_secret"))
    assert "did not accept the API key" in str(error)
    assert "E2B_API_KEY" in error.hint
    assert "e2b_wrong_and_secret" not in f"{error} {error.hint}"
    assert len(server.recorded("create")) == 1


async def test_an_unknown_template_is_said_at_once(server: E2BServer) -> None:
    request = SandboxRequest(template="no-such", env={}, metadata={"flue-ci": "1"}, network=Network())
    error = await refused(provider_of(server), request)
    assert "'no-such'" in str(error)
    assert "sandbox.template" in error.hint
    assert "e2b template build" in error.hint
    assert len(server.recorded("create")) == 1


async def test_a_life_over_the_plan_is_said_at_once() -> None:
    with E2BServer(max_timeout=60) as server:
        error = await refused(provider_of(server))
        assert "lifetime" in str(error)
        assert "sandbox.timeout" in error.hint
        assert len(server.recorded("create")) == 1


async def test_a_forbidden_request_is_said_at_once(server: E2BServer) -> None:
    server.faults.add("create", status=403, message="team is blocked", times=None)
    error = await refused(provider_of(server))
    assert "team is blocked" in str(error)
    assert error.hint
    assert len(server.recorded("create")) == 1


async def test_a_refused_network_is_said_at_once(server: E2BServer) -> None:
    server.faults.add("create", status=400, message="invalid network", times=None)
    error = await refused(provider_of(server))
    assert "invalid network" in str(error)
    assert "sandbox" in error.hint


async def test_no_secret_is_in_an_error_even_when_the_server_repeats_it(server: E2BServer) -> None:
    rule = HeaderRule(host="a.example.com", header="Authorization", value="Bearer of-the-host")
    server.faults.add("create", status=400, message=f"bad rule 'Bearer of-the-host' for {server.api_key}", times=None)
    request = SandboxRequest(env={}, metadata={"flue-ci": "1"}, network=Network(inject=(rule,)))
    error = await refused(provider_of(server), request)
    assert "bad rule" in str(error)
    assert "of-the-host" not in f"{error} {error.hint}"
    assert server.api_key not in f"{error} {error.hint}"


# Starting: what passes

PASSING: list[dict[str, Any]] = [
    {"status": 429, "times": 6},
    {"status": 503, "times": 6},
    {"status": 500, "times": 2},
    {"status": 500, "times": 2, "body": b"<html>Bad day</html>"},
    {"status": 502, "times": 6, "body": b"<html>Bad gateway</html>"},
    {"status": 429, "times": 6, "body": b"slow down"},
    {"drop": "before", "times": 2},
    {"drop": "during", "times": 2},
    {"drop": "after", "times": 2},
]


@pytest.mark.family(4)
@pytest.mark.parametrize("fault", PASSING, ids=str)
async def test_a_start_that_fails_for_a_while_gives_one_sandbox_in_the_end(
    server: E2BServer, fault: dict[str, Any]
) -> None:
    server.faults.add("create", **fault)
    watcher = Watcher()
    box = await asyncio.wait_for(provider_of(server).open(REQUEST, watcher), HANG_GUARD)
    assert list(server.sandboxes) == [box.info.id]
    assert len(keys(server)) == 1, "all attempts are one request"
    assert watcher.notices
    assert all("trying again" in notice for notice in watcher.notices)
    assert (await box.exec("echo hello", timeout=20)).output == b"hello\n"
    await box.close()
    assert server.sandboxes == {}


async def test_the_wait_that_the_server_asks_for_is_kept(server: E2BServer) -> None:
    server.faults.add("create", status=429, retry_after=1)
    box = await provider_of(server).open(REQUEST, lambda event: None)
    await box.close()
    first, second = server.recorded("create")
    assert second.at - first.at >= 0.95


@pytest.mark.parametrize(
    ("fault", "word"),
    [({"status": 429}, "concurrency"), ({"status": 503}, "status.e2b.dev"), ({"drop": "before"}, "E2B_API_URL")],
    ids=str,
)
async def test_patience_ends_with_what_to_do(server: E2BServer, fault: dict[str, Any], word: str) -> None:
    server.faults.add("create", times=None, **fault)
    error = await refused(provider_of(server, HASTY))
    assert "no sandbox within" in str(error)
    assert word in error.hint
    assert server.sandboxes == {}


@pytest.mark.long
async def test_a_server_that_is_not_there_is_an_error_with_what_to_do() -> None:
    provider = E2BProvider(
        api_key="e2b_x", api_url="http://127.0.0.1:9", sandbox_url="http://127.0.0.1:9", timeouts=HASTY
    )
    error = await refused(provider)
    assert "E2B_API_URL" in error.hint


async def test_a_list_that_cannot_be_had_is_an_error_with_what_to_do(server: E2BServer) -> None:
    server.faults.add("list", status=500, times=None)
    with pytest.raises(SandboxError, match="cannot be reached") as error:
        await provider_of(server).list({"flue-ci": "1"})
    assert "E2B_API_URL" in error.value.hint


async def test_a_sandbox_whose_making_was_never_answered_is_found_and_killed(server: E2BServer) -> None:
    server.faults.add("create", drop="after", times=None)
    await refused(provider_of(server, HASTY))
    assert len(server.recorded("create")) > 1
    assert len(server.recorded("kill")) == 1
    assert server.sandboxes == {}


@pytest.mark.parametrize("drop", ["during", "after"])
async def test_where_keys_are_ignored_a_lost_answer_leaves_no_second_sandbox(server: E2BServer, drop: str) -> None:
    server.ignore_idempotency_keys()
    server.faults.add("create", drop=drop, times=2)
    box = await asyncio.wait_for(provider_of(server).open(REQUEST, lambda event: None), HANG_GUARD)
    assert list(server.sandboxes) == [box.info.id]
    assert len(server.recorded("kill")) == 2
    await box.close()


async def test_an_api_without_the_route_of_the_sdk_is_named(server: E2BServer) -> None:
    server.faults.add("create", status=400, message="method not allowed", times=None)
    error = await refused(provider_of(server))
    assert "older than the SDK" in str(error)
    assert "E2B_API_URL" in error.hint


async def test_a_sandbox_that_dies_at_once_is_replaced_by_another(server: E2BServer) -> None:
    server.faults.add("start", kill=True)
    watcher = Watcher()
    box = await asyncio.wait_for(provider_of(server).open(REQUEST, watcher), HANG_GUARD)
    assert list(server.sandboxes) == [box.info.id]
    assert len(keys(server)) == 2
    assert any("starting another" in notice for notice in watcher.notices)
    await box.close()


async def test_a_sandbox_that_always_dies_at_once_is_lost(server: E2BServer) -> None:
    server.faults.add("start", kill=True, times=None)
    assert isinstance(await refused(provider_of(server)), SandboxLost)
    assert len(server.recorded("create")) == 2
    assert server.sandboxes == {}


# Starting: cancelled


async def cancelled(task: asyncio.Task[Any], seconds: float) -> None:
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, HANG_GUARD)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.1])
async def test_a_start_cancelled_at_any_moment_leaves_nothing(server: E2BServer, seconds: float) -> None:
    server.faults.add("create", delay=0.3)
    await cancelled(asyncio.create_task(provider_of(server).open(REQUEST, lambda event: None)), seconds)
    assert server.sandboxes == {}


async def test_a_slow_start_that_is_cancelled_is_taken_back_when_its_answer_comes(server: E2BServer) -> None:
    server.faults.add("create", delay=1.5)
    await cancelled(asyncio.create_task(provider_of(server).open(REQUEST, lambda event: None)), 0.3)
    assert len(server.recorded("create")) == 1
    assert server.sandboxes == {}


async def test_a_start_cancelled_while_it_waits_asks_no_more(server: E2BServer) -> None:
    server.faults.add("create", status=500, times=None)
    timeouts = replace(FAST, start=RetryPolicy(first_wait=30))
    await cancelled(asyncio.create_task(provider_of(server, timeouts).open(REQUEST, lambda event: None)), 0.5)
    assert len(server.recorded("create")) == 1


async def test_what_comes_into_being_too_late_to_be_taken_back_ends_by_itself(server: E2BServer) -> None:
    server.faults.add("create", delay=1.5)
    timeouts = replace(FAST, ttl=1, kill=RetryPolicy(timeout=0.5, first_wait=0.02))
    await cancelled(asyncio.create_task(provider_of(server, timeouts).open(REQUEST, lambda event: None)), 0.1)
    async with asyncio.timeout(HANG_GUARD):
        while not server.sandboxes:
            await asyncio.sleep(0.02)
        while server.sandboxes:
            await asyncio.sleep(0.05)


async def test_a_start_cancelled_while_it_looks_around_leaves_nothing(server: E2BServer) -> None:
    server.faults.add("start", delay=5)
    await cancelled(asyncio.create_task(provider_of(server).open(REQUEST, lambda event: None)), 0.5)
    assert server.sandboxes == {}


# Commands


async def test_a_sandbox_that_goes_away_during_a_command_is_lost_soon(server: E2BServer, box: E2BSandbox) -> None:
    task = asyncio.create_task(box.exec("echo started; sleep 300", timeout=300))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.end_sandbox, box.info.id)
    with pytest.raises(SandboxLost, match=box.info.id) as lost:
        await asyncio.wait_for(task, 20)
    assert lost.value.hint
    for again in (box.exec("true", timeout=5), box.read("x"), box.write("x", b""), box.set_network(Network())):
        with pytest.raises(SandboxLost):
            await again


async def test_a_command_goes_on_when_only_its_stream_is_cut(server: E2BServer, box: E2BSandbox) -> None:
    server.faults.add("start", drop="during", after_bytes=200)
    command = "echo once >> runs; for i in 1 2 3 4 5 6 7 8; do echo beat $i; sleep 0.25; done; echo the end; exit 7"
    result = await asyncio.wait_for(box.exec(command, timeout=60), HANG_GUARD)
    assert result.exit_code == 7
    assert result.output.endswith(b"the end\n")
    assert b"output may be missing" in result.output
    assert await box.read("runs") == b"once\n"
    assert len(server.recorded("attach")) >= 1


async def test_a_command_whose_stream_cannot_be_taken_up_is_lost_and_not_run_again(
    server: E2BServer, box: E2BSandbox
) -> None:
    server.faults.add("start", drop="during", after_bytes=200)
    server.faults.add("attach", status=404, message="process not found", times=None)
    command = "echo once >> runs; for i in 1 2 3 4; do echo beat $i; sleep 0.2; done"
    with pytest.raises(SandboxLost, match="connection to a running command was lost"):
        await asyncio.wait_for(box.exec(command, timeout=60), HANG_GUARD)
    assert await box.read("runs") == b"once\n"


CLOSED = {"status": 502, "message": "The sandbox is running but port is not open"}


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("fault", [CLOSED, {"drop": "before"}, {"status": 503}], ids=str)
async def test_a_command_that_did_not_start_is_sent_again(
    server: E2BServer, box: E2BSandbox, fault: dict[str, Any], login: bool
) -> None:
    server.faults.add("start", text=b"runs", **fault)
    result = await asyncio.wait_for(box.exec("echo once >> runs; echo hello", timeout=30, login=login), HANG_GUARD)
    assert (result.exit_code, result.output) == (0, b"hello\n")
    assert await box.read("runs") == b"once\n"


@pytest.mark.parametrize("login", LOGINS)
async def test_a_command_that_started_without_an_answer_is_found_and_taken_up(
    server: E2BServer, box: E2BSandbox, login: bool
) -> None:
    server.faults.add("start", text=b"runs", drop="during")
    command = "echo once >> runs; for i in 1 2 3 4 5 6 7 8; do sleep 0.25; done; echo the end; exit 7"
    result = await asyncio.wait_for(box.exec(command, timeout=60, login=login), HANG_GUARD)
    assert (result.exit_code, result.known) == (7, True)
    assert result.output.endswith(b"the end\n")
    assert await box.read("runs") == b"once\n"
    assert server.recorded("processes")


async def test_a_command_that_ended_without_an_answer_is_lost_and_not_run_again(
    server: E2BServer, box: E2BSandbox
) -> None:
    server.faults.add("start", text=b"runs", drop="after")
    with pytest.raises(SandboxLost, match="connection was lost as a command started"):
        await asyncio.wait_for(box.exec("echo once >> runs", timeout=30), HANG_GUARD)
    assert await box.read("runs") == b"once\n"


@pytest.mark.skipif(not HAS_ROOT, reason="a machine with two users needs root")
async def test_a_check_that_ended_without_an_answer_has_the_exit_code_that_root_wrote_down(
    server: E2BServer, box: E2BSandbox
) -> None:
    server.faults.add("start", text=b"runs", drop="after")
    result = await asyncio.wait_for(box.exec("echo once >> runs; exit 5", timeout=30, login=False), HANG_GUARD)
    assert (result.exit_code, result.known) == (5, True)
    assert await box.read("runs") == b"once\n"


@pytest.mark.parametrize("is_deaf", [True, False])
async def test_a_silent_stream_is_renewed_and_nothing_is_lost(server: E2BServer, is_deaf: bool) -> None:
    box = await provider_of(server, replace(FAST, silence=0.3)).open(REQUEST, lambda event: None)
    if is_deaf:  # of the stream nothing comes any more, and nobody says so
        server.faults.add("start", text=b"pause", mute=True)
    command = "pause=1; sleep 1.5; echo one; echo two; exit 3"
    result = await asyncio.wait_for(box.exec(command, timeout=30), HANG_GUARD)
    assert (result.exit_code, result.output) == (3, b"one\ntwo\n")
    assert server.recorded("attach")
    await box.close()


@pytest.mark.skipif(not HAS_ROOT, reason="a machine with two users needs root")
async def test_a_daemon_that_forgot_the_user_and_the_environment_runs_commands_as_before(server: E2BServer) -> None:
    request = replace(REQUEST, env={"WORD": "kept"})
    box = await provider_of(server).open(request, lambda event: None)
    server.restart_daemon(box.info.id)
    command = 'echo "$WORD $(id -un)"'
    for login in LOGINS:
        assert (await box.exec(command, timeout=30, login=login)).output == b"kept user\n"
    await box.write("file", b"x" * 200_000)
    assert (await box.exec("stat -c %U file", timeout=30)).output == b"user\n"
    with pytest.raises(PermissionError):
        await box.read("/etc/shadow")
    await box.close()


async def test_a_command_that_was_turned_away_is_sent_again(server: E2BServer, box: E2BSandbox) -> None:
    server.faults.add("start", status=429, times=2)
    assert (await box.exec("echo hello", timeout=20)).output == b"hello\n"


@pytest.mark.parametrize("code", [0, 3])
async def test_a_stream_without_an_end_does_not_hide_the_exit_code(
    server: E2BServer, box: E2BSandbox, code: int
) -> None:
    server.faults.add("start", no_end=True)
    result = await asyncio.wait_for(box.exec(f"echo hello; exit {code}", timeout=30), HANG_GUARD)
    assert (result.exit_code, result.output) == (code, b"hello\n")


async def test_an_unanswered_token_is_a_lost_sandbox_without_the_token(server: E2BServer, box: E2BSandbox) -> None:
    token = server.sandboxes[box.info.id].token
    server.sandboxes[box.info.id].token = "another"
    for call in (box.exec("true", timeout=20), box.read("x"), box.write("x", b"y")):
        with pytest.raises(SandboxLost) as lost:
            await asyncio.wait_for(call, HANG_GUARD)
        assert token not in str(lost.value)


# Files

TROUBLE: list[dict[str, Any]] = [
    {"drop": "before"},
    {"drop": "during"},
    {"drop": "after"},
    {"status": 500},
    {"status": 500, "body": b"<html>Bad day</html>"},
    {"status": 429},
    {"status": 503},
]


@pytest.mark.family(2)
@pytest.mark.parametrize("fault", TROUBLE, ids=str)
async def test_reading_survives_trouble(server: E2BServer, box: E2BSandbox, fault: dict[str, Any]) -> None:
    data = bytes(range(256)) * 4000
    await box.write("data", data)
    server.faults.add("start", times=2, **fault)
    assert await asyncio.wait_for(box.read("data", limit=2_000_000), HANG_GUARD) == data
    for route in ("read", "stat"):
        server.faults.add(route, times=2, **fault)
        assert await asyncio.wait_for(box.read("data", limit=2_000_000, user="root"), HANG_GUARD) == data


@pytest.mark.family(2)
@pytest.mark.parametrize("fault", TROUBLE, ids=str)
async def test_writing_survives_trouble(
    server: E2BServer, box: E2BSandbox, fault: dict[str, Any], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 4000)
    server.faults.add("write", times=2, **fault)
    await asyncio.wait_for(box.write("one", source), HANG_GUARD)
    server.faults.add("start", times=2, **fault)
    await asyncio.wait_for(box.write("two", b"small"), HANG_GUARD)
    server.faults.add("start", times=2, **fault)
    await asyncio.wait_for(box.write("three", b"x" * 200_000), HANG_GUARD)
    server.faults.add("write", times=2, **fault)
    await asyncio.wait_for(box.write("four", b"of root", user="root"), HANG_GUARD)
    assert await box.read("one") == source.read_bytes()
    assert await box.read("two") == b"small"
    assert await box.read("three") == b"x" * 200_000
    assert await box.read("four", user="root") == b"of root"
    assert (await box.exec("ls -A /tmp", timeout=20)).output == b""


async def test_a_link_to_nowhere_is_no_file(box: E2BSandbox) -> None:
    await box.exec("ln -s nowhere link; ln -s loop loop", timeout=20)
    for user in ("user", "root"):
        for name in ("link", "loop"):
            with pytest.raises(FileNotFoundError):
                await box.read(f"{box.info.home}/{name}", limit=10, user=user)  # type: ignore[arg-type]


async def test_trouble_that_does_not_pass_is_a_lost_sandbox(server: E2BServer, box: E2BSandbox) -> None:
    for route, call in (
        ("read", lambda: box.read("x", user="root")),
        ("write", lambda: box.write("x", b"y", user="root")),
        ("start", lambda: box.read("x")),
        ("start", lambda: box.write("x", b"y")),
        ("network", lambda: box.set_network(Network())),
    ):
        server.faults.add(route, status=500, times=None)
        with pytest.raises(SandboxLost):
            await asyncio.wait_for(call(), HANG_GUARD)


@pytest.mark.parametrize("user", ["user", "root"])
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (507, "not enough disk space available"),
        (507, "not enough inodes available: open /home/user/x: no space left on device"),
        (500, "error writing file: write /home/user/x: disk quota exceeded"),
    ],
)
async def test_a_full_disk_is_said_at_once_and_the_sandbox_lives(
    server: E2BServer, box: E2BSandbox, user: User, status: int, message: str
) -> None:
    server.faults.add("write", status=status, message=message, times=1)
    with pytest.raises(PermissionError, match="No space left on device"):
        await box.write("x", b"y" * 200_000, user=user)
    assert len(server.recorded("write")) == 1
    await box.write("x", b"y" * 200_000, user=user)


async def test_a_long_command_on_a_full_disk_fails_and_says_why(server: E2BServer, box: E2BSandbox) -> None:
    server.faults.add("write", status=507, message="not enough disk space available", times=1)
    result = await box.exec("true " + "x" * 300_000, timeout=20)
    assert (result.exit_code, result.output) == (126, b"[the command was not started: No space left on device]\n")


@pytest.mark.parametrize("version", [None, ""])
async def test_a_sandbox_without_a_version_is_a_clear_error(
    server: E2BServer, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(e2b_control, "ENVD_VERSION", version)
    error = await refused(provider_of(server))
    assert "which daemon the sandbox has (envdVersion)" in str(error)
    assert "E2B_API_URL" in error.hint
    assert len(server.recorded("create")) == 1
    if version is not None:  # otherwise the list is not read either, and E2B ends it
        assert server.sandboxes == {}


async def test_a_sandbox_that_goes_away_during_an_upload_is_lost(
    server: E2BServer, box: E2BSandbox, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    source.write_bytes(b"x" * 20_000_000)
    server.faults.add("write", kill=True, after_bytes=5_000_000)
    with pytest.raises(SandboxLost, match=box.info.id):
        await asyncio.wait_for(box.write("large", source), HANG_GUARD)


# Network and end


@pytest.mark.family(3)
@pytest.mark.parametrize("fault", [fault for fault in TROUBLE if fault.get("drop") != "during"], ids=str)
async def test_switching_the_network_survives_trouble(
    server: E2BServer, box: E2BSandbox, fault: dict[str, Any]
) -> None:
    server.faults.add("network", times=1, **fault)
    await asyncio.wait_for(box.set_network(Network(mode="hosts", hosts=("docs.example.org",))), HANG_GUARD)
    assert server.sandboxes[box.info.id].network["allowOut"] == ["docs.example.org"]


@pytest.mark.parametrize(
    "fault", [{"drop": "before"}, {"drop": "after"}, {"status": 500}, {"status": 503}, {"status": 429}], ids=str
)
async def test_a_kill_is_repeated_until_it_worked(server: E2BServer, fault: dict[str, Any]) -> None:
    watcher = Watcher()
    box = await provider_of(server).open(REQUEST, watcher)
    server.faults.add("kill", times=3, **fault)
    await asyncio.wait_for(box.close(), 20)
    assert server.sandboxes == {}
    assert watcher.notices == []


@pytest.mark.parametrize("fault", [{"delay": 30.0}, {"status": 500}, {"status": 401}], ids=str)
async def test_a_kill_that_never_works_ends_in_time_and_is_told(server: E2BServer, fault: dict[str, Any]) -> None:
    watcher = Watcher()
    box = await provider_of(server, HASTY).open(REQUEST, watcher)
    server.faults.add("kill", times=None, **fault)
    await asyncio.wait_for(box.close(), 25)
    assert any("could not make sure" in notice and box.info.id in notice for notice in watcher.notices)
    with pytest.raises(SandboxLost):
        await box.exec("true", timeout=5)


class Stubborn:
    """A vendor's sandbox whose kill swallows a cancellation and fails, as the SDK does while it reads an answer."""

    sandbox_id = "stubborn"

    def __init__(self) -> None:
        self.kills = 0

    async def kill(self, **options: object) -> bool:
        self.kills += 1
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        raise RuntimeError("500: bad day")


async def test_a_kill_that_swallows_every_deadline_ends_in_time_and_is_told() -> None:
    watcher, vendor = Watcher(), Stubborn()
    timeouts = replace(FAST, kill=RetryPolicy(timeout=0.2, first_wait=0.01))
    box = E2BSandbox(vendor, REQUEST, timeouts=timeouts, observe=watcher, secrets=())
    await asyncio.wait_for(box.close(), HANG_GUARD)
    assert vendor.kills >= 1
    assert ["bad day" in notice for notice in watcher.notices] == [True]


@pytest.mark.parametrize("failure", [None, RuntimeError("500")], ids=["answer", "failure"])
async def test_a_cancellation_that_the_sdk_swallows_is_not_lost(failure: Exception | None) -> None:
    async def call() -> None:
        async with vendor_call():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            if failure:
                raise failure

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, HANG_GUARD)


async def test_a_call_over_its_time_is_a_failure_that_says_so() -> None:
    with pytest.raises(VendorError, match="no answer in time"):
        async with vendor_call(0.01):
            await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("exit_code", "seconds", "expected"),
    [
        (0, 1, (0, False)),
        (3, 99, (3, False)),
        (124, 1, (124, False)),
        (124, 10, (124, True)),
        (137, 15, (124, True)),
        (137, 1, (137, False)),
        (-1, 25, (124, True)),
        (-1, 1, (137, False)),
        (None, 99, (137, False)),
    ],
)
def test_exit_codes_are_those_of_the_contract(
    exit_code: int | None, seconds: float, expected: tuple[int, bool]
) -> None:
    assert classify_exit(exit_code, seconds=seconds, timeout=10) == expected


async def test_a_sandbox_that_is_already_gone_is_closed_without_a_word(server: E2BServer) -> None:
    watcher = Watcher()
    box = await provider_of(server).open(REQUEST, watcher)
    await asyncio.to_thread(server.end_sandbox, box.info.id)
    await box.close()
    assert watcher.notices == []
    assert len(server.recorded("kill")) == 1


async def test_a_refused_heartbeat_is_told_and_the_command_goes_on(server: E2BServer) -> None:
    server.faults.add("timeout", status=400, message="Timeout cannot be greater than 1 hours", times=None)
    watcher = Watcher()
    box = await provider_of(server, Timeouts(ttl=5, heartbeat=0.2)).open(REQUEST, watcher)
    assert (await box.exec("sleep 0.5; echo done", timeout=20)).output == b"done\n"
    await box.close()
    assert len(server.recorded("timeout")) == 1
    assert any("greater than 1 hours" in notice for notice in watcher.notices)

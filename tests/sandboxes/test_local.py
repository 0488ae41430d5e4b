"""The local sandbox keeps the contract, with bubblewrap and without isolation, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import Notice, ProgressEvent
from flue_ci.core.ports import HeaderRule, Network, SandboxProvider, SandboxRequest
from flue_ci.sandboxes.local import state
from flue_ci.sandboxes.local.provider import LocalProvider, LocalSandbox
from flue_ci.settings import Settings
from flue_ci.testing.sandbox_commands import HANG_SECONDS, REQUEST, run, text
from flue_ci.testing.sandbox_contract import SandboxContract

both = pytest.mark.parametrize("isolation", [True, False], ids=["isolated", "plain"])


def quiet(_: ProgressEvent) -> None:
    pass


class TestIsolated(SandboxContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> SandboxProvider:
        return LocalProvider(directory=tmp_path)


class TestWithoutIsolation(SandboxContract):
    root_is_apart = False
    host_is_apart = False  # that is what the flag is called

    @pytest.fixture
    def provider(self, tmp_path: Path) -> SandboxProvider:
        return LocalProvider(directory=tmp_path).without_isolation()


@pytest.fixture
async def box(tmp_path: Path, isolation: bool) -> AsyncIterator[LocalSandbox]:
    box = await LocalProvider(isolation, tmp_path).open(REQUEST, quiet)
    yield box
    await box.close()


def processes_with(word: str) -> list[int]:
    """Process ids on the host whose arguments have `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def disappears(word: str) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not processes_with(word):
            return True
        time.sleep(0.05)
    return False


SURVIVORS = """
(exec -a {word}-child sleep 300) &
setsid bash -c 'trap "" TERM HUP; (exec -a {word}-session sleep 300) & wait' &
( ( exec -a {word}-orphan sleep 300 & ) & )
(trap '' TERM HUP INT; exec -a {word}-stubborn sleep 300) &
sleep 0.2; echo ready
"""

# Commands


@both
async def test_a_survivor_that_goes_on_writing_neither_dies_nor_disturbs(box: LocalSandbox) -> None:
    await run(
        box, "( for i in 1 2 3 4 5 6 7 8; do echo noise || exit; sleep 0.1; done; touch finished ) & echo started"
    )
    result = await run(box, "until [ -e finished ]; do sleep 0.05; done; echo alone")
    assert result.output == b"alone\n"


@both
async def test_a_background_flood_does_not_keep_its_command_from_ending(box: LocalSandbox) -> None:
    result = await run(box, "yes & echo $! > pid; sleep 0.3; exit 4", timeout=60)
    assert (result.exit_code, result.timed_out) == (4, False)
    assert await text(box, "kill $(cat pid) && echo stopped") == "stopped"


@both
async def test_other_commands_answer_while_one_writes_100_megabytes(box: LocalSandbox) -> None:
    flood = asyncio.create_task(
        box.exec("head -c 100000000 /dev/zero; touch flooded", timeout=HANG_SECONDS, limit=1000)
    )
    assert await text(box, "echo quick") == "quick"
    result = await flood
    assert (result.exit_code, result.omitted_bytes) == (0, 100_000_000 - 1000)


@both
async def test_a_slow_listener_holds_the_command_back_instead_of_filling_memory(
    box: LocalSandbox, isolation: bool
) -> None:
    received = 0

    def slow(data: bytes) -> None:
        nonlocal received
        received += len(data)
        time.sleep(0.0005)

    await box.exec("head -c 60000000 /dev/zero", timeout=HANG_SECONDS, limit=10, on_output=slow)
    assert received == 60_000_000
    peak = await text(box, "grep VmHWM /proc/$PPID/status")
    assert int(peak.split()[1]) < 40_000  # kilobytes; a third of it is the interpreter


@both
async def test_a_failing_listener_ends_the_command_and_its_failure_is_the_callers(box: LocalSandbox) -> None:
    def broken(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await box.exec("echo $$ > pid; echo output; sleep 300", timeout=60, on_output=broken)
    gone = "for i in $(seq 100); do kill -0 $(cat pid) 2>/dev/null || { echo gone; break; }; sleep 0.05; done"
    assert await text(box, gone) == "gone"


@both
async def test_a_value_that_the_kernel_does_not_take_is_a_result(box: LocalSandbox) -> None:
    result = await box.exec("true", timeout=30, env={"HUGE": "x" * 200_000})
    assert result.exit_code == 126
    assert b"cannot start the command" in result.output


@both
async def test_a_command_with_a_zero_byte_is_a_result(box: LocalSandbox) -> None:
    assert (await box.exec("echo a\0b", timeout=30)).exit_code in {0, 126, 127}


@both
async def test_text_that_is_no_unicode_does_no_harm(box: LocalSandbox) -> None:
    assert await text(box, "echo 'a\ud800b' | wc -l") == "1"
    with pytest.raises(FileNotFoundError):
        await box.read("no\ud800where")


@both
async def test_pipes_break_in_commands_as_they_do_in_a_terminal(box: LocalSandbox) -> None:
    assert await text(box, "yes | head -n 1; echo ${PIPESTATUS[0]}") == "y\n141"


@both
async def test_a_login_shell_adds_nothing_to_the_path(box: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await text(box, "echo $PATH")
    assert ("/usr/bin" in path.split(":")) and "/games" not in path
    result = await box.exec("echo $PATH", timeout=30, env={"PATH": "/only:/bin"})
    assert result.output == b"/only:/bin\n"


@pytest.mark.parametrize("isolation", [True])
async def test_python_works_inside_wherever_the_hosts_python_is(box: LocalSandbox) -> None:
    assert await text(box, "python3 -c 'import json, ssl; print(json.dumps(1))'") == "1"
    own = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    assert await text(box, f"{own} -c 'import sys; print(sys.prefix)'") == sys.base_prefix


# Files


@both
async def test_an_existing_file_keeps_its_mode_and_a_read_only_one_is_replaced(box: LocalSandbox) -> None:
    await run(box, "echo old > program; chmod 755 program; echo old > fixed; chmod 444 fixed")
    await box.write("program", b"new")
    await box.write("fixed", b"new")
    assert await text(box, "cat program fixed; stat -c ' %a' program fixed") == "newnew 755\n 444"


@both
async def test_new_files_are_not_more_private_than_a_users_usually_are(box: LocalSandbox) -> None:
    old = os.umask(0o077)
    try:
        await box.write("sub/file", b"x")
    finally:
        os.umask(old)
    assert await text(box, "stat -c %a sub sub/file; touch other; stat -c %a other") == "755\n644\n644"


@both
async def test_a_missing_file_of_the_host_leaves_what_was_there(box: LocalSandbox, tmp_path: Path) -> None:
    await box.write("file", b"kept")
    with pytest.raises(FileNotFoundError):
        await box.write("file", tmp_path / "missing")
    assert await box.read("file") == b"kept"


@both
async def test_large_files_arrive_whole(box: LocalSandbox, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1 << 20) * 50)
    async with asyncio.timeout(HANG_SECONDS):
        await box.write("one", source)
        data = await box.read("one")
        await box.write("two", data)
    assert await text(box, "cmp one two && stat -c %s two") == str(50 << 20)


@both
async def test_cancelling_a_large_transfer_leaves_the_box_usable(box: LocalSandbox, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(100 << 20))
    for wait in (0, 0.001, 0.01):
        for task in (asyncio.create_task(box.write("f", source)), asyncio.create_task(box.read("f", limit=1 << 30))):
            await asyncio.sleep(wait)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert await text(box, "echo usable") == "usable"


# Beginning and end


@both
async def test_close_ends_every_process_and_removes_every_file(isolation: bool, tmp_path: Path) -> None:
    word = f"flue-close-{os.getpid()}-{isolation}"
    box = await LocalProvider(isolation, tmp_path).open(REQUEST, quiet)
    await run(box, "mkdir -p sealed/deeper; touch sealed/deeper/file; chmod 400 sealed/deeper; chmod 0 sealed")
    await run(box, SURVIVORS.format(word=word))
    await box.exec(SURVIVORS.format(word=word), timeout=30, user="root")
    assert len(processes_with(word)) >= 8
    async with asyncio.timeout(HANG_SECONDS):
        await box.close()
    assert disappears(word)
    assert list(tmp_path.iterdir()) == []


OWNER = """
import asyncio, sys
from pathlib import Path
from flue_ci.core.ports import Network, SandboxRequest
from flue_ci.sandboxes.local.provider import LocalProvider

async def main():
    request = SandboxRequest(env={}, metadata={"run": "killed"}, network=Network(mode="none"))
    box = await LocalProvider(sys.argv[1] == "True", Path(sys.argv[2])).open(request, lambda event: None)
    for user in ("user", "root"):
        await box.exec(sys.argv[3], timeout=30, user=user)
    print(box.info.id, flush=True)
    await box.exec("sleep 300", timeout=300)

asyncio.run(main())
"""


@both
async def test_everything_dies_with_a_killed_owner_and_its_leftover_is_found(isolation: bool, tmp_path: Path) -> None:
    word = f"flue-owner-{os.getpid()}-{isolation}"
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    places = tmp_path / "places"
    places.mkdir()
    command = [sys.executable, str(script), str(isolation), str(places), SURVIVORS.format(word=word)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout
        sandbox_id = owner.stdout.readline().strip()
        # Only names that the owner's own command line does not have: it carries the script with the word in it.
        assert len(processes_with(word)) >= 8
        owner.send_signal(signal.SIGKILL)
    assert disappears(word)
    provider = LocalProvider(isolation, places)
    assert await provider.list({"run": "other"}) == []
    assert await provider.list({"run": "killed"}) == [(sandbox_id, {"run": "killed"})]
    assert await provider.kill(sandbox_id)
    assert not await provider.kill(sandbox_id)
    assert list(places.iterdir()) == []


@both
async def test_a_sandbox_killed_from_outside_is_lost_to_its_owner(isolation: bool, tmp_path: Path) -> None:
    word = f"flue-lost-{os.getpid()}-{isolation}"
    provider = LocalProvider(isolation, tmp_path)
    box = await provider.open(REQUEST, quiet)
    await run(box, SURVIVORS.format(word=word))
    running = asyncio.create_task(box.exec("sleep 300", timeout=300))
    await asyncio.sleep(0.1)
    assert await provider.kill(box.info.id)
    with pytest.raises(SandboxLost):
        await asyncio.wait_for(running, HANG_SECONDS)
    with pytest.raises(SandboxLost):
        await box.read("file")
    assert disappears(word)
    await box.close()
    assert list(tmp_path.iterdir()) == []


async def test_only_directories_of_ours_are_listed_or_killed(tmp_path: Path) -> None:
    provider = LocalProvider(directory=tmp_path)
    (tmp_path / "flue-ci-noted").mkdir(mode=0o700)
    (tmp_path / "flue-ci-bad").mkdir(mode=0o700)
    (tmp_path / "flue-ci-bad" / "flue-run.json").write_text('{"metadata": []}')
    (tmp_path / "elsewhere").mkdir()
    state.write_note(tmp_path / "elsewhere", {"run": "1"}, [], isolation=True)
    (tmp_path / "flue-ci-link").symlink_to(tmp_path / "elsewhere")
    assert await provider.list({}) == []
    for wrong in ("link", "noted", "bad", "../elsewhere", "", "/", "."):
        assert not await provider.kill(wrong)
    assert (tmp_path / "elsewhere").is_dir()


async def test_a_reused_process_number_is_not_killed(tmp_path: Path) -> None:
    private = state.create_directory(tmp_path, None)
    with subprocess.Popen(["sleep", "300"]) as innocent:
        state.write_note(private, {}, [innocent.pid], isolation=True)
        note = private / "flue-run.json"
        note.write_text(note.read_text().replace(state.start_time(innocent.pid), "1"))
        assert await LocalProvider(directory=tmp_path).kill(private.name.removeprefix("flue-ci-"))
        assert innocent.poll() is None
        innocent.kill()


@both
async def test_cancelling_the_start_leaves_nothing(isolation: bool, tmp_path: Path) -> None:
    provider = LocalProvider(isolation, tmp_path)
    for wait in (0, 0.001, 0.005, 0.01, 0.02, 0.03):
        task = asyncio.create_task(provider.open(REQUEST, quiet))
        await asyncio.sleep(wait)
        task.cancel()
        for late in await asyncio.gather(task, return_exceptions=True):
            if isinstance(late, LocalSandbox):  # was quicker
                await late.close()
    assert list(tmp_path.iterdir()) == []


@both
async def test_a_sandbox_ends_itself_when_its_time_is_over(isolation: bool, tmp_path: Path) -> None:
    word = f"flue-time-{os.getpid()}-{isolation}"
    request = SandboxRequest(env={}, metadata={}, network=Network(), max_seconds=2)
    box = await LocalProvider(isolation, tmp_path).open(request, quiet)
    with pytest.raises(SandboxLost):
        await box.exec(f"exec -a {word} sleep 300", timeout=HANG_SECONDS)
    assert disappears(word)
    with pytest.raises(SandboxLost):
        await run(box, "true")
    await box.close()


@both
async def test_several_sandboxes_at_once_do_not_touch_each_other(isolation: bool, tmp_path: Path) -> None:
    provider = LocalProvider(isolation, tmp_path)
    boxes = await asyncio.gather(*(provider.open(REQUEST, quiet) for _ in range(3)))
    await asyncio.gather(*(box.write("mine", box.info.id.encode()) for box in boxes))
    for box in boxes:
        assert await text(box, "cat mine") == box.info.id
    await boxes[0].close()
    assert await text(boxes[1], "cat mine") == boxes[1].info.id
    await asyncio.gather(*(box.close() for box in boxes))


async def test_switching_the_network_ends_what_runs_and_keeps_the_files(tmp_path: Path) -> None:
    box = await LocalProvider(directory=tmp_path).open(REQUEST, quiet)
    running = asyncio.create_task(box.exec("sleep 300", timeout=300))
    await run(box, "echo kept > file; echo kept > /tmp/file; sleep 300 &")
    await box.set_network(Network(mode="open"))
    with pytest.raises(SandboxLost):
        await asyncio.wait_for(running, HANG_SECONDS)
    assert await text(box, "cat file /tmp/file; pgrep -c sleep || true") == "kept\nkept\n0"
    await box.close()


# What cannot be had


@pytest.mark.parametrize(
    "network",
    [
        Network(mode="hosts", hosts=("packages.example.com",)),
        Network(mode="open", inject=(HeaderRule(host="a.example", header="X", value="secret"),)),
    ],
    ids=["hosts", "inject"],
)
async def test_networks_that_need_a_proxy_are_refused_with_a_way_out(network: Network, tmp_path: Path) -> None:
    provider = LocalProvider(directory=tmp_path)
    request = SandboxRequest(env={}, metadata={}, network=network)
    with pytest.raises(SandboxError) as caught:
        provider.check(request)
    assert "--sandbox e2b" in caught.value.hint
    assert "secret" not in str(caught.value)
    box = await provider.open(REQUEST, quiet)
    with pytest.raises(SandboxError, match="cannot"):
        await box.set_network(network)
    assert await text(box, "echo usable") == "usable"
    await box.close()


async def test_no_isolation_is_loud_and_says_what_is_not_kept(tmp_path: Path) -> None:
    for network, said in ((Network(), "asked for: none"), (Network(mode="hosts", hosts=("a.example",)), "a.example")):
        seen: list[ProgressEvent] = []
        request = SandboxRequest(env={}, metadata={}, network=network)
        provider = LocalProvider(False, tmp_path)
        for _ in range(2):  # the agent's and the clean one
            box = await provider.open(request, seen.append)
            await box.close()
        assert [said in event.text and "NO ISOLATION" in event.text for event in seen if isinstance(event, Notice)] == [
            True
        ]
    with pytest.raises(SandboxError, match="inject"):
        LocalProvider(False).check(
            SandboxRequest(
                env={}, metadata={}, network=Network(inject=(HeaderRule(host="a.example", header="X", value="y"),))
            )
        )


async def test_a_missing_place_for_the_private_directory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="nowhere") as caught:
        await LocalProvider(directory=tmp_path / "nowhere").open(REQUEST, quiet)
    assert "TMPDIR" in caught.value.hint


async def test_a_missing_bubblewrap_is_an_error_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="bubblewrap is not installed") as caught:
        await LocalProvider(directory=tmp_path).open(REQUEST, quiet)
    assert "apt install bubblewrap" in caught.value.hint
    assert "--no-isolation" in caught.value.hint
    diagnosis = await LocalProvider.diagnose(Settings(), offline=True)
    assert (diagnosis.severity, diagnosis.message) == ("note", "bubblewrap is not installed")
    assert "dnf install" in diagnosis.hint
    assert list(tmp_path.iterdir()) == []


async def test_a_bubblewrap_that_the_kernel_refuses_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    places = tmp_path / "places"
    places.mkdir()
    with pytest.raises(SandboxError, match="setting up uid map: Permission denied") as caught:
        await LocalProvider(directory=places).open(REQUEST, quiet)
    assert "--no-isolation" in caught.value.hint
    diagnosis = await LocalProvider.diagnose(Settings(), offline=True)
    assert diagnosis.severity == "note"
    assert "Permission denied" in diagnosis.message
    assert "--no-isolation" in diagnosis.hint
    assert list(places.iterdir()) == []


async def test_the_diagnosis_of_a_working_machine_is_that_it_works() -> None:
    diagnosis = await LocalProvider.diagnose(Settings(), offline=True)
    assert (diagnosis.severity, diagnosis.message) == ("ok", "bubblewrap works")


def test_the_supervisor_imports_nothing_of_ours() -> None:
    from flue_ci.sandboxes.local import supervisor

    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(supervisor.__file__).parent)!r})
        import supervisor
        slow = {{"flue_ci", "json", "asyncio", "typing", "re", "enum", "subprocess"}}
        print(sorted(slow & set(sys.modules)))
        """
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

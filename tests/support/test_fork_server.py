"""A command that is forked is as one that is started: of the server, and of other forks, it has nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.fork_server import COMMAND, PROJECT, ForkServer, Process, descendants, fork_server

HANG_GUARD = 60.0  # seconds
ENV = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}


def start(folder: Path, arguments: Sequence[str], program: Sequence[str] = (), **environment: str) -> Process:
    with (folder / "out").open("wb") as out:
        return fork_server().start(
            arguments, env=ENV | environment, cwd=folder, stdout=out.fileno(), stderr=out.fileno(), program=program
        )


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG_GUARD
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for(text: str, path: Path) -> None:
    wait_until(lambda: text in path.read_text())


def descriptors(pid: int) -> dict[str, Path]:
    links = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed just now
            links[path.name] = path.readlink()
    return links


def is_open(path: Path, pid: int) -> bool:
    return path in descriptors(pid).values()


def state_of(pid: int) -> dict[str, object]:
    """What Linux knows of a process: its descriptors, directory, environment, ignored signals, session, niceness …"""
    proc = Path(f"/proc/{pid}")
    lines = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return {
        "descriptors": descriptors(pid),
        "directory": (proc / "cwd").readlink(),
        "leads its session and group": fields[2] == fields[3] == str(pid),
        "terminal and niceness": (fields[4], fields[16]),
        "limits": (proc / "limits").read_text(),
        **{name: lines[name] for name in ("SigBlk", "SigIgn", "SigCgt", "Umask", "Uid", "Gid", "Groups", "Threads")},
    }


def test_a_fork_and_a_real_start_are_alike(tmp_path: Path) -> None:
    agents = tmp_path / ".flue" / "agents"
    agents.mkdir(parents=True)
    (agents / "count.yml").write_text("{version: 1, prompt: Count.}")
    os.mkfifo(recording := tmp_path / "recording.jsonl")
    states, outputs = [], []
    for program in ((), COMMAND):
        arguments = ["run", "count", "--sandbox", "local", "--replay", str(recording), "--out", str(tmp_path / "run")]
        pipe = os.open(recording, os.O_RDWR)  # the command waits for what is in it
        process = start(tmp_path, arguments, program, LANG="C.UTF-8")
        wait_until(partial(is_open, recording, process.pid))
        states.append(state_of(process.pid))
        os.write(pipe, b"no recording")
        os.close(pipe)
        assert process.wait(HANG_GUARD) == 2
        outputs.append((tmp_path / "out").read_text())
    assert states[0] == states[1]
    assert outputs[0] == outputs[1]
    assert "recording.jsonl" in outputs[0]


def test_each_fork_has_its_own_environment_and_directory(tmp_path: Path) -> None:
    for name, value in (("one", "5"), ("two", "soon")):
        folder = tmp_path / name
        (folder / ".flue" / "agents").mkdir(parents=True)
        process = start(folder, ["init", name], FLUE_CI_PATIENCE_SECONDS=value)
        assert process.wait(HANG_GUARD) == 0, (folder / "out").read_text()
        assert [path.stem for path in (folder / ".flue" / "agents").iterdir()] == [name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_run_at_a_time_and_signals_reach_the_right_one(tmp_path: Path, number: signal.Signals) -> None:
    long = start(tmp_path, ["-c", "echo ready; exec sleep 300"], ["sh"])
    wait_for("ready", tmp_path / "out")
    assert start(tmp_path, ["-c", "exit 3"], ["sh"]).wait(HANG_GUARD) == 3
    assert not long.has_ended()
    long.send(number)
    assert long.wait(HANG_GUARD) == 128 + number


def test_a_command_ends_when_all_that_it_started_has_ended(tmp_path: Path) -> None:
    process = start(tmp_path, ["-c", "setsid sleep 300 & echo ready; kill -9 $$"], ["sh"])
    wait_for("ready", tmp_path / "out")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    assert not process.has_ended()
    (orphan,) = (pid for pid, line in descendants(process.launcher).items() if "sleep 300" in line)
    os.kill(orphan, signal.SIGTERM)
    assert process.wait(HANG_GUARD) == 137


def test_a_command_that_hangs_can_be_killed_with_all_that_it_started(tmp_path: Path) -> None:
    process = start(tmp_path, ["-c", "setsid sleep 300 & echo ready; trap '' TERM; sleep 300"], ["sh"])
    wait_for("ready", tmp_path / "out")
    process.kill()
    assert process.wait(HANG_GUARD) == 137
    assert descendants(process.launcher) == {}


def test_a_program_that_does_not_exist_is_an_error_of_the_command(tmp_path: Path) -> None:
    assert start(tmp_path, [], ["/no/such/program"]).wait(HANG_GUARD) == 70
    assert "/no/such/program" in (tmp_path / "out").read_text()
    assert start(tmp_path, ["--version"]).wait(HANG_GUARD) == 0


def test_a_server_ends_with_its_client_and_takes_along_what_still_runs(tmp_path: Path) -> None:
    server = ForkServer(imports=False)
    with (tmp_path / "out").open("wb") as out:
        process = server.start(
            ["-c", "setsid sleep 300 & echo ready; sleep 300"],
            env=ENV,
            cwd=tmp_path,
            stdout=out.fileno(),
            stderr=out.fileno(),
            program=["sh"],
        )
    wait_for("ready", tmp_path / "out")
    server.close()
    assert process.wait(HANG_GUARD) == 137

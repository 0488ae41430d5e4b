"""Whole runs on a host that interrupts them, has no room, or goes away: the report is written and the sandbox dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from flue_ci.report.folder import load
from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import Flow, assert_ended, bash, counting, say
from tests.support.messages_server import Fault, Turn
from tests.support.pairwise import pairwise

SIGNALS = {"SIGINT": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A time in a run: how it is made to last, how it is recognised, and what is saved when it is interrupted then."""

    stage: str
    reached: Callable[[Flow], bool]
    saved: list[str] = field(default_factory=list)
    where: tuple[str, ...] = ("e2b", "local")
    spec: dict[str, Any] = field(default_factory=dict)
    script: Callable[[Flow], list[Any]] = lambda flow: counting(3)
    faults: dict[int, Fault] = field(default_factory=dict)
    e2b_fault: tuple[str, dict[str, Any]] | None = None


def slow_collect(flow: Flow) -> list[Any]:
    def last(body: object) -> Turn:
        flow.e2b.faults.add("start", delay=20.0)
        return say("Done.")

    return [*counting(3)[:2], last]


MOMENTS = {
    "create": Moment(
        stage="prepare",
        reached=lambda flow: bool(flow.e2b.recorded("create")),
        where=("e2b",),
        e2b_fault=("create", {"hold": True}),
    ),
    "upload": Moment(
        stage="upload",
        reached=lambda flow: flow.has_reached("stage_started", stage="upload"),
        where=("e2b",),
        e2b_fault=("start", {"delay": 20.0, "text": b"flue-ci-root="}),
    ),
    "setup": Moment(
        stage="setup",
        reached=lambda flow: flow.has_reached("command_started", kind="setup"),
        spec={"sandbox": {"setup": ["trap '' TERM INT; sleep 60"]}},
    ),
    "model call": Moment(
        stage="agent",
        reached=lambda flow: len(flow.model.requests) == 3,
        saved=["1", "2"],
        faults={3: Fault(kind="silence", after=2)},
    ),
    "wait for the model": Moment(
        stage="agent",
        reached=lambda flow: any("trying again" in event["data"].get("text", "") for event in flow.events()),
        saved=["1", "2"],
        faults={3: Fault(kind="status", status=529, headers={"retry-after": "60"})},
    ),
    "command": Moment(
        stage="agent",
        reached=lambda flow: flow.has_reached("turn_started", turn=2) and flow.events()[-1]["event"] == "tool_started",
        saved=["1"],
        script=lambda flow: [bash("echo 1 >> log.txt"), bash("sleep 60 & sleep 60"), say("no")],
    ),
    "collect": Moment(
        stage="collect",
        reached=lambda flow: flow.has_reached("stage_started", stage="collect"),
        saved=["1", "2"],
        where=("e2b",),
        script=slow_collect,
    ),
    "checks": Moment(
        stage="checks",
        reached=lambda flow: flow.has_reached("command_started", kind="check"),
        saved=["1", "2"],
        spec={"checks": [{"name": "slow", "run": "sleep 60"}]},
    ),
}
CASES = pairwise(
    MOMENTS.keys(), ("e2b", "local"), SIGNALS.keys(), allowed=lambda name, where, _: where in MOMENTS[name].where
)


@pytest.mark.family(2)
@pytest.mark.parametrize(("name", "where", "number"), CASES, ids=["-".join(case) for case in CASES])
@pytest.mark.long
def test_a_signal_at_any_moment_ends_everything_and_keeps_the_work(
    make_flow: MakeFlow, name: str, where: str, number: str
) -> None:
    moment = MOMENTS[name]
    script: list[Any] = []
    released = threading.Event()
    flow = make_flow(script, faults=moment.faults, e2b=where == "e2b")
    script += moment.script(flow)
    flow.spec(**moment.spec)
    flow.commit()
    if moment.e2b_fault:
        route, what = moment.e2b_fault
        released = flow.e2b.faults.add(route, **what).released
    process = flow.start()
    flow.until(process, lambda: moment.reached(flow), name)
    process.send(SIGNALS[number][0])
    flow.until(process, lambda: f"{number}: stopping" in flow.said("stderr"), "the answer to the signal")
    released.set()
    ended = flow.end(process)
    assert_ended(ended, "cancelled", SIGNALS[number][1], reason="interrupted", stage=moment.stage)
    assert ended.added() == moment.saved


@pytest.mark.family(1)
@pytest.mark.parametrize("where", ["local", "e2b"])
def test_more_signals_while_it_stops_leave_no_sandbox(make_flow: MakeFlow, where: str) -> None:
    flow = make_flow([*counting(3)[:2], bash("sleep 60")], e2b=where == "e2b")
    if where == "e2b":
        flow.e2b.faults.add("kill", delay=1.0)
    process = flow.start()
    flow.until(
        process, lambda: len(flow.model.requests) == 3 and flow.events()[-1]["event"] == "tool_started", "the command"
    )
    process.send(signal.SIGTERM)
    flow.until(process, lambda: "SIGTERM: stopping" in flow.said("stderr"), "the answer to the first signal")
    for _ in range(5):
        process.send(signal.SIGINT)
    ended = flow.end(process)
    assert_ended(ended, "cancelled", 143, reason="interrupted", stage="agent")
    assert "already stopping" in ended.err


def test_a_terminal_that_goes_away_ends_the_run(make_flow: MakeFlow) -> None:
    flow = make_flow([*counting(3)[:2], bash("sleep 60")])
    process = flow.start()
    flow.until(
        process, lambda: len(flow.model.requests) == 3 and flow.events()[-1]["event"] == "tool_started", "the command"
    )
    process.send(signal.SIGHUP)
    ended = flow.end(process)
    assert_ended(ended, "cancelled", 129, reason="interrupted", stage="agent")
    assert ended.added() == ["1", "2"]


def test_a_signal_before_anything_has_started_is_reported_too(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)
    flow.cold = True
    flow.spec(prompt="{{ repo.sha }}")  # which asks git, before there is anything to clean up
    slow, asked = flow.home / "bin" / "git", flow.home / "asked"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\ntouch {asked}\nexec sleep 60\n")
    slow.chmod(0o755)
    flow.environment["PATH"] = f"{slow.parent}:{os.environ['PATH']}"
    process = flow.start()
    flow.until(process, asked.exists, "git being asked")
    process.send(signal.SIGTERM)
    ended = flow.end(process)
    assert_ended(ended, "cancelled", 143, reason="interrupted", stage="start")
    assert flow.e2b.requests == []


# Gone without a word


def test_a_killed_run_leaves_no_process_and_its_directory_can_be_found_and_removed(make_flow: MakeFlow) -> None:
    flow = make_flow([*counting(3)[:2], bash("setsid sleep 300 & sleep 300")])
    process = flow.start()
    flow.until(
        process, lambda: len(flow.model.requests) == 3 and flow.events()[-1]["event"] == "tool_started", "the command"
    )
    process.send(signal.SIGKILL)
    assert flow.wait(process) == 137  # and with it everything that it had started
    code, out, _ = flow.call("sandboxes", "list", "--sandbox", "local")
    assert code == 0
    sandbox_id, *words = out.split()
    assert words[:2] == ["repo", "count"]
    assert flow.call("sandboxes", "kill", "--sandbox", "local", sandbox_id)[:2] == (0, f"{sandbox_id}: ended\n")
    code, out, err = flow.call("sandboxes", "list", "--sandbox", "local")
    assert (code, out) == (0, "")
    assert "No sandbox" in err
    assert not (flow.tmp / f"flue-ci-{sandbox_id}").exists()


def test_a_killed_run_at_e2b_is_found_and_ended_by_its_metadata(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("sleep 300")], e2b=True)
    process = flow.start()
    flow.until(process, lambda: flow.has_reached("tool_started"), "the command")
    process.send(signal.SIGKILL)
    assert flow.wait(process) == 137
    (sandbox_id,) = flow.e2b.sandboxes
    code, out, _ = flow.call("sandboxes", "list", "--json")
    assert (code, sandbox_id in out, '"agent": "count"' in out) == (0, True, True)
    code, out, _ = flow.call("sandboxes", "kill", "not-ours")
    assert code == 1
    assert sandbox_id in flow.e2b.sandboxes
    assert flow.call("sandboxes", "kill", "--all")[:2] == (0, f"{sandbox_id}: ended\n")
    assert flow.e2b.sandboxes == {}


# Where the files go


def behind(*mounts: str) -> tuple[str, ...]:
    """A view of the file system of its own, for the command alone. It needs no rights that the tests do not need."""
    return ("bwrap", "--dev-bind", "/", "/", *mounts, "--")


def test_a_full_disk_loses_neither_the_report_nor_the_sandbox(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("head -c 300000 /dev/urandom | base64 > log.txt"), *counting(3)], e2b=True)
    flow.out.mkdir()
    flow.wrapper = behind("--size", "65536", "--tmpfs", str(flow.out))
    process = flow.start()
    code = flow.wait(process)
    (spare,) = flow.tmp.glob("flue-ci-report-*")
    report, patch = load(spare)
    assert code == 1
    assert len(patch) > 300_000
    assert report.conclusion == "success"
    assert str(spare) in flow.said("stderr")
    assert [path.name for path in flow.tmp.iterdir()] == [spare.name]
    assert flow.e2b.sandboxes == {}
    flow.assert_no_secret_is_told(spare)


def test_a_disk_that_fills_up_during_the_run_ends_the_transcript_and_nothing_else(make_flow: MakeFlow) -> None:
    flow = make_flow([*[bash(f"echo {n} >> log.txt; seq 3000") for n in range(1, 10)], say("Counted.")], e2b=True)
    flow.out.mkdir()
    flow.wrapper = behind("--size", "32768", "--tmpfs", str(flow.out))
    code = flow.wait(flow.start())
    (spare,) = flow.tmp.glob("flue-ci-report-*")
    report, patch = load(spare)
    assert code == 1
    assert patch.count(b"\n+") - patch.count(b"\n+++") == 9
    assert report.usage.turns == 10
    assert flow.e2b.sandboxes == {}


def test_a_folder_that_takes_no_files_is_said_before_anything_starts(make_flow: MakeFlow) -> None:
    flow = make_flow(e2b=True)
    flow.out.mkdir()
    flow.wrapper = behind("--ro-bind", str(flow.out), str(flow.out))
    code = flow.wait(flow.start())
    assert code == 2
    assert f"{flow.out} takes no files" in flow.said("stderr")
    assert "--out" in flow.said("stderr")
    assert flow.e2b.requests == []
    assert flow.model.requests == []
    flow.assert_nothing_is_left()


def test_a_read_only_checkout_is_worked_on_and_only_applying_to_it_fails(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo changed > other.txt; echo 1 > log.txt"), say("Done.")], e2b=True)
    (flow.repo / "greeting.txt").write_text("hello, uncommitted\n")
    flow.wrapper = behind("--ro-bind", str(flow.repo), str(flow.repo))
    code = flow.wait(flow.start("--apply"))
    assert code == 1
    assert "not applied" in flow.said("stderr")
    assert flow.git("status", "--porcelain") == " M greeting.txt\n"
    report, patch = load(flow.out)
    assert report.base.dirty
    assert (report.conclusion, report.exit_code) == ("failed", 1)
    assert report.failure is not None
    assert report.failure.stage == "apply"
    assert b"+changed" in patch  # the work is not lost with it
    flow.assert_nothing_is_left()


# Who reads along


def test_a_reader_that_goes_away_does_not_end_the_run(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("for n in $(seq 20000); do echo line $n; done > log.txt"), say("Done.")])
    flow.cold = True
    reading, writing = os.pipe()
    process = flow.command(
        *("run", "count", "--sandbox", "local", "--out", str(flow.out), "--apply"), stdout=writing, stderr=writing
    )
    os.close(writing)
    os.close(reading)
    code = flow.wait(process)
    report, _ = load(flow.out)
    assert report.conclusion == "success"
    assert code == 1  # what was to be read was not
    assert (flow.repo / "log.txt").read_text().count("\n") == 20_000
    flow.assert_nothing_is_left()


def test_a_terminal_that_closes_does_not_end_the_run(make_flow: MakeFlow) -> None:
    flow = make_flow([bash("echo 1 >> log.txt"), bash("sleep 1; echo 2 >> log.txt"), say("Done.")])
    flow.cold = True
    ours, theirs = os.openpty()
    process = flow.command("run", "count", "--sandbox", "local", "--out", str(flow.out), stderr=theirs)
    os.close(theirs)
    flow.until(process, lambda: len(flow.model.requests) == 2, "the second turn")
    os.close(ours)
    ended = flow.end(process)
    assert_ended(ended, "success", 0)
    assert ended.added() == ["1", "2"]


@pytest.mark.family(1)
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_do_not_end_the_run(make_flow: MakeFlow, closed: str) -> None:
    flow = make_flow()
    flow.wrapper = ("sh", "-c", f'exec "$@" {closed}', "sh")
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert ended.added() == ["1", "2"]


def test_the_exit_code_of_a_limit_survives_a_closed_pipe(make_flow: MakeFlow) -> None:
    flow = make_flow(counting(10))
    flow.cold = True
    reading, writing = os.pipe()
    process = flow.command(
        *("run", "count", "--sandbox", "local", "--out", str(flow.out), "--set", "limits.turns=2"), stdout=writing
    )
    os.close(writing)
    os.close(reading)
    assert flow.wait(process) == 4
    flow.git("apply", "--check", str(flow.out / "changes.patch"))

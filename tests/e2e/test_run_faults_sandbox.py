"""Whole runs while the sandbox fails, or while commands do what they can: the run ends, and nothing stays."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.conftest import MakeFlow
from tests.e2e.flow import Flow, assert_ended, bash, counting, say
from tests.support.messages_server import Turn, tool

# Starting


@dataclass(frozen=True, kw_only=True)
class Start:
    """What goes wrong with the creation of a sandbox, and what people are told."""

    reason: str
    hint: str
    fault: dict[str, Any] | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    repeated: bool = False


PATIENCE = {"FLUE_CI_PATIENCE_SECONDS": "1"}
REFUSED = {
    "401": Start(
        environment={"E2B_API_KEY": "e2b_" + "0" * 40}, reason="did not accept the API key", hint="E2B_API_KEY"
    ),
    "403": Start(fault={"status": 403, "message": "blocked"}, reason="blocked", hint="plan"),
    "404": Start(spec={"template": "no-such"}, reason="no template 'no-such'", hint="sandbox.template"),
    "400": Start(fault={"status": 400, "message": "bad network"}, reason="bad network", hint="sandbox"),
    "429 for ever": Start(
        fault={"status": 429, "times": None},
        environment=PATIENCE,
        reason="no sandbox within",
        hint="parallel",
        repeated=True,
    ),
    "503 for ever": Start(
        fault={"status": 503, "times": None},
        environment=PATIENCE,
        reason="no sandbox within",
        hint="network",
        repeated=True,
    ),
}


@pytest.mark.parametrize("start", REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_sandbox_ends_the_run_before_the_model_is_asked(make_flow: MakeFlow, start: Start) -> None:
    flow = make_flow(e2b=True)
    flow.spec(sandbox=start.spec)
    flow.commit()
    flow.environment |= start.environment
    if start.fault:
        flow.e2b.faults.add("create", **start.fault)
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason=start.reason, stage="prepare", hint=start.hint)
    assert (len(flow.e2b.recorded("create")) > 1) == start.repeated
    assert flow.model.requests == []
    assert start.hint in ended.out


PASSING: dict[str, dict[str, Any]] = {
    "429 until it works": {"status": 429, "times": 2},
    "503 until it works": {"status": 503},
    "500 of a proxy": {"status": 500, "body": b"<html>Bad day</html>"},
    "a slow start": {"delay": 1.0},
    "an answer that is lost": {"drop": "after"},
}


@pytest.mark.family(1)
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_sandbox_that_comes_late_does_the_whole_task(make_flow: MakeFlow, fault: dict[str, Any]) -> None:
    flow = make_flow(e2b=True)
    flow.e2b.faults.add("create", **fault)
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert ended.added() == ["1", "2"]


# Lost


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_sandbox_that_goes_during_the_upload_ends_the_run(make_flow: MakeFlow, size: str) -> None:
    flow = make_flow(e2b=True)
    if size == "small":  # the repository goes along with the command that unpacks it
        flow.e2b.faults.add("start", kill=True, text=b"flue-ci-root=")
    else:
        (flow.repo / "noise").write_bytes(random.Random(0).randbytes(100_000))
        flow.commit()
        flow.e2b.faults.add("write", kill=True)
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="is lost", stage="upload", hint="start the run again")
    assert flow.model.requests == []


LOST: dict[str, dict[str, Any]] = {
    "setup": {"sandbox": {"setup": ["sleep 60"]}},
    "agent": {},
    "checks": {"checks": [{"name": "slow", "run": "sleep 60"}]},
}


@pytest.mark.parametrize("stage", [pytest.param("setup", marks=pytest.mark.family(0)), "agent", "checks"])
def test_a_sandbox_that_goes_during_a_command_ends_the_run(make_flow: MakeFlow, stage: str) -> None:
    work = counting(3)[:2]
    flow = make_flow([*work, bash("sleep 60"), say("no")] if stage == "agent" else [*work, say("Done.")], e2b=True)
    flow.spec(**LOST[stage])
    flow.commit()
    process = flow.start()
    if stage == "agent":
        flow.until(
            process, lambda: len(flow.model.requests) == 3 and ends_with(flow, "tool_started"), "the third command"
        )
    else:
        flow.until(process, lambda: ends_with(flow, "command_started"), "the command")
    flow.e2b.end_sandbox(next(iter(flow.e2b.sandboxes)))
    ended = flow.end(process)
    assert_ended(ended, "failed", 1, reason="is lost", stage=stage, hint="start the run again")
    assert ended.added() == (["1", "2"] if stage == "checks" else [])  # what was collected before stays
    if stage == "agent":
        assert any("could not be saved" in note for note in ended.report.notes)


def ends_with(flow: Flow, event: str) -> bool:
    seen = flow.events()
    return bool(seen) and seen[-1]["event"] == event


def test_a_sandbox_that_goes_while_changes_are_collected_ends_the_run(make_flow: MakeFlow) -> None:
    def last(body: object) -> Turn:
        flow.e2b.faults.add("start", kill=True)
        return say("Done.")

    flow = make_flow([*counting(3)[:2], last], e2b=True)
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="is lost", stage="collect", hint="start the run again")
    assert ended.report.summary == "Done."


def test_a_lost_connection_does_not_run_a_command_twice(make_flow: MakeFlow) -> None:
    def second(body: object) -> Turn:
        flow.e2b.faults.add("start", drop="during", after_bytes=200)
        return bash("echo 2 >> log.txt; sleep 0.3; echo two")

    flow = make_flow([bash("echo 1 >> log.txt"), second, say("Done.")], e2b=True)
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert ended.added() == ["1", "2"]
    assert "the connection was lost for a moment" in told(flow)
    assert "[exit code 0]" in told(flow)


# What commands do


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A command, and a part of what the model is told of it. After it the agent goes on."""

    command: str
    told: str
    more: dict[str, Any] = field(default_factory=dict)


DEEDS = {
    "ignores SIGTERM": Deed(
        command="trap '' TERM; echo on; while :; do sleep 0.2; done", more={"timeout": 3}, told="timed out after 3.0s"
    ),
    "hangs": Deed(command="echo before; sleep 300", more={"timeout": 3}, told="before\n[timed out after 3.0s"),
    "leaves children": Deed(
        command="sleep 300 & setsid sleep 300 & (nohup sleep 300 >/dev/null 2>&1 &) ; echo left",
        told="left\n[exit code 0]",
    ),
    "children that hold the output": Deed(
        command="(while :; do echo noise; sleep 1; done) & echo left", told="[exit code 0]"
    ),
    "much output": Deed(command="echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo last", told="bytes left out"),
    "binary output": Deed(
        command="head -c 40000 /dev/urandom; printf '\\377\\376\\000\\033[2J'; exit 3", told="[exit code 3]"
    ),
    "kills itself": Deed(command="echo here; kill -9 $$", told="137"),
    "reads its input": Deed(command="cat; echo read", told="read\n[exit code 0]"),
    "removes its home": Deed(command="rm -rf ~/.bash* ~/.profile; echo gone", told="gone"),
}


def told(flow: Flow, request: int = -1) -> str:
    """The text of the tool result that the last entry of a request holds."""
    content = flow.model.requests[request].json["messages"][-1]["content"]
    return "\n".join(
        part["text"]
        for block in content
        if block["type"] == "tool_result"
        for part in ([{"text": block["content"]}] if isinstance(block["content"], str) else block["content"])
    )


@pytest.mark.family(1)
@pytest.mark.parametrize("where", ["local", "e2b"])
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_whatever_a_command_does_the_agent_goes_on_and_nothing_stays(
    make_flow: MakeFlow, deed: Deed, where: str
) -> None:
    script = [bash(f"echo 1 >> log.txt; {deed.command}", **deed.more), bash("echo 2 >> log.txt"), say("Done.")]
    flow = make_flow(script, e2b=where == "e2b")
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert deed.told in told(flow, 1)
    assert len(told(flow, 1).encode()) <= 16_384
    assert ended.added() == ["1", "2"]


@pytest.mark.family(1)
@pytest.mark.parametrize("where", ["local", "e2b"])
@pytest.mark.long
def test_commands_of_the_host_are_bounded_too(make_flow: MakeFlow, where: str) -> None:
    flood = "echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last"
    flow = make_flow(e2b=where == "e2b")
    flow.spec(
        sandbox={"setup": [flood]},
        checks=[
            {"name": "lines", "run": "yes 'a line of output' | head -c 3000000; exit 3"},
            {"name": "binary", "run": "head -c 40000 /dev/urandom"},
            {"name": "hangs", "run": "echo hanging; while :; do sleep 0.2; done", "timeout": "1s"},
            {"name": "children", "run": "sleep 300 & setsid sleep 300 & echo left"},
        ],
    )
    flow.commit()
    ended = flow.run()
    assert_ended(ended, "failed", 1, reason="check `lines` failed with exit code 3; check `hangs` timed out")
    assert ended.added() == ["1", "2"]
    commands = [*ended.report.setup, *ended.report.checks]
    assert [command.exit_code for command in commands] == [0, 3, 0, 124, 0]
    assert all(len(command.output) < 40_000 for command in commands)
    assert ended.report.setup[0].output.startswith("first")
    assert ended.report.setup[0].output.rstrip().endswith("last")
    assert "hanging" in ended.report.checks[2].output
    assert len(ended.err) < 2_000_000


def test_tools_that_meet_a_pipe_or_a_device_do_not_hang(make_flow: MakeFlow) -> None:
    traps = Turn(
        blocks=[
            tool("read", {"path": "pipe"}),
            tool("grep", {"pattern": "x", "path": "."}),
            tool("glob", {"pattern": "**/*"}),
            tool("read", {"path": "/dev/zero"}),
            tool("edit", {"path": "pipe", "old": "a", "new": "b"}),
        ]
    )
    flow = make_flow([bash("mkfifo pipe; echo 1 >> log.txt"), traps, say("Done.")])
    ended = flow.run()
    assert_ended(ended, "success", 0)
    assert json.dumps(flow.model.requests[-1].json["messages"][-1]).count("tool_result") == 5

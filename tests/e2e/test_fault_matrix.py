"""Faults at every stage of a job: what they come to, and that nothing is lost and nothing stays.

Each stage meets a fault that lasts, one that passes, and SIGTERM; that every kind of HTTP fault is recognised is proven
for each adapter in its own tests. The table says how each pair ends. What is true of all of them is in
`assert_told_and_gone`: the step's exit code, its outputs, the report on disk, the comment, the summary; no sandbox, no
process, no temporary file. What only one side can do wrong has tables of its own: `test_action_faults` (GitHub),
`test_run_faults_model`, `test_run_faults_sandbox`, and `test_run_host`.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import bash, say
from tests.e2e.job import Done, Job
from tests.e2e.test_action import MakeJob, make_job
from tests.support.faults import Faults
from tests.support.messages_server import Fault, Turn

__all__ = ["make_job"]

TOOL, SETUP, CHECK = "echo changed > greeting.txt", "echo ready", "grep -q changed greeting.txt"
AGENT: dict[str, Any] = {"sandbox": {"setup": [SETUP]}, "checks": [{"name": "greeting", "run": CHECK}]}
EXIT = {"success": 0, "skipped": 0, "failed": 1, "cancelled": 143}
MARK = {"success": "✅", "failed": "❌", "cancelled": "🛑"}
EVER = {"times": None}
# As HTTP services fail. `slow` is no failure yet.
HTTP: dict[str, dict[str, Any]] = {
    "refused": {"status": 403, "message": "not for you"} | EVER,
    "missing": {"status": 404, "message": "Not Found"} | EVER,
    "overloaded": {"status": 503} | EVER,
    "limited": {"status": 429, "retry_after": 1} | EVER,
    "passing": {"status": 503},
    "garbage": {"status": 200, "body": b"<html>Welcome to the hotel</html>"} | EVER,
    "lost": {"drop": "before"} | EVER,
    "slow": {"delay": 1.5},
}
SUMMARIES = ("a directory", "missing", "no room", "full")
FOLDERS = ("a file", "below a file", "a directory in the way", "dangling", "no room")


@dataclass(kw_only=True)
class Cell:
    """A job that meets one fault: what the model says, how it fails, and when the job's process gets SIGTERM."""

    job: Job
    turns: list[Any]
    model_faults: dict[int, Fault]
    reached: Callable[[], object] | None = None
    release: Callable[[], object] = lambda: None  # lets the job go on after the signal
    running: bool = True
    environ: dict[str, str] = field(default_factory=dict)

    def wait_in(self, faults: Faults, route: str, text: bytes = b"") -> None:
        """SIGTERM comes while a server holds its answer back."""
        fault = faults.add(route, hold=True, text=text)
        self.reached, self.release = lambda: fault.times == 0, fault.released.set


def github(route: str) -> Callable[[Cell, str], None]:
    def set_up(cell: Cell, kind: str) -> None:
        if kind == "SIGTERM":
            cell.wait_in(cell.job.github.faults, route)
        else:
            cell.job.github.faults.add(route, **HTTP[kind])

    return set_up


def e2b(route: str, text: str = "") -> Callable[[Cell, str], None]:
    """`text` picks the command that the fault meets. A command is sent again only when E2B said that it took it not."""

    def set_up(cell: Cell, kind: str) -> None:
        faults = cell.job.e2b.faults
        if kind == "SIGTERM":
            cell.wait_in(faults, route, text.encode())
        else:
            fault = {"status": 429} if kind == "passing" and route == "start" else HTTP[kind]
            faults.add(route, text=text.encode(), **fault)

    return set_up


def collect(cell: Cell, kind: str) -> None:
    """The first command after the model's last word."""

    def last(_: object) -> Turn:
        e2b("start")(cell, kind)
        return say("Done.")

    cell.turns[-1] = last


def second(route: str, text: str = "") -> Callable[[Cell, str], None]:
    """The same in the clean sandbox, which is prepared beside the agent's last word."""

    def set_up(cell: Cell, kind: str) -> None:
        faults = cell.job.e2b.faults
        if kind == "SIGTERM":
            fault = faults.add(route, hold=True, skip=1, text=text.encode())
            cell.reached, cell.release = lambda: fault.times == 0, fault.released.set
        else:
            faults.add(route, skip=1, text=text.encode(), **HTTP[kind])

    return set_up


def model(cell: Cell, kind: str) -> None:
    """The second request: there is work that must not be lost."""
    endless = kind not in ("passing", "slow", "SIGTERM")
    fault = {
        "refused": Fault(kind="status", status=403, message="not for you"),
        "missing": Fault(kind="status", status=404, message="model: gone"),
        "overloaded": Fault(kind="status", status=529),
        "limited": Fault(kind="status", status=429, headers={"retry-after": "1"}),
        "passing": Fault(kind="status", status=529, headers={"retry-after": "0"}),
        "garbage": Fault(kind="malformed", after=2),
        "lost": Fault(kind="drop", after=3),
        "slow": Fault(kind="silence", after=2, seconds=1.5),
        "SIGTERM": Fault(kind="silence", after=2, seconds=60),
    }[kind]
    cell.model_faults |= dict.fromkeys(range(2, 60) if endless else (2,), fault)
    cell.reached = (lambda: len(cell.job.model.requests) == 2) if kind == "SIGTERM" else None


def summary(cell: Cell, kind: str) -> None:
    """The file for the job's summary."""
    environ = {
        "a directory": str(cell.job.home),
        "missing": str(cell.job.home / "no" / "such" / "file"),
        "no room": "/dev/full",
        "full": str(_filled(cell.job.home / "summary")),
    }
    cell.job.more["GITHUB_STEP_SUMMARY"] = environ[kind]


def files(cell: Cell, kind: str) -> None:
    """The folder of the report."""
    blocked = cell.job.home / "blocked"
    blocked.write_text("a file")
    inside = cell.job.home / "inside"
    inside.mkdir()
    (inside / "report.json").mkdir()
    dangling = cell.job.home / "dangling"
    dangling.symlink_to("/proc/nowhere/at/all")
    out = {
        "a file": blocked,
        "below a file": blocked / "report",
        "a directory in the way": inside,
        "dangling": dangling,
        "no room": Path("/proc/flue-ci"),
    }[kind]
    cell.job.more["FLUE_CI_OUT"] = str(out)


def _filled(path: Path) -> Path:
    path.write_text("x" * 1024 * 1024)
    return path


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of a job: how a fault is put there, the kinds that it meets, and the stage that the report names then."""

    set_up: Callable[[Cell, str], None]
    kinds: tuple[str, ...]
    reported: str


STAGES = {
    "gate": Stage(
        set_up=github("GET permission"), kinds=("limited", "missing", "passing", "SIGTERM"), reported="start"
    ),
    "fetch": Stage(set_up=github("POST git-upload-pack"), kinds=("lost", "slow", "SIGTERM"), reported="start"),
    "create": Stage(set_up=e2b("create"), kinds=("overloaded", "slow", "SIGTERM"), reported="prepare"),
    "upload": Stage(set_up=e2b("start", "flue-ci-root="), kinds=("missing", "passing", "SIGTERM"), reported="upload"),
    "setup": Stage(set_up=e2b("start", SETUP), kinds=("garbage", "slow", "SIGTERM"), reported="setup"),
    "model": Stage(set_up=model, kinds=("garbage", "passing", "SIGTERM"), reported="agent"),
    "tool": Stage(set_up=e2b("start", TOOL), kinds=("lost", "passing", "SIGTERM"), reported="agent"),
    "collect": Stage(set_up=collect, kinds=("refused", "passing", "SIGTERM"), reported="collect"),
    "clean": Stage(set_up=second("create"), kinds=("limited", "lost", "passing", "SIGTERM"), reported="verify"),
    "clean upload": Stage(
        set_up=second("start", "flue-ci-root="), kinds=("missing", "slow", "SIGTERM"), reported="verify"
    ),
    "clean setup": Stage(set_up=second("start", SETUP), kinds=("garbage", "slow", "SIGTERM"), reported="verify"),
    "check": Stage(set_up=e2b("start", CHECK), kinds=("limited", "slow", "SIGTERM"), reported="checks"),
    "comment": Stage(
        set_up=github("PATCH comments"),
        kinds=("refused", "overloaded", "garbage", "missing", "passing", "SIGTERM"),
        reported="publish",
    ),
    "summary": Stage(set_up=summary, kinds=SUMMARIES, reported=""),
    "files": Stage(set_up=files, kinds=FOLDERS, reported="start"),
}
CELLS = [(name, kind) for name, stage in STAGES.items() for kind in stage.kinds]
GOOD = ("success", None)
# How a pair ends that does not end as its kind does elsewhere: the conclusion, and the stage that the report names.
ENDS: dict[tuple[str, str], tuple[str, str | None]] = {
    ("gate", "missing"): ("skipped", None),  # a person without a role
    ("comment", "missing"): GOOD,  # somebody removed it: it is posted anew
    ("comment", "SIGTERM"): GOOD,  # too late: the run is over and saved
}
BEFORE_THE_MODEL = ("gate", "fetch", "create", "upload", "setup", "files")
CLEAN = ("clean", "clean upload", "clean setup")
WORK_IS_DONE = ("model", *CLEAN, "check", "comment", "summary")  # when the fault comes


def expected(stage: str, kind: str) -> tuple[str, str | None]:
    if kind in ("passing", "slow") or stage == "summary":
        return GOOD
    conclusion = "cancelled" if kind == "SIGTERM" else "failed"
    return ENDS.get((stage, kind), (conclusion, STAGES[stage].reported))


def test_every_stage_meets_what_lasts_and_what_passes_and_a_signal() -> None:
    for name in STAGES.keys() - {"summary", "files"}:
        kinds = {*STAGES[name].kinds}
        assert "SIGTERM" in kinds
        assert kinds & {"passing", "slow"}
        assert kinds - {"passing", "slow", "SIGTERM"}
    assert {kind for _, kind in CELLS} == {*HTTP, "SIGTERM", *SUMMARIES, *FOLDERS}


@pytest.mark.family(4)
@pytest.mark.parametrize(("stage", "kind"), CELLS, ids=[f"{stage}-{kind}" for stage, kind in CELLS])
@pytest.mark.long
def test_every_fault_at_every_stage_ends_as_it_should(make_job: MakeJob, stage: str, kind: str) -> None:
    cell = Cell(job=make_job([]), turns=[bash(TOOL), say("Done.")], model_faults={})
    STAGES[stage].set_up(cell, kind)
    conclusion, failed_at = expected(stage, kind)
    if conclusion == "failed":
        cell.job.more["FLUE_CI_PATIENCE_SECONDS"] = "2"
    done = ran(cell)
    assert done.outputs.get("conclusion") == conclusion, done.log
    assert done.code == (2 if stage == "files" else EXIT[conclusion])
    if conclusion != "skipped":
        assert_told_and_gone(cell, done, stage, conclusion, failed_at)
    assert (cell.job.model.requests == []) == (stage in BEFORE_THE_MODEL and conclusion != "success")


def assert_told_and_gone(cell: Cell, done: Done, stage: str, conclusion: str, failed_at: str | None) -> None:
    job, mark = cell.job, MARK[conclusion]
    report = json.loads(Path(done.outputs["report-path"]).read_text())
    assert report["conclusion"] == conclusion
    failure = (report["failure"] or {"stage": None})["stage"]
    if stage in CLEAN and conclusion == "cancelled":
        assert failure in ("agent", "collect", "verify")  # it is prepared beside them
    else:
        assert failure == failed_at
    assert "Traceback" not in done.log + json.dumps(report)
    if stage == "summary":
        assert "the job summary cannot be written" in done.log
    else:
        assert done.summary.startswith(f"### {mark}")
    last = job.github.ours()[-1]["body"] if job.github.ours() else ""
    if stage == "comment" and failed_at:
        assert "⏳" in last
        assert "could not be posted" in done.log
    elif conclusion == "cancelled" and failed_at == "start":
        assert last.split("\n")[1].startswith("### ❌ Nothing was started")
    else:
        assert last.split("\n")[1].startswith(f"### {mark}")
    if stage in CLEAN and conclusion == "cancelled":
        pass  # perhaps before the agent had done anything
    elif conclusion == "success" or stage in WORK_IS_DONE or (stage, conclusion) == ("collect", "cancelled"):
        assert done.outputs["patch-path"], done.log
        assert "+changed" in Path(done.outputs["patch-path"]).read_text()
    assert job.e2b.sandboxes == {}
    assert job.e2b.processes() == []
    assert list((job.home / "tmp").iterdir()) == []


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.family(0)), None])
@pytest.mark.long
def test_a_sandbox_that_cannot_be_killed_at_once_is_killed_again_or_ends_by_itself(
    make_job: MakeJob, times: int | None
) -> None:
    cell = Cell(job=make_job([]), turns=[bash(TOOL), say("Done.")], model_faults={})
    cell.job.e2b.faults.add("kill", status=500, times=times)
    cell.job.more["FLUE_CI_PATIENCE_SECONDS"] = "2"
    done = ran(cell)
    assert (done.code, done.outputs["conclusion"]) == (0, "success")
    kills = cell.job.e2b.recorded("kill")
    assert len(kills) > 1, "it was not tried again"
    if times is None:
        assert len(cell.job.e2b.sandboxes) == 2
        for name in cell.job.e2b.sandboxes:
            assert name in done.log
        assert "it does in" in done.log
        cell.job.e2b.faults.clear()
        killed = cell.job.run(["sandboxes", "kill", "--run", "r1"], cell.environ | cell.job.e2b.env())
        assert killed.code == 0
    assert cell.job.e2b.sandboxes == {}


def ran(cell: Cell) -> Done:
    job = cell.job
    job.model._script, job.model._faults = cell.turns, cell.model_faults.get
    job.more |= {"FLUE_CI_REACTED": "true"}
    pull = job.github.pull(job.start(fix_tests=AGENT), {"other.txt": "new\n"})
    comment = job.github.say(pull["number"], "ada", "/flue fix-tests")
    cell.environ = environ = job.github.env("issue_comment", job.github.commented(pull, comment))
    job.on_start = lambda pid: threading.Thread(target=_signal, args=(pid, cell), daemon=True).start()
    try:
        return job.run(["action"], environ)
    finally:
        cell.running = False


def _signal(pid: int, cell: Cell) -> None:
    """SIGTERM when the stage is reached; what to wait for may be known only then."""
    while cell.running:
        if cell.reached and cell.reached():
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.3)  # so that the answer comes after the signal
            cell.release()
            return
        time.sleep(0.01)

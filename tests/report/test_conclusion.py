"""How a run is judged."""

from __future__ import annotations

import pytest

from flue_ci.core.messages import Outcome
from flue_ci.report.conclusion import RunRecord, conclude
from flue_ci.report.report import CommandResult

DONE = Outcome(status="finished", reason="done")
PASSED = CommandResult(name="tests", command="pytest", exit_code=0)
FAILED = CommandResult(name="tests", command="pytest", exit_code=1)
LIMIT = Outcome(status="limit", reason="turns")


@pytest.mark.parametrize(
    ("evidence", "conclusion", "code"),
    [
        (RunRecord(outcome=DONE, changed_files=1, checks=(PASSED,)), "success", 0),
        (RunRecord(outcome=DONE, changed_files=0), "no-op", 0),
        (RunRecord(outcome=DONE, changed_files=0, wants_changes=False), "success", 0),
        (RunRecord(outcome=Outcome(status="finished", reason="done", result={"a": 1})), "success", 0),
        (RunRecord(outcome=DONE, changed_files=1, checks=(PASSED, FAILED)), "failed", 1),
        (RunRecord(outcome=DONE, changed_files=0, checks=(FAILED,)), "failed", 1),
        (RunRecord(outcome=LIMIT, changed_files=1, checks=(PASSED,)), "partial", 4),
        (RunRecord(outcome=LIMIT, changed_files=1, checks=(FAILED,)), "partial", 4),
        (RunRecord(outcome=Outcome(status="gave-up", reason="cannot")), "failed", 1),
        (RunRecord(outcome=Outcome(status="failed", reason="refused")), "failed", 1),
        (RunRecord(outcome=None, setup=(FAILED,)), "failed", 1),
        (RunRecord(outcome=DONE, changed_files=1, failure="gone", failure_code=1), "failed", 1),
        (RunRecord(outcome=DONE, failure="bug", failure_code=3), "failed", 3),
        (RunRecord(outcome=None, signal=2, failure="x", failure_code=1), "cancelled", 130),
        (RunRecord(outcome=None, signal=15), "cancelled", 143),
        (RunRecord(outcome=None), "failed", 3),
    ],
)
def test_the_first_thing_that_went_wrong_decides(evidence: RunRecord, conclusion: str, code: int) -> None:
    verdict = conclude(evidence)
    assert (verdict.conclusion, verdict.exit_code) == (conclusion, code)
    assert verdict.reason


def test_a_limit_with_a_failing_check_says_both() -> None:
    reason = conclude(RunRecord(outcome=LIMIT, checks=(FAILED,))).reason
    assert "limit of turns" in reason
    assert "check `tests` failed with exit code 1" in reason

"""How a run is judged."""

from __future__ import annotations

import pytest

from flue_ci.core.messages import Outcome
from flue_ci.report.conclusion import Evidence, judge
from flue_ci.report.report import CommandResult

DONE = Outcome(status="finished", reason="done")
PASSED = CommandResult(name="tests", command="pytest", exit_code=0)
FAILED = CommandResult(name="tests", command="pytest", exit_code=1)
LIMIT = Outcome(status="limit", reason="turns")


@pytest.mark.parametrize(
    ("evidence", "conclusion", "code"),
    [
        (Evidence(outcome=DONE, changed_files=1, checks=(PASSED,)), "success", 0),
        (Evidence(outcome=DONE, changed_files=0), "no-op", 0),
        (Evidence(outcome=DONE, changed_files=0, wants_changes=False), "success", 0),
        (Evidence(outcome=Outcome(status="finished", reason="done", result={"a": 1})), "success", 0),
        (Evidence(outcome=DONE, changed_files=1, checks=(PASSED, FAILED)), "failed", 1),
        (Evidence(outcome=DONE, changed_files=0, checks=(FAILED,)), "failed", 1),
        (Evidence(outcome=LIMIT, changed_files=1, checks=(PASSED,)), "partial", 4),
        (Evidence(outcome=LIMIT, changed_files=1, checks=(FAILED,)), "partial", 4),
        (Evidence(outcome=Outcome(status="gave-up", reason="cannot")), "failed", 1),
        (Evidence(outcome=Outcome(status="failed", reason="refused")), "failed", 1),
        (Evidence(outcome=None, setup=(FAILED,)), "failed", 1),
        (Evidence(outcome=DONE, changed_files=1, failure="gone", failure_code=1), "failed", 1),
        (Evidence(outcome=DONE, failure="bug", failure_code=3), "failed", 3),
        (Evidence(outcome=None, signal=2, failure="x", failure_code=1), "cancelled", 130),
        (Evidence(outcome=None, signal=15), "cancelled", 143),
        (Evidence(outcome=None), "failed", 3),
    ],
)
def test_the_first_thing_that_went_wrong_decides(evidence: Evidence, conclusion: str, code: int) -> None:
    verdict = judge(evidence)
    assert (verdict.conclusion, verdict.exit_code) == (conclusion, code)
    assert verdict.reason


def test_a_limit_with_a_failing_check_says_both() -> None:
    reason = judge(Evidence(outcome=LIMIT, checks=(FAILED,))).reason
    assert "limit of turns" in reason
    assert "check `tests` failed with exit code 1" in reason

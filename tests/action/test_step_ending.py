"""The annotation of a step and the last lines of its log, of every conclusion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flue_ci.action.job import annotation, last_lines, remedy
from flue_ci.report.report import CONCLUSIONS, Conclusion, Failure
from tests.support.golden import FAILED_CHECK, SUCCESS

URL = "https://github.com/ada/tools/pull/7#issuecomment-1"


@pytest.mark.parametrize("conclusion", CONCLUSIONS)
def test_a_red_step_has_an_error_and_a_green_one_that_went_wrong_a_warning(conclusion: Conclusion) -> None:
    report = replace(SUCCESS, conclusion=conclusion, reason="so it was")
    is_bad = conclusion in ("failed", "cancelled", "partial")
    assert annotation(report, URL, is_red=True).startswith("::error title=flue-ci::so it was%0A→ ")
    assert annotation(report, URL, is_red=False).startswith("::warning title=flue-ci::so it was%0A→ ") == is_bad
    assert bool(annotation(report, URL, is_red=False)) == is_bad
    assert remedy(report, URL)
    assert "the job summary" in remedy(report, "")


def test_problems_of_a_spec_are_one_annotation_at_the_line_of_the_first() -> None:
    text = ".flue/agents/a.yml:6:1: limit: unknown key\n.flue/agents/a.yml:7:48: b: the same key twice"
    report = replace(SUCCESS, conclusion="failed", failure=Failure(stage="spec", message=text))
    command = annotation(report, "", is_red=True)
    assert command.startswith(
        "::error file=.flue/agents/a.yml,line=6,col=1::.flue/agents/a.yml:6:1: limit: unknown key%0A"
    )
    assert "%0A.flue/agents/a.yml:7:48: b: the same key twice%0A→ mend the spec" in command
    whole = replace(report, failure=Failure(stage="spec", message=".flue/agents/a.yml: no prompt", hint="add one"))
    assert annotation(whole, "", is_red=True).startswith(
        "::error file=.flue/agents/a.yml::.flue/agents/a.yml: no prompt"
    )
    assert annotation(whole, "", is_red=True).endswith("%0A→ add one")


def test_the_log_ends_with_conclusion_last_words_and_address() -> None:
    assert last_lines(replace(FAILED_CHECK, summary="One.\nTwo.\n\nThree."), URL) == [
        "❌ fix-tests: failed, check `tests` failed with exit code 1",
        "“One. Two.”",
        f"→ {URL}",
    ]
    assert last_lines(replace(SUCCESS, summary="", agent="", reason="r"), "") == ["✅ success, r"]
    (_, words) = last_lines(replace(SUCCESS, summary="word " * 500), "")
    assert len(words) <= 302

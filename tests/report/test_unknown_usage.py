"""Tokens that the model's server does not report are unknown wherever people look, and not 0."""

from __future__ import annotations

import json

from flue_ci.action.job import _outputs
from flue_ci.core.messages import Usage
from flue_ci.report.markdown import markdown
from flue_ci.report.page.render import render_page
from flue_ci.report.report import from_json, to_json
from flue_ci.terminal.result import _figures
from tests.support.reports import report

UNKNOWN = Usage(turns=2, output_tokens=7, cost_usd=None, has_counts=False)


def test_unknown_tokens_are_called_unknown_everywhere() -> None:
    saved = report(usage=UNKNOWN)
    assert json.loads(to_json(saved))["usage"]["has_counts"] is False
    assert from_json(to_json(saved)) == saved
    for text in (
        markdown(saved),
        "".join(str(line) for line in _figures(saved)),
        render_page(saved, b"", None, lambda each: each),
    ):
        assert "unknown" in text
        assert "0 tokens" not in text
        assert "7 tokens" not in text
    assert _outputs(saved, None, "")["tokens"] == ""
    assert _outputs(report(usage=Usage(turns=1, input_tokens=3)), None, "")["tokens"] == "3"


def test_one_turn_without_a_report_makes_the_sum_unknown() -> None:
    known = Usage(turns=1, input_tokens=3, output_tokens=4)
    assert (known + known).known_tokens == 14
    assert (known + UNKNOWN).known_tokens is None
    assert Usage().known_tokens == 0

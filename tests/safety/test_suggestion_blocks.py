"""A finding's words hold no block that a click puts into code: only a suggestion whose place was checked is one."""

from __future__ import annotations

import pytest

from flue_ci.core.proposals import ReviewComment
from flue_ci.report.findings import thread_comment
from flue_ci.safety.markdown import LinkPolicy, without_suggestions


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("```suggestion\nx\n```", "```\nx\n```"),
        ("Text\n~~~ Suggestion:-1\nx\n~~~", "Text\n~~~\nx\n~~~"),
        ("```sugges&#116;ion\nx\n```", "```\nx\n```"),
        ("> - ```suggestion\n>   x\n>   ```", "> - ```\n>   x\n>   ```"),
        ("A suggestion:\n```python\nx\n```", "A suggestion:\n```python\nx\n```"),
        ("````text\n```suggestion\nx\n```\n````", "````text\n```suggestion\nx\n```\n````"),
    ],
)
def test_a_block_that_can_be_applied_becomes_ordinary_code(text: str, shown: str) -> None:
    assert without_suggestions(text) == shown


def test_a_finding_has_only_the_suggestion_whose_place_was_checked() -> None:
    finding = ReviewComment(
        path="app.py", line=2, severity="high", title="Wrong", body="```suggestion\nrm\n```", suggestion="fine"
    )
    text = thread_comment(finding, LinkPolicy())
    assert text.count("suggestion") == 1
    assert "```suggestion\nfine\n```" in text

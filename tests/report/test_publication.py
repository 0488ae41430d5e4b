"""What was published, and what was not accepted, as people read it."""

from __future__ import annotations

import io
from dataclasses import replace

from flue_ci.core.proposals import ChangeDescription, LabelProposal, ReplyProposal, ReviewComment, TriageProposal
from flue_ci.report.markdown import markdown
from flue_ci.report.page.render import render_page
from flue_ci.report.publication import describe_proposal, publication_rows, publication_section
from flue_ci.report.report import Published, from_json, to_json
from flue_ci.terminal.result import print_result
from tests.support.reports import FULL, PATCH

REPORT = replace(
    FULL,
    published=(
        Published(publisher="comment", url="https://github.com/a/b/pull/7#c1"),
        Published(publisher="commit", url="https://github.com/a/b/commit/1", commit="abc123def4567", verified=True),
        Published(publisher="pull-request", detail="the branch `x` is protected, @ada", state="refused"),
    ),
    proposals=(
        LabelProposal(name="urgent", accepted=False, reason="not in publish.labels"),
        LabelProposal(name="bug"),
    ),
)


def test_rows_name_what_was_done_and_what_was_refused() -> None:
    section = publication_section(REPORT)
    assert "✅ [**commit**](https://github.com/a/b/commit/1) · `abc123def` · verified by GitHub" in section
    assert "🚫 **pull request** · the branch" in section
    assert "`@ada`" in section
    assert "label urgent: not in publish.labels" in section
    assert "bug" not in section


def test_what_was_committed_is_not_to_be_applied_again() -> None:
    committed = Published(publisher="commit", commit="abc123def4567", verified=True)
    refused = Published(publisher="commit", state="refused", detail="not committed: the branch moved")
    assert "git apply" not in markdown(replace(FULL, published=(committed,)), PATCH)
    assert "git apply --3way" in markdown(replace(FULL, published=(refused,)), PATCH)


def test_every_view_shows_them() -> None:
    out = io.StringIO()
    print_result(REPORT, b"", None, out=out)
    page = render_page(REPORT, b"", None, str)
    for text in (markdown(REPORT), out.getvalue(), page):
        assert "abc123def" in text
        assert "is protected" in text
        assert "label urgent" in text


def test_a_local_run_shows_what_would_be_done_on_github() -> None:
    out = io.StringIO()
    print_result(replace(REPORT, trigger=None), b"", None, out=out)
    assert "proposed: label bug" in out.getvalue()


def test_a_foreign_report_cannot_bring_an_address_that_acts() -> None:
    for url in ("javascript:alert(1)", "https://x/)[y](z", 'https://x/"onclick=1', "https://x/\n#"):
        report = replace(FULL, published=(Published(publisher="commit", url=url),))
        assert publication_rows(report)[0].url == ""


def test_proposals_survive_the_way_through_a_file() -> None:
    proposals = (
        ChangeDescription(title="Greet", body="Because."),
        ReviewComment(path="a.py", line=3, start_line=1, title="Off by one", suggestion="x\n", finding="f1"),
        LabelProposal(name="bug", accepted=False, reason="no"),
        TriageProposal(labels=("bug",), assignees=("ada",), duplicate_of=4),
        ReplyProposal(body="Hello"),
    )
    report = replace(FULL, proposals=proposals)
    assert from_json(to_json(report)) == report
    assert [describe_proposal(each) for each in proposals] == [
        "change Greet",
        "review comment on a.py:3, Off by one",
        "label bug",
        "triage, bug, assigned to ada, duplicate of issue 4",
        "reply, Hello",
    ]

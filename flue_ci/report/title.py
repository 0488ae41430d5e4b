"""The title of a report: the answer in a line, and the agent's words without what the title already says. Pure."""

from flue_ci.core.text import one_line
from flue_ci.report.conclusion import EXIT_CODES
from flue_ci.report.links import Commit, link_places
from flue_ci.report.report import Report
from flue_ci.report.result_table import describe_findings, find_findings
from flue_ci.report.words import LONGEST_TITLE, first_sentence, render_pieces, shorten_markdown

MARKS = {"success": "✅", "no-op": "➖", "skipped": "⏭️", "partial": "⏸️", "failed": "❌", "cancelled": "🛑"}
_ANSWER = "💬"  # nothing was changed, something was said


def title_and_summary(report: Report, commit: Commit) -> tuple[str, str]:
    """The title, one line that says how the run ended, and the agent's words without the sentence that became it.

    It is what a review found, or the agent's first sentence, or, where the run did not end well or the agent said
    nothing, the reason that the host recorded. A sentence stays when it is cut in the title, or has what the title
    cannot have: a link, or a place in a file of `commit`.
    """
    mark, summary = MARKS[report.conclusion], report.summary
    if EXIT_CODES[report.conclusion] or report.conclusion == "skipped":
        return f"### {mark} {_reason(report)}", summary
    if not report.changes.files:
        mark = _ANSWER
        findings = find_findings(report.result)
        if findings is not None:
            words = describe_findings(findings)
            return f"### {mark} {words[0].upper()}{words[1:]}", summary
    sentence = first_sentence(summary)
    if sentence is None:
        return f"### {_mark_of_reason(report)} {_reason(report)}", summary
    words = render_pieces(sentence.pieces)
    beginning = summary.removesuffix(sentence.rest)
    if len(sentence.visible) <= LONGEST_TITLE and link_places(beginning, commit) == beginning:
        summary = sentence.rest
    return f"### {mark} {words}", summary


def _mark_of_reason(report: Report) -> str:
    """Words without a sentence, such as a list, are an answer as well."""
    if not report.changes.files and (report.summary.strip() or report.result is not None):
        return _ANSWER
    return MARKS[report.conclusion]


def _reason(report: Report) -> str:
    reason = shorten_markdown(one_line(report.reason, 1_000), 300)
    if report.agent:  # the run may have ended before one was chosen
        reason = f"{shorten_markdown(report.agent)}: {reason}"
    return reason

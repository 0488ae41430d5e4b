"""What the step of a run ends with: one annotation where all is not well, and the last lines of its log. Pure."""

import re

from flue_ci.core.text import one_line
from flue_ci.gate.workflow_commands import error_annotation, workflow_command
from flue_ci.report.publication import publication_rows
from flue_ci.report.report import Report
from flue_ci.report.title import MARKS

_PLACE = re.compile(r"([^:\n]+):(?:(\d+):(\d+):)?")  # at the beginning of a spec's problem
_MAX_CHARS = 3_000  # GitHub cuts an annotation at 4 KB
_LAST_WORDS = 300


def annotation(report: Report, comment_url: str, *, is_red: bool) -> str:
    """The workflow command that shows why a run did not end well and what to do: an error when the step is red, else a
    warning; "" when all is well. Problems of a spec are shown together, at the line of the first."""
    if not is_red and report.conclusion not in ("failed", "cancelled", "partial"):
        return ""
    level, text, place = "error" if is_red else "warning", report.reason, None
    if report.failure and report.failure.stage == "spec":
        text = report.failure.message
        place = _PLACE.match(text)
    text = f"{text[:_MAX_CHARS]}\n→ {remedy(report, comment_url)[:_MAX_CHARS]}"
    if place and is_red:
        return error_annotation(place[1], int(place[2] or 0), int(place[3] or 0), text)
    return workflow_command(level, text, title="flue-ci")


def remedy(report: Report, comment_url: str) -> str:
    """What to do next, for a person who looks at the job."""
    where = comment_url or "the job summary"
    if report.failure and report.failure.hint:
        return report.failure.hint
    if report.failure and report.failure.stage == "spec":
        return "mend the spec on the default branch; `flue-ci validate` shows the same problems in a checkout"
    if report.conclusion == "partial":
        return f"ask for a smaller part, or raise the spec's `limits`; what is done so far is in {where}"
    if report.conclusion == "cancelled":
        return f"ask again, unless it was meant to end; what is done so far is in {where}"
    if any(not check.passed for check in report.checks):
        return f"the output of the checks is in {where}; ask again and say what is to be different"
    return f"{where} has what is known; ask again, or look at the lines above"


def last_lines(report: Report, address: str) -> list[str]:
    """Conclusion, the agent's last words, what was published, and where the answer is, each on a line."""
    name = f"{report.agent}: " if report.agent else ""
    lines = [f"{MARKS[report.conclusion]} {name}{report.conclusion}, {one_line(report.reason, 500)}"]
    paragraphs = [part for part in report.summary.split("\n\n") if part.strip()]
    if paragraphs:
        lines.append(f"“{one_line(paragraphs[0], _LAST_WORDS)}”")
    for row in publication_rows(report):
        lines.append(f"{row.mark} {' · '.join(filter(None, [row.name, row.commit, row.text, row.url]))}")
    if address:
        lines.append(f"→ {address}")
    return lines

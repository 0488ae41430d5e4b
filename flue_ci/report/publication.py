"""What became of a report beside its comment, and which proposals of the agent were not accepted, as rows to show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flue_ci.core.proposals import Proposal
from flue_ci.core.text import one_line
from flue_ci.report.report import Published, Report
from flue_ci.safety.markdown import details, escape, inline_code

_MARKS = {"done": "✅", "refused": "🚫", "waiting": "⏳"}
_SAFE_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&*+,;=%-]{1,2000}")
_MAX_ROWS = 50
_TEXT_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationRow:
    """`name` is that of the publisher, `text` one line about what it did; the texts are not escaped. `url` is the page
    where it is, "" for none."""

    mark: str
    name: str
    text: str
    url: str = ""
    commit: str = ""


def publication_rows(report: Report) -> list[PublicationRow]:
    """A row for everything that was published, or refused, beside the comment."""
    return [_row(entry) for entry in _entries(report)]


def _entries(report: Report) -> list[Published]:
    return [entry for entry in report.published if entry.publisher != "comment" and entry.state != "nothing"]


def _row(entry: Published) -> PublicationRow:
    text = one_line(entry.detail, _TEXT_CHARS)
    if entry.verified is not None:
        signature = "verified by GitHub" if entry.verified else "not verified by GitHub"
        text = " · ".join(filter(None, [signature, text]))
    url = entry.url
    if not _SAFE_URL.fullmatch(url):  # a report that was read from a file may hold anything
        url = ""
    return PublicationRow(
        mark=_MARKS[entry.state], name=entry.publisher.replace("-", " "), text=text, url=url, commit=entry.commit[:9]
    )


def publication_section(report: Report) -> str:
    """The rows as Markdown, and a fold with the proposals that were not accepted; empty for nothing."""
    parts = []
    if lines := [publication_line(entry) for entry in _entries(report)]:
        parts.append("#### Published\n\n" + "\\\n".join(lines[:_MAX_ROWS]))
    if entries := [f"- {escape(text)}" for text in rejections(report)]:
        parts.append(details("Proposals that were not accepted", "\n".join(entries[:_MAX_ROWS])))
    return "\n\n".join(parts)


def publication_line(entry: Published) -> str:
    """`✅ [**commit**](url) · `abc123def` · Committed to topic.` as Markdown."""
    row = _row(entry)
    name = f"**{escape(row.name)}**"
    if row.url:
        name = f"[{name}]({row.url})"
    return " · ".join(filter(None, [f"{row.mark} {name}", row.commit and inline_code(row.commit), escape(row.text)]))


def rejections(report: Report) -> Iterator[str]:
    """A line for each proposal that was not accepted, with the reason."""
    comments = [proposal for proposal in report.proposals if proposal.kind == "review_comment"]
    titles = {(comment.path, comment.title) for comment in comments if comment.accepted}
    for proposal in report.proposals:
        if proposal.kind == "review_comment" and (proposal.path, proposal.title) in titles:
            continue  # noted at a second attempt
        if not proposal.accepted:
            yield one_line(f"{describe_proposal(proposal)}: {proposal.reason}", _TEXT_CHARS)


def open_proposals(report: Report) -> Iterator[str]:
    """A line for each proposal of a local run that was accepted: only on a forge it is acted on. Findings have a list
    of their own."""
    for proposal in report.proposals:
        if proposal.accepted and report.trigger is None and proposal.kind != "review_comment":
            yield one_line(describe_proposal(proposal), _TEXT_CHARS)


def describe_proposal(proposal: Proposal) -> str:
    """What was proposed, in a few words: `label bug`, `review comment on a.py:3, Off by one`."""
    kind = proposal.kind.replace("_", " ")
    match proposal.kind:
        case "change" | "check_run":
            return f"{kind} {proposal.title}"
        case "review_comment":
            return f"{kind} on {proposal.path}:{proposal.line}, {proposal.title}"
        case "finding_outcome":
            return f"{proposal.finding} {proposal.outcome}"
        case "label":
            return f"{kind} {proposal.name}"
        case "triage":
            parts = [*proposal.labels, *(f"assigned to {login}" for login in proposal.assignees)]
            if proposal.duplicate_of:
                parts.append(f"duplicate of issue {proposal.duplicate_of}")
            return f"{kind}, {', '.join(parts)}"
        case "reply":
            return f"{kind}, {one_line(proposal.body, 80)}"

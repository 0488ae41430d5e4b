"""Title, body and branch of a pull request of ours, and the marker by which it is recognized. Pure; all words are
untrusted.

The marker's line says which agent it is of, what the run was about, and what title and text were when we wrote them:
what a person has changed since is left alone.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from flue_ci.core.discussion import PullRequest
from flue_ci.core.text import AGENT_NAME, clip, one_line
from flue_ci.gate.policy import MARKER
from flue_ci.publish.commit_message import clean_text, describe_change
from flue_ci.report.markdown import checks_section, footer, make_page
from flue_ci.report.report import Report
from flue_ci.report.words import with_smaller_headings
from flue_ci.safety.markdown import untrusted_markdown_within

_LONGEST_TITLE = 200  # characters; GitHub takes 256
_LONGEST_WORDS, _LONGEST_BODY = 40_000, 65_000
_MARKER = re.compile(rf"{MARKER} pull agent=({AGENT_NAME}) for=(\S+) text=([0-9a-f]{{16}}) -->")
_LONGEST_SLUG = 40  # characters
_MAX_NAMES = 10
_NUMBER = re.compile(r"[-_.]\{number\}|\{number\}[-_.]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PullText:
    """`subject` is what the run was about: `#12`, or the branch it began on; the body has no marker yet."""

    agent: str
    subject: str
    title: str
    body: str

    def with_marker(self) -> str:
        """The body as it is written."""
        digest = _digest(self.title, self.body)
        return f"{MARKER} pull agent={self.agent} for={_subject(self.subject)} text={digest} -->\n{self.body}"

    def is_of_agent(self, pull: PullRequest) -> bool:
        """Whether a pull request is of the same agent, whatever it is for."""
        match = _MARKER.fullmatch(_first_line(pull.body))
        return match is not None and match[1] == self.agent

    def is_about(self, pull: PullRequest) -> bool:
        """Whether a pull request is for the same agent and subject. Anybody can write a marker: look at the author."""
        match = _MARKER.fullmatch(_first_line(pull.body))
        return match is not None and (match[1], match[2]) == (self.agent, _subject(self.subject))


def is_edited(pull: PullRequest) -> bool:
    """Whether somebody has changed title or text of a pull request of ours."""
    match = _MARKER.fullmatch(_first_line(pull.body))
    rest = pull.body.replace("\r\n", "\n").partition("\n")[2]
    return match is None or match[3] != _digest(pull.title, rest)


def pull_text(report: Report, subject: str, *, server_url: str) -> PullText:
    """Title and text of what the agent proposed, else of its answer; with what the host recorded of checks, and of the
    run."""
    title, words = describe_change(report)
    page = make_page(report, b"", server_url)
    checks = checks_section(report, page)
    for limit, section in ((_LONGEST_WORDS, checks), (_LONGEST_WORDS // 4, checks), (_LONGEST_WORDS // 4, "")):
        text = with_smaller_headings(untrusted_markdown_within(limit, words or report.summary, page.policy))
        parts = [text, _reference(report), section, footer(report, page.commit)]
        body = "\n\n".join(filter(None, parts)).replace(MARKER, MARKER.replace(" ", ""))
        if len(body) <= _LONGEST_BODY:
            break
    return PullText(
        agent=report.agent,
        subject=subject,
        title=clip(one_line(clean_text(one_line(title, 1_000)), 1_000), _LONGEST_TITLE) or f"Changes of {report.agent}",
        body=body,
    )


def _reference(report: Report) -> str:
    """A reference of ours, by which people find the way back; it closes nothing."""
    trigger = report.trigger
    if trigger is None or trigger.number is None:
        return ""
    if not trigger.is_pull_request:
        return f"For #{trigger.number}."
    if trigger.from_fork:
        return f"With the commits of #{trigger.number}, and one on top."
    return f"On top of #{trigger.number}: merge it there, or after it."


def _digest(title: str, body: str) -> str:
    return hashlib.sha256(f"{title.strip()}\n{body.strip()}".encode()).hexdigest()[:16]


def _subject(subject: str) -> str:
    return quote(subject, safe="/#")


def _first_line(body: str) -> str:
    return body.replace("\r\n", "\n").partition("\n")[0].strip()


def branch_names(template: str, *, agent: str, number: int | None, title: str) -> Iterator[str]:
    """The name for the changes with that title, and others for when there is a foreign branch of that name. Without a
    number its place and the sign before it are left out."""
    if number is None:
        template = _NUMBER.sub("", template)
    name = template.format(agent=agent, number=number, slug=slug(title))
    name = re.sub(r"/{2,}", "/", name).strip("/.") or f"flue/{agent}-{slug(title)}"
    yield name
    for count in range(2, _MAX_NAMES):
        yield f"{name}-{count}"


def slug(title: str) -> str:
    """The words of a title in lower case with a hyphen between them: letters without marks and digits only."""
    letters = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")
    if len(words) > _LONGEST_SLUG:
        words = words[: _LONGEST_SLUG + 1].rpartition("-")[0] or words[:_LONGEST_SLUG]
    return words or "changes"

"""The findings of earlier reviews, read from the threads of a pull request, and which threads end by themselves.

The pull request is the only memory: a thread is ours by the marker of its first comment and by its author. Who may
dismiss a finding is a matter of roles, so that a stranger's words close nothing.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from flue_ci.core.concurrency import together
from flue_ci.core.ports import Forge
from flue_ci.core.proposals import SEVERITIES, FindingOutcome, ReviewComment
from flue_ci.core.review import PostedReview, ReviewHistory, ReviewThread
from flue_ci.core.review_scope import CATEGORY, FINGERPRINT, EarlierFinding, category_name
from flue_ci.core.text import AGENT_NAME
from flue_ci.gate.policy import MARKER
from flue_ci.report.findings import HOW_TO_DISMISS
from flue_ci.report.report import ReviewRecord

_FINDING = re.compile(
    rf"{MARKER} finding agent=(?P<agent>{AGENT_NAME}) severity=(?P<severity>[a-z]+)"
    rf" category=(?P<category>{CATEGORY})(?: code=(?P<code>[0-9a-f:.]+))? -->"
)
_REVIEW = re.compile(
    rf"{MARKER} review agent=(?P<agent>{AGENT_NAME}) head=(?P<head>[0-9a-f]{{40,64}})"
    r" key=(?P<key>[0-9a-f]{12}) -->"
)
_LISTED = re.compile(rf"{MARKER} listed((?: [0-9a-f]{{12}})+) -->")
_QUOTE = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
_ADDRESS = re.compile(r"^(?:/[a-z-]+|@[\w-]+(?:\[bot\])?)[,:]?\s+")
_WONT_FIX = re.compile(r"\W{0,3}(?:(?:we|i)\s+)?(?:won['’]?t|will\s+not)[\s_-]*fix(?:ed)?\b(?!\w)", re.IGNORECASE)
_MAX_PEOPLE = 20  # whose roles are asked for


@dataclass(frozen=True, slots=True)
class OwnThread:
    """A thread of ours, and the finding that it is about."""

    thread: ReviewThread
    finding: EarlierFinding


def finding_marker(agent: str, comment: ReviewComment) -> str:
    """The first line of a thread about a finding, by which it is recognized."""
    code = ""
    if FINGERPRINT.fullmatch(comment.fingerprint):
        code = f" code={comment.fingerprint}"
    category = category_name(comment.category)
    return f"{MARKER} finding agent={agent} severity={comment.severity} category={category}{code} -->"


def review_marker(agent: str, head: str, key: str) -> str:
    """The first line of a review's text: what it is of, and the run that it comes from."""
    return f"{MARKER} review agent={agent} head={head} key={key} -->"


def listed_marker(comments: Sequence[ReviewComment]) -> str:
    """Remembers findings that have no thread, but stand in the text of a review; empty for none."""
    if not comments:
        return ""
    return f"{MARKER} listed {' '.join(map(listed_name, comments))} -->"


def listed_name(comment: ReviewComment) -> str:
    """What a finding in the text of a review is recognized by: file, category, and its code or else its title."""
    words = "\0".join((comment.path, comment.category, comment.fingerprint or comment.title.lower()))
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def listed_before(history: ReviewHistory) -> frozenset[str]:
    """The names of the findings in the texts of our reviews."""
    bodies = [review.body for review in history.reviews if review.is_ours]
    return frozenset(name for body in bodies for match in _LISTED.finditer(body) for name in match[1].split())


def last_review(history: ReviewHistory, agent: str) -> tuple[PostedReview, str, str] | None:
    """The agent's newest review, the commit that was reviewed last, and the key of the run."""
    for review in reversed(history.reviews):
        match = _REVIEW.match(review.body)
        if review.is_ours and match and match["agent"] == agent:
            return review, match["head"], match["key"]
    return None


async def read_findings(
    history: ReviewHistory, agent: str, roles: Collection[str], forge: Forge, moves: Mapping[str, str]
) -> tuple[OwnThread, ...]:
    """The agent's own threads with what they say, in their order. `roles` are those whose people may dismiss; `moves`
    is where files are now. Raises `ForgeError`."""
    pairs = [(thread, match) for thread in history.threads if (match := _own_marker(thread, agent))]
    people = [_dismissers(thread, agent) for thread, _ in pairs]
    me = (await forge.me()).login.removesuffix("[bot]") if any(people) else ""
    logins = [*dict.fromkeys(login for each in people for login in each if login != me)][:_MAX_PEOPLE]
    has_role = dict(zip(logins, await together(*(forge.role(login) for login in logins)), strict=True))
    threads = []
    for (thread, match), dismissers in zip(pairs, people, strict=True):
        by = next((login for login in dismissers if has_role.get(login) in roles), "")
        threads.append(OwnThread(thread, _finding(thread, match, by, moves)))
    return tuple(threads)


def _own_marker(thread: ReviewThread, agent: str) -> re.Match[str] | None:
    if not thread.comments or not thread.comments[0].is_ours:
        return None
    match = _FINDING.match(thread.comments[0].body)
    if match and match["agent"] == agent and match["severity"] in SEVERITIES:
        return match
    return None


def _finding(thread: ReviewThread, match: re.Match[str], by: str, moves: Mapping[str, str]) -> EarlierFinding:
    first = thread.comments[0]
    finding = EarlierFinding(
        id=f"F{first.id}",
        thread=thread.id,
        path=moves.get(thread.path, thread.path),
        line=thread.line,
        severity=match["severity"],
        category=match["category"],
        fingerprint=match["code"] or "",
        state="open",
        text=first.body[match.end() :].replace(HOW_TO_DISMISS, "").strip(),
    )
    if by:
        return replace(finding, state="dismissed", by=by)
    if thread.is_resolved:
        finding = replace(finding, state="closed", can_reopen=thread.can_reopen and thread.line is not None)
    return finding


def _dismissers(thread: ReviewThread, agent: str) -> list[str]:
    """Who said that the finding is not to be mended: by words, by 👎 on it, or by ending the thread."""
    replies = [comment for comment in thread.comments[1:] if not comment.is_ours]
    logins = [comment.author for comment in replies if is_dismissal(comment.body, agent)]
    logins += thread.comments[0].rejected_by
    if thread.is_resolved:
        logins.append(thread.resolved_by)
    return [login for login in logins if login]


def is_dismissal(text: str, agent: str = "") -> bool:
    """Whether a reply begins with "won't fix", in one of its spellings, perhaps behind whom it speaks to. What it
    quotes is somebody else's."""
    words = _QUOTE.sub("", text).strip()
    words = _ADDRESS.sub("", words)
    if agent:
        words = re.sub(rf"^{re.escape(agent)}\s+", "", words)
    return _WONT_FIX.match(words) is not None


def ending_threads(
    threads: Sequence[OwnThread],
    again: Collection[str],
    record: ReviewRecord,
    outcomes: Mapping[str, FindingOutcome],
    *,
    is_whole: bool,
) -> list[ReviewThread]:
    """The threads that end by themselves. `again` are the ids of the findings that were found again; `is_whole`: the
    review was complete, and about the whole pull request."""
    looked_at = frozenset(record.looked_at)
    return [
        own.thread
        for own in threads
        if own.finding.state == "open"
        and (
            # A reply in this very thread made the agent change its mind.
            (own.finding.id == record.asked_about and own.finding.id in outcomes)
            or (is_whole and own.finding.id not in again and _is_over(own, outcomes, looked_at.__contains__))
        )
    ]


def _is_over(own: OwnThread, outcomes: Mapping[str, FindingOutcome], was_seen: Callable[[str], bool]) -> bool:
    """Nobody has answered, the file was looked at (or is gone), and the lines are changed or the agent has verified
    that it is fixed."""
    thread, finding = own.thread, own.finding
    if not thread.is_complete or any(comment.is_person and not comment.is_ours for comment in thread.comments):
        return False
    if finding.path and not was_seen(finding.path):
        return False
    outcome = outcomes.get(finding.id)
    return thread.is_outdated or (outcome is not None and outcome.outcome == "fixed")

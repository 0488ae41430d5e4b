"""The publisher `review`: one review with the new findings, and the ends of threads whose findings are gone.

What is found again has its thread already; what people dismissed is only counted. Every step may be done again: a
review is known by its marker, a thread that has ended stays so.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.core.proposals import FindingOutcome, ReviewComment
from flue_ci.core.review import LineComment, PostedReview, ReviewDraft, ReviewForge, ReviewThread
from flue_ci.core.review_scope import EarlierFinding, match_findings
from flue_ci.core.text import plural
from flue_ci.publish.findings import (
    OwnThread,
    ending_threads,
    finding_marker,
    last_review,
    listed_before,
    listed_marker,
    listed_name,
    read_findings,
    review_marker,
)
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.findings import count_findings, findings_list, new_findings, thread_comment
from flue_ci.report.links import head_commit, link_policy
from flue_ci.report.report import Published, Report, ReviewRecord

_NOTHING = "0" * 40  # in place of a commit that was reviewed
_SHA = re.compile(r"[0-9a-f]{40,64}")
_UNPROCESSABLE = 422
_MAX_BODY = 60_000
_MAX_AGAIN = 1_000  # findings of a report that are looked at
_WORDS = re.compile(r"\A[^\n]*\n\*\*([^*\n]+)\*\*$", re.MULTILINE)
_AGAIN = "<sub>🔁 "
_MISSING_RIGHTS = "cannot be resolved: the job needs contents: write besides pull-requests: write"
MAX_ATTEMPTS = 16  # drafts that are tried to find the comments at fault


@dataclass(frozen=True, slots=True, kw_only=True)
class _Balance:
    """What is to be published: the new findings, and how many are open still, dismissed, and resolved now. `trouble`
    says why threads could not be resolved."""

    new: tuple[ReviewComment, ...]
    open: int
    dismissals: int
    resolutions: int = 0
    trouble: str = ""

    def describe(self) -> str:
        """`2 new findings (1 high, 1 low), 3 still open, 1 dismissed, 2 resolved`."""
        parts = [count_findings(self.new, "new finding")]
        numbers = (self.open, "still open"), (self.dismissals, "dismissed"), (self.resolutions, "resolved")
        parts += [f"{count} {words}" for count, words in numbers if count]
        return ", ".join(parts)


@runtime_checkable
class _ReviewsForge(Forge, ReviewForge, Protocol):
    """A forge that has both."""


class ReviewPublisher:
    """Publishes the findings of a run on a pull request."""

    needs_forge = True

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """`url` is that of the review. Raises `ForgeError`."""
        record, trigger, forge = report.review, report.trigger, target.forge
        if record is None or trigger is None or target.number is None or not isinstance(forge, _ReviewsForge):
            return _refusal("there is no review: the run was about no pull request, or ended before the agent worked")
        return await _Review(report, record, target, forge).publish()


def _refusal(detail: str) -> Published:
    return Published(publisher="review", state="refused", detail=detail)


class _Review:
    def __init__(self, report: Report, record: ReviewRecord, target: PublishTarget, forge: _ReviewsForge) -> None:
        assert target.number is not None
        self._report, self._record, self._target = report, record, target
        self._forge, self._number = forge, target.number
        assert report.trigger is not None
        self._head = report.trigger.head_sha  # not that of the record, which may come from a file
        self._is_whole = record.complete and report.trigger.in_thread is None
        proposals = "".join(map(repr, report.proposals))
        key = f"{report.agent} {report.started} {self._head} {proposals}"
        self._key = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self._policy = link_policy(report, target.server_url)
        self._last: tuple[PostedReview, str, str] | None = None  # see `last_review`

    async def publish(self) -> Published:
        history = await self._forge.review_history(self._number)
        threads = await read_findings(
            history, self._report.agent, self._target.publishing.roles, self._forge, self._record.moves
        )
        self._last = last_review(history, self._report.agent)
        balance, again = self._balance([own.finding for own in threads], listed_before(history))
        outcomes = {each.finding: each for each in self._report.proposals if isinstance(each, FindingOutcome)}
        await self._reopen([own for own in threads if own.finding.id in again and own.finding.state == "closed"])
        # Of a head that nobody has reviewed yet, a thread may be outdated by what nobody has looked at.
        is_current = history.head == self._head
        ending = ending_threads(threads, again, self._record, outcomes, is_whole=self._is_whole and is_current)
        balance = await self._resolve(balance, ending)
        try:
            review = await self._post(balance)
        except ForgeError as error:
            if error.status != _UNPROCESSABLE:
                raise
            head = self._head[:9]
            return _refusal(f"{error} (was {head} replaced by a force-push? the findings are in the report)")
        detail = balance.describe()
        if self._last and self._last[2] == self._key and (words := _WORDS.search(self._last[0].body)):
            detail = words[1].lower()
        if balance.trouble:
            detail += f"; {balance.trouble}"
        urls = [own.thread.comments[0].url for own in threads] or [""]
        return Published(publisher="review", url=review.url if review else urls[0], detail=detail)

    def _balance(self, findings: Sequence[EarlierFinding], names: Collection[str]) -> tuple[_Balance, set[str]]:
        """What of the report is new, by the threads as they are now and the `names` of what stands in reviews; and the
        ids of what was found again."""
        proposals = [each for each in self._report.proposals if isinstance(each, ReviewComment)][:_MAX_AGAIN]
        ids = {finding.id: finding for finding in findings if finding.has_thread}
        again = {each.finding for each in proposals if each.finding in ids}
        rest = [each for each in proposals if each.accepted and each.finding not in ids]
        candidates = [finding for finding in ids.values() if finding.id not in again]
        without_id = [each for each in rest if each.finding != "new"]
        places = [(each.path, each.line, each.category, each.fingerprint) for each in without_id]
        matches = dict(zip(map(id, without_id), match_findings(places, candidates), strict=True))
        new = [replace(each, finding="") for each in rest if matches.get(id(each)) is None]
        new = [each for each in new if listed_name(each) not in names]
        again |= {finding.id for finding in matches.values() if finding}
        dismissals = sum(finding.state == "dismissed" for finding in findings)
        still_open = sum(finding.state == "open" or finding.id in again for finding in findings)
        still_open -= sum(finding.state == "dismissed" and finding.id in again for finding in findings)
        comments = new_findings(replace(self._report, proposals=tuple(new)))
        return _Balance(new=tuple(comments), open=still_open, dismissals=dismissals), again

    async def _reopen(self, threads: Sequence[OwnThread]) -> None:
        """Opens threads again that somebody without a role had ended, or we, and whose finding is still there."""
        if threads:
            for error in (await self._forge.reopen_threads([own.thread.id for own in threads])).values():
                self._target.notify(f"a thread cannot be opened again: {error}")

    async def _resolve(self, balance: _Balance, threads: Sequence[ReviewThread]) -> _Balance:
        """Ends the threads that this token may end. What it may not end is named once, and no failure."""
        ids = [thread.id for thread in threads if thread.can_resolve]
        errors = dict(await self._forge.resolve_threads(ids)) if ids else {}
        count = len(ids) - len(errors)
        trouble = ""
        if len(threads) > count:
            is_right = len(ids) < len(threads) or any(error.status == 403 for error in errors.values())
            reason = _MISSING_RIGHTS if is_right else f"could not be resolved: {next(iter(errors.values()))}"
            trouble = f"{plural(len(threads) - count, 'thread')} whose finding is gone {reason}"
            self._target.notify(trouble)
        return replace(balance, open=balance.open - count, resolutions=count, trouble=trouble)

    async def _post(self, balance: _Balance) -> PostedReview | None:
        """The review with what is new. Without anything new the last one is brought up to date instead, so that a push
        that changes nothing for the better or worse makes no noise."""
        last = self._last
        if last and last[2] == self._key:
            return last[0]
        if not balance.new and not self._is_whole:
            return last[0] if last else None
        if not balance.new and last:
            await self._forge.edit_review(self._number, last[0].id, self._update(last[0].body, balance))
            return last[0]
        most = self._target.publishing.rules.review_comments
        inline = [each for each in balance.new if not each.in_summary][:most]
        comments = {self._line_comment(each): each for each in inline}
        summary = [each for each in balance.new if each not in inline]

        def body(left_out: Sequence[LineComment]) -> str:
            return self._body(balance, [*(comments[each] for each in left_out), *summary])

        review, _ = await post_review(self._forge, self._number, self._head, list(comments), body)
        return review

    def _line_comment(self, finding: ReviewComment) -> LineComment:
        redact = self._target.redact
        is_whole = finding.suggestion is None or redact(finding.suggestion) == finding.suggestion
        text = redact(thread_comment(finding, self._policy, has_suggestion=is_whole))
        return LineComment(
            path=finding.path,
            line=finding.line,
            side=finding.side,
            start_line=finding.start_line,
            body=f"{finding_marker(self._report.agent, finding)}\n{text}",
        )

    def _body(self, balance: _Balance, elsewhere: Sequence[ReviewComment]) -> str:
        """The text of the review: numbers, what was looked at, and the findings that have no line."""
        words = balance.describe()
        parts = [f"**{words[0].upper()}{words[1:]}**"]
        if balance.trouble:
            parts.append(f"⚠️ {balance.trouble}")
        if elsewhere:
            commit = head_commit(self._report, self._target.server_url)
            parts.append(f"#### Not on lines of the diff\n\n{findings_list(elsewhere, commit, self._policy)}")
            parts.append(listed_marker(elsewhere))
        parts.append(f"<sub>{self._coverage()}</sub>")
        text = self._target.redact("\n\n".join(parts))
        if len(text) > _MAX_BODY and elsewhere:  # a cut in the middle could open the code around a mention
            return self._body(balance, elsewhere[: len(elsewhere) // 2])
        return f"{self._marker(self._last)}\n{text[:_MAX_BODY]}"

    def _update(self, body: str, balance: _Balance) -> str:
        """The last review's text with a line about this one, and a marker that remembers it."""
        text = body.partition("\n")[2].rstrip()
        rest, _, last_line = text.rpartition("\n")
        if last_line.startswith(_AGAIN):
            text = rest.rstrip()
        line = f"{_AGAIN}Looked again at {self._head[:7]}: {balance.describe()}.</sub>"
        return f"{self._marker(None)}\n{text[:_MAX_BODY]}\n\n{line}"

    def _marker(self, last: tuple[PostedReview, str, str] | None) -> str:
        """A review that was not complete leaves as reviewed what was so before."""
        head = self._head
        if not self._is_whole:
            head = last[1] if last else _NOTHING
        return review_marker(self._report.agent, head, self._key)

    def _coverage(self) -> str:
        record = self._record
        if _SHA.fullmatch(record.since) and record.since != self._head:
            files = plural(record.changed_files, "file")
            text = f"Reviewed: what changed from {record.since[:7]} to {self._head[:7]} ({files}), the rest as context"
        else:
            text = f"Reviewed: all of the pull request at {self._head[:7]}"
        if not record.complete:
            text += ". The review ended early, so that more may be found"
        return f"{text}."


async def post_review(
    forge: ReviewForge,
    number: int,
    commit: str,
    comments: Sequence[LineComment],
    body: Callable[[Sequence[LineComment]], str],
) -> tuple[PostedReview, tuple[LineComment, ...]]:
    """The review of `commit`, and those of its comments that the forge did not take. `body(left_out)` is its text.

    A review is taken whole or not at all, and the refusal names no comment: those at fault are found by halving, with
    drafts that nobody sees. Raises `ForgeError` for any other refusal.
    """
    draft = ReviewDraft(commit=commit, body=body(()), comments=tuple(comments))
    try:
        return await forge.create_review(number, draft), ()
    except ForgeError as error:
        if error.status != _UNPROCESSABLE or not comments:
            raise
        if not await forge.accepts_review(number, replace(draft, comments=())):
            raise  # it is no matter of places
    attempts = 0

    async def find_good(comments: Sequence[LineComment], *, is_known_bad: bool = False) -> list[LineComment]:
        """Those that are taken, with at most `MAX_ATTEMPTS` attempts; the rest counts as refused."""
        nonlocal attempts
        if not comments:
            return []
        if not is_known_bad:
            if attempts >= MAX_ATTEMPTS:
                return []
            attempts += 1
            if await forge.accepts_review(number, replace(draft, comments=tuple(comments))):
                return list(comments)
        if len(comments) == 1:
            return []
        middle = len(comments) // 2
        first = await find_good(comments[:middle])
        # Both halves of what is bad cannot be good: the second one need not be tried to know that.
        return first + await find_good(comments[middle:], is_known_bad=len(first) == middle)

    good = await find_good(draft.comments, is_known_bad=True)
    bad = tuple(comment for comment in comments if comment not in good)
    draft = replace(draft, body=body(bad), comments=tuple(good))
    return await forge.create_review(number, draft), bad

"""`publish.changes: suggest`: the changes as suggestion blocks in one review, as far as the diff shows their lines; the
rest stays in the patch. Nothing is pushed, so that it works on a fork's pull request as well.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from flue_ci.core.changes import ChangedFile
from flue_ci.core.concurrency import together
from flue_ci.core.outputs import PullRequestForge
from flue_ci.core.ports import Forge
from flue_ci.core.review import LineComment, ReviewForge
from flue_ci.core.text import first_few, one_line, plural
from flue_ci.gate.policy import MARKER
from flue_ci.publish.post_review import post_review
from flue_ci.publish.progress_comment import is_same_account
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.push import PushRefused, check_suggestions
from flue_ci.publish.push_rules import protected_changes
from flue_ci.publish.suggestions import Suggestions, find_suggestions
from flue_ci.report.diffs import without_binary
from flue_ci.report.findings import applied_block
from flue_ci.report.report import Published, Report
from flue_ci.safety.markdown import escape, inline_code


@runtime_checkable
class _SuggestForge(Forge, PullRequestForge, ReviewForge, Protocol):
    """A forge that does all of it."""


class SuggestPublisher:
    """A `Publisher`. What stands there already, of an earlier attempt or run, is not said again."""

    needs_forge = True

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """The review with the suggestions, or why there is none. Raises `ForgeError`."""
        try:
            url, detail = await _suggest(report, target)
        except PushRefused as refusal:
            return Published(publisher="suggest", state="refused", detail=f"nothing suggested: {refusal}")
        return Published(publisher="suggest", url=url, detail=detail)


async def _suggest(report: Report, target: PublishTarget) -> tuple[str, str]:
    """The address of the review, and what was done."""
    forge, number, commit = target.forge, target.number, report.trigger.head_sha if report.trigger else ""
    if report.trigger is None or not report.trigger.is_pull_request or number is None:
        raise PushRefused("there is no pull request with a diff")
    if not isinstance(forge, _SuggestForge):
        raise PushRefused("this forge takes no reviews")
    check_suggestions(report, target)
    pull, files, comments, me = await together(
        forge.pull(number), forge.changed_files(number), forge.comments(number, "review"), forge.me()
    )
    if pull.head_sha != commit:
        raise PushRefused(f"the pull request is at {pull.head_sha[:7]} by now, no longer at {commit[:7]}: ask again")
    suggestions = find_suggestions(without_binary(target.patch), files)
    protected = protected_changes(
        (ChangedFile(path=item.path, kind="modified") for item in suggestions.items), target.publishing
    )
    drafts = _drafts(report.agent, suggestions, protected)
    if not drafts:
        raise PushRefused("none of the changes lies on lines that the diff of the pull request shows")
    present = {
        (comment.path, comment.line, comment.body.replace("\r\n", "\n").strip())
        for comment in comments
        if is_same_account(comment.author, me)
    }
    fresh = [draft for draft in drafts if (draft.path, draft.line, draft.body) not in present]
    rest = [*dict.fromkeys([*suggestions.rest, *protected])]
    detail = _describe(len(drafts), rest)
    if not fresh:
        return pull.url, f"{detail}. They are there already"

    def body(leftovers: Sequence[LineComment]) -> str:
        paths = [*dict.fromkeys([*rest, *(comment.path for comment in leftovers)])]
        return target.redact(_review_body(report.agent, len(fresh) - len(leftovers), paths))

    review, leftovers = await post_review(forge, number, commit, fresh, body)
    paths = [*dict.fromkeys([*rest, *(comment.path for comment in leftovers)])]
    return review.url, _describe(len(drafts) - len(leftovers), paths)


def _drafts(agent: str, suggestions: Suggestions, protected: Sequence[str] | dict[str, str]) -> list[LineComment]:
    marker = f"{MARKER} suggestion agent={agent} -->"
    return [
        LineComment(
            path=item.path,
            line=item.end,
            start_line=item.start,
            body=f"{marker}\n{applied_block(item.lines)}",
        )
        for item in suggestions.items
        if item.path not in protected
    ]


def _review_body(agent: str, count: int, rest: Sequence[str]) -> str:
    text = f"**{escape(agent)}** suggests {plural(count, 'change')}."
    if rest:
        names = ", ".join(inline_code(path) for path in rest[:10])
        if len(rest) > 10:
            names += f" and {len(rest) - 10} more"
        text += f" What a suggestion cannot do, or the diff does not show, is in the patch of its answer: {names}."
    return f"{MARKER} suggestions agent={agent} -->\n{text}"


def _describe(count: int, rest: Sequence[str]) -> str:
    detail = plural(count, "suggestion")
    if rest:
        detail += f"; in the patch only: {first_few([one_line(path, 60) for path in rest], 5)}"
    return detail

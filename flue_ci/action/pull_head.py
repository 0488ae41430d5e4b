"""Which commit of a pull request is meant, and whether its base is still the one that it was asked for.

Both are fixed when somebody asks: whoever opened the pull request can push, and change the base, afterwards. Dates of
commits are never looked at, because their authors choose them.
"""

from contextlib import suppress
from dataclasses import dataclass

from flue_ci.core.discussion import PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.gate.comment_command import CommentCommand
from flue_ci.gate.event import Event

BASE_CHANGED = "the base of the pull request was changed after the request: look at it, and ask again"
_BASE_CHANGES = frozenset(("base_ref_changed", "automatic_base_change_succeeded"))
_FULL_NAME = 40  # hexadecimal digits of a commit's name


@dataclass(frozen=True, slots=True, kw_only=True)
class PullHead:
    """The commit to work on. `refusal` says why nothing may be started with it ("" for no reason), `needs_commit` that
    the request has to name the commit; `note` is what people should know of it."""

    sha: str
    refusal: str = ""
    needs_commit: bool = False
    note: str = ""


async def changes_since(
    event: Event, number: int, forge: Forge, command: CommentCommand | None = None
) -> frozenset[str] | None:
    """What happened to the pull request since the request, as the API names it; nothing where the event itself says how
    it was. None: that cannot be found out."""
    if event.base_ref and not (command and command.sha):
        return frozenset()
    if not event.asked_at:
        return None
    try:
        return await forge.events_since(number, event.asked_at)
    except ForgeError as error:
        if error.status not in (403, 404, 410):
            raise
        return None


def base_when_asked(event: Event, pull: PullRequest, changes: frozenset[str] | None) -> tuple[str, str]:
    """The base branch at the time of the request ("" when it is not known), and the reason to refuse the request (""
    for none)."""
    if event.base_ref:
        return event.base_ref, ""
    if changes is None:
        return "", ""
    if changes & _BASE_CHANGES:
        return "", BASE_CHANGED
    return pull.base_ref, ""


async def head_when_asked(
    event: Event, pull: PullRequest, forge: Forge, command: CommentCommand | None, changes: frozenset[str] | None
) -> PullHead:
    """The commit that was asked for: the one that the request names, else the head at that time."""
    if command and command.sha:
        return await _named_commit(event, pull, forge, command.sha, changes)
    if event.head_sha:
        return PullHead(sha=event.head_sha, note=_moved_note(event.head_sha, pull))
    if sha := await forge.head_at(pull, event.asked_at):
        return PullHead(sha=sha, note=_moved_note(sha, pull))
    if changes is not None and await _was_checked_as_head(event, pull, forge):
        return PullHead(sha=pull.head_sha)
    unknown = "which commit was the head when this was asked cannot be found out"
    if pull.from_fork:
        refusal = f"{unknown}, and a fork's author may have pushed since: name the commit that you looked at"
        return PullHead(sha=pull.head_sha, refusal=refusal, needs_commit=True)
    return PullHead(sha=pull.head_sha, note=f"{unknown}, so this is about the head of now, {pull.head_sha[:9]}")


async def _was_checked_as_head(event: Event, pull: PullRequest, forge: Forge) -> bool:
    """Whether checks show that the present head was the head when this was asked. They do only while the branch never
    went back: its author may check a commit, take it away, and push it once more after the request."""
    with suppress(ForgeError):
        if "head_ref_force_pushed" not in await forge.events_since(pull.number, pull.created_at):
            return await forge.was_checked_before(pull, event.asked_at)
    return False


async def _named_commit(
    event: Event, pull: PullRequest, forge: Forge, name: str, changes: frozenset[str] | None
) -> PullHead:
    """A commit of the pull request by its name, which may be short. Short names can be made to fit another commit:
    they count only while the branch was not rewritten since the request."""
    commits = {pull.head_sha, event.head_sha, *await forge.commits_of(pull.number)}
    matches = [sha for sha in commits if sha.startswith(name)]
    if not matches:
        return PullHead(sha=pull.head_sha, refusal=f"{name[:_FULL_NAME]} is no commit of this pull request")
    if len(matches) > 1:
        refusal = f"several commits of this pull request begin with {name}: write the full name"
        return PullHead(sha=pull.head_sha, refusal=refusal)
    refusal = ""
    if len(name) < _FULL_NAME and (changes is None or "head_ref_force_pushed" in changes):
        refusal = f"the branch was rewritten after the request, or may have been: write the full name, not {name}"
    return PullHead(sha=matches[0], refusal=refusal, note=_moved_note(matches[0], pull))


def _moved_note(sha: str, pull: PullRequest) -> str:
    if sha == pull.head_sha:
        return ""
    return f"this is about {sha[:9]}, as asked; the head of the pull request is {pull.head_sha[:9]} by now"

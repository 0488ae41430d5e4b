"""What publishes a report: the protocol, and the loop over the publishers of a run."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from flue_ci.core.commits import ChangesForge
from flue_ci.core.errors import EXIT_FAILED, FlueError, ForgeError
from flue_ci.core.permissions import missing_permissions
from flue_ci.core.ports import Forge
from flue_ci.git.source import Source
from flue_ci.report.report import Failure, Published, Publishing, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishTarget:
    """Where a report is to be published, and how.

    `publishing` is what the spec of the trusted commit says. `repository` is `owner/name`; `number` the pull request
    or issue, `thread` the review comment that asked for the run. `forge` is None in a local run; `quick_forge` is the
    same one with few retries, for progress, which may be missing. `folder` holds the files of the run. `notify` takes
    a line for the log, `show_error` a message and a hint for people. `redact` takes the secrets out of a text again,
    when it is written as people get it.

    For what is pushed: `branch` is the pull request's own in this repository, "" for none; `base_branch` the one that a
    new pull request is to be merged into, "" for the default branch; `open_source` brings the commit that was worked on
    to this host, None where there is none; `patch` is the patch as it was verified, with whatever it holds.
    `actor` and `actor_id` are the person who asked, "" and 0 for nobody. `push_forge` moves branches with a token whose
    pushes start workflows; None: the job's own token does, and they start none. `ask_refusal` says why no box can be
    offered for `when: ask`, "" for no reason.
    """

    publishing: Publishing
    repository: str = ""
    server_url: str = ""
    number: int | None = None
    thread: int | None = None
    forge: Forge | None = None
    quick_forge: Forge | None = None
    folder: Path | None = None
    notify: Callable[[str], None]
    show_error: Callable[[str, str], None]
    redact: Callable[[str], str] = str
    branch: str = ""
    base_branch: str = ""
    open_source: Callable[[], Awaitable[Source]] | None = None
    patch: bytes = field(default=b"", repr=False)
    actor: str = ""
    actor_id: int = 0
    push_forge: ChangesForge | None = None
    ask_refusal: str = ""


class Publisher(Protocol):
    """Puts one report where people look for it; an object for each run. `needs_forge`: it is left out in local runs."""

    needs_forge: bool

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """Publishes. Report and patch have no secrets any more, but their texts are untrusted. Raises `FlueError` when
        it cannot be done. `report.published` has what earlier publishers did."""


@runtime_checkable
class ProgressPublisher(Publisher, Protocol):
    """A publisher that also shows a run while it works."""

    def begin(self, agent: str, render: Callable[[], str], target: PublishTarget) -> None:
        """Shows the text of `render()` (Markdown) from now on, at intervals, until `publish`. Never raises."""


async def publish_report(
    report: Report, patch: bytes, publishers: Mapping[str, Publisher], target: PublishTarget
) -> Report:
    """The report with `published` filled, in the order of `publishers` (by name).

    A publisher that fails is a failure of the run, see `not_published`; the others go on. It is missing in
    `published`, and its error has been shown.
    """
    report = replace(report, published=())  # a report that was read from a file may claim anything
    for name, publisher in publishers.items():
        try:
            entry = await publisher.publish(report, patch, target)
        except FlueError as error:
            reason = f"publishing with `{name}` failed: {error}"
            if name == "comment":
                reason = f"the answer could not be posted: {error}"
            hint = _permissions_hint(name, error)
            report = not_published(report, reason, error, hint)
            target.show_error(reason, hint)
        else:
            report = replace(report, published=(*report.published, replace(entry, publisher=name)))
    return report


def _permissions_hint(publisher: str, error: FlueError) -> str:
    """The hint of an error; where a right is missing and GitHub did not say which, what the publisher needs."""
    lines = missing_permissions(publisher)
    is_vague = not error.hint or "look at the job's" in error.hint
    if not (isinstance(error, ForgeError) and error.status == 403 and lines and is_vague):
        return error.hint
    return f"give the job that publishes these permissions:\n{lines}"


def not_published(report: Report, reason: str, error: FlueError, hint: str = "") -> Report:
    """The report after a publisher failed: a failure, or one more note when the run has failed already."""
    if report.failure:
        return replace(report, notes=(*report.notes, reason), exit_code=report.exit_code or EXIT_FAILED)
    failure = Failure(stage="publish", message=str(error), hint=hint or error.hint)
    return replace(report, conclusion="failed", reason=reason, exit_code=EXIT_FAILED, failure=failure)

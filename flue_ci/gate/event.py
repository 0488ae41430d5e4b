"""What happened on GitHub, read from a job's environment and the event's payload. Standard library only, Python 3.9:
the gate needs it before anything is installed.

Payloads are hostile and incomplete: whatever is missing, null or of another type is absent here, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 300_000  # characters of one text; GitHub's own limit is 65,536


@dataclass(frozen=True)
class WorkflowRun:
    """The run that a `workflow_run` event is about."""

    head_sha: str = ""
    head_branch: str = ""
    head_repo_id: int | None = None
    conclusion: str = ""
    event: str = ""


@dataclass(frozen=True)
class Event:
    """One event. Logins and texts are as GitHub sent them; "" and None stand for absent.

    `author` wrote `text`, or opened the pull request or issue; `actor` did what the event tells of. `asked_at` is when
    the text was made (RFC 3339); what people said later is no part of the request.
    """

    name: str
    action: str = ""
    repo: str = ""
    repo_id: int = 0
    default_branch: str = ""
    number: int | None = None
    is_pull_request: bool = False
    actor: str = ""
    actor_kind: str = ""
    triggering_actor: str = ""
    author: str = ""
    author_kind: str = ""
    text: str = ""
    asked_at: str = ""
    comment_id: int | None = None
    comment_kind: str = ""  # `issue` or `review`
    review_id: int | None = None
    label: str = ""
    title: str = ""
    url: str = ""
    head_sha: str = ""
    head_ref: str = ""
    head_repo_id: int | None = None
    base_ref: str = ""
    base_sha: str = ""
    pr_author: str = ""
    ref: str = ""
    sha: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    run: WorkflowRun = field(default_factory=WorkflowRun)

    @property
    def signature(self) -> str:
        """The event as specs name it: `pull_request.opened`, `schedule`."""
        return f"{self.name}.{self.action}" if self.action and self.name in _WITH_ACTIONS else self.name

    @property
    def is_comment(self) -> bool:
        """Whether somebody's text is what may ask for an agent."""
        return self.name in COMMENTS

    @property
    def from_fork(self) -> bool:
        """A pull request's head in another repository; one that is gone counts as foreign. Only where the payload says
        where the head is."""
        return bool(self.head_sha) and self.is_pull_request and self.head_repo_id != self.repo_id

    @property
    def has_actor(self) -> bool:
        """Whether somebody did this who has to have a role. Nobody in particular stands behind the other events."""
        return self.name not in UNATTENDED


COMMENTS = ("issue_comment", "pull_request_review_comment", "pull_request_review")
UNATTENDED = ("schedule", "push", "merge_group")
SUPPORTED = (
    *COMMENTS,
    "pull_request",
    "pull_request_target",
    "issues",
    "workflow_dispatch",
    "workflow_run",
    "repository_dispatch",
    *UNATTENDED,
)
_WITH_ACTIONS = (
    *COMMENTS,
    "pull_request",
    "pull_request_target",
    "issues",
    "workflow_run",
    "merge_group",
)


def parse_event(name: str, payload: object, environ: Mapping[str, str]) -> Event:
    """The event `name` (GITHUB_EVENT_NAME) with its payload (the JSON of GITHUB_EVENT_PATH). Never raises."""
    top = _Part(payload)
    repository, pull = top.part("repository"), top.part("pull_request")
    thing = pull if pull else top.part("issue")
    said = _said(name, top)
    of_pull = bool(pull) or bool(top.part("issue").part("pull_request"))
    writer = (said or thing).part("user")
    return Event(
        name=name,
        action=top.text("action"),
        repo=environ.get("GITHUB_REPOSITORY") or repository.text("full_name"),
        repo_id=repository.number("id") or _whole(environ.get("GITHUB_REPOSITORY_ID", "")) or 0,
        default_branch=repository.text("default_branch"),
        number=thing.number("number") or top.number("number"),
        is_pull_request=of_pull,
        actor=top.part("sender").text("login") or environ.get("GITHUB_ACTOR", ""),
        actor_kind=top.part("sender").text("type"),
        triggering_actor=environ.get("GITHUB_TRIGGERING_ACTOR", ""),
        author=writer.text("login"),
        author_kind=writer.text("type"),
        text=said.text("body"),
        asked_at=said.text("created_at") or said.text("submitted_at") or thing.text("updated_at"),
        comment_id=top.part("comment").number("id") if name != "pull_request_review" else None,
        comment_kind={"issue_comment": "issue", "pull_request_review_comment": "review"}.get(name, ""),
        review_id=top.part("review").number("id"),
        label=top.part("label").text("name"),
        title=thing.text("title"),
        url=said.text("html_url") or thing.text("html_url"),
        head_sha=pull.part("head").text("sha"),
        head_ref=pull.part("head").text("ref"),
        head_repo_id=pull.part("head").part("repo").number("id"),
        base_ref=pull.part("base").text("ref"),
        base_sha=pull.part("base").text("sha"),
        pr_author=thing.part("user").text("login") if of_pull else "",
        ref=environ.get("GITHUB_REF", "") or top.text("ref"),
        sha=environ.get("GITHUB_SHA", "") or top.text("after"),
        inputs=_inputs(name, top),
        run=_run(top.part("workflow_run")),
    )


class _Part:
    """A value that may be a mapping, asked for its members; what is not there or not of the type asked for is empty."""

    def __init__(self, value: object) -> None:
        self._value: Mapping[str, Any] = value if isinstance(value, dict) else {}

    def __bool__(self) -> bool:
        return bool(self._value)

    def part(self, name: str) -> _Part:
        return _Part(self._value.get(name))

    def text(self, name: str) -> str:
        value = self._value.get(name)
        return value[:_LONGEST] if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        value = self._value.get(name)
        return value if type(value) is int and 0 < value < 2**63 else None

    def texts(self) -> dict[str, str]:
        return {str(key): value[:_LONGEST] for key, value in self._value.items() if isinstance(value, str)}


def _said(name: str, top: _Part) -> _Part:
    if name == "pull_request_review":
        return top.part("review")
    return top.part("comment") if name in COMMENTS else _Part(None)


def _inputs(name: str, top: _Part) -> dict[str, str]:
    """`agent` and `instruction`, of whoever dispatched it."""
    if name == "workflow_dispatch":
        return top.part("inputs").texts()
    return top.part("client_payload").texts() if name == "repository_dispatch" else {}


def _run(run: _Part) -> WorkflowRun:
    return WorkflowRun(
        head_sha=run.text("head_sha"),
        head_branch=run.text("head_branch"),
        head_repo_id=run.part("head_repository").number("id"),
        conclusion=run.text("conclusion"),
        event=run.text("event"),
    )


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

"""What happened on GitHub, read from a job's environment and the event's payload. Standard library only, Python 3.9:
the gate needs it before anything is installed. Also the one table of events for the gate and `flue-ci validate`.

Payloads are hostile and incomplete: a member that is missing, null or of another type is absent here, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# What `triggers.events` of a spec may name: each event with its actions, () for one that has none. Source: GitHub's
# page on events that trigger workflows, 2026-11.
EVENTS: dict[str, tuple[str, ...]] = {
    name: tuple(actions) for name, actions in json.loads(Path(__file__).with_name("events.json").read_bytes()).items()
}
# Events that bring a text, which may ask for an agent. A review can do both: ask, or start an agent as an event.
COMMENTS = ("issue_comment", "pull_request_review_comment", "pull_request_review")
AGENT_EVENTS = tuple(dict.fromkeys((*COMMENTS, *EVENTS)))
# Events without a person whose role could be asked for.
AUTOMATIC = ("schedule", "push", "merge_group")
# Events about the commit that GITHUB_SHA names: of a release, the commit of its tag.
WITH_COMMIT = ("push", "schedule", "workflow_dispatch", "merge_group", "release")
# Events about a commit that something else ran on; it may be the head of a pull request.
AFTER_CHECKS = ("workflow_run", "check_run", "check_suite")
_MAX_TEXT = 300_000  # characters of one text; GitHub's own limit is 65,536
# The members of the payload that hold the text, the checked commit, and what the person or program that dispatched
# the event wrote (`agent` and `instruction`).
_COMMENT_KEYS = dict.fromkeys(COMMENTS, "comment") | {"pull_request_review": "review"}
_CHECKS_KEYS = {name: name for name in AFTER_CHECKS}
_INPUT_KEYS = {"workflow_dispatch": "inputs", "repository_dispatch": "client_payload"}


def event_names() -> tuple[str, ...]:
    """The events as specs write them: `pull_request.opened`, `schedule`."""
    return tuple(
        f"{name}.{action}" if action else name for name, actions in EVENTS.items() for action in actions or ("",)
    )


@dataclass(frozen=True)
class Event:
    """One event. Logins and texts are as GitHub sent them; "" and None stand for absent.

    `author` wrote `text`, or opened the pull request or issue; `actor` caused the event. `text_before` is what an edit
    has changed into `text`. `asked_at` is when the text
    was written, or when the checks came to their state (RFC 3339); later comments are no part of the request.
    `head_sha` and `base_ref` are the pull request's at the time of the event, where the payload has them; of a merge
    group, `base_ref` is the branch that it is to go into. `checked_sha` is the commit that a workflow run, check run or
    check suite ran on, `checked_repo_id` the repository that it belongs to, `checked_branch` its branch there. `run_id`
    and `run_attempt` are of the workflow run that the event is about (of a check run or suite its own id, and 0).
    """

    name: str
    action: str = ""
    repo: str = ""
    repo_id: int = 0
    default_branch: str = ""
    number: int | None = None
    is_pull_request: bool = False
    actor: str = ""
    actor_id: int = 0
    actor_kind: str = ""
    triggering_actor: str = ""
    author: str = ""
    author_id: int = 0
    author_kind: str = ""
    text: str = ""
    text_before: str = ""
    asked_at: str = ""
    comment_id: int | None = None
    comment_kind: str = ""  # `issue` or `review`
    label: str = ""
    url: str = ""
    head_sha: str = ""
    head_repo_id: int | None = None
    base_ref: str = ""
    pr_author: str = ""
    ref: str = ""
    sha: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    checked_sha: str = ""
    checked_branch: str = ""
    checked_repo_id: int | None = None
    run_id: int = 0
    run_attempt: int = 0
    workflow: str = ""  # the name of its file

    @property
    def signature(self) -> str:
        """The event as specs name it: `pull_request.opened`, `schedule`."""
        has_actions = self.name in COMMENTS or EVENTS.get(self.name)
        return f"{self.name}.{self.action}" if self.action and has_actions else self.name

    @property
    def is_comment(self) -> bool:
        """Whether this is a new text, which may ask for an agent. An edited one never does."""
        return self.name in COMMENTS and self.action in ("created", "submitted")

    @property
    def thread(self) -> int | None:
        """The comment on lines of a diff whose thread an answer belongs into; None for all other events."""
        return self.comment_id if self.comment_kind == "review" else None

    @property
    def from_fork(self) -> bool:
        """Whether the pull request's head is in another repository, or in one that is gone. False where the payload
        does not describe the head."""
        return bool(self.head_sha) and self.is_pull_request and self.head_repo_id != self.repo_id

    @property
    def has_actor(self) -> bool:
        """Whether a person or a bot caused this, whose role is to be checked."""
        return self.name not in AUTOMATIC

    def without_request(self) -> Event:
        """The same event where its text asks for nothing: a review that starts an agent by being submitted. The whole
        discussion is then material for the agent, the review included."""
        if self.is_comment:
            return replace(self, text="", asked_at="")
        return replace(self, text="")


def parse_event(name: str, payload: object, environ: Mapping[str, str]) -> Event:
    """The event `name` (GITHUB_EVENT_NAME) with its payload (the JSON of GITHUB_EVENT_PATH). Never raises."""
    top = _Part(payload)
    repository, pull, sender = top.part("repository"), top.part("pull_request"), top.part("sender")
    issue = top.part("issue")
    subject, comment, checks = pull or issue, top.part_of(name, _COMMENT_KEYS), top.part_of(name, _CHECKS_KEYS)
    actor, triggering_actor = sender, environ.get("GITHUB_TRIGGERING_ACTOR", "")
    if _is_rerun_by_a_job(checks):
        actor, triggering_actor = checks.part("actor"), ""
    is_pull_request = bool(pull or issue.part("pull_request"))
    author = (comment or subject).part("user")
    written_at = comment.text("created_at") or comment.text("submitted_at") or subject.text("updated_at")
    base_ref = pull.part("base").text("ref") or top.part("merge_group").text("base_ref")
    return Event(
        name=name,
        action=top.text("action"),
        repo=environ.get("GITHUB_REPOSITORY") or repository.text("full_name"),
        repo_id=repository.number("id") or _parse_number(environ.get("GITHUB_REPOSITORY_ID", "")),
        default_branch=repository.text("default_branch"),
        number=subject.number("number") or top.number("number"),
        is_pull_request=is_pull_request,
        actor=actor.text("login") or environ.get("GITHUB_ACTOR", ""),
        actor_id=actor.number("id") or 0,
        actor_kind=actor.text("type"),
        triggering_actor=triggering_actor,
        author=author.text("login"),
        author_id=author.number("id") or 0,
        author_kind=author.text("type"),
        text=comment.text("body"),
        text_before=top.part("changes").part("body").text("from"),
        asked_at=written_at or checks.text("updated_at") or checks.text("completed_at"),
        comment_id=top.part("comment").number("id"),
        comment_kind={"issue_comment": "issue", "pull_request_review_comment": "review"}.get(name, ""),
        label=top.part("label").text("name"),
        url=comment.text("html_url") or (subject or top.part("release") or checks).text("html_url"),
        head_sha=pull.part("head").text("sha"),
        head_repo_id=pull.part("head").part("repo").number("id"),
        base_ref=base_ref.removeprefix("refs/heads/"),
        pr_author=subject.part("user").text("login") if is_pull_request else "",
        ref=environ.get("GITHUB_REF", "") or top.text("ref"),
        sha=environ.get("GITHUB_SHA", "") or top.text("after"),
        inputs=top.part_of(name, _INPUT_KEYS).texts(),
        checked_sha=checks.text("head_sha"),
        checked_branch=checks.text("head_branch"),
        run_id=checks.number("id") or 0,
        run_attempt=checks.number("run_attempt") or 0,
        checked_repo_id=_checked_repo_id(name, checks, repository),
        workflow=workflow_file(environ),
    )


def workflow_file(environ: Mapping[str, str]) -> str:
    """The name of the file of this job's workflow, `flue.yml`."""
    return environ.get("GITHUB_WORKFLOW_REF", "").partition("@")[0].rpartition("/")[2]


def run_page(environ: Mapping[str, str]) -> str:
    """The address of this job's run; empty outside of GitHub Actions."""
    run, repo = environ.get("GITHUB_RUN_ID", ""), environ.get("GITHUB_REPOSITORY", "")
    if not run or not repo:
        return ""
    url = f"{environ.get('GITHUB_SERVER_URL') or 'https://github.com'}/{repo}/actions/runs/{run}"
    attempt = environ.get("GITHUB_RUN_ATTEMPT", "1")
    return url if attempt in ("", "1") else f"{url}/attempts/{attempt}"


class _Part:
    """A value of the payload, read as a mapping. A member that is missing or of another type reads as empty."""

    def __init__(self, value: object) -> None:
        self._value: Mapping[str, Any] = value if isinstance(value, dict) else {}

    def __bool__(self) -> bool:
        return bool(self._value)

    def part(self, name: str) -> _Part:
        return _Part(self._value.get(name))

    def part_of(self, event: str, keys: Mapping[str, str]) -> _Part:
        """The member that `keys` names for the event; empty for other events."""
        if event in keys:
            return self.part(keys[event])
        return _Part(None)

    def text(self, name: str) -> str:
        value = self._value.get(name)
        return value[:_MAX_TEXT] if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        value = self._value.get(name)
        return value if type(value) is int and 0 < value < 2**63 else None

    def texts(self) -> dict[str, str]:
        return {str(key): value[:_MAX_TEXT] for key, value in self._value.items() if isinstance(value, str)}


def _is_rerun_by_a_job(checks: _Part) -> bool:
    """Whether a job's own token has started this attempt of a workflow run, as `repair` does: nobody is behind it but
    whoever has started the run."""
    attempt = checks.number("run_attempt") or 0
    return attempt > 1 and checks.part("triggering_actor").text("login") == "github-actions[bot]"


def _checked_repo_id(name: str, checks: _Part, repository: _Part) -> int | None:
    """The repository of the commit that was checked. Check runs and suites do not name it, but have no branch when
    their commit is a fork's."""
    if name == "workflow_run":
        return checks.part("head_repository").number("id")
    suite = checks.part("check_suite") or checks
    return repository.number("id") if suite.text("head_branch") else None


def _parse_number(text: str) -> int:
    """A number from the environment, 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

"""The words for what people wrote on a forge: pull requests, issues, comments, reviews, failing checks.

Values as they came, uncleaned; `action.discussion` sanitizes and bounds what a model gets of them. Times are RFC 3339
in UTC, as GitHub writes them, so that they compare as text.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who wrote. `kind` is the API's own word (`User`, `Bot`, `Organization`, …). `id` 0: a deleted account."""

    id: int = 0
    login: str = ""
    kind: str = "User"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A comment below an issue or pull request (`issue`), or one in a thread on a line of the diff (`review`).

    `path`, `line` (None: outdated or on the file as a whole), `hunk` and `reply_to` belong to review comments.
    """

    id: int
    kind: Literal["issue", "review"] = "issue"
    author: Account
    body: str
    created_at: str = ""
    updated_at: str = ""
    url: str = ""
    is_minimized: bool = False
    path: str = ""
    line: int | None = None
    hunk: str = ""
    reply_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A review as a whole; its comments on lines are `Comment`s. `state` is the API's word, such as `APPROVED`."""

    id: int
    author: Account
    body: str
    state: str = ""
    submitted_at: str = ""
    url: str = ""
    is_minimized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What pull requests and issues have in common."""

    number: int
    title: str
    body: str
    author: Account
    url: str = ""
    state: str = "open"
    labels: tuple[str, ...] = ()
    created_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest(Topic):
    """`head_repo_id` is None when the head's repository is gone. Commits are full hexadecimal names. `reviewers` are
    the logins, and teams by their short names, that were asked for a review and have given none."""

    base_ref: str
    base_repo_id: int
    head_ref: str
    head_sha: str
    head_repo: str = ""
    head_repo_id: int | None = None
    draft: bool = False
    reviewers: tuple[str, ...] = ()

    @property
    def from_fork(self) -> bool:
        """By repository id; a head whose repository is gone counts as foreign."""
        return self.head_repo_id != self.base_repo_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue(Topic):
    is_pull_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """A changed file of a pull request against the merge base. `patch` is the hunks, empty for binary or huge files."""

    path: str
    old_path: str = ""
    status: str = "modified"
    additions: int = 0
    deletions: int = 0
    patch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    path: str
    line: int
    level: str
    message: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCheck:
    """A check run of the head that did not succeed. `annotations` are its last ones."""

    name: str
    conclusion: str
    url: str = ""
    summary: str = ""
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLog:
    """What a failed job of CI has printed: the part of its failed steps."""

    name: str
    text: str
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Discussion:
    """Everything about one pull request or issue, newest last in every list. `notes` say what could not be read."""

    pull: PullRequest | None = None
    issue: Issue | None = None
    comments: tuple[Comment, ...] = ()
    reviews: tuple[Review, ...] = ()
    files: tuple[FileDiff, ...] = ()
    checks: tuple[FailedCheck, ...] = ()
    logs: tuple[JobLog, ...] = ()
    notes: tuple[str, ...] = ()

"""The words for reviews on a forge: what is posted, and the threads that people and we wrote on lines of a diff.

Values as they came, uncleaned. Which thread is ours and what it says of a finding is read in `publish.findings`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flue_ci.core.errors import ForgeError
from flue_ci.core.proposals import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class LineComment:
    """A comment on `line` of a file as it is on `side`, or on the lines from `start_line` to `line`."""

    path: str
    line: int
    side: Side = "RIGHT"
    start_line: int | None = None
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDraft:
    """A review of `commit` that only comments. It is posted whole or not at all."""

    commit: str
    body: str
    comments: tuple[LineComment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedReview:
    """A review that stands on the forge. `is_ours`: the token's own account wrote it; `commit` is what it is of."""

    id: int
    body: str = ""
    commit: str = ""
    url: str = ""
    is_ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadComment:
    """A comment in a thread. `is_ours`: the token's own account wrote it; `is_person`: no bot did (a deleted account
    counts as a person). `rejected_by` are the logins of the 👎 on it."""

    id: int
    author: str
    body: str
    url: str = ""
    is_ours: bool = False
    is_person: bool = True
    rejected_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewThread:
    """A discussion of a line, oldest comment first; `is_complete`: all of its comments are here.

    `line` is that of the diff of now, None when it is outdated. `resolved_by` is a login without `[bot]`, "" for nobody
    that the forge names. `can_resolve`, `can_reopen`: this token may do that now.
    """

    id: str
    path: str
    line: int | None = None
    side: Side = "RIGHT"
    is_outdated: bool = False
    is_resolved: bool = False
    resolved_by: str = ""
    can_resolve: bool = False
    can_reopen: bool = False
    comments: tuple[ThreadComment, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewHistory:
    """All threads of a pull request, and its newest reviews (at most 100, oldest first). `head` is its commit of now,
    by which threads are outdated or not."""

    threads: tuple[ReviewThread, ...] = ()
    reviews: tuple[PostedReview, ...] = ()
    head: str = ""


@runtime_checkable
class ReviewForge(Protocol):
    """A forge with reviews of pull requests. Raises `ForgeError`."""

    async def review_history(self, number: int) -> ReviewHistory:
        """Every thread of the pull request, and its reviews."""

    async def create_review(self, number: int, draft: ReviewDraft) -> PostedReview:
        """Posts it, once. `ForgeError` with status 422: the place of a comment is not accepted, and nothing is
        posted."""

    async def accepts_review(self, number: int, draft: ReviewDraft) -> bool:
        """Whether `create_review` would take the places of its comments. Nobody sees the attempt."""

    async def edit_review(self, number: int, review: int, body: str) -> None:
        """Gives a review of ours another text."""

    async def resolve_threads(self, ids: Sequence[str]) -> Mapping[str, ForgeError]:
        """Ends these threads; the error of each that could not be ended."""

    async def reopen_threads(self, ids: Sequence[str]) -> Mapping[str, ForgeError]:
        """Opens these threads again; the error of each that could not be."""

"""Posts one review, also when the forge does not take the places of some of its comments."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from flue_ci.core.errors import ForgeError
from flue_ci.core.review import LineComment, PostedReview, ReviewDraft, ReviewForge

MAX_ATTEMPTS = 16  # drafts that are tried to find the comments at fault
_UNPROCESSABLE = 422


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
    search = _Search(forge, number, draft)
    good = await search.find_good(draft.comments, is_known_bad=True)
    bad = tuple(comment for comment in comments if comment not in good)
    draft = replace(draft, body=body(bad), comments=tuple(good))
    return await forge.create_review(number, draft), bad


class _Search:
    """Finds the comments that are taken, with at most `MAX_ATTEMPTS` attempts; the rest counts as refused."""

    def __init__(self, forge: ReviewForge, number: int, draft: ReviewDraft) -> None:
        self._forge, self._number, self._draft = forge, number, draft
        self._attempts = 0

    async def find_good(self, comments: Sequence[LineComment], *, is_known_bad: bool = False) -> list[LineComment]:
        if not comments:
            return []
        if not is_known_bad:
            if self._attempts >= MAX_ATTEMPTS:
                return []
            self._attempts += 1
            if await self._forge.accepts_review(self._number, replace(self._draft, comments=tuple(comments))):
                return list(comments)
        if len(comments) == 1:
            return []
        middle = len(comments) // 2
        first = await self.find_good(comments[:middle])
        # Both halves of what is bad cannot be good: the second one need not be tried to know that.
        return first + await self.find_good(comments[middle:], is_known_bad=len(first) == middle)

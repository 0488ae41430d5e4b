"""The one comment of a run: found or made at its start, edited while it works, finished with the report.

Only a comment with our marker, written by ourselves, is ever edited. What goes wrong while it works is told once and
ends nothing; at the end it is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.publish.comment import is_ours, killed_run_comment

EDIT_SECONDS = 10.0  # between two edits while it works
_GONE = (404, 410)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentTarget:
    """Where the answer goes: below a pull request or issue, or in the thread of the review comment that asked.
    `keep`: the last run's comment of the same agent is written over; in a thread, that for the same question."""

    number: int
    in_thread: int | None = None
    keep: bool = True


class ProgressComment:
    """`forge` has the patience for the last word; `quick`, with little, shows progress."""

    def __init__(
        self, forge: Forge, quick: Forge, place: CommentTarget, agent: str, notify: Callable[[str], None]
    ) -> None:
        self._forge, self._quick, self._place, self._agent = forge, quick, place, agent
        self._notify = notify
        self._comment: Comment | None = None
        self._prepared = False
        self._working: asyncio.Task[None] | None = None
        self.previous = ""  # the body of the last run's comment, as it was before this run

    def begin(self, draw: Callable[[], str]) -> None:
        """Shows `draw()` now and keeps showing it, at most every `EDIT_SECONDS`, until `prepare` or `finish`."""
        self._working = asyncio.ensure_future(self._work(draw))

    async def prepare(self) -> None:
        """Ends the showing of progress; afterwards `previous` is known. Raises `ForgeError`."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            self._working = None
        if not self._prepared:
            await self._adopt(self._forge)

    async def finish(self, body: str) -> str:
        """Shows the last word; returns its address. Raises `ForgeError` when that cannot be done."""
        await self.prepare()
        if self._comment is not None:
            try:
                return (await self._forge.edit(self._comment, body)).url
            except ForgeError as error:
                if error.status not in _GONE:  # somebody removed it: then it is said anew
                    raise
        return (await self._make(self._forge, body)).url

    async def _work(self, draw: Callable[[], str]) -> None:
        shown = ""
        try:
            await self._adopt(self._quick)
            while True:
                body = draw()
                if body != shown:
                    await self._show(body)
                    shown = body
                await asyncio.sleep(EDIT_SECONDS)
        except ForgeError as error:
            self._notify(f"the progress cannot be shown in a comment: {error}")

    async def _show(self, body: str) -> None:
        """A write that has begun is waited for: it could land after the last word, or make a second comment."""
        write = self._quick.edit(self._comment, body) if self._comment else self._make(self._quick, body)
        writing = asyncio.ensure_future(write)
        try:
            self._comment = await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            if not writing.cancelled() and not writing.exception():
                self._comment = writing.result()
            raise

    async def _adopt(self, forge: Forge) -> None:
        """Takes the newest comment of ours that is there, if any: the next text goes into it."""
        place = self._place
        if place.keep:
            kind: Literal["issue", "review"] = "review" if place.in_thread else "issue"
            comments, me = await asyncio.gather(forge.comments(place.number, kind), forge.me())
            self._comment = newest_of_ours(comments, self._agent, me, in_thread=place.in_thread)
            self.previous = self._comment.body if self._comment else ""
        self._prepared = True

    async def _make(self, forge: Forge, body: str) -> Comment:
        if self._place.in_thread is not None:
            return await forge.reply(self._place.number, self._place.in_thread, body)
        return await forge.comment(self._place.number, body)


async def finish_killed_comments(forge: Forge, number: int, kind: Literal["issue", "review"], run_url: str) -> int:
    """Says in the comments of a job that was killed that nothing more will come; how many there were."""
    comments, me = await asyncio.gather(forge.comments(number, kind), forge.me())
    told = 0
    for comment in comments:
        body = killed_run_comment(comment.body, run_url) if _same(comment.author, me) else ""
        if body:
            await forge.edit(comment, body)
            told += 1
    return told


def newest_of_ours(
    comments: Sequence[Comment], agent: str, me: Account, *, in_thread: int | None = None
) -> Comment | None:
    """The newest comment with the agent's marker that we wrote: anybody can write the marker."""
    ours = (comment for comment in reversed(comments) if is_ours(comment.body, agent, in_thread))
    return next((comment for comment in ours if _same(comment.author, me)), None)


def _same(author: Account, me: Account) -> bool:
    """By id; by login only where the own id cannot be known."""
    return author.id == me.id if author.id and me.id else bool(me.login) and author.login == me.login

"""The one comment of a run: adopted or written at its start, edited while it works, and in the end the report.

Only a comment with our marker, written by our own account, is ever edited, and none that another run writes at the same
time: two people may have asked for the same agent.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from flue_ci.core.concurrency import finish
from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import ForgeError
from flue_ci.core.events import ProgressEvent, StageEnded, StageStarted, ToolEnded, TurnEnded
from flue_ci.core.ports import Discussions, Rereading
from flue_ci.core.text import one_line
from flue_ci.publish.comment import (
    RunProgress,
    is_about_run,
    is_at_work,
    is_ours,
    keep_answers,
    killed_run_comment,
    report_comment,
    revised_comment,
)
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.report import Published, Report
from flue_ci.report.stages import describe_call
from flue_ci.report.words import last_sentence, task_list

EDIT_SECONDS = 10.0  # between two edits while a run works
MAX_STEPS = 4
_NOT_FOUND = (404, 410)  # the status of a comment that was deleted


class ProgressTracker:
    """An observer that knows how far a run is: `progress`. `max_turns` and `max_minutes` are the agent's limits."""

    def __init__(self, *, max_turns: int | None = None, max_minutes: float | None = None) -> None:
        self._progress = RunProgress(max_turns=max_turns, max_minutes=max_minutes)
        self._agent_start = 0.0

    @property
    def progress(self) -> RunProgress:
        """How far it is now."""
        if self._progress.current != "agent":
            return self._progress
        return replace(self._progress, seconds=time.monotonic() - self._agent_start)

    def observe(self, event: ProgressEvent) -> None:
        """Takes every event of the run."""
        self._progress = self._after(event, self._progress)

    def _after(self, event: ProgressEvent, progress: RunProgress) -> RunProgress:
        match event:
            case StageStarted(stage=stage):
                if stage == "agent":
                    self._agent_start = time.monotonic()
                return replace(progress, current=stage)
            case StageEnded(stage=stage, seconds=seconds):
                return replace(progress, current="", finished_stages=(*progress.finished_stages, (stage, seconds)))
            case TurnEnded(reply=reply, total=total):
                plan = task_list(reply.text) or progress.plan
                sentence = last_sentence(reply.text) or progress.sentence
                return replace(progress, usage=total, plan=plan, sentence=sentence)
            case ToolEnded(call=call, result=result):
                note = f" → {one_line(result.note, 60)}" if result.note else ""
                step = f"{describe_call(call, 80)}{note}"
                return replace(progress, steps=(*progress.steps, step)[-MAX_STEPS:])
        return progress


class CommentPublisher:
    """A `ProgressPublisher`: one comment below the pull request or issue, or in the thread of the review comment that
    asked. `publish.comment: sticky` writes over the last comment of the same agent (in a thread: of the same question)
    unless a run is at work on it; `new` writes a new one. What fails while the run works is a notice; at the end it is
    an error."""

    needs_forge = True

    def __init__(self) -> None:
        self._comment: Comment | None = None
        self._previous: str | None = None  # the body of the comment as it was before this run; None: not looked for
        self._is_adopted = False  # whether another run has made the comment, so that a third may take it as well
        self._progress: asyncio.Task[None] | None = None

    def begin(self, agent: str, render: Callable[[], str], target: PublishTarget) -> None:
        """Shows `render()` now and after every `EDIT_SECONDS` in which it changed."""
        self._progress = asyncio.ensure_future(self._show_progress(agent, render, target))

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        """Ends the progress and writes the report. `url` is that of the comment. Raises `ForgeError`."""
        if self._progress:
            self._progress.cancel()
            await asyncio.wait([self._progress])
        assert target.forge
        if self._previous is None:
            run_url = report.trigger.run_url if report.trigger else ""
            await self._adopt(target.forge, report.agent, target, run_url)
        await self._let_go_if_changed(target.forge)
        # An earlier job of the same run may have shown the report already: this is no new answer.
        body = revised_comment(self._previous or "", report, patch, server_url=target.server_url)
        if not body:
            body = report_comment(report, patch, server_url=target.server_url, previous=self._previous or "")
        try:
            comment = await self._write(target.forge, body, target)
        except ForgeError as error:
            if self._comment is None or error.status not in _NOT_FOUND:
                raise
            self._comment = None
            comment = await self._write(target.forge, body, target)
        return Published(publisher="comment", url=comment.url)

    async def _show_progress(self, agent: str, render: Callable[[], str], target: PublishTarget) -> None:
        forge = target.quick_forge or target.forge
        assert forge
        body = ""
        try:
            await self._adopt(forge, agent, target)
            while True:
                if (text := render()) != body:
                    await self._let_go_if_changed(forge)
                    # A write that was cancelled could end after the report's, or make a second comment.
                    await finish(self._write(forge, keep_answers(text, self._previous or ""), target))
                    body = text
                await asyncio.sleep(EDIT_SECONDS)
        except ForgeError as error:
            target.notify(f"the progress cannot be shown in a comment: {error}")

    async def _adopt(self, forge: Discussions, agent: str, target: PublishTarget, run_url: str = "") -> None:
        """Takes our newest comment, if any: the next text goes into it. One of a run at work stays that run's. Where
        each run has a comment of its own, it is only that of the run at `run_url`."""
        assert target.number is not None
        is_sticky = target.publishing.comment == "sticky"
        if is_sticky or run_url:
            comments = await own_comments(forge, target.number, in_thread=bool(target.thread))
            ours = [comment for comment in reversed(comments) if is_ours(comment.body, agent, target.thread)]
            if not is_sticky:
                ours = [comment for comment in ours if is_about_run(comment.body, run_url)]
            self._comment = next((comment for comment in ours if not is_at_work(comment.body)), None)
        self._is_adopted = self._comment is not None
        self._previous = self._comment.body if self._comment else ""

    async def _let_go_if_changed(self, forge: Discussions) -> None:
        """Leaves the comment to whoever has written to it since: the report becomes a comment of its own."""
        if not self._comment or not self._is_adopted or not isinstance(forge, Rereading):
            return
        try:
            current = await forge.reread(self._comment)
        except ForgeError as error:
            if error.status in _NOT_FOUND:
                return  # the edit meets that as well
            raise
        if current.body != self._comment.body:
            self._comment, self._previous = None, ""

    async def _write(self, forge: Discussions, body: str, target: PublishTarget) -> Comment:
        assert target.number is not None
        body = target.redact(body)
        if self._comment:
            self._comment = await forge.edit(self._comment, body)
        else:
            self._comment = await write_comment(forge, target.number, target.thread, body)
        return self._comment


async def finish_killed_comments(
    forge: Discussions, number: int, run_url: str, redact: Callable[[str], str], *, in_thread: bool
) -> tuple[int, int]:
    """Ends the progress comments of a job that was killed; returns how many, and how many comments about its run there
    are in all. What stands in them loses its secrets once more. Raises `ForgeError`."""
    ours = await own_comments(forge, number, in_thread=in_thread)
    endings = [(comment, body) for comment in ours if (body := killed_run_comment(comment.body, run_url))]
    for comment, body in endings:
        await forge.edit(comment, redact(body))
    return len(endings), sum(is_about_run(comment.body, run_url) for comment in ours)


async def own_comments(forge: Discussions, number: int, *, in_thread: bool = False) -> list[Comment]:
    """The comments of our own account, oldest first: below the pull request or issue, or on lines of its diff. Raises
    `ForgeError`."""
    comments, me = await asyncio.gather(forge.comments(number, "review" if in_thread else "issue"), forge.me())
    return [comment for comment in comments if is_same_account(comment.author, me)]


async def write_comment(forge: Discussions, number: int, thread: int | None, body: str) -> Comment:
    """A new comment: in the thread of that review comment, or below the pull request or issue. Raises `ForgeError`."""
    if thread is not None:
        return await forge.reply(number, thread, body)
    return await forge.comment(number, body)


def is_same_account(author: Account, me: Account) -> bool:
    """By id; by login only where our own id cannot be known."""
    if author.id and me.id:
        return author.id == me.id
    return bool(me.login) and author.login == me.login

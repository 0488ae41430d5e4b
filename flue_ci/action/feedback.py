"""Short answers to the person who asked: a reaction, a reply, or a word about an error before any agent ran.

The report of a run is published by `publish`.
"""

from __future__ import annotations

from typing import Literal

from flue_ci.action.context import JobContext
from flue_ci.action.target import Target, trigger_of
from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import FlueError, ForgeError
from flue_ci.core.ports import Reaction
from flue_ci.gate.event import Event
from flue_ci.publish.comment import error_reply


def comment_kind(event: Event) -> Literal["issue", "review"]:
    """Where the comment of an event stands: below the pull request or issue, or on a line of the diff."""
    return "review" if event.comment_kind == "review" else "issue"


async def react(context: JobContext, reaction: Reaction) -> None:
    """A reaction to what asked. A failure is only logged: it is a courtesy."""
    event = context.event
    if event.number is None:
        return
    comment = None
    if event.comment_id:
        comment = Comment(id=event.comment_id, kind=comment_kind(event), author=Account(), body="")
    try:
        await context.quick_forge.react(event.number, comment, reaction)
    except ForgeError as error:
        context.job.say(f"no reaction: {error}")


async def acknowledge(context: JobContext) -> None:
    """👀, when the gate has not reacted yet."""
    if context.event.comment_id and not context.job.inputs.has_reacted:
        await react(context, "eyes")


async def reply(context: JobContext, target: Target, text: str) -> None:
    """A comment to the one that asked, in its thread when it stands in one. Raises `ForgeError`."""
    assert target.number is not None
    text = context.job.redact(text)
    thread = trigger_of(context.event, target, run_url="").in_thread
    if thread is not None:
        await context.forge.reply(target.number, thread, text)
    else:
        await context.forge.comment(target.number, text)


async def post_error(context: JobContext, error: FlueError) -> None:
    """The gate's 👀 promised an answer: says that there will be none and why, if GitHub accepts the comment."""
    event, job = context.event, context.job
    if not job.inputs.has_reacted or not job.inputs.comment or job.inputs.dry_run:
        return
    if event.number is None or event.comment_id is None:
        return
    text = error_reply(job.redact(str(error)), job.run_url)
    try:
        if event.comment_kind == "review":
            await context.quick_forge.reply(event.number, event.comment_id, text)
        else:
            await context.quick_forge.comment(event.number, text)
    except ForgeError as failure:
        job.say(f"this cannot be said in a comment: {failure}")

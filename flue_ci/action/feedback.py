"""Short answers to the person who asked: a reaction, a reply, a word about an error before any agent ran, or about a
run that was killed. The report of a run is published by `publish`.
"""

import asyncio
from collections.abc import Mapping
from typing import Literal

from flue_ci.action.context import JobContext, read_event
from flue_ci.action.job import ActionJob, start_job
from flue_ci.action.target import Target, trigger_of
from flue_ci.assembly import make_forge
from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import EXIT_DONE, FlueError, ForgeError
from flue_ci.core.ports import Reaction
from flue_ci.core.text import plural
from flue_ci.gate.event import Event
from flue_ci.publish.comment import error_reply
from flue_ci.publish.progress_comment import finish_killed_comments

_RETRY_SECONDS = 20.0  # for the comment of a run that was killed


def _comment_kind(event: Event) -> Literal["issue", "review"]:
    """Where the comment of an event stands: below the pull request or issue, or on a line of the diff."""
    if event.comment_kind == "review":
        return "review"
    return "issue"


async def react(context: JobContext, reaction: Reaction) -> None:
    """A reaction to what asked. A failure is only logged: it is a courtesy."""
    event = context.event
    if event.number is None:
        return
    comment = None
    if event.comment_id:
        comment = Comment(id=event.comment_id, kind=_comment_kind(event), author=Account(), body="")
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


def finish_killed_run(environ: Mapping[str, str]) -> int:
    """The step after a run that was killed: the run's comment says so, because the run no longer can. Always green: the
    step that ran is red already."""
    job, event = start_job(environ), read_event(environ)
    if event.number is not None and job.run_url and job.inputs.comment:
        try:
            count = asyncio.run(_finish_comments(job, event, event.number))
            job.say(f"finished {plural(count, 'progress comment')}")
        except FlueError as error:
            job.notice(f"the comment may still say that the run is at work: {error}")
    return EXIT_DONE


async def _finish_comments(job: ActionJob, event: Event, number: int) -> int:
    forge = make_forge(job.settings, job.say, retry_timeout=_RETRY_SECONDS)
    try:
        return await finish_killed_comments(forge, number, _comment_kind(event), job.run_url)
    finally:
        await forge.close()

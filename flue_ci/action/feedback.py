"""Short answers to the person who asked: a reaction, a reply, a word about an error before any agent ran, or about a
run that was killed. The report of a run is published by `publish`.
"""

import asyncio
from collections.abc import Callable, Mapping

from flue_ci.action.context import JobContext, read_event
from flue_ci.action.job import ActionJob, start_job
from flue_ci.action.target import Target
from flue_ci.assembly import make_forge
from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import EXIT_DONE, FlueError, ForgeError
from flue_ci.core.ports import Discussions, Forge, Reaction, Rereading
from flue_ci.core.text import one_line, plural
from flue_ci.gate.event import Event, run_page
from flue_ci.gate.push_box import find_tick, is_same_text
from flue_ci.gate.workflow_commands import workflow_command
from flue_ci.publish.comment import error_reply, killed_reply
from flue_ci.publish.progress_comment import finish_killed_comments, is_same_account, write_comment
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import read_settings

_RETRY_SECONDS = 20.0  # for the comment of a run that was killed
_KILL = "the run was ended before it could say how it went: out of time or memory, cancelled twice, or a bug"
_KILL_HINT = "look at the end of the log of the step “Run”; ask again, with more `timeout-minutes` if it was time"


async def react(context: JobContext, reaction: Reaction) -> None:
    """A reaction to what asked. A failure is only logged: it is a courtesy."""
    event = context.event
    if event.number is None:
        return
    comment = None
    if event.comment_id:
        comment = Comment(id=event.comment_id, kind="review" if event.thread else "issue", author=Account(), body="")
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
    await write_comment(context.forge, target.number, context.event.thread, context.job.redact(text))


async def post_error(context: JobContext, error: FlueError) -> None:
    """The gate's 👀 promised an answer: says that there will be none and why, if GitHub accepts the comment."""
    event, job = context.event, context.job
    if not job.inputs.has_reacted or not job.inputs.comment or job.inputs.dry_run:
        return
    if event.number is None or not (event.is_comment or event.text_before):  # the latter: of a box that was ticked
        return
    text = error_reply(job.redact(str(error)), job.run_url, hint=job.redact(error.hint))
    await _answer(context.quick_forge, event, job.redact(text), job.say)


async def _answer(forge: Discussions, event: Event, text: str, notify: Callable[[str], None]) -> None:
    """A comment below the one that asked, or in its thread, if GitHub takes it."""
    try:
        if event.number:
            await write_comment(forge, event.number, event.thread, text)
    except ForgeError as failure:
        notify(f"this cannot be said in a comment: {failure}")


def answer_wrong_inputs(environ: Mapping[str, str], error: FlueError) -> None:
    """The same for an input that cannot be: then there is no job yet. Nothing is said where no answer was promised, or
    where no comment is wanted."""
    if environ.get("FLUE_CI_REACTED") != "true" or environ.get("FLUE_CI_PUBLISH", "").strip() == "none":
        return
    redact = Redactor(secrets_of(environ))
    text = error_reply(redact(str(error)), run_page(environ), hint=redact(error.hint))

    async def answer() -> None:
        # An environment that has settings whatever else is wrong with it.
        variables = {name: value for name, value in environ.items() if not name.endswith("_SECONDS")}
        forge = make_forge(read_settings(variables), print, retry_timeout=3.0)
        try:
            await _answer(forge, read_event(environ), redact(text), print)
        finally:
            await forge.close()

    try:
        asyncio.run(answer())
    except FlueError as failure:
        print(redact(f"this cannot be said in a comment: {failure}"), flush=True)


def finish_killed_run(environ: Mapping[str, str]) -> int:
    """The step after a run that was killed: an annotation and the run's comment say so, because the run no longer can.
    Always green: the step that ran is red already."""
    print(workflow_command("error", f"{_KILL}\n→ {_KILL_HINT}", title="flue-ci"), flush=True)
    try:
        job, event = start_job(environ), read_event(environ)
        if event.number is not None and job.run_url and job.inputs.comment:
            asyncio.run(_finish_comments(job, event, event.number))
    except FlueError as error:
        text = Redactor(secrets_of(environ))(f"the comment may still say that the run is at work: {error}")
        print(workflow_command("notice", one_line(text, 1_000), title="flue-ci"), flush=True)
    return EXIT_DONE


async def _finish_comments(job: ActionJob, event: Event, number: int) -> None:
    """Ends the run's comment; where the gate promised an answer and there is none yet, it is written now."""
    forge = make_forge(job.settings, job.say, retry_timeout=_RETRY_SECONDS)
    try:
        if find_tick(event.text_before, event.text):
            is_open = await _open_box(forge, event)
            if is_open and job.inputs.has_reacted:
                await _answer(forge, event, job.redact(killed_reply(job.run_url, has_box=True)), job.say)
            return
        count, total = await finish_killed_comments(
            forge, number, job.run_url, job.redact, in_thread=bool(event.thread)
        )
        job.say(f"finished {plural(count, 'progress comment')}")
        if not total and job.inputs.has_reacted and not job.inputs.report:
            await _answer(forge, event, job.redact(killed_reply(job.run_url)), job.say)
    finally:
        await forge.close()


async def _open_box(forge: Forge, event: Event) -> bool:
    """The box that was ticked as it was before, for another try; False when it was answered or changed meanwhile. A
    change that was pushed already is found there, and not pushed again."""
    if not is_same_account(Account(id=event.author_id, login=event.author), await forge.me()):
        return False
    comment = await ticked_comment(forge, event)
    if comment:
        await forge.edit(comment, event.text_before)
    return comment is not None


async def ticked_comment(forge: Forge, event: Event) -> Comment | None:
    """The comment whose box was ticked, when it still is as it was then. Raises `ForgeError`."""
    assert event.comment_id and isinstance(forge, Rereading)
    try:
        comment = await forge.reread(Comment(id=event.comment_id, author=Account(), body=""))
    except ForgeError as error:
        if error.status in (404, 410):
            return None
        raise
    return comment if is_same_text(comment.body, event.text) else None

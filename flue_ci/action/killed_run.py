"""The step after a run that was killed: the run's comment says so, because the run no longer can."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flue_ci.action.context import read_event
from flue_ci.action.feedback import comment_kind
from flue_ci.action.inputs import read_inputs
from flue_ci.action.job import ActionJob
from flue_ci.assembly import make_forge
from flue_ci.core.errors import EXIT_DONE, FlueError
from flue_ci.core.text import plural
from flue_ci.gate.event import Event
from flue_ci.publish.progress_comment import finish_killed_comments

_RETRY_SECONDS = 20.0


def finish_killed_run(environ: Mapping[str, str]) -> int:
    """Always green: the step that ran is red already."""
    job = ActionJob(environ, read_inputs(environ))
    job.begin()
    event = read_event(environ)
    if event.number is not None and job.run_url and job.inputs.comment:
        try:
            count = asyncio.run(_finish(job, event, event.number))
            job.say(plural(count, "comment") + " said that a run was at work")
        except FlueError as error:
            job.notice(f"the comment may still say that the run is at work: {error}")
    return EXIT_DONE


async def _finish(job: ActionJob, event: Event, number: int) -> int:
    forge = make_forge(job.settings, job.say, retry_timeout=_RETRY_SECONDS)
    try:
        return await finish_killed_comments(forge, number, comment_kind(event), job.run_url)
    finally:
        await forge.close()

"""Somebody has ticked the box in our comment: the saved change is pushed, without another run of the agent.

The gate has looked at the edit before anything was installed. Here it is asked once more whose comment it is, and
whether the person may, by the spec of the trusted commit; then the box is replaced by what became of it. It is never
pushed twice: the publisher finds a commit of the same change, and only a comment that is still ticked is answered.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from flue_ci.action.agent_run import end_early
from flue_ci.action.authorize import fetch_roles
from flue_ci.action.context import JobContext
from flue_ci.action.feedback import post_error, react, ticked_comment
from flue_ci.action.republish import check_same_target, trusted_report
from flue_ci.action.saved_change import NothingSaved, fetch_saved_change
from flue_ci.action.target import Agent, Target, read_agents
from flue_ci.core.discussion import Account
from flue_ci.core.errors import FlueError, ForgeError
from flue_ci.gate import policy
from flue_ci.gate.push_box import PushBox, replace_boxes
from flue_ci.publish.ask import outcome_line
from flue_ci.publish.comment import LONGEST_BODY
from flue_ci.publish.progress_comment import is_same_account
from flue_ci.publish.publisher import publish_report
from flue_ci.publish.registry import PUBLISHERS
from flue_ci.report.report import Published, Report
from flue_ci.spec.load import not_supported_yet

_NOTHING_TO_DO = "this box was answered already, or the comment has changed since it was ticked"


async def push_saved_change(context: JobContext, box: PushBox) -> int:
    """The exit code of the step."""
    task = asyncio.current_task()
    assert task is not None
    with context.signals.cancel(task, context.job.say):
        try:
            return await _answer(context, box)
        except FlueError as error:
            await _open_again(context)
            await post_error(context, error)
            return end_early(context.job, error)
        except asyncio.CancelledError:
            task.uncancel()
            await _open_again(context)
            interruption = FlueError("interrupted", hint="tick the box again")
            return end_early(context.job, interruption, 128 + (context.signals.first or 2))
        finally:
            await context.close()


async def _answer(context: JobContext, box: PushBox) -> int:
    job, event = context.job, context.event
    if not is_same_account(Account(id=event.author_id, login=event.author), await context.forge.me()):
        return job.skip("the box that was ticked is in a comment of another account")
    if job.inputs.dry_run:
        return job.skip("a dry run pushes nothing")
    if await ticked_comment(context.forge, context.event) is None:
        return job.skip(_NOTHING_TO_DO)
    roles = asyncio.ensure_future(fetch_roles(event, context.forge))
    try:
        target = await context.find_target(saved_head=box.head)
        agents = await read_agents(context.remote, target, context.trusted_folder)
        agent = next((agent for agent in agents if agent.name == box.agent), None)
        if refusal := _refusal(context, target, agent, await roles):
            await react(context, "confused")
            await _open_again(context)
            return job.skip(refusal)
    finally:
        roles.cancel()
        await asyncio.gather(roles, return_exceptions=True)
    assert agent
    try:
        if reason := _change_of_mind(target, agent):
            raise NothingSaved(reason)
        report, patch = await fetch_saved_change(context, box, _saved_folder(context))
        report = await _publish(context, target, agent, report, patch)
    except NothingSaved as nothing:
        entry = Published(publisher=_publisher_name(agent), state="refused", detail=f"not pushed: {nothing}")
        await _replace_box(context, entry, agent)
        return job.skip(entry.detail)
    if report.published:
        await _replace_box(context, report.published[0], agent)
    else:
        await _open_again(context)
        await post_error(context, FlueError(report.reason))
    return _finish(context, report, patch)


def _publisher_name(agent: Agent) -> str:
    if agent.spec and PUBLISHERS.knows(agent.spec.publish.changes):
        return agent.spec.publish.changes
    return "commit"


def _refusal(context: JobContext, target: Target, agent: Agent | None, roles: policy.ActorRoles) -> str:
    """Why this person may not tick, by the trigger's own roles; "" for no reason."""
    if agent is None or agent.spec is None:
        return "the box is of no agent of the trusted commit"
    allowed_bots = context.job.inputs.gate.allowed_bots
    verdict = policy.authorize(
        context.event, agent.triggers, roles, allowed_bots=allowed_bots, from_fork=target.from_fork
    )
    return "" if isinstance(verdict, policy.Allow) else verdict.reason


def _change_of_mind(target: Target, agent: Agent) -> str:
    """Why the change is not pushed whatever it is; "" for no reason."""
    assert agent.spec
    if target.refusal:
        return target.refusal
    if target.pull and target.pull.state != "open":
        return "the pull request is closed"
    wishes = agent.spec.publish
    if wishes.when != "ask" or not PUBLISHERS.knows(wishes.changes) or not_supported_yet(agent.spec):
        return "the spec does not ask for a tick any more"
    return ""


async def _publish(context: JobContext, target: Target, agent: Agent, report: Report, patch: bytes) -> Report:
    """The report with what became of its change. A refusal is looked into once more: somebody who ticked at the same
    time may have been faster, and then the change is there. Raises `NothingSaved` for a report about something else."""
    assert agent.spec
    try:
        check_same_target(report, context, target)
    except FlueError as error:
        raise NothingSaved(str(error)) from error
    report = trusted_report(report, context, target, agent.spec)
    assert report.trigger
    place = context.publish_target(report.trigger, report.publish, _saved_folder(context), target)
    place = replace(place, patch=patch)
    changes = report.publish.changes
    for _ in range(2):
        publishers = {changes: PUBLISHERS.load(changes)()}
        result = await publish_report(report, context.job.redact.redact_value(patch), publishers, place)
        if not result.published or result.published[0].state != "refused":
            break
    return context.job.redact.redact_value(result)


def _saved_folder(context: JobContext) -> Path:
    """Where the files of the saved run lie; they end with the job."""
    return context.trusted_folder.with_name("saved")


def _finish(context: JobContext, report: Report, patch: bytes) -> int:
    """Summary, outputs and exit code. What was refused is a warning: the change is delivered all the same."""
    is_published = bool(report.published)
    for entry in report.published:
        if entry.state == "refused":
            context.job.warning(entry.detail)
    entries = (*report.published, Published(publisher="comment", url=context.event.url))
    return context.job.finish(replace(report, published=entries), patch, None, {}, is_published=is_published)


async def _replace_box(context: JobContext, entry: Published, agent: Agent) -> None:
    """Raises `ForgeError`."""
    settings = context.job.inputs.gate
    request = f"{settings.trigger} {agent.triggers.comment or agent.name}"
    comment = await ticked_comment(context.forge, context.event)
    if comment is None:
        context.job.say(_NOTHING_TO_DO)
        return
    for text in (entry, replace(entry, detail="see the log of the job")):
        line = context.job.redact(outcome_line(text, context.event.actor, request))
        body = replace_boxes(comment.body, line)
        if len(body) <= LONGEST_BODY:
            break
    await context.forge.edit(comment, body)


async def _open_again(context: JobContext) -> None:
    """The box as it was before the tick, for another try. A failure is only logged: a person can do it."""
    try:
        if comment := await ticked_comment(context.forge, context.event):
            await context.quick_forge.edit(comment, context.event.text_before)
    except ForgeError as error:
        context.job.say(f"the box stays ticked: {error}")

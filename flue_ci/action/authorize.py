"""Which agent is asked for, with the specs at hand, and whether this person may start it."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flue_ci.action.comment_request import read_command
from flue_ci.action.context import JobContext
from flue_ci.action.target import Agent, Target
from flue_ci.core.discussion import JobLog
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.gate import policy
from flue_ci.gate.comment_command import CommentCommand
from flue_ci.gate.event import Event
from flue_ci.publish.comment import error_reply, help_reply, unknown_reply

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """An agent, the instruction for it, and a person who may start it. `logs` are those of CI that it is to repair,
    `notes` about them for people."""

    agent: Agent
    instruction: str
    logs: tuple[JobLog, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Nothing to run. `reason` is for the log; `reply` (may be empty) goes below the comment that asked; `denied`: the
    person may not ask, and learns it by a reaction."""

    reason: str
    reply: str = ""
    is_denied: bool = False


async def authorize_request(
    context: JobContext,
    command: CommentCommand | None,
    target: Target,
    agents: Sequence[Agent],
    roles: Awaitable[policy.ActorRoles],
) -> AgentRequest | Rejection:
    """Which agent is meant, and whether this person may start it on that target. `roles` may still be on their way.
    Raises `ForgeError` when GitHub cannot be asked: then nothing is authorized."""
    event, settings = context.event, context.job.inputs.gate
    triggers = [agent.triggers for agent in agents]
    choice = policy.choose_agent(event, command, triggers, workflow_agent=settings.agent)
    if isinstance(choice, policy.Skip) and not (command and isinstance(choice, policy.NoAgents)):
        return Rejection(reason=choice.reason)
    # A person who may start nothing gets no reply either: else strangers could make us comment.
    required_triggers = policy.AgentTriggers(name="help")
    if isinstance(choice, policy.SelectedAgent):
        required_triggers = choice.agent
    verdict = policy.authorize(
        event, required_triggers, await roles, allowed_bots=settings.allowed_bots, from_fork=target.from_fork
    )
    if isinstance(verdict, policy.Deny):
        return Rejection(reason=verdict.reason, is_denied=True)
    if command and await _is_own_app(event, context.forge):
        return Rejection(reason="a comment of our own account asks for nothing")
    if isinstance(verdict, policy.Skip):
        return Rejection(reason=verdict.reason, reply=error_reply(verdict.reason, context.job.run_url))
    if isinstance(choice, policy.Skip):
        return Rejection(reason=choice.reason, reply=error_reply(choice.reason, context.job.run_url))
    if isinstance(choice, policy.Help):
        reply = help_reply(triggers, trigger=settings.trigger)
        return Rejection(reason="the agents are listed in a reply", reply=reply)
    if isinstance(choice, policy.Unknown):
        reply = unknown_reply(choice.name, choice.near, triggers, trigger=settings.trigger)
        return Rejection(reason=f"there is no agent {choice.name}", reply=reply)
    if target.refusal:
        repeat = ""
        if target.needs_commit:
            repeat = f"{settings.trigger} {choice.agent.comment or choice.agent.name} @SHA"
        return Rejection(reason=target.refusal, reply=error_reply(target.refusal, context.job.run_url, repeat=repeat))
    if rejection := await _exceeds_rate(context):
        return rejection
    agent = next(agent for agent in agents if agent.name == choice.agent.name)
    return AgentRequest(agent=agent, instruction=choice.instruction)


async def _is_own_app(event: Event, forge: Forge) -> bool:
    """Whether the comment is by the app whose token this job has. A person's own token may be used for that person."""
    if policy.is_person(event.actor_kind):
        return False
    return (await forge.me()).login.removesuffix("[bot]").lower() == event.actor.removesuffix("[bot]").lower()


async def fetch_roles(event: Event, forge: Forge) -> policy.ActorRoles:
    """The roles of the people behind an event. Raises `ForgeError`."""
    if not event.has_actor:
        return policy.ActorRoles()
    logins = {login for login in (event.actor, event.triggering_actor) if login}
    roles = {login: await forge.role(login) for login in sorted(logins)}
    return policy.ActorRoles(
        actor_role=roles.get(event.actor, "none"), triggering_role=roles.get(event.triggering_actor, "none")
    )


async def _exceeds_rate(context: JobContext) -> Rejection | None:
    """The rejection of a request beyond the limit. Only the first one is answered: the others would be a flood."""
    event, limit = context.event, context.job.inputs.rate_limit
    if not limit:
        return None
    now = datetime.now(UTC)
    since = (now - policy.RATE_WINDOW).strftime(_TIME)
    times = await _request_times(event, context.job.inputs.gate, since, context.forge)
    end = policy.rate_end(times, now.strftime(_TIME), limit)
    if not end:
        return None
    reason = (
        f"{event.actor} asked more than {limit} times within an hour (the input `rate-limit`). The next request is "
        f"taken from {end[11:16]} UTC on, if there is none until then"
    )
    reply = error_reply(reason, context.job.run_url) if len(times) == limit + 1 else ""
    return Rejection(reason=reason, is_denied=True, reply=reply)


async def _request_times(event: Event, settings: policy.GateSettings, since: str, forge: Forge) -> Sequence[str]:
    """When the person asked since then, this request included: comments, or runs of this workflow. Runs can be counted
    only with the permission `actions: read`; without it GitHub's own limits hold."""
    if event.comment_id:
        return [
            comment.created_at
            for comment in await forge.recent_requests(event.actor, since)
            if read_command(comment.body, trigger=settings.trigger, phrase=settings.phrase)
        ]
    if settings.workflow and event.has_actor:
        try:
            return await forge.recent_runs(settings.workflow, event.actor, since)
        except ForgeError as error:
            if error.status not in (403, 404):
                raise
    return ()

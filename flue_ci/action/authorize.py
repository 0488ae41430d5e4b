"""Who asked for what, with the specs at hand: the agent that is meant, and whether this person may."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flue_ci.action.target import Agent
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.gate import policy as gate
from flue_ci.gate.comment_command import CommentCommand, find_command
from flue_ci.gate.event import Event
from flue_ci.publish.comment import help_reply, unknown_reply

RATE_WINDOW = timedelta(hours=1)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorized:
    """An agent that was asked for by somebody who may, and what for."""

    agent: Agent
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Nothing to run. `reason` is for the log; `reply` (may be empty) goes below the comment that asked; `unwelcome`:
    somebody asked who may not, and is told so by a reaction."""

    reason: str
    reply: str = ""
    denied: bool = False


async def authorize_request(  # noqa: PLR0913 (who asked for what, and all that decides it)
    event: Event,
    command: CommentCommand | None,
    agents: Sequence[Agent],
    *,
    people: Awaitable[gate.ActorRoles],
    settings: gate.GateSettings,
    rate_limit: int,
    forge: Forge,
) -> Authorized | Rejected:
    """Raises `ForgeError` when GitHub cannot be asked: then nobody may anything. `people` may still be on their way."""
    known = [agent.triggers for agent in agents]
    chosen = gate.choose_agent(event, command, known, workflow_agent=settings.agent)
    if isinstance(chosen, gate.Skip):
        return Rejected(reason=chosen.reason)
    # Who may start nothing gets no reply either: else strangers could make us comment.
    asked = chosen.agent if isinstance(chosen, gate.SelectedAgent) else gate.AgentTriggers(name="help")
    verdict = gate.authorize(event, asked, await people, allowed_bots=settings.allowed_bots)
    if not isinstance(verdict, gate.Allow):
        return Rejected(reason=verdict.reason, denied=isinstance(verdict, gate.Deny))
    if isinstance(chosen, gate.Help):
        return Rejected(reason="the agents are listed in a reply", reply=help_reply(known, trigger=settings.trigger))
    if isinstance(chosen, gate.Unknown):
        reply = unknown_reply(chosen.name, chosen.near, known, trigger=settings.trigger)
        return Rejected(reason=f"there is no agent {chosen.name}", reply=reply)
    if rate_limit and not await _within_rate(event, settings, rate_limit, forge):
        reason = f"{event.actor} asked more than {rate_limit} times within an hour (the input `rate-limit`)"
        return Rejected(reason=reason, denied=True)
    agent = next(agent for agent in agents if agent.name == chosen.agent.name)
    return Authorized(agent=agent, instruction=chosen.instruction)


async def fetch_roles(event: Event, forge: Forge) -> gate.ActorRoles:
    """The roles of those behind an event. Raises `ForgeError`."""
    if not event.has_actor:
        return gate.ActorRoles()
    others = {login for login in (event.actor, event.triggering_actor) if login}
    roles = {login: await forge.role(login) for login in sorted(others)}
    return gate.ActorRoles(
        actor_role=roles.get(event.actor, "none"), triggering_role=roles.get(event.triggering_actor, "none")
    )


async def _within_rate(event: Event, settings: gate.GateSettings, limit: int, forge: Forge) -> bool:
    """Counts what the person asked for in the last hour, this time included: requests in comments, or runs of this
    workflow. Runs can be counted only with the permission `actions: read`; without it GitHub's own limits hold."""
    now = datetime.now(UTC)
    since = (now - RATE_WINDOW).strftime(_TIME)
    if event.comment_id:
        times = [
            comment.created_at
            for comment in await forge.recent_requests(event.actor, since)
            if find_command(comment.body, trigger=settings.trigger, phrase=settings.phrase)
        ]
    elif settings.workflow and event.has_actor:
        try:
            times = await forge.recent_runs(settings.workflow, event.actor, since)
        except ForgeError as error:
            if error.status not in (403, 404):
                raise
            return True
    else:
        return True
    return gate.within_rate(times, now.strftime(_TIME), limit)

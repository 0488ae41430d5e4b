"""Who asked for what, with the specs at hand: the agent that is meant, and whether this person may."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flue_ci.action.target import Agent
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.gate import policy as gate
from flue_ci.gate.comment_command import Command, find_command
from flue_ci.gate.event import Event
from flue_ci.publish.comment import help_reply, unknown_reply

RATE_WINDOW = timedelta(hours=1)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """An agent that was asked for by somebody who may, and what for."""

    agent: Agent
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing to run. `reason` is for the log; `reply` (may be empty) goes below the comment that asked; `unwelcome`:
    somebody asked who may not, and is told so by a reaction."""

    reason: str
    reply: str = ""
    unwelcome: bool = False


async def grant(  # noqa: PLR0913 (who asked for what, and all that decides it)
    event: Event,
    command: Command | None,
    agents: Sequence[Agent],
    *,
    people: Awaitable[gate.People],
    settings: gate.Settings,
    rate_limit: int,
    forge: Forge,
) -> Granted | Refused:
    """Raises `ForgeError` when GitHub cannot be asked: then nobody may anything. `people` may still be on their way."""
    known = [agent.triggers for agent in agents]
    chosen = gate.choose_agent(event, command, known, fixed=settings.agent)
    if isinstance(chosen, gate.Ignored):
        return Refused(reason=chosen.reason)
    # Who may start nothing gets no reply either: else strangers could make us comment.
    asked = chosen.agent if isinstance(chosen, gate.Chosen) else gate.AgentTriggers(name="help")
    verdict = gate.authorise(event, asked, await people, allowed_bots=settings.allowed_bots)
    if not isinstance(verdict, gate.Proceed):
        return Refused(reason=verdict.reason, unwelcome=isinstance(verdict, gate.Denied))
    if isinstance(chosen, gate.Help):
        return Refused(reason="the agents are listed in a reply", reply=help_reply(known, trigger=settings.trigger))
    if isinstance(chosen, gate.Unknown):
        reply = unknown_reply(chosen.name, chosen.near, known, trigger=settings.trigger)
        return Refused(reason=f"there is no agent {chosen.name}", reply=reply)
    if rate_limit and not await _within_rate(event, settings, rate_limit, forge):
        reason = f"{event.actor} asked more than {rate_limit} times within an hour (the input `rate-limit`)"
        return Refused(reason=reason, unwelcome=True)
    agent = next(agent for agent in agents if agent.name == chosen.agent.name)
    return Granted(agent=agent, instruction=chosen.instruction)


async def people_of(event: Event, forge: Forge) -> gate.People:
    """The roles of those behind an event. Raises `ForgeError`."""
    if not event.needs_people:
        return gate.People()
    others = {login for login in (event.actor, event.triggering_actor) if login}
    roles = {login: await forge.role(login) for login in sorted(others)}
    return gate.People(
        actor_role=roles.get(event.actor, "none"), triggering_role=roles.get(event.triggering_actor, "none")
    )


async def _within_rate(event: Event, settings: gate.Settings, limit: int, forge: Forge) -> bool:
    """Counts what the person asked for in the last hour, this time included: requests in comments, or runs of this
    workflow. Runs can be counted only with the permission `actions: read`; without it GitHub's own limits hold."""
    now = datetime.now(UTC)
    since = (now - RATE_WINDOW).strftime(_TIME)
    if event.comment_id:
        times = [
            comment.created
            for comment in await forge.recent_requests(event.actor, since)
            if find_command(comment.body, trigger=settings.trigger, phrase=settings.phrase)
        ]
    elif settings.workflow and event.needs_people:
        try:
            times = await forge.recent_runs(settings.workflow, event.actor, since)
        except ForgeError as error:
            if error.status not in (403, 404):
                raise
            return True
    else:
        return True
    return gate.within_rate(times, now.strftime(_TIME), limit)

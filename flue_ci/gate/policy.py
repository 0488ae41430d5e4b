"""Decides whether an event is for an agent and whether its actors may start one. Pure: roles and times are arguments.

Standard library only, Python 3.9: the same functions decide before anything is installed (`gate.preflight`) and once
more with the specs at hand (`action.authorize`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Union

from flue_ci.core.text import closest_match, one_line
from flue_ci.gate.comment_command import CommentCommand, find_command
from flue_ci.gate.event import AGENT_EVENTS, COMMENTS, EVENTS, Event, workflow_file
from flue_ci.gate.push_box import PushBox, find_tick

NOT_FOR_US = "this comment is not for us"
MARKER = "<!-- flue-ci"  # every comment of ours begins with it
_EDITED = "only a new comment asks for an agent, an edited one never does"
RATE_WINDOW = timedelta(hours=1)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
DEFAULT_ROLES = ("admin", "maintain", "write")


@dataclass(frozen=True)
class GateSettings:
    """What the workflow chose. `allowed_bots` are logins in lower case."""

    trigger: str = "/flue"
    phrase: str = ""
    agent: str = ""
    allowed_bots: frozenset[str] = frozenset()
    workflow: str = ""  # the name of its file

    def with_bot(self, login: str) -> GateSettings:
        """The same with one more bot, whose name is still to be looked for in the specs."""
        return replace(self, allowed_bots=self.allowed_bots | {login.lower()})


@dataclass(frozen=True)
class AgentTriggers:
    """An agent's name and the part of its spec that says what starts it."""

    name: str
    comment: str = ""
    labels: Sequence[str] = ()
    events: Sequence[str] = ()
    roles: Sequence[str] = DEFAULT_ROLES
    bots: Sequence[str] = ()
    forks: bool = True
    description: str = ""  # for people who ask for help


@dataclass(frozen=True)
class ActorRoles:
    """The roles in the repository, exactly as the API names them: of the event's actor, and of the person who started
    the workflow or ran it again."""

    actor_role: str = "none"
    triggering_role: str = "none"


@dataclass(frozen=True)
class Allow:
    """Go on. `command` is the request of a comment; None when the event itself may start an agent. `tick`: nothing is
    started, somebody wants the change that was saved for this box pushed."""

    command: CommentCommand | None = None
    tick: PushBox | None = None


@dataclass(frozen=True)
class Skip:
    """The event is not for us, and nothing is wrong."""

    reason: str


@dataclass(frozen=True)
class NoAgents(Skip):
    """No comment starts an agent here: whoever may ask is answered with the reason."""


@dataclass(frozen=True)
class Deny:
    """The actor asked for an agent and may not start one."""

    reason: str


@dataclass(frozen=True)
class SelectedAgent:
    """The agent that is to run, and what it is asked to do ("" for what its prompt says)."""

    agent: AgentTriggers
    instruction: str = ""


@dataclass(frozen=True)
class Help:
    """The request asks which agents there are."""


@dataclass(frozen=True)
class Unknown:
    """There is no agent of that name; `near` is the nearest name, or ""."""

    name: str
    near: str = ""


Decision = Union[Allow, Skip, Deny]  # noqa: UP007 (Python 3.9 evaluates it)
Choice = Union[SelectedAgent, Help, Unknown, Skip]  # noqa: UP007


def read_gate_settings(environ: Mapping[str, str]) -> GateSettings:
    """From the action's inputs."""
    bots = environ.get("FLUE_CI_ALLOWED_BOTS", "").replace(",", " ").split()
    return GateSettings(
        trigger=environ.get("FLUE_CI_TRIGGER", "").strip() or "/flue",
        phrase=environ.get("FLUE_CI_PHRASE", "").strip().lstrip("@"),
        agent=environ.get("FLUE_CI_AGENT", "").strip(),
        allowed_bots=frozenset(login.lower() for login in bots),
        workflow=workflow_file(environ),
    )


def decide(event: Event, settings: GateSettings, find: Callable[..., CommentCommand | None] = find_command) -> Decision:
    """Decides what needs neither GitHub nor a spec, in this order: kind of event, ourselves and bots, request, author,
    secrets. `find` finds the request in a comment, as `find_command` does."""
    if event.name not in AGENT_EVENTS:
        return Skip(f"{event.name or 'this event'} starts no agent")
    if event.name == "issue_comment" and event.action == "edited":
        return _decide_edit(event, settings)
    if event.name not in EVENTS and not event.is_comment:
        return Skip(_EDITED)
    if event.text.lstrip().startswith(MARKER):
        return Skip("this comment is our own")
    if event.is_comment:
        return _decide_comment(event, settings, find)
    return _decide_activity(event, settings)


def _decide_comment(event: Event, settings: GateSettings, find: Callable[..., CommentCommand | None]) -> Decision:
    command = find(event.text, trigger=settings.trigger, phrase=settings.phrase)
    if command is None and event.name in EVENTS:
        return _decide_activity(event, settings)
    if not is_person(event.author_kind, event.actor_kind) and not _is_allowed_bot(event, settings.allowed_bots):
        return Skip(f"bots ask for no agent; {_display_login(event.actor)} is not in `allowed-bots`")
    if command is None:
        return Skip(NOT_FOR_US)
    if not event.actor or event.actor != event.author:
        return Deny(f"{_display_login(event.actor)} is not the author of the comment")
    return Allow(command)


def _decide_edit(event: Event, settings: GateSettings) -> Decision:
    """The box of our own comment, ticked by a person. Whether the comment is ours is asked of GitHub."""
    tick = find_tick(event.text_before, event.text)
    if tick is None or not event.comment_id:
        return Skip(_EDITED)
    is_author = event.actor_id == event.author_id or event.actor.lower() == event.author.lower()
    if is_author or not event.actor or not event.author or not is_person(event.actor_kind):
        return Skip("a box is ticked by a person, not by the account that has made it, and not by a bot")
    if tick.workflow != settings.workflow or settings.agent not in ("", tick.agent):
        return Skip(f"this box is answered by the workflow that has made it, {tick.workflow}")
    return Allow(tick=tick)


def _decide_activity(event: Event, settings: GateSettings) -> Decision:
    """An event that asks for nothing by a text. Those that GitHub gives no secrets to end here."""
    owner = "a fork" if event.from_fork else ""
    if event.actor == "dependabot[bot]":
        owner = "Dependabot"
    if not owner or event.name not in ("pull_request", "pull_request_review"):
        return Allow()
    return Skip(
        f"GitHub gives no secrets to workflows on pull requests of {owner}. Two ways work: a comment "
        f"`{settings.trigger} NAME` (on: issue_comment), or two jobs, the second with `report` (docs/action.md)"
    )


def choose_agent(
    event: Event, command: CommentCommand | None, agents: Sequence[AgentTriggers], *, workflow_agent: str = ""
) -> Choice:
    """The agent that is meant. `workflow_agent` ("" for none) is the only one that the workflow allows; events then
    need no entry in its spec, except labels and reviews, and words that name another agent start nothing."""
    candidates = [agent for agent in agents if workflow_agent in ("", agent.name)]
    if not candidates and workflow_agent:
        return Unknown(name=workflow_agent, near=closest_match(workflow_agent, [agent.name for agent in agents]) or "")
    if not candidates:
        return NoAgents(
            "there are no agents in .flue/agents on the trusted branch. Specs count there only, never in a pull "
            "request: `flue-ci init NAME` writes one, to be merged into the default branch"
        )
    if command is not None:
        return _choose_by_comment(command, candidates, [agent for agent in agents if agent not in candidates])
    if event.name in ("workflow_dispatch", "repository_dispatch") and event.inputs.get("agent"):
        return _choose_by_name(event, candidates)
    return _choose_by_event(event, candidates, any_event=bool(workflow_agent))


def _choose_by_comment(
    command: CommentCommand, candidates: Sequence[AgentTriggers], others: Sequence[AgentTriggers]
) -> Choice:
    listeners = [agent for agent in candidates if agent.comment]
    if not listeners:
        return NoAgents("no agent has a `triggers.comment` in its spec, so no comment starts one: add it and merge it")
    for agent in listeners:
        if command.name == agent.comment.lower():
            return SelectedAgent(agent, command.instruction)
    if command.name == "help" or (not command.text and len(listeners) > 1):
        return Help()
    own_names = [agent.comment.lower() for agent in listeners]
    other_names = [name.lower() for agent in others for name in (agent.comment, agent.name) if name]
    nearest = closest_match(command.name, [*own_names, *other_names])
    if nearest in other_names:
        return Skip(f"the comment names the agent {nearest}, and this workflow runs {candidates[0].name} only")
    if command.name in [agent.name.lower() for agent in candidates if not agent.comment]:
        return Unknown(name=command.name)
    near = closest_match(command.name, own_names) or ""
    if len(listeners) == 1 and not near:
        return SelectedAgent(listeners[0], command.text)  # its name may be left out
    return Unknown(name=command.name, near=near)


def _choose_by_name(event: Event, candidates: Sequence[AgentTriggers]) -> Choice:
    name = event.inputs.get("agent", "")
    for agent in candidates:
        if agent.name == name:
            return SelectedAgent(agent, event.inputs.get("instruction", ""))
    return Unknown(name=one_line(name, 60), near=closest_match(name, [agent.name for agent in candidates]) or "")


def _choose_by_event(event: Event, candidates: Sequence[AgentTriggers], *, any_event: bool) -> Choice:
    is_label = event.action == "labeled"
    listeners = [
        agent
        for agent in candidates
        if event.signature in agent.events or (is_label and event.label and event.label in agent.labels)
    ]
    if not listeners and any_event and not is_label and event.name not in COMMENTS:
        listeners = list(candidates)
    if not listeners:
        what = f"the label {one_line(event.label, 60)}" if is_label else event.signature
        return Skip(f"no agent listens to {what}")
    if len(listeners) > 1:
        names = ", ".join(agent.name for agent in listeners)
        return Skip(f"several agents listen to {event.signature} ({names}); set `agent:` in the workflow, one a job")
    return SelectedAgent(listeners[0], event.inputs.get("instruction", ""))


def authorize(
    event: Event,
    agent: AgentTriggers,
    people: ActorRoles,
    *,
    allowed_bots: frozenset[str] = frozenset(),
    from_fork: bool = False,
) -> Decision:
    """Whether the actors of the event may start this agent. A role that is not known for sure means no. `from_fork`:
    what it would work on is from a fork, as GitHub says; most payloads do not tell."""
    if not event.has_actor:
        return Allow()
    if not event.actor:
        return Deny("the event does not say who did it")
    if not is_person(event.actor_kind, _author_kind(event)):
        if not _is_allowed_bot(event, allowed_bots | {login.lower() for login in agent.bots}):
            return Deny(
                f"{_display_login(event.actor)} is a bot that neither `triggers.bots` of {agent.name} nor the input "
                "`allowed-bots` names"
            )
    elif people.actor_role not in agent.roles:
        return _deny_role(event.actor, people.actor_role, agent)
    elif event.action == "synchronize" and event.actor != event.pr_author and people.actor_role not in DEFAULT_ROLES:
        return Deny(
            f"{_display_login(event.actor)} pushed to somebody else's pull request without the right to write here"
        )
    other = event.triggering_actor
    if other and other != event.actor and people.triggering_role not in agent.roles:
        return _deny_role(other, people.triggering_role, agent)
    if (event.from_fork or from_fork) and not agent.forks:
        return Skip(f"{agent.name} does not run on pull requests from forks (`triggers.forks`)")
    return Allow()


def rate_end(times: Sequence[str], now: str, limit: int) -> str:
    """When the next request is taken if nobody asks until then; "" when at most `limit` of the `times` lie in the hour
    before `now`. All times are in RFC 3339, UTC."""
    since = (datetime.strptime(now, _TIME) - RATE_WINDOW).strftime(_TIME)
    if sum(time >= since for time in times) <= limit:
        return ""
    newest = sorted(times)[-limit]  # as soon as this one is out of the window, there is room for one more
    return (datetime.strptime(newest, _TIME) + RATE_WINDOW).strftime(_TIME)


def _deny_role(login: str, role: str, agent: AgentTriggers) -> Deny:
    return Deny(
        f"{_display_login(login)} has the role {one_line(role, 40)}; {agent.name} takes {', '.join(agent.roles)}"
    )


def is_person(*kinds: str) -> bool:
    """By the types of accounts, never by the look of a name. A type that is missing ("") is not a person's."""
    return all(kind == "User" for kind in kinds)


def _author_kind(event: Event) -> str:
    """The type of the account that wrote the request; the actor's, where nothing was written."""
    return event.author_kind if event.is_comment else event.actor_kind


def _is_allowed_bot(event: Event, bots: frozenset[str] | set[str]) -> bool:
    """Whether the actor is one of these bots; the author of a comment has to be one as well."""
    logins = {event.actor.lower()}
    if event.is_comment and event.author:
        logins.add(event.author.lower())
    return logins <= bots


def _display_login(login: str) -> str:
    return one_line(login, 60) or "somebody unknown"

"""Is this event for an agent, and may the people behind it? Pure decisions; what has to be asked is an argument.

Standard library only, Python 3.9: the same functions decide before anything is installed (`doorman`) and once more with
the specs at hand (`request`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Union

from flue_ci.core.text import closest_match, one_line
from flue_ci.gate.comment_command import CommentCommand, find_command
from flue_ci.gate.event import COMMENTS, SUPPORTED, UNATTENDED, Event

MARKER = "<!-- flue-ci"  # every comment of ours begins with it
DEFAULT_ROLES = ("admin", "maintain", "write")
_CREATED = ("created", "submitted")  # an edited text never asks for anything


@dataclass(frozen=True)
class GateSettings:
    """What the workflow chose. `allowed_bots` are logins in small letters."""

    trigger: str = "/flue"
    phrase: str = ""
    agent: str = ""
    allowed_bots: frozenset[str] = frozenset()
    workflow: str = ""  # the name of its file


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


@dataclass(frozen=True)
class ActorRoles:
    """The exact roles, as the API gives them, of who did it and of who (re-)started the workflow."""

    actor_role: str = "none"
    triggering_role: str = "none"


@dataclass(frozen=True)
class Allow:
    command: CommentCommand | None = None


@dataclass(frozen=True)
class Skip:
    """Not for us: nobody did anything wrong."""

    reason: str


@dataclass(frozen=True)
class Deny:
    """Somebody asked who may not."""

    reason: str


@dataclass(frozen=True)
class SelectedAgent:
    agent: AgentTriggers
    instruction: str = ""


@dataclass(frozen=True)
class Help:
    """Somebody wants to know which agents there are."""


@dataclass(frozen=True)
class Unknown:
    """There is no agent of that name; `near` is the one that was probably meant."""

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
        workflow=environ.get("GITHUB_WORKFLOW_REF", "").partition("@")[0].rpartition("/")[2],
    )


def decide(event: Event, settings: GateSettings) -> Decision:
    """All that needs neither GitHub nor a spec, in this order: kind of event, ourselves and bots, request, author,
    secrets."""
    if event.name not in SUPPORTED:
        return Skip(f"{event.name or 'this event'} starts no agent")
    if event.is_comment and event.action not in _CREATED:
        return Skip("only a new comment asks for an agent, an edited one never does")
    if event.text.lstrip().startswith(MARKER):
        return Skip("this comment is our own")
    if event.is_comment:
        return _decide_comment(event, settings)
    if event.name == "pull_request" and (event.from_fork or event.actor == "dependabot[bot]"):
        whose = "Dependabot" if event.actor == "dependabot[bot]" else "a fork"
        return Skip(
            f"GitHub gives no secrets to workflows on pull requests of {whose}. Two ways work: a comment "
            f"`{settings.trigger} NAME` (on: issue_comment), or two jobs, the second with `report` (docs/action.md)"
        )
    return Allow()


def _decide_comment(event: Event, settings: GateSettings) -> Decision:
    if _is_bot(event.author_kind, event.actor_kind) and not _listed(event, settings.allowed_bots):
        return Skip(f"bots ask for no agent; {_who(event.actor)} is not in `allowed-bots`")
    command = find_command(event.text, trigger=settings.trigger, phrase=settings.phrase)
    if command is None:
        return Skip("this comment is not for us")
    if not event.actor or event.actor != event.author:
        return Deny(f"{_who(event.actor)} is not the author of the comment")
    return Allow(command)


def choose_agent(
    event: Event, command: CommentCommand | None, agents: Sequence[AgentTriggers], *, workflow_agent: str = ""
) -> Choice:
    """Which agent is meant. `fixed` is the only one that the workflow wants; events then need no entry in its spec."""
    among = [agent for agent in agents if not workflow_agent or agent.name == workflow_agent]
    if not among:
        return (
            Unknown(name=workflow_agent, near=closest_match(workflow_agent, _names(agents)) or "")
            if workflow_agent
            else Skip("there are no agents in .flue/agents on the trusted branch")
        )
    if command is not None:
        return _by_comment(command, among)
    if event.name in ("workflow_dispatch", "repository_dispatch") and event.inputs.get("agent"):
        return _by_name(event, among)
    return _by_event(event, among, fixed=workflow_agent)


def _by_comment(command: CommentCommand, among: Sequence[AgentTriggers]) -> Choice:
    listening = [agent for agent in among if agent.comment]
    if not listening:
        return Skip("no agent has a `triggers.comment` in its spec")
    for agent in listening:
        if command.name == agent.comment.lower():
            return SelectedAgent(agent, command.instruction)
    if command.name == "help" or (not command.text and len(listening) > 1):
        return Help()
    near = closest_match(command.name, [agent.comment for agent in listening]) or ""
    if len(listening) == 1 and not near:
        return SelectedAgent(listening[0], command.text)  # its name may be left out
    return Unknown(name=command.name, near=near)


def _by_name(event: Event, among: Sequence[AgentTriggers]) -> Choice:
    wanted = event.inputs.get("agent", "")
    for agent in among:
        if agent.name == wanted:
            return SelectedAgent(agent, event.inputs.get("instruction", ""))
    return Unknown(name=one_line(wanted, 60), near=closest_match(wanted, _names(among)) or "")


def _by_event(event: Event, among: Sequence[AgentTriggers], *, fixed: str) -> Choice:
    labelled = event.action == "labeled"
    listening = [
        agent
        for agent in among
        if event.signature in agent.events or (labelled and event.label and event.label in agent.labels)
    ]
    if not listening and fixed and not labelled:
        listening = list(among)
    if not listening:
        what = f"the label {one_line(event.label, 60)}" if labelled else event.signature
        return Skip(f"no agent listens to {what}")
    if len(listening) > 1:
        names = ", ".join(_names(listening))
        return Skip(f"several agents listen to {event.signature} ({names}); set `agent:` in the workflow, one a job")
    return SelectedAgent(listening[0], event.inputs.get("instruction", ""))


def authorize(
    event: Event, agent: AgentTriggers, people: ActorRoles, *, allowed_bots: frozenset[str] = frozenset()
) -> Decision:
    """Whether these people may start this agent here. Whatever is not known for sure means no."""
    if event.name in UNATTENDED:
        return Allow()
    if not event.actor:
        return Deny("the event does not say who did it")
    if _is_bot(event.actor_kind, ""):
        if not _listed(event, allowed_bots | {login.lower() for login in agent.bots}):
            return Deny(f"{_who(event.actor)} is a bot that `triggers.bots` of {agent.name} does not name")
    elif people.actor_role not in agent.roles:
        return _lacking(event.actor, people.actor_role, agent)
    elif event.action == "synchronize" and event.actor != event.pr_author and people.actor_role not in DEFAULT_ROLES:
        return Deny(f"{_who(event.actor)} pushed to somebody else's pull request without the right to write here")
    other = event.triggering_actor
    if other and other != event.actor and people.triggering_role not in agent.roles:
        return _lacking(other, people.triggering_role, agent)
    if event.is_pull_request and event.from_fork and not agent.forks:
        return Skip(f"{agent.name} does not run on pull requests from forks (`triggers.forks`)")
    return Allow()


def within_rate(times: Sequence[str], now: str, limit: int, *, window_seconds: int = 3600) -> bool:
    """Whether at most `limit` of the `times` (RFC 3339, UTC) lie in the window before `now`."""
    since = (_time(now) - timedelta(seconds=window_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return sum(1 for time in times if time >= since) <= limit


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def _lacking(login: str, role: str, agent: AgentTriggers) -> Deny:
    return Deny(f"{_who(login)} has the role {one_line(role, 40)}; {agent.name} takes {', '.join(agent.roles)}")


def _is_bot(*kinds: str) -> bool:
    """By the account's type, never by the look of its name. A type that is missing is no person's."""
    return any(kind not in ("User", "") for kind in kinds)


def _listed(event: Event, bots: frozenset[str] | set[str]) -> bool:
    return event.actor.lower() in bots and (not event.author or event.author.lower() in bots or not event.is_comment)


def _names(agents: Sequence[AgentTriggers]) -> list[str]:
    return [agent.name for agent in agents]


def _who(login: str) -> str:
    return one_line(login, 60) or "somebody unknown"


__all__ = [
    "COMMENTS",
    "ActorRoles",
    "AgentTriggers",
    "Allow",
    "Deny",
    "GateSettings",
    "Help",
    "SelectedAgent",
    "Skip",
    "Unknown",
    "authorize",
    "choose_agent",
    "decide",
    "read_gate_settings",
    "within_rate",
]

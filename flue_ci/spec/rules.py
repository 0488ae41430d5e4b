"""Checks the meaning of keys, alone and together: host names, globs, events, secrets, templates, costs, schemas.

Each rule takes a spec whose shape is right, and adds the problems that it finds. `NEEDS` has the keys that a rule
relies on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import closest_match, first_few, human_seconds, one_line
from flue_ci.models.known_models import conflict, known_models, price_of
from flue_ci.models.registry import NOT_SUPPORTED_YET
from flue_ci.spec.problems import Problems
from flue_ci.spec.schema import NAME, AgentSpec, ProgramSpec, SubmodulesSpec
from flue_ci.spec.template import required_variables, template_flaw
from flue_ci.spec.values import (
    MAX_INJECTED_HEADERS,
    MAX_INJECTED_HOSTS,
    branch_flaw,
    event_flaw,
    glob_flaw,
    header_flaw,
    host_flaw,
    injection_flaw,
    reaches,
    url_flaw,
    value_flaws,
    variable_flaw,
)
from flue_ci.spec.yaml_document import KeyPath

TAKEN_WORDS = ("help",)  # of comments: see `gate.policy.choose_agent`
MAX_SCHEMA = 2_000  # values; checking a schema compares the entries of some lists with each other
_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_.-]{1,100}")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?")

Rule = Callable[[AgentSpec, Problems], None]
Check = Callable[[str], Diagnostic | None]


def _check_each(
    path: KeyPath, names: Sequence[str], noun: str, problems: Problems, flaw: Check = lambda _: None
) -> None:
    """Each item of a list stands in it once, and `flaw` finds nothing wrong with it."""
    for index, name in enumerate(names):
        if name in names[:index]:
            problems.add((*path, index), f"the {noun} `{one_line(name, 60)}` is listed twice")
        problems.add_flaw((*path, index), flaw(name))


def _label_flaw(label: str) -> Diagnostic | None:
    if len(label) > 50 or label != one_line(label, 60) or "," in label:
        return Diagnostic(message="a label is one line of at most 50 characters, without commas")
    return None


def _login_flaw(login: str, hint: str = "exactly as GitHub writes it", *, teams: bool = False) -> Diagnostic | None:
    if _LOGIN.fullmatch(login) or (teams and _TEAM.fullmatch(login)):
        return None
    return Diagnostic(message=f"`{one_line(login, 60)}` is not a login", hint=hint)


def _skill_flaw(skill: str) -> Diagnostic | None:
    if re.fullmatch(NAME, skill):
        return None
    message = f"`{one_line(skill, 60)}` is not a skill's name"
    return Diagnostic(message=message, hint="the name of its folder in .agents/skills")


def templates(spec: AgentSpec, problems: Problems) -> None:
    """Both templates can be read, and there is something to do."""
    for key, template in (("instructions", spec.instructions), ("prompt", spec.prompt)):
        problems.add_flaw((key,), template_flaw(template))
    if not spec.prompt.strip():
        problems.add(("prompt",), "the prompt is empty", "leave it out to use what was asked for")


# The events that may be about a pull request or an issue, and those that may bring an instruction.
_CHECKS = ("check_run", "check_suite", "workflow_run")
_EVENTS_WITH = {
    "pr": ("pull_request", "pull_request_target", "pull_request_review", *_CHECKS),
    "issue": ("issues",),
    "instruction": ("workflow_dispatch", "repository_dispatch"),
}


def variables(spec: AgentSpec, problems: Problems) -> None:
    """What a template needs exists on every event that starts the agent."""
    for key, template in (("instructions", spec.instructions), ("prompt", spec.prompt)):
        if key not in spec.model_fields_set or template_flaw(template) is not None:
            continue
        for name, line in required_variables(template).items():
            events = _EVENTS_WITH.get(name)
            started = [each for each in dict.fromkeys(spec.triggers.events) if event_flaw(each) is None]
            without = [each for each in started if events and each.partition(".")[0] not in events]
            if without:
                message = f"there is no `{name}` on {first_few(without, 3)}, so the agent would fail there"
                hint = f"put it behind {{% if {name} %}}, or drop the event"
                if name == "instruction":
                    hint = 'give it a default: {{ instruction | default("…") }}'
                problems.add_flaw((key,), Diagnostic(line=line, message=message, hint=hint))


def model(spec: AgentSpec, problems: Problems) -> None:
    """The address of the server, and what the model takes."""
    choice = spec.model
    if choice.base_url is not None and (reason := url_flaw(choice.base_url)):
        problems.add(("model", "base_url"), reason, "such as https://llm.example.com")
    if reason := conflict(choice.provider, choice.name, choice.effort, choice.thinking):
        problems.add(("model", "effort" if choice.thinking is None else "thinking"), reason)
    if choice.provider in NOT_SUPPORTED_YET and choice.base_url is not None:
        problems.add(("model", "base_url"), f"`base_url` does not go with the provider `{choice.provider}`")


def triggers(spec: AgentSpec, problems: Problems) -> None:
    """Events, labels, roles and the logins of bots."""
    path: KeyPath = ("triggers",)
    if (spec.triggers.comment or "").lower() in TAKEN_WORDS:
        message = f"`{spec.triggers.comment}` is taken: this word lists the agents in a comment"
        problems.add((*path, "comment"), message, "choose another word")
    _check_each((*path, "events"), spec.triggers.events, "event", problems, event_flaw)
    _check_each((*path, "labels"), spec.triggers.labels, "label", problems, _label_flaw)
    _check_each((*path, "roles"), spec.triggers.roles, "role", problems)
    if not spec.triggers.roles:
        problems.add((*path, "roles"), "with no role nobody may start it", "leave it out for the default")
    for index, login in enumerate(spec.triggers.bots):
        problems.add_flaw((*path, "bots", index), _login_flaw(login, "exactly as GitHub writes it: renovate[bot]"))


def names(spec: AgentSpec, problems: Problems) -> None:
    """Environment variables and secrets."""
    path: KeyPath = ("sandbox", "env")
    for name in spec.sandbox.env:
        if flaw := variable_flaw(name, "an environment variable"):
            problems.add_flaw((*path, name), flaw, at_key=True)
        elif name in spec.sandbox.secrets:
            problems.add((*path, name), "in `env` and in `secrets` at once", "keep it in one of them", at_key=True)
    secret_flaw = partial(variable_flaw, noun="a secret")
    _check_each(("sandbox", "secrets"), spec.sandbox.secrets, "secret", problems, secret_flaw)


def hosts(spec: AgentSpec, problems: Problems) -> None:
    """The hosts of both phases of the network, and those from which submodules come."""
    network, submodules = spec.sandbox.network, spec.workspace.submodules
    egresses: list[tuple[KeyPath, object, str]] = [
        (("sandbox", "network", "setup"), network.setup, "write none"),
        (("sandbox", "network", "agent"), network.agent, "write none"),
    ]
    if isinstance(submodules, SubmodulesSpec):
        egresses.append((("workspace", "submodules", "hosts"), submodules.hosts, "write `submodules: true`"))
    for path, names, hint in egresses:
        if isinstance(names, tuple):
            if not names:
                problems.add(path, "an empty list of hosts", hint)
            _check_each(path, names, "host", problems, host_flaw)


def inject(spec: AgentSpec, problems: Problems) -> None:
    """Headers that the network adds to requests."""
    network = spec.sandbox.network
    headers: dict[str, set[str]] = {}
    for index, rule in enumerate(network.inject):
        path: KeyPath = ("sandbox", "network", "inject", index)
        if flaw := injection_flaw(rule.host):
            problems.add_flaw((*path, "host"), flaw)
        elif not any(reaches(egress, rule.host) for egress in (network.setup, network.agent)):
            message = f"`{rule.host}` can be reached in no phase, so the header would never be sent"
            problems.add((*path, "host"), message, "add it to `network.setup` or `network.agent`")
        problems.add_flaw((*path, "header"), header_flaw(rule.header))
        for flaw in value_flaws(rule.header, rule.value, spec.sandbox.secrets):
            problems.add_flaw((*path, "value"), flaw)
        headers.setdefault(rule.host, set()).add(rule.header.lower())
        if len(headers) > MAX_INJECTED_HOSTS:
            message = f"E2B adds headers to requests for at most {MAX_INJECTED_HOSTS} hosts"
            problems.add((*path, "host"), message, "drop some of them")
            return
        if len(headers[rule.host]) > MAX_INJECTED_HEADERS:
            message = f"E2B adds at most {MAX_INJECTED_HEADERS} headers to a request"
            problems.add((*path, "header"), message, "drop some of them")
            return


def limits(spec: AgentSpec, problems: Problems) -> None:
    """The agent's time ends before its sandbox does."""
    minutes, timeout = spec.limits.minutes, spec.sandbox.timeout
    if minutes * 60 <= timeout:
        return
    message = f"the sandbox ends after {human_seconds(timeout)}, before the agent's {minutes:g} minutes are over"
    if "minutes" in spec.limits.model_fields_set:
        problems.add(("limits", "minutes"), message, "raise `sandbox.timeout`")
    else:
        problems.add(("sandbox", "timeout"), message, f"set `limits.minutes` to {timeout / 60:g} or less")


def cost(spec: AgentSpec, problems: Problems) -> None:
    """A limit on dollars needs a price."""
    name, provider = spec.model.name, spec.model.provider
    if spec.limits.cost_usd is None or spec.model.prices is not None or price_of(provider, name) is not None:
        return
    hint = "give `model.prices`, or drop the limit"
    if near := closest_match(name, known_models(provider)):
        hint = f"did you mean the model `{near}`? Otherwise {hint}"
    message = f"the price of `{one_line(name, 60)}` is not known, so its cost cannot be limited"
    problems.add(("limits", "cost_usd"), message, hint)


def checks(spec: AgentSpec, problems: Problems) -> None:
    """Each check has a name of its own, in one line."""
    names: set[str] = set()
    for index, check in enumerate(spec.checks):
        if check.name in names:
            problems.add(("checks", index, "name"), f"a second check with the name `{one_line(check.name, 60)}`")
        names.add(check.name)
        if check.name != one_line(check.name, 200):
            problems.add(("checks", index, "name"), "the name of a check is one line of printable text")


def verify(spec: AgentSpec, problems: Problems) -> None:
    """Setup can run again only where nothing of the agent is."""
    choice = spec.verification
    if choice.where == "same" and choice.setup == "after":
        problems.add(("verify", "setup"), "`after` goes with a clean sandbox", "write `where: fresh`, or drop it")


def lists(spec: AgentSpec, problems: Problems) -> None:
    """Tools and skills."""
    _check_each(("tools",), spec.tools, "tool", problems)
    if not spec.tools:
        problems.add(("tools",), "must not be empty", "leave it out for all of them")
    if not isinstance(spec.skills, str):
        _check_each(("skills",), spec.skills, "skill", problems, _skill_flaw)


def result(spec: AgentSpec, problems: Problems) -> None:
    """A JSON Schema of an object."""
    if spec.result is None:
        return
    from flue_ci.spec.result_schema import schema_flaws

    if spec.result.get("type") != "object":
        path: KeyPath = ("result", "type") if "type" in spec.result else ("result",)
        problems.add(path, "the result must be of type object", "write `type: object` at its top")
    if _count_values(spec.result) > MAX_SCHEMA:
        problems.add(("result",), f"has more than {MAX_SCHEMA:,} values, which is too large for a schema")
        return
    try:
        flaws = schema_flaws(spec.result)
    except (RecursionError, OverflowError):  # from its regular expressions
        problems.add(("result",), "a `pattern` in it cannot be read", "make it simpler")
        return
    for path, flaw in flaws:
        if path != ("type",):
            problems.add_flaw(("result", *path), flaw)


def _count_values(value: object) -> int:
    """How many values there are in a value of JSON, itself included."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 1
    return 1 + sum(map(_count_values, value))


def engine(spec: AgentSpec, problems: Problems) -> None:
    """Keys that work with our own loop only."""
    if not isinstance(spec.engine, ProgramSpec):
        return
    for key in ("result", "tools"):
        if key in spec.model_fields_set:
            message = f"`{key}` works with our own loop only"
            problems.add((key,), message, "use `engine: agent`, or drop it", at_key=True)


def publish(spec: AgentSpec, problems: Problems) -> None:
    """Labels, people, the branch, and protected paths."""
    wishes = spec.publish
    path: KeyPath = ("publish", "pull_request")
    reviewer_flaw = partial(_login_flaw, teams=True)
    _check_each(("publish", "labels"), wishes.labels, "label", problems, _label_flaw)
    _check_each((*path, "labels"), wishes.pull_request.labels, "label", problems, _label_flaw)
    _check_each((*path, "reviewers"), wishes.pull_request.reviewers, "login", problems, reviewer_flaw)
    if wishes.triage:
        _check_each(("publish", "triage", "assignees"), wishes.triage.assignees, "login", problems, _login_flaw)
    problems.add_flaw(("publish", "branch"), branch_flaw(wishes.branch))
    for key, globs in (("protect", wishes.protect), ("allow", wishes.allow)):
        _check_each(("publish", key), globs, "pattern", problems, glob_flaw)
    if wishes.when and wishes.changes in ("patch", "none"):
        hint = "it goes with commit, pull-request or suggest"
        problems.add(("publish", "when"), f"`changes: {wishes.changes}` pushes nothing", hint)
    elif wishes.when == "ask" and wishes.comment == "none":
        problems.add(("publish", "when"), "`comment: none` has no place for the box of `ask`", "use comment: sticky")


def repair(spec: AgentSpec, problems: Problems) -> None:
    """What starts a repair, and where it goes."""
    if spec.repair is None:
        return
    if "workflow_run.completed" not in spec.triggers.events:
        message = "CI is repaired when a run of it has completed, to which the agent does not listen"
        problems.add(("repair",), message, "add workflow_run.completed to `triggers.events`", at_key=True)
    if spec.publish.changes != "commit":
        message = f"a repair goes to the branch, which `publish.changes: {one_line(spec.publish.changes, 60)}` does not"
        problems.add(("repair",), message, "write `changes: commit`", at_key=True)


RULES: tuple[Rule, ...] = (
    templates,
    variables,
    model,
    triggers,
    names,
    hosts,
    inject,
    limits,
    cost,
    checks,
    verify,
    lists,
    result,
    engine,
    publish,
    repair,
)
# Keys whose values a rule relies on when it judges others: it is not applied when one of them is wrong.
NEEDS: Mapping[Rule, tuple[KeyPath, ...]] = {
    inject: (("sandbox", "secrets"), ("sandbox", "network", "setup"), ("sandbox", "network", "agent")),
    variables: (("triggers", "events"),),
    repair: (("repair",), ("triggers", "events"), ("publish", "changes")),
    limits: (("limits", "minutes"), ("sandbox", "timeout")),
    cost: (("limits", "cost_usd"), ("model",)),
}

"""Checks the meaning of keys, alone and together: host names, globs, events, secrets, templates, costs, schemas.

Each rule takes a spec whose shape is right, and adds the problems that it finds. `RULES` lists the keys that a rule
relies on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import closest_match, human_seconds, one_line
from flue_ci.models.capabilities import conflict
from flue_ci.models.prices import known_models, price_of
from flue_ci.models.registry import NOT_SUPPORTED_YET
from flue_ci.spec.events import event_flaw
from flue_ci.spec.network import header_flaw, host_flaw, reaches, value_flaws
from flue_ci.spec.problems import Problems
from flue_ci.spec.schema import NAME, AgentSpec, ProgramSpec
from flue_ci.spec.template import template_flaw
from flue_ci.spec.yaml_document import KeyPath

_RESERVED_NAMES = (
    (re.compile(r"(?i)(GITHUB|ACTIONS|RUNNER)_.*"), "nothing of the runner's is visible in the sandbox"),
    (re.compile(r"(?i)ANTHROPIC_.*"), "the model's key stays with flue-ci and never enters the sandbox"),
    (re.compile(r"(?i)E2B_.*"), "the key that controls sandboxes never enters one"),
    (re.compile(r"(?i)FLUE_CI_.*"), "this prefix is for flue-ci itself"),
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MAX_SCHEMA = 2_000  # values; checking a schema compares the entries of some lists with each other
_MAX_GLOB = 1_000
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?")

Rule = Callable[[AgentSpec, Problems], None]


def _check_unique(path: KeyPath, names: Sequence[str], noun: str, problems: Problems) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            problems.add((*path, index), f"the {noun} `{one_line(name, 60)}` is listed twice")


def templates(spec: AgentSpec, problems: Problems) -> None:
    """Both templates can be read, and there is something to do."""
    for key, template in (("instructions", spec.instructions), ("prompt", spec.prompt)):
        problems.add_flaw((key,), template_flaw(template))
    if not spec.prompt.strip():
        problems.add(("prompt",), "the prompt is empty", "leave it out to use what was asked for")


def model(spec: AgentSpec, problems: Problems) -> None:
    """The address of the server, and what the model takes."""
    choice = spec.model
    if choice.base_url is not None and (reason := _url_flaw(choice.base_url)):
        problems.add(("model", "base_url"), reason, "such as https://llm.example.com")
    if reason := conflict(choice.provider, choice.name, choice.effort, choice.thinking):
        problems.add(("model", "effort" if choice.thinking is None else "thinking"), reason)
    if choice.provider in NOT_SUPPORTED_YET and choice.base_url is not None:
        problems.add(("model", "base_url"), f"`base_url` does not go with the provider `{choice.provider}`")


def _url_flaw(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "not a valid address"
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return "an address without encryption, to which the model's key would be sent"
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url) or port == 0:
        return "not a web address"
    if parts.username or parts.password:
        return "an address with a password in it; keys come from the environment"
    if parts.query or parts.fragment:
        return "an address with a query or a fragment"
    return ""


def triggers(spec: AgentSpec, problems: Problems) -> None:
    """Events, labels, roles and the logins of bots."""
    path: KeyPath = ("triggers",)
    _check_unique((*path, "events"), spec.triggers.events, "event", problems)
    for index, event in enumerate(spec.triggers.events):
        problems.add_flaw((*path, "events", index), event_flaw(event))
    _check_labels((*path, "labels"), spec.triggers.labels, problems)
    _check_unique((*path, "roles"), spec.triggers.roles, "role", problems)
    if not spec.triggers.roles:
        problems.add((*path, "roles"), "with no role nobody may start it", "leave it out for the default")
    for index, login in enumerate(spec.triggers.bots):
        if not _LOGIN.fullmatch(login):
            message = f"`{one_line(login, 60)}` is not a login"
            problems.add((*path, "bots", index), message, "exactly as GitHub writes it: renovate[bot]")


def _check_labels(path: KeyPath, labels: Sequence[str], problems: Problems) -> None:
    _check_unique(path, labels, "label", problems)
    for index, label in enumerate(labels):
        if len(label) > 50 or label != one_line(label, 60) or "," in label:
            problems.add((*path, index), "a label is one line of at most 50 characters, without commas")


def names(spec: AgentSpec, problems: Problems) -> None:
    """Environment variables and secrets."""
    path: KeyPath = ("sandbox", "env")
    for name in spec.sandbox.env:
        if flaw := _variable_flaw(name, "an environment variable"):
            problems.add_flaw((*path, name), flaw, at_key=True)
        elif name in spec.sandbox.secrets:
            problems.add((*path, name), "in `env` and in `secrets` at once", "keep it in one of them", at_key=True)
    path = ("sandbox", "secrets")
    _check_unique(path, spec.sandbox.secrets, "secret", problems)
    for index, name in enumerate(spec.sandbox.secrets):
        problems.add_flaw((*path, index), _variable_flaw(name, "a secret"))


def _variable_flaw(name: str, noun: str) -> Diagnostic | None:
    if not _VARIABLE.fullmatch(name):
        message = f"`{one_line(name, 60)}` cannot be the name of {noun}"
        return Diagnostic(message=message, hint="letters, digits and _; only names, never values")
    for pattern, reason in _RESERVED_NAMES:
        if pattern.fullmatch(name):
            return Diagnostic(message=f"`{name}` cannot be {noun} in the sandbox", hint=reason)
    return None


def hosts(spec: AgentSpec, problems: Problems) -> None:
    """The hosts of both phases of the network."""
    network = spec.sandbox.network
    for phase, egress in (("setup", network.setup), ("agent", network.agent)):
        if isinstance(egress, str):
            continue
        path: KeyPath = ("sandbox", "network", phase)
        if not egress:
            problems.add(path, "an empty list of hosts", "write none")
        _check_unique(path, egress, "host", problems)
        for index, host in enumerate(egress):
            problems.add_flaw((*path, index), host_flaw(host))


def inject(spec: AgentSpec, problems: Problems) -> None:
    """Headers that the network adds to requests."""
    network = spec.sandbox.network
    for index, rule in enumerate(network.inject):
        path: KeyPath = ("sandbox", "network", "inject", index)
        if flaw := host_flaw(rule.host):
            problems.add_flaw((*path, "host"), flaw)
        elif not any(reaches(egress, rule.host) for egress in (network.setup, network.agent)):
            message = f"`{rule.host}` can be reached in no phase, so the header would never be sent"
            problems.add((*path, "host"), message, "add it to `network.setup` or `network.agent`")
        problems.add_flaw((*path, "header"), header_flaw(rule.header))
        for flaw in value_flaws(rule.header, rule.value, spec.sandbox.secrets):
            problems.add_flaw((*path, "value"), flaw)


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


def lists(spec: AgentSpec, problems: Problems) -> None:
    """Tools and skills."""
    _check_unique(("tools",), spec.tools, "tool", problems)
    if not spec.tools:
        problems.add(("tools",), "must not be empty", "leave it out for all of them")
    if not isinstance(spec.skills, str):
        _check_unique(("skills",), spec.skills, "skill", problems)
        for index, skill in enumerate(spec.skills):
            if not re.fullmatch(NAME, skill):
                message = f"`{one_line(skill, 60)}` is not a skill's name"
                problems.add(("skills", index), message, "the name of its folder in .agents/skills")


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
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    return 1 + sum(_count_values(item) for item in inner)


def engine(spec: AgentSpec, problems: Problems) -> None:
    """Keys that work with our own loop only."""
    if not isinstance(spec.engine, ProgramSpec):
        return
    for key in ("result", "tools"):
        if key in spec.model_fields_set:
            message = f"`{key}` works with our own loop only"
            problems.add((key,), message, "use `engine: agent`, or drop it", at_key=True)


def publish(spec: AgentSpec, problems: Problems) -> None:
    """Labels and protected paths."""
    _check_labels(("publish", "labels"), spec.publish.labels, problems)
    _check_unique(("publish", "protect"), spec.publish.protect, "pattern", problems)
    for index, glob in enumerate(spec.publish.protect):
        message, hint = _glob_flaw(glob)
        if message:
            problems.add(("publish", "protect", index), f"`{one_line(glob, 60)}` {message}", hint)


def _glob_flaw(glob: str) -> tuple[str, str]:
    """What is wrong with a pattern, as a predicate, and a hint; both empty when nothing is."""
    if len(glob) > _MAX_GLOB:
        return f"is longer than {_MAX_GLOB:,} characters", ""
    parts = glob.split("/")
    double_stars = [part for part in parts if "**" in part and part != "**"]
    top = "patterns are relative to the top of the repository"
    reasons = (
        (not glob.isprintable() or glob != glob.strip(), "has spaces at its ends or invisible characters", ""),
        (glob.startswith("!"), "begins with `!`", "a pattern can only add to what is protected"),
        ("\\" in glob, "has a backslash", "paths are written with /"),
        (glob.startswith(("/", "~")), "begins with `/` or `~`", top),
        (".." in parts or "." in parts, "has `.` or `..` in it", top),
        ("" in parts[:-1], "has an empty part (`//`)", ""),
        (double_stars, "has `**` beside other characters", "write `**/` or `/**`"),
        (not _brackets_close(glob), "has a `[` without `]`", "write [[] for the character itself"),
        ("{" in glob or "}" in glob, "has braces, which mean nothing in a pattern", "write one pattern for each"),
    )
    return next(((message, hint) for applies, message, hint in reasons if applies), ("", ""))


def _brackets_close(glob: str) -> bool:
    rest = re.sub(r"\[!?\]?[^\]/]*\]", "", glob)
    return "[" not in rest


# Each rule with the keys whose values it relies on when it judges others: it is not applied when one of them is wrong.
RULES: tuple[tuple[tuple[KeyPath, ...], Rule], ...] = (
    ((), templates),
    ((), model),
    ((), triggers),
    ((), names),
    ((), hosts),
    ((("sandbox", "secrets"), ("sandbox", "network", "setup"), ("sandbox", "network", "agent")), inject),
    ((("limits", "minutes"), ("sandbox", "timeout")), limits),
    ((("limits", "cost_usd"), ("model",)), cost),
    ((), checks),
    ((), lists),
    ((), result),
    ((), engine),
    ((), publish),
)

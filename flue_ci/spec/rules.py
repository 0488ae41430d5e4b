"""What the keys of a spec mean, one by one and together: host names, globs, events, secrets, templates, costs, schemas.

Each rule is a generator of findings over a spec whose shape is right already; `RULES` says what a rule relies on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from flue_ci.core.text import closest_match, human_seconds, one_line
from flue_ci.models.capabilities import conflict
from flue_ci.models.prices import known_models, price_of
from flue_ci.models.registry import NOT_SUPPORTED_YET
from flue_ci.spec import template as prompt
from flue_ci.spec.events import event_flaw
from flue_ci.spec.network import header_flaw, host_flaw, reaches, value_flaws
from flue_ci.spec.schema import NAME, AgentSpec, ProgramSpec
from flue_ci.spec.yaml_document import KeyPath

_KEPT_OUT = (
    (re.compile(r"(?i)(GITHUB|ACTIONS|RUNNER)_.*"), "nothing of the runner's is visible in the sandbox"),
    (re.compile(r"(?i)ANTHROPIC_.*"), "the model's key stays with flue-ci and never enters the sandbox"),
    (re.compile(r"(?i)E2B_.*"), "the key that controls sandboxes never enters one"),
    (re.compile(r"(?i)FLUE_CI_.*"), "this prefix is for flue-ci itself"),
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MAX_SCHEMA = 2_000  # values; checking a schema compares the entries of some lists with each other
_LONGEST_GLOB = 1_000
_JSON_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong at `path`. `text_line` is the line within a text, from 1; 0 for the value as a whole.

    `at_key`: the key itself is wrong.
    """

    path: KeyPath
    message: str
    hint: str = ""
    text_line: int = 0
    at_key: bool = False


def _meant(word: str, known: Sequence[str]) -> str:
    near = closest_match(word, known)
    return f"did you mean `{near}`?" if near else ""


def _twice(path: KeyPath, names: Sequence[str], what: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Finding(path=(*path, index), message=f"the {what} `{one_line(name, 60)}` is listed twice")


def templates(spec: AgentSpec) -> Iterator[Finding]:
    for key, template in (("instructions", spec.instructions), ("prompt", spec.prompt)):
        if flaw := prompt.flaw_of(template):
            yield Finding(path=(key,), message=flaw.message, hint=flaw.hint, text_line=flaw.line)
    if not spec.prompt.strip():
        yield Finding(path=("prompt",), message="the prompt is empty", hint="leave it out to use what was asked for")


def model(spec: AgentSpec) -> Iterator[Finding]:
    asked = spec.model
    if asked.base_url is not None and (reason := _url_flaw(asked.base_url)):
        yield Finding(path=("model", "base_url"), message=reason, hint="such as https://llm.example.com")
    if reason := conflict(asked.provider, asked.name, asked.effort, asked.thinking):
        yield Finding(path=("model", "effort" if asked.thinking is None else "thinking"), message=reason)
    if asked.provider in NOT_SUPPORTED_YET and asked.base_url is not None:
        yield Finding(
            path=("model", "base_url"), message=f"`base_url` does not go with the provider `{asked.provider}`"
        )


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
    return "an address with a query or a fragment" if parts.query or parts.fragment else ""


def triggers(spec: AgentSpec) -> Iterator[Finding]:
    path: KeyPath = ("triggers",)
    yield from _twice((*path, "events"), spec.triggers.events, "event")
    for index, event in enumerate(spec.triggers.events):
        if found := event_flaw(event):
            yield Finding(path=(*path, "events", index), message=found[0], hint=found[1])
    yield from _labels((*path, "labels"), spec.triggers.labels)
    yield from _twice((*path, "roles"), spec.triggers.roles, "role")
    if not spec.triggers.roles:
        yield Finding(
            path=(*path, "roles"), message="with no role nobody may start it", hint="leave it out for the default"
        )
    for index, login in enumerate(spec.triggers.bots):
        if not _LOGIN.fullmatch(login):
            message = f"`{one_line(login, 60)}` is not a login"
            yield Finding(
                path=(*path, "bots", index), message=message, hint="exactly as GitHub writes it: renovate[bot]"
            )


def _labels(path: KeyPath, labels: Sequence[str]) -> Iterator[Finding]:
    yield from _twice(path, labels, "label")
    for index, label in enumerate(labels):
        if len(label) > 50 or label != one_line(label, 60) or "," in label:
            yield Finding(path=(*path, index), message="a label is one line of at most 50 characters, without commas")


def names(spec: AgentSpec) -> Iterator[Finding]:
    """Environment variables and secrets."""
    path: KeyPath = ("sandbox", "env")
    for name in spec.sandbox.env:
        if found := _variable_flaw(name, "an environment variable"):
            yield Finding(path=(*path, name), message=found[0], hint=found[1], at_key=True)
        elif name in spec.sandbox.secrets:
            message = "in `env` and in `secrets` at once"
            yield Finding(path=(*path, name), message=message, hint="keep it in one of them", at_key=True)
    path = ("sandbox", "secrets")
    yield from _twice(path, spec.sandbox.secrets, "secret")
    for index, name in enumerate(spec.sandbox.secrets):
        if found := _variable_flaw(name, "a secret"):
            yield Finding(path=(*path, index), message=found[0], hint=found[1])


def _variable_flaw(name: str, what: str) -> tuple[str, str] | None:
    if not _VARIABLE.fullmatch(name):
        return f"`{one_line(name, 60)}` cannot be the name of {what}", "letters, digits and _; only names, never values"
    for pattern, reason in _KEPT_OUT:
        if pattern.fullmatch(name):
            return f"`{name}` cannot be {what} in the sandbox", reason
    return None


def hosts(spec: AgentSpec) -> Iterator[Finding]:
    network = spec.sandbox.network
    for phase, egress in (("setup", network.setup), ("agent", network.agent)):
        if isinstance(egress, str):
            continue
        path: KeyPath = ("sandbox", "network", phase)
        if not egress:
            yield Finding(path=path, message="an empty list of hosts", hint="write none")
        yield from _twice(path, egress, "host")
        for index, host in enumerate(egress):
            if found := host_flaw(host):
                yield Finding(path=(*path, index), message=found[0], hint=found[1])


def inject(spec: AgentSpec) -> Iterator[Finding]:
    network = spec.sandbox.network
    for index, rule in enumerate(network.inject):
        path: KeyPath = ("sandbox", "network", "inject", index)
        if found := host_flaw(rule.host):
            yield Finding(path=(*path, "host"), message=found[0], hint=found[1])
        elif not any(reaches(egress, rule.host) for egress in (network.setup, network.agent)):
            message = f"`{rule.host}` can be reached in no phase, so the header would never be sent"
            yield Finding(path=(*path, "host"), message=message, hint="add it to `network.setup` or `network.agent`")
        if reason := header_flaw(rule.header):
            yield Finding(path=(*path, "header"), message=reason)
        for message, hint in value_flaws(rule.header, rule.value, spec.sandbox.secrets):
            yield Finding(path=(*path, "value"), message=message, hint=hint)


def limits(spec: AgentSpec) -> Iterator[Finding]:
    seconds = spec.limits.minutes * 60
    if seconds > spec.sandbox.timeout:
        life = human_seconds(spec.sandbox.timeout)
        message = f"the sandbox ends after {life}, before the agent's {spec.limits.minutes:g} minutes are over"
        given = "minutes" in spec.limits.model_fields_set
        hint = "raise `sandbox.timeout`" if given else f"set `limits.minutes` to {spec.sandbox.timeout / 60:g} or less"
        yield Finding(path=("limits", "minutes") if given else ("sandbox", "timeout"), message=message, hint=hint)


def cost(spec: AgentSpec) -> Iterator[Finding]:
    name, provider = spec.model.name, spec.model.provider
    if spec.limits.cost_usd is None or spec.model.prices is not None or price_of(provider, name) is not None:
        return
    near = closest_match(name, known_models(provider))
    hint = (
        f"did you mean the model `{near}`? Otherwise give" if near else "give"
    ) + " `model.prices`, or drop the limit"
    message = f"the price of `{one_line(name, 60)}` is not known, so its cost cannot be limited"
    yield Finding(path=("limits", "cost_usd"), message=message, hint=hint)


def checks(spec: AgentSpec) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, check in enumerate(spec.checks):
        if check.name in seen:
            yield Finding(
                path=("checks", index, "name"), message=f"a second check with the name `{one_line(check.name, 60)}`"
            )
        seen.add(check.name)
        if check.name != one_line(check.name, 200):
            yield Finding(path=("checks", index, "name"), message="the name of a check is one line of printable text")


def lists(spec: AgentSpec) -> Iterator[Finding]:
    yield from _twice(("tools",), spec.tools, "tool")
    if not spec.tools:
        yield Finding(path=("tools",), message="must not be empty", hint="leave it out for all of them")
    if not isinstance(spec.skills, str):
        yield from _twice(("skills",), spec.skills, "skill")
        for index, skill in enumerate(spec.skills):
            if not re.fullmatch(NAME, skill):
                message = f"`{one_line(skill, 60)}` is not a skill's name"
                yield Finding(path=("skills", index), message=message, hint="the name of its folder in .agents/skills")


def result(spec: AgentSpec) -> Iterator[Finding]:
    if spec.result is None:
        return
    from flue_ci.spec.result_schema import schema_flaws

    if spec.result.get("type") != "object":
        at: KeyPath = ("result", "type") if "type" in spec.result else ("result",)
        yield Finding(path=at, message="the result must be of type object", hint="write `type: object` at its top")
    if _size(spec.result) > MAX_SCHEMA:
        yield Finding(path=("result",), message=f"has more than {MAX_SCHEMA:,} values, which is too large for a schema")
        return
    try:
        flaws = schema_flaws(spec.result)
    except (RecursionError, OverflowError):  # from its regular expressions
        yield Finding(path=("result",), message="a `pattern` in it cannot be read", hint="make it simpler")
        return
    for path, message in flaws:
        if path != ("type",):
            word = _at(spec.result, path)
            hint = _meant(word, _JSON_TYPES) if path[-1:] == ("type",) and isinstance(word, str) else ""
            yield Finding(path=("result", *path), message=message, hint=hint)


def _size(value: object) -> int:
    """How many values there are in a value of JSON, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(_size(item) for item in inner)


def _at(value: object, path: KeyPath) -> object:
    for part in path:
        value = value[part] if isinstance(value, dict | list) else None  # type: ignore[index]
    return value


def engine(spec: AgentSpec) -> Iterator[Finding]:
    if not isinstance(spec.engine, ProgramSpec):
        return
    for key in ("result", "tools"):
        if key in spec.model_fields_set:
            yield Finding(
                path=(key,),
                message=f"`{key}` works with our own loop only",
                hint="use `engine: agent`, or drop it",
                at_key=True,
            )


def publish(spec: AgentSpec) -> Iterator[Finding]:
    yield from _labels(("publish", "labels"), spec.publish.labels)
    yield from _twice(("publish", "protect"), spec.publish.protect, "pattern")
    for index, glob in enumerate(spec.publish.protect):
        if reason := _glob_flaw(glob):
            yield Finding(
                path=("publish", "protect", index), message=f"`{one_line(glob, 60)}` {reason[0]}", hint=reason[1]
            )


def _glob_flaw(glob: str) -> tuple[str, str] | None:
    if len(glob) > _LONGEST_GLOB:
        return f"is longer than {_LONGEST_GLOB:,} characters", ""
    parts = glob.split("/")
    reasons = (
        (not glob.isprintable() or glob != glob.strip(), "has spaces at its ends or invisible characters", ""),
        (glob.startswith("!"), "begins with `!`", "a pattern can only add to what is protected"),
        ("\\" in glob, "has a backslash", "paths are written with /"),
        (glob.startswith(("/", "~")), "begins with `/` or `~`", "patterns are relative to the top of the repository"),
        (".." in parts or "." in parts, "has `.` or `..` in it", "patterns are relative to the top of the repository"),
        ("" in parts[:-1], "has an empty part (`//`)", ""),
        (
            any("**" in part and part != "**" for part in parts),
            "has `**` beside other characters",
            "write `**/` or `/**`",
        ),
        (not _brackets_close(glob), "has a `[` without `]`", "write [[] for the character itself"),
        ("{" in glob or "}" in glob, "has braces, which mean nothing in a pattern", "write one pattern for each"),
    )
    return next(((message, hint) for wrong, message, hint in reasons if wrong), None)


def _brackets_close(glob: str) -> bool:
    rest = re.sub(r"\[!?\]?[^\]/]*\]", "", glob)
    return "[" not in rest


# Each rule with the keys that it takes for right when it judges others: it is left out when one of them is not.
RULES: tuple[tuple[tuple[KeyPath, ...], Callable[[AgentSpec], Iterator[Finding]]], ...] = (
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

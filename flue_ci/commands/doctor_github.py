"""`flue-ci doctor --github`: whether the repository on GitHub is set up, so that a comment there is answered."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci.assembly import examine_github
from flue_ci.commands.local_publishing import remote_repository
from flue_ci.commands.publishers import REPAIR_WORKFLOW, publishers_of
from flue_ci.core.errors import Diagnostic, FlueError, UsageError
from flue_ci.core.permissions import READS, missing_permissions
from flue_ci.core.text import first_few, one_line, plural
from flue_ci.settings import read_settings
from flue_ci.spec.load import find_root, find_specs, load_spec
from flue_ci.spec.schema import AgentSpec
from flue_ci.spec.silent_triggers import find_silent_triggers

_PERMISSION = re.compile(r"(?:^|[\s{,])([a-z-]+):\s*(read|write)\b")
_HOW_TO_SEE = 'export GITHUB_TOKEN="$(gh auth token)", or a token that may read contents, actions and secrets'


def diagnose_github(repo: Path, environ: Mapping[str, str]) -> list[Diagnostic]:
    """A diagnostic for each thing that has to be there. Raises `UsageError` when it is not clear which repository is
    meant."""
    root = find_root(repo)
    token = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN", "")
    settings = read_settings(environ)
    github = replace(settings.github, token=settings.github.token or token, repo=remote_repository(root, settings))
    if not re.match(r"https?://\w", github.api_url):
        raise UsageError(f"GITHUB_API_URL is {one_line(github.api_url)!r}, no address", hint="unset it for github.com")
    setup = asyncio.run(examine_github(github))
    rows = list(setup.diagnostics)
    if setup.specs is not None:
        agent_rows, specs = _agents(setup.specs, setup.workflows or {}, setup.branch)
        settings_url = f"{github.server_url}/{github.repo}/settings/actions"
        rows += [*agent_rows, *_publishing(specs, setup.workflows or {}, setup.may_open_pulls, settings_url)]
        local_names = [path.name for path in find_specs(root) if path.name not in setup.specs]
        if local_names:
            message = f"only in this checkout: {first_few(local_names, 5)}"
            hint = f"merge them into {setup.branch}: specs are read there"
            rows.append(Diagnostic(key="agents", severity="note", message=message, hint=hint))
    if not github.token:
        message = "not set, so only what everybody sees can be examined"
        rows.insert(0, Diagnostic(key="GITHUB_TOKEN", severity="note", message=message, hint=_HOW_TO_SEE))
    return rows


def _agents(
    specs: Mapping[str, bytes], workflows: Mapping[str, str], branch: str
) -> tuple[list[Diagnostic], list[AgentSpec]]:
    """Also the specs that are valid."""
    key, rows, valid = "agents", list[Diagnostic](), list[AgentSpec]()
    for name, text in specs.items():
        try:
            spec = load_spec(Path(".flue/agents", name), text)
        except FlueError as error:
            rows.append(Diagnostic(key=key, message=str(error).splitlines()[0], hint="flue-ci validate, then merge"))
            continue
        valid.append(spec)
        rows += _spec_secrets(spec, "\n".join(workflows.values()))
    for each in find_silent_triggers(valid, {name: text.encode() for name, text in workflows.items()}):
        message = f"{each.file}:{each.line}: {each.key}: {each.message}"
        rows.append(Diagnostic(key=key, severity=each.severity, message=message, hint=each.hint))
    names = [spec.name for spec in valid]
    if names:
        message = f"{plural(len(names), 'agent')} on {branch}: {', '.join(names)}"
        rows.insert(0, Diagnostic(key=key, severity="ok", message=message))
    if not specs:
        hint = "flue-ci init writes one; merge it"
        rows.append(Diagnostic(key=key, message=f"none in .flue/agents on {branch}", hint=hint))
    return rows, valid


def _publishing(
    specs: list[AgentSpec], workflows: Mapping[str, str], may_open_pulls: bool | None, settings_url: str
) -> list[Diagnostic]:
    """What agents publish beside the comment and no workflow has the permission for, and the setting for pull
    requests."""
    publishers, rows = publishers_of(specs), []
    for publisher in publishers:
        lacking = missing_permissions(publisher, _highest_levels(workflows))
        if workflows and lacking and publisher != "comment":  # that one is examined with each workflow
            message = f"agents publish with `{publisher}`, for which no workflow has the permission"
            hint = f"in the job that publishes:\n{lacking}"
            if publisher == "repair":
                message = "agents repair CI, for which no workflow has the permission"
                hint = f"copy {REPAIR_WORKFLOW}, or in the job that runs the agent:\n{lacking}"
            rows.append(Diagnostic(key="permissions", message=message, hint=hint))
    if "pull-request" in publishers:
        rows.append(_pull_request_setting(may_open_pulls, settings_url))
    return rows


def _pull_request_setting(is_allowed: bool | None, place: str) -> Diagnostic:
    key, setting = "pull requests", "“Allow GitHub Actions to create and approve pull requests”"
    if is_allowed:
        return Diagnostic(key=key, severity="ok", message="Actions may open them")
    if is_allowed is None:
        message = f"whether Actions may open them cannot be seen: {setting}"
        return Diagnostic(key=key, severity="note", message=message, hint=f"people look at {place}")
    message = f"an agent opens them, but {setting} is off"
    return Diagnostic(key=key, message=message, hint=f"allow it: {place}, or give the input `push-token` another token")


def _highest_levels(workflows: Mapping[str, str]) -> dict[str, str]:
    """The highest level of each permission that some job has."""
    levels: dict[str, str] = {}
    for text in workflows.values():
        for name, level in _PERMISSION.findall(text):
            if levels.get(name) != "write":
                levels[name] = level
        if "write-all" in text or "permissions:" not in text:  # then the repository's default counts, which may be that
            levels |= dict.fromkeys(READS, "write")
    return levels


def _spec_secrets(spec: AgentSpec, workflows: str) -> list[Diagnostic]:
    """The secrets that the spec names and that no workflow passes on."""
    return [
        Diagnostic(
            key="agents",
            message=f"{spec.name} wants the secret {name}, which no workflow passes on",
            hint=f"in the workflow's step:\nenv:\n  {name}: ${{{{ secrets.{name} }}}}",
        )
        for name in spec.sandbox.secrets
        if workflows and not re.search(rf"\b{re.escape(name)}\b", workflows)
    ]

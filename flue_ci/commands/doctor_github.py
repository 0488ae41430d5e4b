"""`flue-ci doctor --github`: whether the repository on GitHub is set up, so that a comment there is answered."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from flue_ci.assembly import examine_github
from flue_ci.core.errors import Diagnostic, FlueError, UsageError
from flue_ci.core.text import first_few, one_line, plural
from flue_ci.git.command import run_git
from flue_ci.settings import Settings, read_settings
from flue_ci.spec.load import find_root, find_specs, load_spec
from flue_ci.spec.schema import AgentSpec

_HOW_TO_SEE = 'export GITHUB_TOKEN="$(gh auth token)", or a token that may read contents, actions and secrets'
_REMOTE = re.compile(
    r"(?:[\w.+-]+://)?(?:[^@/\s]*@)?(?P<host>[\w.-]+)(?::\d+/|[:/])(?P<repo>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
)


def diagnose_github(repo: Path, environ: Mapping[str, str]) -> list[Diagnostic]:
    """A diagnostic for each thing that has to be there. Raises `UsageError` when it is not clear which repository is
    meant."""
    root = find_root(repo)
    token = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN", "")
    settings = read_settings(environ)
    github = replace(settings.github, token=settings.github.token or token, repo=_repository(root, settings))
    if not re.match(r"https?://\w", github.api_url):
        raise UsageError(f"GITHUB_API_URL is {one_line(github.api_url)!r}, no address", hint="unset it for github.com")
    setup = asyncio.run(examine_github(github))
    rows = list(setup.diagnostics)
    if setup.specs is not None:
        rows += _agents(setup.specs, "\n".join((setup.workflows or {}).values()), setup.branch)
        local_names = [path.name for path in find_specs(root) if path.name not in setup.specs]
        if local_names:
            message = f"only in this checkout: {first_few(local_names, 5)}"
            hint = f"merge them into {setup.branch}: specs are read there"
            rows.append(Diagnostic(key="agents", severity="note", message=message, hint=hint))
    if not github.token:
        message = "not set, so only what everybody sees can be examined"
        rows.insert(0, Diagnostic(key="GITHUB_TOKEN", severity="note", message=message, hint=_HOW_TO_SEE))
    return rows


def _repository(root: Path, settings: Settings) -> str:
    """`owner/name`, from the job's environment or from the checkout's remote `origin`. A token goes to the server of
    the environment only, never to one that a checkout names."""
    if settings.github.repo:
        return settings.github.repo
    hint = "run it in a checkout with the remote `origin`, or set GITHUB_REPOSITORY=owner/name"
    try:
        address = run_git("remote", "get-url", "origin", cwd=root).line
    except FlueError as error:
        raise UsageError(f"which repository is meant? {error}", hint=hint) from None
    match = _REMOTE.fullmatch(address.strip())
    if not match:
        raise UsageError("the checkout has no remote `origin` on GitHub", hint=hint)
    server = urlsplit(settings.github.server_url).hostname
    if match["host"].lower() not in (server, f"ssh.{server}"):
        hint = f"when ssh knows {server} by that name: GITHUB_REPOSITORY={match['repo']}\n"
        hint += f"for GitHub Enterprise: GITHUB_SERVER_URL=https://{match['host']}, GITHUB_API_URL=https://{match['host']}/api/v3"
        raise UsageError(f"the checkout's remote is at {match['host']}, not at {server}", hint=hint)
    return match["repo"]


def _agents(specs: Mapping[str, bytes], workflows: str, branch: str) -> list[Diagnostic]:
    key, rows, names = "agents", [], []
    for name, text in specs.items():
        try:
            spec = load_spec(Path(".flue/agents", name), text)
        except FlueError as error:
            rows.append(Diagnostic(key=key, message=str(error).splitlines()[0], hint="flue-ci validate, then merge"))
            continue
        names.append(spec.name)
        rows += _spec_secrets(spec, workflows)
    if names:
        message = f"{plural(len(names), 'agent')} on {branch}: {', '.join(names)}"
        rows.insert(0, Diagnostic(key=key, severity="ok", message=message))
    if not specs:
        hint = "flue-ci init writes one; merge it"
        rows.append(Diagnostic(key=key, message=f"none in .flue/agents on {branch}", hint=hint))
    return rows


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

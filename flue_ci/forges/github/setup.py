"""Whether a repository on GitHub has what its agents need there, as far as the token may see it. Reads only.

What it cannot see it says, with the place where people look for themselves.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from flue_ci.core.concurrency import together
from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import first_few, plural
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import ApiRequest, ApiResponse, ConnectionPool
from flue_ci.forges.github.retry import to_forge_error
from flue_ci.settings import GitHubSettings

WORKFLOWS, AGENTS = ".github/workflows", ".flue/agents"
KEYS = ("ANTHROPIC_API_KEY", "E2B_API_KEY")
# By owner: ours, and what it uses.
_NEEDED_ACTIONS = {"flue-ci": "flue-ci/flue-ci", "actions": "actions/upload-artifact"}
_MAX_FILES = 50  # of a folder
_YAML = (".yml", ".yaml")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_USES = re.compile(r"""^[\s-]*uses:\s*["']?(?:\S*flue-ci\S*@|\./)""", re.MULTILINE)
_SECRET = re.compile(r"\bsecrets\.([A-Za-z_]\w*)")
_ENVIRONMENT = re.compile(r"^[ \t]+environment:[ \t]*(?:\n\s+name:\s*|\{\s*name:\s*)?[\"']?([\w-]+)", re.MULTILINE)
_READS = re.compile(r"\bcontents:\s*(?:read|write)\b|\bpermissions:\s*(?:read|write)-all\b")
_WRITES = re.compile(r"\b(?:issues|pull-requests):\s*write\b|\bpermissions:\s*write-all\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySetup:
    """What there is, a diagnostic for each thing that was examined. `workflows` are those of the default branch that
    use flue-ci, `specs` its agents' specs, by file name; None where they cannot be read. `may_open_pulls`: the setting
    "Allow GitHub Actions to create and approve pull requests", None where it cannot be seen."""

    branch: str = ""
    diagnostics: list[Diagnostic] = field(default_factory=list)
    workflows: Mapping[str, str] | None = None
    specs: Mapping[str, bytes] | None = None
    may_open_pulls: bool | None = None


async def examine_setup(settings: GitHubSettings) -> RepositorySetup:
    """Never raises for what GitHub answers, or when it does not."""
    pool = ConnectionPool(settings.api_url, settings.token.strip())
    try:
        return await _Survey(settings, pool).run()
    finally:
        await pool.close()


class _Survey:
    def __init__(self, settings: GitHubSettings, pool: ConnectionPool) -> None:
        self._repo, self._pool, self._has_token = settings.repo, pool, bool(settings.token)
        self._settings_url = f"{settings.server_url}/{settings.repo}/settings"

    async def run(self) -> RepositorySetup:
        about = await self._get("read the repository", "")
        if not about.ok:
            hint = "is the name right, and may the token (GITHUB_TOKEN) see it?"
            return RepositorySetup(diagnostics=[self._unseen("repository", about, hint, severity="error")])
        branch = parse.text(about.data, "default_branch")
        actions, defaults, states, workflows, specs = await together(
            self._get("read the settings of Actions", "/actions/permissions"),
            self._get("read the default permissions", "/actions/permissions/workflow"),
            self._get("read the workflows", "/actions/workflows?per_page=100"),
            self._folder(WORKFLOWS),
            self._folder(AGENTS),
        )
        texts: dict[str, str] | None = None
        if not isinstance(workflows, ApiResponse):
            texts = {name: _COMMENT.sub("", data.decode("utf-8", "replace")) for name, data in workflows.items()}
            texts = {name: text for name, text in texts.items() if _is_ours(text)}
        rows = [_repository(self._repo, branch, about), await self._actions(actions)]
        if texts is None:
            rows.append(self._unseen("workflow", workflows, f"is there one in {WORKFLOWS} on {branch}?"))
        else:
            rows += [_workflow(texts, states, branch), *self._permissions(texts, defaults)]
        rows.append(await self._secrets(texts or {}))
        if isinstance(specs, ApiResponse):
            rows.append(self._unseen("agents", specs, f"are they in {AGENTS} on {branch}?"))
            specs = None
        may_open_pulls = parse.flag(defaults.data, "can_approve_pull_request_reviews") if defaults.ok else None
        return RepositorySetup(
            branch=branch, diagnostics=rows, workflows=texts, specs=specs, may_open_pulls=may_open_pulls
        )

    async def _get(self, purpose: str, path: str) -> ApiResponse:
        return await self._pool.send(ApiRequest(purpose, "GET", f"/repos/{self._repo}{path}"))

    async def _folder(self, path: str) -> dict[str, bytes] | ApiResponse:
        """The YAML files of a folder of the default branch by name, none where there is no such folder; the response
        where they cannot be read."""
        listing = await self._get(f"read {path}", f"/contents/{path}")
        if listing.status == 404:
            return {}
        if not listing.ok or not isinstance(listing.data, list):
            return listing
        names = [parse.text(item, "name") for item in listing.data if isinstance(item, dict)]
        names = [name for name in names if name.endswith(_YAML)][:_MAX_FILES]
        answers: list[ApiResponse] = await together(
            *(self._get(f"read {path}", f"/contents/{path}/{quote(name)}") for name in names)
        )
        for answer in answers:
            if not answer.ok:
                return answer
        return {name: _content(answer.data) for name, answer in zip(names, answers, strict=True)}

    def _unseen(self, key: str, response: ApiResponse, hint: str, *, severity: str = "note") -> Diagnostic:
        """What could not be examined: an error when GitHub is out of reach or refuses the token, else a note."""
        error = to_forge_error(f"read the {key}", response)
        is_refused = response.status in (403, 404) and not response.rate_limited
        if severity == "note" and (is_refused or (response.status == 401 and not self._has_token)):
            return Diagnostic(key=key, severity="note", message=f"cannot be seen: {error}", hint=hint)
        if response.status == 0:
            hint = response.hint or "is there a network, and does its proxy let GitHub through?"
        elif response.status == 401:
            hint = "set GITHUB_TOKEN to a token that is valid"
        elif not is_refused:
            hint = error.hint or hint
        return Diagnostic(key=key, message=str(error), hint=hint)

    async def _actions(self, response: ApiResponse) -> Diagnostic:
        key, place = "Actions", f"{self._settings_url}/actions"
        if not response.ok:
            return self._unseen(
                key, response, f"a token that may read the administration sees it; people look at {place}"
            )
        policy = parse.text(response.data, "allowed_actions")
        if not parse.flag(response.data, "enabled"):
            return Diagnostic(key=key, message="disabled in this repository", hint=f"allow them: {place}")
        if policy == "selected":
            listing = await self._get("read the allowed actions", "/actions/permissions/selected-actions")
            if not listing.ok:
                return self._unseen(key, listing, f"flue-ci/flue-ci has to be among the allowed actions: {place}")
            owners = {pattern.partition("/")[0] for pattern in parse.texts(listing.data, "patterns_allowed")}
            if parse.flag(listing.data, "github_owned_allowed"):
                owners.add("actions")
            for owner, action in _NEEDED_ACTIONS.items():
                if not owners & {owner, "*"}:
                    return Diagnostic(key=key, message=f"{action} is not allowed", hint=f"add {action}@*: {place}")
        if policy == "local_only":
            hint = f"allow flue-ci/flue-ci@*: {place}"
            return Diagnostic(key=key, message="only actions of the same owner are allowed", hint=hint)
        return Diagnostic(key=key, severity="ok", message="enabled, and flue-ci is allowed")

    def _permissions(self, texts: Mapping[str, str], defaults: ApiResponse) -> list[Diagnostic]:
        """Of workflows that write an answer: by their own `permissions:`, else by the repository's default."""
        key, rows = "permissions", []
        default = parse.text(defaults.data, "default_workflow_permissions") if defaults.ok else ""
        for name, text in texts.items():
            if "permissions:" not in text:
                hint = f"name them in {WORKFLOWS}/{name}: contents: read, issues: write, pull-requests: write"
                if default == "write":
                    message = f"{name} has the repository's default, which may write everything"
                    rows.append(Diagnostic(key=key, severity="note", message=message, hint=hint))
                elif default == "read":
                    message = f"{name} has the repository's default, which may write no comment"
                    rows.append(Diagnostic(key=key, message=message, hint=hint))
                else:
                    rows.append(self._unseen(key, defaults, hint))
                continue
            lacking = [] if _READS.search(text) else ["contents: read"]
            if not _WRITES.search(text) and not re.search(r"\bpublish:\s*[\"']?none\b", text):
                lacking += ["issues: write", "pull-requests: write"]
            if lacking:
                hint = f"add under `permissions:` of its job: {', '.join(lacking)}"
                rows.append(Diagnostic(key=key, message=f"{name} may not do its work", hint=hint))
        if texts and not rows:
            rows.append(Diagnostic(key=key, severity="ok", message="the workflow says what its job may do"))
        return rows

    async def _secrets(self, texts: Mapping[str, str]) -> Diagnostic:
        """By name; nobody can read a value."""
        whole, key, place = "\n".join(texts.values()), "secrets", f"{self._settings_url}/secrets/actions"
        names = sorted({name.upper() for name in _SECRET.findall(whole)} - {"GITHUB_TOKEN"}) or list(KEYS)
        places = ["/actions/secrets", "/actions/organization-secrets"]
        places += [f"/environments/{quote(name)}/secrets" for name in sorted(set(_ENVIRONMENT.findall(whole)))]
        answers = await together(*(self._get("read the secrets", f"{path}?per_page=100") for path in places))
        missing = [name for name in names if name not in set().union(*map(_names, answers))]
        if not missing:
            return Diagnostic(key=key, severity="ok", message=f"{', '.join(names)}: there")
        hint = "\n".join(f"gh secret set {name} --repo {self._repo}" for name in missing) + f"\nor at {place}"
        unseen = next((answer for answer in answers if not answer.ok), None)
        if unseen:
            row = self._unseen(key, unseen, f"a token with the right to read secrets sees it; people look at {place}")
            message = f"{row.message}; looked for: {', '.join(missing)}"
            return Diagnostic(key=key, severity=row.severity, message=message, hint=row.hint)
        return Diagnostic(key=key, message=f"{', '.join(missing)}: missing", hint=hint)


def _repository(repo: str, branch: str, about: ApiResponse) -> Diagnostic:
    if parse.flag(about.data, "archived"):
        return Diagnostic(
            key="repository", message=f"{repo} is archived: nothing runs there", hint="unarchive it first"
        )
    return Diagnostic(key="repository", severity="ok", message=f"{repo}, default branch {branch}")


def _workflow(texts: Mapping[str, str], states: ApiResponse, branch: str) -> Diagnostic:
    key = "workflow"
    if not texts:
        message = f"none in {WORKFLOWS} on {branch} uses flue-ci"
        return Diagnostic(key=key, message=message, hint="flue-ci init --github writes one; merge it")
    state_of = {parse.text(item, "path"): parse.text(item, "state") for item in parse.items(states.data, "workflows")}
    off = [name for name in texts if state_of.get(f"{WORKFLOWS}/{name}", "active") != "active"]
    if off:
        hint = "\n".join(f"gh workflow enable {name}" for name in off)
        return Diagnostic(key=key, message=f"{', '.join(off)}: disabled", hint=hint)
    message = f"{plural(len(texts), 'workflow')} on {branch}: {first_few(list(texts), 5)}"
    return Diagnostic(key=key, severity="ok", message=message)


def _is_ours(text: str) -> bool:
    match = _USES.search(text)
    return match is not None and ("flue-ci" in match[0] or "anthropic-api-key:" in text)


def _names(response: ApiResponse) -> Iterable[str]:
    return {parse.text(item, "name").upper() for item in parse.items(response.data, "secrets")}


def _content(data: object) -> bytes:
    """Of a file; empty for one that is too large for the API, and for what is no file."""
    try:
        return base64.b64decode(parse.text(data, "content"))
    except ValueError:
        return b""

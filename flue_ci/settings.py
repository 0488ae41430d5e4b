"""What the environment says, read once into a frozen value whose secrets do not print."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubSettings:
    """Where a workflow runs, and with which rights. `repo` is `owner/name`; all empty outside of GitHub Actions.

    `push_token`, or the id and the private key (PEM) of a GitHub App, moves branches: what the job's own token pushes
    starts no workflows."""

    token: str = field(default="", repr=False)
    push_token: str = field(default="", repr=False)
    app_id: str = ""
    app_private_key: str = field(default="", repr=False)
    repo: str = ""
    api_url: str = "https://api.github.com"
    graphql_url: str = ""
    server_url: str = "https://github.com"

    @property
    def secrets_url(self) -> str:
        """The page where people set the repository's secrets for workflows."""
        return f"{self.server_url}/{self.repo}/settings/secrets/actions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys and addresses; empty when not set. `environ` is what named secrets of a spec are looked up in.

    `retry_timeout_seconds` bounds the wait for a service (the model's or the sandboxes') that is out of reach,
    `idle_seconds` a silence of the model, `rescue_seconds` the time for saving changes after a signal; None: the
    default of what uses it.
    """

    anthropic_api_key: str = field(default="", repr=False)
    anthropic_auth_token: str = field(default="", repr=False)
    anthropic_base_url: str = ""
    e2b_api_key: str = field(default="", repr=False)
    e2b_domain: str = ""
    e2b_api_url: str = ""
    e2b_sandbox_url: str = ""
    state_dir: Path = Path()
    retry_timeout_seconds: float | None = None
    idle_seconds: float | None = None
    rescue_seconds: float | None = None
    github: GitHubSettings = field(default_factory=GitHubSettings)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def in_job(self) -> bool:
        """Whether this is a job of GitHub Actions."""
        return self.environ.get("GITHUB_ACTIONS") == "true"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """From `ANTHROPIC_*`, `E2B_*`, `FLUE_CI_*_SECONDS` and `XDG_STATE_HOME` (where saved runs go unless `--out` says
    otherwise); in a workflow also from `GITHUB_*`, and from the action's inputs, which come first. Raises `UsageError`
    for what is no number of seconds."""
    home = Path(environ.get("HOME") or "/tmp")  # noqa: S108 (only where there is no home at all)
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # a relative one is to be ignored (XDG Base Directory): it could lie in a checkout
        state = home / ".local" / "state"
    return Settings(
        anthropic_api_key=environ.get("FLUE_CI_ANTHROPIC_API_KEY") or environ.get("ANTHROPIC_API_KEY", ""),
        anthropic_auth_token=environ.get("ANTHROPIC_AUTH_TOKEN", ""),
        anthropic_base_url=environ.get("ANTHROPIC_BASE_URL", ""),
        e2b_api_key=environ.get("FLUE_CI_E2B_API_KEY") or environ.get("E2B_API_KEY", ""),
        e2b_domain=environ.get("E2B_DOMAIN", ""),
        e2b_api_url=environ.get("E2B_API_URL", ""),
        e2b_sandbox_url=environ.get("E2B_SANDBOX_URL", ""),
        state_dir=state / "flue-ci",
        retry_timeout_seconds=_seconds(environ, "FLUE_CI_PATIENCE_SECONDS"),
        idle_seconds=_seconds(environ, "FLUE_CI_IDLE_SECONDS"),
        rescue_seconds=_seconds(environ, "FLUE_CI_RESCUE_SECONDS"),
        github=GitHubSettings(
            token=environ.get("FLUE_CI_GITHUB_TOKEN") or environ.get("GITHUB_TOKEN", ""),
            push_token=environ.get("FLUE_CI_PUSH_TOKEN", "").strip(),
            app_id=environ.get("FLUE_CI_APP_ID", "").strip(),
            app_private_key=environ.get("FLUE_CI_APP_PRIVATE_KEY", "").strip(),
            repo=environ.get("GITHUB_REPOSITORY", ""),
            api_url=environ.get("GITHUB_API_URL") or "https://api.github.com",
            graphql_url=environ.get("GITHUB_GRAPHQL_URL", ""),
            server_url=environ.get("GITHUB_SERVER_URL") or "https://github.com",
        ),
        environ=dict(environ),
    )


def _seconds(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{name} is {text!r}, not a number of seconds", hint=f"for example {name}=60")
    return seconds

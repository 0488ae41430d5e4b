"""What the environment says, read once into a frozen value whose secrets do not print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys and addresses; empty when not set. `environ` is what named secrets of a spec are looked up in."""

    anthropic_api_key: str = field(default="", repr=False)
    anthropic_auth_token: str = field(default="", repr=False)
    anthropic_base_url: str = ""
    e2b_api_key: str = field(default="", repr=False)
    e2b_domain: str = ""
    e2b_api_url: str = ""
    e2b_sandbox_url: str = ""
    state_dir: Path = Path()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """From `ANTHROPIC_*`, `E2B_*` and `XDG_STATE_HOME` (where saved runs go unless `--out` says otherwise)."""
    home = Path(environ.get("HOME") or "/tmp")  # noqa: S108 (only where there is no home at all)
    return Settings(
        anthropic_api_key=environ.get("ANTHROPIC_API_KEY", ""),
        anthropic_auth_token=environ.get("ANTHROPIC_AUTH_TOKEN", ""),
        anthropic_base_url=environ.get("ANTHROPIC_BASE_URL", ""),
        e2b_api_key=environ.get("E2B_API_KEY", ""),
        e2b_domain=environ.get("E2B_DOMAIN", ""),
        e2b_api_url=environ.get("E2B_API_URL", ""),
        e2b_sandbox_url=environ.get("E2B_SANDBOX_URL", ""),
        state_dir=Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "flue-ci",
        environ=dict(environ),
    )

"""The inputs of action.yml, read once from the environment of the step (docs/action.md)."""

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.core.errors import UsageError
from flue_ci.core.text import matches_host, one_line, origin
from flue_ci.gate.policy import GateSettings, read_gate_settings
from flue_ci.models.registry import OWN_HOST
from flue_ci.report.report import CONCLUSIONS
from flue_ci.settings import Settings, read_settings

_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:\d{1,5})?|\[[0-9a-f:.]+\](:\d{1,5})?")
_FAIL_ON = frozenset(("failed", "cancelled", "partial"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionInputs:
    """What a step was given. Empty: not given. `gate` are the inputs that decide whether an event is for an agent,
    `settings` keys and addresses. `rate_limit` is in requests an hour and person, 0 for no limit; `timeout_minutes` is
    the whole time of the job, from its start. `only_comment`: what the spec publishes besides is left to a later job
    with the input `report`."""

    settings: Settings = field(default_factory=Settings)
    gate: GateSettings = field(default_factory=GateSettings)
    instruction: str = ""
    model: str = ""
    sandbox: str = "e2b"
    template: str = ""
    fail_on: frozenset[str] = _FAIL_ON
    dry_run: bool = False
    comment: bool = True
    only_comment: bool = False
    artifact: bool = True
    out: Path | None = None
    rate_limit: int = 20
    timeout_minutes: float | None = None
    run_token: str = field(default_factory=lambda: secrets.token_hex(16))
    has_reacted: bool = False
    report: Path | None = None
    trusted_branches: tuple[str, ...] = ()
    allowed_model_hosts: tuple[str, ...] = ()


def read_inputs(environ: Mapping[str, str]) -> ActionInputs:
    """Raises `UsageError` for what an input cannot be."""

    def text(name: str) -> str:
        return environ.get(f"FLUE_CI_{name}", "").strip()

    return ActionInputs(
        settings=_one_push_token(read_settings(environ)),
        gate=read_gate_settings(environ),
        instruction=environ.get("FLUE_CI_INSTRUCTION", ""),
        model=text("MODEL"),
        sandbox=_sandbox(text("SANDBOX") or "e2b"),
        template=text("TEMPLATE"),
        fail_on=_conclusions(text("FAIL_ON")) or _FAIL_ON,
        dry_run=_flag("dry-run", text("DRY_RUN")),
        comment=_publishing(text("PUBLISH")) != "none",
        only_comment=text("PUBLISH") == "only-comment",
        artifact=_flag("artifact", text("ARTIFACT") or "true"),
        out=Path(text("OUT")) if text("OUT") else None,
        rate_limit=_rate_limit(text("RATE_LIMIT") or "20"),
        timeout_minutes=_minutes(text("TIMEOUT_MINUTES")),
        run_token=text("RUN_TOKEN") or secrets.token_hex(16),
        has_reacted=_flag("reacted", text("REACTED")),
        report=Path(text("REPORT")) if text("REPORT") else None,
        trusted_branches=_branches(text("TRUSTED_BRANCHES")),
        allowed_model_hosts=_hosts(text("ALLOWED_MODEL_HOSTS")),
    )


def _one_push_token(settings: Settings) -> Settings:
    if settings.github.push_token and settings.github.app_id:
        raise UsageError(
            "inputs `push-token` and `app-id`: each names who pushes, and there can be one only",
            hint="leave one of them away",
        )
    return settings


def _sandbox(name: str) -> str:
    if name == "local":
        raise UsageError(
            "input `sandbox`: `local` shares a kernel with the runner and its secrets",
            hint="leave the input away, which means e2b",
        )
    return name


def _conclusions(text: str) -> frozenset[str]:
    words = frozenset(text.replace(",", " ").split())
    if unknown := sorted(words - {*CONCLUSIONS, "none"}):
        raise UsageError(
            f"input `fail-on`: there is no conclusion `{one_line(unknown[0], 40)}`",
            hint=f"known: {', '.join(CONCLUSIONS)}; `none` to fail on nothing",
        )
    return words


def _rate_limit(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(
            f"input `rate-limit` is {one_line(text, 40)!r}, not a number",
            hint="requests an hour and person; 0 for no limit",
        )
    return int(text)


def _minutes(text: str) -> float | None:
    if not text:
        return None
    if not text.isdecimal() or not int(text):
        hint = "write the job's own `timeout-minutes`, or leave the input away"
        raise UsageError(f"input `timeout-minutes` is {one_line(text, 40)!r}, not a number of minutes", hint=hint)
    return float(text)


def _words(text: str) -> tuple[str, ...]:
    """The entries of a list, one a line or separated by commas."""
    return tuple(text.replace(",", " ").split())


def _branches(text: str) -> tuple[str, ...]:
    patterns = _words(text)
    for pattern in patterns:
        if pattern.startswith("!") or set(pattern) & set("[]?+\\"):
            raise UsageError(
                f"input `trusted-branches`: {one_line(pattern, 60)!r} is not understood",
                hint="names of branches, with `*` for any characters but `/` and `**` for any",
            )
    return patterns


def _hosts(text: str) -> tuple[str, ...]:
    hosts = _words(text.lower())
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise UsageError(
                f"input `allowed-model-hosts`: {one_line(host, 60)!r} is not a host",
                hint="names of hosts without https:// and path, such as llm.example.com or *.example.com",
            )
    return hosts


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("", "true", "false"):
        raise UsageError(f"input `{name}` is {one_line(text, 40)!r}", hint="write true or false")
    return text.lower() == "true"


def _publishing(text: str) -> str:
    if text not in ("", "comment", "only-comment", "none"):
        raise UsageError(f"input `publish` is {one_line(text, 40)!r}", hint="write comment, only-comment or none")
    return text


def check_model_host(base_url: str | None, settings: Settings, allowed_hosts: Collection[str]) -> None:
    """To which servers a job's key for the model may go: the provider's own, the one that the job's environment names,
    and the hosts that the workflow lists. A spec alone chooses none, because whoever can change a spec would get the
    key: raises `UsageError` for a `model.base_url` that leads to another server. `allowed_hosts` are names of hosts, as
    `*.example.com` those below, with a port or for every port."""
    if not base_url:
        return
    _, host, port = address = origin(base_url)
    if address in [origin(url) for url in (f"https://{OWN_HOST}", settings.anthropic_base_url) if url]:
        return
    is_plain = re.fullmatch(r"[a-z0-9._:-]+", host)  # clients do not agree on what other characters mean
    if is_plain and (matches_host(host, allowed_hosts) or matches_host(f"{host}:{port}", allowed_hosts)):
        return
    raise UsageError(
        f"the spec's `model.base_url` sends the model's key to {one_line(host)}, which the workflow does not allow",
        hint=f"if that is meant, set the input `allowed-model-hosts: {one_line(host)}` in the workflow",
    )

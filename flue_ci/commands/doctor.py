"""`flue-ci doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flue_ci import __version__
from flue_ci.assembly import OURS, check_model, diagnose_local, make_provider
from flue_ci.core.errors import EXIT_FAILED, FlueError
from flue_ci.core.text import plural, printable
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.settings import Settings, read_settings
from flue_ci.spec.load import find_root, find_specs, load_spec
from flue_ci.spec.schema import ModelSpec

OLDEST_GIT = (2, 34)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`state`: `ok`, `problem` (makes the exit code 1) or `note` (something optional is missing)."""

    name: str
    state: str
    text: str
    hint: str = ""


def examine(repo: Path, environ: Mapping[str, str], *, offline: bool, as_json: bool) -> int:
    """Prints the findings; 0 when there is no problem, else 1."""
    settings = read_settings(environ)
    findings = [_python(), _git(), _repository(repo), _specs(repo), _local()]
    findings += [asyncio.run(_e2b(settings, offline=offline)), asyncio.run(_anthropic(settings, offline=offline))]
    findings = Redactor(secrets_of(environ)).redact_value(findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    return EXIT_FAILED if any(finding.state == "problem" for finding in findings) else 0


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = {"ok": "✓", "note": "–", "problem": "✗"}[finding.state]
        print(f"{mark} {finding.name:<{width}}  {printable(finding.text)}")
        for line in finding.hint.splitlines():
            print(f"{'':<{width + 4}}→ {printable(line)}")


def _python() -> Finding:
    return Finding(name="flue-ci", state="ok", text=f"{__version__}, Python {sys.version.split()[0]}")


def _git() -> Finding:
    if shutil.which("git") is None:
        return Finding(name="git", state="problem", text="not found", hint="install git 2.34 or newer")
    text = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    parts = text.split()[2].split(".") if len(text.split()) > 2 else []
    version = tuple(int(part) for part in parts[:2] if part.isdigit())
    if version < OLDEST_GIT:
        return Finding(name="git", state="problem", text=text, hint="2.34 or newer is needed")
    return Finding(name="git", state="ok", text=text)


def _repository(repo: Path) -> Finding:
    root = find_root(repo)
    if not (root / ".git").exists():
        return Finding(
            name="repository",
            state="note",
            text=f"{root} is not in a git repository",
            hint="run flue-ci inside a checkout, or pass --repo",
        )
    return Finding(name="repository", state="ok", text=str(root))


def _specs(repo: Path) -> Finding:
    paths = find_specs(find_root(repo))
    if not paths:
        return Finding(name="agents", state="note", text="none in .flue/agents/", hint="flue-ci init")
    broken = []
    for path in paths:
        try:
            load_spec(path)
        except FlueError:
            broken.append(path.name)
    if broken:
        return Finding(name="agents", state="problem", text=f"{', '.join(broken)}: not valid", hint="flue-ci validate")
    return Finding(
        name="agents", state="ok", text=f"{plural(len(paths), 'agent')}: {', '.join(path.stem for path in paths)}"
    )


def _local() -> Finding:
    works, text, hint = diagnose_local()
    return Finding(name="local sandbox", state="ok" if works else "note", text=text, hint=hint)


async def _e2b(settings: Settings, *, offline: bool) -> Finding:
    if not settings.e2b_api_key:
        return Finding(
            name="E2B",
            state="problem",
            text="E2B_API_KEY is not set",
            hint="export E2B_API_KEY=…, or run with --sandbox local",
        )
    where = settings.e2b_api_url or settings.e2b_domain or "e2b.app"

    async def ask() -> str:
        running = await make_provider("e2b", settings).list(OURS)
        return f"{where} answers, the key is good; sandboxes of flue-ci running: {len(running)}"

    return await _asked("E2B", ask, offline=offline)


async def _anthropic(settings: Settings, *, offline: bool) -> Finding:
    if not settings.anthropic_api_key:
        return Finding(
            name="Anthropic", state="problem", text="ANTHROPIC_API_KEY is not set", hint="export ANTHROPIC_API_KEY=…"
        )
    where = settings.anthropic_base_url or "api.anthropic.com"

    async def ask() -> str:
        model = ModelSpec().name
        await check_model(model, settings)
        return f"{where} answers, the key is good for {model}"

    return await _asked("Anthropic", ask, offline=offline)


async def _asked(name: str, ask: Callable[[], Awaitable[str]], *, offline: bool) -> Finding:
    if offline:
        return Finding(name=name, state="ok", text="the key is set (not asked)")
    try:
        async with asyncio.timeout(30):
            return Finding(name=name, state="ok", text=await ask())
    except FlueError as error:
        return Finding(name=name, state="problem", text=str(error), hint=error.hint)
    except TimeoutError:
        return Finding(
            name=name, state="problem", text="no answer within 30 seconds", hint="look at proxies and firewalls"
        )

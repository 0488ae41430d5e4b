"""`flue-ci doctor`: whether everything that a run needs is there, and what to do when it is not."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from flue_ci import __version__
from flue_ci.commands.consent_store import Consent, ConsentStore
from flue_ci.core.errors import EXIT_DONE, EXIT_FAILED, Diagnostic, FlueError, UsageError
from flue_ci.core.network_variables import variable_flaw
from flue_ci.core.text import one_line, plural, printable
from flue_ci.git.command import git_version
from flue_ci.models.registry import MODELS
from flue_ci.safety.redact import Redactor, secrets_of
from flue_ci.sandboxes.registry import SANDBOXES
from flue_ci.settings import Settings, read_settings
from flue_ci.spec.load import find_root, find_specs, load_valid_specs
from flue_ci.terminal.screen import print_json, say

_MARKS = {"ok": "✓", "note": "–", "error": "✗"}
_STATES = {"ok": "ok", "note": "note", "error": "problem"}  # of `--json`


def examine(repo: Path, environ: Mapping[str, str], *, offline: bool, as_json: bool, github: bool = False) -> int:
    """Prints the diagnostics of this machine, or with `github` those of the repository there; 0 when there is no
    problem, else 1. Raises `UsageError` when it is not clear which repository is meant."""
    if github:
        from flue_ci.commands.doctor_github import diagnose_github

        return _show(diagnose_github(repo, environ), environ, as_json=as_json)
    version = f"{__version__}, Python {sys.version.split()[0]}"
    rows = [Diagnostic(key="flue-ci", severity="ok", message=version)]
    try:
        settings = read_settings(environ)
    except FlueError as error:
        rows.append(Diagnostic(key="settings", message=str(error), hint=error.hint))
        settings = read_settings({name: value for name, value in environ.items() if not name.endswith("_SECONDS")})
    rows += _rows("git", lambda: [Diagnostic(key="git", severity="ok", message=git_version())])
    rows += _rows("repository", lambda: [_repository(repo)])
    rows += _rows("agents", lambda: [_specs(repo)])
    rows += asyncio.run(_adapters(settings, offline=offline))
    rows += _rows("allowed", lambda: _consents(settings))
    return _show(rows, environ, as_json=as_json)


def _rows(key: str, look: Callable[[], list[Diagnostic]]) -> list[Diagnostic]:
    """What `look` gives, or the problem that it met: the other lines are shown all the same."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 (this is where people look when nothing else works)
        return [_crash(key, error)]


def _crash(key: str, error: Exception) -> Diagnostic:
    if isinstance(error, FlueError):
        return Diagnostic(key=key, message=str(error), hint=error.hint)
    return Diagnostic(key=key, message=one_line(f"{type(error).__name__}: {error}", 200))


def _show(diagnostics: list[Diagnostic], environ: Mapping[str, str], *, as_json: bool) -> int:
    diagnostics = Redactor(secrets_of(environ)).redact_value(diagnostics)
    if as_json:
        rows = [
            {"name": each.key, "state": _STATES[each.severity], "text": each.message, "hint": each.hint}
            for each in diagnostics
        ]
        print_json(json.dumps(rows, indent=2))
    else:
        _print(diagnostics)
    return EXIT_FAILED if any(each.severity == "error" for each in diagnostics) else EXIT_DONE


def forget(repo: Path, environ: Mapping[str, str], *, everything: bool) -> int:
    """Removes what was allowed for good, for the checkout around `repo` or for all; prints it. Returns the exit code.
    Raises `UsageError` when the file cannot be written."""
    store = ConsentStore(read_settings(environ).state_dir)
    checkout = find_root(repo)
    try:
        consents = store.forget(None if everything else checkout)
    except OSError as error:
        raise UsageError(f"{store.path} cannot be written: {error.strerror}") from error
    for consent in consents:
        say(f"forgotten: {printable(_describe(consent))}", sys.stdout)
    if not consents and everything:
        print("Nothing was allowed.")
    elif not consents:
        say(f"Nothing was allowed for {printable(str(checkout))}.", sys.stdout)
    return EXIT_DONE


def _consents(settings: Settings) -> list[Diagnostic]:
    """What `flue-ci run` does not ask for any more."""
    consents = ConsentStore(settings.state_dir).all()
    rows = [Diagnostic(key="allowed", severity="ok", message=_describe(consent)) for consent in consents]
    if rows:
        hint = "flue-ci doctor --forget takes back what was allowed for this checkout, --forget all everything"
        rows[-1] = replace(rows[-1], hint=hint)
    return rows


def _describe(consent: Consent) -> str:
    return f"{consent.checkout} ({consent.date}): {'; '.join(consent.items)}"


async def _adapters(settings: Settings, *, offline: bool) -> list[Diagnostic]:
    """What the built-in adapters say of themselves, the keyless first."""
    adapters = [SANDBOXES.load(name) for name in reversed(tuple(SANDBOXES.built_in))]
    adapters += [MODELS.load(name) for name in MODELS.built_in]
    rows = []
    for adapter in adapters:
        try:
            rows.append(await adapter.diagnose(settings, offline=offline))
        except Exception as error:  # noqa: BLE001 (the same)
            row = _crash(adapter.__name__.removesuffix("Provider"), error)
            flaw = variable_flaw(settings.environ)
            if flaw:
                row = Diagnostic(key=row.key, message=flaw.message, hint=flaw.hint)
            rows.append(row)
    return rows


def _print(diagnostics: list[Diagnostic]) -> None:
    width = max(len(each.key) for each in diagnostics)
    for each in diagnostics:
        say(f"{_MARKS[each.severity]} {each.key:<{width}}  {printable(each.message)}", sys.stdout)
        for line in each.hint.splitlines():
            say(f"{'':<{width + 4}}→ {printable(line)}", sys.stdout)


def _repository(repo: Path) -> Diagnostic:
    root = find_root(repo)
    if not (root / ".git").exists():
        hint = "run flue-ci inside a checkout, or pass --repo"
        return Diagnostic(key="repository", severity="note", message=f"{root} is not in a git repository", hint=hint)
    return Diagnostic(key="repository", severity="ok", message=str(root))


def _specs(repo: Path) -> Diagnostic:
    paths = find_specs(find_root(repo))
    if not paths:
        return Diagnostic(key="agents", severity="note", message="none in .flue/agents/", hint="flue-ci init")
    valid = load_valid_specs(paths)
    if invalid := [path.name for path in paths if path not in valid]:
        return Diagnostic(key="agents", message=f"{', '.join(invalid)}: not valid", hint="flue-ci validate")
    message = f"{plural(len(paths), 'agent')}: {', '.join(path.stem for path in paths)}"
    return Diagnostic(key="agents", severity="ok", message=message)

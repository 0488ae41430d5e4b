"""`flue-ci list`: the repository's agents, also those whose spec is broken. `flue-ci validate`: every flaw of specs and
of `.flue/config.yml`, with its place."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flue_ci.core.errors import EXIT_DONE, EXIT_USAGE, Diagnostic, SpecError
from flue_ci.core.text import one_line, printable
from flue_ci.safety.redact import Redactor
from flue_ci.spec.load import display_path, find_conflicts, find_specs, load_spec, not_supported_yet
from flue_ci.spec.repository_config import load_config
from flue_ci.spec.silent_triggers import silent_triggers_of
from flue_ci.terminal.screen import print_json, say

_FIELDS = ("file", "line", "column", "key", "message", "hint")


def agents(repo: Path) -> list[dict[str, Any]]:
    """One dictionary an agent: `name, description, file, triggers, problem` (`problem` is empty for a valid spec)."""
    return [_agent(path, repo) for path in find_specs(repo)]


def _agent(path: Path, repo: Path) -> dict[str, Any]:
    file = path.relative_to(repo).as_posix()
    try:
        spec = load_spec(path)
    except SpecError as error:
        problem = str(error.diagnostics[0])
        return {"name": path.stem, "description": "", "file": file, "triggers": [], "problem": problem}
    triggers = [f"label {label}" for label in spec.triggers.labels] + list(spec.triggers.events)
    if spec.triggers.comment:
        triggers.insert(0, f"/flue {spec.triggers.comment}")
    return {"name": spec.name, "description": spec.description, "file": file, "triggers": triggers, "problem": ""}


def as_text(listing: list[dict[str, Any]]) -> str:
    """A line an agent, and what starts it."""
    if not listing:
        return "There are no agents in .flue/agents/ yet; `flue-ci init` writes one."
    names = [one_line(agent["name"]) for agent in listing]
    width = max(len(name) for name in names)
    lines = []
    for name, agent in zip(names, listing, strict=True):
        lines.append(f"{name:<{width}}  {agent['problem'] or agent['description'] or '(no description)'}")
        if agent["triggers"]:
            lines.append(f"{'':<{width}}  started by {', '.join(agent['triggers'])}")
    return "\n".join(printable(line) for line in lines)


def print_flaws(root: Path, paths: Sequence[Path], redact: Redactor, *, as_json: bool) -> int:
    """Prints what is wrong with the specs at `paths` and with the configuration of the repository at `root`, and notes
    about what works otherwise than it looks. Returns the exit code."""
    diagnostics = redact.redact_value(_flaws(root, paths))
    problems = [each for each in diagnostics if each.severity == "error"]
    notes = [each for each in diagnostics if each.severity != "error"]
    if as_json:
        rows = [[{name: getattr(each, name) for name in _FIELDS} for each in group] for group in (problems, notes)]
        print_json(json.dumps({"valid": not problems, "problems": rows[0], "notes": rows[1]}, indent=2))
    else:
        for each in problems:
            say(printable(str(each)), sys.stdout)
        for each in notes:
            say(printable(f"note: {each}"), sys.stdout)
        for name in map(display_path, paths):
            if name not in {each.file for each in problems}:
                say(printable(redact(f"{name}: ok")), sys.stdout)
    return EXIT_USAGE if problems else EXIT_DONE


def _flaws(root: Path, paths: Sequence[Path]) -> list[Diagnostic]:
    diagnostics: list[Diagnostic] = []
    for path in paths:
        try:
            diagnostics += not_supported_yet(load_spec(path))
        except SpecError as error:
            diagnostics += error.diagnostics
    try:
        load_config(root)
    except SpecError as error:
        diagnostics += error.diagnostics
    return [*diagnostics, *find_conflicts(paths), *silent_triggers_of(root, paths)]

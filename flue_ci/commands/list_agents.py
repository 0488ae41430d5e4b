"""`flue-ci list`: the repository's agents, also those whose spec is broken."""

from pathlib import Path
from typing import Any

from flue_ci.core.errors import SpecError
from flue_ci.core.text import one_line, printable
from flue_ci.spec.load import find_specs, load_spec


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

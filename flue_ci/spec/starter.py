"""Writes what `flue-ci init` starts with: a commented spec, and with `--github` the workflow that answers comments.

The texts are files of the package, in `starter_files`.
"""

import re
from importlib.resources import files
from pathlib import Path

from flue_ci.core.errors import UsageError
from flue_ci.core.text import AGENT_NAME, one_line


def starter_spec(name: str) -> str:
    """The text of a spec for the agent `name`. Raises `UsageError` for what cannot be a name."""
    if not re.fullmatch(AGENT_NAME, name):
        message = f"{one_line(name, 60)!r} is not a name for an agent"
        raise UsageError(message, hint="lower-case letters, digits and -, such as fix-tests")
    return _read("agent.yml").replace("{name}", name)


def starter_workflow() -> str:
    """The text of the workflow."""
    return _read("workflow.yml")


def write_starter(repo: Path, name: str) -> Path:
    """Write a new `.flue/agents/NAME.yml` and return its path. Raises `UsageError`, also when there is one already."""
    text = starter_spec(name)
    folder = repo / ".flue" / "agents"
    for path in (folder / f"{name}.yml", folder / f"{name}.yaml"):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already", hint="choose another name: flue-ci init NAME")
    return _write_new(folder / f"{name}.yml", text)


def workflow_path(repo: Path) -> Path:
    """Where the workflow goes. Raises `UsageError` when there is one already."""
    path = repo / ".github" / "workflows" / "flue.yml"
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists already", hint="move it away first, or take over what docs/action.md shows")
    return path


def write_workflow(repo: Path) -> Path:
    """Write `.github/workflows/flue.yml` and return its path. Raises `UsageError`, also when there is one already."""
    return _write_new(workflow_path(repo), starter_workflow())


def _write_new(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _read(name: str) -> str:
    return (files("flue_ci.spec") / "starter_files" / name).read_text(encoding="utf-8")

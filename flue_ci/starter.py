"""The commented spec that `flue-ci init` writes."""

from __future__ import annotations

import re
from pathlib import Path

from flue_ci.errors import UsageError
from flue_ci.text import one_line

STARTER = """\
# yaml-language-server: $schema=../schema.json
# An agent. Run it here:        flue-ci run {name} --dry-run
# Check this file:              flue-ci validate
# All keys, also for editors:   flue-ci schema > .flue/schema.json
version: 1
description: Make the failing tests pass.

# The task. What you ask for on the command line or in a comment takes the place of the default.
prompt: |
  {{ instruction | default("Make the test suite pass. Fix the code; change a test only when the test is wrong.") }}

# How the agent is to work in this repository, on every run.
instructions: |
  Keep changes small and in the style of the code around them.

sandbox:
  # Commands that prepare the sandbox. They may use the network; the agent may not, unless you list hosts for it.
  # setup: ["pip install -e '.[test]'"]
  network:
    setup: open
    agent: none

# flue-ci itself runs these after the agent. The run passes only when they do.
# checks:
#   - {name: tests, run: pytest -q, timeout: 10m}

# What ends a run early; the work so far is kept.
limits:
  turns: 60
  minutes: 20
  cost_usd: 2.50

# On GitHub: the comment "/flue {name} …" starts it, for people who may write to the repository.
triggers:
  comment: {name}
"""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def starter(name: str) -> str:
    """The text of a spec for the agent `name`. Raises `UsageError` for what cannot be a name."""
    if not _NAME.fullmatch(name):
        shown = one_line(name, 60)
        raise UsageError(f"{shown!r} is not a name for an agent", hint="small letters, digits and -, such as fix-tests")
    return STARTER.replace("{name}", name)


def write_starter(repo: Path, name: str) -> Path:
    """Write a new `.flue/agents/NAME.yml` and return its path. Raises `UsageError`, also when there is one already."""
    text = starter(name)
    folder = repo / ".flue" / "agents"
    for path in (folder / f"{name}.yml", folder / f"{name}.yaml"):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already", hint="choose another name: flue-ci init NAME")
    path = folder / f"{name}.yml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path

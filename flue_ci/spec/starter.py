"""What `flue-ci init` writes: a commented spec, and with `--github` the workflow that answers comments."""

from __future__ import annotations

import re
from pathlib import Path

from flue_ci.core.errors import UsageError
from flue_ci.core.text import one_line

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
WORKFLOW = """\
# Answers "/flue AGENT …" in a comment on a pull request (also one from a fork), an issue, or a line of code.
# It needs the secrets ANTHROPIC_API_KEY and E2B_API_KEY. https://github.com/flue-ci/flue-ci/blob/main/docs/action.md
name: flue

on:
  issue_comment: {types: [created]} # zizmor: ignore[dangerous-triggers] nothing of a pull request is run on the runner
  pull_request_review_comment: {types: [created]}
  pull_request_review: {types: [submitted]}

permissions: {}

# One request at a time for a pull request or issue; the next one waits. Other comments, our own among them, are in a
# group of their own, where they can neither end a run nor take the place of a request that waits.
concurrency:
  group: >-
    flue-${{ github.event.issue.number || github.event.pull_request.number }}-${{
    contains(github.event.comment.body || github.event.review.body, '/flue') && 'asked' || github.run_id }}
  cancel-in-progress: false

jobs:
  answer:
    name: Answer
    # Spares a runner for comments that cannot be a request; the action looks properly.
    if: ${{ contains(github.event.comment.body || github.event.review.body, '/flue') }}
    runs-on: ubuntu-latest
    timeout-minutes: 45 # more than an agent's own limits, so that those end it first, with a report
    permissions:
      contents: read # the commit that was asked about, and the specs
      checks: read # what fails, so that the agent knows
      issues: write # comments on issues, and reactions
      pull-requests: write # comments on pull requests
    steps:
      # No checkout: the code of a pull request is data here, and runs in the sandbox only.
      # To trust no tag, write the commit of a release in place of v1.
      - uses: flue-ci/flue-ci@v1 # zizmor: ignore[unpinned-uses]
        with:
          anthropic-api-key: ${{ secrets.ANTHROPIC_API_KEY }}
          e2b-api-key: ${{ secrets.E2B_API_KEY }}
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
    return _write_new(folder / f"{name}.yml", text)


def workflow_path(repo: Path) -> Path:
    """Where the workflow goes. Raises `UsageError` when there is one already."""
    path = repo / ".github" / "workflows" / "flue.yml"
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists already", hint="move it away first, or take over what docs/action.md shows")
    return path


def write_workflow(repo: Path) -> Path:
    """Write `.github/workflows/flue.yml` and return its path. Raises `UsageError`, also when there is one already."""
    return _write_new(workflow_path(repo), WORKFLOW)


def _write_new(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path

"""`flue-ci demo`: a real run with a recorded model, in a small repository that is made for it."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from flue_ci.commands.run import run_locally
from flue_ci.core.errors import Diagnostic, UsageError
from flue_ci.core.text import plain
from flue_ci.git.command import run_git
from flue_ci.run.plan import RunOptions
from flue_ci.sandboxes.registry import SANDBOXES
from flue_ci.settings import read_settings
from flue_ci.terminal.screen import say

AGENT = "fix-tests"
_IDENTITY = ("user.name=flue-ci", "user.email=demo@flue-ci.invalid")
_GIT_SETTINGS = (*_IDENTITY, "commit.gpgsign=false", "core.hooksPath=/dev/null")


def run_demo(environ: Mapping[str, str], *, isolation: bool, out: Path | None) -> int:
    """Makes a small repository with a failing test and has a recorded agent fix it in the local sandbox. Returns the
    exit code.

    Where bubblewrap makes no sandbox, the commands run without isolation. That is for this recording in this repository
    only: both are in the package, and the commands are known (a test holds them to a list).
    """
    trouble = _sandbox_trouble(environ) if isolation else ""
    with tempfile.TemporaryDirectory(prefix="flue-ci-demo-") as folder, as_file(files("flue_ci") / "demo") as demo:
        repo = Path(folder) / "slugs"
        shutil.copytree(demo / "repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
        agents = repo / ".flue" / "agents"
        agents.mkdir(parents=True)
        shutil.copy(demo / f"{AGENT}.yml", agents)
        _commit(repo)
        say(
            "A small repository with a failing test; a recorded model fixes it. Everything else is real.\n\n"
            f"$ flue-ci run {AGENT}",
            sys.stderr,
        )
        if trouble:
            say(
                f"Without isolation, because {plain(trouble)}: the recorded commands (python3 -m unittest, "
                "git diff --stat) run as you, in a temporary directory. No model and no stranger chose them.",
                sys.stderr,
            )
        options = RunOptions(
            agent=AGENT,
            repo=repo,
            sandbox="local",
            no_isolation=not isolation or bool(trouble),
            out=out,
            replay=demo / "recording.jsonl",
            show_diff=True,
        )
        code = run_locally(options, environ)
    if code == 0:
        say("\nNext, in a repository of yours: `flue-ci init`, `flue-ci doctor`, `flue-ci run fix-tests`", sys.stderr)
    return code


def _sandbox_trouble(environ: Mapping[str, str]) -> str:
    """Why bubblewrap makes no sandbox here; empty when it does."""
    diagnosis: Diagnostic = asyncio.run(SANDBOXES.load("local").diagnose(read_settings(environ), offline=True))
    return "" if diagnosis.severity == "ok" else diagnosis.message


def _commit(repo: Path) -> None:
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Slugs, with a bug"]):
        result = run_git(*arguments, cwd=repo, config=_GIT_SETTINGS)
        if result.code:
            raise UsageError(f"git could not make the demo's repository: {result.err.strip()}")

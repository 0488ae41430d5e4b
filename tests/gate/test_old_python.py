"""The gate on the interpreters that runners bring: it runs before anything is installed, on Python 3.9 and later."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.job import PROJECT, outputs
from tests.support.github_server import GitHubServer

GATE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from flue_ci.gate.preflight import main; main()"


def interpreters() -> Iterator[str]:
    """The path of each Python that is here."""
    for version in ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14"):
        found = shutil.which(f"python{version}")
        if not found:
            continue
        beside = Path(found).parents[1].glob(f"versions/{version}.*/bin/python")  # as pyenv has them
        for path in [*map(str, sorted(beside)), found]:
            done = subprocess.run([path, "-I", "-c", "pass"], capture_output=True, check=False)
            if done.returncode == 0:
                yield path
                break


@pytest.mark.outside
def test_the_gate_decides_on_every_python(tmp_path: Path) -> None:
    with GitHubServer(tmp_path) as github:
        work = github.repo("ada/tools", {"greeting.txt": "hello\n"})
        pull = github.pull(work, {"other.txt": "new\n"})
        for python in interpreters():
            decisions = []
            for login, text in (("ada", "/flue fix-tests"), ("ada", "nice"), ("stranger", "/flue fix-tests")):
                comment = github.say(pull["number"], login, text)
                environ = github.env("issue_comment", github.commented(pull, comment))
                environ |= {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
                Path(environ["GITHUB_OUTPUT"]).write_text("")
                command = [python, "-I", "-c", GATE, str(PROJECT)]
                done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
                assert done.returncode == 0, (python, done.stderr)
                decisions.append(outputs(Path(environ["GITHUB_OUTPUT"]).read_text())["proceed"])
            assert decisions == ["true", "false", "false"], python
            assert sorted(content for _, _, content in github.reactions[-2:]) == ["confused", "eyes"], python

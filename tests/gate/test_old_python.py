"""The gate on the interpreters that runners bring: it runs before anything is installed, on Python 3.9 and later."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.job import GATE, PROJECT, outputs
from tests.support.github_server import GitHubServer


def interpreter(version: str) -> str:
    """The path of that Python. Skips the test where there is none."""
    found = shutil.which(f"python{version}")
    beside = (
        sorted(Path(found).parents[1].glob(f"versions/{version}.*/bin/python")) if found else []
    )  # as pyenv has them
    for path in [*map(str, beside), *([found] if found else [])]:
        done = subprocess.run([path, "-I", "-c", "pass"], capture_output=True, check=False)
        if done.returncode == 0:
            return path
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_gate_decides_on_this_python(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    with GitHubServer(tmp_path) as github:
        work = github.repo("ada/tools", {"greeting.txt": "hello\n"})
        pull = github.pull(work, {"other.txt": "new\n"})
        told = []
        for login, text in (("ada", "/flue fix-tests"), ("ada", "nice"), ("stranger", "/flue fix-tests")):
            comment = github.say(pull["number"], login, text)
            environ = github.env("issue_comment", github.commented(pull, comment))
            kept = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
            Path(environ["GITHUB_OUTPUT"]).write_text("")
            done = subprocess.run(
                [python, "-I", "-c", GATE, str(PROJECT)],
                env=kept | environ,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            told.append(outputs(Path(environ["GITHUB_OUTPUT"]).read_text())["proceed"])
        assert told == ["true", "false", "false"]
        assert sorted(content for _, _, content in github.reactions) == ["confused", "eyes"]

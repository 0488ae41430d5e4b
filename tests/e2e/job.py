"""A job of GitHub Actions as a test starts it: the real `flue-ci action` against three servers on loopback."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.e2b_server import E2BServer
from tests.support.fork_server import MAIN, PROJECT, Process, fork_server
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.messages_server import API_KEY, MessagesServer

HANG_GUARD = 120.0


@dataclass(frozen=True, kw_only=True)
class Done:
    """A step that ended: exit code, log, outputs, and the step's summary."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str


@dataclass(kw_only=True)
class Job:
    """One test's world: GitHub with a repository and its agents, a model, and sandboxes."""

    github: GitHubServer
    model: MessagesServer
    e2b: E2BServer
    home: Path
    more: dict[str, str] = field(default_factory=dict)
    on_start: Callable[[int], None] = lambda _: None  # gets the process id of a fork

    def start(self, **agents: dict[str, Any]) -> Path:
        """A repository with these agents on main; returns the clone to work in."""
        files = {"greeting.txt": "hello\n"}
        for key, parts in agents.items():
            name = key.replace("_", "-")
            spec = {"version": 1, "triggers": {"comment": name}, "prompt": "{{ instruction | default('Count.') }}"}
            files[f".flue/agents/{name}.yml"] = json.dumps(spec | parts, indent=1)
        return self.github.repo("ada/tools", files)

    def env(self, environ: dict[str, str]) -> dict[str, str]:
        kept = {
            name: os.environ[name]
            for name in ("PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "SSL_CERT_FILE")
            if name in os.environ
        }
        home = self.home / "home"
        tmp = self.home / "tmp"
        for folder in (home, tmp):
            folder.mkdir(exist_ok=True)
        ours = {"HOME": str(home), "TMPDIR": str(tmp), "PYTHONPATH": str(PROJECT), "NO_PROXY": "127.0.0.1"}
        keys = {"FLUE_CI_ANTHROPIC_API_KEY": API_KEY, "ANTHROPIC_BASE_URL": self.model.url, "FLUE_CI_RUN_TOKEN": "r1"}
        given = self.e2b.env()
        keys["FLUE_CI_E2B_API_KEY"] = given.pop("E2B_API_KEY")
        seconds = {"FLUE_CI_PATIENCE_SECONDS": "60", "FLUE_CI_RESCUE_SECONDS": "60"}  # enough on a busy machine
        return kept | ours | keys | given | seconds | environ | self.more

    def act(self, environ: dict[str, str]) -> Done:
        """Runs `flue-ci action` to its end, and looks at what is true after every job."""
        done = self.run(["action"], environ)
        assert self.e2b.sandboxes == {}
        assert list((self.home / "tmp").iterdir()) == []
        return done

    def begin(self, arguments: list[str], environ: dict[str, str]) -> Process:
        """Starts `flue-ci ARGUMENTS` without waiting for its end; what it prints is thrown away."""
        with Path(os.devnull).open("wb") as out:
            return fork_server().start(
                arguments, env=self.env(environ), cwd=self.home, stdout=out.fileno(), stderr=out.fileno()
            )

    def gate(self, environ: dict[str, str]) -> Done:
        """The action's first step. It starts the machine's own Python, which `tests/gate` tries with each there is."""
        return self.run([], environ, main="flue_ci.gate.preflight:main")

    def run(self, arguments: list[str], environ: dict[str, str], main: str = MAIN) -> Done:
        """`flue-ci ARGUMENTS` (or another `main:function`) to its end."""
        output, summary = Path(environ["GITHUB_OUTPUT"]), Path(environ["GITHUB_STEP_SUMMARY"])
        output.write_text("")
        summary.write_text("")
        env = self.env(environ)
        done = fork_server().run(
            arguments, env=env, cwd=self.home, timeout=HANG_GUARD, on_start=self.on_start, main=main
        )
        log = re.sub(r"(?m)^::add-mask::.*\n", "", done.stdout) + done.stderr
        ended = Done(code=done.returncode, log=log, outputs=outputs(output.read_text()), summary=summary.read_text())
        self.assert_no_secret_is_told(ended)
        return ended

    def assert_no_secret_is_told(self, ended: Done) -> None:
        said = [ended.log, ended.summary, json.dumps(ended.outputs), *(each["body"] for each in self.github.ours())]
        said += [path for _, path, _ in self.github.requests]
        for folder in (self.home / "job",):
            kept = (path for path in folder.rglob("*") if path.is_file() and path.name != "event.json")
            said += [path.read_text(errors="replace") for path in kept]
        for text in said:
            assert TOKEN not in text
            assert API_KEY not in text
            assert self.e2b.api_key not in text


def outputs(text: str) -> dict[str, str]:
    """What the runner reads from the file of outputs."""
    found = {}
    lines = iter(text.split("\n"))
    for line in lines:
        name, sign, delimiter = line.partition("<<")
        if sign:
            value = []
            for part in lines:
                if part == delimiter:
                    break
                value.append(part)
            found[name] = "\n".join(value)
    return found

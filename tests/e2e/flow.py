"""Whole runs as a user starts them: the real command in a real repository, against test servers; and what it leaves.

Every run that ends is looked over by `Flow.end`: files, secrets, processes, sandboxes, temporary directories.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from flue_ci.report.folder import load
from flue_ci.report.report import Report
from tests.support.e2b_server import E2BServer
from tests.support.fork_server import COMMAND, PROJECT, Process, descendants, fork_server
from tests.support.messages_server import API_KEY, MessagesServer, Turn, text, tool

HANG_GUARD = 90.0
CANARIES = {
    "DEPLOY_TOKEN": "canary-deploy-5c1f0e",
    "GITHUB_TOKEN": "ghp_canary0canary0canary0canary0canary0",
    "AWS_SECRET_ACCESS_KEY": "canary/aws+secret/9d2e77",
    "DATABASE_PASSWORD": "canary-password-73ab",
}


def bash(command: str, **more: Any) -> Turn:
    return Turn(blocks=[tool("bash", {"command": command, **more})])


def say(words: str) -> Turn:
    return Turn(blocks=[text(words)])


def counting(turns: int) -> list[Turn]:
    """A task of `turns` turns: each but the last appends its number to log.txt, so that the patch tells what ran."""
    return [*(bash(f"echo {number} >> log.txt") for number in range(1, turns)), say("Counted.")]


COUNTED = [str(number) for number in range(1, 10)]  # what `counting(10)` leaves


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that ended. `report` and what follows is what `--out` holds."""

    code: int
    out: str
    err: str
    report: Report
    patch: str
    events: list[dict[str, Any]]

    def added(self, path: str = "log.txt") -> list[str]:
        """The lines that the patch adds to a file, in order."""
        lines, inside = [], False
        for line in self.patch.splitlines():
            if line.startswith("diff --git "):
                inside = line.endswith(f" b/{path}")
            elif inside and line.startswith("+") and not line.startswith("+++"):
                lines.append(line[1:])
        return lines

    def tools(self) -> list[str]:
        """The names of the tools that were started, in order."""
        return [event["data"]["call"]["name"] for event in self.events if event["event"] == "tool_started"]


def write_spec(repo: Path, name: str = "count", **parts: Any) -> Path:
    """JSON is YAML."""
    path = repo / ".flue" / "agents" / f"{name}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {"version": 1, "prompt": "{{ instruction | default('Count.') }}", **parts}
    path.write_text(json.dumps(given, indent=1))
    return path


@cache
def _template() -> Path:
    """The repository that each test begins with: made once, and copied."""
    folder = Path(tempfile.mkdtemp(prefix="flow-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "greeting.txt").write_text("hello\n")
    write_spec(folder)
    for command in ("init -q -b main", "add -A", "-c maintenance.auto=false commit -q -m work"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@dataclass(kw_only=True)
class Flow:
    """One test's world under `home`: a repository, a place for files, an environment, and the servers."""

    home: Path
    model: MessagesServer
    sandboxes: E2BServer | None = None
    environment: dict[str, str] = field(default_factory=dict)
    cold: bool = False  # whether Python is started anew for each command; for tests whose subject is the start
    consent: tuple[str, ...] = ()  # options for what the spec asks of the user; `spec` fills it in
    wrapper: tuple[str, ...] = ()  # a command line that the command is put behind; its start is always a real one

    @property
    def e2b(self) -> E2BServer:
        assert self.sandboxes is not None
        return self.sandboxes

    def __post_init__(self) -> None:
        self.repo, self.out, self.tmp = self.home / "repo", self.home / "out", self.home / "tmp"
        for directory in (self.tmp, self.home / "home"):
            directory.mkdir(parents=True)
        shutil.copytree(_template(), self.repo, symlinks=True)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.repo, check=True, capture_output=True, text=True)
        return done.stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("-c", "maintenance.auto=false", "commit", "-q", "--allow-empty", "-m", "work")

    def spec(self, name: str = "count", **parts: Any) -> Path:
        """Writes a spec, and allows what it asks for."""
        path = write_spec(self.repo, name, **parts)
        names = parts.get("sandbox", {}).get("secrets", ())
        self.consent = tuple(word for name in names for word in ("--allow-secret", name))
        return path

    # The command

    def env(self) -> dict[str, str]:
        kept = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "SSL_CERT_FILE")
            if name in os.environ
        }
        ours = {"HOME": str(self.home / "home"), "TMPDIR": str(self.tmp), "PYTHONPATH": str(PROJECT)}
        servers = {"ANTHROPIC_API_KEY": API_KEY, "ANTHROPIC_BASE_URL": self.model.url, "NO_PROXY": "127.0.0.1"}
        servers["FLUE_CI_RESCUE_SECONDS"] = str(HANG_GUARD)  # on a busy machine the default may be too short
        servers |= self.sandboxes.env() if self.sandboxes else {}
        return kept | ours | CANARIES | servers | self.environment

    def command(self, *arguments: str, stdout: int | None = None, stderr: int | None = None) -> Process:
        """Starts `flue-ci ARGUMENTS` in the repository, in a session of its own, like a terminal's foreground job."""
        with (self.home / "stdout").open("wb") as out, (self.home / "stderr").open("wb") as err:
            return fork_server().start(
                arguments,
                env=self.env(),
                cwd=self.repo,
                stdout=out.fileno() if stdout is None else stdout,
                stderr=err.fileno() if stderr is None else stderr,
                program=(*self.wrapper, *COMMAND) if self.cold or self.wrapper else (),
            )

    def start(self, *options: str, agent: str = "count") -> Process:
        """Starts a run in the E2B server's sandboxes when there is one, else in the local one."""
        where = "e2b" if self.sandboxes else "local"
        return self.command("run", agent, "--sandbox", where, "--out", str(self.out), *self.consent, *options)

    def run(self, *options: str, agent: str = "count") -> Ended:
        return self.end(self.start(*options, agent=agent))

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Any other command to its end: exit code, standard output, standard error."""
        code = self.wait(self.command(*arguments))
        return code, self.said("stdout"), self.said("stderr")

    def until(self, process: Process, condition: Callable[[], object], what: str) -> None:
        """Waits for a moment in a run."""
        deadline = time.monotonic() + HANG_GUARD
        while not condition():
            late = process.has_ended() or time.monotonic() > deadline
            if late and not condition():  # it may have come just before the end
                process.kill()
                raise AssertionError(f"in vain waited for: {what}; it said:\n{self.said('stderr')}")
            time.sleep(0.01)

    def wait(self, process: Process) -> int:
        """The exit code, once the process and all that it started are gone."""
        try:
            return process.wait(HANG_GUARD)
        except subprocess.TimeoutExpired:
            left = descendants(process.launcher)
            process.kill()
            raise AssertionError(f"it hangs, or leaves {left}; it said:\n{self.said('stderr')}") from None

    def said(self, stream: str) -> str:
        return (self.home / stream).read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """The transcript as far as it is written."""
        path = self.out / "transcript.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def has_reached(self, event: str, **data: object) -> bool:
        return any(seen["event"] == event and data.items() <= seen["data"].items() for seen in self.events())

    # The end

    def end(self, process: Process, out: Path | None = None) -> Ended:
        """Waits for the process, checks everything that is true after every run, and reads what it left."""
        code = self.wait(process)
        self.assert_nothing_is_left()
        folder = out or self.out
        report, patch = load(folder)
        assert report.exit_code == code, self.said("stderr")
        assert (folder / "report.md").read_text().strip()
        assert (folder / "report.html").read_text().endswith("</html>"), report.notes
        assert all(event["v"] == 1 for event in self.events())
        assert (report.conclusion in ("success", "no-op")) == (code == 0)
        self.assert_no_secret_is_told(folder)
        text = patch.decode(errors="replace")
        return Ended(
            code=code,
            out=self.said("stdout"),
            err=self.said("stderr"),
            report=report,
            patch=text,
            events=self.events(),
        )

    def assert_nothing_is_left(self) -> None:
        """No sandbox and no temporary directory; `wait` has seen to processes."""
        assert [path.name for path in self.tmp.iterdir()] == []
        if self.sandboxes:
            assert self.e2b.sandboxes == {}
            assert self.e2b.processes() == []

    def assert_no_secret_is_told(self, *folders: Path) -> None:
        files = [self.home / "stdout", self.home / "stderr"]
        files += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        for path in files:
            assert self.secrets_in(path.read_bytes()) == [], path

    def secrets_in(self, data: bytes) -> list[str]:
        """The names of secrets of the environment that occur in `data`."""
        named = dict(CANARIES) | {"ANTHROPIC_API_KEY": API_KEY}
        named |= {"E2B_API_KEY": self.e2b.api_key} if self.sandboxes else {}
        return [name for name, value in named.items() if value.encode() in data]


def assert_ended(
    ended: Ended, conclusion: str, code: int, *, reason: str = "", stage: str | None = None, hint: str = ""
) -> None:
    """The ending as the report and the process tell it; `reason` and `hint` are parts of the real ones."""
    report = ended.report
    assert (report.conclusion, ended.code) == (conclusion, code), f"{report.reason}\n{ended.err}"
    assert reason in report.reason
    if stage is None:
        assert report.failure is None
    else:
        assert report.failure is not None
        assert report.failure.stage == stage
        assert hint in report.failure.hint

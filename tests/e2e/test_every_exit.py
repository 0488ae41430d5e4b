"""Every way out of the action's steps: nobody who may ask meets 👀 and silence, and no red step is without a reason.

For each exit what the person who asked gets, what the job shows, and how the step ends.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import bash, say
from tests.e2e.job import Done, Job
from tests.e2e.test_action import CHECKED, WORK, MakeJob, make_job
from tests.support.fork_server import PROJECT

__all__ = ["make_job"]
FAILING = {"checks": [{"name": "greeting", "run": "echo 3 of 4 failed; false"}]}


@dataclass(frozen=True, kw_only=True)
class Exit:
    """One exit: how the job comes to it, and what is to be seen. `answer`: words of the comment, None for no comment;
    `shown`: words of the annotation; `level`: its kind, "" for none."""

    leave: Callable[[Job], Done]
    code: int = 0
    conclusion: str = "skipped"
    level: str = "error"
    shown: tuple[str, ...] = ()
    answer: tuple[str, ...] | None = None
    last_words: bool = False  # whether the agent has said something before
    script: Any = None


def ask(job: Job, *, who: str = "mona", words: str = "/flue fix-tests", environ: Any = None, **agents: Any) -> Done:
    """A comment that the gate has given its 👀."""
    pull = job.github.pull(job.start(**agents), {"other.txt": "new\n"})
    payload = job.github.commented(pull, job.github.say(pull["number"], who, words))
    job.more = {"FLUE_CI_REACTED": "true"} | job.more
    return job.act(job.github.env("issue_comment", payload) | (environ or {}))


def with_input(name: str, value: str) -> Callable[[Job], Done]:
    return lambda job: ask(job, fix_tests={}, environ={name: value})


def line_of_a_fork(job: Job) -> Done:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"}, author="stranger", fork=True)
    job.github.permissions |= {"issues": "read", "pull_requests": "read"}
    line = job.github.say_on_line(pull["number"], "mona", "/flue fix-tests", path="other.txt")
    return job.gate(
        job.github.env("pull_request_review_comment", job.github.pulled(pull, "created", "mona", comment=line))
    )


def gate_bug(job: Job) -> Done:
    job.start(fix_tests={})
    environ = job.github.env("schedule", job.github.payload("ada"))
    job.more["GITHUB_OUTPUT"] = str(job.home)  # a directory
    return job.gate(environ)


def beyond_the_limit(job: Job) -> Done:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    for _ in range(3):
        comment = job.github.say(pull["number"], "mona", "/flue fix-tests")
    job.more |= {"FLUE_CI_RATE_LIMIT": "2", "FLUE_CI_REACTED": "true"}
    return job.act(job.github.env("issue_comment", job.github.commented(pull, comment)))


def github_fails(route: str, **fault: Any) -> Callable[[Job], Done]:
    def leave(job: Job) -> Done:
        job.github.faults.add(route, times=None, **fault)
        job.more["FLUE_CI_PATIENCE_SECONDS"] = "2"
        return ask(job, fix_tests={})

    return leave


def killed(job: Job) -> Done:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    payload = job.github.commented(pull, job.github.say(pull["number"], "mona", "/flue fix-tests"))
    job.more["FLUE_CI_REACTED"] = "true"
    return job.run(["action", "--clear-up"], job.github.env("issue_comment", payload))


def damaged_report(job: Job) -> Done:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    payload = job.github.commented(pull, job.github.say(pull["number"], "mona", "/flue fix-tests"))
    (job.home / "report").mkdir()
    (job.home / "report" / "report.json").write_text("{}")
    return job.run(["publish", str(job.home / "report")], job.github.env("issue_comment", payload))


def failed_installation(job: Job) -> Done:
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    environ = job.github.env(
        "issue_comment", job.github.commented(pull, job.github.say(pull["number"], "mona", "/flue fix-tests"))
    )
    Path(environ["RUNNER_TEMP"], "flue-ci-install-failure").write_text("No Python `here`. Use actions/setup-python\n")
    return job.run([], environ, main="flue_ci.gate.preflight:report_failure")


KEYS = {"FLUE_CI_ANTHROPIC_API_KEY": "", "FLUE_CI_E2B_API_KEY": ""}
SECRETS = "/ada/tools/settings/secrets/actions"
EXITS = {
    "not for us": Exit(
        leave=lambda job: ask(job, words="hello", fix_tests={}), level="notice", shown=("not for us",), answer=None
    ),
    "a line of a fork": Exit(
        leave=line_of_a_fork, level="warning", shown=("no secrets", "a plain comment in the conversation")
    ),
    "a bug of the gate": Exit(
        leave=gate_bug, code=3, conclusion="", shown=("the gate failed: IsADirectoryError", "→ run")
    ),
    "no specs": Exit(leave=ask, level="notice", shown=("there are no agents",), answer=("flue-ci init",)),
    "no spec for comments": Exit(
        leave=lambda job: ask(job, fix_tests={"triggers": {}}), level="notice", answer=("no agent has a",)
    ),
    "beyond the own limit": Exit(
        leave=beyond_the_limit, level="notice", shown=("asked more than 2 times", " UTC on"), answer=(" UTC on",)
    ),
    "a wrong input": Exit(
        leave=with_input("FLUE_CI_FAIL_ON", "sometimes"),
        code=2,
        conclusion="failed",
        shown=("input `fail-on`", "→ known: "),
        answer=("fail-on", "known: "),
    ),
    "a wrong patience": Exit(
        leave=with_input("FLUE_CI_PATIENCE_SECONDS", "soon"), code=2, conclusion="failed", answer=("PATIENCE",)
    ),
    "no keys": Exit(
        leave=lambda job: ask(job, fix_tests={"sandbox": {"secrets": ["DEPLOY"]}}, environ=KEYS),
        code=2,
        conclusion="failed",
        shown=("E2B_API_KEY and ANTHROPIC_API_KEY are not set; the spec wants DEPLOY", SECRETS),
        answer=(SECRETS, "e2b-api-key: ${{ secrets.E2B_API_KEY }}", "DEPLOY: ${{ secrets.DEPLOY }}"),
    ),
    "a broken spec": Exit(
        leave=lambda job: ask(job, fix_tests={"limit": {}, "tool": []}),
        code=2,
        conclusion="failed",
        shown=("file=.flue/agents/fix-tests.yml,line=", "limit: unknown key", "tool: unknown key", "→ mend the spec"),
        answer=("limit", "tool"),
    ),
    "GitHub's limit": Exit(
        leave=github_fails("GET pulls", status=403, retry_after=3000, message="API rate limit exceeded"),
        code=1,
        conclusion="failed",
        shown=("rate limit; it ends in 50m", " UTC on 2", "ask again then"),
        answer=("it ends in 50m",),
    ),
    "no right to comment": Exit(
        leave=github_fails("POST comments", status=403),
        code=1,
        conclusion="failed",
        shown=("could not be posted", "→ "),
    ),
    "a failed check": Exit(
        leave=lambda job: ask(job, fix_tests=FAILING),
        code=1,
        conclusion="failed",
        shown=("check `greeting` failed with exit code 1", "→ the output of the checks is in http"),
        answer=("3 of 4 failed",),
        last_words=True,
    ),
    "a limit of the spec": Exit(
        leave=lambda job: ask(job, fix_tests={"limits": {"turns": 1}}),
        script=[bash("true"), bash("true"), say("x")],
        code=4,
        conclusion="partial",
        shown=("stopped by the limit of turns", "→ ask for a smaller part"),
        answer=("limit of turns",),
    ),
    "all is well, and no artifact is wanted": Exit(
        leave=lambda job: ask(job, fix_tests=CHECKED, environ={"FLUE_CI_ARTIFACT": "false"}),
        conclusion="success",
        level="",
        answer=("I changed the greeting", "the input `artifact` of the action is false"),
        last_words=True,
    ),
    "killed before it wrote": Exit(
        leave=killed, conclusion="", shown=("the run was ended before", "→ look at"), answer=("The job ended before",)
    ),
    "a damaged report": Exit(
        leave=damaged_report, code=2, conclusion="failed", shown=("the report has version None", "\n→ ")
    ),
    "no installation": Exit(
        leave=failed_installation,
        conclusion="",
        level="",
        answer=("could not be installed", "Use actions/setup-python"),
    ),
}


@pytest.mark.family(6)
@pytest.mark.parametrize("name", EXITS)
def test_an_exit_gives_its_reason(make_job: MakeJob, name: str) -> None:
    exit_ = EXITS[name]
    job = make_job(exit_.script or WORK)
    done = exit_.leave(job)
    assert (done.code, done.outputs.get("conclusion", "")) == (exit_.code, exit_.conclusion), done.log
    shown = [line for line in done.log.splitlines() if line.startswith(("::error", "::warning", "::notice"))]
    if exit_.level in ("error", "warning"):
        shown = [line for line in shown if not line.startswith("::notice")]
    assert [line.split(" ")[0] for line in shown] == [f"::{exit_.level}"] * bool(exit_.level), done.log
    text = "".join(shown).replace("%0A", "\n")
    for words in exit_.shown:
        assert words in text
    assert "export " not in done.log
    answers = [each["body"].replace("\\", "").replace("&#96;", "`") for each in job.github.ours()]
    assert len(answers) == (exit_.answer is not None), answers
    for words in exit_.answer or ():
        assert words in answers[0]
    if exit_.level in ("error", "warning") and exit_.conclusion:
        assert done.summary.strip(), "the summary says it as well"
    if exit_.last_words:
        assert ("artifact-name" in done.outputs) == ("no artifact" not in name)
        conclusion, words, address = [line for line in done.log.splitlines() if not line.startswith("::")][-3:]
        assert f"fix-tests: {exit_.conclusion}, " in conclusion
        assert words == "“I changed the greeting. Thanks, @mona; this fixes #3.”"
        assert address == f"→ {job.github.ours()[0]['html_url']}"


def test_what_stops_the_installation_unexpectedly_is_an_error_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "action" / ".github").mkdir(parents=True)
    script = tmp_path / "action" / ".github" / "install.sh"
    script.write_bytes((PROJECT / ".github" / "install.sh").read_bytes())
    environ = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path / "missing"), "GITHUB_OUTPUT": os.devnull}
    done = subprocess.run(["bash", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("::error title=flue-ci::flue-ci could not be installed (exit code 1")
    assert json.dumps(done.stdout).count("::error") == 1

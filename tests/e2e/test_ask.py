"""`publish.when: ask`: from the run to the box, from the tick to the commit, and never a second one."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.job import Done, Job
from tests.e2e.test_action import CHECKED, MakeJob, make_job
from tests.support.github_actions import archive

__all__ = ["make_job"]
SPEC = CHECKED | {"publish": {"changes": "commit", "when": "ask"}}


def asked(job: Job, spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Done]:
    """A run that has answered, with its artifact uploaded and linked: the pull request, the answer, and the run."""
    github = job.github
    github.permissions |= {"actions": "read", "contents": "write"}
    pull = github.pull(job.start(fix_tests=spec), {"other.txt": "new\n"})
    github.actions_runs.run(github, id=7, head_sha=pull["base"]["sha"])
    comment = github.say(pull["number"], "ada", "/flue fix-tests")
    environ = github.env("issue_comment", github.commented(pull, comment))
    done = job.act(environ)
    assert done.code == 0, done.log
    files = {path.name: path.read_bytes() for path in Path(done.outputs["artifact-path"]).iterdir()}
    data = archive(files)
    stored = github.actions_runs.artifact(github, 7, done.outputs["artifact-name"], data)
    more = {
        "FLUE_CI_REPORT_PATH": done.outputs["report-path"],
        "FLUE_CI_ARTIFACT_URL": f"{github.url}/ada/tools/actions/runs/7/artifacts/{stored['id']}",
        "FLUE_CI_ARTIFACT_DIGEST": hashlib.sha256(data).hexdigest(),
    }
    assert job.run(["action", "--link-artifact"], environ | more).code == 0
    return pull, github.ours()[0], done


def ticked(job: Job, pull: dict[str, Any], answer: dict[str, Any], who: str = "mona") -> dict[str, str]:
    """The environment of the job that a tick starts; GitHub has the comment as it is ticked."""
    before = answer["body"]
    answer["body"] = before.replace("- [ ] <!-- flue-ci push", "- [x] <!-- flue-ci push")
    assert answer["body"] != before
    payload = job.github.commented(pull, answer, action="edited")
    payload |= {"sender": job.github.accounts[who], "changes": {"body": {"from": before}}}
    return job.github.env("issue_comment", payload) | {"GITHUB_RUN_ID": "8"}


def commits(job: Job, pull: dict[str, Any]) -> list[str]:
    git = job.github.root / "ada" / "tools.git"
    branch = f"refs/heads/topic-{pull['number']}"
    command = ["git", "log", "--grep=Flue-Run", "--format=%B%x00", branch]
    done = subprocess.run(command, cwd=git, capture_output=True, text=True, check=True)
    return [message.strip() for message in done.stdout.split("\0") if message.strip()]


def test_a_tick_pushes_the_saved_change_once(make_job: MakeJob) -> None:
    job = make_job()
    pull, answer, done = asked(job, SPEC)
    assert commits(job, pull) == []
    assert "waits for" not in answer["body"]
    (line,) = re.findall(r"^- \[ \] <!-- flue-ci push .*$", answer["body"], re.MULTILINE)
    assert "**Push this change** to the branch of this pull request" in line
    environ = ticked(job, pull, answer)
    text = answer["body"]
    assert job.gate(environ).outputs["proceed"] == "true"
    model_requests = len(job.model.requests)
    done = job.act(environ)
    assert (done.code, done.outputs["conclusion"]) == (0, "success"), done.log
    (message,) = commits(job, pull)
    assert "Flue-Run: " in message
    assert "Co-authored-by: mona <" in message
    assert len(job.model.requests) == model_requests, "nothing was asked of a model"
    assert "flue-ci push" not in answer["body"]
    (outcome,) = set(answer["body"].split("\n")) - set(text.split("\n"))
    assert outcome.startswith("✅ [**commit**](")
    assert outcome.endswith(" · ticked by `mona`")
    assert job.github.actions_runs.leaks == []

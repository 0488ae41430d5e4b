"""The report of a run is an artifact: what is uploaded, and what the comment says before and after the upload."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import say
from tests.e2e.job import Done, Job
from tests.e2e.test_action import WORK, MakeJob, make_job

__all__ = ["make_job"]
PAGE = "/ada/tools/actions/runs/7"


def asked(job: Job, *, on_line: bool = False) -> tuple[dict[str, str], Done]:
    """A job that has answered; its environment and its end."""
    pull = job.github.pull(job.start(fix_tests={}), {"other.txt": "new\n"})
    event, payload = "issue_comment", {}
    if on_line:
        comment = job.github.say_on_line(pull["number"], "ada", "/flue fix-tests", path="other.txt")
        event, payload = "pull_request_review_comment", job.github.pulled(pull, "created", "ada", comment=comment)
    else:
        payload = job.github.commented(pull, job.github.say(pull["number"], "ada", "/flue fix-tests"))
    environ = job.github.env(event, payload)
    done = job.act(environ)
    assert done.code == 0, done.log
    return environ, done


def link(job: Job, environ: dict[str, str], done: Done, url: str) -> Done:
    path = done.outputs["report-path"]
    more = {"FLUE_CI_REPORT_PATH": path, "FLUE_CI_ARTIFACT_URL": url}
    linked = job.run(["action", "--link-artifact"], environ | more)
    assert linked.code == 0, linked.log
    return linked


@pytest.mark.parametrize("on_line", [pytest.param(False, marks=pytest.mark.family(0)), True])
def test_the_comment_and_the_summary_name_the_artifact(make_job: MakeJob, on_line: bool) -> None:
    job = make_job()
    environ, done = asked(job, on_line=on_line)
    command = (
        "gh run download 7 -R 127.0.0.1:PORT/ada/tools -n flue-ci-fix-tests-7-1 -D flue-ci-fix-tests-7-1 && "
        "git apply --3way flue-ci-fix-tests-7-1/changes.patch"
    )
    before = job.github.ours()[0]["body"]
    assert command in re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", before)
    assert done.outputs["artifact-name"] == "flue-ci-fix-tests-7-1"
    files = {path.name: path for path in Path(done.outputs["artifact-path"]).iterdir()}
    assert {"report.json", "report.md", "changes.patch", "transcript.jsonl", "conversation.json"} <= set(files)
    assert "+changed" in files["changes.patch"].read_text()
    assert json.loads(files["report.json"].read_text())["artifact"]["name"] == "flue-ci-fix-tests-7-1"
    page = f"{job.github.url}{PAGE}/artifacts/11"
    linked = link(job, environ, done, page)
    assert job.github.ours()[0]["body"] == before.replace(f"{job.github.url}{PAGE}#artifacts", page)
    assert f"]({page})" in linked.summary
    assert "gh run download 7" in linked.summary
    assert page in linked.log
    edits = [path for method, path, _ in job.github.requests if method == "PATCH"]
    link(job, environ, done, page)
    assert [path for method, path, _ in job.github.requests if method == "PATCH"] == edits, "it says that already"


def test_the_artifact_of_a_run_without_comment_and_changes_is_named_in_the_summary(make_job: MakeJob) -> None:
    job = make_job([say("Nothing to do.")])
    job.more["FLUE_CI_PUBLISH"] = "none"
    environ, done = asked(job)
    page = f"{job.github.url}{PAGE}/artifacts/11"
    linked = link(job, environ, done, page)
    assert f"]({page})" in linked.summary
    assert "git apply" not in linked.summary
    assert job.github.ours() == []


def test_a_failed_upload_is_said_with_the_way_that_works_and_the_comment_of_another_run_is_left_alone(
    make_job: MakeJob,
) -> None:
    job = make_job()
    environ, done = asked(job)
    linked = link(job, environ, done, "")
    comment = job.github.ours()[0]
    assert "gh run download" not in comment["body"]
    assert "its upload failed" in comment["body"]
    assert "`patch-path`" in comment["body"]
    assert "git apply --3way <<'END_OF_PATCH'" in comment["body"]
    assert "::warning title=flue-ci::the report is no artifact of this run: its upload failed" in linked.log
    assert "its upload failed" in linked.summary
    bot, body = comment["user"], comment["body"]
    for user, text in ((job.github.accounts["mona"], body), (bot, body.replace("/runs/7", "/runs/77"))):
        comment |= {"user": user, "body": text}
        before = json.dumps(job.github.comments)
        linked = link(job, environ, done, f"{job.github.url}{PAGE}/artifacts/11")
        assert json.dumps(job.github.comments) == before
        assert "the comment has changed since" in linked.log


def test_a_second_answer_keeps_the_first_with_its_patch(make_job: MakeJob) -> None:
    job = make_job([*WORK, *WORK])
    environ, first = asked(job)
    link(job, environ, first, f"{job.github.url}{PAGE}/artifacts/11")
    second = job.act(environ | {"GITHUB_RUN_ID": "8"})
    assert second.code == 0, second.log
    (answer,) = job.github.ours()
    assert "1 earlier answer" in answer["body"]
    assert "-n flue-ci-fix-tests-7-1" in answer["body"]
    assert "-n flue-ci-fix-tests-8-1" in answer["body"]
    environ = environ | {"GITHUB_RUN_ID": "8"}
    link(job, environ, second, f"{job.github.url}/ada/tools/actions/runs/8/artifacts/12")
    body: Any = job.github.ours()[0]["body"]
    assert body.index("runs/8/artifacts/12") < body.index("1 earlier answer") < body.index("runs/7/artifacts/11")

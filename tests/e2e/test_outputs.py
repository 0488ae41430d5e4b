"""Labels, triage, check runs and replies: proposed by the agent, published by the host, within the spec's lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.flow import say
from tests.e2e.job import Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import GitHubServer
from tests.support.messages_server import MessagesServer, Turn, tool

SPEC = {
    "publish": {
        "labels": ["bug", "needs-info"],
        "triage": {"assignees": ["mona", "stranger-2"]},
        "check_run": {"max": 1},
        "reply": {"max": 1},
    },
    "tools": ["read"],
}
NOTE = {"path": "greeting.txt", "start_line": 1, "message": "say more"}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return tool(name, arguments)


def test_what_an_agent_proposes_for_an_issue_is_done_within_the_lists(tmp_path: Path) -> None:
    with GitHubServer(tmp_path) as github, E2BServer() as e2b:
        github.permissions["checks"] = "write"
        older = github.issue(title="It was broken before")
        turn = Turn(
            blocks=[
                call("add_label", label="bug"),
                call("add_label", label="admin"),
                call("triage", labels=["needs-info"], assignees=["mona"], duplicate_of=older["number"]),
                call("triage", labels=["bug"]),
                call("check_run", title="Findings", summary="One, @ada.", annotations=[NOTE]),
                call("reply", body="Thanks! <!-- x --> Tell @ada."),
                call("reply", body="Once more."),
            ]
        )
        with MessagesServer([turn, say("Done.")]) as model:
            job = Job(github=github, model=model, e2b=e2b, home=tmp_path)
            job.start(triage=SPEC)
            issue = github.issue()
            asked = github.say(issue["number"], "ada", "/flue triage")
            environ = github.env("issue_comment", github.commented(issue, asked))
            done = job.act(environ)
            assert done.code == 0, done.log
            saved = json.loads(Path(done.outputs["report-path"]).read_text())
            again = job.act(environ | {"FLUE_CI_REPORT": str(Path(done.outputs["report-path"]).parent)})
    # What was accepted is done, nothing else.
    assert [label["name"] for label in issue["labels"]] == ["bug", "needs-info"]
    assert [account["login"] for account in issue["assignees"]] == ["mona"]
    bodies = [comment["body"] for comment in github.ours()]
    (duplicate,) = [body for body in bodies if "duplicate" in body and "note=" in body]
    assert f"This looks like a duplicate of #{older['number']}." in duplicate
    (reply,) = [body for body in bodies if "Thanks!" in body and "note=" in body]
    assert "`@ada`" in reply and "<!-- x" not in reply
    (check,) = github.checks
    assert "`@ada`" in check["output"]["summary"]
    assert [note["path"] for note in github.annotations[check["id"]]] == ["greeting.txt"]
    # The report has every call, and what became of it.
    assert [(each["kind"], each["accepted"]) for each in saved["proposals"]] == [
        ("label", True),
        ("label", False),
        ("triage", True),
        ("triage", False),
        ("check_run", True),
        ("reply", True),
        ("reply", False),
    ]
    assert {entry["publisher"] for entry in saved["published"]} == {"labels", "triage", "check-run", "reply", "comment"}
    (answer,) = [body for body in bodies if "agent=triage" in body.partition("\n")[0]]
    assert "label admin may not be used here, only: bug, needs-info" in answer
    assert "assigned to mona" in answer
    # Published once more, nothing is doubled.
    assert again.code == 0, again.log
    assert len(github.ours()) == len(bodies)
    assert len(github.checks) == 1


def test_a_run_that_failed_sets_no_labels(tmp_path: Path) -> None:
    spec = SPEC | {"checks": [{"name": "no", "run": "false"}], "tools": ["bash"]}
    script = [Turn(blocks=[call("add_label", label="bug"), tool("bash", {"command": "echo x > x"})]), say("Done.")]
    with GitHubServer(tmp_path) as github, E2BServer() as e2b, MessagesServer(script) as model:
        job = Job(github=github, model=model, e2b=e2b, home=tmp_path)
        job.start(triage=spec)
        issue = github.issue()
        asked = github.say(issue["number"], "ada", "/flue triage")
        done = job.act(github.env("issue_comment", github.commented(issue, asked)))
    assert done.code == 1
    assert issue["labels"] == []
    assert "🚫 **labels** · the run ended as failed" in github.ours()[-1]["body"]


def test_a_job_without_the_permission_says_which_one_it_lacks(tmp_path: Path) -> None:
    spec = {"publish": {"check_run": {"max": 1}}, "tools": ["read"]}
    script = [Turn(blocks=[call("check_run", title="Findings", summary="None.")]), say("Done.")]
    with GitHubServer(tmp_path) as github, E2BServer() as e2b, MessagesServer(script) as model:
        job = Job(github=github, model=model, e2b=e2b, home=tmp_path)
        job.start(notes=spec)
        pull = github.pull(tmp_path / "work", {"other.txt": "new\n"})
        asked = github.say(pull["number"], "ada", "/flue notes")
        done = job.act(github.env("issue_comment", github.commented(pull, asked)))
    assert done.code == 0, done.log
    assert "checks: write" in github.ours()[-1]["body"]

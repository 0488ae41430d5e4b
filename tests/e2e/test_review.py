"""Reviews by the action: the first one, and one after another push."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.flow import bash, say
from tests.e2e.job import Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import BOT, GitHubServer
from tests.support.messages_server import MessagesServer, Turn, tool

BEFORE = "def area(width, height):\n    return width * height\n"
AFTER = BEFORE.replace("*", "+")
REVIEW = {
    "triggers": {"comment": "review", "events": ["pull_request.opened", "pull_request.synchronize"]},
    "tools": ["bash", "read"],
    "publish": {"review": True, "changes": "none"},
}
SCRIPTS: list[list[Turn]] = [
    [
        bash("git diff origin/main...HEAD"),
        Turn(
            blocks=[
                tool(
                    "review_comment",
                    {
                        "path": "app.py",
                        "line": 2,
                        "severity": "high",
                        "category": "correctness",
                        "title": "Adds the sides",
                        "suggestion": "    return width * height",
                    },
                ),
                tool(
                    "review_comment",
                    {"path": "app.py", "line": 9, "severity": "low", "category": "tests", "title": "No test"},
                ),
            ]
        ),
        say("One bug."),
    ],
    [bash("cat app.py"), say("It is mended.")],
]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    script = [turn for turns in SCRIPTS for turn in turns]
    with GitHubServer(tmp_path) as github, MessagesServer(script) as model, E2BServer() as e2b:
        yield Job(github=github, model=model, e2b=e2b, home=tmp_path)


def test_a_review_and_the_next_one_after_a_push(job: Job) -> None:
    github, model = job.github, job.model
    github.permissions |= {"contents": "write", "pull_requests": "write"}
    work = job.start(review=REVIEW)
    github.put("refs/heads/main", github.commit(work, {"app.py": BEFORE}, "area"))
    pull = github.pull(work, {"app.py": AFTER})
    first = job.act(github.env("pull_request", github.pulled(pull, "opened", "mona")))
    assert (first.code, first.outputs["conclusion"]) == (0, "success"), first.log
    (line,) = github.lines
    assert (line["path"], line["line"], line["side"]) == ("app.py", 2, "RIGHT")
    assert "```suggestion\n    return width * height\n```" in line["body"]
    assert "1 new finding (high)" in github.comments[0]["body"]
    assert "Line 9 of the new file is not part of the diff" in str(model.requests[2].json)
    github.push(work, pull, {"app.py": BEFORE + "\n"})
    second = job.act(github.env("pull_request", github.pulled(pull, "synchronize", "mona")))
    assert (second.code, second.outputs["conclusion"]) == (0, "success"), second.log
    assert github.review_state.resolved == {line["id"]: BOT["login"]}
    assert len(github.reviews) == 1
    assert "no new finding, 1 resolved" in github.comments[0]["body"]
    prompt = str(model.requests[3].json)
    assert f"F{line['id']}" in prompt
    assert "Since then these changed: app.py." in prompt
    assert "reviewed: what changed since" in second.log

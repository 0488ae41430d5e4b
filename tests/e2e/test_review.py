"""Reviews by the action in a workflow, under `act`: the first one, and one after another push."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.flow import bash, say
from tests.e2e.job import Job
from tests.e2e.test_act import Act
from tests.support.e2b_server import E2BServer
from tests.support.github_server import BOT, GitHubServer
from tests.support.messages_server import MessagesServer, Turn, tool
from tests.support.starter import Starter

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
def act(tmp_path: Path, starter: Starter) -> Iterator[Act]:
    with ExitStack() as stack:
        job = Job(
            github=stack.enter_context(GitHubServer(tmp_path)),
            model=stack.enter_context(MessagesServer([turn for script in SCRIPTS for turn in script])),
            e2b=stack.enter_context(E2BServer()),
            home=tmp_path,
        )
        yield Act(job=job, root=tmp_path, command=starter.client)


def test_a_review_and_the_next_one_after_a_push(act: Act) -> None:
    github, model = act.job.github, act.job.model
    github.permissions |= {"contents": "write", "pull_requests": "write"}
    work = act.job.start(review=REVIEW)
    github.commit(work, {"app.py": BEFORE}, "area")
    origin = git(work, "remote", "get-url", "origin")
    git(work, "push", "-q", "origin", "main")
    pull = github.pull(work, {"app.py": AFTER})
    first = act.run("pull_request", github.pulled(pull, "opened", "mona"))
    assert (first.code, first.conclusion) == (0, "success"), first.log
    (line,) = github.lines
    assert (line["path"], line["line"], line["side"]) == ("app.py", 2, "RIGHT")
    assert "```suggestion\n    return width * height\n```" in line["body"]
    assert "1 new finding (high)" in github.comments[0]["body"]
    assert "Line 9 of the new file is not part of the diff" in str(model.requests[2].json)
    git(work, "remote", "set-url", "origin", origin)
    github.push(work, pull, {"app.py": BEFORE + "\n"})
    second = act.run("pull_request", github.pulled(pull, "synchronize", "mona"))
    assert (second.code, second.conclusion) == (0, "success"), second.log
    assert github.review_state.resolved == {line["id"]: BOT["login"]}
    assert len(github.reviews) == 1
    assert "no new finding, 1 resolved" in github.comments[0]["body"]
    prompt = str(model.requests[3].json)
    assert f"F{line['id']}" in prompt
    assert "Since then these changed: .github/workflows/flue.yml, app.py." in prompt
    assert "reviewed: what changed since" in second.log


def git(work: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=work, check=True, capture_output=True, text=True).stdout.strip()

"""Reviews by `flue-ci action`: the first one, one after another push, and a question in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import bash, say
from tests.e2e.job import Done, Job
from tests.support.e2b_server import E2BServer
from tests.support.github_server import BOT, JSON, GitHubServer
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
def make_job(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def make(script: list[Turn]) -> Job:
            return Job(
                github=stack.enter_context(GitHubServer(tmp_path)),
                model=stack.enter_context(MessagesServer(script)),
                e2b=stack.enter_context(E2BServer()),
                home=tmp_path,
            )

        yield make


def pushed(job: Job, pull: JSON, action: str) -> Done:
    return job.act(job.github.env("pull_request", job.github.pulled(pull, action, "mona")))


def test_a_review_and_the_next_one_after_a_push(make_job: Any) -> None:
    job: Job = make_job([turn for script in SCRIPTS for turn in script])
    github = job.github
    github.permissions |= {"contents": "write", "pull_requests": "write"}
    work = job.start(review=REVIEW)
    github.commit(work, {"app.py": BEFORE}, "area")
    _push_main(work)
    pull = github.pull(work, {"app.py": AFTER})
    first = pushed(job, pull, "opened")
    assert first.code == 0, first.log
    (line,) = github.lines
    assert (line["path"], line["line"], line["side"]) == ("app.py", 2, "RIGHT")
    assert "```suggestion\n    return width * height\n```" in line["body"]
    (comment,) = github.comments
    assert "1 new finding (high)" in comment["body"]
    assert "Line 9 of the new file is not part of the diff" in str(job.model.requests[2].json)
    github.push(work, pull, {"app.py": BEFORE + "\n"})
    second = pushed(job, pull, "synchronize")
    assert second.code == 0, second.log
    assert github.review_state.resolved == {line["id"]: BOT["login"]}
    assert len(github.reviews) == 1
    assert "no new finding, 1 resolved" in github.comments[0]["body"]
    prompt = str(job.model.requests[3].json)
    assert f"F{line['id']}" in prompt
    assert "Since then these changed: app.py" in prompt
    assert "reviewed: what changed since" in second.log


def _push_main(work: Path) -> None:
    import subprocess

    subprocess.run(["git", "push", "-q", "origin", "main"], cwd=work, check=True)

"""Reviews over the real client, against a server with GitHub's rules of positions, threads and permissions."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import ForgeError
from flue_ci.core.retry import RetryPolicy
from flue_ci.core.review import LineComment, ReviewDraft
from flue_ci.forges.github.client import GitHub
from flue_ci.publish.review import post_review
from tests.support.github_server import BOT, TOKEN, GitHubServer

BEFORE = "".join(f"line {number}\n" for number in range(1, 41))
AFTER = BEFORE.replace("line 5\n", "line five\n").replace("line 30\n", "")
WRITES = {"contents": "write", "issues": "write", "pull_requests": "write"}


class World:
    def __init__(self, folder: Path) -> None:
        self.github = GitHubServer(folder)
        self.github.permissions |= WRITES

    def open(self, before: dict[str, str], after: dict[str, str]) -> None:
        self.work = self.github.repo("ada/tools", before)
        self.pull = self.github.pull(self.work, after)
        self.number, self.head = self.pull["number"], self.pull["head"]["sha"]

    @property
    def forge(self) -> GitHub:
        return GitHub(
            repo="ada/tools",
            token=TOKEN,
            api_url=f"{self.github.url}/api/v3",
            graphql_url=f"{self.github.url}/api/graphql",
            retry=RetryPolicy(timeout=5.0, first_wait=0.01),
        )

    def draft(self, *comments: LineComment, body: str = "A review.") -> ReviewDraft:
        return ReviewDraft(commit=self.head, body=body, comments=comments)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.github:
        yield world


def at(line: int, **more: Any) -> LineComment:
    return LineComment(path="a.txt", line=line, body="Look here.", **more)


POSITIONS = [
    (at(2), ""),
    (at(5, side="LEFT"), ""),
    (at(8, start_line=2), ""),
    (at(5, start_line=5), ""),
    (at(30, side="LEFT"), ""),
    (at(9), "line must be part of the diff"),
    (at(26), "line must be part of the diff"),
    (at(41), "line must be part of the diff"),
    (at(28, start_line=5), "must be part of the same hunk"),
    (at(5, start_line=6), "start line must precede the end line"),
    (LineComment(path="b.txt", line=1, body="x"), "Path could not be resolved"),
    (LineComment(path="a.txt", line=5, body="x" * 65_537), "too long"),
    (LineComment(path="a.txt", line=5, body=""), "can't be blank"),
]


def test_a_position_is_taken_where_github_takes_it(world: World) -> None:
    world.open({"a.txt": BEFORE, "b.txt": "b\n"}, {"a.txt": AFTER})
    for comment, problem in POSITIONS:
        world.github.lines.clear()
        draft = world.draft(at(3), comment)
        assert asyncio.run(world.forge.accepts_review(world.number, draft)) == (not problem)
        if problem:
            with pytest.raises(ForgeError, match=problem) as refusal:
                asyncio.run(world.forge.create_review(world.number, draft))
            assert refusal.value.status == 422
        else:
            review = asyncio.run(world.forge.create_review(world.number, draft))
            assert review.url.endswith(f"/pull/{world.number}#pullrequestreview-{review.id}")
        assert len(world.github.lines) == (0 if problem else 2)
    assert {review["state"] for review in world.github.reviews} == {"COMMENTED"}


def test_a_review_whose_answer_was_lost_is_posted_once(world: World) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    world.github.faults.add("POST reviews", drop="after")
    review = asyncio.run(world.forge.create_review(world.number, world.draft(at(5))))
    assert [each["id"] for each in world.github.reviews] == [review.id]


def test_a_draft_of_ours_that_was_left_behind_is_in_nobodys_way(world: World) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    world.github.faults.add("POST reviews", drop="after")
    draft = world.draft(at(5), body="<!-- flue-ci review -->")
    assert asyncio.run(world.forge.accepts_review(world.number, draft))
    assert world.github.reviews == []
    world.github.reviews.append({"id": 5, "_number": world.number, "user": BOT, "state": "PENDING", "body": "mine"})
    with pytest.raises(ForgeError, match="pending review"):
        asyncio.run(world.forge.create_review(world.number, draft))
    assert [review["id"] for review in world.github.reviews] == [5]


def test_threads_are_read_as_they_are_now(world: World) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    github, number = world.github, world.number
    asyncio.run(world.forge.create_review(number, world.draft(at(5), at(29), at(7))))
    changed, below, last = github.lines
    github.say_on_line(number, "mona", "Won't fix.", path="a.txt", reply_to=changed["id"])
    github.vote(last, "stranger")
    github.resolve(last, "ada")
    github.push(world.work, world.pull, {"a.txt": "new\n" + AFTER.replace("line five", "line 5!")})
    history = asyncio.run(world.forge.review_history(number))
    (review,) = history.reviews
    assert (review.is_ours, review.commit, review.body) == (True, world.head, "A review.")
    first, second, third = history.threads
    assert (first.is_outdated, first.line, first.is_resolved, first.can_resolve) == (True, None, False, True)
    assert [(each.author, each.is_ours, each.is_person) for each in first.comments] == [
        ("github-actions", True, False),
        ("mona", False, True),
    ]
    assert (second.is_outdated, second.line) == (False, below["line"] + 1)
    assert (third.is_resolved, third.resolved_by, third.can_resolve) == (True, "ada", False)
    assert third.comments[0].rejected_by == ("stranger",)


def test_a_hundred_threads_are_read_with_one_request_and_ended_with_four(world: World) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    for index in range(101):
        world.github.say_on_line(world.number, "github-actions[bot]", f"{index}", path="a.txt")
    forge = world.forge
    ids = [thread.id for thread in asyncio.run(forge.review_history(world.number)).threads]
    assert (len(set(ids)), forge.requests) == (101, 2)
    assert asyncio.run(forge.resolve_threads(ids[:100])) == {}
    assert (len(world.github.review_state.resolved), forge.requests) == (100, 6)


def test_each_thread_that_cannot_be_ended_has_its_own_error(world: World) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    github = world.github
    for text in ("one", "two"):
        github.say_on_line(world.number, "github-actions[bot]", text, path="a.txt")
    one, two = (thread.id for thread in asyncio.run(world.forge.review_history(world.number)).threads)
    github.review_state.refuses_to_resolve = {github.lines[0]["id"]}
    errors = asyncio.run(world.forge.resolve_threads([one, "PRRT_7", two]))
    assert {thread: error.status for thread, error in errors.items()} == {one: 403, "PRRT_7": 400}
    assert "Resource not accessible by integration" in str(errors[one])
    assert list(github.review_state.resolved) == [github.lines[1]["id"]]


@pytest.mark.family(1)
@pytest.mark.parametrize("bad", [(3,), (0, 9), tuple(range(10))])
def test_what_github_does_not_take_is_left_out_of_the_one_review(world: World, bad: tuple[int, ...]) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    comments = [at(20 if index in bad else 3 + index % 5, start_line=None) for index in range(10)]
    comments = [replace(comment, body=f"{index}") for index, comment in enumerate(comments)]

    def body(left_out: Sequence[LineComment]) -> str:
        return f"left out: {[comment.body for comment in left_out]}"

    forge = world.forge
    review, rejected = asyncio.run(post_review(forge, world.number, world.head, comments, body))
    assert [comment.body for comment in rejected] == [str(index) for index in bad]
    assert [line["body"] for line in world.github.lines] == [str(index) for index in range(10) if index not in bad]
    assert [(each["state"], each["body"]) for each in world.github.reviews] == [("COMMENTED", body(rejected))]
    assert review.body == body(rejected)
    assert forge.requests <= 26


@pytest.mark.family(1)
@pytest.mark.parametrize("missing", ["contents", "pull_requests"])
def test_ending_a_thread_needs_both_permissions(world: World, missing: str) -> None:
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    world.github.permissions[missing] = "read"
    world.github.say_on_line(world.number, "github-actions[bot]", "one", path="a.txt")
    (thread,) = asyncio.run(world.forge.review_history(world.number)).threads
    assert not thread.can_resolve
    assert asyncio.run(world.forge.resolve_threads([thread.id]))[thread.id].status == 403


@pytest.mark.family(0)
def test_every_query_is_one_that_githubs_schema_knows(world: World) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm is not here, so GitHub's schema cannot be fetched")
    world.open({"a.txt": BEFORE}, {"a.txt": AFTER})
    world.github.say_on_line(world.number, "ada", "one", path="a.txt")
    (thread,) = asyncio.run(world.forge.review_history(world.number)).threads
    asyncio.run(world.forge.resolve_threads([thread.id, thread.id]))
    asyncio.run(world.forge.reopen_threads([thread.id]))
    folder = world.github.root.parent / "schema"
    folder.mkdir()
    packages = ("@octokit/graphql-schema@15.26.1", "graphql@16")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    if subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip("npm cannot fetch GitHub's schema")
    script = (
        "import {validate} from '@octokit/graphql-schema';"
        "console.log(JSON.stringify(JSON.parse(process.argv[1]).flatMap(q => validate(q).map(e => e.message))))"
    )
    queries = json.dumps(world.github.graphql_queries)
    done = subprocess.run(
        [node, "--input-type=module", "-e", script, queries], cwd=folder, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []

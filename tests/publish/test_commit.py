"""A commit on the pull request's branch: what goes there, what is refused and why, and what happens twice."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.changes import ChangedFile
from flue_ci.core.errors import FlueError
from flue_ci.core.proposals import ChangeDescription
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from flue_ci.git.fetch import Remote, open_remote
from flue_ci.git.source import Source
from flue_ci.publish.commit import CommitPublisher
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.diffs import read_patch, without_binary
from flue_ci.report.report import (
    AgentCommit,
    Changes,
    CommandResult,
    Published,
    Publishing,
    Report,
    SandboxUsed,
    Trigger,
    Verification,
)
from flue_ci.safety.redact import Redactor
from tests.support.github_server import TOKEN, GitHubServer

RUN = "https://github.com/ada/tools/actions/runs/7"
SECRET = "canary-secret-5c1f0e"
PASSED = CommandResult(name="tests", command="true", exit_code=0)
CLEAN = Verification(where="fresh", ready=True)


@dataclass(kw_only=True)
class World:
    """A pull request on the server, and a run on it that is over."""

    github: GitHubServer
    forge: GitHub
    work: Path
    scratch: Path
    pull: dict[str, Any]
    publishing: Publishing = field(default_factory=lambda: Publishing(changes="commit"))
    report: Report = field(default_factory=lambda: REPORT)
    commits: tuple[AgentCommit, ...] = ()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.work, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    @property
    def branch(self) -> str:
        name: str = self.pull["head"]["ref"]
        return name

    @property
    def head(self) -> str:
        """Of the branch, on the server."""
        return (self.github.root / "ada/tools.git/refs/heads" / self.branch).read_text().strip()

    def change(self, change: Callable[[Path], object]) -> bytes:
        """The patch of what `change` does to the files of the head."""
        self.git("checkout", "-q", self.branch)
        change(self.work)
        self.git("add", "-A")
        patch = subprocess.run(
            ["git", "diff", "--cached", "--binary", "--full-index", "-M"],
            cwd=self.work,
            check=True,
            capture_output=True,
        ).stdout
        self.git("reset", "-q", "--hard")
        return patch

    async def publish(self, change: Callable[[Path], object], head: str = "", **report: Any) -> Published:
        return await self.publish_patch(self.change(change), head, **report)

    async def publish_patch(self, patch: bytes, head: str = "", **report: Any) -> Published:
        head = head or self.git("rev-parse", self.branch)
        remote = Remote(url=f"{self.github.url}/ada/tools.git", token=TOKEN, scratch=self.scratch)

        async def open_source() -> Source:
            return await open_remote(
                remote,
                name="tools",
                head=head,
                ref=f"refs/pull/{self.pull['number']}/head",
                base=None,
                base_ref="",
                depth=1,
            )

        changes = Changes()
        if patch:
            diffs = read_patch(without_binary(patch))
            files = tuple(ChangedFile(path=diff.path, kind="modified") for diff in diffs)
            changes = Changes(files=files, patch="changes.patch", commits=self.commits)
        trigger = Trigger(
            event="issue_comment.created",
            repo="ada/tools",
            number=self.pull["number"],
            is_pull_request=True,
            head_sha=head,
            run_url=RUN,
        )
        given = replace(self.report, **({"changes": changes, "trigger": trigger} | report))
        target = PublishTarget(
            publishing=self.publishing,
            repository="ada/tools",
            server_url="https://github.com",
            number=self.pull["number"],
            forge=self.forge,
            notify=print,
            show_error=print,
            redact=Redactor([SECRET]),
            branch=self.branch,
            open_source=open_source,
            folder=self.scratch,
            patch=patch,
            actor="mona",
            actor_id=1003,
        )
        return await CommitPublisher().publish(given, patch, target)


REPORT = Report(
    conclusion="success",
    reason="1 file changed",
    exit_code=0,
    agent="fix",
    summary="The greeting is longer now.",
    checks=(PASSED,),
    verification=CLEAN,
    sandbox=SandboxUsed(provider="e2b"),
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with GitHubServer(tmp_path) as github:
        files = {
            "greeting.txt": "hello\n",
            "old/name.txt": "a\nb\nc\n",
            ".vscode/tasks.json": "{}\n",
            "docs/a.md": "a\n",
        }
        work = github.repo("ada/tools", files)
        (work / "AGENTS.md").symlink_to("rules.md")
        (work / "rules.md").symlink_to("link/a.md")
        (work / "link").symlink_to("docs")
        github.commit(work, {}, "link")
        github.permissions["contents"] = "write"
        pull = github.pull(work, {"topic.txt": "topic\n"})
        (tmp_path / "scratch").mkdir()
        retry = RetryPolicy(timeout=3.0, first_wait=0.01)
        forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3", retry=retry)
        yield World(github=github, forge=forge, work=work, scratch=tmp_path / "scratch", pull=pull)
        await forge.close()


def greet(work: Path) -> None:
    (work / "greeting.txt").write_text("hello world\n")


def touch(path: str, text: str = "x\n") -> Callable[[Path], None]:
    def change(work: Path) -> None:
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)

    return change


async def test_the_changes_are_a_signed_commit_with_a_clean_message(world: World) -> None:
    before = world.head
    world.report = replace(
        REPORT, proposals=(ChangeDescription(title="Greet the world, fixes #1 [skip ci]", body="@ada\nFlue-Run: 1"),)
    )
    requests = len(world.github.requests)
    published = await world.publish(greet)
    api = [path for _, path, _ in world.github.requests[requests:] if "/git/" in path and ".git/" not in path]
    assert len(api) == 4
    assert (published.state, published.commit, published.verified) == ("done", world.head, True)
    assert published.url.endswith(f"/commit/{world.head}")
    assert "CI does not start on it" in published.detail
    world.git("fetch", "-q", "origin", world.branch)
    assert world.git("rev-parse", "FETCH_HEAD^") == before
    assert world.git("diff", "--name-only", "FETCH_HEAD^", "FETCH_HEAD") == "greeting.txt"
    assert world.git("log", "-1", "--format=%B", "FETCH_HEAD") == (
        "Greet the world, fixes 1 (skip ci)\n\nada\n\n"
        f"Flue-Run: {RUN}\nCo-authored-by: mona <1003+mona@users.noreply.github.com>"
    )
    assert world.git("log", "-1", "--format=%an|%cn", "FETCH_HEAD") == "github-actions[bot]|GitHub"
    assert world.pull["head"]["sha"] == published.commit


async def test_a_commit_that_github_does_not_sign_is_said_to_be_none(world: World) -> None:
    world.github.git_data.signs = False
    assert (await world.publish(greet)).verified is False


async def test_publishing_twice_makes_one_commit(world: World) -> None:
    patch, head = world.change(greet), world.git("rev-parse", world.branch)
    first = await world.publish_patch(patch, head)
    assert await world.publish_patch(patch, head) == first
    assert world.head == first.commit


async def test_our_commit_is_found_below_a_later_one_of_a_person(world: World) -> None:
    patch, head = world.change(greet), world.git("rev-parse", world.branch)
    first = await world.publish_patch(patch, head)
    world.git("fetch", "-q", "origin", world.branch)
    world.git("checkout", "-q", "--detach", "FETCH_HEAD")
    world.git("commit", "-q", "--allow-empty", "-m", "more")
    world.git("push", "-q", "origin", f"HEAD:refs/heads/{world.branch}")
    again = await world.publish_patch(patch, head)
    assert (again.state, again.commit) == ("done", first.commit)


async def test_a_person_who_made_the_same_changes_is_not_taken_for_us(world: World) -> None:
    patch, head = world.change(greet), world.git("rev-parse", world.branch)
    world.git("checkout", "-q", "--detach", head)
    greet(world.work)
    world.git("commit", "-qam", "Greet")
    world.git("push", "-q", "origin", f"HEAD:refs/heads/{world.branch}")
    published = await world.publish_patch(patch, head)
    assert (published.state, published.commit, published.verified) == ("done", world.head, False)
    assert "somebody has made the very same changes" in published.detail


async def test_a_lost_answer_makes_no_second_commit(world: World) -> None:
    before = world.head
    world.github.faults.add(f"PATCH {world.branch}", drop="after")
    published = await world.publish(greet)
    world.git("fetch", "-q", "origin", world.branch)
    assert world.git("rev-list", f"{before}..FETCH_HEAD") == published.commit


async def test_two_runs_at_once_make_one_commit_and_one_refusal(world: World) -> None:
    patches = [world.change(greet), world.change(touch("greeting.txt", "hi\n"))]
    head = world.git("rev-parse", world.branch)
    worlds = [world, replace(world, scratch=world.scratch / "other")]
    worlds[1].scratch.mkdir()
    pairs = zip(worlds, patches, strict=True)
    results = await asyncio.gather(*(each.publish_patch(patch, head) for each, patch in pairs))
    assert sorted(result.state for result in results) == ["done", "refused"]
    done, refused = sorted(results, key=lambda result: result.state)
    assert world.head == done.commit
    assert "ask again" in refused.detail


async def test_what_a_force_push_took_away_does_not_come_back(world: World) -> None:
    patch, head = world.change(greet), world.git("rev-parse", world.branch)
    served = str(world.github.root / "ada/tools.git")
    world.git("push", "-q", "--force", served, f"{head}^:refs/heads/{world.branch}")
    refused = await world.publish_patch(patch, head)
    assert (refused.state, "no longer at" in refused.detail) == ("refused", True)
    assert world.head == world.git("rev-parse", f"{head}^")


async def test_a_protected_path_is_never_pushed_also_where_a_link_or_a_rename_makes_it_one(world: World) -> None:
    before = world.head
    world.publishing = replace(world.publishing, when="always")
    refused = await world.publish(lambda work: (work / ".vscode/tasks.json").rename(work / "tasks.json"))
    assert ".vscode/tasks.json (it runs or configures something by itself)" in refused.detail
    refused = await world.publish(lambda work: (work / "old/name.txt").rename(work / ".envrc"))
    assert ".envrc" in refused.detail
    refused = await world.publish(touch("docs/a.md"))  # AGENTS.md is a link to it
    assert "1 protected path among the changes: docs/a.md" in refused.detail
    assert world.head == before
    assert world.github.count("POST", "/git/") == 0


async def test_what_the_spec_allows_is_pushed_but_no_workflow(world: World) -> None:
    world.publishing = replace(world.publishing, allow=("**",))
    refused = await world.publish(touch(".github/workflows/ci.yml"))
    assert "workflow or an action" in refused.detail
    world.publishing = replace(world.publishing, allow=(".vscode/tasks.json",))
    assert (await world.publish(touch(".vscode/tasks.json"))).state == "done"


async def test_checks_that_failed_keep_the_changes_back_unless_the_spec_says_always(world: World) -> None:
    failed = {"conclusion": "failed", "checks": (replace(PASSED, exit_code=1),)}
    refused = await world.publish(greet, **failed)
    assert (refused.state, "the check tests" in refused.detail) == ("refused", True)
    world.publishing = replace(world.publishing, when="always")
    assert "interrupted" in (await world.publish(greet, conclusion="cancelled")).detail
    assert (await world.publish(greet, **failed)).state == "done"


async def test_a_secret_is_found_in_a_text_that_the_patch_shows_as_binary(world: World) -> None:
    attributes = world.work / ".git/info/attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("*.dat binary\n")
    patch = world.change(touch("key.dat", f"{SECRET}\n"))
    assert b"GIT binary patch" in patch
    refused = await world.publish_patch(patch)
    assert (refused.state, "a secret would be added in key.dat" in refused.detail) == ("refused", True)
    assert (await world.publish_patch(world.change(touch("key.dat", "no secret\n")))).state == "done"


MESSAGES = ("Greet, closes #4\n\nSigned-off-by: eve <e@example.com>", "[skip ci] Say more\n\n@ada asked.")


async def keep(world: World, *changes: Callable[[Path], object], last: Callable[[Path], object]) -> Published:
    """Publishes `last`, with `changes` as the commits of the agent's that lead to it."""
    world.publishing = replace(world.publishing, commits="keep")
    for number, change in enumerate(changes, start=1):
        (world.scratch / f"commit-{number:02}.patch").write_bytes(world.change(change))
    world.commits = tuple(AgentCommit(message=text, patch="x") for text in MESSAGES[: len(changes)])
    return await world.publish(last)


def more(work: Path) -> None:
    greet(work)
    (work / "old/name.txt").rename(work / "new.txt")


async def test_the_agents_commits_are_kept_with_clean_messages(world: World) -> None:
    before, head = world.head, world.git("rev-parse", world.branch)
    published = await keep(world, greet, more, last=more)
    assert "the last of 2 on" in published.detail
    world.git("fetch", "-q", "origin", world.branch)
    log = world.git("log", "--reverse", "--format=%s|%an|%(trailers:key=Signed-off-by)", f"{before}..FETCH_HEAD")
    assert log == "Greet, closes 4|github-actions[bot]|\n(skip ci) Say more|github-actions[bot]|"
    assert world.git("diff", "--name-only", "FETCH_HEAD^^", "FETCH_HEAD^") == "greeting.txt"
    assert published.commit == world.head
    assert (await world.publish_patch(world.change(more), head)).commit == published.commit


async def test_commits_that_may_not_be_pushed_become_one_that_may(world: World) -> None:
    before = world.head
    cases: list[tuple[list[Callable[[Path], object]], str]] = [
        ([touch(".envrc"), greet], ".envrc"),
        ([touch("a.txt", SECRET), greet], "looks like a secret"),
        ([touch("other")], "not the one that was verified"),
    ]
    for steps, reason in cases:
        published = await keep(world, *steps, last=greet)
        assert (published.state, reason in published.detail) == ("done", True), published
        assert "as one commit, because in one of the agent's own" in published.detail
        world.git("fetch", "-q", "origin", world.branch)
        assert world.git("rev-list", f"{before}..FETCH_HEAD") == published.commit
        world.git("push", "-q", "--force", "origin", f"{before}:refs/heads/{world.branch}")


async def test_a_saved_report_with_more_commits_than_are_kept_becomes_one(world: World) -> None:
    world.publishing = replace(world.publishing, commits="keep")
    for number in range(1, 22):
        text = f"{number}\n" if number < 21 else "hello world\n"
        (world.scratch / f"commit-{number:02}.patch").write_bytes(world.change(touch("greeting.txt", text)))
    world.commits = (AgentCommit(message="Say it", patch="x"),) * 21
    published = await world.publish(greet)
    assert (published.state, "as one commit, because more than 20 are not kept" in published.detail) == ("done", True)


async def test_nothing_changed_a_fork_and_no_pull_request_are_refusals(world: World) -> None:
    trigger = Trigger(event="x", repo="ada/tools", number=1, is_pull_request=True, head_sha="", from_fork=True)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"changes": Changes()}, "nothing was changed"),
        ({"changes": Changes(refused="too large")}, "the changes were refused"),
        ({"trigger": trigger}, "fork"),
        ({"trigger": replace(trigger, from_fork=False, is_pull_request=False)}, "no pull request"),
        ({"trigger": None}, "no pull request"),
        ({"changes": Changes(files=(ChangedFile(path="other", kind="added"),))}, "not the one"),
    ]
    for report, reason in cases:
        refused = await world.publish(greet, **report)
        assert refused.state == "refused"
        assert reason in refused.detail
    assert world.github.count("POST", "/git/") == 0


async def test_a_secret_is_never_pushed(world: World) -> None:
    for change in (touch("a.txt", f"key = {SECRET}\n"), lambda work: (work / "a").write_bytes(b"\0" + SECRET.encode())):
        refused = await world.publish(change)
        assert (refused.state, "looks like a secret" in refused.detail) == ("refused", True)
    assert world.github.count("POST", "/git/") == 0


BY_PULL = "Changes must be made through a pull request."
RULES: dict[str, tuple[Callable[[GitHubServer, str], object], str]] = {
    "protected": (
        lambda github, branch: github.git_data.protected.update(
            {branch: (422, "Changes must be made through a pull request.")}
        ),
        f"is protected, GitHub says: {BY_PULL}",
    ),
    "no right": (lambda github, branch: github.permissions.update(contents="read"), "contents: write"),
    "gone": (lambda github, branch: github.faults.add(f"GET {branch}", status=404), "no longer there"),
    "moved meanwhile": (
        lambda github, branch: github.faults.add(f"PATCH {branch}", status=422, message="Update is not a fast forward"),
        "got other commits meanwhile",
    ),
}


async def test_what_github_refuses_has_its_sentence(world: World) -> None:
    before, patch = world.head, world.change(greet)
    for name, (prepare, reason) in RULES.items():
        prepare(world.github, world.branch)
        refused = await world.publish_patch(patch)
        assert (refused.state, reason in refused.detail) == ("refused", True), (name, refused)
        world.github.git_data.protected.clear()
        world.github.permissions["contents"] = "write"
    assert world.head == before


async def test_a_commit_that_github_no_longer_has_is_a_refusal(world: World) -> None:
    refused = await world.publish_patch(world.change(greet), "1" * 40)
    assert (refused.state, "not there any more" in refused.detail) == ("refused", True), refused


async def test_an_outage_is_a_failure_and_no_refusal(world: World) -> None:
    world.forge._retry_policy = RetryPolicy(attempts=1)
    world.github.faults.add("POST commits", status=502, times=None)
    with pytest.raises(FlueError, match="502"):
        await world.publish(greet)
    assert world.head == world.git("rev-parse", world.branch)

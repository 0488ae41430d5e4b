"""`changes: pull-request` against the GitHub of the tests: one pull request for a subject, whatever happened before."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_ci.core.errors import ForgeError
from flue_ci.core.proposals import ChangeDescription
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from flue_ci.gate.policy import MARKER
from flue_ci.git.source import Source, open_checkout
from flue_ci.publish.publisher import PublishTarget
from flue_ci.publish.pull_request import PullRequestPublisher
from flue_ci.publish.pull_request_text import branch_names, slug
from flue_ci.report.report import Changes, NewPullRequest, Published, Publishing, Report, Trigger
from flue_ci.spec.schema import DEFAULT_BRANCH_NAME
from flue_ci.spec.values import branch_flaw
from flue_ci.workspace.verify import verify_patch
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.reports import FULL

WORKFLOW = ".github/workflows/ci.yml"
FILES = {"a.txt": "one\n", "b.txt": "two\n", WORKFLOW: "on: push\n"}
RUN = "https://github.com/ada/tools/actions/runs/7"


def git(work: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=1001+ada@users.noreply.github.com", *arguments]
    return subprocess.run(command, cwd=work, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class World:
    """A repository on the server, and a run of an agent on an issue there."""

    github: GitHubServer
    forge: GitHub
    work: Path
    folder: Path
    number: int

    async def publish(
        self,
        text: str = "ONE\n",
        *,
        title: str = "Write it loudly",
        run: str = RUN,
        at: str = "main",
        branch: str = DEFAULT_BRANCH_NAME,
        files: dict[str, str] | None = None,
        report: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        **wishes: Any,
    ) -> Published:
        """Runs on the commit `at`, where the agent writes `text` to a.txt (and `files`)."""
        copy = self.folder / "copy"
        if not copy.exists():
            shutil.copytree(self.work, copy)
        self._fetch(copy)
        git(copy, "checkout", "-q", "-f", "--detach", f"refs/served/heads/{at}" if "/" not in at else at)
        source = await self._source(copy)
        for name, content in {"a.txt": text, **(files or {})}.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(content)
        git(copy, "add", "-A")
        patch = subprocess.run(
            ["git", "diff", "--cached", "--binary", "--full-index"], cwd=copy, capture_output=True, check=True
        ).stdout
        changes = await verify_patch(source, patch)

        async def open_source() -> Source:
            return source

        work = {
            "conclusion": "success",
            "instruction": "",
            "summary": "It is loud now. @mona, see #3.",
            "result": None,
            "changes": Changes(files=changes.files, patch="changes.patch" if patch else None),
            "proposals": (ChangeDescription(title=title, body="So that people hear it. Fixes #1, @mona."),),
            "trigger": Trigger(
                event="issue_comment.created",
                actor="ada",
                repo="ada/tools",
                number=self.number,
                head_sha=source.head,
                run_url=run,
            ),
        }
        place = PublishTarget(
            publishing=Publishing(
                changes="pull-request", branch=branch, when="always", pull_request=NewPullRequest(**wishes)
            ),
            repository="ada/tools",
            server_url=self.github.url,
            number=self.number,
            forge=self.forge,
            notify=lambda _: None,
            show_error=lambda *_: None,
            open_source=open_source,
            patch=patch,
            actor="ada",
            actor_id=1001,
        )
        value: Report = replace(FULL, **work | (report or {}))  # type: ignore[arg-type]
        return await PullRequestPublisher().publish(value, patch, replace(place, **(target or {})))

    def _fetch(self, copy: Path) -> None:
        """What a fetch of all refs comes to, which takes eight processes."""
        served = self.github.root / "ada/tools.git"
        for objects in (served / "objects", self.work / ".git/objects"):
            for path in [*objects.glob("??/*"), *objects.glob("pack/*")]:
                there = copy / ".git/objects" / path.relative_to(objects)
                there.parent.mkdir(exist_ok=True)
                if not there.exists():
                    there.hardlink_to(path)
        shutil.copytree(served / "refs", copy / ".git/refs/served", dirs_exist_ok=True)

    async def _source(self, copy: Path) -> Source:
        scratch = copy.parent / f"scratch-{len(list(copy.parent.iterdir()))}"
        scratch.mkdir()
        return await open_checkout(copy, history=1, scratch=scratch)

    def pulls(self) -> list[dict[str, Any]]:
        return [pull for pull in self.github.pulls.values() if pull["user"]["type"] == "Bot"]

    def served(self, *arguments: str) -> str:
        return git(self.github.root / "ada/tools.git", *arguments)

    def push(self, branch: str, files: dict[str, str], message: str, *, amend: bool = False) -> None:
        """A person's commit on a branch of the repository."""
        git(self.work, "fetch", "-q", "origin")
        git(self.work, "checkout", "-q", "--detach", f"origin/{branch}")
        for name, content in files.items():
            (self.work / name).write_text(content)
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", *(["--amend", "--no-edit"] if amend else ["-m", message]))
        git(self.work, "push", "-q", "--force", "origin", f"HEAD:refs/heads/{branch}")


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        server.permissions |= {"contents": "write", "pull_requests": "write"}
        yield server


@pytest.fixture
async def world(github: GitHubServer, tmp_path: Path) -> AsyncIterator[World]:
    work = github.repo("ada/tools", FILES)
    retry = RetryPolicy(timeout=0.3, first_wait=0.01)
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3", retry=retry)
    folder = tmp_path / "copies"
    folder.mkdir()
    issue = github.issue()
    yield World(github, forge, work, folder, issue["number"])
    await forge.close()


async def test_a_pull_request_for_an_issue(world: World) -> None:
    entry = await world.publish(draft=True, reviewers=("ada", "mona"), labels=("flue", "loud"))
    (pull,) = world.pulls()
    branch = f"flue/fix-tests-{world.number}-write-it-loudly"
    assert (entry.state, entry.url, entry.verified) == ("done", pull["html_url"], True)
    assert entry.detail.startswith(f"#{pull['number']} opened, from {branch} to main. CI does not start on it")
    assert (pull["title"], pull["draft"], pull["base"]["ref"], pull["head"]["ref"]) == (
        "Write it loudly",
        True,
        "main",
        branch,
    )
    assert entry.commit == pull["head"]["sha"] == world.served("rev-parse", branch)
    assert world.served("show", f"{branch}:a.txt") == "ONE"
    assert world.served("rev-parse", f"{branch}^") == world.served("rev-parse", "main")
    assert {account["login"] for account in pull["requested_reviewers"]} == {"ada", "mona"}
    assert [label["name"] for label in pull["labels"]] == ["flue", "loud"]
    message = world.served("log", "-1", "--format=%B", branch)
    assert message.startswith("Write it loudly\n\n")
    assert f"Flue-Run: {RUN}" in message
    assert "Co-authored-by: ada <1001+ada@users.noreply.github.com>" not in message.split("\n\n")[0]


async def test_the_body_has_the_evidence_and_nothing_that_acts(world: World) -> None:
    await world.publish()
    body = world.pulls()[0]["body"]
    assert body.startswith(f"{MARKER} pull agent=fix-tests for=#{world.number} text=")
    assert "So that people hear it." in body
    assert f"For #{world.number}." in body
    assert "✅ **tests** `pytest -q` → 0" in body
    assert f"[log of the job]({RUN})" in body
    assert "Fixes `#1`, `@mona`." in body


async def test_a_second_run_updates_the_same_pull_request(world: World) -> None:
    first = await world.publish()
    second = await world.publish("LOUD\n", title="Louder still", run=f"{RUN}1")
    (pull,) = world.pulls()
    assert second.url == first.url
    assert second.detail.startswith(f"#{pull['number']} updated, from ")
    assert pull["title"] == "Louder still"
    branch = pull["head"]["ref"]
    assert world.served("rev-list", "--parents", "-1", branch) == f"{second.commit} {first.commit}"
    assert world.served("show", f"{branch}:a.txt") == "LOUD"


async def test_a_second_run_after_the_base_moved_brings_it_in(world: World) -> None:
    first = await world.publish()
    world.push("main", {"b.txt": "three\n"}, "somebody's")
    second = await world.publish("LOUD\n")
    (pull,) = world.pulls()
    tip, main = world.served("rev-parse", pull["head"]["ref"]), world.served("rev-parse", "main")
    assert world.served("rev-list", "--parents", "-1", tip) == f"{second.commit} {first.commit} {main}"
    assert world.served("diff", "--name-only", f"main...{tip}") == "a.txt"
    third = await world.publish("AGAIN\n")
    assert world.served("rev-list", "--parents", "-1", pull["head"]["ref"]) == f"{third.commit} {second.commit}"
    assert len(world.pulls()) == 1


async def test_the_same_changes_again_make_no_commit(world: World) -> None:
    first, again = await world.publish(), await world.publish()
    assert (again.commit, again.url) == (first.commit, first.url)
    (pull,) = world.pulls()
    assert world.served("rev-list", "--count", f"main..{pull['head']['ref']}") == "1"


@pytest.mark.family(2)
@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("POST pulls", {"status": 500}),
        ("POST labels", {"status": 403}),
        ("POST refs", {"drop": "after"}),
    ],
    ids=str,
)
async def test_what_an_attempt_left_unfinished_the_next_one_finishes(
    world: World, step: str, fault: dict[str, Any]
) -> None:
    world.github.faults.add(step, times=1 if "drop" in fault else 20, **fault)
    wishes = {"labels": ("flue",), "reviewers": ("mona",)}
    with suppress(ForgeError):  # a step that GitHub did not answer
        await world.publish(**wishes)
    world.github.faults.clear()
    entry = await world.publish(**wishes)
    (pull,) = world.pulls()
    assert (entry.state, entry.url) == ("done", pull["html_url"])
    assert [label["name"] for label in pull["labels"]] == ["flue"]
    assert [account["login"] for account in pull["requested_reviewers"]] == ["mona"]
    branches = world.served("for-each-ref", "--format=%(refname:short)", "refs/heads/flue").split()
    assert branches == [pull["head"]["ref"]]


async def test_a_branch_without_its_pull_request_is_taken_up_again(world: World) -> None:
    world.github.pull_settings.may_create = False
    refused = await world.publish()
    branch = f"flue/fix-tests-{world.number}-write-it-loudly"
    assert (refused.state, refused.url) == ("refused", f"{world.github.url}/ada/tools/pull/new/{branch}")
    assert "Allow GitHub Actions to create and approve pull requests" in refused.detail
    assert f"{world.github.url}/ada/tools/settings/actions" in refused.detail
    assert len(refused.detail) <= 500
    world.github.pull_settings.may_create = True
    entry = await world.publish()
    (pull,) = world.pulls()
    assert (entry.commit, pull["head"]["ref"]) == (refused.commit, branch)


async def test_the_branch_of_others_is_never_written_to(world: World) -> None:
    branch = f"flue/fix-tests-{world.number}-write-it-loudly"
    git(world.work, "push", "-q", "origin", f"main:refs/heads/{branch}")
    world.push(branch, {"a.txt": "mine\n"}, "a person's")
    git(world.work, "push", "-q", "origin", f"main:refs/heads/{branch}-2")  # without a commit: it may become theirs
    entry = await world.publish()
    (pull,) = world.pulls()
    assert pull["head"]["ref"] == f"{branch}-3"
    assert entry.state == "done"
    assert world.served("show", f"{branch}:a.txt") == "mine"


async def test_of_two_runs_at_once_one_loses_cleanly(world: World) -> None:
    branch = f"flue/fix-tests-{world.number}-write-it-loudly"
    git(world.work, "push", "-q", "origin", f"main:refs/heads/{branch}")  # after the run has looked for it
    world.github.faults.add(f"GET {branch.partition('/')[2]}", times=1, status=404)
    entry = await world.publish()
    assert (entry.state, world.pulls()) == ("refused", [])
    assert f"branch {branch} is there already" in entry.detail
    assert world.served("rev-parse", branch) == world.served("rev-parse", "main")


async def test_what_is_redacted_in_the_text_is_no_edit_by_a_person(world: World) -> None:
    redact = {"redact": lambda text: text.replace("hear", "***")}
    await world.publish(target=redact)
    (pull,) = world.pulls()
    assert "*** it." in pull["body"]
    entry = await world.publish("LOUD\n", title="Louder still", target=redact)
    assert pull["title"] == "Louder still"
    assert "by hand" not in entry.detail


async def test_when_all_names_are_taken_nothing_is_pushed(world: World) -> None:
    names = ("fixed", *(f"fixed-{count}" for count in range(2, 10)))
    git(world.work, "push", "-q", "origin", *(f"main:refs/heads/{name}" for name in names))
    entry = await world.publish(branch="fixed")
    assert (entry.state, world.pulls()) == ("refused", [])
    assert "up to fixed-9" in entry.detail


@pytest.mark.family(1)
@pytest.mark.parametrize("amend", [False, True])
async def test_what_a_person_pushed_to_our_branch_is_not_overwritten(world: World, amend: bool) -> None:
    await world.publish()
    (pull,) = world.pulls()
    world.push(pull["head"]["ref"], {"a.txt": "mine\n"}, "a person's", amend=amend)
    tip = world.served("rev-parse", pull["head"]["ref"])
    entry = await world.publish("LOUD\n")
    assert entry.state == "refused"
    assert "has commits of others, over which nothing is written" in entry.detail
    assert pull["html_url"] in entry.detail
    assert world.served("rev-parse", pull["head"]["ref"]) == tip
    if amend:
        world.push("main", {"b.txt": "three\n"}, "somebody's")  # the same when the base has moved
        assert (await world.publish("LOUD\n")).state == "refused"
        assert world.served("rev-parse", pull["head"]["ref"]) == tip


async def test_title_and_text_that_a_person_edited_stay(world: World) -> None:
    await world.publish()
    (pull,) = world.pulls()
    pull["title"] = "A better title"
    entry = await world.publish("LOUD\n", title="Louder still")
    assert pull["title"] == "A better title"
    assert "were edited by hand, and stay" in entry.detail
    assert entry.commit == pull["head"]["sha"]


async def test_somebody_elses_pull_request_with_our_marker_is_not_ours(world: World) -> None:
    await world.publish()
    (pull,) = world.pulls()
    pull["user"] = world.github.accounts["mona"]
    await world.publish("LOUD\n", title="Louder still")
    assert pull["title"] == "Write it loudly"
    assert len(world.pulls()) == 1


async def test_after_a_pull_request_was_closed_there_is_a_new_one(world: World) -> None:
    await world.publish()
    world.pulls()[0]["state"] = "closed"
    await world.publish("LOUD\n")
    first, second = world.pulls()
    assert second["head"]["ref"] == f"{first['head']['ref']}-2"


async def test_a_schedule_has_a_pull_request_for_its_branch(world: World) -> None:
    report = {"trigger": Trigger(event="schedule", repo="ada/tools", run_url=RUN)}
    for text in ("ONE\n", "LOUD\n"):
        await world.publish(text, report=report, target={"number": None})
    (pull,) = world.pulls()
    assert pull["head"]["ref"] == "flue/fix-tests-write-it-loudly"
    assert f"{MARKER} pull agent=fix-tests for=main " in pull["body"]
    assert "For #" not in pull["body"]


async def test_from_a_pull_request_it_is_stacked_on_its_branch(world: World) -> None:
    topic = world.github.pull(world.work, {"a.txt": "topic\n"})
    branch, number = topic["head"]["ref"], topic["number"]
    entry = await world.publish(
        at=branch,
        report={"trigger": Trigger(event="x", repo="ada/tools", number=number, is_pull_request=True, run_url=RUN)},
        target={"base_branch": branch, "branch": branch},
    )
    (pull,) = world.pulls()
    assert (pull["base"]["ref"], entry.state) == (branch, "done")
    assert f"On top of #{number}" in pull["body"]
    assert world.served("diff", "--name-only", f"{branch}..{pull['head']['ref']}") == "a.txt"


async def test_asked_on_its_own_pull_request_the_agent_goes_on_with_it(world: World) -> None:
    await world.publish()
    (pull,) = world.pulls()
    branch = pull["head"]["ref"]
    world.push(branch, {"b.txt": "mine\n"}, "a person's, before the request")
    trigger = Trigger(event="x", repo="ada/tools", number=pull["number"], is_pull_request=True, run_url=f"{RUN}1")
    about = {"report": {"trigger": trigger}, "target": {"base_branch": branch, "branch": branch}}
    entry = await world.publish("LOUD\n", at=f"refs/served/heads/{branch}", title="Louder", **about)
    assert (entry.url, entry.state) == (pull["html_url"], "done")
    assert len(world.pulls()) == 1
    assert pull["title"] == "Write it loudly"
    assert world.served("show", f"{branch}:a.txt") == "LOUD"
    assert world.served("show", f"{branch}:b.txt") == "mine"


async def test_its_own_pull_request_starts_no_endless_chain_of_commits(world: World) -> None:
    await world.publish()
    (pull,) = world.pulls()
    branch, tip = pull["head"]["ref"], pull["head"]["sha"]
    trigger = Trigger(
        event="pull_request.synchronize", repo="ada/tools", number=pull["number"], is_pull_request=True, run_url=RUN
    )
    entry = await world.publish("LOUD\n", at=f"refs/served/heads/{branch}", report={"trigger": trigger})
    assert entry.state == "refused"
    assert "nobody asked" in entry.detail
    assert world.served("rev-parse", branch) == tip


def fork_trigger(number: int) -> dict[str, Any]:
    trigger = Trigger(event="x", repo="ada/tools", number=number, is_pull_request=True, from_fork=True, run_url=RUN)
    return {"report": {"trigger": trigger}, "target": {"base_branch": "main"}, "at": f"refs/served/pull/{number}/head"}


async def test_a_forks_pull_request_has_one_only_when_the_spec_says_so(world: World) -> None:
    number = world.github.pull(world.work, {"a.txt": "fork\n"}, fork=True)["number"]
    refused = await world.publish(**fork_trigger(number))
    assert (refused.state, world.pulls()) == ("refused", [])
    assert "publish.pull_request.forks" in refused.detail
    entry = await world.publish(**fork_trigger(number), forks=True)
    (pull,) = world.pulls()
    assert (entry.state, pull["base"]["ref"]) == ("done", "main")
    assert f"With the commits of #{number}" in pull["body"]
    assert world.served("rev-list", "--count", f"main..{pull['head']['ref']}") == "2"


async def test_commits_that_touch_workflows_are_a_refusal_of_their_own(world: World) -> None:
    number = world.github.pull(world.work, {WORKFLOW: "on: pull_request\n"}, fork=True)["number"]
    world.github.git_data.protected[f"flue/fix-tests-{number}-write-it-loudly"] = (
        403,
        "Resource not accessible by integration",
    )
    entry = await world.publish(**fork_trigger(number), forks=True)
    assert (entry.state, world.pulls()) == ("refused", [])
    assert f"touch workflows ({WORKFLOW})" in entry.detail
    assert "push-token" in entry.detail


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"changes": Changes()}, "nothing was changed"),
        ({"trigger": None}, "no repository on GitHub"),
    ],
)
async def test_what_is_not_pushed_has_its_reason(world: World, report: dict[str, Any], words: str) -> None:
    entry = await world.publish(report=report)
    assert entry.state == "refused"
    assert entry.detail.startswith("no pull request: ")
    assert words in entry.detail
    assert world.github.count("POST", "/git/") == 0


async def test_a_protected_file_is_not_pushed(world: World) -> None:
    entry = await world.publish(files={WORKFLOW: "on: schedule\n"})
    assert entry.state == "refused"
    assert WORKFLOW in entry.detail


async def test_without_rights_the_missing_permission_is_named(world: World) -> None:
    world.github.permissions["pull_requests"] = "read"
    entry = await world.publish()
    assert entry.state == "refused"
    assert "`permissions: contents: write, pull-requests: write`" in entry.detail


async def test_drafts_that_a_plan_does_not_have_are_pull_requests(world: World) -> None:
    world.github.pull_settings.has_drafts = False
    entry = await world.publish(draft=True)
    assert (entry.state, world.pulls()[0]["draft"]) == ("done", False)


async def test_one_reviewer_who_cannot_be_asked_does_not_keep_the_others(world: World) -> None:
    entry = await world.publish(reviewers=("nobody", "mona", "ada/team"))
    (pull,) = world.pulls()
    assert [account["login"] for account in pull["requested_reviewers"]] == ["mona"]
    assert "A review by nobody could not be asked for" in entry.detail
    assert "A review by ada/team could not be asked for" in entry.detail


async def test_nobody_is_asked_again_after_a_review(world: World) -> None:
    await world.publish(reviewers=("mona",))
    (pull,) = world.pulls()
    pull["requested_reviewers"] = []
    world.github.reviews.append({"id": 5, "_number": pull["number"], "user": world.github.accounts["mona"]})
    await world.publish("LOUD\n", reviewers=("mona",))
    assert pull["requested_reviewers"] == []


TITLES = st.text(max_size=120)


@settings(max_examples=settings().max_examples // 3)
@given(
    title=TITLES,
    template=st.sampled_from(
        [DEFAULT_BRANCH_NAME, "{slug}", "{number}", "bots/{number}/{slug}", "{agent}/{number}.{slug}", "x_{number}"]
    ),
    number=st.none() | st.integers(1, 10**6),
)
def test_every_name_of_a_branch_is_one_that_git_takes(title: str, template: str, number: int | None) -> None:
    for name in branch_names(template, agent="fix-tests", number=number, title=title):
        assert branch_flaw(name) is None
        assert not name.startswith("-")
        assert len(name) <= 120
        assert "--" not in name
        assert "{" not in name


def test_git_itself_takes_the_names_of_branches() -> None:
    for title in ("", "Ünïcode — ok?", "..", "@{", "x.lock", "-", "a" * 300, "fix: the `parser`\n\nnow", "../../etc"):
        for number in (None, 7):
            name = next(branch_names(DEFAULT_BRANCH_NAME, agent="a", number=number, title=title))
            command = ["git", "check-ref-format", "--branch", name]
            assert subprocess.run(command, capture_output=True, check=False).returncode == 0, name


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Fix the parser's empty case", "fix-the-parser-s-empty-case"),
        ("Ünïcode: größer", "unicode-groer"),
        ("日本語", "changes"),
        ("a very long title that goes on and on for ever", "a-very-long-title-that-goes-on-and-on"),
        ("x" * 60, "x" * 40),
    ],
)
def test_a_slug_is_made_of_words(title: str, expected: str) -> None:
    assert slug(title) == expected

"""A ticked box that is not to be believed, or comes too late, is refused in one sentence, and nothing is pushed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.action.context import open_context, read_event
from flue_ci.action.feedback import finish_killed_run
from flue_ci.action.job import start_job
from flue_ci.action.republish import publish_from_job
from flue_ci.action.saved_change import NothingSaved, fetch_saved_change
from flue_ci.action.tick import push_saved_change
from flue_ci.core.changes import ChangedFile
from flue_ci.gate.policy import Allow, decide
from flue_ci.gate.push_box import find_tick
from flue_ci.publish.comment import LONGEST_BODY, report_comment
from flue_ci.report.report import Artifact, Changes, CommandResult, Published, Publishing, Report, Trigger, to_json
from flue_ci.run.session import Signals
from tests.support.github_actions import archive
from tests.support.github_app import APP_ID, APP_TOKEN, private_key
from tests.support.github_server import BOT, TOKEN, GitHubServer
from tests.support.reports import FULL

PATCH = b"""diff --git a/greeting.txt b/greeting.txt
index ce013625030ba8dba906f756967f9e9ca394464a..5ea2ed416fbd4a4cbe227b75fe255dd7fa6bd4d6 100644
--- a/greeting.txt
+++ b/greeting.txt
@@ -1 +1 @@
-hello
+changed
"""
SPEC = {
    "version": 1,
    "prompt": "Count.",
    "triggers": {"comment": "fix-tests"},
    "checks": [{"name": "tests", "run": "pytest -q"}],
    "publish": {"changes": "commit", "when": "ask"},
}


@dataclass(kw_only=True)
class World:
    """A pull request with an answer of ours that has a box, and the artifact of the run that made it."""

    github: GitHubServer
    work: Path
    pull: dict[str, Any]
    answer: dict[str, Any]
    run: dict[str, Any]
    stored: dict[str, Any]
    report: Report

    def keep(self, report: Report, patch: bytes = PATCH, files: dict[str, bytes] | None = None) -> None:
        """Saves another report, and shows it in the answer."""
        self.report = report
        data = archive({"report.json": to_json(report).encode(), "changes.patch": patch} | (files or {}))
        self.keep_archive(data, patch)

    def keep_archive(self, data: bytes, patch: bytes = PATCH) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self.stored |= {"_data": data, "digest": f"sha256:{digest}"}
        shown = replace(self.report, artifact=replace(self.report.artifact, digest=digest))
        self.answer["body"] = report_comment(shown, patch, server_url=self.github.url)
        assert "flue-ci push" in self.answer["body"]

    def spec(self, **more: Any) -> None:
        text = json.dumps(SPEC | more)
        self.github.put("refs/heads/main", self.github.commit(self.work, {".flue/agents/fix-tests.yml": text}, "spec"))

    def tick(self, who: str = "mona", **environ: str) -> tuple[int, str]:
        """The exit code, and the line in the place of the box ("" for an open box)."""
        return self.act(self.event(who) | environ)

    def event(self, who: str) -> dict[str, str]:
        before = self.answer["body"]
        self.answer["body"] = before.replace("- [ ] <!-- flue-ci push", "- [x] <!-- flue-ci push")
        payload = self.github.commented(self.pull, self.answer, action="edited")
        payload |= {"sender": self.github.accounts[who], "changes": {"body": {"from": before}}}
        return self.github.env("issue_comment", payload, sha="a" * 40) | {"GITHUB_RUN_ID": "8"}

    def act(self, environ: dict[str, str]) -> tuple[int, str]:
        before = read_event(environ).text_before
        job = start_job(environ | {"FLUE_CI_PATIENCE_SECONDS": "5"})
        event = read_event(environ)
        decision = decide(event, job.inputs.gate)
        assert isinstance(decision, Allow)
        assert decision.tick
        with open_context(job, event, Signals()) as context:
            code = asyncio.run(push_saved_change(context, decision.tick))
        added = set(self.answer["body"].split("\n")) - set(before.split("\n"))
        return code, "".join(added)

    def push(self) -> None:
        sha = self.github.push(self.work, self.pull, {"other.txt": "newer\n"})
        self.github.put(f"refs/heads/topic-{self.pull['number']}", sha)

    def commits(self) -> int:
        command = ["git", "log", "--grep=Flue-Run", "--format=%H", f"topic-{self.pull['number']}"]
        done = subprocess.run(command, cwd=self.github.root / "ada/tools.git", capture_output=True, check=True)
        return len(done.stdout.split())


def make_world(github: GitHubServer, work: Path, pull: dict[str, Any]) -> World:
    github.permissions |= {"actions": "read", "contents": "write"}
    run = github.actions_runs.run(github, id=7, head_sha=pull.get("base", {}).get("sha", "a" * 40))
    files = (ChangedFile(path="greeting.txt", kind="modified", added=1, deleted=1),)
    report = replace(
        FULL,
        changes=Changes(files=files, added=1, deleted=1, patch="changes.patch"),
        trigger=Trigger(
            event="issue_comment.created",
            actor="ada",
            repo="ada/tools",
            repo_id=42,
            number=pull["number"],
            is_pull_request=True,
            head_sha=pull["head"]["sha"],
            run_url=f"{github.url}/ada/tools/actions/runs/7",
            workflow="flue.yml",
        ),
        publish=Publishing(changes="commit", when="ask", roles=("admin", "maintain", "write")),
        published=(Published(publisher="commit", state="waiting", detail="Waits."), Published(publisher="comment")),
        artifact=Artifact(name="flue-ci-fix-tests-7-1", days=30),
    )
    stored = github.actions_runs.artifact(github, 7, "flue-ci-fix-tests-7-1", b"")
    answer = github.say(pull["number"], BOT["login"], "")
    world = World(github=github, work=work, pull=pull, answer=answer, run=run, stored=stored, report=report)
    world.keep(report)
    return world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with GitHubServer(tmp_path) as github:
        work = github.repo("ada/tools", {"greeting.txt": "hello\n", ".flue/agents/fix-tests.yml": json.dumps(SPEC)})
        yield make_world(github, work, github.pull(work, {"other.txt": "new\n"}))


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[World]:
    """The same without a repository, for what is asked before git is."""
    with GitHubServer(tmp_path) as github:
        pull = github.issue() | {"head": {"sha": "a" * 40}}
        yield make_world(github, tmp_path, pull)


def test_a_tick_pushes_the_saved_change(world: World) -> None:
    code, line = world.tick()
    assert (code, world.commits()) == (0, 1)
    assert line.startswith("✅ [**commit**](")
    assert "CI does not start on it" in line


def test_a_job_that_ended_before_it_could_say_so_is_finished_by_another(world: World) -> None:
    environ = world.event("mona")
    ticked = world.answer["body"]
    world.act(environ)
    body = world.answer["body"]
    world.act(environ)  # a person runs it again
    assert (world.commits(), world.answer["body"]) == (1, body)
    world.answer["body"] = ticked
    assert world.act(environ | {"GITHUB_RUN_ATTEMPT": "2"})[1].startswith("✅ [**commit**](")
    assert world.commits() == 1


def test_two_people_at_the_same_moment_push_once(world: World) -> None:
    """Both have looked at the branch before one of them moves it."""
    world.github.faults.add(f"PATCH topic-{world.pull['number']}", delay=0.3, times=2)
    environ = world.event("mona")
    event, outcomes = read_event(environ), []

    async def both() -> list[int]:
        jobs = [start_job(environ | {"GITHUB_RUN_ID": str(number)}) for number in (8, 9)]
        with open_context(jobs[0], event, Signals()) as one, open_context(jobs[1], event, Signals()) as other:
            box = find_tick(event.text_before, event.text)
            assert box
            return await asyncio.gather(*(push_saved_change(context, box) for context in (one, other)))

    outcomes = asyncio.run(both())
    assert (outcomes, world.commits()) == ([0, 0], 1)
    assert "✅ [**commit**](" in world.answer["body"]


def test_a_branch_that_moved_meanwhile_is_looked_at_once_more(world: World) -> None:
    world.github.faults.add(f"PATCH topic-{world.pull['number']}", status=422, message="Update is not a fast forward")
    assert world.tick()[1].startswith("✅ ")
    assert world.commits() == 1


def test_a_dry_run_pushes_nothing(world: World) -> None:
    assert "- [x] <!-- flue-ci push" in world.tick(FLUE_CI_DRY_RUN="true")[1]
    assert world.commits() == 0


def test_what_became_of_it_has_room_in_a_full_comment(world: World) -> None:
    world.answer["body"] += f"\n{'x' * (LONGEST_BODY - len(world.answer['body']) - 10)}"
    route, words = f"PATCH topic-{world.pull['number']}", "the rule of a branch " * 30
    world.github.faults.add(route, status=422, message=words, times=2)
    assert "🚫 **commit** · see the log of the job · ticked by `mona`" in world.tick()[1]
    assert len(world.answer["body"]) <= LONGEST_BODY


def late(world: World, **more: Any) -> None:
    world.stored |= more


TRIGGER = "trigger"
REFUSALS: dict[str, tuple[Callable[[World], Any], str]] = {
    "the artifact expired": (lambda w: late(w, expired=True), "has expired"),
    "the artifact is gone": (lambda w: w.github.actions_runs.artifacts.clear(), "is not there any more"),
    "the artifact has another name": (lambda w: late(w, name="flue-ci-fix-tests-7-2"), "is not there any more"),
    "another artifact": (lambda w: late(w, digest=f"sha256:{'0' * 64}"), "another one than the box names"),
    "other bytes": (lambda w: late(w, _data=w.stored["_data"] + b" "), "another one than the box names"),
    "no digest": (lambda w: late(w, digest=None), "another one than the box names"),
    "too large": (lambda w: late(w, size_in_bytes=10**9), "has more than"),
    "the run is gone": (lambda w: w.github.actions_runs.runs.clear(), "is gone"),
    "another workflow": (lambda w: w.run.update(path=".github/workflows/ci.yml"), "of another workflow"),
    "a workflow of elsewhere": (
        lambda w: w.run.update(path="eve/x/.github/workflows/flue.yml@main"),
        "of another workflow",
    ),
    "another repository": (lambda w: w.run.update(repository={"id": 77}), "not one of this repository"),
    "a fork": (lambda w: w.run.update(head_repository={"id": 77}), "is a fork's"),
    "a fork that is gone": (lambda w: w.run.update(head_repository=None), "is a fork's"),
    "a fork's main": (lambda w: w.run.update(head_repository={"id": 77}, head_branch="main"), "is a fork's"),
    "another branch": (lambda w: w.run.update(head_branch="topic"), "not one for the default branch"),
    "no branch": (lambda w: w.run.update(head_branch=None), "not one for the default branch"),
    "an attempt that never was": (
        lambda w: w.answer.update(body=w.answer["body"].replace("attempt=1", "attempt=2")),
        "not one of this repository",
    ),
}
LATE: dict[str, tuple[Callable[[World], Any], str]] = {
    "the artifact expired": (lambda w: late(w, expired=True), "has expired"),
    "a tag of the name": (lambda w: w.run.update(head_sha=w.pull["head"]["sha"]), "not on the default branch"),
    "a commit that is not there": (lambda w: w.run.update(head_sha="a" * 40), "not on the default branch"),
    "another patch": (
        lambda w: w.answer.update(body=re.sub(r"patch=\w{64}", f"patch={'1' * 64}", w.answer["body"])),
        "another change",
    ),
    "new commits": (lambda w: w.push(), "by now, no longer at"),
    "closed": (lambda w: w.pull.update(state="closed"), "the pull request is closed"),
    "base changed": (
        lambda w: w.github.happened(w.pull["number"], "base_ref_changed"),
        "base of the pull request was changed",
    ),
    "nobody asks any more": (lambda w: w.spec(publish={"changes": "patch"}), "does not ask for a tick any more"),
    "another check": (lambda w: w.spec(checks=[{"name": "tests", "run": "tox"}]), "the check tests was not run"),
    "a protected path": (
        lambda w: w.spec(publish=SPEC["publish"] | {"protect": ["greeting.txt"]}),  # type: ignore[operator]
        "protected path",
    ),
}
SAVED: dict[str, tuple[dict[str, Any], str]] = {
    "another agent": ({"agent": "review"}, "another change"),
    "no patch": ({"changes": Changes()}, "another change"),
    "a local run": ({"trigger": None}, "another run"),
    "another run": ({TRIGGER: {"run_url": "https://github.com/ada/tools/actions/runs/6"}}, "another run"),
}
SAVED_ELSEWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "another number": ({TRIGGER: {"number": 5}}, "the report is about"),
    "an issue": ({TRIGGER: {"number": None}}, "the report is about"),
    "another head": ({TRIGGER: {"head_sha": "f" * 40}}, "the report is about"),
    "another repository": ({TRIGGER: {"repo": "eve/tools"}}, "the report is about"),
    "a failed check": (
        {"checks": (CommandResult(name="tests", command="pytest -q", exit_code=1),)},
        "the check tests was not run or did not pass",
    ),
    "not a clean sandbox": ({"verification": None}, "only there they count"),
    "other files": (
        {"changes": Changes(files=(ChangedFile(path="a.txt", kind="added"),), patch="changes.patch")},
        "not the one that the report describes",
    ),
}


def nothing_was_pushed(world: World, code: int, line: str, words: str) -> None:
    assert words in line, line
    assert (code, world.commits()) == (0, 0)
    assert line.startswith("🚫 **commit** · not ")
    assert line.endswith(" · ticked by `mona` · for a fresh run write `/flue fix-tests`")
    assert world.github.actions_runs.leaks == []


@pytest.mark.parametrize(("change", "words"), LATE.values(), ids=LATE)
@pytest.mark.family(4)
def test_what_came_too_late_is_refused_where_the_box_was(
    world: World, change: Callable[[World], Any], words: str
) -> None:
    change(world)
    nothing_was_pushed(world, *world.tick(), words)


def save_another(world: World, parts: dict[str, Any]) -> None:
    """The artifact has another report than the one that the answer was made of."""
    report, body = world.report, world.answer["body"]
    if isinstance(parts.get(TRIGGER), dict):
        assert report.trigger
        parts = {TRIGGER: replace(report.trigger, **parts[TRIGGER])}
    data = archive({"report.json": to_json(replace(report, **parts)).encode(), "changes.patch": PATCH})
    digest = hashlib.sha256(data).hexdigest()
    world.stored |= {"_data": data, "digest": f"sha256:{digest}"}
    world.answer["body"] = re.sub(r"artifact=\w{64}", f"artifact={digest}", body)


@pytest.mark.parametrize(("parts", "words"), SAVED_ELSEWHERE.values(), ids=SAVED_ELSEWHERE)
@pytest.mark.family(1)
def test_a_report_about_something_else_is_refused(world: World, parts: dict[str, Any], words: str) -> None:
    save_another(world, parts)
    nothing_was_pushed(world, *world.tick(), words)


def refusal(world: World) -> str:
    environ = world.event("mona")
    event = read_event(environ)
    box = find_tick(event.text_before, event.text)
    assert box
    with open_context(start_job(environ), event, Signals()) as context, pytest.raises(NothingSaved) as caught:
        asyncio.run(fetch_saved_change(context, box, context.trusted_folder.with_name("saved")))
    assert world.github.actions_runs.leaks == []
    return str(caught.value)


@pytest.mark.parametrize(("change", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_run_or_an_artifact_that_is_gone_or_not_ours_is_refused(
    saved: World, change: Callable[[World], Any], words: str
) -> None:
    change(saved)
    assert words in refusal(saved)


@pytest.mark.parametrize(("parts", "words"), SAVED.values(), ids=SAVED)
def test_a_saved_report_of_something_else_is_refused(saved: World, parts: dict[str, Any], words: str) -> None:
    save_another(saved, parts)
    assert words in refusal(saved)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("files", [{"../x": b""}, {"x/y": b""}, {"report.json": b"{}"}, {"REPORT.json": b""}])
def test_an_archive_that_is_no_report_is_refused(saved: World, files: dict[str, bytes]) -> None:
    saved.keep_archive(archive({"report.json": to_json(saved.report).encode(), "changes.patch": PATCH} | files))
    assert "cannot be read" in refusal(saved)


def test_of_several_artifacts_of_the_name_the_one_that_the_box_names_counts(world: World) -> None:
    name = world.stored["name"]
    for data in (b"another attempt", archive({"report.json": b"{}"})):
        world.github.actions_runs.artifact(world.github, 7, name, data)
    assert world.tick()[1].startswith("✅ ")


@pytest.mark.parametrize(("roles", "who"), [(["admin"], "mona"), (["triage"], "mona")])
@pytest.mark.family(1)
def test_the_roles_of_the_trigger_decide_who_may_tick(world: World, roles: list[str], who: str) -> None:
    world.spec(triggers={"comment": "fix-tests", "roles": roles})
    before = world.answer["body"]
    assert world.tick(who) == (0, "")
    assert (world.answer["body"], world.commits()) == (before, 0), "the box is open again, for others"
    assert world.github.reactions == [("issues", world.answer["id"], "confused")]


def test_somebody_without_a_role_who_runs_the_job_again_pushes_nothing(world: World) -> None:
    assert world.tick("mona", GITHUB_TRIGGERING_ACTOR="stranger") == (0, "")
    assert world.commits() == 0


def test_a_comment_of_another_account_pushes_nothing(world: World) -> None:
    world.answer["user"] = world.github.accounts["ada"]
    assert "- [x] <!-- flue-ci push" in world.tick()[1]
    assert world.commits() == 0


def test_a_comment_that_has_changed_since_is_left_alone(world: World) -> None:
    before = world.answer["body"]
    ticked = before.replace("- [ ] <!-- flue-ci push", "- [x] <!-- flue-ci push")
    payload = world.github.commented(world.pull, world.answer | {"body": ticked}, action="edited")
    payload |= {"sender": world.github.accounts["mona"], "changes": {"body": {"from": before}}}
    environ = world.github.env("issue_comment", payload)
    for body in (before, f"{ticked}\nmore", "gone"):
        world.answer["body"] = body
        world.act(environ)
        assert (world.answer["body"], world.commits()) == (body, 0)
    world.github.comments.remove(world.answer)
    world.act(environ)
    assert world.commits() == 0


def test_an_artifact_that_cannot_be_read_opens_the_box_again(world: World) -> None:
    world.github.faults.add("GET artifacts", status=422)
    before = world.answer["body"]
    code, line = world.tick(FLUE_CI_REACTED="true")
    assert (code, line, world.answer["body"]) == (1, "", before)
    assert "❌" in world.github.ours()[-1]["body"]
    assert world.tick()[1].startswith("✅ ")


def test_a_change_that_github_takes_not_leaves_the_box_open_and_the_job_red(world: World) -> None:
    world.github.faults.add("POST trees", status=422, times=None)
    before = world.answer["body"]
    assert world.tick(FLUE_CI_REACTED="true") == (1, "")
    assert (world.answer["body"], world.commits()) == (before, 0)
    assert "publishing with" in world.github.ours()[-1]["body"]


def test_without_the_permission_to_read_artifacts_the_box_stays_and_the_log_says_what_is_missing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    del world.github.permissions["actions"]
    assert world.tick() == (1, "")
    assert "actions: read" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["token", "app"])
@pytest.mark.family(1)
def test_a_token_of_its_own_moves_the_branch_and_is_seen_nowhere(
    world: World, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    more = {"FLUE_CI_PUSH_TOKEN": APP_TOKEN}
    if key == "app":
        more = {"FLUE_CI_APP_ID": APP_ID, "FLUE_CI_APP_PRIVATE_KEY": private_key()}
    code, line = world.tick(**more)
    assert (code, world.commits()) == (0, 1)
    assert "CI starts on it" in line
    assert "does not" not in line
    log = re.sub(r"(?m)^::add-mask::.*\n", "", capsys.readouterr().out)
    for secret in (APP_TOKEN, TOKEN, "PRIVATE KEY"):
        assert secret not in log + world.answer["body"]
    moved = [
        value
        for (verb, path, _), value in zip(world.github.requests, world.github.authorizations, strict=True)
        if verb == "PATCH" and "/git/refs/" in path
    ]
    assert [value.rpartition(" ")[2] for value in moved] == [APP_TOKEN]


def publish_in_a_second_job(world: World, folder: Path, **more: str) -> str:
    """The answer that the second of two jobs writes."""
    folder.mkdir()
    (folder / "report.json").write_text(to_json(world.report))
    (folder / "changes.patch").write_bytes(PATCH)
    world.github.comments.clear()
    comment = world.github.say(world.pull["number"], "ada", "/flue fix-tests")
    payload = world.github.commented(world.pull, comment)
    environ = world.github.env("issue_comment", payload) | more
    publish_from_job(start_job(environ), folder, Signals())
    (answer,) = world.github.ours()
    return str(answer["body"])


def test_the_second_of_two_jobs_offers_the_box_and_what_cannot_be_pushed_gets_none(
    world: World, tmp_path: Path
) -> None:
    world.stored |= {"digest": f"sha256:{'d' * 64}"}
    body = publish_in_a_second_job(world, tmp_path / "a")
    box = find_tick(body, body.replace("- [ ] <!-- flue-ci push", "- [x] <!-- flue-ci push"))
    assert box
    assert (box.artifact, box.run, world.commits()) == ("d" * 64, 7, 0)
    body = publish_in_a_second_job(world, tmp_path / "b", GITHUB_REF="refs/heads/topic")
    assert "no box is offered: GitHub ran this for another branch" in body
    del world.github.permissions["actions"]
    body = publish_in_a_second_job(world, tmp_path / "c")
    assert "no box is offered: it could not be looked for" in body
    assert "flue-ci push" not in body


def test_a_tick_on_an_issue_opens_the_pull_request(tmp_path: Path) -> None:
    with GitHubServer(tmp_path) as github:
        spec = SPEC | {"publish": {"changes": "pull-request", "when": "ask"}}
        work = github.repo("ada/tools", {"greeting.txt": "hello\n", ".flue/agents/fix-tests.yml": json.dumps(spec)})
        command = ["git", "rev-parse", "main"]
        head = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True).stdout.strip()
        issue = github.issue() | {"head": {"sha": head}, "base": {"sha": head}}
        world = make_world(github, work, issue)
        del issue["head"]
        assert world.report.trigger
        waiting = replace(world.report.published[0], publisher="pull-request")
        trigger = replace(world.report.trigger, is_pull_request=False)
        world.keep(replace(world.report, trigger=trigger, published=(waiting,)))
        assert "to a new branch, and open a pull request" in world.answer["body"]
        github.put("refs/heads/main", github.commit(work, {"other.txt": "x\n"}, "later"))
        code, line = world.tick()
        assert (code, line[:20]) == (0, "✅ [**pull request**]"[:20]), line
        assert [pull["title"] for pull in github.pulls.values()]


def test_a_tick_whose_job_was_killed_opens_the_box_again_and_says_that_nothing_is_lost(saved: World) -> None:
    before = saved.answer["body"]
    assert finish_killed_run(saved.event("mona") | {"FLUE_CI_REACTED": "true"}) == 0
    assert saved.answer["body"] == before
    (_, reply) = saved.github.comments
    assert "Nothing is lost: tick the box again." in reply["body"]


def test_a_killed_job_says_nothing_about_a_box_that_is_answered_already(saved: World) -> None:
    environ = saved.event("mona") | {"FLUE_CI_REACTED": "true"}
    saved.answer["body"] = answered = saved.answer["body"].replace("- [x]", "Pushed:")
    assert finish_killed_run(environ) == 0
    assert saved.answer["body"] == answered
    assert len(saved.github.comments) == 1

"""Reports are published by every publisher of the run, and a failure of one is a failure of the run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.discussion import Account, Comment
from flue_ci.core.errors import FlueError, ForgeError, SpecError
from flue_ci.publish.comment import is_ours, marker
from flue_ci.publish.earlier_answers import split_answers
from flue_ci.publish.progress_comment import CommentPublisher, finish_killed_comments
from flue_ci.publish.publisher import ProgressPublisher, Publisher, PublishTarget, publish_report
from flue_ci.publish.registry import load_publishers, publishing
from flue_ci.report.report import Failure, Published, Publishing, Report
from flue_ci.safety.redact import Redactor
from flue_ci.spec.load import load_spec, not_supported_yet
from flue_ci.testing.publisher_contract import PublisherContract
from tests.publish.memory_forge import MemoryForge, make_target
from tests.support.reports import FAILED, FULL

AGENT = FULL.agent


class FilePublisher:
    """Writes the patch to a file of the run's folder."""

    needs_forge = False

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        assert target.folder
        try:
            (target.folder / "copy.patch").write_bytes(patch)
        except OSError as error:
            raise FlueError(f"copy.patch cannot be written: {error.strerror}", hint="free some space") from error
        return Published(publisher="x", detail="copy.patch")


@pytest.fixture
def forge() -> MemoryForge:
    return MemoryForge()


class TestComment(PublisherContract):
    @pytest.fixture
    def publisher(self) -> Publisher:
        return CommentPublisher()

    @pytest.fixture
    def report(self) -> Report:
        return FULL

    @pytest.fixture
    def target(self, forge: MemoryForge) -> PublishTarget:
        return make_target(forge)

    @pytest.fixture
    def broken_target(self) -> PublishTarget:
        refusing = MemoryForge()
        refusing.failure = ForgeError("refused", status=403)
        return make_target(refusing)


class TestFile(PublisherContract):
    @pytest.fixture
    def publisher(self) -> Publisher:
        return FilePublisher()

    @pytest.fixture
    def report(self) -> Report:
        return FULL

    @pytest.fixture
    def target(self, tmp_path: Path) -> PublishTarget:
        return make_target(None, folder=tmp_path)

    @pytest.fixture
    def broken_target(self, tmp_path: Path) -> PublishTarget:
        return make_target(None, folder=tmp_path / "missing")


class Broken(FilePublisher):
    needs_forge: Any = "no"

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        if report.conclusion != "success" or "\x1b" in report.summary or target.forge is None:
            raise ValueError(report.conclusion)
        return Published(publisher="x")


class Endless(FilePublisher):
    def begin(self, agent: str, render: Callable[[], str], target: PublishTarget) -> None:
        self.task = asyncio.ensure_future(asyncio.sleep(60))


class NeedsNothing(Broken):
    needs_forge = False


class Eager(FilePublisher):
    def begin(self, agent: str, render: Callable[[], str], target: PublishTarget) -> None:
        self.error = ForgeError("no progress")

    async def publish(self, report: Report, patch: bytes, target: PublishTarget) -> Published:
        raise self.error


@pytest.mark.parametrize(
    ("name", "publisher"),
    [
        ("it_says_whether_it_needs_a_forge", Broken()),
        ("it_returns_where_the_report_is", Broken()),
        ("it_works_without_a_forge_unless_it_needs_one", NeedsNothing()),
        ("it_takes_a_run_of_every_conclusion", Broken()),
        ("it_takes_any_text", Broken()),
        ("a_failure_is_an_expected_error", Broken()),
        ("progress_ends_with_the_report", Endless()),
        ("progress_that_cannot_be_shown_is_no_error", Eager()),
    ],
)
async def test_the_contract_notices_a_publisher_that_breaks_it(
    name: str, publisher: Any, forge: MemoryForge, tmp_path: Path
) -> None:
    check = getattr(PublisherContract(), f"test_{name}")
    target = make_target(forge, folder=tmp_path)
    values = {"report": FULL, "target": target, "broken_target": target, "conclusion": "failed"}
    options = {key: value for key, value in values.items() if key in inspect.signature(check).parameters}
    with pytest.raises((AssertionError, ValueError, ForgeError, pytest.fail.Exception)):
        await check(publisher=publisher, **options)
    if isinstance(publisher, Endless):
        publisher.task.cancel()


async def test_publishers_run_in_order_and_each_sees_what_was_published(forge: MemoryForge, tmp_path: Path) -> None:
    target = make_target(forge, folder=tmp_path)
    report = await publish_report(FULL, b"patch", {"file": FilePublisher(), "comment": CommentPublisher()}, target)
    assert report.published == (
        Published(publisher="file", detail="copy.patch"),
        Published(publisher="comment", url="https://forge.example/1"),
    )
    assert (tmp_path / "copy.patch").read_bytes() == b"patch"
    assert replace(report, published=()) == FULL


async def test_what_a_saved_report_claims_to_be_published_does_not_count() -> None:
    report = replace(FULL, published=(Published(publisher="comment", url="https://evil.example"),))
    assert (await publish_report(report, b"", {}, make_target(None))).published == ()


async def test_a_publisher_that_fails_is_a_failure_and_the_others_go_on(forge: MemoryForge, tmp_path: Path) -> None:
    notices: list[str] = []
    target = make_target(forge, notices=notices, folder=tmp_path / "missing")
    report = await publish_report(FULL, b"", {"file": FilePublisher(), "comment": CommentPublisher()}, target)
    assert (report.conclusion, report.exit_code) == ("failed", 1)
    assert report.failure == Failure(
        stage="publish", message="copy.patch cannot be written: No such file or directory", hint="free some space"
    )
    assert [entry.publisher for entry in report.published] == ["comment"]
    assert "publishing with `file` failed" in forge.bodies()[0]
    assert len(notices) == 1


async def test_a_comment_that_cannot_be_posted_is_one_more_note_of_a_failure(forge: MemoryForge) -> None:
    forge.failure = ForgeError("GitHub refused", hint="give it the permission", status=403)
    notices: list[str] = []
    report = await publish_report(FAILED, b"", {"comment": CommentPublisher()}, make_target(forge, notices=notices))
    assert report.failure == FAILED.failure
    assert report.notes[-1] == "the answer could not be posted: GitHub refused"
    assert notices == ["the answer could not be posted: GitHub refused → give it the permission"]


async def test_where_github_does_not_say_which_right_is_missing_the_table_does(forge: MemoryForge) -> None:
    forge.failure = ForgeError("GitHub refused", hint="look at the job's `permissions:`", status=403)
    report = await publish_report(FULL, b"", {"comment": CommentPublisher()}, make_target(forge))
    assert report.failure
    assert report.failure.hint.endswith("permissions:\n  issues: write\n  pull-requests: write")


@pytest.mark.parametrize(
    ("changes", "comment", "number", "names"),
    [
        ("patch", "sticky", 7, ["comment"]),
        ("none", "new", 7, ["comment"]),
        ("patch", "none", 7, []),
        ("patch", "sticky", None, []),
        ("pull-request", "sticky", 7, ["pull-request", "comment"]),
        ("pull-request", "sticky", None, ["pull-request"]),
    ],
)
def test_the_spec_chooses_the_publishers(
    forge: MemoryForge, changes: str, comment: Any, number: int | None, names: list[str]
) -> None:
    target = make_target(forge, publishing=Publishing(comment=comment, changes=changes), number=number)
    assert list(load_publishers(target)) == names
    assert list(load_publishers(target, only_comment=True)) == [name for name in names if name == "comment"]


@pytest.mark.parametrize("agent", ["none", "open", "[docs.example.com]"])
def test_links_may_lead_to_the_hosts_that_the_agent_can_reach_and_to_none_of_setup(agent: str) -> None:
    network = f"sandbox: {{network: {{setup: [storage.example.com], agent: {agent}}}}}"
    spec = load_spec(Path("fix.yml"), f"version: 1\nprompt: x\n{network}\n".encode())
    assert publishing(spec).links == (("docs.example.com",) if agent.startswith("[") else ())


def test_a_local_run_leaves_out_what_needs_a_forge() -> None:
    notices: list[str] = []
    assert load_publishers(make_target(None, notices=notices)) == {}
    assert notices == ["`comment` publishes in GitHub Actions only"]


async def test_the_last_comment_of_the_agent_is_written_over(forge: MemoryForge) -> None:
    forge.add(f"{marker(AGENT)}\n### ✅ an old result")
    forge.add(f"{marker(AGENT)}\nnot ours", author=Account(id=2, login="mona"))
    forge.add(f"{marker('another')}\nof another agent")
    published = await CommentPublisher().publish(FULL, b"", make_target(forge))
    assert published.url == "https://forge.example/1"
    assert [is_ours(body, AGENT) for body in forge.bodies()] == [True, True, False]
    newest, earlier = split_answers(forge.bodies()[0])
    assert "an old result" not in newest
    assert [answer.title for answer in earlier.answers] == ["✅ an old result"]


async def test_a_comment_is_redacted_again_as_it_is_written(forge: MemoryForge) -> None:
    """Rendering can put together what nothing recognized before: an escape, a character that nobody sees."""
    secret = "canary_en*with_under_scores"
    report = replace(FULL, reason=f"it is {secret}", summary=f"it is {secret[:4]}\u200b{secret[4:]}, or \\{secret}")
    await CommentPublisher().publish(report, b"", make_target(forge, redact=Redactor([secret])))
    assert "under" not in forge.bodies()[0]
    assert "***" in forge.bodies()[0]


async def test_the_comment_of_a_run_at_work_is_left_to_it(forge: MemoryForge) -> None:
    forge.add(f"{marker(AGENT)}\n### ⏳ at work")
    await CommentPublisher().publish(FULL, b"", make_target(forge))
    assert "at work" in forge.bodies()[0]
    assert "at work" not in forge.bodies()[1]
    assert len(forge.bodies()) == 2


async def test_two_runs_that_took_the_same_comment_lose_no_result(forge: MemoryForge) -> None:
    forge.add(f"{marker(AGENT)}\n### ✅ an old result")
    both = CommentPublisher(), CommentPublisher()
    for publisher in both:
        publisher.begin(AGENT, lambda: f"{marker(AGENT)}\n### ⏳ at work", make_target(forge))
    while forge.requests < 8:
        await asyncio.sleep(0)
    for publisher in both:
        await publisher.publish(FULL, b"", make_target(forge))
    assert len(forge.bodies()) == 2
    assert not any("at work" in body for body in forge.bodies())


async def test_a_result_that_came_meanwhile_is_not_written_over(forge: MemoryForge) -> None:
    old = forge.add(f"{marker(AGENT)}\n### ✅ an old result")
    publisher, target = CommentPublisher(), make_target(forge)
    publisher.begin(AGENT, lambda: f"{marker(AGENT)}\n### ⏳ at work", target)
    while not forge.edits:
        await asyncio.sleep(0)
    await forge.edit(old, f"{marker(AGENT)}\n### ✅ another run's result")
    await publisher.publish(FULL, b"", target)
    assert "another run's result" in forge.bodies()[0]
    assert len(forge.bodies()) == 2


async def test_a_new_comment_is_written_where_the_spec_wants_one(forge: MemoryForge) -> None:
    forge.add(f"{marker(AGENT)}\n### ✅ an old result")
    target = make_target(forge, publishing=Publishing(comment="new"))
    await CommentPublisher().publish(FULL, b"", target)
    assert len(forge.bodies()) == 2


@pytest.mark.parametrize("thread", [None, 5])
async def test_a_run_keeps_the_answer_before_it_while_it_works_and_when_it_is_killed(
    forge: MemoryForge, thread: int | None
) -> None:
    url, first = "https://forge.example/ada/tools/actions/runs/9", marker(AGENT, thread)
    forge.add(f"{first}\n### ✅ an old result\n\nThe answer. hunter2-hunter2", reply_to=thread)
    publisher, target = CommentPublisher(), make_target(forge, thread=thread)
    publisher.begin(AGENT, lambda: f"{first}\n### ⏳ at work · [log]({url})", target)
    while not forge.edits:
        await asyncio.sleep(0)
    assert "The answer." in forge.bodies()[0]
    redact, in_thread = Redactor(["hunter2-hunter2"]), thread is not None
    assert await finish_killed_comments(forge, 7, url, redact, in_thread=in_thread) == (1, 1)
    assert "hunter2" not in forge.bodies()[0]
    assert "The answer." in forge.bodies()[0]
    assert "### 🛑" in forge.bodies()[0]
    assert await finish_killed_comments(forge, 7, url, Redactor(), in_thread=in_thread) == (0, 1)
    await CommentPublisher().publish(FAILED, b"", target)
    titles = [answer.title.split(" · ")[0] for answer in split_answers(forge.bodies()[0])[1].answers]
    assert titles == [f"🛑 {AGENT}: the job ended before it could answer", "✅ an old result"]
    publisher._progress.cancel()


async def test_in_a_thread_the_answer_is_a_reply(forge: MemoryForge) -> None:
    await CommentPublisher().publish(FULL, b"", make_target(forge, thread=5))
    assert [(comment.kind, comment.reply_to) for comment in forge.comments_below] == [("review", 5)]


async def test_progress_becomes_the_report(forge: MemoryForge) -> None:
    publisher, target = CommentPublisher(), make_target(forge)
    assert isinstance(publisher, ProgressPublisher)
    publisher.begin(AGENT, lambda: f"{marker(AGENT)}\n### ⏳ at work", target)
    while not forge.comments_below:
        await asyncio.sleep(0)
    assert "at work" in forge.bodies()[0]
    await publisher.publish(FULL, b"", target)
    assert len(forge.bodies()) == 1
    assert "at work" not in forge.bodies()[0]


async def test_a_comment_that_was_deleted_meanwhile_is_written_anew(forge: MemoryForge) -> None:
    publisher, target = CommentPublisher(), make_target(forge)
    publisher.begin(AGENT, lambda: "at work", target)
    while not forge.comments_below:
        await asyncio.sleep(0)
    forge.comments_below.clear()
    await publisher.publish(FULL, b"", target)
    assert len(forge.bodies()) == 1


async def test_progress_that_cannot_be_shown_is_a_notice(forge: MemoryForge) -> None:
    quick = MemoryForge()
    quick.failure = ForgeError("out of reach")
    notices: list[str] = []
    publisher = CommentPublisher()
    publisher.begin(AGENT, lambda: "at work", make_target(forge, notices=notices, quick_forge=quick))
    while not notices:
        await asyncio.sleep(0)
    await publisher.publish(FULL, b"", make_target(forge, notices=notices, quick_forge=quick))
    assert notices == ["the progress cannot be shown in a comment: out of reach"]
    assert len(forge.bodies()) == 1


class SlowForge(MemoryForge):
    async def comment(self, number: int, body: str) -> Comment:
        await asyncio.sleep(0.05)
        return await super().comment(number, body)


async def test_a_write_that_has_begun_is_waited_for_so_that_there_is_one_comment() -> None:
    forge, publisher = SlowForge(), CommentPublisher()
    publisher.begin(AGENT, lambda: "at work", make_target(forge))
    await asyncio.sleep(0.01)
    await publisher.publish(FULL, b"", make_target(forge))
    assert len(forge.bodies()) == 1
    assert "at work" not in forge.bodies()[0]


SPEC = "version: 1\nprompt: x\npublish:\n  changes: {}\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that brings the publisher `archive`."""
    (tmp_path / "archive_publisher.py").write_text("class Archive:\n    needs_forge = False\n")
    metadata = tmp_path / "archive_publisher-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: archive-publisher\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[flue_ci.publishers]\narchive = archive_publisher:Archive\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_a_spec_may_name_the_publisher_of_another_package(tmp_path: Path) -> None:
    spec = load_spec(tmp_path / "a.yml", SPEC.format("archive").encode())
    assert not_supported_yet(spec) == ()
    target = make_target(None, number=None, publishing=Publishing(changes=spec.publish.changes))
    assert list(load_publishers(target)) == ["archive"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["archiv", "comment", "[archive]"])
def test_any_other_name_is_the_error_that_it_always_was(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as failure:
        load_spec(tmp_path / "a.yml", SPEC.format(name).encode())
    (problem,) = failure.value.diagnostics
    assert (problem.key, problem.line) == ("publish.changes", 4)
    assert problem.message.startswith("must be `patch`, `commit`, `pull-request`, `suggest` or `none`, found ")

"""PyGithub and the adapter against a server that answers as GitHub does: the right values, complete, in few calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flue_ci.assembly import make_forge
from flue_ci.core.discussion import Account, Annotation, Comment, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.forges.github.client import GitHub
from flue_ci.settings import read_settings
from tests.support.github_server import BOT, TOKEN, GitHubServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        yield server


@pytest.fixture
def work(server: GitHubServer) -> Path:
    return server.repo("ada/tools", {"greeting.txt": "hello\n"})


@pytest.fixture
async def forge(server: GitHubServer) -> AsyncIterator[Forge]:
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{server.url}/api/v3")
    yield forge
    await forge.close()


def user(server: GitHubServer, login: str) -> Account:
    return Account(id=server.accounts[login]["id"], login=login)


async def test_graphql_is_asked_at_its_own_address(server: GitHubServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with GitHubServer(tmp_path / "other") as other:
        environ = {
            "GITHUB_REPOSITORY": "ada/tools",
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_API_URL": f"{server.url}/api/v3",
            "GITHUB_GRAPHQL_URL": f"{other.url}/api/graphql",
        }
        forge = make_forge(read_settings(environ), lambda _: None)
        assert (await forge.me()).id == BOT["id"]
        await forge.role("ada")
        await forge.close()
    assert [path for _, path, _ in other.requests] == ["/api/graphql"]
    assert [path for _, path, _ in server.requests] == ["/api/v3/repos/ada/tools/collaborators/ada/permission"]


async def test_a_jobs_token_learns_who_it_is_once_and_with_one_call(server: GitHubServer, forge: Forge) -> None:
    found = await asyncio.gather(forge.me(), forge.me(), forge.me())
    assert set(found) == {Account(id=int(str(BOT["id"])), login="github-actions[bot]", kind="Bot")}
    assert [path for _, path, _ in server.requests] == ["/api/graphql"]


async def test_a_job_without_graphql_goes_by_the_name_it_always_has(server: GitHubServer, forge: Forge) -> None:
    server.faults.add("POST graphql", status=404)
    assert await forge.me() == Account(id=0, login="github-actions[bot]", kind="Bot")


@pytest.mark.parametrize(
    ("login", "role"),
    [("ada", "admin"), ("mona", "write"), ("stranger", "read"), ("nobody", "none"), ("triager", "triage")],
)
async def test_the_exact_role_of_a_user_is_told(server: GitHubServer, forge: Forge, login: str, role: str) -> None:
    server.account("triager", "triage")
    assert await forge.role(login) == role


@pytest.mark.parametrize("login", ["dependabot[bot]", "a/b", "..", "../../ada", "ada?x=1", "ada#", "%61da", "ünï", ""])
async def test_an_odd_login_never_borrows_the_role_of_another(server: GitHubServer, forge: Forge, login: str) -> None:
    server.account("other", "admin")
    server.roles["dependabot[bot]"] = "write"
    server.accounts["dependabot[bot]"] = {"id": 5, "login": "dependabot[bot]", "type": "Bot"}
    assert await forge.role(login) == ("write" if login == "dependabot[bot]" else "none")


async def test_a_pull_request_of_the_repository_is_read(server: GitHubServer, work: Path, forge: Forge) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"})
    made["labels"] = [{"name": "flue:fix"}]
    assert await forge.pull(made["number"]) == PullRequest(
        number=made["number"],
        title="A change",
        body="What it is for.",
        author=user(server, "mona"),
        url=made["html_url"],
        labels=("flue:fix",),
        base_ref="main",
        base_repo_id=42,
        head_ref=made["head"]["ref"],
        head_sha=made["head"]["sha"],
        head_repo="ada/tools",
        head_repo_id=42,
        created_at=made["created_at"],
    )


@pytest.mark.parametrize("gone", [False, True])
async def test_a_fork_is_foreign_also_when_it_is_gone(
    server: GitHubServer, work: Path, forge: Forge, gone: bool
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"}, author="stranger", fork=True)
    if gone:
        made["head"]["repo"] = None
        made["user"] = None
    pull = await forge.pull(made["number"])
    assert pull.from_fork
    assert pull.head_repo == ("" if gone else "stranger/tools")
    assert pull.author == (Account() if gone else user(server, "stranger"))


async def test_an_issue_is_told_from_a_pull_request(server: GitHubServer, work: Path, forge: Forge) -> None:
    issue = await forge.issue(server.issue()["number"])
    assert (issue.title, issue.body, issue.author, issue.is_pull_request) == (
        "It is broken",
        "Look.",
        user(server, "mona"),
        False,
    )


@pytest.mark.parametrize("fork", [False, True])
async def test_the_open_pull_request_of_a_commit_is_found_also_for_a_fork(
    server: GitHubServer, work: Path, forge: Forge, fork: bool
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"}, fork=fork)
    server.pull(work, {"greeting.txt": "another\n"}, fork=True)
    assert [pull.number for pull in await forge.pulls_of(made["head"]["sha"])] == [made["number"]]
    made["state"] = "closed"
    assert await forge.pulls_of(made["head"]["sha"]) == []


async def test_comments_come_from_every_page_in_order(server: GitHubServer, forge: Forge) -> None:
    number = server.issue()["number"]
    said = [server.say(number, "mona", f"number {count}") for count in range(250)]
    server.say(number + 1, "mona", "elsewhere")
    found = await forge.comments(number)
    assert [comment.body for comment in found] == [f"number {count}" for count in range(250)]
    assert found[0] == Comment(
        id=said[0]["id"],
        author=user(server, "mona"),
        body="number 0",
        created_at=said[0]["created_at"],
        updated_at=said[0]["updated_at"],
        url=said[0]["html_url"],
    )
    assert len(server.requests) == 3


async def test_recent_requests_are_those_of_one_user_since_then_of_both_kinds(
    server: GitHubServer, forge: Forge
) -> None:
    number = server.issue()["number"]
    server.say(number, "mona", "long ago", ago=9_000)
    edited = server.say(number, "mona", "long ago, edited now", ago=9_000)
    server.say(number, "stranger", "somebody else")
    server.say(number, "mona", "recent", ago=60)
    line = server.say_on_line(number, "mona", "on a line", path="a.py")
    edited["updated_at"] = line["updated_at"]
    since = server.say(number, "ada", "an hour ago", ago=3_600)["created_at"]
    found = await forge.recent_requests("mona", since)
    assert {(comment.kind, comment.body) for comment in found} == {("issue", "recent"), ("review", "on a line")}


async def test_a_discussion_has_all_that_was_said_and_found(server: GitHubServer, work: Path, forge: Forge) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"})
    number, sha = made["number"], made["head"]["sha"]
    server.say(number, "mona", "please look")
    hidden = server.say(number, "stranger", "spam")
    server.minimized = {hidden["node_id"]}
    line = server.say_on_line(number, "ada", "why?", path="greeting.txt")
    server.say_on_line(number, "mona", "because", path="greeting.txt", reply_to=line["id"])
    review = {"id": 9, "_number": number, "node_id": "R", "user": server.accounts["ada"], "body": "Hm."}
    server.reviews += [
        review | {"state": "COMMENTED", "submitted_at": "2026-01-01T00:00:00Z"},
        review | {"state": "PENDING", "body": "not sent yet"},
    ]
    server.failed_check(sha, "tests", "assert 1 == 2")
    discussion = await forge.discussion(number, await forge.pull(number))
    assert [(each.kind, each.body, each.is_minimized) for each in discussion.comments] == [
        ("issue", "please look", False),
        ("issue", "spam", True),
        ("review", "why?", False),
        ("review", "because", False),
    ]
    assert [(each.path, each.line, each.reply_to) for each in discussion.comments[2:]] == [
        ("greeting.txt", 1, None),
        ("greeting.txt", 1, line["id"]),
    ]
    assert [(each.body, each.state) for each in discussion.reviews] == [("Hm.", "COMMENTED")]
    assert [(each.path, each.additions, "+bye" in each.patch) for each in discussion.files] == [
        ("greeting.txt", 1, True)
    ]
    assert [(each.name, each.conclusion, each.summary) for each in discussion.checks] == [
        ("tests", "failure", "1 failed")
    ]
    assert discussion.checks[0].annotations == (
        Annotation(path="test.py", line=3, level="failure", message="assert 1 == 2"),
    )
    assert discussion.notes == ()
    assert len(server.requests) == 8  # the pull request, five lists, one check's annotations, what is hidden


async def test_an_issues_discussion_has_its_comments(server: GitHubServer, forge: Forge) -> None:
    number = server.issue()["number"]
    server.say(number, "mona", "me too")
    discussion = await forge.discussion(number, None)
    assert discussion.issue
    assert discussion.issue.number == number
    assert [each.body for each in discussion.comments] == ["me too"]
    assert len(server.requests) == 3


async def test_of_each_check_only_the_latest_run_counts_and_only_real_failures(
    server: GitHubServer, work: Path, forge: Forge
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"})
    ends = ["failure", "success", "failure", "timed_out", "cancelled", "skipped", "neutral", "action_required", None]
    for count, (name, conclusion) in enumerate(zip("aabcdefgh", ends, strict=True)):
        server.failed_check(made["head"]["sha"], name, "message")
        server.checks[-1] |= {"conclusion": conclusion, "id": 100 + count}
        server.annotations[100 + count] = server.annotations.pop(max(server.annotations)) * 15
    server.checks.reverse()
    discussion = await forge.discussion(made["number"], await forge.pull(made["number"]))
    assert [check.name for check in discussion.checks] == ["b", "c", "g"]
    assert [len(check.annotations) for check in discussion.checks] == [10, 10, 10]


async def test_very_many_files_and_checks_are_bounded_and_that_is_said(
    server: GitHubServer, work: Path, forge: Forge
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"})
    server.files[made["number"]] *= 350
    for count in range(25):
        server.failed_check(made["head"]["sha"], f"check {count}", "message")
    discussion = await forge.discussion(made["number"], await forge.pull(made["number"]))
    assert (len(discussion.files), len(discussion.checks)) == (300, 10)
    assert discussion.notes == (
        "only the first 300 changed files are listed",
        "only the last 10 of 25 failed checks are listed",
    )


@pytest.mark.parametrize("topic", ["issue", "comments of a pull request", "comments on lines"])
async def test_of_ten_thousand_comments_the_newest_are_read_with_few_requests(
    server: GitHubServer, work: Path, forge: Forge, topic: str
) -> None:
    number, pull = server.issue()["number"], None
    if topic != "issue":
        number = server.pull(work, {"greeting.txt": "bye\n"})["number"]
        pull = await forge.pull(number)
    on_lines = topic == "comments on lines"
    for count in range(10_000):
        if on_lines:
            server.say_on_line(number, "mona", f"number {count}", path="greeting.txt")
        else:
            server.say(number, "mona", f"number {count}")
    discussion = await forge.discussion(number, pull)
    assert [comment.body for comment in discussion.comments] == [f"number {count}" for count in range(9_800, 10_000)]
    kind = "review comments" if on_lines else "comments"
    assert discussion.notes == (f"of about 10,000 {kind} only the newest 200 are read",)
    assert len(server.requests) <= 12
    before = len(server.requests)
    ends = await forge.comments(number, "review" if on_lines else "issue")
    assert [ends[0].body, ends[99].body, ends[100].body, ends[-1].body] == [
        "number 0", "number 99", "number 9800", "number 9999",
    ]  # fmt: skip
    assert len(server.requests) - before == 3


async def test_a_check_with_very_many_annotations_costs_one_request(
    server: GitHubServer, work: Path, forge: Forge
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"})
    server.failed_check(made["head"]["sha"], "lint", "message")
    check = server.checks[-1]
    check["output"]["annotations_count"] = 1_050
    server.annotations[check["id"]] = [
        server.annotations[check["id"]][0] | {"start_line": line} for line in range(1_050)
    ]
    discussion = await forge.discussion(made["number"], await forge.pull(made["number"]))
    assert [each.line for each in discussion.checks[0].annotations] == list(range(1_040, 1_050))
    assert server.count("GET", "annotations") == 1


@pytest.mark.parametrize(
    ("route", "note"),
    [
        ("GET reviews", "the reviews could not be read (403)"),
        ("GET files", "the changed files could not be read (403)"),
        ("GET check-runs", "the checks of the head could not be read (403; `checks: read` allows it)"),
        ("POST graphql", "which comments are hidden could not be read"),
    ],
)
async def test_what_the_token_may_not_read_is_missing_with_a_note(
    server: GitHubServer, work: Path, forge: Forge, route: str, note: str
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"})
    server.say(made["number"], "mona", "please look")
    server.faults.add(route, status=403, message="Resource not accessible by integration")
    discussion = await forge.discussion(made["number"], await forge.pull(made["number"]))
    assert discussion.notes == (note,)
    assert [each.body for each in discussion.comments] == ["please look"]


async def test_a_comment_is_written_edited_and_reacted_to(server: GitHubServer, forge: Forge) -> None:
    number = server.issue()["number"]
    made = await forge.comment(number, "first")
    edited = await forge.edit(made, "second ünï 🎉")
    assert (edited.id, edited.body) == (made.id, "second ünï 🎉")
    assert edited.author == await forge.me()
    assert [comment["body"] for comment in server.ours()] == ["second ünï 🎉"]
    await forge.react(number, None, "eyes")
    await forge.react(number, made, "rocket")
    assert server.reactions == [("issues", number, "eyes"), ("issues", made.id, "rocket")]


@pytest.mark.parametrize("deep", [False, True])
async def test_a_reply_stands_in_the_thread_wherever_in_it_somebody_asked(
    server: GitHubServer, work: Path, forge: Forge, deep: bool
) -> None:
    number = server.pull(work, {"greeting.txt": "bye\n"})["number"]
    first = server.say_on_line(number, "ada", "why?", path="greeting.txt")
    asked = first
    if deep:
        asked = server.say_on_line(number, "mona", "/flue fix", path="greeting.txt", reply_to=first["id"])
    made = await forge.reply(number, asked["id"], "answer")
    assert (made.kind, made.reply_to, made.body) == ("review", first["id"], "answer")
    edited = await forge.edit(made, "better answer")
    await forge.react(number, edited, "+1")
    assert [line["body"] for line in server.ours()] == ["better answer"]
    assert server.reactions == [("pulls", made.id, "+1")]


async def test_many_calls_at_once_get_each_its_own_answer(server: GitHubServer, forge: Forge) -> None:
    numbers = [server.issue(title=f"issue {count}")["number"] for count in range(30)]
    found = await asyncio.gather(*(forge.issue(number) for number in numbers))
    assert [issue.number for issue in found] == numbers
    assert [issue.title for issue in found] == [f"issue {count}" for count in range(30)]


async def test_a_key_pasted_with_a_line_end_works(server: GitHubServer) -> None:
    forge = GitHub(repo="ada/tools", token=f"{TOKEN}\n", api_url=f"{server.url}/api/v3")
    assert await forge.role("ada") == "admin"
    await forge.close()


async def test_fields_that_are_missing_or_of_another_type_are_empty(server: GitHubServer, forge: Forge) -> None:
    number = server.issue()["number"]
    odd = server.say(number, "mona", "odd")
    odd |= {"user": None, "body": None, "id": "seven", "created_at": 5, "html_url": [], "node_id": 3}
    assert await forge.comments(number) == [Comment(id=0, author=Account(), body="", updated_at=odd["updated_at"])]


async def test_an_answer_that_is_none_of_githubs_is_an_error(server: GitHubServer, forge: Forge) -> None:
    server.faults.add("GET pulls", status=200, body=b"[]")
    with pytest.raises(ForgeError) as caught:
        await forge.pull(1)
    assert "is not understood" in str(caught.value)


async def test_a_head_is_what_the_branch_was_at_before_that_time(
    server: GitHubServer, work: Path, forge: Forge
) -> None:
    made = server.pull(work, {"greeting.txt": "bye\n"}, author="stranger", fork=True)
    first = made["head"]["sha"]
    second = server.push(work, made, {"greeting.txt": "later\n"}, ago=60)
    other = server.pull(work, {"greeting.txt": "other\n"}, author="stranger", fork=True)
    server.pushed(other, "9" * 40, ago=61)
    pull = await forge.pull(made["number"])
    times = [entry["timestamp"] for entry in server.activities or () if entry["after"] == second]
    assert await forge.head_at(pull, times[0]) == first  # the same second is not before
    assert await forge.head_at(pull, "2999-01-01T00:00:00Z") == second
    assert await forge.head_at(pull, "2000-01-01T00:00:00Z") == ""
    assert await forge.head_at(pull, "") == ""
    server.pushed(made, "0" * 40, ago=30, kind="branch_deletion")
    assert await forge.head_at(pull, "2999-01-01T00:00:00Z") == ""


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_history_that_may_not_be_read_names_no_head(
    server: GitHubServer, work: Path, forge: Forge, status: int
) -> None:
    pull = await forge.pull(server.pull(work, {"greeting.txt": "bye\n"})["number"])
    server.faults.add("GET activity", status=status)
    assert await forge.head_at(pull, "2999-01-01T00:00:00Z") == ""


async def test_events_are_read_from_the_newest_back(server: GitHubServer, forge: Forge) -> None:
    number = server.issue()["number"]
    for _ in range(950):
        server.happened(number, "renamed", ago=600)
    server.happened(number + 1, "base_ref_changed")
    server.happened(number, "labeled", ago=60)
    since = server.events[-1]["created_at"]
    before = forge.requests
    assert await forge.events_since(number, since) == {"labeled"}
    assert forge.requests - before == 2
    server.happened(number, "base_ref_changed")
    assert await forge.events_since(number, since) == {"labeled", "base_ref_changed"}
    for _ in range(1_100):
        server.happened(number, "renamed")
    with pytest.raises(ForgeError, match="so much was done"):
        await forge.events_since(number, since)


async def test_a_comment_is_read_again(server: GitHubServer, work: Path, forge: GitHub) -> None:
    number = server.pull(work, {"greeting.txt": "bye\n"})["number"]
    for made in (server.say(number, "ada", "x"), server.say_on_line(number, "ada", "x", path="greeting.txt")):
        kind = "review" if "path" in made else "issue"
        comment = Comment(id=made["id"], kind=kind, author=Account(), body="old")  # type: ignore[arg-type]
        assert (await forge.reread(comment)).body == "x"


async def test_the_timeline_tells_what_a_server_without_events_does_not(server: GitHubServer, forge: Forge) -> None:
    number = server.issue()["number"]
    server.happened(number, "base_ref_changed")
    server.faults.add("GET events", status=404)
    assert await forge.events_since(number, "2026-01-01T00:00:00Z") == {"base_ref_changed"}

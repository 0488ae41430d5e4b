"""What goes wrong at GitHub, and what comes of it: bounded retries, no write twice, an error with its remedy."""

from __future__ import annotations

import asyncio
import http.server
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flue_ci.core.errors import ForgeError
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from tests.support.github_server import TOKEN, GitHubServer

HANG_GUARD = 60
QUICK = RetryPolicy(timeout=30, first_wait=0.05, jitter=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        yield server


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
async def forge(server: GitHubServer, told: list[str]) -> AsyncIterator[GitHub]:
    forge = forge_of(server, told, timeout=30)
    yield forge
    await forge.close()


def forge_of(server: GitHubServer, told: list[str], *, timeout: float, token: str = TOKEN) -> GitHub:
    return GitHub(
        repo="ada/tools",
        token=token,
        api_url=f"{server.url}/api/v3",
        retry=replace(QUICK, timeout=timeout),
        notify=told.append,
    )


async def refused(call: object) -> ForgeError:
    with pytest.raises(ForgeError) as caught:
        await asyncio.wait_for(call, HANG_GUARD)  # type: ignore[arg-type]
    assert TOKEN not in str(caught.value) + caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": "before"},
        {"drop": "after"},
        {"status": 500},
        {"status": 502, "body": b"<html>Bad gateway</html>"},
        {"status": 503, "retry_after": 0},
        {"status": 429, "retry_after": 0},
        {"status": 403, "retry_after": 0, "message": "You have exceeded a secondary rate limit"},
        {"status": 200, "body": b'{"number": 1, "tit'},
    ],
    ids=str,
)
async def test_a_read_that_fails_for_now_is_done_again(server: GitHubServer, forge: GitHub, fault: dict) -> None:
    number = server.issue()["number"]
    server.faults.add("GET issues", **fault)
    assert (await forge.issue(number)).number == number
    assert server.count("GET", f"/issues/{number}") == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": "before"},
        {"drop": "after"},
        {"status": 500},
        {"status": 502},
        {"status": 403, "retry_after": 0},
        {"status": 429, "retry_after": 0},
    ],
    ids=str,
)
async def test_a_comment_is_there_once_whatever_became_of_the_first_answer(
    server: GitHubServer, forge: GitHub, fault: dict
) -> None:
    number = server.issue()["number"]
    server.say(number, "mona", "the body\r\nof it")  # somebody else's is not ours
    server.faults.add("POST comments", **fault)
    made = await forge.comment(number, "the body\nof it")
    assert [comment["id"] for comment in server.ours()] == [made.id]


async def test_a_reply_is_there_once_though_the_answer_was_lost(
    server: GitHubServer, tmp_path: Path, forge: GitHub
) -> None:
    work = server.repo("ada/tools", {"a.py": "x\n"})
    number = server.pull(work, {"a.py": "y\n"})["number"]
    asked = server.say_on_line(number, "mona", "/flue", path="a.py")
    server.faults.add("POST replies", drop="after")
    made = await forge.reply(number, asked["id"], "answer")
    assert [line["id"] for line in server.ours()] == [made.id]


async def test_a_comment_that_was_written_counts_also_when_patience_has_ended(
    server: GitHubServer, told: list[str]
) -> None:
    number = server.issue()["number"]
    server.faults.add("POST comments", drop="after")
    forge = forge_of(server, told, timeout=0)
    made = await forge.comment(number, "the body")
    assert [comment["id"] for comment in server.ours()] == [made.id]
    await forge.close()


async def test_a_comment_that_cannot_be_written_is_told_with_the_reason_of_the_writing(
    server: GitHubServer, told: list[str]
) -> None:
    number = server.issue()["number"]
    server.faults.add("POST comments", status=503, times=None, message="Service unavailable")
    server.faults.add("GET comments", status=500, times=None)
    forge = forge_of(server, told, timeout=0)
    error = await refused(forge.comment(number, "the body"))
    assert (str(error), error.status) == ("GitHub refused to write a comment: 503 Service unavailable", 503)
    assert server.ours() == []
    await forge.close()


async def test_edits_and_reactions_whose_answers_were_lost_are_done_again(server: GitHubServer, forge: GitHub) -> None:
    number = server.issue()["number"]
    made = await forge.comment(number, "first")
    server.faults.add("PATCH comments", drop="after")
    assert (await forge.edit(made, "second")).body == "second"
    server.faults.add("POST reactions", status=502)
    await forge.react(number, made, "eyes")
    assert server.reactions == [("issues", made.id, "eyes")]


async def test_a_wait_longer_than_patience_ends_at_once(server: GitHubServer, forge: GitHub) -> None:
    server.faults.add("GET issues", status=429, retry_after=3_000, message="slow down")
    error = await refused(forge.issue(1))
    assert (error.status, str(error)) == (429, "GitHub refused to read the issue: 429 slow down")
    assert "rate limit" in error.hint
    assert len(server.requests) == 1


async def test_a_wait_is_told(server: GitHubServer, forge: GitHub, told: list[str]) -> None:
    server.faults.add("GET issues", status=502)
    await forge.issue(server.issue()["number"])
    assert told == ["waiting 50ms for GitHub (read the issue: 502)"]


class _Canned(http.server.BaseHTTPRequestHandler):
    """One answer for everything."""

    protocol_version = "HTTP/1.1"
    answer: tuple[int, dict[str, str], bytes]
    seen: list[str]

    def log_message(self, format: str, *args: object) -> None:
        """The test looks at what was asked."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(self.path)
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = do_GET


@contextmanager
def listening(status: int, message: str = "", **headers: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that always answers that, and the paths it was asked for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    seen: list[str] = []
    answer = (status, named, f'{{"message": "{message}"}}'.encode())
    handler = type("Handler", (_Canned,), {"answer": answer, "seen": seen})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def canned(
    status: int, message: str = "", told: list[str] | None = None, **headers: str
) -> AsyncIterator[tuple[GitHub, list[str]]]:
    """The adapter before such a server."""
    with listening(status, message, **headers) as (url, seen):
        here = url.replace("localhost", "127.0.0.1")
        notify = (told if told is not None else []).append
        forge = GitHub(repo="ada/tools", token=TOKEN, api_url=here, retry=replace(QUICK, timeout=90), notify=notify)
        yield forge, seen
        await forge.close()


async def test_a_rate_limit_that_ends_later_is_told_with_its_end() -> None:
    limits = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(int(time.time()) + 1_800)}
    async with canned(403, "API rate limit exceeded for installation", **limits) as (forge, seen):
        error = await refused(forge.issue(1))
    assert error.hint.startswith("this is GitHub's rate limit; it ends in ")
    assert "m " in error.hint
    assert len(seen) == 1


async def test_a_second_kind_of_limit_without_a_time_is_waited_for_a_minute(told: list[str]) -> None:
    async with canned(403, "You have exceeded a secondary rate limit.", told) as (forge, seen):
        asking = asyncio.ensure_future(forge.issue(1))
        while not told:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
    assert told == ["waiting 1m 00s for GitHub (read the issue: 403)"]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("status", "message", "headers", "hint"),
    [
        (401, "Bad credentials", {}, "the token is wrong or has expired"),
        (403, "Must have admin rights", {}, "the token lacks a permission for that"),
        (
            403,
            "Resource not accessible by integration",
            {"X_Accepted_GitHub_Permissions": "metadata=read,pull_requests=write; issues=write"},
            "give the job this permission:\npermissions:\n  pull-requests: write",
        ),
        (403, "Resource protected by organization SAML enforcement.", {}, "single sign-on"),
        (403, "Unable to create comment because issue is locked.", {}, "unlock the conversation"),
        (404, "Not Found", {}, "it does not exist, or the token may not see it"),
        (410, "Issues are disabled for this repo", {}, "issues are turned off here"),
        (422, "Validation Failed: body is too long", {}, "at most 65,536 characters"),
        (307, "Moved Permanently", {}, "was the repository renamed or moved?"),
    ],
)
async def test_a_refusal_says_what_to_do_and_is_not_repeated(
    status: int, message: str, headers: dict[str, str], hint: str
) -> None:
    async with canned(status, message, **headers) as (forge, seen):
        error = await refused(forge.comment(1, "body"))
    assert hint in error.hint
    assert error.status == status
    assert str(error) == f"GitHub refused to write a comment: {status} {message}"
    assert len(seen) == 1


async def test_the_permission_that_is_missing_is_named(server: GitHubServer, forge: GitHub) -> None:
    server.permissions = {"contents": "read"}
    error = await refused(forge.comment(server.issue()["number"], "body"))
    assert "permissions:\n  issues: write" in error.hint


async def test_a_body_that_is_too_long_is_refused_with_the_limit(server: GitHubServer, forge: GitHub) -> None:
    error = await refused(forge.comment(server.issue()["number"], "x" * 65_537))
    assert (error.status, "65,536" in error.hint) == (422, True)


async def test_a_wrong_token_is_no_job_without_graphql(server: GitHubServer, told: list[str]) -> None:
    for token in ("ghs_wrong", "ghp_wrong"):
        forge = forge_of(server, told, timeout=0, token=token)
        assert (await refused(forge.me())).status == 401
        await forge.close()


async def test_a_role_that_cannot_be_asked_is_an_error_and_no_role(server: GitHubServer, told: list[str]) -> None:
    forge = forge_of(server, told, timeout=0)
    for status in (401, 403, 500):
        server.faults.add("GET permission", status=status)
        assert (await refused(forge.role("ada"))).status == status
    await forge.close()


async def test_a_server_out_of_reach_is_told_without_the_token() -> None:
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url="http://127.0.0.1:1", retry=replace(QUICK, timeout=0))
    error = await refused(forge.issue(1))
    assert str(error).startswith("GitHub cannot be reached (read the issue): ")
    assert error.status == 0
    await forge.close()


async def test_a_token_that_cannot_be_sent_is_not_shown() -> None:
    forge = GitHub(repo="ada/tools", token=f"{TOKEN}\nx", api_url="http://127.0.0.1:1", retry=replace(QUICK, timeout=0))
    error = await refused(forge.issue(1))
    assert "cannot be reached" in str(error)
    await forge.close()


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_the_token_follows_no_redirect_to_another_host(status: int) -> None:
    with listening(200, "stolen") as (elsewhere, seen):
        async with canned(status, "moved", Location=f"{elsewhere}/repos") as (forge, asked):
            error = await refused(forge.issue(1))
            assert (error.status, error.hint) == (status, "was the repository renamed or moved?")
            assert len(asked) == 1
        assert seen == []


async def test_a_next_page_at_another_host_is_asked_for_at_ours() -> None:
    with listening(200, "stolen") as (elsewhere, seen):
        link = f'<{elsewhere}/repos/ada/tools/x?page=2>; rel="next"'
        async with canned(200, "x", Link=link) as (forge, asked):
            listing = asyncio.ensure_future(forge.comments(1))
            while len(asked) < 3:
                await asyncio.sleep(0.01)
            listing.cancel()
            await asyncio.wait([listing])
        assert asked[1] == "/repos/ada/tools/x?page=2"
        assert seen == []


async def test_a_call_that_is_cancelled_ends_at_once_and_the_next_one_works(
    server: GitHubServer, forge: GitHub
) -> None:
    number = server.issue()["number"]
    server.faults.add("GET issues", delay=2.0)
    asking = asyncio.ensure_future(forge.issue(number))
    while server.authorizations == []:
        await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait([asking])
    assert server.requests == []  # the server has not even answered
    assert (await forge.issue(number)).number == number


async def test_part_of_a_discussion_that_fails_otherwise_ends_it(server: GitHubServer, told: list[str]) -> None:
    work = server.repo("ada/tools", {"a.py": "x\n"})
    made = server.pull(work, {"a.py": "y\n"})
    forge = forge_of(server, told, timeout=0)
    pull = await forge.pull(made["number"])
    server.faults.add("GET files", status=500)
    assert (await refused(forge.discussion(made["number"], pull))).status == 500
    await forge.close()

"""Our adapter keeps the contract of forges, and the contract notices an adapter that does not."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.discussion import Account, Comment, Discussion, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from flue_ci.testing.forge_contract import ForgeContract, Kind
from tests.support.github_server import TOKEN, GitHubServer

RETRY = RetryPolicy(timeout=30, first_wait=0.02)


class GitHubWorld:
    """A `ForgeWorld` of our GitHub on loopback."""

    def __init__(self, server: GitHubServer) -> None:
        self.server = server
        self.work = server.repo("ada/tools", {"a.txt": "a\n"})

    def add_issue(self) -> int:
        return int(self.server.issue()["number"])

    def add_pull(self) -> tuple[int, str]:
        pull = self.server.pull(self.work, {"a.txt": "b\n"})
        return pull["number"], pull["head"]["sha"]

    def add_comment(self, number: int, login: str, body: str, kind: Kind = "issue") -> int:
        if kind == "review":
            return int(self.server.say_on_line(number, login, body, path="a.txt")["id"])
        return int(self.server.say(number, login, body)["id"])

    def delete_comment(self, comment_id: int) -> None:
        self.server.comments = [comment for comment in self.server.comments if comment["id"] != comment_id]

    def set_role(self, login: str, role: str) -> None:
        self.server.account(login, role)

    def own_bodies(self, kind: Kind = "issue") -> list[str]:
        comments = {"issue": self.server.comments, "review": self.server.lines}[kind]
        return [comment["body"] for comment in self.server.ours() if comment in comments]

    def lose_next_answer(self) -> None:
        self.server.faults.add("POST comments", drop="after")

    def fail_next_request(self) -> None:
        self.server.faults.add("GET issues", status=503)

    def refuse_writing(self) -> None:
        self.server.permissions = {"contents": "read"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with GitHubServer(tmp_path) as server:
        yield GitHubWorld(server)


def github(world: GitHubWorld, adapter: Callable[..., GitHub] = GitHub, retry: RetryPolicy = RETRY) -> GitHub:
    return adapter(repo="ada/tools", token=TOKEN, api_url=f"{world.server.url}/api/v3", retry=retry)


class TestGitHub(ForgeContract):
    @pytest.fixture
    async def forge(self, world: GitHubWorld) -> AsyncIterator[Forge]:
        forge = github(world)
        yield forge
        await forge.close()


class OtherAccount(GitHub):
    async def me(self) -> Account:
        return Account(id=1, login="ada")


class CoarseRoles(GitHub):
    async def role(self, login: str) -> str:
        return {"maintain": "write", "none": "read"}.get(await super().role(login), "read")


class FirstPage(GitHub):
    async def comments(self, number: int, kind: Kind = "issue") -> list[Comment]:
        return (await super().comments(number, kind))[:100]


class Sanitizing(GitHub):
    async def comment(self, number: int, body: str) -> Comment:
        return await super().comment(number, body.replace("<!--", ""))


class NewCommentForAnEdit(GitHub):
    async def edit(self, comment: Comment, body: str) -> Comment:
        return await self.comment(1, body)


class NoThreads(GitHub):
    async def reply(self, number: int, to: int, body: str) -> Comment:
        return await self.comment(number, body)


class NoHints(GitHub):
    async def _send(self, *arguments: Any) -> Any:
        try:
            return await super()._send(*arguments)
        except ForgeError as error:
            raise ForgeError(str(error), status=error.status) from None


class Blind(GitHub):
    async def pulls_of(self, sha: str) -> list[PullRequest]:
        return []

    async def discussion(self, number: int, pull: PullRequest | None) -> Discussion:
        return replace(await super().discussion(number, pull), comments=())

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        return []


class ClosesOnce(GitHub):
    is_open = True

    async def close(self) -> None:
        await super().close()
        assert self.is_open
        self.is_open = False


class NeverReacts(GitHub):
    async def react(self, number: int, comment: Comment | None, reaction: Any) -> None:
        raise ForgeError("no reactions", status=404)


IMPATIENT = RetryPolicy(timeout=0)
BROKEN = {
    "our_comments_come_from_the_account_that_we_are": (OtherAccount, RETRY),
    "a_role_is_exact": (CoarseRoles, RETRY),
    "an_unknown_user_has_no_role": (CoarseRoles, RETRY),
    "comments_are_complete_and_in_order": (FirstPage, RETRY),
    "texts_come_and_go_unchanged": (Sanitizing, RETRY),
    "a_comment_is_edited_in_place": (NewCommentForAnEdit, RETRY),
    "a_reply_stands_in_the_thread": (NoThreads, RETRY),
    "reactions_go_on_comments_and_on_the_issue_itself": (NeverReacts, RETRY),
    "editing_a_comment_that_was_deleted_is_an_error": (NewCommentForAnEdit, RETRY),
    "what_does_not_exist_is_an_error_with_a_hint": (NoHints, RETRY),
    "a_refused_write_is_an_error_with_a_hint": (NoHints, RETRY),
    "a_passing_fault_is_retried": (GitHub, IMPATIENT),
    "a_pull_request_is_found_by_its_head": (Blind, RETRY),
    "a_discussion_has_every_comment": (Blind, RETRY),
    "recent_requests_are_those_of_one_user": (Blind, RETRY),
    "closing_twice_is_no_error": (ClosesOnce, RETRY),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_the_contract_notices_an_adapter_that_breaks_it(world: GitHubWorld, name: str) -> None:
    adapter, retry = BROKEN[name]
    forge = github(world, adapter, retry)
    check = getattr(ForgeContract(), f"test_{name}")
    values = {"role": "maintain", "login": "unknown", "kind": "issue"}
    options = {key: value for key, value in values.items() if key in inspect.signature(check).parameters}
    with pytest.raises((AssertionError, ForgeError, pytest.fail.Exception)):
        await check(forge=forge, world=world, **options)
    await GitHub.close(forge)

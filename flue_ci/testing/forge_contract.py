"""What every adapter of a forge does, as tests: subclass `ForgeContract` and give its two fixtures."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

import pytest

from flue_ci.core.discussion import Comment
from flue_ci.core.errors import ForgeError
from flue_ci.core.ports import Forge

Kind = Literal["issue", "review"]
UNTRUSTED_TEXT = "# Title <!-- hidden -->\n\n@ada `code` \u202e ünï 🎉 | <b>x</b>"


class ForgeWorld(Protocol):
    """The forge's own side, for tests: prepares what the adapter is to read and looks at what it wrote."""

    def add_issue(self) -> int:
        """The number of a new issue."""
        ...

    def add_pull(self) -> tuple[int, str]:
        """Number and head commit of a new, open pull request."""
        ...

    def add_comment(self, number: int, login: str, body: str, kind: Kind = "issue") -> int:
        """The id of a new comment by that user, below an issue or pull request or on a line of its diff."""
        ...

    def delete_comment(self, comment_id: int) -> None:
        """Removes it, as a person would."""
        ...

    def set_role(self, login: str, role: str) -> None:
        """Makes the user, if need be, and gives it that role in the repository."""
        ...

    def own_bodies(self, kind: Kind = "issue") -> list[str]:
        """Bodies of the comments that the adapter's token wrote, oldest first."""
        ...

    def lose_next_answer(self) -> None:
        """The next comment is written, but the connection ends before the answer."""
        ...

    def fail_next_request(self) -> None:
        """The next request for an issue fails for a moment, as a server does that is restarted."""
        ...

    def refuse_writing(self) -> None:
        """From now on the token may read only."""
        ...


class ForgeContract:
    """Fixtures of the subclass: `forge`, an adapter for an empty repository with retries that wait little, and `world`,
    a `ForgeWorld` of the same repository."""

    async def test_our_comments_come_from_the_account_that_we_are(self, forge: Forge, world: ForgeWorld) -> None:
        comment = await forge.comment(world.add_issue(), "first")
        assert (await forge.me()).login
        assert comment.author == await forge.me()

    @pytest.mark.parametrize("role", ["admin", "maintain", "write", "triage", "read"])
    async def test_a_role_is_exact(self, forge: Forge, world: ForgeWorld, role: str) -> None:
        world.set_role("someone", role)
        assert await forge.role("someone") == role

    @pytest.mark.parametrize("login", ["unknown", "", "..", "a/b", "someone?x=1", "someone#"])
    async def test_an_unknown_user_has_no_role(self, forge: Forge, world: ForgeWorld, login: str) -> None:
        world.set_role("someone", "admin")
        assert await forge.role(login) == "none"

    @pytest.mark.parametrize("kind", ["issue", "review"])
    async def test_comments_are_complete_and_in_order(self, forge: Forge, world: ForgeWorld, kind: Kind) -> None:
        number, _ = world.add_pull()
        world.set_role("ada", "write")
        ids = [world.add_comment(number, "ada", f"number {count}", kind) for count in range(205)]
        comments = await forge.comments(number, kind)
        assert [(comment.id, comment.kind, comment.body) for comment in comments] == [
            (comment_id, kind, f"number {count}") for count, comment_id in enumerate(ids)
        ]
        assert {comment.author.login for comment in comments} == {"ada"}

    async def test_texts_come_and_go_unchanged(self, forge: Forge, world: ForgeWorld) -> None:
        number = world.add_issue()
        await forge.comment(number, UNTRUSTED_TEXT)
        assert [comment.body for comment in await forge.comments(number)] == [UNTRUSTED_TEXT]

    async def test_a_comment_is_edited_in_place(self, forge: Forge, world: ForgeWorld) -> None:
        comment = await forge.comment(world.add_issue(), "first")
        comment_now = await forge.edit(comment, "second")
        assert (comment_now.id, comment_now.body) == (comment.id, "second")
        assert world.own_bodies() == ["second"]

    async def test_a_reply_stands_in_the_thread(self, forge: Forge, world: ForgeWorld) -> None:
        number, _ = world.add_pull()
        world.set_role("ada", "write")
        first = world.add_comment(number, "ada", "why?", "review")
        reply = await forge.reply(number, first, "because")
        assert (reply.kind, reply.reply_to, reply.body) == ("review", first, "because")
        assert (await forge.edit(reply, "therefore")).id == reply.id
        assert world.own_bodies("review") == ["therefore"]

    async def test_reactions_go_on_comments_and_on_the_issue_itself(self, forge: Forge, world: ForgeWorld) -> None:
        number = world.add_issue()
        await forge.react(number, None, "eyes")
        await forge.react(number, await forge.comment(number, "first"), "rocket")

    async def test_editing_a_comment_that_was_deleted_is_an_error(self, forge: Forge, world: ForgeWorld) -> None:
        comment = await forge.comment(world.add_issue(), "first")
        world.delete_comment(comment.id)
        with pytest.raises(ForgeError) as failure:
            await forge.edit(comment, "second")
        assert failure.value.status in (404, 410)

    async def test_what_does_not_exist_is_an_error_with_a_hint(self, forge: Forge, world: ForgeWorld) -> None:
        with pytest.raises(ForgeError) as failure:
            await forge.issue(world.add_issue() + 1)
        assert failure.value.status == 404
        assert failure.value.hint

    async def test_a_refused_write_is_an_error_with_a_hint(self, forge: Forge, world: ForgeWorld) -> None:
        number = world.add_issue()
        world.refuse_writing()
        with pytest.raises(ForgeError) as failure:
            await forge.comment(number, "first")
        assert failure.value.status == 403
        assert failure.value.hint
        assert world.own_bodies() == []

    async def test_a_comment_is_written_once_though_the_answer_was_lost(self, forge: Forge, world: ForgeWorld) -> None:
        number = world.add_issue()
        world.lose_next_answer()
        comment = await forge.comment(number, "first")
        assert comment.body == "first"
        assert world.own_bodies() == ["first"]

    async def test_a_passing_fault_is_retried(self, forge: Forge, world: ForgeWorld) -> None:
        number = world.add_issue()
        world.fail_next_request()
        assert (await forge.issue(number)).number == number

    async def test_a_pull_request_is_found_by_its_head(self, forge: Forge, world: ForgeWorld) -> None:
        number, sha = world.add_pull()
        assert [pull.number for pull in await forge.pulls_of(sha)] == [number]
        assert await forge.pulls_of("0" * 40) == []
        assert (await forge.pull(number)).head_sha == sha

    async def test_a_discussion_has_every_comment(self, forge: Forge, world: ForgeWorld) -> None:
        world.set_role("ada", "write")
        number, _ = world.add_pull()
        world.add_comment(number, "ada", "please look")
        world.add_comment(number, "ada", "why?", "review")
        discussion = await forge.discussion(number, await forge.pull(number))
        assert {(comment.kind, comment.body) for comment in discussion.comments} == {
            ("issue", "please look"),
            ("review", "why?"),
        }
        issue = world.add_issue()
        discussion = await forge.discussion(issue, None)
        assert (discussion.pull, discussion.comments) == (None, ())
        assert discussion.issue and discussion.issue.number == issue

    async def test_recent_requests_are_those_of_one_user(self, forge: Forge, world: ForgeWorld) -> None:
        for login in ("ada", "mona"):
            world.set_role(login, "write")
        number, _ = world.add_pull()
        world.add_comment(number, "ada", "one")
        world.add_comment(number, "ada", "two", "review")
        world.add_comment(number, "mona", "three")
        assert await self._requests(forge, "2000-01-01T00:00:00Z") == {"one", "two"}
        assert await self._requests(forge, "2999-01-01T00:00:00Z") == set()

    async def test_calls_at_the_same_time_get_each_its_own_answer(self, forge: Forge, world: ForgeWorld) -> None:
        numbers = [world.add_issue() for _ in range(20)]
        before = forge.requests
        issues = await asyncio.gather(*(forge.issue(number) for number in numbers))
        assert [issue.number for issue in issues] == numbers
        assert forge.requests >= before + 20

    async def test_closing_twice_is_no_error(self, forge: Forge, world: ForgeWorld) -> None:
        await forge.issue(world.add_issue())
        await forge.close()
        await forge.close()

    async def _requests(self, forge: Forge, since: str) -> set[str]:
        comments: list[Comment] = await forge.recent_requests("ada", since)
        return {comment.body for comment in comments}

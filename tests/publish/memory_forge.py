"""A forge in memory, as far as publishers use one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from flue_ci.core.discussion import Account, Comment, Discussion, Issue, PullRequest
from flue_ci.core.errors import ForgeError
from flue_ci.publish.publisher import PublishTarget
from flue_ci.report.report import Publishing

ME = Account(id=1, login="bot")


class MemoryForge:
    """`comments_below` are all comments, oldest first. `failure` is raised by every method while it is set."""

    def __init__(self) -> None:
        self.requests = 0
        self.comments_below: list[Comment] = []
        self.failure: ForgeError | None = None
        self.edits = 0

    def add(self, body: str, author: Account = ME, reply_to: int | None = None) -> Comment:
        kind: Literal["issue", "review"] = "review" if reply_to else "issue"
        number = len(self.comments_below) + 1
        url = f"https://forge.example/{number}"
        comment = Comment(id=number, kind=kind, author=author, body=body, url=url, reply_to=reply_to)
        self.comments_below.append(comment)
        return comment

    def bodies(self) -> list[str]:
        return [comment.body for comment in self.comments_below]

    def _check(self) -> None:
        self.requests += 1
        if self.failure:
            raise self.failure

    async def me(self) -> Account:
        self._check()
        return ME

    async def comments(self, number: int, kind: Literal["issue", "review"] = "issue") -> list[Comment]:
        self._check()
        return [comment for comment in self.comments_below if comment.kind == kind]

    async def comment(self, number: int, body: str) -> Comment:
        self._check()
        return self.add(body)

    async def reply(self, number: int, to: int, body: str) -> Comment:
        self._check()
        return self.add(body, reply_to=to)

    async def reread(self, comment: Comment) -> Comment:
        self._check()
        for each in self.comments_below:
            if each.id == comment.id:
                return each
        raise ForgeError("the comment was deleted", status=404)

    async def edit(self, comment: Comment, body: str) -> Comment:
        self._check()
        for index, each in enumerate(self.comments_below):
            if each.id == comment.id:
                self.comments_below[index] = replace(each, body=body)
                self.edits += 1
                return self.comments_below[index]
        raise ForgeError("the comment was deleted", status=404)

    async def pull(self, number: int) -> PullRequest:
        raise NotImplementedError

    async def issue(self, number: int) -> Issue:
        raise NotImplementedError

    async def pulls_of(self, sha: str) -> list[PullRequest]:
        raise NotImplementedError

    async def discussion(self, number: int, pull: PullRequest | None) -> Discussion:
        raise NotImplementedError

    async def role(self, login: str) -> str:
        raise NotImplementedError

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        raise NotImplementedError

    async def recent_runs(self, workflow: str, login: str, since: str) -> list[str]:
        raise NotImplementedError

    async def react(self, number: int, comment: Comment | None, reaction: Any) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""


def make_target(forge: MemoryForge | None, *, notices: list[str] | None = None, **options: Any) -> PublishTarget:
    """A target below issue 7; `notices` gets the lines for the log and the errors."""
    lines = notices if notices is not None else []
    values: dict[str, Any] = {"publishing": Publishing(), "number": 7, "quick_forge": forge} | options
    return PublishTarget(
        repository="ada/tools",
        server_url="https://forge.example",
        forge=forge,
        notify=lines.append,
        show_error=lambda text, hint: lines.append(f"{text} → {hint}"),
        **values,
    )

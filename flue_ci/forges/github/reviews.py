"""Reviews of pull requests, their threads, and the ends of threads.

Sources: https://docs.github.com/rest/pulls/reviews, and GitHub's GraphQL schema, which alone knows threads.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from flue_ci.core.errors import ForgeError
from flue_ci.core.proposals import Side
from flue_ci.core.review import PostedReview, ReviewDraft, ReviewHistory, ReviewThread, ThreadComment
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import ApiCalls, FindExisting
from flue_ci.gate.policy import MARKER

MAX_PAGES = 10  # of 100 threads
RESOLVED_AT_ONCE = 25
_FORBIDDEN, _UNPROCESSABLE = 403, 422
_PENDING = "pending review"
# About 102,000 of the 500,000 nodes that a query may ask for.
_HISTORY_QUERY = """\
query($owner:String!,$name:String!,$number:Int!,$after:String){repository(owner:$owner,name:$name){
 pullRequest(number:$number){headRefOid
  reviews(last:100){nodes{fullDatabaseId body state url viewerDidAuthor commit{oid}}}
  reviewThreads(first:100,after:$after){pageInfo{hasNextPage endCursor} nodes{
   id isResolved isOutdated path line diffSide viewerCanResolve viewerCanUnresolve resolvedBy{login}
   comments(first:50){totalCount nodes{
    fullDatabaseId url body viewerDidAuthor author{__typename login}
    reactions(first:20,content:THUMBS_DOWN){nodes{user{login}}}}}}}}}}"""

_CHANGE_THREAD = "{name}:{verb}(input:{{threadId:${name}}}){{thread{{id}}}}"


class ReviewCalls(ApiCalls):
    """The part of `GitHub` that reads and writes reviews: a `ReviewForge`."""

    async def review_history(self, number: int) -> ReviewHistory:
        """One request for 100 threads. Raises `ForgeError`."""
        owner, _, name = self._repo.partition("/")
        variables: dict[str, Any] = {"owner": owner, "name": name, "number": number, "after": None}
        threads: list[ReviewThread] = []
        reviews: tuple[PostedReview, ...] = ()
        for _ in range(MAX_PAGES):
            data = await self._ask(_HISTORY_QUERY, variables)
            pull = parse.mapping(parse.mapping(data, "repository"), "pullRequest")
            reviews = reviews or tuple(map(_review, parse.items(parse.mapping(pull, "reviews"), "nodes")))
            page = parse.mapping(pull, "reviewThreads")
            threads += map(_thread, parse.items(page, "nodes"))
            info = parse.mapping(page, "pageInfo")
            if not parse.flag(info, "hasNextPage"):
                return ReviewHistory(threads=tuple(threads), reviews=reviews, head=parse.text(pull, "headRefOid"))
            variables["after"] = parse.text(info, "endCursor")
        raise ForgeError(f"the pull request has more than {100 * MAX_PAGES:,} review threads: too many to look through")

    async def create_review(self, number: int, draft: ReviewDraft) -> PostedReview:
        """Written once, also when the first answer got lost. Raises `ForgeError` with status 422 when GitHub does not
        take the place of one of the comments: then none of them is posted."""

        async def find_existing() -> dict[str, Any] | None:
            items = await self._list("look for the review", f"/pulls/{number}/reviews")
            return next((item for item in reversed(items) if _is_same(item, draft)), None)

        return _from_rest(await self._post(number, {**_body(draft), "event": "COMMENT"}, find_existing))

    async def accepts_review(self, number: int, draft: ReviewDraft) -> bool:
        """By a draft that nobody sees, and that is deleted again. Raises `ForgeError` for what is no matter of the
        places."""
        try:
            review = await self._post(number, _body(draft))
        except ForgeError as error:
            if error.status == _UNPROCESSABLE and _PENDING not in str(error):
                return False
            raise
        await asyncio.shield(asyncio.ensure_future(self._delete_draft(number, parse.number(review, "id"))))
        return True

    async def _post(
        self, number: int, body: Mapping[str, Any], find_existing: FindExisting | None = None
    ) -> dict[str, Any]:
        """A review or a draft. A draft of ours that was left behind, of which GitHub has one at most, is deleted."""
        path = f"/pulls/{number}/reviews"
        try:
            return await self._fetch("post a review", path, "POST", body, find_existing)
        except ForgeError as error:
            if error.status != _UNPROCESSABLE or _PENDING not in str(error):
                raise
            drafts = [item for item in await self._list("look for a draft", path) if _is_our_draft(item)]
            if not drafts:
                raise
        await self._delete_draft(number, parse.number(drafts[0], "id"))
        return await self._fetch("post a review", path, "POST", body, find_existing)

    async def _delete_draft(self, number: int, review: int) -> None:
        await self._fetch("delete a draft", f"/pulls/{number}/reviews/{review}", "DELETE")

    async def edit_review(self, number: int, review: int, body: str) -> None:
        """Replaces the text of a review of ours. Raises `ForgeError`."""
        await self._fetch("edit a review", f"/pulls/{number}/reviews/{review}", "PUT", {"body": body})

    async def resolve_threads(self, ids: Sequence[str]) -> Mapping[str, ForgeError]:
        """Ends these threads, 25 with a request. Gives the error of each that GitHub did not end. Raises `ForgeError`
        when GitHub did not answer at all."""
        return await self._change_threads("resolveReviewThread", ids)

    async def reopen_threads(self, ids: Sequence[str]) -> Mapping[str, ForgeError]:
        """The same the other way round."""
        return await self._change_threads("unresolveReviewThread", ids)

    async def _change_threads(self, verb: str, ids: Sequence[str]) -> Mapping[str, ForgeError]:
        errors: dict[str, ForgeError] = {}
        for start in range(0, len(ids), RESOLVED_AT_ONCE):
            batch = ids[start : start + RESOLVED_AT_ONCE]
            names = [f"t{index}" for index in range(len(batch))]
            types = ",".join(f"${name}:ID!" for name in names)
            fields = " ".join(_CHANGE_THREAD.format(name=name, verb=verb) for name in names)
            query = f"mutation({types}){{{fields}}}"
            body = {"query": query, "variables": dict(zip(names, batch, strict=True))}
            answer = await self._fetch("change review threads", self._graphql_url, "POST", body)
            data = parse.mapping(answer, "data")
            messages = {error["path"][0]: error for error in parse.items(answer, "errors") if error.get("path")}
            whole = next((error for error in parse.items(answer, "errors") if not error.get("path")), {})
            for name, thread in zip(names, batch, strict=True):
                if not parse.mapping(data, name):
                    errors[thread] = _graphql_error("change a review thread", messages.get(name, whole))
        return errors

    async def _ask(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The data of a query. Raises `ForgeError` when there is an error in the answer: a part of it would be
        missing."""
        body = {"query": query, "variables": dict(variables)}
        answer = await self._fetch("read the reviews", self._graphql_url, "POST", body)
        for error in parse.items(answer, "errors"):
            raise _graphql_error("read the reviews", error)
        return parse.mapping(answer, "data")


def _graphql_error(purpose: str, error: Mapping[str, Any]) -> ForgeError:
    message = parse.text(error, "message") or "no answer"
    status = _FORBIDDEN if parse.text(error, "type") == "FORBIDDEN" else 400
    return ForgeError(f"GitHub refused to {purpose}: {message}", status=status)


def _body(draft: ReviewDraft) -> dict[str, Any]:
    comments = []
    for comment in draft.comments:
        item = {"path": comment.path, "line": comment.line, "side": comment.side, "body": comment.body}
        if comment.start_line is not None and comment.start_line != comment.line:  # GitHub takes no range of one line
            item |= {"start_line": comment.start_line, "start_side": comment.side}
        comments.append(item)
    return {"commit_id": draft.commit, "body": draft.body, "comments": comments}


def _is_our_draft(item: Mapping[str, Any]) -> bool:
    """Not a person's own, who may use the same account."""
    return parse.text(item, "state") == "PENDING" and parse.text(item, "body").startswith(MARKER)


def _is_same(item: Mapping[str, Any], draft: ReviewDraft) -> bool:
    text = parse.text(item, "body").replace("\r\n", "\n").strip()
    return text == draft.body.strip() and parse.text(item, "commit_id") == draft.commit


def _from_rest(data: Mapping[str, Any]) -> PostedReview:
    texts = parse.fields(data, "body", commit="commit_id", url="html_url")
    return PostedReview(id=parse.number(data, "id"), is_ours=True, **texts)


def _review(node: Mapping[str, Any]) -> PostedReview:
    return PostedReview(
        id=_identity(node),
        commit=parse.text(parse.mapping(node, "commit"), "oid"),
        **parse.fields(node, "body", "url"),
        is_ours=parse.flag(node, "viewerDidAuthor") and parse.text(node, "state") != "PENDING",
    )


def _thread(node: Mapping[str, Any]) -> ReviewThread:
    page = parse.mapping(node, "comments")
    comments = tuple(map(_comment, parse.items(page, "nodes")))
    side: Side = "LEFT" if parse.text(node, "diffSide") == "LEFT" else "RIGHT"
    return ReviewThread(
        id=parse.text(node, "id"),
        path=parse.text(node, "path"),
        line=parse.number(node, "line") or None,
        side=side,
        is_outdated=parse.flag(node, "isOutdated"),
        is_resolved=parse.flag(node, "isResolved"),
        resolved_by=parse.text(parse.mapping(node, "resolvedBy"), "login"),
        can_resolve=parse.flag(node, "viewerCanResolve"),
        can_reopen=parse.flag(node, "viewerCanUnresolve"),
        comments=comments,
        is_complete=parse.number(page, "totalCount") <= len(comments),
    )


def _comment(node: Mapping[str, Any]) -> ThreadComment:
    author = parse.mapping(node, "author")
    voters = parse.items(parse.mapping(node, "reactions"), "nodes")
    return ThreadComment(
        id=_identity(node),
        author=parse.text(author, "login"),
        **parse.fields(node, "body", "url"),
        is_ours=parse.flag(node, "viewerDidAuthor"),
        is_person=parse.text(author, "__typename") != "Bot",
        rejected_by=tuple(filter(None, (parse.text(parse.mapping(voter, "user"), "login") for voter in voters))),
    )


def _identity(node: Mapping[str, Any]) -> int:
    """A number that GraphQL gives as text, because it outgrew 32 bits; 0 for none."""
    text = parse.text(node, "fullDatabaseId")
    return int(text) if text.isdecimal() else 0

"""Commits by GitHub's git-data API: trees on a base tree, commits that GitHub signs, branches that only move forward.

Source: https://docs.github.com/rest/git. A commit is signed when an app's token creates it without author, committer
and signature, so none of them is sent.
"""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flue_ci.core.commits import CommitRecord, TreeEntry
from flue_ci.core.concurrency import together
from flue_ci.core.errors import BranchRefused, ForgeError
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import ApiCalls

Item = dict[str, Any]
# Of the body of one tree. GitHub gives up on more than about 2.5 MB ("it's likely that your input was too large").
MAX_TREE_BYTES = 2_000_000
MAX_TREE_ITEMS = 500
_MAX_UPLOADS = 4  # blobs at the same time
_FRAME = 200  # bytes around the items of a tree


class GitDataCalls(ApiCalls):
    """The part of `GitHub` that writes git objects and moves branches: a `ChangesForge`."""

    async def branch_head(self, branch: str) -> str:
        """The commit that the branch is at; "" when there is no such branch."""
        try:
            data = await self._fetch("read the branch", f"/git/ref/heads/{quote(branch)}")
        except ForgeError as error:
            if error.status == 404:
                return ""
            raise
        return parse.text(parse.mapping(data, "object"), "sha")

    async def create_tree(self, base_tree: str, entries: Sequence[TreeEntry]) -> str:
        """Texts travel within the tree, other bytes as blobs; a tree whose body is over `MAX_TREE_BYTES` is made in
        steps, each on the one before."""
        tree = base_tree
        for items in batches(await self._items(entries)):
            data = await self._fetch("write a tree", "/git/trees", "POST", {"base_tree": tree, "tree": items})
            tree = parse.text(data, "sha")
        return tree

    async def create_commit(self, *, message: str, tree: str, parents: Sequence[str]) -> CommitRecord:
        """The commit, and whether GitHub has signed it."""
        body = {"message": message, "tree": tree, "parents": list(parents)}
        data = await self._fetch("write a commit", "/git/commits", "POST", body)
        return _commit(data, data)

    async def commits_between(self, base: str, head: str) -> tuple[CommitRecord, ...] | None:
        """The commits from `base` to `head`, oldest first, at most 250; None when `head` is not on top of `base`."""
        data = await self._compare(base, head)
        if parse.text(data, "status") not in ("ahead", "identical"):
            return None
        return _commits(data)

    async def commits_ahead(self, base: str, head: str) -> tuple[CommitRecord, ...]:
        """The commits of `head` that `base` has not, oldest first, at most 250."""
        return _commits(await self._compare(base, head))

    async def _compare(self, base: str, head: str) -> Item:
        return await self._fetch("compare commits", f"/compare/{quote(base)}...{quote(head)}")

    async def move_branch(self, branch: str, sha: str) -> None:
        """Only forward. Raises `BranchRefused` when the branch has other commits by now, or a rule forbids it."""
        path = f"/git/refs/heads/{quote(branch)}"
        await self._set_branch(branch, sha, path, "PATCH", {"sha": sha, "force": False})

    async def create_branch(self, branch: str, sha: str) -> None:
        """A new one. Raises `BranchRefused` when there is another of that name, or a rule forbids it."""
        await self._set_branch(branch, sha, "/git/refs", "POST", {"ref": f"refs/heads/{branch}", "sha": sha})

    async def _set_branch(self, branch: str, sha: str, path: str, verb: str, body: Item) -> None:
        """An earlier attempt, whose answer was lost, may have done it."""
        try:
            await self._fetch("move the branch", path, verb, body)
        except ForgeError as error:
            if error.status not in (403, 404, 409, 422) or "Object does not exist" in str(error):
                raise  # the latter: GitHub's servers do not all know the commit yet
            if error.status == 422 and await self.branch_head(branch) == sha:
                return
            raise BranchRefused(str(error), hint=error.hint, status=error.status, cause=_cause(error)) from None

    async def _items(self, entries: Sequence[TreeEntry]) -> list[Item]:
        """The entries as GitHub takes them, after the upload of what cannot stand in a tree, each blob once."""
        uploads: dict[bytes, str] = {}
        for entry in entries:
            if entry.content is not None and not entry.blob and not _fits_inline(entry.content):
                uploads[entry.content] = ""
        turns = asyncio.Semaphore(_MAX_UPLOADS)

        async def upload(content: bytes) -> None:
            body = {"content": base64.b64encode(content).decode(), "encoding": "base64"}
            async with turns:
                data = await self._fetch("upload a file", "/git/blobs", "POST", body)
            uploads[content] = parse.text(data, "sha")

        await together(*map(upload, uploads))
        items = []
        for entry in entries:
            item: Item = {"path": entry.path, "mode": entry.mode, "type": "blob"}
            if entry.mode == "160000":
                item["type"] = "commit"
            if entry.blob or entry.content is None:
                item["sha"] = entry.blob or None
            elif entry.content in uploads:
                item["sha"] = uploads[entry.content]
            else:
                item["content"] = entry.content.decode()
            items.append(item)
        return items


def batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items of each tree in turn: at most `MAX_TREE_ITEMS` whose body is at most `MAX_TREE_BYTES`. What is deleted
    goes first, and alone where a file takes the place of a folder or the other way round."""
    removals = [item for item in items if item.get("sha", "") is None]
    additions = [item for item in items if item.get("sha", "") is not None]
    first = _in_the_way(removals, additions)
    if first:
        yield first
        paths = {item["path"] for item in first}
        removals = [item for item in removals if item["path"] not in paths]
    batch: list[Item] = []
    size = _FRAME
    for item in (*removals, *additions):
        length = len(json.dumps(item)) + 2
        if batch and (size + length > MAX_TREE_BYTES or len(batch) == MAX_TREE_ITEMS):
            yield batch
            batch, size = [], _FRAME
        batch.append(item)
        size += length
    if batch:
        yield batch


def _in_the_way(removals: Sequence[Item], additions: Sequence[Item]) -> list[Item]:
    """The removals of a file where a folder is to be, and of files of a folder where a file is to be."""
    files = {item["path"] for item in additions}
    folders = {folder for path in files for folder in _folders(path)}
    return [item for item in removals if item["path"] in folders or not files.isdisjoint(_folders(item["path"]))]


def _folders(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _fits_inline(content: bytes) -> bool:
    """Whether bytes are a text that GitHub writes as it is."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in text and len(json.dumps(text)) < MAX_TREE_BYTES // 2


def _commits(data: Item) -> tuple[CommitRecord, ...]:
    return tuple(_commit(item, parse.mapping(item, "commit")) for item in parse.items(data, "commits"))


def _commit(data: Mapping[str, Any], inner: Mapping[str, Any]) -> CommitRecord:
    """`inner` has what a list of commits gives below `commit`."""
    return CommitRecord(
        sha=parse.text(data, "sha"),
        tree=parse.text(parse.mapping(inner, "tree"), "sha"),
        parents=tuple(parse.text(parent, "sha") for parent in parse.items(data, "parents")),
        message=parse.text(inner, "message"),
        url=parse.text(data, "html_url"),
        verified=parse.flag(parse.mapping(inner, "verification"), "verified"),
        author=parse.text(data.get("author"), "login"),
        committer=parse.text(data.get("committer"), "login"),
    )


def _cause(error: ForgeError) -> str:
    """What GitHub's words for a refused branch mean."""
    message = str(error).lower()
    if error.status == 404 or "not accessible" in message:
        return "rights"
    if "fast forward" in message or error.status == 409:
        return "moved"
    if "already exists" in message:
        return "exists"
    if "does not exist" in message:
        return "missing"
    return "protected"

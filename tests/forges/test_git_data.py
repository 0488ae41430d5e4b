"""Commits by GitHub's API: the tree on GitHub is the host's to the last bit, few requests are needed, and nothing is
overwritten or doubled."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flue_ci.core.commits import ChangesForge, TreeEntry
from flue_ci.core.errors import BranchRefused, ForgeError
from flue_ci.core.retry import RetryPolicy
from flue_ci.forges.github.client import GitHub
from flue_ci.forges.github.git_data import MAX_TREE_BYTES, batches
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.tree_entries import tree_entries
from tests.support.github_git_data import LARGEST_TREE
from tests.support.github_server import TOKEN, GitHubServer
from tests.support.repos import EVERY_KIND, Repo, Tree, new_repo, read_tree

TEXT = b"one\ntwo\n"
MESSAGE = "Change it\n\nBecause.\n\nFlue-Run: https://example.com/7"


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path) as server:
        yield server


@pytest.fixture
async def forge(github: GitHubServer) -> AsyncIterator[GitHub]:
    retry = RetryPolicy(timeout=5.0, first_wait=0.01)
    forge = GitHub(repo="ada/tools", token=TOKEN, api_url=f"{github.url}/api/v3", retry=retry)
    yield forge
    await forge.close()


def served(github: GitHubServer, tmp_path: Path, tree: Tree) -> Repo:
    """A repository on the server whose `main` has that tree; returns a checkout of it."""
    github.repo("ada/tools", {"first.txt": "first\n"})
    github.permissions["contents"] = "write"
    repo = new_repo(tmp_path / "host", tree)
    repo.git("push", "-q", "--force", str(github.root / "ada/tools.git"), "HEAD:refs/heads/main")
    return repo


async def opened(repo: Repo, tmp_path: Path) -> Source:
    scratch = tmp_path / f"scratch-{random.random()}"
    scratch.mkdir()
    return await open_checkout(repo.path, history=1, scratch=scratch)


async def publish(forge: ChangesForge, repo: Repo, tmp_path: Path) -> str:
    """Commits what is uncommitted in the checkout to `main` on the server; returns the host's tree."""
    source = await opened(repo, tmp_path)
    before = repo.line("rev-parse", "HEAD^{tree}")
    entries = list(await tree_entries(source, before, source.tree))
    random.Random(1).shuffle(entries)
    tree = await forge.create_tree(before, entries)
    commit = await forge.create_commit(message=MESSAGE, tree=tree, parents=[source.head])
    await forge.move_branch("main", commit.sha)
    assert tree == source.tree
    return tree


def cloned(github: GitHubServer, tmp_path: Path, branch: str = "main") -> Repo:
    clone = Repo(tmp_path / "clone")
    url = f"{github.url}/ada/tools.git"
    Repo(tmp_path).git("clone", "-q", "--branch", branch, url, str(clone.path))
    return clone


CHANGES: dict[str, tuple[Tree, Tree]] = {
    "every kind is added": ({"old.txt": ("file", TEXT)}, {"old.txt": ("file", TEXT), **EVERY_KIND}),
    "every kind is deleted": ({"old.txt": ("file", TEXT), **EVERY_KIND}, {"old.txt": ("file", TEXT)}),
    "bytes that are no text": (
        {"a": ("file", TEXT)},
        {
            "latin": ("file", b"caf\xe9\n"),
            "nul": ("file", b"a\0b\n"),
            "utf16": ("file", "ä".encode("utf-16")),
            "surrogate": ("file", b"\xed\xa0\x80"),
            "bom": ("file", b"\xef\xbb\xbfa\n"),
            "link": ("link", b"caf\xe9"),
        },
    ),
    "modes and types": (
        {"run": ("file", TEXT), "plain": ("exec", TEXT), "link": ("link", b"run"), "file": ("file", b"run")},
        {"run": ("exec", TEXT), "plain": ("file", TEXT), "link": ("file", b"run"), "file": ("link", b"run")},
    ),
    "renames": (
        {"a/b/c.txt": ("file", TEXT * 50), "tool": ("exec", b"\0\1"), "x": ("file", b"x\n"), "y": ("file", b"y\n")},
        {"d/c.txt": ("file", TEXT * 50), "bin/tool": ("exec", b"\0\1"), "x": ("file", b"y\n"), "y": ("file", b"x\n")},
    ),
    "a folder in place of a file": (
        {"a": ("file", TEXT), "b": ("file", TEXT)},
        {"a/b/c": ("file", TEXT), "b": ("file", TEXT)},
    ),
    "a file in place of a folder": (
        {"a/b/c": ("file", TEXT), "a/d": ("file", b"d"), "b": ("file", TEXT)},
        {"a": ("file", TEXT), "b": ("file", b"other\n")},
    ),
    "case only": ({"readme": ("file", TEXT)}, {"README": ("file", TEXT)}),
    "an empty file": ({"a": ("file", TEXT)}, {"a": ("file", b"")}),
}


@pytest.mark.family(4)
@pytest.mark.parametrize("name", CHANGES)
async def test_the_tree_on_github_is_the_hosts(github: GitHubServer, forge: GitHub, tmp_path: Path, name: str) -> None:
    before, after = CHANGES[name]
    repo = served(github, tmp_path, before)
    for path in before:
        (repo.path / path).unlink()
    for folder, _, _ in os.walk(repo.path, topdown=False):
        if ".git" not in Path(folder).parts and not any(Path(folder).iterdir()):
            Path(folder).rmdir()
    repo.write(after)
    tree = await publish(forge, repo, tmp_path)
    clone = cloned(github, tmp_path)
    assert clone.line("rev-parse", "HEAD^{tree}") == tree
    assert read_tree(clone.path) == after
    assert clone.line("log", "-1", "--format=%B") == MESSAGE
    assert clone.git("fsck", "--full") == b""


async def test_ten_text_files_take_three_requests_and_the_commit_is_signed(
    github: GitHubServer, forge: GitHub, tmp_path: Path
) -> None:
    repo = served(github, tmp_path, {f"f{number}": ("file", TEXT) for number in range(10)})
    repo.write({f"f{number}": ("file", f"{number} größer\r\n".encode()) for number in range(10)})
    await publish(forge, repo, tmp_path)
    assert [path.rsplit("/git/")[1] for _, path, _ in github.requests] == ["trees", "commits", "refs/heads/main"]
    head = await forge.branch_head("main")
    commits = await forge.commits_between(repo.line("rev-parse", "HEAD"), head)
    assert commits
    assert [(commit.sha, commit.verified, commit.message) for commit in commits] == [(head, True, MESSAGE)]


async def test_500_text_files_take_few_requests_of_a_size_that_github_takes(
    github: GitHubServer, forge: GitHub, tmp_path: Path
) -> None:
    repo = served(github, tmp_path, {"a": ("file", TEXT)})
    repo.write({f"d{number % 7}/f{number}": ("file", f"{number}\n".encode() * 2_000) for number in range(500)})
    await publish(forge, repo, tmp_path)
    assert len(github.requests) <= 7
    assert MAX_TREE_BYTES // 2 < github.git_data.largest_body < LARGEST_TREE


async def test_content_that_github_has_is_not_sent_again(github: GitHubServer, forge: GitHub, tmp_path: Path) -> None:
    picture = bytes(range(256)) * 1_000
    repo = served(github, tmp_path, {"a.png": ("file", picture), "tool": ("file", picture[1:])})
    (repo.path / "a.png").rename(repo.path / "b.png")
    (repo.path / "tool").chmod(0o755)
    (repo.path / "twice").write_bytes(b"\0new")
    (repo.path / "again").write_bytes(b"\0new")
    await publish(forge, repo, tmp_path)
    assert github.count("POST", "/git/blobs") == 1


def test_a_batch_is_never_over_the_limits() -> None:
    items = [{"path": f"f{number}", "mode": "100644", "content": "ä" * (number % 9_000)} for number in range(2_500)]
    trees = list(batches(items))
    assert [item for tree in trees for item in tree] == items
    assert all(len(tree) <= 1_000 for tree in trees)
    assert not list(batches([]))


async def commit_on_main(forge: GitHub, parent: str, text: bytes) -> str:
    tree = await forge.create_tree(parent, [TreeEntry(path="a", mode="100644", content=text)])
    return (await forge.create_commit(message="x", tree=tree, parents=[parent])).sha


async def test_of_two_pushes_at_once_one_loses(github: GitHubServer, forge: GitHub, tmp_path: Path) -> None:
    head = served(github, tmp_path, {"a": ("file", TEXT)}).line("rev-parse", "HEAD")
    commits = await asyncio.gather(*(commit_on_main(forge, head, text) for text in (b"1\n", b"2\n")))
    results = await asyncio.gather(*(forge.move_branch("main", sha) for sha in commits), return_exceptions=True)
    (loss,) = [result for result in results if result is not None]
    assert isinstance(loss, BranchRefused)
    assert loss.cause == "moved"
    assert await forge.branch_head("main") == commits[results.index(None)]


async def test_a_lost_answer_changes_nothing(github: GitHubServer, forge: GitHub, tmp_path: Path) -> None:
    head = served(github, tmp_path, {"a": ("file", TEXT)}).line("rev-parse", "HEAD")
    for verb in ("PATCH main", "POST refs", "POST trees", "POST commits"):
        github.faults.add(verb, drop="after")
    sha = await commit_on_main(forge, head, b"1\n")
    await forge.move_branch("main", sha)
    await forge.create_branch("other", sha)
    assert await forge.branch_head("main") == await forge.branch_head("other") == sha
    assert [commit.sha for commit in await forge.commits_between(head, sha) or ()] == [sha]


RULES = (
    (422, "Changes must be made through a pull request."),
    (422, "Repository rule violations found\n\nCannot update this protected ref.\n\n"),
    (403, "You're not authorized to push to this branch."),
)


async def test_refusals_of_branches_have_their_cause(github: GitHubServer, forge: GitHub, tmp_path: Path) -> None:
    head = served(github, tmp_path, {"a": ("file", TEXT)}).line("rev-parse", "HEAD")
    sha = await commit_on_main(forge, head, b"1\n")
    causes = []
    for action in (
        forge.move_branch("absent", sha),
        forge.create_branch("main", sha),
    ):
        with pytest.raises(BranchRefused) as error:
            await action
        causes.append(error.value.cause)
    for status, message in RULES:
        github.git_data.protected["main"] = (status, message)
        with pytest.raises(BranchRefused, match=message.split("\n")[0]) as error:
            await forge.move_branch("main", sha)
        assert error.value.cause == "protected"
    github.git_data.protected.clear()
    github.permissions["contents"] = "read"
    with pytest.raises(BranchRefused) as error:
        await forge.move_branch("main", sha)
    assert (*causes, error.value.cause) == ("missing", "exists", "rights")
    with pytest.raises(ForgeError) as refused:
        await commit_on_main(forge, head, b"2\n")
    assert "contents: write" in refused.value.hint
    assert await forge.branch_head("absent") == ""


async def test_a_secondary_limit_is_waited_for(github: GitHubServer, forge: GitHub, tmp_path: Path) -> None:
    head = served(github, tmp_path, {"a": ("file", TEXT)}).line("rev-parse", "HEAD")
    github.faults.add("POST trees", status=403, message="You have exceeded a secondary rate limit.", retry_after=0)
    assert await commit_on_main(forge, head, b"1\n")
    github.git_data.writes += [(10**9, 5, True)] * 100
    with pytest.raises(ForgeError, match="secondary rate limit"):  # it asks for a minute, more than this forge waits
        await commit_on_main(forge, head, b"2\n")

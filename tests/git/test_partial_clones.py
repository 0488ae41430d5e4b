"""Clones that lack objects or files: what is there is worked with, the rest comes by our own fetch or is named."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.retry import RetryPolicy
from flue_ci.git import completion
from flue_ci.git.completion import complete_from_github, promisor_url, repository_name
from flue_ci.git.source import Completion, Source, open_checkout
from flue_ci.settings import GitHubSettings
from tests.git.test_fetch import TOKEN, GitServer
from tests.support.repos import Repo, Tree, new_repo

FILES: Tree = {f"{folder}/{name}": ("file", f"{folder} {name}\n".encode()) for folder in "ab" for name in "xy"}
FILES |= {"top.txt": ("file", b"top\n"), "b/deep/z": ("exec", b"#!/bin/sh\n")}
PATTERNS = ("!/*", "/a/x", "/top.txt")
NO_SERVER = partial(complete_from_github, GitHubSettings(server_url="http://127.0.0.1:9"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `origin` is a copy of."""
    repo = new_repo(tmp_path_factory.mktemp("original") / "repo", FILES)
    for content in (b"second\n", b"third\n"):
        repo.put("b/y", content)
        repo.put("a/y", content)
        repo.commit(content.decode())
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    return repo.path


@pytest.fixture
def origin(original: Path, tmp_path: Path) -> Repo:
    """A repository with three commits, that gives out parts of itself."""
    return Repo(Path(shutil.copytree(original, tmp_path / "served/ada/tools.git")))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    server = GitServer(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


def clone(origin: Repo, tmp_path: Path, *options: str, sparse: tuple[str, ...] = ()) -> Repo:
    """A clone as `actions/checkout` makes it: without files first, then with those that `sparse-checkout` takes."""
    repo = Repo(tmp_path / "clone")
    early = ("--no-checkout",) if sparse else ()
    origin.git("clone", "-q", *options, *early, f"file://{origin.path}", str(repo.path))
    if sparse:
        repo.git("sparse-checkout", "set", *sparse)
        repo.git("checkout", "-q", "main")
    return repo


def at_github(repo: Repo, server: GitServer, *, token: str = TOKEN, name: str = "ada/tools") -> Completion:
    """The clone's remote becomes a repository of the server, which is the forge for our own fetch."""
    url = f"http://127.0.0.1:{server.server_port}"
    repo.git("remote", "set-url", "origin", f"http://x:secret@127.0.0.1:{server.server_port}/ada/tools")
    return partial(complete_from_github, GitHubSettings(server_url=url, repo=name, token=token))


async def paths_of(source: Source) -> set[str]:
    """The paths of the tree, all of whose objects have to be there."""
    await source.git.run("rev-list", "--objects", source.base)
    listing = await source.git.run("ls-tree", "-r", "--name-only", source.tree)
    return set(listing.out.decode().split())


CONE, NO_CONE, SPARSE_INDEX = ("--cone", "a"), ("--no-cone", *PATTERNS), ("--cone", "--sparse-index", "a")


@pytest.mark.family(8)
@pytest.mark.parametrize("sparse", [(), CONE, NO_CONE, SPARSE_INDEX], ids=["whole", "cone", "patterns", "sparse-index"])
@pytest.mark.parametrize(
    "options", [(), ("--filter=blob:none",), ("--filter=tree:0",), ("--filter=blob:none", "--depth=1")], ids=" ".join
)
async def test_every_clone_travels_with_all_files_of_its_commit(
    origin: Repo, server: GitServer, tmp_path: Path, scratch: Path, options: tuple[str, ...], sparse: tuple[str, ...]
) -> None:
    repo = clone(origin, tmp_path, *options, sparse=sparse)
    complete = at_github(repo, server)
    source = await open_checkout(repo.path, history=50, scratch=scratch, complete=complete)
    assert await paths_of(source) == set(FILES)
    assert not source.dirty
    if not options:
        assert (await source.git.run("rev-list", "--count", "HEAD")).line == "3"
    if not sparse:
        assert not server.requests
    assert repo.status() == b""


async def test_absent_files_are_no_deletions_and_present_ones_count(
    origin: Repo, tmp_path: Path, scratch: Path
) -> None:
    repo = clone(origin, tmp_path, sparse=NO_CONE)
    repo.put("a/x", b"changed\n")
    repo.put("b/new", b"new\n")
    repo.put("b/x", b"there all the same\n")
    (repo.path / "top.txt").unlink()
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    listing = await source.git.run("diff-tree", "-r", "--name-status", source.head, source.tree)
    assert listing.out == b"M\ta/x\nA\tb/new\nM\tb/x\nD\ttop.txt\n"


async def test_commits_of_ones_own_and_a_moved_index_are_completed(
    origin: Repo, server: GitServer, tmp_path: Path, scratch: Path
) -> None:
    repo = clone(origin, tmp_path, "--filter=blob:none", sparse=CONE)
    repo.put("a/x", b"mine\n")
    repo.commit("not pushed")
    repo.git("reset", "-q", "--soft", "HEAD~2")
    source = await open_checkout(repo.path, history=1, scratch=scratch, complete=at_github(repo, server))
    assert await paths_of(source) == set(FILES)
    listing = await source.git.run("diff-tree", "-r", "--name-only", source.head, source.tree)
    assert listing.out == b"a/x\na/y\nb/y\n"


async def test_no_program_and_no_lazy_fetch_of_the_checkout_runs(
    origin: Repo, server: GitServer, tmp_path: Path, scratch: Path
) -> None:
    repo = clone(origin, tmp_path, "--filter=tree:0", sparse=SPARSE_INDEX)
    complete = at_github(repo, server)
    repo.git("config", "core.sshCommand", f"touch {tmp_path}/ran;")
    repo.git("config", "remote.origin.uploadpack", f"touch {tmp_path}/ran;")
    repo.git("config", "credential.helper", f"!touch {tmp_path}/ran;")
    repo.git("config", f"url.ext::touch {tmp_path}/ran .insteadOf", f"http://127.0.0.1:{server.server_port}")
    repo.git("config", "protocol.ext.allow", "always")
    packs = set((repo.path / ".git/objects").rglob("*"))
    source = await open_checkout(repo.path, history=1, scratch=scratch, complete=complete)
    assert await paths_of(source) == set(FILES)
    assert not (tmp_path / "ran").exists()
    assert set((repo.path / ".git/objects").rglob("*")) == packs


@pytest.mark.parametrize(
    ("url", "name", "messages"),
    [
        ("{origin}", "ada/tools", ["no repository on 127.0.0.1", "git sparse-checkout disable"]),
        ("https://git.example.com/ada/tools", "ada/tools", ["no repository on 127.0.0.1"]),
        ("{server}/ada/tools", "bea/other", ["does not accept the token", "GITHUB_REPOSITORY=ada/tools"]),
        ("{server}/ada/gone", "ada/gone", ["there is no", "git sparse-checkout disable"]),
    ],
    ids=["file", "elsewhere", "token-of-another", "gone"],
)
async def test_what_cannot_be_fetched_is_named_with_the_command(
    origin: Repo, server: GitServer, tmp_path: Path, url: str, name: str, messages: list[str]
) -> None:
    repo = clone(origin, tmp_path, "--filter=blob:none", sparse=CONE)
    complete = at_github(repo, server, name=name)
    address = url.format(origin=f"file://{origin.path}", server=f"http://127.0.0.1:{server.server_port}")
    repo.git("remote", "set-url", "origin", address)
    with pytest.raises(WorkspaceError) as failure:
        await open_checkout(repo.path, history=1, scratch=tmp_path, complete=complete)
    text = f"{failure.value} {failure.value.hint}"
    assert "is a partial clone that lacks 2 objects" in text
    for message in messages:
        assert message in text
    if name != "ada/gone":
        assert TOKEN not in str(server.requests)
    assert "secret" not in text


async def test_a_server_out_of_reach_is_named(
    origin: Repo, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "RETRY", RetryPolicy(timeout=0.1, first_wait=0.1, max_wait=0.1))
    repo = clone(origin, tmp_path, "--filter=blob:none", sparse=CONE)
    repo.git("remote", "set-url", "origin", "git@127.0.0.1:ada/tools.git")
    with pytest.raises(WorkspaceError, match=r"lacks 2 objects.*git cannot fetch from 127.0.0.1"):
        await open_checkout(repo.path, history=1, scratch=scratch, complete=NO_SERVER)


@pytest.mark.parametrize("history", [0, 50])
async def test_a_missing_blob_far_back_stops_no_run(origin: Repo, tmp_path: Path, scratch: Path, history: int) -> None:
    repo = new_repo(tmp_path / "clone", FILES)
    old = repo.line("rev-parse", "HEAD:a/x")
    for number in range(12):
        repo.put("a/x", f"{number}\n".encode())
        repo.commit(f"{number}")
    (repo.path / ".git/objects" / old[:2] / old[2:]).unlink()
    repo.put("new", b"new\n")
    source = await open_checkout(repo.path, history=history, scratch=scratch)
    assert await paths_of(source) == {*FILES, "new"}
    assert (await source.git.run("rev-list", "--count", "HEAD")).line == "10"
    assert source.notes == (
        "objects are missing in the history of the checkout (git fsck names them): "
        "only its last 10 generations of commits travel",
    )


async def test_a_commit_that_is_not_whole_is_an_error(tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "clone", FILES)
    blob = repo.line("rev-parse", "HEAD:a/x")
    (repo.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(WorkspaceError, match=r"cannot be read.*unable to read") as failure:
        await open_checkout(repo.path, history=1, scratch=scratch, complete=NO_SERVER)
    assert "git fsck" in failure.value.hint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/ada/tools", "ada/tools"),
        ("https://github.com/ada/tools.git", "ada/tools"),
        ("https://user:word@github.com/ada/tools.git/", "ada/tools"),
        ("git@github.com:ada/tools.git", "ada/tools"),
        ("ssh://git@github.com/ada/tools.x", "ada/tools.x"),
        ("http://github.com/ada/tools", ""),
        ("https://github.com:8443/ada/tools", ""),
        ("https://github.com.example.com/ada/tools", ""),
        ("https://github.com@example.com/ada/tools", ""),
        ("https://github.com/ada/tools?x", ""),
        ("https://github.com/ada/../bea/tools", ""),
        ("https://github.com/../tools", ""),
        ("https://github.com/ada/..", ""),
        ("https://[github.com/ada/tools", ""),
        ("https://github.com:x/ada/tools", ""),
        ("ext::sh -c x git@github.com:ada/tools", ""),
        ("git@github.com:ada/tools\n", ""),
        ("-ogit@github.com:ada/tools", ""),
        ("", ""),
    ],
)
def test_only_a_plain_address_on_the_forge_is_a_repository(url: str, expected: str) -> None:
    assert repository_name(url, "https://github.com") == expected


def test_the_address_is_that_of_the_promisor() -> None:
    config = "remote.origin.url\nhttps://a\0remote.Up.stream.url\nhttps://b\0remote.Up.stream.promisor\ntrue\0"
    assert promisor_url(config) == "https://b"
    assert promisor_url("remote.origin.promisor\0") == promisor_url("") == ""

"""Git repositories for tests, made with the real git, and sandboxes of each kind to put them into."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from flue_ci.core.ports import ExecResult, Network, Sandbox, SandboxProvider, SandboxRequest
from flue_ci.git.source import Source, open_checkout
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.local.provider import LocalProvider
from tests.support.e2b_server import E2BServer

KINDS = ("isolated", "plain", "e2b")
REQUEST = SandboxRequest(env={}, metadata={"flue-ci": "1", "run": "repos"}, network=Network(), max_seconds=300)
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2024-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_COMMITTER_DATE": "2024-01-02T03:04:05Z",
}
# path: (kind, content); kind is `file`, `exec` or `link`
Tree = dict[str, tuple[str, bytes]]

EVERY_KIND: Tree = {
    "plain.txt": ("file", b"one\ntwo\nthree\n"),
    "tool.sh": ("exec", b"#!/bin/sh\necho hi\n"),
    "empty": ("file", b""),
    "no newline at end.txt": ("file", b"last line"),
    "crlf.txt": ("file", b"one\r\ntwo\r\n"),
    "mixed.txt": ("file", b"one\r\ntwo\nthree\r"),
    "picture.bin": ("file", bytes(range(256)) * 40),
    "dir with space/deep/er.txt": ("file", b"deep\n"),
    "grün/naïve 日本語.txt": ("file", "ünïcode\n".encode()),
    "-dash": ("file", b"looks like an option\n"),
    "quote'\"$(x)`y`.txt": ("file", b"shell\n"),
    "star*?[a].txt": ("file", b"glob\n"),
    "tab\there": ("file", b"tab\n"),
    "link": ("link", b"plain.txt"),
    "dir with space/up": ("link", b"../plain.txt"),
    "dangling": ("link", b"nowhere"),
    "to-dir": ("link", b"dir with space"),
}


@dataclass(frozen=True, slots=True)
class Repo:
    """A checkout of the test's own."""

    path: Path

    def git(self, *args: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
        """Standard output of a git command that has to succeed."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | ENVIRONMENT | dict(env or {})
        command = ["git", *args]
        done = subprocess.run(command, cwd=self.path, env=environment, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def line(self, *args: str) -> str:
        return self.git(*args).decode().strip()

    def write(self, tree: Mapping[str, tuple[str, bytes]]) -> None:
        write_tree(self.path, tree)

    def put(self, path: str, content: bytes) -> None:
        self.write({path: ("file", content)})

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("-c", "maintenance.auto=false", "commit", "-q", "--no-verify", "--allow-empty", "-m", message)
        return self.head()

    def head(self) -> str:
        """The commit that is checked out."""
        file = self.path / ".git/HEAD"
        if not file.is_file():  # a work tree or submodule
            return self.line("rev-parse", "HEAD")
        text = file.read_text().strip()
        if text.startswith("ref: "):
            text = (self.path / ".git" / text.removeprefix("ref: ")).read_text().strip()
        return text

    def tree(self) -> Tree:
        return read_tree(self.path)

    def status(self) -> bytes:
        return self.git("status", "--porcelain=v1", "-z", "--untracked-files=all")


def common_packs(repo: Repo, source: Source) -> set[str]:
    """The packs that the source has just as the checkout has them."""
    names = {path.name for path in (repo.path / ".git/objects/pack").glob("*.pack")}
    return names & {path.name for path in source.object_files()}


def new_repo(path: Path, tree: Mapping[str, tuple[str, bytes]] | None = None, *options: str) -> Repo:
    """An initialised repository; with one commit of `tree` when there is one."""
    repo = Repo(path)
    if tree:
        shutil.copytree(_template(tuple(tree.items()), options), path, symlinks=True, dirs_exist_ok=True)
        repo.git("update-index", "-q", "--refresh")
    else:
        path.mkdir(parents=True, exist_ok=True)
        repo.git("init", "-q", "--initial-branch=main", *options)
    return repo


@cache
def _template(tree: tuple[tuple[str, tuple[str, bytes]], ...], options: tuple[str, ...]) -> Path:
    """A repository to be copied: made once for each content."""
    folder = Path(tempfile.mkdtemp(prefix="repo-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    repo = Repo(folder)
    repo.git("init", "-q", "--initial-branch=main", *options)
    repo.write(dict(tree))
    repo.commit("first")
    return folder


_sources: dict[tuple[tuple[str, tuple[str, bytes]], ...], Source] = {}


async def new_source(directory: Path, tree: Mapping[str, tuple[str, bytes]]) -> tuple[Repo, Source]:
    """A repository with one commit of `tree`, which is for all tests and not to be changed, and its `Source` in
    `directory`, a copy of the one that was made first."""
    key = tuple(tree.items())
    repo = Repo(_template(key, ()))
    if key not in _sources:
        scratch = Path(tempfile.mkdtemp(prefix="source-template-"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        _sources[key] = replace(await open_checkout(repo.path, history=5, scratch=scratch), name="repo")
    return repo, copy_source(_sources[key], directory)


def copy_source(source: Source, directory: Path) -> Source:
    """The same in `directory`: what is verified adds objects to it."""
    git_dir = directory / "scratch/source.git"
    shutil.copytree(source.git_dir, git_dir)
    return replace(source, git_dir=git_dir)


def write_tree(top: Path, tree: Mapping[str, tuple[str, bytes]]) -> None:
    for name, (kind, content) in tree.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            path.unlink()
        if kind == "link":
            path.symlink_to(os.fsdecode(content))
        else:
            path.write_bytes(content)
            path.chmod(0o755 if kind == "exec" else 0o644)


def read_tree(top: Path) -> Tree:
    """Every file below `top` but those in its `.git`."""
    found: Tree = {}
    for directory, names, files in os.walk(top):
        if Path(directory) == top:
            names[:] = [name for name in names if name != ".git"]
        for name in [*files, *(n for n in names if Path(directory, n).is_symlink())]:
            path = Path(directory, name)
            if path == top / ".git":
                continue
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                found[str(path.relative_to(top))] = ("link", os.fsencode(path.readlink()))
            else:
                found[str(path.relative_to(top))] = ("exec" if info.st_mode & 0o100 else "file", path.read_bytes())
    return found


async def tree_inside(box: Sandbox, root: str) -> Tree:
    """The same, of a directory in a sandbox."""
    await shell(box, "tar -c --exclude=./.git -f ../tree.tar .", root)
    home = root.rpartition("/")[0]
    found: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(await box.read(f"{home}/tree.tar"))) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.issym():
                found[name] = ("link", os.fsencode(member.linkname))
            elif member.isfile():
                stream = archive.extractfile(member)
                assert stream
                found[name] = ("exec" if member.mode & 0o100 else "file", stream.read())
    return found


async def shell(box: Sandbox, command: str, cwd: str = "") -> str:
    """Output of a command that has to succeed."""
    result = await box.exec(command, timeout=120, cwd=cwd, limit=4_000_000)
    assert result.exit_code == 0, result.output.decode(errors="replace")
    return result.output.decode(errors="surrogateescape")


@contextmanager
def provider_of(kind: str, directory: Path) -> Iterator[SandboxProvider]:
    if kind == "e2b":
        with E2BServer() as server:
            yield E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url)
    else:
        yield LocalProvider(isolation=kind == "isolated", directory=directory)


@asynccontextmanager
async def open_box(kind: str, directory: Path) -> AsyncIterator[Sandbox]:
    """A sandbox of the kind: bubblewrap, plain processes of this user, or the E2B-compatible server."""
    with provider_of(kind, directory) as provider:
        box = await provider.open(REQUEST, lambda event: None)
        try:
            yield box
        finally:
            await box.close()


class Altered:
    """A sandbox in which something comes before every command."""

    def __init__(self, box: Sandbox, prelude: str) -> None:
        self._box = box
        self._prelude = prelude
        self.read = box.read
        self.write = box.write
        self.set_network = box.set_network
        self.close = box.close
        self.end_processes = box.end_processes
        self.info = box.info

    async def exec(self, command: str, **options: object) -> ExecResult:
        return await self._box.exec(f"{self._prelude}\n{command}", **options)  # type: ignore[arg-type]


def fake_git(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in the place of git, by `PATH`."""
    program = directory / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

"""Commits come from a real git server as data: the right ones, with the token unseen and nothing of theirs at work."""

from __future__ import annotations

import asyncio
import base64
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from flue_ci.core.errors import FlueError, ForgeError
from flue_ci.core.retry import RetryPolicy
from flue_ci.git.fetch import MAX_TRUSTED_FILES, Remote, fetch_commit, open_remote, resolve, trusted_files
from flue_ci.git.source import Source
from flue_ci.spec.load import find_specs
from flue_ci.spec.skills import load_skills
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import Workspace, upload
from tests.support.repos import KINDS, Repo, new_repo, open_box, read_tree, shell

TOKEN = "ghs_Canary0123456789abcdefghijklmnopqrstuv"
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
HANG_GUARD = 60


class GitServer(http.server.ThreadingHTTPServer):
    """git's own smart HTTP over the repositories in `root`, for whoever has the token.

    `troubles` meet one request each: a status, `drop` (no answer), `half` (the answer breaks off), `hang` (none until
    the server ends), or the address of a redirect. `by_name` False: no commit by its name.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[tuple[str, str]] = []
        self.troubles: list[str] = []
        self.by_name = True
        self.ended = threading.Event()

    def url(self, repo: str = "ada/tools") -> str:
        return f"http://127.0.0.1:{self.server_port}/{repo}.git"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GitServer

    def log_message(self, format: str, *args: object) -> None:
        """The tests look at what matters."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        self.server.requests.append((self.path, self.headers.get("Authorization", "")))
        trouble = self.server.troubles.pop(0) if self.server.troubles else ""
        if trouble == "hang":
            self.server.ended.wait()
        if trouble in ("hang", "drop"):
            self._break_off()
        elif trouble.isdigit():
            self._send(int(trouble), {}, b"trouble")
        elif trouble.startswith("http"):
            self._send(302, {"Location": trouble + self.path}, b"")
        elif self.headers.get("Authorization") != f"Basic {BASIC}":
            self._send(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"no")
        else:
            self._send(*self._run(body), half=trouble == "half")

    def _run(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        if self.server.by_name:  # only the second version of the protocol gives every commit
            environment["HTTP_GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return int(headers.pop("Status", "200").split()[0]), headers, rest

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, half: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            self._break_off()

    def _break_off(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], GitServer]]:
    running: list[tuple[GitServer, threading.Thread]] = []

    def start() -> GitServer:
        server = GitServer(tmp_path / "served")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(start: Callable[[], GitServer]) -> GitServer:
    return start()


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `work` is a copy of."""
    top = tmp_path_factory.mktemp("pushed")
    served = top / "served" / "ada" / "tools.git"
    served.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", str(served)], check=True)
    work = new_repo(top / "work")
    work.git("remote", "add", "origin", str(served))
    for number in range(6):
        work.put("counter", b"".join(b"line %d\n" % n for n in range(number + 1)))
        work.commit(f"number {number}")
    work.git("push", "-q", "origin", "main")
    return top


@pytest.fixture
def work(pushed: Path, tmp_path: Path) -> Repo:
    """A checkout whose pushes end up on the server: `ada/tools`, with six commits on main."""
    shutil.copytree(pushed, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "work/.git/config"
    config.write_text(config.read_text().replace(str(pushed), str(tmp_path)))
    return Repo(tmp_path / "work")


@pytest.fixture
def remote(server: GitServer, tmp_path: Path) -> Remote:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Remote(
        url=server.url(), token=TOKEN, scratch=scratch, timeout_seconds=HANG_GUARD, retry=RetryPolicy(attempts=1)
    )


def held(remote: Remote, *args: str) -> str:
    """What git says of the fetched repository."""
    return Repo(remote.git_dir).line(f"--git-dir={remote.git_dir}", *args)


def propose(work: Repo, number: int = 7) -> str:
    """A pull request on the server; its commit is on no branch there, as a fork's."""
    work.git("checkout", "-q", "-b", f"proposal-{number}")
    work.put("counter", b"line 0\nchanged\nline 2\nline 3\nline 4\nline 5\n")
    work.put("new.txt", b"new\n")
    sha = work.commit("proposal")
    work.git("push", "-q", "origin", f"HEAD:refs/pull/{number}/head")
    work.git("checkout", "-q", "main")
    return sha


async def refused(action: object) -> FlueError:
    with pytest.raises(FlueError) as caught:
        await asyncio.wait_for(action, HANG_GUARD)  # type: ignore[arg-type]
    assert TOKEN not in str(caught.value) + caught.value.hint
    assert BASIC not in str(caught.value) + caught.value.hint
    return caught.value


async def test_a_commit_comes_by_its_name_with_bounded_history(remote: Remote, work: Repo) -> None:
    sha = work.line("rev-parse", "HEAD~1")
    await fetch_commit(remote, sha=sha, depth=3)
    assert held(remote, "log", "--format=%s", sha) == "number 4\nnumber 3\nnumber 2"
    assert [path.name for path in remote.scratch.iterdir()] == ["remote.git"]
    assert not (remote.git_dir / "index").exists()
    assert held(remote, "fsck") == ""


async def test_all_history_comes_for_a_depth_of_zero(remote: Remote, work: Repo) -> None:
    sha = work.line("rev-parse", "HEAD")
    await fetch_commit(remote, sha=sha, depth=1)
    await fetch_commit(remote, sha=sha, depth=0)
    assert held(remote, "rev-list", "--count", sha) == "6"


async def test_a_branch_is_resolved_and_a_name_that_only_ends_alike_is_not(remote: Remote, work: Repo) -> None:
    work.git("push", "-q", "origin", "HEAD~2:refs/heads/refs/heads/main", "HEAD~3:refs/heads/feature/ünï")
    assert await resolve(remote, "refs/heads/main") == work.line("rev-parse", "HEAD")
    assert await resolve(remote, "main") == work.line("rev-parse", "HEAD")
    assert await resolve(remote, "feature/ünï") == work.line("rev-parse", "HEAD~3")
    error = await refused(resolve(remote, "refs/heads/ain"))
    assert "there is no refs/heads/ain" in str(error)
    assert isinstance(error, ForgeError)
    assert error.status == 404


async def test_only_what_was_asked_for_comes_from_a_server_with_very_many_refs(remote: Remote, work: Repo) -> None:
    sha = work.line("rev-parse", "HEAD")
    served = remote_repo(work)
    lines = "".join(f"{sha} refs/heads/branch-{number:05}\n" for number in range(20_000))
    (served / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{lines}")
    work.git("tag", "v1")
    work.git("push", "-q", "origin", "v1")
    assert await resolve(remote, "refs/heads/branch-19999") == sha
    await fetch_commit(remote, sha=sha, depth=1)
    assert held(remote, "for-each-ref", "--format=%(refname)") == f"refs/flue-ci/1/{sha}"


def remote_repo(work: Repo) -> Path:
    return Path(work.line("remote", "get-url", "origin"))


HOSTILE_REFS = [
    "--upload-pack=touch pwned",
    "-x",
    "refs/heads/-x",
    "refs/heads/../x",
    "refs/heads/x..y",
    "refs/heads/x\ny",
    "refs/heads/x\x7f",
    "refs/heads/a b",
    "refs/heads/a:refs/heads/b",
    "refs/heads/*",
    "refs/heads/a?",
    "refs/heads/[a]",
    "refs/heads/a~1",
    "refs/heads/a^",
    "refs/heads/a\\b",
    "refs/heads/a@{1}",
    "refs/heads/a.lock",
    "refs/heads/.hidden",
    "refs/heads/a//b",
    "refs/heads/a/",
    "refs/heads/",
    "refs/heads",
    "refs/heads/\udcff",
    "refs/heads/" + "x" * 5000,
]


@pytest.mark.parametrize("ref", HOSTILE_REFS, ids=lambda ref: ascii(ref)[:40])
async def test_a_hostile_ref_is_refused_before_git_sees_it(remote: Remote, server: GitServer, ref: str) -> None:
    sha = "1" * 40
    for action in (
        resolve(remote, ref),
        fetch_commit(remote, sha=sha, ref=ref, depth=1),
        open_remote(remote, name="tools", head=sha, ref=ref, base=None, base_ref="", depth=1),
        open_remote(remote, name="tools", head=sha, ref="main", base=sha, base_ref=ref, depth=1),
    ):
        error = await refused(action)
        assert "not accepted as the name" in str(error)
        assert len(str(error)) < 200
    assert server.requests == []


@pytest.mark.parametrize("sha", ["", "main", "--all", "c7fffbd", "A" * 40, "1" * 40 + "\n", "1" * 64])
async def test_a_commit_without_its_full_name_is_refused(remote: Remote, server: GitServer, sha: str) -> None:
    assert "not the full name of a commit" in str(await refused(fetch_commit(remote, sha=sha, depth=1)))
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch pwned'",
        "file:///etc",
        "/etc",
        "ssh://example.com/x",
        "git@example.com:x/y",
        "git://127.0.0.1/x",
        "--upload-pack=touch",
        "http://",
        "http://ada:secret@127.0.0.1/x.git",
        "http://127.0.0.1/x.git?token=1",
        "http://127.0.0.1/x y.git",
        "http://127.0.0.1/x\n.git",
    ],
)
async def test_git_is_sent_to_web_addresses_only(remote: Remote, url: str) -> None:
    error = await refused(resolve(replace(remote, url=url), "main"))
    assert "an address that git is not sent to" in str(error)
    assert "secret" not in str(error) + error.hint


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every git from here on writes down what it and its children are started with."""
    log, real = tmp_path / "trace", shutil.which("git")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(
        f'#!/bin/sh\nexport GIT_TRACE2_EVENT={log}\ntr "\\0" " " < /proc/$$/cmdline >> {log}\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return log


async def test_the_token_is_sent_and_seen_nowhere_else(
    remote: Remote, work: Repo, server: GitServer, traced: Path
) -> None:
    sha = propose(work)
    base = await resolve(remote, "main")
    await fetch_commit(remote, sha=base, depth=1)
    source = await open_remote(
        remote, name="tools", head=sha, ref="refs/pull/7/head", base=base, base_ref="main", depth=5
    )
    assert {authorization for _, authorization in server.requests} == {f"Basic {BASIC}"}
    trace = traced.read_text()
    assert "git-remote-http" in trace
    assert "index-pack" in trace
    seen = [trace, repr(remote), repr(source), str(server.requests[0][0])]
    seen += [path.read_bytes().decode("latin-1") for path in remote.scratch.rglob("*") if path.is_file()]
    for secret in (TOKEN, BASIC):
        assert not [text for text in seen if secret in text]
    assert "127.0.0.1" not in (remote.git_dir / "config").read_text()


async def test_a_redirect_is_not_followed_and_the_other_server_sees_nothing(
    remote: Remote, work: Repo, start: Callable[[], GitServer], server: GitServer
) -> None:
    other = start()
    server.troubles = [f"http://localhost:{other.server_port}"]
    error = await refused(fetch_commit(remote, sha=work.line("rev-parse", "HEAD"), depth=1))
    assert "leads to another address, which is not followed" in str(error)
    assert other.requests == []


@pytest.mark.parametrize(
    ("status", "words", "hint"),
    [
        ("401", "does not accept the token", "permissions: {contents: read}"),
        ("403", "may not read", "permissions: {contents: read}"),
        ("404", "or the token may not read it", "permissions: {contents: read}"),
        ("429", "it answers 429", ""),
        ("500", "it answers 500", "status page"),
    ],
)
async def test_what_a_server_refuses_is_told_in_our_words(
    remote: Remote, work: Repo, server: GitServer, status: str, words: str, hint: str
) -> None:
    server.troubles = [status]
    error = await refused(fetch_commit(remote, sha=work.line("rev-parse", "HEAD"), depth=1))
    assert words in str(error)
    assert hint in error.hint
    assert isinstance(error, ForgeError)
    assert error.status == int(status)


async def test_a_wrong_token_is_named_as_the_reason(remote: Remote, work: Repo) -> None:
    error = await refused(fetch_commit(replace(remote, token="wrong"), sha=work.line("rev-parse", "HEAD"), depth=1))
    assert "does not accept the token" in str(error)


@pytest.mark.parametrize("troubles", [["drop"], ["503"], ["429"], ["", "503"], ["", "half"]])
async def test_a_network_that_fails_is_tried_again(
    remote: Remote, work: Repo, server: GitServer, troubles: list[str]
) -> None:
    work.put("big", os.urandom(50_000))
    sha = work.commit()
    work.git("push", "-q", "origin", "main")
    server.troubles = troubles
    messages: list[str] = []
    quick = RetryPolicy(timeout=HANG_GUARD, first_wait=0.01)
    await fetch_commit(replace(remote, retry=quick, notify=messages.append), sha=sha, depth=2)
    assert held(remote, "rev-list", "--count", sha) == "2"
    assert len(messages) == 1
    assert not list(remote.git_dir.rglob("tmp_*"))


async def test_a_server_out_of_reach_is_given_up_with_the_reason(remote: Remote, work: Repo) -> None:
    error = await refused(resolve(replace(remote, url="http://127.0.0.1:1/x.git"), "main"))
    assert "git cannot fetch from 127.0.0.1: " in str(error)


async def test_a_server_that_does_not_answer_ends_at_the_time_limit(
    remote: Remote, work: Repo, server: GitServer
) -> None:
    server.troubles = ["hang"]
    error = await refused(resolve(replace(remote, timeout_seconds=0.5), "main"))
    assert "did not send the repository within" in str(error)


async def test_a_fetch_that_is_cancelled_leaves_no_process(remote: Remote, work: Repo, server: GitServer) -> None:
    server.troubles = ["hang"]
    fetching = asyncio.ensure_future(resolve(remote, "main"))
    while not server.requests:
        await asyncio.sleep(0.01)
    assert processes_in(remote.git_dir)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    while processes_in(remote.git_dir):  # killed; the system needs a moment to bury them
        await asyncio.sleep(0.01)


def processes_in(directory: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == directory:
                found.append(process.name)
    return found


async def test_more_than_may_come_is_refused(remote: Remote, work: Repo) -> None:
    work.put("big", os.urandom(300_000))
    sha = work.commit()
    work.git("push", "-q", "origin", "main")
    error = await refused(fetch_commit(replace(remote, max_bytes=200_000), sha=sha, depth=1))
    assert "larger than 200 KB" in str(error)


async def test_a_server_that_gives_no_commit_by_name_is_asked_by_ref(
    remote: Remote, work: Repo, server: GitServer
) -> None:
    server.by_name = False
    sha, base = propose(work), work.line("rev-parse", "main")
    older = work.line("rev-parse", "HEAD~2")
    await fetch_commit(remote, sha=sha, depth=2)  # a ref's commit is given
    error = await refused(fetch_commit(remote, sha=older, depth=1))
    assert "has not got (any more) the commit" in str(error)
    error = await refused(fetch_commit(remote, sha=older, ref="refs/pull/8/head", depth=1))
    assert "has not got (any more) the commit" in str(error)
    error = await refused(fetch_commit(remote, sha=older, ref="refs/heads/main", depth=1))
    assert str(error) == f"refs/heads/main is at {base[:12]}, no longer at {older[:12]}"


async def test_a_head_that_moved_and_is_gone_is_said_to_have_moved(remote: Remote, work: Repo) -> None:
    sha = propose(work)
    served = Repo(remote_repo(work))
    newer = work.commit("instead")
    work.git("push", "-qf", "origin", "HEAD:refs/pull/7/head")
    served.git("gc", "-q", "--prune=now")
    error = await refused(fetch_commit(remote, sha=sha, ref="refs/pull/7/head", depth=1))
    assert str(error) == f"refs/pull/7/head is at {newer[:12]}, no longer at {sha[:12]}"
    assert "pushed meanwhile" in error.hint


async def test_a_head_that_moved_is_still_fetched_while_the_server_has_it(remote: Remote, work: Repo) -> None:
    sha = propose(work)
    work.commit("instead")
    work.git("push", "-qf", "origin", "HEAD:refs/pull/7/head")
    await fetch_commit(remote, sha=sha, ref="refs/pull/7/head", depth=1)
    assert held(remote, "log", "-1", "--format=%s", sha) == "proposal"


async def test_what_is_no_commit_is_refused(remote: Remote, work: Repo) -> None:
    blob = work.line("rev-parse", "HEAD:counter")
    assert "no longer at" in str(await refused(fetch_commit(remote, sha=blob, depth=1)))


async def test_an_empty_repository_has_nothing_to_fetch(remote: Remote, work: Repo, server: GitServer) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(server.root / "ada/empty.git")], check=True)
    empty = replace(remote, url=server.url("ada/empty"))
    assert "there is no refs/heads/main" in str(await refused(resolve(empty, "main")))
    error = await refused(fetch_commit(empty, sha="1" * 40, ref="main", depth=1))
    assert "has not got" in str(error)


def raw(repo: Repo, kind: str, content: bytes) -> str:
    """An object that git itself would not write."""
    return repo.git("hash-object", "-w", "--literally", "-t", kind, "--stdin", stdin=content).decode().strip()


def push_raw(work: Repo, tree: bytes, people: bytes) -> str:
    name = raw(work, "tree", tree)
    sha = raw(work, "commit", b"tree %s\nauthor %s\ncommitter %s\n\nold\n" % (name.encode(), people, people))
    work.git("push", "-q", "origin", f"{sha}:refs/heads/odd")
    return sha


ORDINARY = b"Ada <ada@example.com> 1 +0000"


async def test_blemishes_of_old_honest_repositories_are_no_obstacle(remote: Remote, work: Repo) -> None:
    blob = bytes.fromhex(work.line("rev-parse", "HEAD:counter"))
    below = bytes.fromhex(work.line("rev-parse", "HEAD^{tree}"))
    tree = b"100664 a\0" + blob + b"040000 b\0" + below
    sha = push_raw(work, tree, b"<ada> 0100 +051800")
    await fetch_commit(remote, sha=sha, depth=1)
    assert held(remote, "log", "--format=%s", sha) == "old"


@pytest.mark.parametrize("name", [b".git", b"..", b".GIT", b"a/b"])
async def test_a_tree_made_to_lead_elsewhere_is_refused(remote: Remote, work: Repo, name: bytes) -> None:
    below = bytes.fromhex(work.line("rev-parse", "HEAD^{tree}"))
    sha = push_raw(work, b"40000 " + name + b"\0" + below, ORDINARY)
    error = await refused(fetch_commit(remote, sha=sha, depth=1))
    assert "an object that is not accepted: " in str(error)


SKILL = b"---\nname: parsing\ndescription: How we parse.\n---\nRead this.\n"
SPEC = b"version: 1\nprompt: hello\n"


async def test_only_trusted_files_are_laid_out_and_no_link_among_them(
    remote: Remote, work: Repo, tmp_path: Path
) -> None:
    trusted = {
        ".flue/agents/fix.yml": ("file", SPEC),
        ".flue/agents/look.yaml": ("file", SPEC),
        "AGENTS.md": ("file", b"Be kind.\n"),
        ".agents/skills/parsing/SKILL.md": ("file", SKILL),
        ".agents/skills/parsing/deep/er ü.txt": ("exec", b"more\n"),
    }
    others = {
        ".flue/agents/note.txt": ("file", b"no spec\n"),
        ".flue/agents/deeper/x.yml": ("file", SPEC),
        ".flue/agents/link.yml": ("link", b"/etc/passwd"),
        ".agents/skills/link": ("link", b"../../.."),
        ".agents/other": ("file", b"no\n"),
        "sub/AGENTS.md": ("file", b"no\n"),
        ".gitattributes": ("file", b"* ident eol=crlf\n"),
    }
    work.write(trusted | others)
    sha = work.commit()
    work.git("push", "-q", "origin", "main")
    await fetch_commit(remote, sha=sha, depth=1)
    target = tmp_path / "trusted"
    target.mkdir()
    await trusted_files(remote, sha, target)
    assert read_tree(target) == {path: ("file", content) for path, (_, content) in trusted.items()}
    assert [path.name for path in find_specs(target)] == ["fix.yml", "look.yaml"]
    skills, notes = load_skills(target, "auto")
    assert ([skill.name for skill in skills], notes) == (["parsing"], ())
    assert [*skills[0].files] == ["SKILL.md", "deep/er ü.txt"]


async def test_folders_that_are_links_are_not_followed(remote: Remote, work: Repo, tmp_path: Path) -> None:
    work.write({".flue/agents": ("link", b"/etc"), ".agents": ("link", b".."), "AGENTS.md": ("link", b"counter")})
    sha = work.commit()
    work.git("push", "-q", "origin", "main")
    await fetch_commit(remote, sha=sha, depth=1)
    (tmp_path / "trusted").mkdir()
    await trusted_files(remote, sha, tmp_path / "trusted")
    assert list((tmp_path / "trusted").iterdir()) == []


async def test_too_many_or_oddly_named_trusted_files_are_refused(remote: Remote, work: Repo, tmp_path: Path) -> None:
    work.write({f".agents/skills/many/{number}": ("file", b"x") for number in range(MAX_TRUSTED_FILES + 1)})
    many = work.commit()
    work.git("rm", "-rq", ".agents")
    work.put(".agents/skills/odd/new\nline", b"x")
    odd = work.commit()
    work.git("push", "-q", "origin", "main")
    await fetch_commit(remote, sha=odd, depth=2)
    (tmp_path / "trusted").mkdir()
    error = await refused(trusted_files(remote, many, tmp_path / "trusted"))
    assert "501 files" in str(error)
    assert "control characters" in str(await refused(trusted_files(remote, odd, tmp_path / "trusted")))
    assert list((tmp_path / "trusted").iterdir()) == []


async def bring(remote: Remote, box: object, **about: object) -> tuple[Source, Workspace]:
    source = await open_remote(remote, name="tools", **about)  # type: ignore[arg-type]
    return source, await upload(source, box)  # type: ignore[arg-type]


@pytest.mark.family(1)
@pytest.mark.parametrize("kind", KINDS)
async def test_history_diff_and_blame_work_inside_for_a_pull_request(
    kind: str, remote: Remote, work: Repo, server: GitServer, tmp_path: Path
) -> None:
    sha = propose(work)
    work.put("later.txt", b"on main meanwhile\n")
    base = work.commit("later")
    work.git("push", "-q", "origin", "main")
    await fetch_commit(remote, sha=base, depth=1)  # as for the trusted files
    async with open_box(kind, tmp_path) as box:
        about = {"head": sha, "ref": "refs/pull/7/head", "base": base, "base_ref": "main", "depth": 4}
        asked = len(server.requests)
        source, workspace = await bring(remote, box, **about)
        assert len([path for path, _ in server.requests[asked:] if "info/refs" in path]) == 1
        root = workspace.root
        assert await shell(box, "git log --format=%s", root) == "proposal\nnumber 5\nnumber 4\nnumber 3\n"
        assert await shell(box, "git diff --stat=80 origin/main...HEAD | cat", root) == (
            " counter | 2 +-\n new.txt | 1 +\n 2 files changed, 2 insertions(+), 1 deletion(-)\n"
        )
        assert await shell(box, "git log --format=%s HEAD..origin/main", root) == "later\n"
        blamed = await shell(box, "git blame -s counter", root)
        assert blamed.splitlines()[1].startswith(sha[:8])
        assert await shell(box, "git status --porcelain --branch; git fsck 2>&1", root) == "## pull/7\n"
        assert await shell(box, "git rev-parse --is-shallow-repository; git remote", root) == "true\n"
        assert await shell(box, "git for-each-ref --format='%(refname)'", root) == (
            "refs/heads/pull/7\nrefs/remotes/origin/main\n"
        )
        assert (source.head, source.base, source.files, source.notes) == (sha, sha, 2, ())
        assert 0 < source.pack_bytes < 100_000

        await shell(box, "echo more >> new.txt; git add -A; git commit -qm mine", root)
        changes = await collect(workspace, source, box)
        assert [file.path for file in changes.files] == ["new.txt"]


async def test_a_branch_of_the_repository_keeps_its_name_inside(remote: Remote, work: Repo, tmp_path: Path) -> None:
    work.git("checkout", "-q", "-b", "feature/ünï")
    work.put("new.txt", b"new\n")
    sha = work.commit("mine")
    work.git("push", "-q", "origin", "HEAD")
    base = work.line("rev-parse", "main")
    async with open_box("plain", tmp_path) as box:
        about = {"head": sha, "ref": "feature/ünï", "base": base, "base_ref": "main", "depth": 50}
        source, workspace = await bring(remote, box, **about)
        assert await shell(
            box, "git diff --name-only origin/main...HEAD; git branch --show-current", workspace.root
        ) == ("new.txt\nfeature/ünï\n")
        assert source.ref == "feature/ünï"


async def test_a_commit_alone_arrives_without_branch_and_base(remote: Remote, work: Repo, tmp_path: Path) -> None:
    sha = work.line("rev-parse", "HEAD~2")
    async with open_box("plain", tmp_path) as box:
        about = {"head": sha, "ref": "", "base": None, "base_ref": "", "depth": 1}
        source, workspace = await bring(remote, box, **about)
        assert await shell(box, "git log --format=%s --all; git status -s -b", workspace.root) == (
            "number 3\n## HEAD (no branch)\n"
        )
        assert (source.ref, source.refs) == (None, {})


def long_history(work: Repo, length: int) -> str:
    """A pull request from the root of a main branch of that many commits."""
    stream = "".join(
        f"commit refs/heads/main\ncommitter A <a@example.com> {number} +0000\ndata 1\nx\n"
        + ("from refs/heads/main^0\n" if number == 0 else "")
        + f"M 644 inline counter\ndata {len(str(number))}\n{number}\n"
        for number in range(length)
    )
    start = work.line("rev-parse", "HEAD")
    work.git("checkout", "-q", "--detach")
    work.git("fast-import", "--quiet", "--force", stdin=stream.encode())
    work.git("push", "-q", "origin", "main")
    work.put("new.txt", b"new\n")
    assert work.line("rev-parse", "HEAD") == start
    sha = work.commit("proposal")
    work.git("push", "-q", "origin", "HEAD:refs/pull/7/head")
    return sha


@pytest.mark.parametrize(("length", "meet"), [(60, True), (1_100, False)])
async def test_history_reaches_to_where_the_branch_left_its_base_unless_that_is_very_far(
    remote: Remote, work: Repo, tmp_path: Path, length: int, meet: bool
) -> None:
    sha = long_history(work, length)
    base = await resolve(remote, "main")
    async with open_box("plain", tmp_path) as box:
        about = {"head": sha, "ref": "refs/pull/7/head", "base": base, "base_ref": "main", "depth": 5}
        source, workspace = await bring(remote, box, **about)
        if meet:
            assert await shell(box, "git diff --name-only origin/main...HEAD", workspace.root) == "new.txt\n"
            assert source.notes == ()
        else:
            assert source.notes == ("where the branch left main is further back than the history inside",)


async def test_nothing_of_the_fetched_repository_is_at_work_on_the_host(
    remote: Remote, work: Repo, tmp_path: Path, clean_environment: Path
) -> None:
    pwned = tmp_path / "pwned"
    evil = f"touch {pwned}"
    (clean_environment / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = {evil}\n\tclean = {evil}\n[filter "lfs"]\n\tsmudge = {evil}\n\tprocess = {evil}\n'
        f'[core]\n\tfsmonitor = {evil}\n\thooksPath = .\n[url "ext::{evil}"]\n\tinsteadOf = http://\n'
    )
    (clean_environment / ".netrc").write_text("machine 127.0.0.1 login mallory password wrong\n")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
    work.write(
        {
            ".gitattributes": ("file", b"* filter=evil\n*.bin filter=lfs -text\n"),
            "big.bin": ("file", pointer),
            "post-checkout": ("exec", f"#!/bin/sh\n{evil}\n".encode()),
            "reference-transaction": ("exec", f"#!/bin/sh\n{evil}\n".encode()),
        }
    )
    work.put(".gitmodules", f'[submodule "x"]\n\tpath = x\n\turl = {remote.url}\n'.encode())
    sha = work.commit()
    work.git("push", "-q", "origin", "main")
    before = {path for path in tmp_path.rglob("*") if "served" not in path.parts}
    source = await open_remote(remote, name="../tools", head=sha, ref="main", base=None, base_ref="", depth=2)
    made = {path for path in tmp_path.rglob("*") if "served" not in path.parts} - before
    assert all(path.is_relative_to(remote.git_dir) for path in made)
    assert not [path for path in made if path.name in ("big.bin", "counter", "post-checkout")]
    assert source.name == "tools"
    assert source.notes == (
        "submodules do not travel: their directories are empty inside",
        "files kept with Git LFS are pointer files inside",
    )
    async with open_box("plain", tmp_path) as box:
        workspace = await upload(source, box)
        assert (await box.read(f"{workspace.root}/big.bin")) == pointer
        assert not await shell(box, "git config --get-regexp 'filter|hook|url|remote' || :", workspace.root)
    assert not pwned.exists()


async def test_attributes_of_an_absurd_size_are_not_read(remote: Remote, work: Repo) -> None:
    work.put(".gitattributes", b"# nothing\n" * 300_000)
    sha = work.commit()
    work.git("push", "-q", "origin", "main")
    source = await open_remote(remote, name="x", head=sha, ref="main", base=None, base_ref="", depth=1)
    assert source.notes == ()

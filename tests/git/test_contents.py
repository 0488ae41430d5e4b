"""Submodules and Git LFS by the forge: the right addresses, the token for whom it is meant, contents that are what they
should be, and one sentence for what cannot be had."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flue_ci.core.errors import ForgeError, WorkspaceError
from flue_ci.core.retry import RetryPolicy
from flue_ci.git import contents
from flue_ci.git.contents import ContentOptions, Origin, add_checkout_contents, add_contents
from flue_ci.git.fetch import Remote, fetch_commit, open_remote
from flue_ci.git.lfs_api import LfsPointer, download
from flue_ci.git.source import Source, open_checkout
from flue_ci.git.submodules import is_public, public_addresses, submodule_address
from flue_ci.settings import GitHubSettings
from tests.git.test_fetch import BASIC, TOKEN, GitServer
from tests.git.test_fetch import _Handler as GitHandler
from tests.support.repos import Repo, fake_git, new_repo
from tests.support.tunnel import HOST, Company

PARENT = "https://github.com/ada/tools.git"
RETRY = RetryPolicy(attempts=2, first_wait=0.01)
SUBMODULES = ContentOptions(submodules=True)


def address(url: str, *hosts: str, parent: str = PARENT, server: str = "https://github.com") -> str:
    return submodule_address(url, parent=parent, server_url=server, hosts=hosts)


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("https://github.com/o/n", "https://github.com/o/n.git"),
        ("https://github.com/o/n.git/", "https://github.com/o/n.git"),
        ("https://user:password@github.com/o/n.git", "https://github.com/o/n.git"),
        ("https://GitHub.com:443/o/n.git", "https://github.com/o/n.git"),
        ("http://github.com/o/n", "https://github.com/o/n.git"),
        ("git://github.com/o/n.git", "https://github.com/o/n.git"),
        ("git@github.com:o/n.git", "https://github.com/o/n.git"),
        ("github.com:o/n", "https://github.com/o/n.git"),
        ("ssh://git@github.com:22/o/n.git", "https://github.com/o/n.git"),
        ("../n.git", "https://github.com/ada/n.git"),
        ("../../o/n", "https://github.com/o/n.git"),
        ("./n.git", "https://github.com/ada/tools.git/n.git"),
        ("https://git.example.org/a/b", "https://git.example.org/a/b"),
        ("git@git.example.org:a/b.git", "https://git.example.org/a/b.git"),
        ("http://git.example.org/a/b", "https://git.example.org/a/b"),
        ("https://x.example.com:8443/a", "https://x.example.com:8443/a"),
    ],
)
def test_an_address_of_a_submodule_is_one_for_https(url: str, result: str) -> None:
    assert address(url, "git.example.org", "*.example.com") == result


@pytest.mark.parametrize(
    "url",
    [
        *("", "/srv/git/n.git", "file:///srv/git/n.git", "ext::sh -c x", "C:\\n", "ftp://github.com/o/n", "https:///n"),
        *("https://git.example.net/a", "https://github.com.example.net/o/n", "https://github.com@example.net/o/n"),
        *("https://github.com/o/../n", "https://github.com/o/n?x=1", "https://github.com/o/n#x", "https://github.com/"),
        *("https://github.com:8443/o/n", "https://github.com:x/o/n", "https://github.com/o n", "-oProxyCommand=x:y"),
        *("https://git.net\\.x.example.com/a", "https://git.net%2f.x.example.com/a", "https://[::1]/a"),
        *("https://1.2.3.4;.x.example.com/a", "https://git.net&.x.example.com/a", "https://\u0131.x.example.com/a"),
        *("../../../../etc/passwd", "https://github.com//o", "https://github.com/ä/n"),
    ],
)
def test_other_addresses_are_not_asked(url: str) -> None:
    with pytest.raises(WorkspaceError):
        address(url, "git.example.org", "*.x.example.com", "::1")


def test_a_relative_address_needs_a_repository_on_the_forge() -> None:
    with pytest.raises(WorkspaceError, match="is relative"):
        address("../n", parent="")


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        *(("140.82.112.3", True), ("2606:50c0:8000::64", True), ("127.0.0.1", False), ("10.1.2.3", False)),
        *(("169.254.169.254", False), ("::1", False), ("fe80::1%eth0", False), ("fc00::1", False), ("0.0.0.0", False)),
        *(
            ("::ffff:10.0.0.1", False),
            ("::ffff:140.82.112.3", True),
            ("64:ff9b::a00:1", False),
            ("2002:a00:1::", False),
        ),
        *(("100.64.0.1", False), ("224.0.0.1", False), ("nonsense", False), ("192.168.0.1", False)),
    ],
)
def test_private_addresses_are_known(ip: str, public: bool) -> None:
    assert is_public(ip) is public


async def test_a_host_of_this_machine_is_not_asked() -> None:
    with pytest.raises(WorkspaceError, match="not public"):
        await public_addresses("https://localhost/a")


class Forge(GitServer):
    """Besides git, the batch API of Git LFS and the place of its contents, by their hash; `answers` replaces what is
    given out."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.RequestHandlerClass = _Handler
        self.contents: dict[str, bytes] = {}
        self.moved = ""
        self.header: dict[str, str] = {"X-Signature": "abc"}
        self.href = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def keep(self, content: bytes, *, other: bytes | None = None) -> LfsPointer:
        oid = hashlib.sha256(content).hexdigest()
        self.contents[oid] = content if other is None else other
        return LfsPointer(oid=oid, size=len(content))


class _Handler(GitHandler):
    server: Forge

    def do_GET(self) -> None:
        if not self.path.startswith(("/content/", "/elsewhere/")):
            super().do_GET()
            return
        self.server.requests.append((self.path, json.dumps(dict(self.headers))))
        content = self.server.contents.get(self.path.rpartition("/")[2], b"")
        if self.server.moved and self.path.startswith("/content/"):
            self.reply(302, b"", Location=self.server.moved + self.path.replace("content", "elsewhere"))
        else:
            self.reply(200, content)

    def do_POST(self) -> None:
        if not self.path.endswith("/info/lfs/objects/batch"):
            super().do_POST()
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers.get("Authorization", "")))
        if self.server.troubles:
            self.reply(int(self.server.troubles.pop(0)), b"trouble", Location="http://127.0.0.1:9/")
            return
        objects = []
        for each in body["objects"]:
            oid, entry = each["oid"], {"oid": each["oid"], "size": each["size"]}
            if oid in self.server.contents:
                href = (self.server.href or f"{self.server.address}/content/") + oid
                entry["actions"] = {"download": {"href": href, "header": self.server.header}}
            else:
                entry["error"] = {"code": 404, "message": "Object does not exist"}
            objects.append(entry)
        self.reply(200, json.dumps({"transfer": "basic", "objects": objects}).encode())

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    server = Forge(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def with_submodules(repo: Repo, links: dict[str, tuple[str, str]]) -> str:
    """A commit in which these paths are submodules: (address, commit)."""
    text = "".join(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in links.items())
    repo.put(".gitmodules", text.encode())
    repo.git("add", ".gitmodules")
    for path, (_, commit) in links.items():
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    repo.git("commit", "-qm", "submodules")
    return repo.line("rev-parse", "HEAD")


async def open_all(
    forge: Forge, scratch: Path, head: str, options: ContentOptions = SUBMODULES, trusted: str = ""
) -> Source:
    remote = Remote(url=forge.url(), token=TOKEN, scratch=scratch, retry=RETRY)
    if trusted:
        await fetch_commit(remote, sha=trusted, depth=1)
    source = await open_remote(remote, name="tools", head=head, ref="", base=None, base_ref="", depth=1)
    return await add_contents(source, options, Origin(server_url=forge.address, remote=remote, trusted_commit=trusted))


async def test_submodules_of_the_trusted_commit_come_with_the_token(forge: Forge, scratch: Path) -> None:
    deep = new_repo(forge.root / "eve/deep.git", {"d": ("file", b"d")})
    inner = new_repo(forge.root / "ada/inner.git", {"i": ("file", b"i")})
    inner_head = with_submodules(inner, {"deep": ("../../eve/deep.git", deep.line("rev-parse", "HEAD"))})
    repo = new_repo(forge.root / "ada/tools.git", {"o": ("file", b"o")})
    head = with_submodules(repo, {"libs/inner": ("../inner.git", inner_head)})
    source = await open_all(forge, scratch, head, trusted=head)
    assert source.notes == ()
    child = source.submodules["libs/inner"]
    assert child.head == inner_head
    assert child.submodules["deep"].head == deep.line("rev-parse", "HEAD")


async def test_a_repository_that_only_a_request_names_gets_no_token(forge: Forge, scratch: Path) -> None:
    secret = new_repo(forge.root / "ada/secret.git", {"s": ("file", b"s")})
    inner = new_repo(forge.root / "ada/inner.git", {"i": ("file", b"i")})
    first = inner.line("rev-parse", "HEAD")
    hostile = with_submodules(inner, {"deep": ("../secret.git", secret.line("rev-parse", "HEAD"))})
    repo = new_repo(forge.root / "ada/tools.git", {"o": ("file", b"o")})
    trusted = with_submodules(repo, {"inner": ("../inner.git", first)})
    links = {"inner": ("../inner.git", hostile), "secret": ("../secret.git", secret.line("rev-parse", "HEAD"))}
    head = with_submodules(repo, links)
    source = await open_all(forge, scratch, head, trusted=trusted)
    assert {path: list(child.submodules) for path, child in source.submodules.items()} == {"inner": []}
    assert [note.partition(":")[0] for note in source.notes] == [
        "submodule inner",
        "submodule secret is an empty directory inside",
    ]
    assert {header for path, header in forge.requests if "secret" in path} == {""}


@pytest.mark.parametrize(("version", "is_asked"), [("2.36.9", False), ("2.37.0", True)])
async def test_a_git_that_looks_up_the_address_itself_is_sent_to_no_other_server(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_asked: bool
) -> None:
    real = shutil.which("git")
    asked = tmp_path / "asked"
    fake_git(
        tmp_path,
        f"""case "$*" in
          *curloptResolve*) touch {asked}; exit 128 ;;
          *" version") echo git version {version} ;;
          *) exec {real} "$@" ;;
        esac""",
        monkeypatch,
    )
    repo = new_repo(tmp_path / "repo", {"o": ("file", b"o")})
    with_submodules(repo, {"sub": ("https://140.82.112.3/a.git", "1" * 40)})
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    options = ContentOptions(submodules=True, hosts=("140.82.112.3",))
    source = await add_checkout_contents(source, options, repo.path, GitHubSettings())
    assert asked.exists() == is_asked
    assert ("Submodules of other servers need git 2.37" in source.notes[0]) != is_asked


async def test_a_server_is_asked_over_tls_at_the_address_that_was_checked(
    forge: Forge, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = new_repo(forge.root / "ada/inner.git", {"i": ("file", b"i")})
    with Company(tmp_path) as company:
        monkeypatch.setenv("SSL_CERT_FILE", str(company.authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem")
        forge.socket = context.wrap_socket(forge.socket, server_side=True)
        url = f"https://{HOST}:{forge.server_port}/ada/inner.git"  # which no name server knows
        remote = Remote(url=url, token=TOKEN, scratch=scratch, retry=RETRY, addresses=("127.0.0.1",))
        commit = inner.line("rev-parse", "HEAD")
        source = await open_remote(remote, name="inner", head=commit, ref="", base=None, base_ref="", depth=1)
    assert (source.head, source.files) == (commit, 1)


async def test_what_cannot_be_had_is_named(forge: Forge, scratch: Path) -> None:
    inner = new_repo(forge.root / "ada/inner.git", {"i": ("file", b"i")})
    first = inner.line("rev-parse", "HEAD")
    repo = new_repo(forge.root / "ada/tools.git", {"o": ("file", b"o")})
    links = {
        "gone": ("../inner.git", "1" * 40),
        "missing": ("../other.git", first),
        "elsewhere": ("https://git.example.net/a.git", first),
        "here": ("https://localhost/a.git", first),
        "fine": ("../inner.git", first),
    }
    head = with_submodules(repo, links)
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{first},unknown")
    repo.git("commit", "-qm", "one more")
    options = ContentOptions(submodules=True, hosts=("localhost",))
    source = await open_all(forge, scratch, repo.line("rev-parse", "HEAD"), options, trusted=head)
    assert list(source.submodules) == ["fine"]
    notes = {note.split()[1]: note for note in source.notes}
    assert sorted(notes) == ["elsewhere", "gone", "here", "missing", "unknown"]
    assert "workspace: {submodules: {hosts: [git.example.net]}}" in notes["elsewhere"]
    assert "has not got (any more) the commit" in notes["gone"]
    assert "is not public" in notes["here"]
    assert "no address of it" in notes["unknown"]


async def test_a_checkout_fetches_what_it_lacks_without_a_token_for_others(
    forge: Forge, tmp_path: Path, scratch: Path
) -> None:
    inner = new_repo(forge.root / "ada/inner.git", {"i": ("file", b"i")})
    repo = new_repo(tmp_path / "repo", {"o": ("file", b"o")})
    with_submodules(repo, {"inner": ("../inner.git", inner.line("rev-parse", "HEAD"))})
    repo.git("remote", "add", "origin", forge.url())
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    github = GitHubSettings(server_url=forge.address, token=TOKEN, repo="ada/tools")
    source = await add_checkout_contents(source, SUBMODULES, repo.path, github)
    assert source.submodules == {}
    assert {header for _, header in forge.requests} == {""}
    assert "submodule inner is an empty directory inside" in source.notes[0]
    assert source.notes[0].endswith("; git submodule update --init brings it")


async def test_of_very_many_submodules_some_come_and_the_notes_stay_short(
    forge: Forge, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MAX_SUBMODULES", 30)
    repo = new_repo(forge.root / "ada/tools.git", {"o": ("file", b"o")})
    repo.git("update-index", "--index-info", stdin=b"".join(b"160000 %040d\td/%06d\n" % (1, n) for n in range(20_000)))
    repo.git("commit", "-qm", "very many")
    source = await open_all(forge, scratch, repo.line("rev-parse", "HEAD"))
    assert len(source.notes) == 22
    assert source.notes[-2:] == (
        "10 more notes on submodules are left out",
        "19,970 more submodules are empty directories inside: only 30 come along",
    )


async def test_the_contents_of_all_submodules_share_one_limit(
    forge: Forge, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MAX_LFS_BYTES", 700)
    files = {name: ("file", pointer(name.encode() * 500)) for name in "abc"}
    for name in "abc":
        forge.keep(name.encode() * 500)
    attributes = {".gitattributes": ("file", b"* filter=lfs\n.git* -filter\n")}
    commits = {}
    for name in "bc":
        inner = new_repo(forge.root / f"ada/{name}.git", {name: files[name], **attributes})
        commits[name] = (f"../{name}.git", inner.line("rev-parse", "HEAD"))
    repo = new_repo(forge.root / "ada/tools.git", {"o": ("file", b"o")})
    head = with_submodules(repo, commits)
    source = await open_all(forge, scratch, head, ContentOptions(submodules=True, lfs=True), trusted=head)
    assert sorted(len(child.lfs_files) for child in source.submodules.values()) == [0, 1]
    assert "all of them are more than 200 B" in source.notes[0]


async def fetch(forge: Forge, folder: Path, *objects: LfsPointer, token: str = TOKEN) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    remote = Remote(url=forge.url(), token=token, scratch=folder, retry=RETRY)
    return await download(remote, objects, folder)


async def test_contents_come_from_where_the_forge_says_with_its_headers_alone(forge: Forge, scratch: Path) -> None:
    wanted = [forge.keep(b"x" * number) for number in range(1, 150)]
    forge.href = f"http://localhost:{forge.server_port}/content/"  # another origin
    assert "names no address" in (await fetch(forge, scratch, wanted[0]))[wanted[0].oid]
    forge.href = ""
    assert await fetch(forge, scratch, *wanted) == {}
    assert sum(path.endswith("/batch") for path, _ in forge.requests) == 3
    assert {header for path, header in forge.requests if path.endswith("/batch")} == {f"Basic {BASIC}"}
    for each in wanted:
        assert len((scratch / each.oid).read_bytes()) == each.size
    assert all('"X-Signature": "abc"' in header for path, header in forge.requests if path.startswith("/content/"))


@pytest.mark.parametrize(
    ("addresses", "message"),
    [(("140.82.112.3",), "localhost is at .*, an address that is not public"), ((), "localhost answers 501")],
    ids=["other", "forge"],
)
async def test_a_server_that_is_not_the_forge_leads_nowhere_in_this_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], message: str
) -> None:
    with Company(tmp_path) as company:
        monkeypatch.setenv("SSL_CERT_FILE", str(company.authority))
        url = f"https://localhost:{company.port}/a.git"
        remote = Remote(url=url, scratch=tmp_path, retry=RETRY, addresses=addresses)
        with pytest.raises(ForgeError, match=message):
            await download(remote, [LfsPointer(oid="0" * 64, size=1)], tmp_path)


async def test_a_redirect_takes_no_header_along(forge: Forge, scratch: Path) -> None:
    wanted = forge.keep(b"content")
    forge.moved = forge.address
    assert await fetch(forge, scratch, wanted) == {}
    (headers,) = [header for path, header in forge.requests if path.startswith("/elsewhere/")]
    assert "Authorization" not in headers
    assert "X-Signature" not in headers
    forge.moved = f"http://localhost:{forge.server_port}"
    assert "not https" in (await fetch(forge, scratch, other := forge.keep(b"other")))[other.oid]


@pytest.mark.parametrize("content", [b"otherwise", b"longer than it should be" * 1_000, b"short"], ids=len)
async def test_contents_that_are_not_what_the_pointer_names_are_refused(
    forge: Forge, scratch: Path, content: bytes
) -> None:
    wanted = forge.keep(b"right one", other=content)
    (problem,) = (await fetch(forge, scratch, wanted)).values()
    assert "not what the pointer names" in problem or "broke off" in problem
    assert not (scratch / wanted.oid).exists()


async def test_trouble_is_tried_again_and_a_redirect_of_the_api_is_not_followed(forge: Forge, scratch: Path) -> None:
    wanted = forge.keep(b"content")
    forge.troubles = ["503"]
    assert await fetch(forge, scratch, wanted) == {}
    for status, message in (("302", "leads to another address"), ("404", "does not give them out")):
        forge.troubles = [status]
        with pytest.raises(Exception, match=message):
            await fetch(forge, scratch, forge.keep(b"second"))


def pointer(content: bytes) -> bytes:
    oid = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()


async def test_a_fetched_commit_has_contents_whatever_lfsconfig_says(forge: Forge, scratch: Path) -> None:
    files = {f"{name}.psd": ("file", pointer(name.encode() * 50)) for name in ("a", "b", "lost")}
    files |= {
        ".gitattributes": ("file", b"*.psd filter=lfs\n"),
        ".lfsconfig": ("file", b"[lfs]\nurl=http://[::1]:9/\n"),
    }
    repo = new_repo(forge.root / "ada/tools.git", files)
    for name in (b"a", b"b"):
        forge.keep(name * 50)
    source = await open_all(forge, scratch, repo.line("rev-parse", "HEAD"), ContentOptions(lfs=True))
    assert [(file.path, file.content.read_bytes()[:1]) for file in source.lfs_files] == [
        ("a.psd", b"a"),
        ("b.psd", b"b"),
    ]
    assert source.notes == (
        "1 file kept with Git LFS stays a pointer inside, because the forge answers: Object does not exist: lost.psd",
    )

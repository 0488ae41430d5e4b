"""Git data of the GitHub of the tests: blobs, trees, commits and refs, as objects of the repository that it serves.

Follows https://docs.github.com/rest/git. Where that is silent, the words and states are those that people quote: a tree
of more than about 2.5 MB "timed out" (codesandbox-client#8614, actions--create-commit#90), an absent path cannot be
deleted (`GitRPC::BadObjectState`), a workflow needs a permission that no job's token has.
"""

from __future__ import annotations

import base64
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.github_refusal import Refusal

if TYPE_CHECKING:
    from tests.support.github_server import GitHubServer, _Handler

JSON = dict[str, Any]
LARGEST_TREE = 2_500_000  # bytes of the body of a request
LARGEST_BLOB = 100_000_000
POINTS_A_MINUTE, WRITES_A_MINUTE = 900, 80
_SHA = re.compile(r"[0-9a-f]{40}")
_MODES = ("100644", "100755", "120000", "160000", "040000")
_BAD_PATH = re.compile(r"(?:^|/)(?:\.{0,2}|\.git)(?:/|$)", re.IGNORECASE)
_WORKFLOW = re.compile(r"\.github/workflows/[^/]+\.ya?ml")
_NO_ACCESS = "Resource not accessible by integration"
_TIMEOUT = (
    "Sorry, your request timed out.  It's likely that your input was too large to process.  Consider building the tree "
    "incrementally, or building the commits you need in a local clone of the repository and then pushing them to "
    "GitHub."
)
_SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you reach out to "
    "GitHub Support for help, please include the request ID."
)
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----\n \n of the GitHub of the tests\n -----END PGP SIGNATURE-----"
_BOT_IDENTITY = "github-actions[bot] <41898282+github-actions[bot]@users.noreply.github.com>"


class GitData:
    """State of the git data. `protected` are branches with the status and the words of a refusal to move them;
    `writes` the times and points of what was written in the last minute; `verifications` by commit. `is_empty`: the
    repository has no branch; `signs`: GitHub signs what it may."""

    def __init__(self) -> None:
        self.protected: dict[str, tuple[int, str]] = {}
        self.writes: list[tuple[float, int, bool]] = []
        self.verifications: dict[str, JSON] = {}
        self.is_empty = False
        self.signs = True
        self.largest_body = 0  # of a tree, so far
        # What does not change of an object: its kind, and what a commit says. By the repository and its name.
        self.kinds: dict[tuple[str, str], str] = {}
        self.commits: dict[tuple[str, str], str] = {}

    def spend(self, verb: str) -> None:
        """Counts a request of the REST API. Raises `Refusal` over a secondary limit.

        Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
        """
        now, is_write = time.monotonic(), verb != "GET"
        self.writes = [entry for entry in self.writes if entry[0] > now - 60]
        self.writes.append((now, 5 if is_write else 1, is_write))
        points, writes = sum(entry[1] for entry in self.writes), sum(entry[2] for entry in self.writes)
        if points > POINTS_A_MINUTE or (is_write and writes > WRITES_A_MINUTE):
            self.writes.pop()
            raise Refusal(403, _SECONDARY, **{"Retry-After": "60"})


def create_blob(handler: _Handler, body: JSON) -> JSON:
    _may_write(handler)
    content = body["content"]
    data = content.encode()
    if body.get("encoding", "utf-8") == "base64":
        data = base64.b64decode(content)
    if len(data) > LARGEST_BLOB:
        raise Refusal(422, "Sorry, your input was too large to process.")
    sha = _git(handler.server, "hash-object", "-w", "--stdin", stdin=data)
    return {"sha": sha, "url": _url(handler, f"blobs/{sha}")}


def create_tree(handler: _Handler, body: JSON) -> JSON:
    _may_write(handler)
    size = int(handler.headers.get("Content-Length") or 0)
    handler.server.git_data.largest_body = max(size, handler.server.git_data.largest_body)
    if size > LARGEST_TREE:
        raise Refusal(422, _TIMEOUT)
    entries = body["tree"]
    for entry in entries:
        _check_entry(handler, entry)
    base = body.get("base_tree")
    if base and _kind(handler.server, base) not in ("tree", "commit"):
        raise Refusal(422, f"base_tree {base} is not a valid tree")
    sha = _write_tree(handler.server, base, entries)
    return {"sha": sha, "url": _url(handler, f"trees/{sha}"), "truncated": False, "tree": []}


def _check_entry(handler: _Handler, entry: JSON) -> None:
    path = entry.get("path", "")
    if _BAD_PATH.search(path) or not path:
        raise Refusal(422, "tree.path contains a malformed path component")
    if entry.get("mode") not in _MODES:
        raise Refusal(422, "Must supply a valid tree.mode")
    if ("sha" in entry) == ("content" in entry):
        raise Refusal(422, "Must supply either tree.sha or tree.content. Request will be rejected if both are present.")
    if entry.get("sha") and entry["mode"] != "160000" and _kind(handler.server, entry["sha"]) != "blob":
        raise Refusal(422, f"tree.sha {entry['sha']} is not a valid blob")
    if _WORKFLOW.fullmatch(path) and handler.server.permissions.get("workflows") != "write":
        raise Refusal(403, _NO_ACCESS)


def _write_tree(server: GitHubServer, base: str | None, entries: list[JSON]) -> str:
    """What is deleted goes first, whatever the order in the request."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        _git(server, "read-tree", base or "--empty", **index)
        present = set(_git(server, "ls-files", "-z", **index).split("\0"))
        inline = [entry for entry in entries if "content" in entry]
        for number, entry in enumerate(inline):
            Path(folder, str(number)).write_bytes(entry["content"].encode())
        names = "".join(f"{folder}/{number}\n" for number in range(len(inline)))
        shas = _git(server, "hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names.encode()).split()
        blobs = {entry["path"]: sha for entry, sha in zip(inline, shas, strict=True)}
        removals, additions = [], []
        for entry in entries:
            path, sha = entry["path"], entry.get("sha") or blobs.get(entry["path"])
            if sha is None and path not in present:
                raise Refusal(422, "GitRPC::BadObjectState")
            if sha is None:
                removals.append(f"0 {'0' * 40}\t{path}\0")
            else:
                _check_folders(path, present)
                additions.append(f"{entry['mode']} {sha}\t{path}\0")
        _git(server, "update-index", "-z", "--index-info", stdin="".join(removals + additions).encode(), **index)
        return _git(server, "write-tree", "--missing-ok", **index)


def _check_folders(path: str, present: set[str]) -> None:
    """A file in place of a folder, or the other way round: what GitHub makes of both in one request nobody says."""
    parents = {path[: match.start()] for match in re.finditer("/", path)}
    if parents & present or any(name.startswith(f"{path}/") for name in present):
        raise Refusal(422, "GitRPC::BadObjectState")


def create_commit(handler: _Handler, body: JSON) -> JSON:
    """Signed when an app's token creates it and says nothing of author, committer or signature."""
    _may_write(handler)
    server = handler.server
    if not body.get("message"):
        raise Refusal(422, 'Invalid request.\n\n"message" wasn\'t supplied.')
    if _kind(server, body["tree"]) != "tree":
        raise Refusal(422, "Tree SHA does not exist")
    if any(_kind(server, parent) != "commit" for parent in body.get("parents", ())):
        raise Refusal(422, "Parent SHA does not exist or is not a commit object")
    is_own = not {"author", "committer", "signature"} & set(body)
    is_signed = is_own and server.git_data.signs and " ghs_" in f" {handler.token}"
    stamp = f"{int(time.time())} +0000"
    author, committer = _BOT_IDENTITY, _BOT_IDENTITY
    if named := body.get("author"):
        author = committer = f"{named['name']} <{named['email']}>"
    if is_signed:
        committer = "GitHub <noreply@github.com>"
    lines = [f"tree {body['tree']}", *(f"parent {parent}" for parent in body.get("parents", ()))]
    lines += [f"author {author} {stamp}", f"committer {committer} {stamp}"]
    if is_signed:
        lines.append(f"gpgsig {_SIGNATURE}")
    data = "\n".join([*lines, "", body["message"]]).encode()
    sha = _git(server, "hash-object", "-t", "commit", "-w", "--stdin", stdin=data)
    reason = "valid" if is_signed else "unsigned"
    verification = {"verified": is_signed, "reason": reason, "signature": None, "payload": None, "verified_at": None}
    server.git_data.verifications[sha] = verification
    return _commit(handler, sha)


def read_commit(handler: _Handler, _: JSON, sha: str) -> JSON:
    if _kind(handler.server, sha) != "commit":
        raise Refusal(404, "Not Found")
    return _commit(handler, sha)


def _commit(handler: _Handler, sha: str) -> JSON:
    server = handler.server
    tree, parents, name, email, _, date, message = _log(server, sha)
    unsigned = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
    person = {"name": name, "email": email, "date": date}
    return {
        "sha": sha,
        "node_id": f"C_{sha}",
        "url": _url(handler, f"commits/{sha}"),
        "html_url": f"{server.url}/{server.name}/commit/{sha}",
        "author": person,
        "committer": person,
        "message": message.rstrip("\n"),
        "tree": {"sha": tree, "url": _url(handler, f"trees/{tree}")},
        "parents": [{"sha": each, "url": _url(handler, f"commits/{each}")} for each in parents.split()],
        "verification": server.git_data.verifications.get(sha, unsigned),
    }


def _log(server: GitHubServer, sha: str) -> list[str]:
    known = server.git_data.commits
    if (server.name, sha) not in known:
        form = "--format=%T%x00%P%x00%an%x00%ae%x00%ce%x00%aI%x00%B"
        known[server.name, sha] = _git(server, "log", "-1", form, sha)
    return known[server.name, sha].split("\0")


def compare(handler: _Handler, _: JSON, base: str, head: str) -> JSON:
    server = handler.server
    if {_kind(server, base), _kind(server, head)} != {"commit"}:
        raise Refusal(404, "Not Found")
    ahead, behind = (
        _git(server, "rev-list", "--reverse", f"{one}..{other}").split() for one, other in ((base, head), (head, base))
    )
    status = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}.get(
        (bool(ahead), bool(behind)), "identical"
    )
    commits = []
    for sha in ahead[:250]:
        data = _commit(handler, sha)
        inner = {name: data[name] for name in ("url", "author", "committer", "message", "tree", "verification")}
        outer = {name: data[name] for name in ("sha", "node_id", "url", "html_url", "parents")}
        _, _, _, author, committer, _, _ = _log(server, sha)
        people = {"author": _account(server, author), "committer": _account(server, committer)}
        commits.append(outer | {"commit": inner | {"comment_count": 0}} | people)
    counts = {"ahead_by": len(ahead), "behind_by": len(behind), "total_commits": len(ahead)}
    return {"url": _url(handler, "compare"), "status": status, **counts, "commits": commits, "files": []}


def _account(server: GitHubServer, email: str) -> JSON | None:
    """Whose address it is; GitHub's own commits are of `web-flow`."""
    if email == "noreply@github.com":
        return {"id": 19864447, "login": "web-flow", "type": "User", "node_id": "WEB"}
    match = re.fullmatch(r"(?:\d+\+)?([^@]+)@users\.noreply\.github\.com", email)
    return server.accounts.get(match[1]) if match else None


def read_ref(handler: _Handler, _: JSON, name: str) -> JSON:
    if handler.server.git_data.is_empty:
        raise Refusal(409, "Git Repository is empty.")
    if not (sha := _sha_of(handler.server, f"refs/{name}")):
        raise Refusal(404, "Not Found")
    return _ref(handler, f"refs/{name}", sha)


def matching_refs(handler: _Handler, _: JSON, name: str) -> list[JSON]:
    lines = _git(handler.server, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    pairs = [line.split(" ", 1) for line in lines]
    return [_ref(handler, ref, sha) for sha, ref in pairs if ref.startswith(f"refs/{name}")]


def create_ref(handler: _Handler, body: JSON) -> JSON:
    _may_write(handler)
    ref, sha = body["ref"], body["sha"]
    if not re.fullmatch(r"refs/[^/]+/.+", ref) or not _git_allows(handler.server, ref):
        raise Refusal(422, f"{ref} is not a valid ref name.")
    if _sha_of(handler.server, ref):
        raise Refusal(422, "Reference already exists")
    if not _kind(handler.server, sha):
        raise Refusal(422, "Object does not exist")
    _check_push(handler, ref, sha)
    _git(handler.server, "update-ref", ref, sha, "0" * 40)
    return _ref(handler, ref, sha)


def update_ref(handler: _Handler, body: JSON, name: str) -> JSON:
    _may_write(handler)
    server, ref, sha = handler.server, f"refs/{name}", body["sha"]
    if not (before := _sha_of(server, ref)):
        raise Refusal(422, "Reference does not exist")
    if _kind(server, sha) != "commit":
        raise Refusal(422, "Object does not exist")
    _check_push(handler, ref, sha)
    if not body.get("force") and _git(server, "merge-base", before, sha, ok=(0, 1)) != before:
        raise Refusal(422, "Update is not a fast forward")
    _git(server, "update-ref", ref, sha, before)
    _follow(server, name, before, sha)
    return _ref(handler, ref, sha)


def delete_ref(handler: _Handler, _: JSON, name: str) -> None:
    _may_write(handler)
    if not _sha_of(handler.server, f"refs/{name}"):
        raise Refusal(422, "Reference does not exist")
    _git(handler.server, "update-ref", "-d", f"refs/{name}")


def _check_push(handler: _Handler, ref: str, sha: str) -> None:
    """Rules of branches; and no token of an app brings in commits that touch workflows without `workflows`."""
    server = handler.server
    if rule := server.git_data.protected.get(ref.removeprefix("refs/heads/")):
        raise Refusal(*rule)
    if server.permissions.get("workflows") == "write":
        return
    if _git(server, "rev-list", "-1", sha, "--not", "--all", "--", ".github/workflows"):
        raise Refusal(403, _NO_ACCESS)


def _follow(server: GitHubServer, name: str, before: str, sha: str) -> None:
    """Pull requests go with their branch."""
    for pull in server.pulls.values():
        head = pull["head"]
        if f"heads/{head['ref']}" == name and head["repo"]["full_name"] == server.name:
            head["sha"] = sha
            _git(server, "update-ref", f"refs/pull/{pull['number']}/head", sha)
            server.pushed(pull, sha, ago=0, kind="push", before=before)


def _may_write(handler: _Handler) -> None:
    handler._allow("contents")
    if handler.server.git_data.is_empty:
        raise Refusal(409, "Git Repository is empty.")


def _ref(handler: _Handler, ref: str, sha: str) -> JSON:
    target = {"type": "commit", "sha": sha, "url": _url(handler, f"commits/{sha}")}
    return {"ref": ref, "node_id": f"REF_{ref}", "url": _url(handler, ref), "object": target}


def _url(handler: _Handler, rest: str) -> str:
    return f"{handler.server.url}/api/v3/repos/{handler.server.name}/git/{rest}"


def _sha_of(server: GitHubServer, ref: str) -> str:
    path = server.root / f"{server.name}.git" / ref
    if path.is_file():
        return path.read_text().strip()
    return _git(server, "rev-parse", "--verify", "--quiet", ref, ok=(0, 1))


def _git_allows(server: GitHubServer, ref: str) -> bool:
    return bool(_git(server, "check-ref-format", "--normalize", ref, ok=(0, 1)))


def _kind(server: GitHubServer, sha: str) -> str:
    """`blob`, `tree`, `commit`, or "" for no object."""
    if not _SHA.fullmatch(sha):
        return ""
    known = server.git_data.kinds
    if (server.name, sha) not in known:
        kind = _git(server, "cat-file", "--batch-check=%(objecttype)", stdin=sha.encode())
        if " " in kind:
            return ""
        known[server.name, sha] = kind
    return known[server.name, sha]


def _git(server: GitHubServer, *arguments: str, stdin: bytes = b"", ok: tuple[int, ...] = (0,), **env: str) -> str:
    folder = server.root / f"{server.name}.git"
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_DIR": str(folder), **env}
    result = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, input=stdin, capture_output=True, check=False
    )
    if result.returncode not in ok:
        raise RuntimeError(f"git {arguments}: {result.stderr.decode()}")
    return result.stdout.decode("utf-8", "surrogateescape").strip("\n")


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("POST", r"/git/blobs", create_blob),
    ("POST", r"/git/trees", create_tree),
    ("POST", r"/git/commits", create_commit),
    ("GET", r"/git/commits/([0-9a-f]{40})", read_commit),
    ("GET", r"/compare/([0-9a-f]{40})\.\.\.([0-9a-f]{40})", compare),
    ("GET", r"/git/ref/(heads/.+)", read_ref),
    ("GET", r"/git/matching-refs/(heads/.*)", matching_refs),
    ("POST", r"/git/refs", create_ref),
    ("PATCH", r"/git/refs/(heads/.+)", update_ref),
    ("DELETE", r"/git/refs/(heads/.+)", delete_ref),
)

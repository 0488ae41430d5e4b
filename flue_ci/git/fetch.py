"""Fetches commits from a git server as data: into a bare repository of our own, by name, never checked out. The token
stands in no command line and no file.
"""

import asyncio
import base64
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flue_ci.core.errors import FlueError, ForgeError, WorkspaceError
from flue_ci.core.network_variables import client_variables, lasting_fault, route
from flue_ci.core.retry import Retry, RetryPolicy
from flue_ci.core.text import human_bytes, human_seconds, one_line
from flue_ci.git.command import TIMEOUT_CODE, Git, GitCommandError, GitResult, git_in, read_objects, split_nul
from flue_ci.git.path_rules import path_problem
from flue_ci.git.source import Source, commit_notes, new_repository, safe_name, size_of

MAX_TRUSTED_FILES, MAX_TRUSTED_BYTES = 500, 20_000_000
MAX_DEPTH = 1_000  # generations that are fetched to find where a branch left its base
_EVERYTHING = 2_147_483_647  # git's word for a depth without end
_MEMORY = 4_000_000_000  # bytes; what a server sends is unpacked by git
_LIST_BYTES = 1_000_000
_WATCH_SECONDS = 0.5
_NAMES = 5_000  # of objects on one command line
_SHA = re.compile(r"[0-9a-f]{40}")
_LONGEST_REF = 1_000
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[/.]$|[\ud800-\udfff]")
_TRUSTED_PATH = re.compile(r"\.flue/agents/[^/]+\.ya?ml|\.flue/config\.yml|AGENTS\.md|\.agents/skills/(?s:.+)")
# Variables without which a machine behind a proxy reaches no server. None of them holds a key of a client.
_PROXY = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "git_ssl_cainfo", "git_ssl_capath")
# Every object is checked on arrival. Old, honest repositories have these faults, which are harmless. Others are not
# accepted: damaged objects, names such as `.git` in a tree, malicious `.gitmodules`.
_IGNORED_FSCK = (
    *("badDate", "badDateOverflow", "badEmail", "badName", "badTimezone", "missingEmail", "zeroPaddedDate"),
    *("missingNameBeforeEmail", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "missingTaggerEntry"),
    *("badFilemode", "badTagName", "extraHeaderEntry", "multipleAuthors", "nulInCommit", "nullSha1"),
    "zeroPaddedFilemode",
)
_SETTINGS = (
    "http.followRedirects=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "fetch.fsckObjects=true",
    "fetch.unpackLimit=1",  # packs travel better than single objects
    "fetch.recurseSubmodules=false",
    *(f"fetch.fsck.{fault}=ignore" for fault in _IGNORED_FSCK),
)
_MISSING = re.compile(r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref")
_TEMPORARY = re.compile(
    r"could not resolve|couldn't connect|failed to connect|timed out|time-?out|too slow|early eof|empty reply"
    r"|connection (?:was )?(?:reset|refused|closed)|unexpected disconnect|hung up|rpc failed|recv failure|send failure"
    r"|transfer closed|gnutls|ssl_(?:read|write|connect|error)",
    re.IGNORECASE,
)
_CAUSE = re.compile(r"RPC failed; (?!HTTP)(?:curl \d+ )?(.+)")  # git's last message names only the consequence
_HISTORY_HINT = "set `workspace.history` to less"
_RIGHTS_HINT = "the job needs: permissions: {contents: read}"
_STATUS_HINT = "is its status page all green?"
RETRY = RetryPolicy(timeout=60.0, first_wait=1.0, max_wait=15.0)


class _NotOnServer(ForgeError):
    """The server has no such commit or ref, or does not give it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A repository on a server, and the place on this host for what is fetched of it.

    `url` is an http(s) address without credentials; `token` is for GitHub's git, "" for none. `scratch` is an existing
    directory that stays as long as anything fetched is used. One fetch ends after `timeout_seconds` or `max_bytes`;
    a server out of reach is tried again by `retry`, with one line for people to `notify` each time. `addresses` are the
    host's IP addresses, where git is not to look them up itself.
    """

    url: str
    token: str = field(repr=False, default="")
    scratch: Path
    timeout_seconds: float = 900.0
    retry: RetryPolicy = RETRY
    max_bytes: int = 4_000_000_000
    notify: Callable[[str], None] = field(repr=False, default=lambda _: None)
    addresses: tuple[str, ...] = ()

    @property
    def git_dir(self) -> Path:
        """The bare repository below `scratch`."""
        return self.scratch.absolute() / "remote.git"


async def fetch_commit(remote: Remote, *, sha: str, ref: str = "", depth: int) -> None:
    """Brings a commit with `depth` generations (0: all) to this host.

    `ref` is where the commit should be, for servers that give out no commit by its name; it has to be there still.
    Raises `ForgeError` when the server has no such commit, refuses the token or is out of reach, `WorkspaceError` for
    what is not accepted.
    """
    await _fetch(remote, {sha: _full_ref(ref)}, depth)


async def fetch_objects(remote: Remote, names: Sequence[str]) -> None:
    """Brings objects (and all that trees among them hold) to this host by their names, as GitHub gives them out. Raises
    as `fetch_commit` does."""
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--end-of-options")
    for start in range(0, len(names), _NAMES):
        batch = map(_checked_sha, names[start : start + _NAMES])
        await _run_with_retries(remote, "fetch", *options, _checked_url(remote), *batch)


async def resolve(remote: Remote, ref: str) -> str:
    """The commit that a branch (`main`, `refs/heads/main`) or another ref is at now. Raises `ForgeError` (404) when
    there is none."""
    return (await resolve_all(remote, (ref,)))[0]


async def resolve_all(remote: Remote, refs: Sequence[str]) -> list[str]:
    """The commits that these refs are at, at one moment. Raises `ForgeError` (404) when there is none of that name."""
    names = [_full_ref(ref) for ref in refs]
    command = ("ls-remote", "--exit-code", "--end-of-options", _checked_url(remote), *names)
    result = await _run_with_retries(remote, *command, ok=(0, 2))
    lines = [line.partition("\t") for line in result.out.decode("utf-8", "replace").splitlines()]
    commits = {name: sha for sha, _, name in lines if _SHA.fullmatch(sha)}
    for name in names:
        if name not in commits:
            message = f"there is no {one_line(name)} at {remote.url}"
            raise ForgeError(message, status=404, hint="was the branch deleted?")
    return [commits[name] for name in names]


async def trusted_files(remote: Remote, sha: str, target: Path) -> None:
    """Writes what is trusted of a fetched commit below the empty folder `target`: agent specs, AGENTS.md, skills.

    Regular files only, with the same paths. Raises `WorkspaceError` for more than `MAX_TRUSTED_FILES` or
    `MAX_TRUSTED_BYTES` of them, and for names that could lead elsewhere.
    """
    git = git_in(remote.git_dir)
    places = (".flue/agents/", ".flue/config.yml", "AGENTS.md", ".agents/skills/")
    result = await git.run("ls-tree", "-r", "-z", "-l", "--full-tree", _checked_sha(sha), *places, limit=_LIST_BYTES)
    blobs: dict[str, str] = {}
    total = 0
    for line in split_nul(result.out):
        attributes, _, name = line.partition(b"\t")
        path = os.fsdecode(name)
        if not attributes.startswith(b"100") or not _TRUSTED_PATH.fullmatch(path):
            continue
        if problem := path_problem(path):
            raise WorkspaceError(f"{one_line(path)}: {problem}")
        _, _, blob, size = attributes.decode().split()
        blobs[path] = blob
        total += int(size)
    if len(blobs) > MAX_TRUSTED_FILES or total > MAX_TRUSTED_BYTES:
        raise WorkspaceError(
            f"the agents and skills are {len(blobs):,} files of {human_bytes(total)}, more than {MAX_TRUSTED_FILES} "
            f"files or {human_bytes(MAX_TRUSTED_BYTES)}",
            hint="keep in .flue/agents and .agents/skills what agents need, and the rest elsewhere",
        )
    contents = await read_objects(git, blobs.values())
    await asyncio.to_thread(_write, {target / path: contents[blob] for path, blob in blobs.items()})


async def open_remote(  # noqa: PLR0913 (a commit, its base, and their refs)
    remote: Remote, *, name: str, head: str, ref: str, base: str | None, base_ref: str, depth: int
) -> Source:
    """Brings `head` with `depth` generations (0: all) to this host, ready to travel into a sandbox.

    `ref` is its branch, or the full ref that holds it (`refs/pull/7/head`), "" for none. `base` is a commit of the
    branch `base_ref`: inside, that is `origin/<base_ref>`, with as much history (up to `MAX_DEPTH`) as it takes to
    find a common ancestor. Raises as `fetch_commit` does.
    """
    full, base_full = _full_ref(ref), _full_ref(base_ref)
    commits, refs = {head: full}, {}
    if base:
        commits.setdefault(base, base_full)
        if base_full:
            refs[f"refs/remotes/origin/{_branch(base_full)}"] = base
    await _fetch(remote, commits, depth)
    git = git_in(remote.git_dir)
    notes = []
    if base and not await _ensure_merge_base(remote, commits, depth):
        notes.append(f"where the branch left {one_line(base_ref) or base[:12]} is further back than the history inside")
    tree = (await git.run("rev-parse", f"{head}^{{tree}}")).line
    names = (await git.run("ls-tree", "-r", "-z", "--name-only", tree)).out
    return Source(
        name=safe_name(name),
        git_dir=remote.git_dir,
        object_format="sha1",
        head=head,
        ref=_branch(full),
        base=head,
        tree=tree,
        index_tree=tree,
        files=names.count(b"\0"),
        pack_bytes=await asyncio.to_thread(size_of, remote.git_dir / "objects"),
        notes=(*notes, *await commit_notes(git, head)),
        refs=refs,
    )


def _write(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)


async def _ensure_merge_base(remote: Remote, commits: Mapping[str, str], depth: int) -> bool:
    """True when the commits have a common ancestor here; fetches more history to find it."""
    while True:
        if not (await git_in(remote.git_dir).run("merge-base", *commits, ok=(0, 1))).code:
            return True
        if not (remote.git_dir / "shallow").exists() or depth >= MAX_DEPTH:
            return False
        depth = min(4 * depth, MAX_DEPTH)
        await _fetch(remote, commits, depth)


async def _fetch(remote: Remote, commits: Mapping[str, str], depth: int) -> None:
    """Fetches commits, by name where the server allows that, otherwise by the refs that hold them (the values). Those
    that are here with as much history are not asked for again."""
    commits = {sha: ref for sha, ref in commits.items() if not await _is_here(remote, sha, depth)}
    if not commits:
        return
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    command = ("fetch", *options, f"--depth={depth or _EVERYTHING}", "--end-of-options", _checked_url(remote))
    try:
        await _run_with_retries(
            remote, *command, *(f"+{_checked_sha(sha)}:{_local_ref(sha, depth)}" for sha in commits)
        )
    except _NotOnServer:
        if not all(commits.values()):
            raise
        await _run_with_retries(remote, *command, *(f"+{ref}:{_local_ref(sha, depth)}" for sha, ref in commits.items()))
    for sha, ref in commits.items():
        current = await _local_commit(remote, sha, depth)
        if current != sha:
            raise ForgeError(
                f"{one_line(ref) or sha[:12]} is at {current[:12] or 'no commit'}, no longer at {sha[:12]}",
                hint="something else was pushed meanwhile: ask again",
                status=409,
            )


async def _is_here(remote: Remote, sha: str, depth: int) -> bool:
    return remote.git_dir.exists() and await _local_commit(remote, _checked_sha(sha), depth) == sha


async def _local_commit(remote: Remote, sha: str, depth: int) -> str:
    name = f"{_local_ref(sha, depth)}^{{commit}}"
    return (await git_in(remote.git_dir).run("rev-parse", "--verify", "--quiet", name, ok=(0, 1))).line


async def _run_with_retries(remote: Remote, *command: str, ok: tuple[int, ...] = (0,)) -> GitResult:
    """Runs a git command that talks to the server, again when the network or the server failed."""
    retry = Retry(remote.retry)
    while True:
        try:
            return await _run_once(remote, command, ok)
        except GitCommandError as error:
            wait = retry.next_wait() if _is_temporary(error) else None
            if wait is None:
                raise _translate_error(remote, error) from None
        remote.notify(f"git does not reach {urlsplit(remote.url).hostname}; trying again in {human_seconds(wait)}")
        for path in (remote.git_dir / "objects/pack").glob("tmp_*"):
            path.unlink(missing_ok=True)
        await asyncio.sleep(wait)


async def _run_once(remote: Remote, command: tuple[str, ...], ok: tuple[int, ...]) -> GitResult:
    """One git command, ended when it takes too long or brings too much."""
    if not remote.git_dir.exists():
        await asyncio.to_thread(new_repository, remote.git_dir, head="ref: refs/heads/main")
    objects = remote.git_dir / "objects"
    git = _network_git(remote)
    task = asyncio.ensure_future(git.run(*command, ok=ok, limit=_LIST_BYTES, timeout=remote.timeout_seconds))
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_WATCH_SECONDS)
            if (size := await asyncio.to_thread(size_of, objects)) > remote.max_bytes:
                limit = human_bytes(remote.max_bytes)
                message = f"the repository is larger than {limit}; the fetch was ended at {human_bytes(size)}"
                raise WorkspaceError(message, hint=_HISTORY_HINT)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


def _network_git(remote: Remote) -> Git:
    """git with what it needs for the server. The token is in its environment only; its home has no `.netrc`."""
    variables = {**os.environ, **client_variables(os.environ)}
    env = {name: value for name, value in variables.items() if name.lower() in _PROXY}
    env |= {"GIT_DIR": str(remote.git_dir), "HOME": str(remote.git_dir)}
    if remote.token:
        basic = base64.b64encode(f"x-access-token:{remote.token.strip()}".encode()).decode()
        env |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{remote.url}.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }
    parts = urlsplit(remote.url)
    settings = [*_SETTINGS, f"protocol.{parts.scheme}.allow=always"]
    if remote.addresses:
        ips = ",".join(f"[{ip}]" if ":" in ip else ip for ip in remote.addresses)
        settings.append(f"http.curloptResolve={parts.hostname}:{parts.port or 443}:{ips}")
    return Git(cwd=remote.git_dir, env=env, config=tuple(settings), memory=_MEMORY)


def _checked_url(remote: Remote) -> str:
    """The remote's address. Raises `WorkspaceError` for one that git must not talk to."""
    parts = urlsplit(remote.url)
    plain = re.fullmatch(r"[!-~]+", remote.url) and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("https", "http") or not parts.hostname or not plain:
        raise WorkspaceError(
            f"{one_line(parts.scheme, 20) or 'no scheme'}: an address that git is not sent to",
            hint="only https (or http) addresses without credentials",
        )
    return remote.url


def _checked_sha(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise WorkspaceError(f"{one_line(sha, 80)!r} is not the full name of a commit")
    return sha


def _full_ref(ref: str) -> str:
    """The full name of a ref; "" stays. Raises `WorkspaceError` for what is no name of a ref (git-check-ref-format)."""
    if not ref:
        return ""
    full = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
    short = full.removeprefix("refs/").partition("/")[2]
    if not short or short[0] in "-./" or len(ref) > _LONGEST_REF or _BAD_REF.search(full):
        raise WorkspaceError(f"{one_line(ascii(ref), 80)} is not accepted as the name of a branch or ref")
    return full


def _branch(full_ref: str) -> str | None:
    """The branch's short name; the head of a pull request gets one, too."""
    match = re.fullmatch(r"refs/(pull/\d+)/head|refs/heads/(.*)", full_ref)
    return match and (match[1] or match[2])


def _local_ref(sha: str, depth: int) -> str:
    """The name of a fetched commit here, so that it need not be sent twice. The depth is part of it, because git does
    not deepen the history of a ref that already is at the commit."""
    return f"refs/flue-ci/{depth}/{sha}"


def _http_status(error: GitCommandError) -> int:
    """The HTTP status behind a failure as far as git prints it; 0 for another failure."""
    if re.search(r"could not read (?:Username|Password)|Authentication failed", error.result.err):
        return 401
    if re.search(r"repository '[^']*' not found", error.result.err):
        return 404
    match = re.search(r"(?:returned error: |RPC failed; HTTP )(\d{3})\b", error.result.err)
    return int(match[1]) if match else 0


def _is_temporary(error: GitCommandError) -> bool:
    status = _http_status(error)
    if not status:
        return bool(_TEMPORARY.search(error.result.err))
    return status == 429 or status >= 500


def _translate_error(remote: Remote, error: GitCommandError) -> FlueError:
    """git's failure in our words, with what to do next."""
    status, host = _http_status(error), urlsplit(remote.url).hostname
    if _MISSING.search(error.result.err):
        return _NotOnServer(f"{host} has not got (any more) the commit that was asked for", status=404)
    if match := re.search(r"object [0-9a-f]{40}: (\w+: .*)", error.result.err):
        message = f"the repository holds an object that is not accepted: {one_line(match[1], 200)}"
        return WorkspaceError(message, hint="git fsck shows more in a clone")
    if fault := lasting_fault(error.result.err, remote.url):
        return ForgeError(f"git cannot fetch from {host}: {fault.message}", hint=fault.hint, status=status)
    cause, hint = error.result.reason, ""
    if match := _CAUSE.search(error.result.err):
        cause, hint = one_line(match[1], 200), _STATUS_HINT
    if status:
        cause = f"it answers {status}"
    message = f"git cannot fetch from {host}{route(remote.url)}: {cause}"
    if error.result.code == TIMEOUT_CODE:
        message = f"{host} did not send the repository within {human_seconds(remote.timeout_seconds)}"
        hint = _HISTORY_HINT
    elif 300 <= status < 400:
        message = f"{remote.url} leads to another address, which is not followed: the token is for this server only"
        hint = "was the repository renamed or moved?"
    elif status == 401:
        message, hint = f"{host} does not accept the token for git", f"has it expired? {_RIGHTS_HINT}"
    elif status == 403:
        message, hint = f"the token may not read {remote.url}", _RIGHTS_HINT
    elif status == 404:
        message, hint = f"there is no {remote.url}, or the token may not read it", _RIGHTS_HINT
    elif status >= 500:
        hint = _STATUS_HINT
    return ForgeError(message, hint=hint, status=status)

"""Fetches commits from a git server as data: into a bare repository of our own, by name, never checked out, with the
token out of reach of everybody's eyes.

What is done with the fetched repository inside a sandbox is `workspace`'s business.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flue_ci.core.errors import FlueError, ForgeError, WorkspaceError
from flue_ci.core.text import human_bytes, human_seconds, one_line
from flue_ci.git.command import Git, GitCommandError, GitResult, read_objects, reason
from flue_ci.git.source import Source, commit_notes, new_repository, safe_name, size_of
from flue_ci.workspace.verify import path_problem

TRUSTED_FILES, TRUSTED_BYTES = 500, 20_000_000
DEEPEST = 1_000  # generations that are fetched to find where a branch left its base
_EVERYTHING = 2_147_483_647  # git's word for a depth without end
_MEMORY = 4_000_000_000  # bytes; what a server sends is unpacked by git
_LISTED_BYTES = 1_000_000
_WATCH_SECONDS = 0.5
_SHA = re.compile(r"[0-9a-f]{40}")
_LONGEST_REF = 1_000
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|[/.]$")
_TRUSTED = re.compile(r"\.flue/agents/[^/]+\.ya?ml|AGENTS\.md|\.agents/skills/(?s:.+)")
# What a company's machine needs to reach a server at all. Keys and passwords of clients are not among it.
_PASSED = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "git_ssl_cainfo")
# Every object is checked on arrival. These are blemishes of old, honest repositories that harm nobody; what remains are
# broken objects, names such as `.git` in a tree, and `.gitmodules` made to deceive.
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
    *(f"fetch.fsck.{blemish}=ignore" for blemish in _IGNORED_FSCK),
)
_NOT_THERE = re.compile(r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref")
_PASSING = re.compile(
    r"could not resolve|couldn't connect|failed to connect|timed out|time-?out|too slow|early eof|empty reply"
    r"|connection (?:was )?(?:reset|refused|closed)|unexpected disconnect|hung up|rpc failed|recv failure|send failure"
    r"|transfer closed|gnutls|ssl_(?:read|write|connect|error)",
    re.IGNORECASE,
)

_CAUSE = re.compile(r"RPC failed; (?!HTTP)(?:curl \d+ )?(.+)")  # git's last word is only about what it missed
RETRY_TIMEOUT_SECONDS = 60.0  # with a server that is out of reach


class _NotThere(ForgeError):
    """The server has no such commit or ref, or does not give it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A repository on a server, and the place on this host for what is fetched of it.

    `url` is an http(s) address without credentials; `token` is for GitHub's git, "" for none. `scratch` is an existing
    directory that stays as long as anything fetched is used. One fetch ends after `timeout_seconds` or `max_bytes`;
    a server out of reach is tried again for `retry_timeout_seconds`, which `notify` tells people.
    """

    url: str
    token: str = field(repr=False, default="")
    scratch: Path
    timeout_seconds: float = 900.0
    retry_timeout_seconds: float = RETRY_TIMEOUT_SECONDS
    max_bytes: int = 4_000_000_000
    notify: Callable[[str], None] = field(repr=False, default=lambda _: None)

    @property
    def git_dir(self) -> Path:
        return self.scratch.absolute() / "remote.git"


async def fetch_commit(remote: Remote, *, sha: str, ref: str = "", depth: int) -> None:
    """Brings a commit with `depth` generations (0: all) to this host.

    `ref` is where the commit should be, for servers that give none by its name; it has to be there still.
    """
    await _fetch(remote, {sha: _full(ref)}, depth)


async def resolve(remote: Remote, ref: str) -> str:
    """The commit that a branch (`main`, `refs/heads/main`) or another ref is at now."""
    full = _full(ref)
    found = await _patiently(remote, "ls-remote", "--exit-code", "--end-of-options", _url(remote), full, ok=(0, 2))
    for line in found.out.decode("utf-8", "replace").splitlines():
        sha, _, name = line.partition("\t")
        if name == full and _SHA.fullmatch(sha):
            return sha
    raise ForgeError(f"there is no {one_line(full)} at {remote.url}", status=404, hint="was the branch deleted?")


async def trusted_files(remote: Remote, sha: str, target: Path) -> None:
    """Writes what is trusted of a fetched commit below the empty folder `target`: agent specs, AGENTS.md, skills.

    Regular files only, with the same paths. Raises `WorkspaceError` for more than `TRUSTED_FILES` or `TRUSTED_BYTES`
    of them, and for names that could lead elsewhere.
    """
    git = _local_git(remote)
    where = (".flue/agents/", "AGENTS.md", ".agents/skills/")
    listed = await git.run("ls-tree", "-r", "-z", "-l", "--full-tree", _checked(sha), *where, limit=_LISTED_BYTES)
    wanted: dict[str, str] = {}
    total = 0
    for line in listed.out.split(b"\0"):
        about, _, name = line.partition(b"\t")
        path = os.fsdecode(name)
        if not about.startswith(b"100") or not _TRUSTED.fullmatch(path):
            continue
        if problem := path_problem(path):
            raise WorkspaceError(f"{one_line(path)}: {problem}")
        _, _, blob, size = about.decode().split()
        wanted[path] = blob
        total += int(size)
    if len(wanted) > TRUSTED_FILES or total > TRUSTED_BYTES:
        raise WorkspaceError(
            f"the agents and skills are {len(wanted):,} files of {human_bytes(total)}, more than {TRUSTED_FILES} files "
            f"or {human_bytes(TRUSTED_BYTES)}",
            hint="keep in .flue/agents and .agents/skills what agents need, and the rest elsewhere",
        )
    contents = await read_objects(git, wanted.values())
    await asyncio.to_thread(_write, {target / path: contents[blob] for path, blob in wanted.items()})


async def open_remote(  # noqa: PLR0913 (what there is to say about a commit and its base)
    remote: Remote, *, name: str, head: str, ref: str, base: str | None, base_ref: str, depth: int
) -> Source:
    """Brings `head` with `depth` generations (0: all) to this host, ready to travel into a sandbox.

    `ref` is its branch, or the full ref that holds it (`refs/pull/7/head`), "" for none. `base` is a commit of the
    branch `base_ref`: inside, that is `origin/<base_ref>`, with as much history (up to `DEEPEST`) as it takes for the
    two to meet.
    """
    full, base_full = _full(ref), _full(base_ref)
    wanted = {head: full}
    if base:
        wanted.setdefault(base, base_full)
    await _fetch(remote, wanted, depth)
    git = _local_git(remote)
    notes = []
    if base and not await _ensure_merge_base(remote, wanted, depth):
        notes.append(f"where the branch left {one_line(base_ref) or base[:12]} is further back than the history inside")
    tree = (await git.run("rev-parse", f"{head}^{{tree}}")).line
    listed = await git.run("ls-tree", "-r", "-z", "--name-only", tree)
    return Source(
        name=safe_name(name),
        git_dir=remote.git_dir,
        object_format="sha1",
        head=head,
        ref=_branch(full),
        base=head,
        tree=tree,
        index_tree=tree,
        files=listed.out.count(b"\0"),
        pack_bytes=await asyncio.to_thread(size_of, remote.git_dir / "objects"),
        notes=(*notes, *await commit_notes(git, head)),
        refs={f"refs/remotes/origin/{_branch(base_full)}": base} if base and base_full else {},
    )


def _write(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)


async def _ensure_merge_base(remote: Remote, wanted: Mapping[str, str], depth: int) -> bool:
    """True when the commits have a common ancestor here; fetches more history to find it."""
    while True:
        if not (await _local_git(remote).run("merge-base", *wanted, ok=(0, 1))).code:
            return True
        if not (remote.git_dir / "shallow").exists() or depth >= DEEPEST:
            return False
        depth = min(4 * depth, DEEPEST)
        await _fetch(remote, wanted, depth)


async def _fetch(remote: Remote, wanted: Mapping[str, str], depth: int) -> None:
    """Fetches commits, by name where the server allows that, otherwise by the refs that hold them."""
    how = (
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        f"--depth={depth or _EVERYTHING}",
    )
    command = ("fetch", *how, "--end-of-options", _url(remote))
    try:
        await _patiently(remote, *command, *(f"+{_checked(sha)}:{_local_ref(sha, depth)}" for sha in wanted))
    except _NotThere:
        if not all(wanted.values()):
            raise
        await _patiently(remote, *command, *(f"+{ref}:{_local_ref(sha, depth)}" for sha, ref in wanted.items()))
    for sha, ref in wanted.items():
        name = f"{_local_ref(sha, depth)}^{{commit}}"
        arrived = (await _local_git(remote).run("rev-parse", "--verify", "--quiet", name, ok=(0, 1))).line
        if arrived != sha:
            raise ForgeError(
                f"{one_line(ref) or sha[:12]} is at {arrived[:12] or 'no commit'}, no longer at {sha[:12]}",
                hint="something else was pushed meanwhile: ask again",
            )


async def _patiently(remote: Remote, *command: str, ok: tuple[int, ...] = (0,)) -> GitResult:
    """Runs a git command that talks to the server, again when the network or the server failed."""
    begun, wait = time.monotonic(), 1.0
    while True:
        try:
            return await _once(remote, command, ok)
        except GitCommandError as failed:
            if not _is_passing(failed) or time.monotonic() + wait - begun > remote.retry_timeout_seconds:
                raise _explained(remote, failed) from None
        remote.notify(f"git does not reach {urlsplit(remote.url).hostname}; trying again in {human_seconds(wait)}")
        for left in (remote.git_dir / "objects/pack").glob("tmp_*"):
            left.unlink(missing_ok=True)
        await asyncio.sleep(wait)
        wait = min(2 * wait, 15.0)


async def _once(remote: Remote, command: tuple[str, ...], ok: tuple[int, ...]) -> GitResult:
    """One git command, ended when it takes too long or brings too much."""
    if not remote.git_dir.exists():
        await asyncio.to_thread(new_repository, remote.git_dir, head="ref: refs/heads/main")
    objects = remote.git_dir / "objects"
    git = _network_git(remote)
    running = asyncio.ensure_future(git.run(*command, ok=ok, limit=_LISTED_BYTES, timeout=remote.timeout_seconds))
    try:
        ended = False
        while not ended:
            ended = bool((await asyncio.wait([running], timeout=_WATCH_SECONDS))[0])
            if (size := await asyncio.to_thread(size_of, objects)) > remote.max_bytes:
                raise WorkspaceError(
                    f"the repository is larger than {human_bytes(remote.max_bytes)}; the fetch was ended at "
                    f"{human_bytes(size)}",
                    hint="set `workspace.history` to less",
                )
        return running.result()
    finally:
        running.cancel()
        await asyncio.wait([running])


def _local_git(remote: Remote) -> Git:
    return Git(cwd=remote.git_dir, env={"GIT_DIR": str(remote.git_dir)})


def _network_git(remote: Remote) -> Git:
    """git with what it needs for the server. The token is in its environment only; nobody's `.netrc` is near."""
    env = {name: value for name, value in os.environ.items() if name.lower() in _PASSED}
    env |= {"GIT_DIR": str(remote.git_dir), "HOME": str(remote.git_dir)}
    if remote.token:
        basic = base64.b64encode(f"x-access-token:{remote.token.strip()}".encode()).decode()
        env |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{remote.url}.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }
    allowed = f"protocol.{urlsplit(remote.url).scheme}.allow=always"
    return Git(cwd=remote.git_dir, env=env, config=(*_SETTINGS, allowed), memory=_MEMORY)


def _url(remote: Remote) -> str:
    """The remote's address, when it is one that git may talk to."""
    parts = urlsplit(remote.url)
    plain = re.fullmatch(r"[!-~]+", remote.url) and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("https", "http") or not parts.hostname or not plain:
        raise WorkspaceError(
            f"{one_line(parts.scheme, 20) or 'no scheme'}: an address that git is not sent to",
            hint="only https (or http) addresses without credentials",
        )
    return remote.url


def _checked(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise WorkspaceError(f"{one_line(sha, 80)!r} is not the full name of a commit")
    return sha


def _full(ref: str) -> str:
    """The full name of a ref; "" stays. Raises `WorkspaceError` for what is no name of a ref (git-check-ref-format)."""
    if not ref:
        return ""
    full = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
    short = full.removeprefix("refs/").partition("/")[2]
    utf8 = not any("\ud800" <= letter <= "\udfff" for letter in ref)
    if not short or short[0] in "-./" or not utf8 or len(ref) > _LONGEST_REF or _BAD_REF.search(full):
        raise WorkspaceError(f"{one_line(ascii(ref), 80)} is not accepted as the name of a branch or ref")
    return full


def _branch(full: str) -> str | None:
    """The branch's short name; a pull request's head gets one, too."""
    if pull := re.fullmatch(r"refs/(pull/\d+)/head", full):
        return pull[1]
    return full.removeprefix("refs/heads/") if full.startswith("refs/heads/") else None


def _local_ref(sha: str, depth: int) -> str:
    """What a fetched commit is called here, so that it need not be sent twice. git does not deepen along what already
    has the name that is asked for: therefore the depth."""
    return f"refs/flue-ci/{depth}/{sha}"


def _status(failed: GitCommandError) -> int:
    """The HTTP status behind a failure as far as git tells; 0 for another one."""
    if re.search(r"could not read (?:Username|Password)|Authentication failed", failed.stderr):
        return 401
    if re.search(r"repository '[^']*' not found", failed.stderr):
        return 404
    told = re.search(r"returned error: (\d{3})\b|RPC failed; HTTP (\d{3})", failed.stderr)
    return int(told[1] or told[2]) if told else 0


def _is_passing(failed: GitCommandError) -> bool:
    status = _status(failed)
    return status == 429 or status >= 500 or (not status and bool(_PASSING.search(failed.stderr)))


def _explained(remote: Remote, failed: GitCommandError) -> FlueError:
    status, host = _status(failed), urlsplit(remote.url).hostname
    rights = "the job needs: permissions: {contents: read}"
    if _NOT_THERE.search(failed.stderr):
        return _NotThere(f"{host} has not got (any more) the commit that was asked for", status=404)
    if broken := re.search(r"object [0-9a-f]{40}: (\w+: .*)", failed.stderr):
        return WorkspaceError(
            f"the repository holds an object that is not accepted: {one_line(broken[1], 200)}",
            hint="git fsck shows more in a clone",
        )
    if failed.code == 124 and not failed.stderr:
        return ForgeError(
            f"{host} did not send the repository within {human_seconds(remote.timeout_seconds)}",
            hint="set `workspace.history` to less",
        )
    if 300 <= status < 400:
        return ForgeError(
            f"{remote.url} leads to another address, which is not followed: the token is for this server only",
            hint="was the repository renamed or moved?",
            status=status,
        )
    reasons = {
        401: (f"{host} does not accept the token for git", f"has it expired? {rights}"),
        403: (f"the token may not read {remote.url}", rights),
        404: (f"there is no {remote.url}, or the token may not read it", rights),
    }
    if status in reasons:
        return ForgeError(reasons[status][0], hint=reasons[status][1], status=status)
    cause = _CAUSE.search(failed.stderr)
    said = f"it answers {status}" if status else one_line(cause[1], 200) if cause else ""
    return ForgeError(
        f"git cannot fetch from {host}: {said or reason(failed.stderr, failed.code)}",
        hint="is its status page all green?" if status >= 500 or cause else "",
        status=status,
    )

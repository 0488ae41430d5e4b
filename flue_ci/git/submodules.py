"""The submodules of a commit and the addresses to fetch them from, as data: `.gitmodules` may be a stranger's."""

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.text import PORTS, matches_host, one_line
from flue_ci.git.command import Git, split_nul

_LIST_BYTES = 200_000_000
_MODULES_BYTES = 1_000_000
_KEYS = r"^submodule\..*\.(path|url)$"
_SSH = re.compile(r"(?:[\w.-]+@)?([A-Za-z0-9][\w.-]*):(?!/{2})(.+)")  # as scp writes it
_HOST = re.compile(r"[a-z0-9_.-]+")
_PATH = re.compile(r"/(?!/)[\w.~/%+-]+")
_HOSTS_HINT = "name it in the spec: workspace: {{submodules: {{hosts: [{}]}}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """A directory `path` that stands for the commit `commit` of another repository; `url` is its address as
    `.gitmodules` has it, "" for none."""

    path: str
    commit: str
    url: str = ""


async def list_submodules(git: Git, commit: str) -> list[Submodule]:
    """The submodules of a commit in the repository of `git`, sorted by path. Raises `WorkspaceError` for a
    `.gitmodules` that cannot be read."""
    tree = await git.run("ls-tree", "-r", "-z", "--full-tree", commit, limit=_LIST_BYTES)
    links = [line.split(b"\t", 1) for line in split_nul(tree.out) if line.startswith(b"160000 ")]
    if not links:
        return []
    urls = await _urls(git, commit)
    submodules = []
    for attributes, name in links:
        path = os.fsdecode(name)
        submodules.append(Submodule(path=path, commit=attributes.split()[2].decode(), url=urls.get(path, "")))
    return submodules


async def _urls(git: Git, commit: str) -> dict[str, str]:
    """The addresses in `.gitmodules` by path; of what stands there twice the last counts, as in git."""
    blob = f"{commit}:.gitmodules"
    if (await git.run("cat-file", "-e", blob, ok=None)).code:
        return {}
    options = ("config", "-z", "--no-includes", "--blob", blob, "--get-regexp", _KEYS)
    result = await git.run(*options, ok=None, limit=_MODULES_BYTES)
    if result.code not in (0, 1):
        raise WorkspaceError(f".gitmodules cannot be read: {result.reason}")
    entries = dict(os.fsdecode(entry).partition("\n")[::2] for entry in split_nul(result.out))
    return {
        path.strip("/"): entries.get(f"{key.removesuffix('.path')}.url", "")
        for key, path in entries.items()
        if key.endswith(".path")
    }


def submodule_address(url: str, *, parent: str, server_url: str, hosts: Collection[str]) -> str:
    """The address, for https and without credentials, of a submodule with `url` in `.gitmodules` of the repository at
    `parent` ("" where that has none on the forge at `server_url`). Raises `WorkspaceError` for an address that is not
    one of the forge or of `hosts` (names, or patterns such as `*.example.org`)."""
    if not url:
        raise WorkspaceError(".gitmodules has no address of it")
    name = one_line(url, 100)
    parts = _split(_absolute(url, parent))
    if not parts or not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise WorkspaceError(f"its address {name} is none for https or ssh")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or {"", ".", ".."} & set(path[1:].split("/")) or parts.query or parts.fragment:
        raise WorkspaceError(f"its address {name} is not a plain one")
    server = urlsplit(server_url)
    if parts.hostname == server.hostname and (parts.scheme == "ssh" or _port(parts) == _port(server)):
        return f"{server_url.rstrip('/')}{path.removesuffix('.git')}.git"
    if not matches_host(parts.hostname, hosts):
        raise WorkspaceError(f"its host {parts.hostname} is not allowed", hint=_HOSTS_HINT.format(parts.hostname))
    port = f":{parts.port}" if parts.scheme == "https" and parts.port else ""
    return f"https://{parts.hostname}{port}{path}"


def is_on(server_url: str, address: str) -> bool:
    """Whether an address is one of that server."""
    return address.startswith(f"{server_url.rstrip('/')}/")


async def public_addresses(address: str) -> tuple[str, ...]:
    """The addresses (IP) of an https address's host. Raises `WorkspaceError` when one of them is not public, or there
    is none: what a stranger's file names is not to lead into the network of this machine."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WorkspaceError(f"its host {host} has no address: {error}") from None
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if private := [each for each in addresses if not is_public(each)]:
        raise WorkspaceError(f"its host {host} is at {private[0]}, an address that is not public")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet, also where IPv6 only wraps one of IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner and not is_public(str(inner)):
            return False
        if ip.ipv4_mapped:
            return True
    return ip.is_global and not ip.is_multicast


def _absolute(url: str, parent: str) -> str:
    """A relative address (`../other.git`) is one from the repository that names it, as git-submodule reads it."""
    if not url.startswith(("./", "../")):
        return url
    base = parent.rstrip("/")
    if not base:
        raise WorkspaceError(f"its address {one_line(url, 100)} is relative, and this checkout has none on the forge")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            base = base.rpartition("/")[0]
        url = url.partition("/")[2]
    return f"{base}/{url}"


def _split(url: str) -> SplitResult | None:
    """The parts of an address for https, http, git or ssh; None for any other."""
    if "://" not in url and (match := _SSH.fullmatch(url)):
        url = f"ssh://{match[1]}/{match[2].lstrip('/')}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if not re.fullmatch(r"[!-~]+", url) or parts.scheme not in ("https", "http", "git", "ssh"):
        return None
    return parts


def _port(parts: SplitResult) -> int:
    """An http address without a port may be meant for a server of https."""
    if parts.scheme == "http" and not parts.port:
        return PORTS["https"]
    return parts.port or PORTS.get(parts.scheme, 443)

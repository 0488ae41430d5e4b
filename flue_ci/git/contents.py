"""What of a repository goes along beyond its own commit when the spec asks for it: submodules, and the contents of
files that Git LFS keeps. Each comes from the checkout, else from the forge, as data; what cannot be had is named.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os.path import lexists, realpath
from pathlib import Path

from flue_ci.core.concurrency import together
from flue_ci.core.errors import FlueError, ForgeError, WorkspaceError
from flue_ci.core.text import one_line
from flue_ci.git.command import git_version
from flue_ci.git.completion import checkout_remote
from flue_ci.git.fetch import Remote, open_remote
from flue_ci.git.path_rules import display_name, path_problem
from flue_ci.git.source import LFS_NOTE, SUBMODULES_NOTE, Source, open_checkout
from flue_ci.git.submodules import Submodule, is_on, list_submodules, public_addresses, submodule_address
from flue_ci.settings import GitHubSettings

MAX_SUBMODULES = 100
MAX_NOTES = 20  # on the submodules of one repository
MAX_LEVELS = 5  # of submodules in submodules
MAX_BYTES = 4_000_000_000  # of all submodules together
MAX_LFS_BYTES = 1_000_000_000  # of all contents of Git LFS together
_PINS_ADDRESSES = (2, 37)  # the first git that takes the address of a server from us
_PINS_HINT = "Submodules of other servers need git 2.37 or newer on this machine."
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentOptions:
    """What goes along: submodules (of the own forge, and of `hosts`, which are names or patterns such as
    `*.example.org`), and the contents of files that Git LFS keeps."""

    submodules: bool = False
    hosts: tuple[str, ...] = ()
    lfs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a repository was taken from. `remote` is the repository on the forge at `server_url`, None where it has
    none there; its `scratch` is not used. `checkout` is its work tree here, whose `.git` may lead to `git_dirs`.

    `trusted_commit` is one in the repository, of people who may write to it: the forge's token goes along to the
    repositories that its submodules name, and to no others, because a pull request may name any.
    """

    server_url: str
    remote: Remote | None = None
    checkout: Path | None = None
    git_dirs: tuple[Path, ...] = ()
    trusted_commit: str = ""


@dataclass(slots=True)
class _Budget:
    count: int = MAX_SUBMODULES
    size: int = MAX_BYTES
    lfs_size: int = field(default_factory=lambda: MAX_LFS_BYTES)
    lfs_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))


async def add_checkout_contents(
    source: Source, options: ContentOptions, repo: Path, github: GitHubSettings, git_dirs: tuple[Path, ...] = ()
) -> Source:
    """`add_contents` for the checkout `repo` on this host, see `checkout_remote`."""
    if not (options.submodules or options.lfs):
        return source
    remote = await checkout_remote(repo, github, repo)
    origin = Origin(server_url=github.server_url, remote=remote, checkout=repo, git_dirs=git_dirs)
    return await add_contents(source, options, origin)


async def add_contents(source: Source, options: ContentOptions, origin: Origin) -> Source:
    """`source` with what `options` ask for. What cannot be had is a note and no error."""
    return await _Contents(options=options, origin=origin, budget=_Budget()).add_to(source)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What goes along with one repository. `trusted_links` are the submodules of its trusted commit."""

    options: ContentOptions
    origin: Origin
    budget: _Budget
    level: int = 1
    trusted_links: tuple[Submodule, ...] = ()

    async def add_to(self, source: Source) -> Source:
        options, origin, budget = self.options, self.origin, self.budget
        if options.submodules:
            submodules, notes = await self._submodules(source)
            rest = (note for note in source.notes if note != SUBMODULES_NOTE)
            source = replace(source, submodules=submodules, notes=(*rest, *notes))
        if options.lfs:
            from flue_ci.git.lfs import fetch_lfs_files  # with an HTTP client, which few runs need

            async with budget.lfs_lock:
                places = (origin.checkout, origin.git_dirs, origin.remote)
                files, notes = await fetch_lfs_files(source, *places, limit=budget.lfs_size)
                budget.lfs_size -= sum(path.stat().st_size for path in {file.content for file in files})
            rest = (note for note in source.notes if note != LFS_NOTE)
            source = replace(source, lfs_files=files, notes=(*rest, *notes))
        return source

    async def _submodules(self, source: Source) -> tuple[Mapping[str, Source], list[str]]:
        """The submodules by path, and notes."""
        submodules: dict[str, Source] = {}
        notes: list[str] = []
        opener, checkout = self, self.origin.checkout
        try:
            links = await list_submodules(source.git, source.base)
            if links and self.origin.trusted_commit:
                trusted_links = await list_submodules(source.git, self.origin.trusted_commit)
                opener = replace(self, trusted_links=tuple(trusted_links))
        except FlueError as error:
            return {}, [f"submodules are empty directories inside: {error}"]

        async def bring(number: int, link: Submodule) -> None:
            name = f"submodule {display_name(link.path)}"
            try:
                async with self.budget.slots:
                    child, place = await opener.open(link, source.git_dir.parent / f"submodule-{number}")
            except FlueError as error:
                reason = one_line(f"{error} ({error.hint})".removesuffix(" ()"), 300)
                if checkout and not lexists(checkout / link.path / ".git"):
                    reason += "; git submodule update --init brings it"
                notes.append(f"{name} is an empty directory inside: {reason}")
                return
            if child.head != link.commit:
                notes.append(f"{name} is at {child.head[:12]}, the commit records {link.commit[:12]}")
            child = await replace(self, origin=place, level=self.level + 1).add_to(child)
            notes.extend(f"{name}: {note}" for note in child.notes)
            submodules[link.path] = child

        await together(*(bring(number, link) for number, link in enumerate(links[:MAX_SUBMODULES])))
        return {path: submodules[path] for path in sorted(submodules)}, _bound(sorted(notes), len(links))

    async def open(self, link: Submodule, scratch: Path) -> tuple[Source, Origin]:
        """The submodule, and where it was taken from. `scratch` is a directory to be made."""
        if problem := path_problem(link.path):
            raise WorkspaceError(problem)
        if self.level > MAX_LEVELS or self.budget.count <= 0:
            raise WorkspaceError(f"only {MAX_SUBMODULES} submodules on {MAX_LEVELS} levels come along")
        self.budget.count -= 1
        scratch.mkdir()
        if self.origin.checkout and lexists(self.origin.checkout / link.path / ".git"):
            source, origin = await self._open_checkout(self.origin.checkout, link, scratch)
        else:
            source, origin = await self._open_remote(link, scratch)
        self.budget.size -= source.pack_bytes
        return source, origin

    async def _open_checkout(self, top: Path, link: Submodule, scratch: Path) -> tuple[Source, Origin]:
        """As it is in the checkout, uncommitted work included."""
        place = top / link.path
        if realpath(place) != str(Path(realpath(top)) / link.path):
            raise WorkspaceError("a link leads to it")
        git_dirs = self.origin.git_dirs
        source = await open_checkout(place, history=1, scratch=scratch, git_dirs=git_dirs)
        origin = replace(self.origin, checkout=place, trusted_commit="", remote=None)
        with suppress(WorkspaceError):
            origin = replace(origin, remote=(await self._remote(link, scratch))[0])
        return source, origin

    async def _open_remote(self, link: Submodule, scratch: Path) -> tuple[Source, Origin]:
        remote, is_same = await self._remote(link, scratch)
        try:
            source = await _open(remote, link)
        except ForgeError as error:  # GitLab redirects to the address with its ending
            if not 300 <= (error.status or 0) < 400 or remote.url.endswith(".git"):
                raise
            remote = replace(remote, url=f"{remote.url}.git")
            source = await _open(remote, link)
        trusted_commit = link.commit if is_same else ""
        return source, replace(self.origin, checkout=None, remote=remote, trusted_commit=trusted_commit)

    async def _remote(self, link: Submodule, scratch: Path) -> tuple[Remote, bool]:
        """Its repository, and whether the trusted commit has the same submodule at the same commit."""
        parent, server_url = self.origin.remote, self.origin.server_url
        base, token = "", ""
        if parent:
            base = parent.url
        address = self._address(link.url, base)
        if parent and is_on(server_url, address) and address in self._trusted_addresses(base):
            token = parent.token
        remote = Remote(url=address, token=token, scratch=scratch, max_bytes=max(self.budget.size, 0))
        if parent:
            remote = replace(remote, retry=parent.retry, notify=parent.notify)
        if not is_on(server_url, address):
            addresses = await public_addresses(address)
            await asyncio.to_thread(git_version, _PINS_ADDRESSES, _PINS_HINT)  # an older one looks them up once more
            remote = replace(remote, addresses=addresses)
        return remote, link in self.trusted_links

    def _address(self, url: str, base: str) -> str:
        return submodule_address(url, parent=base, server_url=self.origin.server_url, hosts=self.options.hosts)

    def _trusted_addresses(self, base: str) -> set[str]:
        addresses: set[str] = set()
        for submodule in self.trusted_links:
            with suppress(WorkspaceError):
                addresses.add(self._address(submodule.url, base))
        return addresses


async def _open(remote: Remote, link: Submodule) -> Source:
    name = link.path.rpartition("/")[2]
    return await open_remote(remote, name=name, head=link.commit, ref="", base=None, base_ref="", depth=1)


def _bound(notes: list[str], count: int) -> list[str]:
    """At most `MAX_NOTES` of them, and one on the rest; `count` is the number of submodules."""
    surplus: list[str] = []
    if len(notes) > MAX_NOTES:
        surplus.append(f"{len(notes) - MAX_NOTES:,} more notes on submodules are left out")
    if count > MAX_SUBMODULES:
        rest = count - MAX_SUBMODULES
        surplus.append(f"{rest:,} more submodules are empty directories inside: only {MAX_SUBMODULES} come along")
    return notes[:MAX_NOTES] + surplus

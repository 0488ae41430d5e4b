"""Brings what a partial clone lacks from GitHub, as data: by our own fetch, never by git's lazy one, which obeys the
checkout's configuration.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from flue_ci.core.errors import FlueError, WorkspaceError
from flue_ci.core.text import plural
from flue_ci.git.checkout import Checkout
from flue_ci.git.command import Git
from flue_ci.git.fetch import RETRY, Remote, fetch_objects
from flue_ci.settings import GitHubSettings

_NAME = r"(\w[\w.-]*/(?!\.\.?(?:\.git)?/?$)[\w.-]+?)(?:\.git)?/?"
_SSH = re.compile(rf"(?:ssh://)?\w[\w.-]*@([\w.-]+)[:/]{_NAME}")
_REPOSITORY = re.compile(f"/{_NAME}")


async def complete_from_github(github: GitHubSettings, checkout: Checkout, names: Sequence[str], scratch: Path) -> Path:
    """A `source.Completion`, once it has the first argument: the server that the user's environment names."""
    remote, hint = await checkout_remote(checkout.top, github, scratch, promisor=True), _hint(checkout)
    if remote is None:
        host = urlsplit(github.server_url).hostname
        raise _error(checkout, names, f"its remote is no repository on {host}, so flue-ci does not fetch them", hint)
    if not remote.token:
        repository = remote.url.removeprefix(f"{github.server_url.rstrip('/')}/").removesuffix(".git")
        hint = f"{hint}\nFor a private repository also: export GITHUB_REPOSITORY={repository} GITHUB_TOKEN=…"
    scratch.mkdir()
    try:
        await fetch_objects(remote, names)
    except FlueError as error:
        raise _error(checkout, names, str(error), hint) from error
    return remote.git_dir / "objects"


async def checkout_remote(top: Path, github: GitHubSettings, scratch: Path, *, promisor: bool = False) -> Remote | None:
    """The repository of a checkout on the server that the user's environment names; with `promisor` the one from which
    git fetches what is missing. None for a repository elsewhere.

    Of the checkout's configuration only the repository's name counts; the token goes along only for the repository that
    the environment names as well: a stranger's checkout could name any.
    """
    git = Git(cwd=top, user_config=True)
    result = await git.run("config", "-z", "--get-regexp", r"^remote\..*\.(promisor|url)$", ok=(0, 1))
    config, token = result.out.decode("utf-8", "replace"), ""
    name = repository_name(promisor_url(config) if promisor else remote_url(config), github.server_url)
    if not name:
        return None
    if name.lower() == github.repo.lower():
        token = github.token
    return Remote(url=f"{github.server_url.rstrip('/')}/{name}.git", token=token, scratch=scratch, retry=RETRY)


def promisor_url(config: str) -> str:
    """The address from which git fetches what is missing, in the output of `git config -z` with the keys `promisor`
    and `url` of remotes; "" for none."""
    entries = dict(entry.partition("\n")[::2] for entry in config.split("\0"))
    names = [key.removesuffix(".promisor") for key in entries if key.endswith(".promisor")]
    return next((entries[f"{name}.url"] for name in names if f"{name}.url" in entries), "")


def remote_url(config: str) -> str:
    """The address of `origin`, or else of the first remote, in such an output; "" for none."""
    entries = dict(entry.partition("\n")[::2] for entry in config.split("\0"))
    urls = [url for key, url in entries.items() if key.endswith(".url")]
    return entries.get("remote.origin.url") or next(iter(urls), "")


def repository_name(url: str, server_url: str) -> str:
    """`owner/name` of a repository at `server_url`, by its address for https or ssh; "" for any other address."""
    server = urlsplit(server_url)
    if match := _SSH.fullmatch(url):
        host, name = match[1], match[2]
        return name if host.lower() == server.hostname else ""
    try:
        parts = urlsplit(url)
        is_same = (parts.scheme, parts.hostname, parts.port) == (server.scheme, server.hostname, server.port)
    except ValueError:
        return ""
    match = _REPOSITORY.fullmatch(parts.path)
    return match[1] if match and is_same and not (parts.query or parts.fragment) else ""


def _hint(checkout: Checkout) -> str:
    command = "git sparse-checkout disable" if checkout.sparse else "git archive HEAD > /dev/null"
    return f"To bring them with git, if you trust the checkout's configuration: {command}"


def _error(checkout: Checkout, names: Sequence[str], cause: str, hint: str) -> WorkspaceError:
    objects = f"{plural(len(names), 'object')} of the current commit"
    message = f"{checkout.top} is a partial clone that lacks {objects}: {cause}"
    return WorkspaceError(message, hint=hint)

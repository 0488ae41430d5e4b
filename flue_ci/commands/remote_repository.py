"""Which repository on GitHub a checkout belongs to."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from flue_ci.core.errors import FlueError, UsageError
from flue_ci.git.command import run_git
from flue_ci.settings import Settings

_REMOTE = re.compile(
    r"(?:[\w.+-]+://)?(?:[^@/\s]*@)?(?P<host>[\w.-]+)(?::\d+/|[:/])(?P<repo>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
)


def remote_repository(root: Path, settings: Settings) -> str:
    """`owner/name`, from the job's environment or from the checkout's remote `origin`. A token goes to the server of
    the environment only, never to one that a checkout names."""
    if settings.github.repo:
        return settings.github.repo
    hint = "run it in a checkout with the remote `origin`, or set GITHUB_REPOSITORY=owner/name"
    try:
        address = run_git("remote", "get-url", "origin", cwd=root).line
    except FlueError as error:
        raise UsageError(f"which repository is meant? {error}", hint=hint) from None
    match = _REMOTE.fullmatch(address.strip())
    if not match:
        raise UsageError("the checkout has no remote `origin` on GitHub", hint=hint)
    server = urlsplit(settings.github.server_url).hostname
    if match["host"].lower() not in (server, f"ssh.{server}"):
        hint = f"when ssh knows {server} by that name: GITHUB_REPOSITORY={match['repo']}\n"
        hint += f"for GitHub Enterprise: GITHUB_SERVER_URL=https://{match['host']}, GITHUB_API_URL=https://{match['host']}/api/v3"
        raise UsageError(f"the checkout's remote is at {match['host']}, not at {server}", hint=hint)
    return match["repo"]

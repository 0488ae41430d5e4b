"""How long to go on with a service that refuses for now: what GitHub says about waiting, and what its refusals mean."""

from __future__ import annotations

import re
import time

from flue_ci.core.errors import ForgeError
from flue_ci.core.text import human_seconds
from flue_ci.forges.github.http import ApiResponse

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_UNNAMED_WAIT = 60.0  # what GitHub asks for when it names no time
_PERMISSIONS = re.compile(r"([a-z_]+)=(read|write)")


def wait_for(answer: ApiResponse, attempt: int) -> float | None:
    """Seconds until another try is worth it; None: it never is.

    Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    if not (answer.rate_limited or answer.retryable):
        return None
    if (after := answer.headers.get("retry-after", "")).isdigit():
        return float(after)
    if answer.rate_limited:
        left = _reset_in(answer)
        return _UNNAMED_WAIT if left is None else left + 1.0
    return min(_FIRST_WAIT * 2.0**attempt, _LONGEST_WAIT)


def to_forge_error(what: str, answer: ApiResponse) -> ForgeError:
    """The error in words, with what to do about it."""
    if answer.status == 0:
        return ForgeError(f"GitHub cannot be reached ({what}): {answer.message}", hint="is its status page all green?")
    message = f"GitHub refused to {what}: {answer.status} {answer.message}".rstrip()
    return ForgeError(message, status=answer.status, hint=_hint(answer))


def _hint(answer: ApiResponse) -> str:
    said = answer.message.lower()
    if answer.rate_limited:
        left = _reset_in(answer)
        return "this is GitHub's rate limit" + (f"; it ends in {human_seconds(left)}" if left is not None else "")
    if "locked" in said:
        return "unlock the conversation, then ask again"
    if answer.status == 403:
        if "saml" in said or "sso" in said.split():
            return "authorize the token for the organization's single sign-on"
        return _rights(answer.headers.get("x-accepted-github-permissions", ""))
    if answer.status == 422 and "too long" in said:
        return "GitHub takes at most 65,536 characters"
    if 300 <= answer.status < 400:
        return "was the repository renamed or moved?"
    return {
        401: "the token is wrong or has expired; `github-token` of the action is the job's own by default",
        404: "it does not exist, or the token may not see it: look at the job's `permissions:`",
        410: "it was deleted, or issues are turned off here",
    }.get(answer.status, "is its status page all green?" if answer.retryable else "")


def _rights(accepted: str) -> str:
    """What to write into the workflow; GitHub names it like `issues=write; pull_requests=write`, where each part of
    several would do."""
    found = [(name, level) for name, level in _PERMISSIONS.findall(accepted.split(";", 1)[0]) if name != "metadata"]
    if not found:
        return "the token lacks a permission for that: look at the job's `permissions:`"
    lines = [f"  {name.replace('_', '-')}: {level}" for name, level in found]
    return "\n".join(["give the job this permission:", "permissions:", *lines])


def _reset_in(answer: ApiResponse) -> float | None:
    """Seconds until the first kind of limit ends, where that is the one."""
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") != "0" or not reset.isdigit():
        return None
    return max(float(reset) - time.time(), 0.0)

"""When a request to GitHub is worth repeating: what GitHub says about waiting, and what its refusals mean."""

import re
import time

from flue_ci.core.errors import ForgeError
from flue_ci.core.retry import RetryPolicy, parse_retry_after
from flue_ci.core.text import human_seconds
from flue_ci.forges.github.http import ApiResponse

RETRY_POLICY = RetryPolicy(timeout=120.0)
_DEFAULT_LIMIT_WAIT = 60.0  # seconds; what GitHub asks for when a limit names no time
_PERMISSIONS = re.compile(r"(?<![a-z_])([a-z_]+)=(read|write)")
_HINTS = {
    401: "the token is wrong or has expired; `github-token` of the action is the job's own by default",
    404: "it does not exist, or the token may not see it: look at the job's `permissions:`",
    410: "it was deleted, or issues are turned off here",
}
_OUTAGE_HINT = "is its status page all green?"


def requested_wait(response: ApiResponse) -> float | None:
    """Seconds that GitHub asks to wait; None when it says nothing about it.

    Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    seconds = parse_retry_after(response.headers)
    if seconds is None and response.rate_limited:
        reset = _seconds_to_reset(response)
        if reset is None:
            return _DEFAULT_LIMIT_WAIT
        return reset + 1.0
    return seconds


def to_forge_error(purpose: str, response: ApiResponse) -> ForgeError:
    """The error in words, with what to do about it."""
    if response.status == 0:
        hint = response.hint or _OUTAGE_HINT
        return ForgeError(f"GitHub cannot be reached ({purpose}): {response.message}", hint=hint)
    message = f"GitHub refused to {purpose}: {response.status} {response.message}".rstrip()
    return ForgeError(message, status=response.status, hint=_hint(response))


def _hint(response: ApiResponse) -> str:
    message = response.message.lower()
    if response.rate_limited:
        reset = _seconds_to_reset(response)
        if reset is None:
            reset = parse_retry_after(response.headers)
        if reset is None:
            return "this is GitHub's rate limit; try again in a few minutes"
        end = time.strftime("%H:%M:%S UTC on %Y-%m-%d", time.gmtime(time.time() + reset))
        return f"this is GitHub's rate limit; it ends in {human_seconds(reset)}, at {end}: ask again then"
    if "locked" in message:
        return "unlock the conversation, then ask again"
    if response.status == 403:
        if "saml" in message or "sso" in message.split():
            return "authorize the token for the organization's single sign-on"
        return _permissions_hint(response.headers.get("x-accepted-github-permissions", ""))
    if response.status == 422 and "too long" in message:
        return "GitHub takes at most 65,536 characters"
    if 300 <= response.status < 400:
        return "was the repository renamed or moved?"
    return _OUTAGE_HINT if response.retryable else _HINTS.get(response.status, "")


def _permissions_hint(header: str) -> str:
    """The lines that a workflow lacks. `header` is GitHub's header, such as `issues=write; pull_requests=write`,
    where each part would do."""
    names = [(name, level) for name, level in _PERMISSIONS.findall(header.split(";", 1)[0]) if name != "metadata"]
    if not names:
        return "the token lacks a permission for that: look at the job's `permissions:`"
    lines = [f"  {name.replace('_', '-')}: {level}" for name, level in names]
    return "\n".join(["give the job this permission:", "permissions:", *lines])


def _seconds_to_reset(response: ApiResponse) -> float | None:
    """Seconds until the primary limit ends; None when that is not the limit."""
    reset = response.headers.get("x-ratelimit-reset", "")
    if response.headers.get("x-ratelimit-remaining") != "0" or not reset.isdigit():
        return None
    return max(float(reset) - time.time(), 0.0)

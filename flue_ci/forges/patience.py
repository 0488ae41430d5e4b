"""How long to go on with a service that refuses for now: what GitHub says about waiting, and what its refusals mean."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from flue_ci.errors import ForgeError
from flue_ci.text import human_seconds, one_line

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_PERMISSIONS = re.compile(r"([a-z_]+)=(read|write)")


def wait_for(status: int, headers: Mapping[str, str], message: str, attempt: int) -> float | None:
    """Seconds until another try is worth it; None: it never is.

    Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    named = {name.lower(): value for name, value in headers.items()}
    if status in (403, 429):
        if (after := named.get("retry-after", "")).isdigit():
            return float(after)
        if named.get("x-ratelimit-remaining") == "0" and named.get("x-ratelimit-reset", "").isdigit():
            return max(float(named["x-ratelimit-reset"]) - time.time(), 0.0) + 1.0
        if status == 403 and "rate limit" not in message.lower():
            return None
        return 60.0  # what GitHub asks for when it names no time
    if status >= 500 or status == 0:
        after = named.get("retry-after", "")
        return float(after) if after.isdigit() else min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT)
    return None


def refused(what: str, status: int, headers: Mapping[str, str], message: str) -> ForgeError:
    """The error in words, with what to do about it."""
    said = one_line(message, 300)
    if status == 0:
        return ForgeError(f"GitHub cannot be reached ({what}): {said}", status=0, hint="is its status page all green?")
    hint = _hint(status, {name.lower(): value for name, value in headers.items()}, message)
    return ForgeError(f"GitHub refused to {what}: {status} {said}".rstrip(), status=status, hint=hint)


def _hint(status: int, headers: Mapping[str, str], message: str) -> str:
    if status == 401:
        return "the token is wrong or has expired; `github-token` of the action is the job's own by default"
    if status in (403, 429) and ("rate limit" in message.lower() or headers.get("x-ratelimit-remaining") == "0"):
        reset = headers.get("x-ratelimit-reset", "")
        left = f" It ends in {human_seconds(max(float(reset) - time.time(), 0))}." if reset.isdigit() else ""
        return f"this is GitHub's rate limit.{left}"
    if status == 403:
        return f"give the job this permission:\n{_yaml(headers.get('x-accepted-github-permissions', ''))}"
    if status == 404:
        return "it does not exist, or the token may not see it: look at the job's `permissions:`"
    if status == 410:
        return "it was deleted, or issues are turned off here"
    return ""


def _yaml(accepted: str) -> str:
    """`issues=write; pull_requests=write` as YAML. Of several ways that each would do, the first is named."""
    found = _PERMISSIONS.findall(accepted.split(";", 1)[0]) or [("pull_requests", "write"), ("issues", "write")]
    lines = [f"  {name.replace('_', '-')}: {level}" for name, level in found]
    return "\n".join(["permissions:", *lines])

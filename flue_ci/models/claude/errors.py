"""What an error of the model's API means: try again, or explain to people what to do. And how long to try.

Pure: it sees status, type and headers, not the SDK. Error types and codes: Anthropic's errors page, 2026-11.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flue_ci.core.errors import ModelError
from flue_ci.core.retry import Retry, RetryPolicy, parse_retry_after
from flue_ci.core.text import closest_match, human_seconds, one_line, plural
from flue_ci.models.known_models import family, known_models

MOST_BREAKS = 10  # streams of one turn that may break: each costs the tokens of the prompt

_RETRYABLE_STATUS = (408, 409, 429)
_RETRYABLE_TYPES = ("overloaded_error", "api_error", "rate_limit_error", "timeout_error")
_SPENT_CODES = (
    *("contract_spend_limit_reached", "enforced_spend_limit_reached"),
    *("linked_organization_spend_limit_reached", "linked_organization_billing_unavailable"),
)
_LASTING = tomllib.loads(Path(__file__).with_name("errors.toml").read_text("utf-8"))
_STATUS_OF_TYPE = {error["type"]: int(status) for status, error in _LASTING.items()}


class RetryableError(Exception):
    """An attempt at a turn failed in a way that may pass. `wait`: seconds that the server asked for, or None."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class ProtocolError(RetryableError):
    """An event that does not belong where it came, or lacks what it must have. `event` says which, with an article."""

    def __init__(self, event: str) -> None:
        super().__init__(f"the model's API sent {event}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """An error as the API reports it. `status` is 200 for one inside a stream; header names are lower case; `is_page`:
    a page of HTML came, which is not from the API."""

    status: int
    type: str = ""
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_page: bool = False


def classify_error(response: ErrorResponse, model: str) -> RetryableError | ModelError:
    """What to raise."""
    status, where = response.status, str(response.status)
    if status == 200:
        status, where = _STATUS_OF_TYPE.get(response.type, 500), "within the stream"
    origin = f"{response.type or 'error'}, {where}"
    message = one_line(response.message, 300)
    if _may_pass(status, response):
        reason = f"the model's API: {message or 'no explanation'} ({origin})"
        return RetryableError(reason, wait=parse_retry_after(response.headers))
    summary, hint = _explain(status, response, model)
    detail = f": {message}" if message else ""
    return ModelError(f"{summary} ({origin}){detail}", hint=hint)


def _may_pass(status: int, response: ErrorResponse) -> bool:
    if response.code in _SPENT_CODES:
        return False
    if (advice := response.headers.get("x-should-retry")) in ("true", "false"):
        return advice == "true"
    if response.type in _RETRYABLE_TYPES and response.status == 200:
        return True
    return status in _RETRYABLE_STATUS or (status >= 500 and status != 501)


def _explain(status: int, response: ErrorResponse, model: str) -> tuple[str, str]:
    """What happened, and what to do."""
    message = response.message.lower()
    if response.code in _SPENT_CODES or "credit balance" in message:
        status = 402
    elif status != 402 and "prompt is too long" in message:
        status = 413
    if status == 404 and response.type:
        near = closest_match(family(model), [name for name in known_models("anthropic") if name != model])
        hint = f"Did you mean {near}?" if near else "Check the model's name."
        return f"The model's API does not know {model}", hint
    if 300 <= status < 400:
        where = one_line(response.headers.get("location", "an address that it does not name"), 100)
        hint = f"If that is right, set ANTHROPIC_BASE_URL to it: {where}"
        return "The server says that the model's API is elsewhere, which is not followed", hint
    if response.is_page and status != 404:
        hint = "Check ANTHROPIC_BASE_URL and HTTPS_PROXY: a proxy, a firewall or a login page is on the way."
        return "A page came in place of an answer of the model's API", hint
    error = _LASTING.get(str(status), {"summary": "The model's API refused the request", "hint": ""})
    return error["summary"], error["hint"]


class TurnRetry:
    """Decides, for the faults of one turn, how long to wait and when to give up.

    `policy.timeout` bounds the time in which no answer began, counted from the first fault. A stream that began and
    broke starts that time anew, but only `MOST_BREAKS` times.
    """

    def __init__(self, policy: RetryPolicy, *, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._retry = Retry(policy, clock=clock, chance=chance)
        self._faults = 0
        self._breaks = 0

    def next_wait(self, error: RetryableError, *, has_begun: bool) -> float:
        """Seconds to wait before the next attempt. `has_begun`: the stream had begun. Raises `ModelError` when there
        is no next attempt."""
        if has_begun or not self._faults:
            self._retry.restart()
        self._faults += 1
        self._breaks += has_begun
        if self._breaks > MOST_BREAKS:
            raise _out_of_reach(error, f"the answer broke off {plural(self._breaks, 'time')}")
        seconds = self._retry.next_wait(error.wait)
        if seconds is None:
            demand = "" if error.wait is None else f"asked to wait {human_seconds(error.wait)}, "
            raise _out_of_reach(error, f"{demand}gave up after {human_seconds(self._retry.elapsed)}")
        return seconds


def _out_of_reach(error: RetryableError, how: str) -> ModelError:
    return ModelError(
        f"The model is out of reach ({how}): {error.reason}",
        hint="Try again later; the work so far is in the report.",
    )

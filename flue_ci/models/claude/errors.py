"""What an error of the model's API means: try again, or tell people what to do. And how long to try.

Pure: it sees status, type and headers, not the SDK. Error types and codes: Anthropic's errors page, 2026-11.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flue_ci.core.errors import ModelError
from flue_ci.core.text import closest_match, human_seconds, one_line, plural
from flue_ci.models.prices import KNOWN_MODELS, family

FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
MOST_BREAKS = 10

_AGAIN_STATUS = (408, 409, 429)
_AGAIN_TYPES = ("overloaded_error", "api_error", "rate_limit_error", "timeout_error")
_SPENT_CODES = (
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
    "linked_organization_spend_limit_reached",
    "linked_organization_billing_unavailable",
)
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
}


_EXPLAINED = {
    400: (
        "The model's API refused the request",
        "Check the model's settings in the spec: effort, thinking, max_output_tokens.",
    ),
    401: (
        "The model's API refused the key",
        "Set ANTHROPIC_API_KEY to a valid key; if ANTHROPIC_BASE_URL is set, the key must belong to that server.",
    ),
    403: ("The key may not do this", "Check that the key's workspace may use this model, or use another key."),
    404: (
        "There is no Messages API at this address",
        "Check ANTHROPIC_BASE_URL: it is the server's address without /v1/messages.",
    ),
}


class RetryableError(Exception):
    """An attempt at a turn failed in a way that may pass. `wait`: seconds that the server asked for, or None."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """An error as the API told it. `status` is 200 for one inside a stream; header names are lower-case."""

    status: int
    type: str = ""
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def classify_error(answer: ErrorResponse, model: str, now: float | None = None) -> RetryableError | ModelError:
    """What to raise. `now` is the time of day in Unix seconds, for a `Retry-After` that is a date."""
    status = answer.status if answer.status != 200 else _STATUS_OF_TYPE.get(answer.type, 500)
    said = one_line(answer.message, 300)
    told = f"{answer.type or 'error'}{f', {answer.status}' if answer.status != 200 else ', within the stream'}"
    if _may_pass(status, answer):
        return RetryableError(
            f"the model's API: {said or 'no explanation'} ({told})", wait=asked_wait(answer.headers, now)
        )
    message, hint = _explained(status, answer, model)
    return ModelError(f"{message} ({told}): {said}" if said else f"{message} ({told})", hint=hint)


def _may_pass(status: int, answer: ErrorResponse) -> bool:
    if answer.code in _SPENT_CODES:
        return False
    if (wish := answer.headers.get("x-should-retry")) in ("true", "false"):
        return wish == "true"
    if answer.type in _AGAIN_TYPES and answer.status == 200:
        return True
    return status in _AGAIN_STATUS or (status >= 500 and status != 501)


def _explained(status: int, answer: ErrorResponse, model: str) -> tuple[str, str]:
    """What happened, and what to do."""
    said = answer.message.lower()
    if status == 402 or answer.code in _SPENT_CODES or "credit balance" in said:
        return "The account has nothing left to spend", "Add credit or raise the spend limit in the provider's console."
    if status == 413 or "prompt is too long" in said:
        return (
            "The conversation is too long for the model",
            "Give a smaller task, or a model with a larger context window.",
        )
    if status == 404 and answer.type:
        known = closest_match(family(model), [name for name in KNOWN_MODELS if name != model])
        return (
            f"The model's API does not know {model}",
            f"Did you mean {known}?" if known else "Check the model's name.",
        )
    return _EXPLAINED.get(status, ("The model's API refused the request", ""))


def asked_wait(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds of `retry-after-ms` or `Retry-After` (seconds or a date); None when absent or unreadable."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(float(milliseconds) / 1000, 0.0)
        wish = headers.get("retry-after", "").strip()
        if not wish:
            return None
        if wish[0].isdigit():
            return max(float(wish), 0.0)
        date = email.utils.parsedate_to_datetime(wish).timestamp()
        return max(date - (time.time() if now is None else now), 0.0)
    except ValueError:
        return None


class Patience:
    """Decides, for the faults of one turn, how long to wait and when to give up.

    `seconds` bounds the time in which no answer began. A stream that began and broke starts that time anew, but only
    `MOST_BREAKS` times: each costs the prompt's tokens. Waits double, spread by `chance` so that runs do not return
    all at once.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._chance = chance
        self._since: float | None = None
        self._tries = 0
        self._breaks = 0

    def wait(self, fault: RetryableError, *, began: bool) -> float:
        """Seconds to wait before the next attempt. Raises `ModelError` when there is none."""
        now = self._clock()
        if began or self._since is None:
            self._since = now
        self._breaks += began
        if self._breaks > MOST_BREAKS:
            raise _given_up(fault, f"the answer broke off {plural(self._breaks, 'time')}")
        seconds = fault.wait
        if seconds is None:
            seconds = min(FIRST_WAIT * 2**self._tries, LONGEST_WAIT) * (0.75 + 0.5 * self._chance())
        self._tries += 1
        if now + seconds - self._since > self._seconds:
            asked = f"asked to wait {human_seconds(seconds)}, " if fault.wait is not None else ""
            raise _given_up(fault, f"{asked}gave up after {human_seconds(now - self._since)}")
        return seconds


def _given_up(fault: RetryableError, how: str) -> ModelError:
    return ModelError(
        f"The model is out of reach ({how}): {fault.reason}",
        hint="Try again later; the work so far is in the report.",
    )

"""One question to GitHub and its answer, as values. What to do about an answer is decided in `patience`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flue_ci.core.text import one_line


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """`what` is for people; `url` a path of the API, or a whole address of it, of which only the path counts."""

    what: str
    verb: str
    url: str
    query: dict[str, Any] | None = None
    body: Any = None


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What GitHub said. `status` 0: nothing, or nothing of use; header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    data: Any

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retryable(self) -> bool:
        """What was asked may have been done all the same."""
        return self.status == 0 or self.status >= 500

    @property
    def rate_limited(self) -> bool:
        """A rate limit, GitHub's first or second kind."""
        named = "retry-after" in self.headers or self.headers.get("x-ratelimit-remaining") == "0"
        return self.status == 429 or (self.status == 403 and (named or "rate limit" in self.message.lower()))

    @property
    def message(self) -> str:
        """GitHub's own words, on one line."""
        if not isinstance(self.data, dict):
            return ""
        errors = self.data.get("errors")
        several = errors if isinstance(errors, list) else []
        more = [each.get("message") or each.get("code") if isinstance(each, dict) else each for each in several]
        told = "; ".join(str(each) for each in more if each)
        return one_line(f"{self.data.get('message') or ''}{f' ({told})' if told else ''}", 300)


def send(request: ApiRequest, transport: Callable[..., tuple[int, Mapping[str, Any], Any]], token: str) -> ApiResponse:
    """What `send` (PyGithub's `requestJson`) makes of the question, whatever it is; never raises for what the network
    or the server did, and never shows the token."""
    try:
        status, headers, text = transport(request.verb, request.url, request.query, None, request.body)
    except RuntimeError as error:  # a permanent redirect to another host, which PyGithub does not follow
        return ApiResponse(301, {}, {"message": str(error)})
    except (OSError, ValueError) as error:  # `requests` says OSError for whatever happens on the way
        said = f"{type(error).__name__}: {error}"
        for part in token.split():  # a header that cannot be sent is shown in the error
            said = said.replace(part, "***")
        return ApiResponse(0, {}, {"message": said})
    named = {str(name).lower(): str(value) for name, value in headers.items()}
    try:
        return ApiResponse(status, named, json.loads(text) if text else None)
    except ValueError:
        said = one_line(str(text), 200)
        return ApiResponse(
            0 if 200 <= status < 300 else status,
            named,
            {"message": f"an answer that is no JSON: {said}" if said else ""},
        )

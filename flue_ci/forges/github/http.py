"""Requests to GitHub and its responses, as values, and the connections that carry them.

The only module that imports PyGithub, for its HTTP client. What to do about a response is decided in `retry`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flue_ci.core.network_variables import lasting_fault, route
from flue_ci.core.text import one_line

if TYPE_CHECKING:
    from github.Requester import Requester

TIMEOUT_SECONDS = 20  # of one request
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # by which a GitHub App proves itself
_LINK = re.compile(r'<([^<>]+)>;\s*rel="(\w+)"')


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """`purpose` is for people (`read the issue`); `url` a path of the API, or a whole address of it, of which only the
    path counts. `redirects`: the answer is the address of something, which the caller looks at; any other redirect is
    an error."""

    purpose: str
    verb: str
    url: str
    query: dict[str, Any] | None = None
    body: Any = None
    redirects: bool = False


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """`status` 0: there was no answer, or none that can be read; `hint` says what to do then, and `is_lasting` that the
    next request would meet the same. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: Any
    hint: str = ""
    is_lasting: bool = False

    @property
    def ok(self) -> bool:
        """A status from 200 to 299."""
        return 200 <= self.status < 300

    @property
    def retryable(self) -> bool:
        """The server failed. The request may have been carried out all the same."""
        return (self.status == 0 and not self.is_lasting) or self.status >= 500

    @property
    def rate_limited(self) -> bool:
        """A rate limit, GitHub's primary or secondary one."""
        has_limit_headers = "retry-after" in self.headers or self.headers.get("x-ratelimit-remaining") == "0"
        has_limit = has_limit_headers or "rate limit" in self.message.lower()
        return self.status == 429 or (self.status == 403 and has_limit)

    @property
    def links(self) -> dict[str, str]:
        """The addresses of other pages of a list: `next`, `prev`, `first`, `last`."""
        return {relation: address for address, relation in _LINK.findall(self.headers.get("link", ""))}

    @property
    def message(self) -> str:
        """GitHub's own words, on one line."""
        if not isinstance(self.data, dict):
            return ""
        text = str(self.data.get("message") or "")
        if isinstance(errors := self.data.get("errors"), list):
            details = [str(detail) for detail in map(_error_detail, errors) if detail]
            if details:
                text += f" ({'; '.join(details)})"
        return one_line(text, 300)


def _error_detail(error: Any) -> Any:
    if isinstance(error, dict):
        return error.get("message") or error.get("code")
    return error


class ConnectionPool:
    """Connections to the API at `base_url`, each for one request at a time. Sends in threads."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base_url, self._token = base_url, token
        self._idle: list[Requester] = []

    async def send(self, request: ApiRequest) -> ApiResponse:
        """The response, see `send`. A cancelled call does not wait for its thread, which cannot be stopped: a write
        that has begun is carried out."""
        connection = self._idle.pop() if self._idle else None

        def exchange() -> tuple[Requester, ApiResponse]:
            requester = connection or self._connect()
            return requester, self._explain(send(request, requester.requestJson, self._token))

        def put_back(future: asyncio.Future[tuple[Requester, ApiResponse]]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._idle.append(future.result()[0])

        future = asyncio.ensure_future(asyncio.to_thread(exchange))
        future.add_done_callback(put_back)
        return (await asyncio.shield(future))[1]

    async def close(self) -> None:
        """Ends the idle connections. Idempotent."""
        while self._idle:
            await asyncio.to_thread(self._idle.pop().close)

    def _explain(self, response: ApiResponse) -> ApiResponse:
        """Names what stands in the way of a request without an answer."""
        if response.status:
            return response
        if fault := lasting_fault(response.message, self._base_url):
            return replace(response, data={"message": fault.message}, hint=fault.hint, is_lasting=True)
        if way := route(self._base_url):
            return replace(response, hint=f"GitHub is asked{way}: does it let requests pass?")
        return response

    def _connect(self) -> Requester:
        import github

        auth: github.Auth.Auth | None = None
        if _JWT.fullmatch(self._token):
            auth = github.Auth.AppAuthToken(self._token)
        elif self._token:
            auth = github.Auth.Token(self._token)
        return github.Github(
            auth=auth,
            base_url=self._base_url,
            timeout=TIMEOUT_SECONDS,
            user_agent="flue-ci",
            retry=None,  # ours looks at what was written before it writes again, and can be interrupted
            seconds_between_requests=0,
            seconds_between_writes=0,  # a run writes a few comments, ten seconds apart
        ).requester


def send(request: ApiRequest, transport: Callable[..., tuple[int, Mapping[str, Any], Any]], token: str) -> ApiResponse:
    """The response that `transport` (PyGithub's `requestJson`) gets. Never raises for faults of the network or the
    server, and never shows the token."""
    try:
        status, headers, text = transport(request.verb, request.url, request.query, None, request.body)
    except RuntimeError as error:  # a permanent redirect to another host, which PyGithub does not follow
        return ApiResponse(301, {}, {"message": str(error)})
    except (OSError, ValueError) as error:  # `requests` raises subclasses of OSError
        message = f"{type(error).__name__}: {error}"
        for part in token.split():  # the error shows a header that cannot be sent
            message = message.replace(part, "***")
        return ApiResponse(0, {}, {"message": message})
    lower_case = {str(name).lower(): str(value) for name, value in headers.items()}
    try:
        return ApiResponse(status, lower_case, json.loads(text) if text else None)
    except ValueError:
        if 200 <= status < 300:
            status = 0
        return ApiResponse(status, lower_case, {"message": f"an answer that is no JSON: {one_line(str(text), 200)}"})

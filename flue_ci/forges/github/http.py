"""Requests to GitHub and its responses, as values, the connections that carry them, and the pages that lists come in.

The only module that imports PyGithub, for its HTTP client. What to do about a response is decided in `retry`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flue_ci.core.concurrency import together
from flue_ci.core.errors import ForgeError
from flue_ci.core.network_variables import lasting_fault, route
from flue_ci.core.retry import RetryPolicy
from flue_ci.core.text import one_line

if TYPE_CHECKING:
    from github.Requester import Requester

TIMEOUT_SECONDS = 20  # of one request
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # by which a GitHub App proves itself
_LINK = re.compile(r'<([^<>]+)>;\s*rel="(\w+)"')
PER_PAGE, MAX_PAGES = 100, 12
NEWEST_PAGES = 2  # of a long discussion: as much as the task has room for, and few of a token's 1,000 requests an hour
_PAGE_NUMBER = re.compile(r"[?&]page=(\d{1,9})(?:&|$)")


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


Items = list[dict[str, Any]]
FindExisting = Callable[[], Awaitable["dict[str, Any] | None"]]


def _error_detail(error: Any) -> Any:
    if isinstance(error, dict):
        return error.get("message") or error.get("code")
    return error


def page_items(response: ApiResponse, key: str = "") -> Items:
    """The objects on one page of a list, which the API gives as it is or as the value of `key`."""
    page = response.data
    if key and isinstance(page, dict):
        page = page.get(key)
    return [item for item in page or () if isinstance(item, dict)]


class ApiCalls:
    """What each part of `GitHub` asks with."""

    _repo: str
    _api_url: str
    _graphql_url: str
    _retry_policy: RetryPolicy
    _send: Callable[..., Coroutine[Any, Any, ApiResponse]]  # see the client

    async def _fetch(
        self, purpose: str, path: str, verb: str = "GET", body: Any = None, find_existing: FindExisting | None = None
    ) -> dict[str, Any]:
        """A JSON object. `path` is below the repository, or a whole address."""
        url = f"/repos/{self._repo}{path}" if path.startswith("/") else path
        data = (await self._send(ApiRequest(purpose, verb, url, body=body), find_existing)).data
        if not isinstance(data, dict):
            raise ForgeError(f"GitHub's answer is not understood ({purpose})", hint="is the address of its API right?")
        return data

    async def _list(
        self, purpose: str, path: str, /, *, key: str = "", max_pages: int = MAX_PAGES, repo: str = "", **query: str
    ) -> Items:
        """The items of all pages, at most `max_pages`. `key`: they are that value of an object; `repo` is another
        repository."""
        path = f"/repos/{repo or self._repo}{path}"
        return await self._follow(ApiRequest(purpose, "GET", path, {"per_page": PER_PAGE, **query}), max_pages, key)

    async def _follow(self, request: ApiRequest, max_pages: int, key: str = "") -> Items:
        """The items of a page and of those behind it, by the links that GitHub sends.

        Source: https://docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api
        """
        items: Items = []
        for _ in range(max_pages):
            response = await self._send(request)
            items += page_items(response, key)
            link = response.links.get("next")
            if not link:
                break
            request = ApiRequest(request.purpose, "GET", link)
        return items

    async def _ends(self, purpose: str, path: str) -> tuple[Items, Items, int]:
        """The items of the first page, those of the newest other pages, and about how many there are. GitHub lists the
        oldest first, and says which page is the last."""
        path, query = f"/repos/{self._repo}{path}", {"per_page": PER_PAGE}
        response = await self._send(ApiRequest(purpose, "GET", path, query))
        first, links = page_items(response), response.links
        last = _PAGE_NUMBER.search(links.get("last", ""))
        if last is None:
            rest: Items = []
            if following := links.get("next"):
                rest = await self._follow(ApiRequest(purpose, "GET", following), MAX_PAGES - 1)
            return first, rest, len(first) + len(rest)
        numbers = range(2, int(last[1]) + 1)[-NEWEST_PAGES:]
        requests = [ApiRequest(purpose, "GET", path, query | {"page": number}) for number in numbers]
        newest = [item for response in await together(*map(self._send, requests)) for item in page_items(response)]
        skipped = (int(last[1]) - 1 - len(numbers)) * PER_PAGE
        return first, newest, len(first) + len(newest) + max(skipped, 0)

    async def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        data = (await self._fetch("ask GraphQL", self._graphql_url, "POST", body)).get("data")
        if not isinstance(data, dict):
            raise ForgeError("GraphQL gave no data", status=400)
        return data


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

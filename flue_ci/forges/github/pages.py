"""Lists of GitHub's API, which come in pages: the items of all pages, or of the first and the newest.

The requests are the client's: `send` is its method.
Source: https://docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api
"""

import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from flue_ci.core.concurrency import together
from flue_ci.forges.github.http import ApiRequest, ApiResponse

PER_PAGE, MAX_PAGES = 100, 12
NEWEST_PAGES = 2  # of a long discussion: as much as the task has room for, and few of a token's 1,000 requests an hour
_PAGE_NUMBER = re.compile(r"[?&]page=(\d{1,9})(?:&|$)")
Send = Callable[[ApiRequest], Coroutine[Any, Any, ApiResponse]]
Items = list[dict[str, Any]]


async def follow(send: Send, request: ApiRequest, *, key: str = "", max_pages: int = MAX_PAGES) -> Items:
    """The items of a page and of those behind it, by the links that GitHub sends. `key`: they are that value of an
    object."""
    items: Items = []
    for _ in range(max_pages):
        response = await send(request)
        items += _items(response, key)
        link = response.links.get("next")
        if not link:
            break
        request = ApiRequest(request.purpose, "GET", link)
    return items


async def read_ends(send: Send, request: ApiRequest) -> tuple[Items, Items, int]:
    """The items of the first page, those of the newest other pages, and about how many there are. GitHub lists the
    oldest first, and says which page is the last."""
    response = await send(request)
    first, links = _items(response), response.links
    last = _PAGE_NUMBER.search(links.get("last", ""))
    if last is None:
        rest: Items = []
        if following := links.get("next"):
            rest = await follow(send, ApiRequest(request.purpose, "GET", following), max_pages=MAX_PAGES - 1)
        return first, rest, len(first) + len(rest)
    numbers = range(2, int(last[1]) + 1)[-NEWEST_PAGES:]
    requests = [replace(request, query={**(request.query or {}), "page": number}) for number in numbers]
    newest = [item for response in await together(*map(send, requests)) for item in _items(response)]
    skipped = (int(last[1]) - 1 - len(numbers)) * PER_PAGE
    return first, newest, len(first) + len(newest) + max(skipped, 0)


def _items(response: ApiResponse, key: str = "") -> Items:
    """The objects on one page of a list, which the API gives as it is or as the value of `key`."""
    page = response.data
    if key and isinstance(page, dict):
        page = page.get(key)
    return [item for item in page or () if isinstance(item, dict)]

"""Lists that come in pages, by the links that GitHub sends.

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
Items = list[dict[str, Any]]
Send = Callable[[ApiRequest], Coroutine[Any, Any, ApiResponse]]


async def follow_pages(send: Send, request: ApiRequest, key: str = "", max_pages: int = MAX_PAGES) -> Items:
    """The items of a page and of those behind it. `key`: where they stand in the answer, when it is not a list."""
    items: Items = []
    for _ in range(max_pages):
        response = await send(request)
        items += page_items(response, key)
        link = response.links.get("next")
        if not link:
            break
        request = ApiRequest(request.purpose, "GET", link)
    return items


async def first_and_newest(send: Send, request: ApiRequest) -> tuple[Items, Items, int]:
    """The items of the first page, those of the newest other pages, and about how many there are. GitHub lists the
    oldest first, and says which page is the last."""
    response = await send(request)
    first = page_items(response)
    last = _PAGE_NUMBER.search(response.links.get("last", ""))
    if last is None:
        rest: Items = []
        if link := response.links.get("next"):
            rest = await follow_pages(send, ApiRequest(request.purpose, "GET", link), max_pages=MAX_PAGES - 1)
        return first, rest, len(first) + len(rest)
    numbers = range(2, int(last[1]) + 1)[-NEWEST_PAGES:]
    requests = [replace(request, query={"per_page": PER_PAGE, "page": number}) for number in numbers]
    newest = [item for response in await together(*map(send, requests)) for item in page_items(response)]
    skipped = (int(last[1]) - 1 - len(numbers)) * PER_PAGE
    return first, newest, len(first) + len(newest) + max(skipped, 0)


def page_items(response: ApiResponse, key: str = "") -> Items:
    """The objects on one page of a list, which the API gives as it is or as the value of `key`."""
    page = response.data
    if key and isinstance(page, dict):
        page = page.get(key)
    return [item for item in page or () if isinstance(item, dict)]

"""GitHub that is only read: what would be written is listed instead."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flue_ci.forges.github.client import FindExisting, GitHub
from flue_ci.forges.github.http import ApiRequest, ApiResponse


class DryRunGitHub(GitHub):
    """`record` gets a line for each request that would write; its answer is an object without anything."""

    def __init__(self, record: Callable[[str], None], **options: Any) -> None:
        super().__init__(**options)
        self._record = record

    async def _send(self, request: ApiRequest, find_existing: FindExisting | None = None) -> ApiResponse:
        is_query = request.url == self._graphql_url and str(request.body["query"]).lstrip().startswith("query")
        if request.verb == "GET" or is_query:
            return await super()._send(request)
        self._record(f"{request.verb:<6} {urlsplit(request.url).path} ({request.purpose})")
        return ApiResponse(200, {}, {})

"""Sandboxes at E2B, over `AsyncSandbox` of the official SDK: started with patience, found by metadata, killed for sure.

A sandbox that nobody extends ends by itself within five minutes: even a host that dies leaves nothing for long.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import Notice, Observer
from flue_ci.core.ports import SandboxRequest
from flue_ci.core.text import human_seconds
from flue_ci.sandboxes.e2b import errors as failures
from flue_ci.sandboxes.e2b.network import check_network, policy
from flue_ci.sandboxes.e2b.process import finish
from flue_ci.sandboxes.e2b.sandbox import E2BSandbox, Timeouts

if TYPE_CHECKING:
    from e2b import AsyncSandbox

T = TypeVar("T")
RunningSandbox = list[tuple[str, Mapping[str, str]]]

_ATTEMPT = "flue-ci-attempt"  # metadata that marks what one `open` made, and nothing else
_LONGEST = 86_400.0  # seconds; what E2B's largest plan allows
_SLOW = 10.0  # seconds after which people are told that a start takes long


def preload() -> None:
    """Import the SDK before it is needed."""
    from e2b import AsyncSandbox

    _ = AsyncSandbox


class E2BProvider:
    """See `ports.SandboxProvider`. Empty settings are the SDK's defaults; whoever builds this reads the environment."""

    name = "e2b"

    def __init__(
        self,
        *,
        api_key: str = "",
        domain: str = "",
        api_url: str = "",
        sandbox_url: str = "",
        pace: Timeouts | None = None,
    ) -> None:
        self._key = api_key.strip()  # keys pasted into a CI secret often end with a newline
        given = {"domain": domain, "api_url": api_url, "sandbox_url": sandbox_url}
        self._options: dict[str, Any] = {"api_key": self._key, "debug": False}
        self._options |= {name: value for name, value in given.items() if value}
        self._pace = pace or Timeouts()

    def check(self, request: SandboxRequest) -> None:
        if not request.template:
            raise SandboxError("the sandbox has no template", hint="set `sandbox.template`; `base` always works")
        if not 0 < request.max_seconds <= _LONGEST:
            asked = human_seconds(request.max_seconds)
            raise SandboxError(f"a sandbox cannot live for {asked}", hint="set `sandbox.timeout` to 24h or less")
        check_network(request.network)

    async def open(self, request: SandboxRequest, observe: Observer) -> E2BSandbox:
        if not self._key:
            raise SandboxError("there is no API key for E2B", hint=failures.KEY_HINT)
        self.check(request)
        try:
            return await self._open(request, observe)
        except SandboxLost as lost:
            # E2B loses about one sandbox in a hundred in its first seconds. Nothing has happened in it: take another.
            observe(Notice(text=f"{lost}; starting another"))
            return await self._open(request, observe)

    async def _open(self, request: SandboxRequest, observe: Observer) -> E2BSandbox:
        mark = uuid.uuid4().hex
        secrets = (self._key, *(rule.value for rule in request.network.inject))
        box: E2BSandbox | None = None
        try:
            vendor = await self._create(request, mark, secrets, observe)
            box = E2BSandbox(vendor, request, pace=self._pace, observe=observe, secrets=secrets)
            await box.initialize()
        except BaseException as error:
            if box is not None:
                await finish(box.close())
            elif not (isinstance(error, SandboxError) and failures.was_refused(error)):
                await finish(self._undo(mark))
            raise
        return box

    async def _create(
        self, request: SandboxRequest, mark: str, secrets: tuple[str, ...], observe: Observer
    ) -> AsyncSandbox:
        """Ask until there is a sandbox, E2B says no, or patience ends. One key for all attempts makes one sandbox."""
        key = f"flue-ci-{uuid.uuid4()}"
        begun, wait = time.monotonic(), self._pace.first_wait
        while True:
            try:
                return await self._create_once(request, mark, key, observe)
            except Exception as error:
                text = failures.describe(error, secrets)
                if failures.is_refusal(error):
                    raise failures.refusal(error, text, request.template) from error
                pause = wait * random.uniform(0.5, 1.0)  # noqa: S311 (spreads retries, guards nothing)
                if time.monotonic() + pause - begun > self._pace.retry_timeout:
                    raise failures.gave_up(error, text, human_seconds(time.monotonic() - begun)) from error
            observe(Notice(text=f"E2B has no sandbox for us yet ({text}); trying again in {human_seconds(pause)}"))
            await asyncio.sleep(pause)
            wait = min(wait * 2, self._pace.longest_wait)

    async def _create_once(self, request: SandboxRequest, mark: str, key: str, observe: Observer) -> AsyncSandbox:
        from e2b import AsyncSandbox

        call = asyncio.ensure_future(
            AsyncSandbox.create(
                template=request.template,
                timeout=math.ceil(min(self._pace.ttl, request.max_seconds)),
                metadata={**request.metadata, _ATTEMPT: mark},
                envs=dict(request.env),
                network=policy(request.network, replace=False),  # type: ignore[arg-type]
                lifecycle={"on_timeout": "kill"},
                idempotency_key=key,
                **self._options,
            )
        )
        try:
            async with asyncio.timeout(self._pace.creating):
                while not (await asyncio.wait([call], timeout=_SLOW))[0]:
                    observe(Notice(text="E2B is still starting the sandbox"))
            return call.result()
        except asyncio.CancelledError:
            await finish(self._take_back(call))
            raise
        finally:
            call.cancel()

    async def _take_back(self, call: asyncio.Future[AsyncSandbox]) -> None:
        """Nobody wants it any more, but E2B may be making it. Its answer names it: wait a little, and kill it."""
        await asyncio.wait([call], timeout=self._pace.closing * 0.6)
        if call.done() and not call.cancelled() and call.exception() is None:
            await self._end(call.result().sandbox_id)

    async def _undo(self, mark: str) -> None:
        """Kill what an `open` may have made without our knowing."""
        with suppress(SandboxError, TimeoutError):
            async with asyncio.timeout(self._pace.closing * 0.5):
                for sandbox_id, _ in await self._list({_ATTEMPT: mark}):
                    await self._end(sandbox_id)

    async def list(self, metadata: Mapping[str, str]) -> RunningSandbox:
        """See `ports.SandboxProvider`. Raises `SandboxError`, also for no metadata: other people's are none of ours."""
        if not metadata:
            raise SandboxError("sandboxes are only listed by the metadata of a run")
        if not self._key:
            raise SandboxError("there is no API key for E2B", hint=failures.KEY_HINT)
        return await self._list(metadata)

    async def _list(self, metadata: Mapping[str, str]) -> RunningSandbox:
        from e2b import AsyncSandbox, SandboxQuery

        async def pages() -> RunningSandbox:
            found: RunningSandbox = []
            pager = AsyncSandbox.list(query=SandboxQuery(metadata=dict(metadata)), **self._options)
            while pager.has_next:
                found += [(item.sandbox_id, item.metadata or {}) for item in await pager.next_items()]
            return found

        # E2B filters too; but what a sweep kills must not hang on how well.
        everything = await self._repeat(pages)
        return [(name, theirs) for name, theirs in everything if metadata.items() <= theirs.items()]

    async def kill(self, sandbox_id: str) -> bool:
        """See `ports.SandboxProvider`. Raises `SandboxError`."""
        return await self._end(sandbox_id)

    async def _end(self, sandbox_id: str) -> bool:
        from e2b import AsyncSandbox

        return await self._repeat(lambda: AsyncSandbox.kill(sandbox_id, request_timeout=5, **self._options))

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(3):
            try:
                async with asyncio.timeout(30):
                    return await call()
            except Exception as error:
                text = failures.describe(error, (self._key,))
                if failures.is_refusal(error):
                    raise failures.refusal(error, text, "") from error
                if attempt == 2:
                    raise SandboxError(f"E2B cannot be reached: {text}", hint=failures.REACH_HINT) from error
            await asyncio.sleep(self._pace.repeat * 2**attempt)
        raise AssertionError("unreachable")


__all__ = ["E2BProvider", "E2BSandbox", "Timeouts"]

"""Sandboxes at E2B, over `AsyncSandbox` of the official SDK: starts them, finds them by metadata, kills them.

A sandbox whose life is not extended ends by itself within five minutes: even a host that dies leaves nothing for long.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import Diagnostic, FlueError, SandboxError, SandboxLost
from flue_ci.core.events import Notice, Observer
from flue_ci.core.ports import SandboxRequest
from flue_ci.core.retry import Retry
from flue_ci.core.text import human_seconds
from flue_ci.sandboxes.e2b import errors
from flue_ci.sandboxes.e2b.errors import RequestRefusal, Timeouts, VendorError, vendor_call
from flue_ci.sandboxes.e2b.network import Firewall, check_network
from flue_ci.sandboxes.e2b.sandbox import E2BSandbox
from flue_ci.sandboxes.registry import OWN_METADATA
from flue_ci.settings import Settings

if TYPE_CHECKING:
    from e2b import AsyncSandbox

T = TypeVar("T")
SandboxList = list[tuple[str, Mapping[str, str]]]

_ATTEMPT = "flue-ci-attempt"  # metadata that marks what one `open` made, and nothing else
_MAX_SECONDS = 86_400.0  # that a sandbox may live; what E2B's largest plan allows
_SLOW_SECONDS = 10.0  # after which people learn that a start takes long


class E2BProvider:
    """See `ports.SandboxProvider` and `registry.SandboxAdapter`. Empty addresses are the SDK's defaults."""

    name = "e2b"

    def __init__(
        self,
        *,
        api_key: str = "",
        domain: str = "",
        api_url: str = "",
        sandbox_url: str = "",
        timeouts: Timeouts | None = None,
    ) -> None:
        self._key = api_key.strip()  # keys pasted into a CI secret often end with a newline
        addresses = {"domain": domain, "api_url": api_url, "sandbox_url": sandbox_url}
        self._options: dict[str, Any] = {"api_key": self._key, "debug": False}
        self._options |= {name: value for name, value in addresses.items() if value}
        self._url = api_url or f"https://api.{domain or 'e2b.app'}"
        self.timeouts = timeouts or Timeouts()
        self._next_create = 0.0  # monotonic time
        self._firewall = Firewall()

    @classmethod
    def from_settings(cls, settings: Settings) -> E2BProvider:
        """See `registry.SandboxAdapter`."""
        timeouts = Timeouts()
        if settings.retry_timeout_seconds:
            timeouts = replace(timeouts, start=replace(timeouts.start, timeout=settings.retry_timeout_seconds))
        return cls(
            api_key=settings.e2b_api_key,
            domain=settings.e2b_domain,
            api_url=settings.e2b_api_url,
            sandbox_url=settings.e2b_sandbox_url,
            timeouts=timeouts,
        )

    @classmethod
    def missing_keys(cls, settings: Settings) -> tuple[str, ...]:
        """See `registry.SandboxAdapter`."""
        if settings.e2b_api_key.strip():
            return ()
        return ("E2B_API_KEY",)

    @classmethod
    async def diagnose(cls, settings: Settings, *, offline: bool) -> Diagnostic:
        """See `registry.SandboxAdapter`. Asks for the list of sandboxes, which needs a good key."""
        if cls.missing_keys(settings):
            hint = "export E2B_API_KEY=…, or run with --sandbox local"
            return Diagnostic(key="E2B", message="E2B_API_KEY is not set", hint=hint)
        if offline:
            return Diagnostic(key="E2B", severity="ok", message="the key is set (not asked)")
        try:
            async with asyncio.timeout(30):
                running = await cls.from_settings(settings).list(OWN_METADATA)
        except FlueError as error:
            return Diagnostic(key="E2B", message=str(error), hint=error.hint)
        except TimeoutError:
            hint = "look at proxies and firewalls"
            return Diagnostic(key="E2B", message="no answer within 30 seconds", hint=hint)
        address = settings.e2b_api_url or settings.e2b_domain or "e2b.app"
        message = f"{address} answers, the key is good; sandboxes of flue-ci running: {len(running)}"
        return Diagnostic(key="E2B", severity="ok", message=message)

    @staticmethod
    def preload() -> None:
        """See `registry.SandboxAdapter`."""
        importlib.import_module("e2b")

    def check(self, request: SandboxRequest) -> None:
        """See `ports.SandboxProvider`."""
        if not request.template:
            raise SandboxError("the sandbox has no template", hint="set `sandbox.template`; `base` always works")
        if not 0 < request.max_seconds <= _MAX_SECONDS:
            duration = human_seconds(request.max_seconds)
            raise SandboxError(f"a sandbox cannot live for {duration}", hint="set `sandbox.timeout` to 24h or less")
        for network in request.networks:
            check_network(network)

    async def open(self, request: SandboxRequest, observe: Observer) -> E2BSandbox:
        """See `ports.SandboxProvider`. Raises `SandboxError`."""
        self._check_key()
        self.check(request)
        try:
            return await self._open(request, observe)
        except SandboxLost as error:
            # E2B loses about one sandbox in a hundred in its first seconds. Nothing has happened in it: take another.
            observe(Notice(text=f"{error}; starting another"))
            return await self._open(request, observe)

    def _check_key(self) -> None:
        if not self._key:
            raise SandboxError("there is no API key for E2B", hint=errors.KEY_HINT)

    async def _open(self, request: SandboxRequest, observe: Observer) -> E2BSandbox:
        mark = uuid.uuid4().hex
        secrets = (self._key, *(rule.value for network in request.networks for rule in network.inject))
        async with AsyncExitStack() as cleanup:
            cleanup.push_async_callback(lambda: finish(self._kill_attempt(mark)))
            try:
                vendor, attempts = await self._create(request, mark, secrets, observe)
                if attempts > 1:  # servers that ignore the key have made one for each
                    await finish(self._kill_attempt(mark, but=vendor.sandbox_id))
            except RequestRefusal as error:
                if not (isinstance(error.__cause__, VendorError) and error.__cause__.is_mismatch):
                    cleanup.pop_all()  # nothing was started
                raise
            sandbox = E2BSandbox(
                vendor, request, timeouts=self.timeouts, observe=observe, secrets=secrets, firewall=self._firewall
            )
            cleanup.pop_all()
            cleanup.push_async_callback(sandbox.close)
            try:
                await sandbox.initialize()
            except SandboxLost as error:
                raise errors.template_error(error) or error from error.__cause__
            cleanup.pop_all()
        return sandbox

    async def _create(
        self, request: SandboxRequest, mark: str, secrets: tuple[str, ...], observe: Observer
    ) -> tuple[AsyncSandbox, int]:
        """Asks until there is a sandbox, E2B refuses, or the time is up. One key for all attempts makes one sandbox.
        Also the number of attempts."""
        key = f"flue-ci-{uuid.uuid4()}"
        retry = Retry(self.timeouts.start)
        for attempt in itertools.count(1):
            try:
                return await self._create_once(request, mark, key, observe), attempt
            except VendorError as error:
                if self._firewall.learns(error):
                    continue
                text = errors.mask(str(error), secrets)
                if error.is_refusal:
                    raise errors.refusal_error(error, text, request.template) from error
                if problem := errors.network_error(error, self._url):
                    raise problem from error
                wait = retry.next_wait()
                if wait is None:
                    raise errors.unavailable_error(error, text, human_seconds(retry.elapsed), self._url) from error
            observe(Notice(text=f"E2B has no sandbox for us yet ({text}); trying again in {human_seconds(wait)}"))
            await asyncio.sleep(wait)
        raise AssertionError("there is always another attempt")

    async def _create_once(self, request: SandboxRequest, mark: str, key: str, observe: Observer) -> AsyncSandbox:
        wait = self._next_create - time.monotonic()
        self._next_create = time.monotonic() + max(wait, 0) + self.timeouts.pace
        await asyncio.sleep(wait)
        call = asyncio.ensure_future(self._send_create(request, mark, key))
        try:
            async with vendor_call(self.timeouts.create):
                while not (await asyncio.wait([call], timeout=_SLOW_SECONDS))[0]:
                    observe(Notice(text="E2B is still starting the sandbox"))
                return call.result()
        except asyncio.CancelledError:
            await finish(self._kill_answer(call))
            raise
        finally:
            call.cancel()

    async def _send_create(self, request: SandboxRequest, mark: str, key: str) -> AsyncSandbox:
        from e2b import AsyncSandbox

        return await AsyncSandbox.create(
            template=request.template,
            timeout=math.ceil(min(self.timeouts.ttl, request.max_seconds)),
            metadata={**request.metadata, _ATTEMPT: mark},
            envs=dict(request.env),
            network=self._firewall.policy(request.network, replace=False),  # type: ignore[arg-type]
            lifecycle={"on_timeout": "kill"},
            idempotency_key=key,
            **self._options,
        )

    async def _kill_answer(self, call: asyncio.Future[AsyncSandbox]) -> None:
        """After a cancellation E2B may still start the sandbox. The answer names it: wait a little, and kill it."""
        await asyncio.wait([call], timeout=self.timeouts.kill.timeout * 0.6)
        if call.done() and not call.cancelled() and call.exception() is None:
            with suppress(SandboxError):
                await self.kill(call.result().sandbox_id)

    async def _kill_attempt(self, mark: str, but: str = "") -> None:
        """Kills what an `open` may have started without an answer, `but` one."""
        with suppress(SandboxError, TimeoutError):
            async with asyncio.timeout(self.timeouts.kill.timeout * 0.5):
                for sandbox_id, _ in await self.list({_ATTEMPT: mark}):
                    if sandbox_id != but:
                        await self.kill(sandbox_id)

    async def list(self, metadata: Mapping[str, str]) -> SandboxList:
        """See `ports.SandboxProvider`. Raises `SandboxError`, also without metadata, which matches those of others."""
        if not metadata:
            raise SandboxError("sandboxes are only listed by the metadata of a run")
        self._check_key()

        async def pages() -> SandboxList:
            from e2b import AsyncSandbox, SandboxQuery

            items: SandboxList = []
            pager = AsyncSandbox.list(query=SandboxQuery(metadata=dict(metadata)), **self._options)
            while pager.has_next:
                items += [(item.sandbox_id, item.metadata or {}) for item in await pager.next_items()]
            return items

        # E2B filters too, but what is killed must not depend on how well.
        return [(name, labels) for name, labels in await self._repeat(pages) if metadata.items() <= labels.items()]

    async def kill(self, sandbox_id: str) -> bool:
        """See `ports.SandboxProvider`. Raises `SandboxError`."""

        async def kill() -> bool:
            from e2b import AsyncSandbox

            return await AsyncSandbox.kill(sandbox_id, request_timeout=5, **self._options)

        return await self._repeat(kill)

    async def _repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a call that may be repeated. Raises `SandboxError`."""
        retry = Retry(self.timeouts.repeat)
        while True:
            try:
                async with vendor_call(30):
                    return await call()
            except VendorError as error:
                text = errors.mask(str(error), (self._key,))
                if error.is_refusal:
                    raise errors.refusal_error(error, text) from error
                if problem := errors.network_error(error, self._url):
                    raise problem from error
                wait = retry.next_wait()
                if wait is None:
                    raise errors.unreachable_error(text, self._url) from error
            await asyncio.sleep(wait)

"""Anthropic's Messages API as a `Model`, by the official SDK: one streamed request a turn, repeated until complete.

The one home of the `anthropic` package, imported late: it is the slowest import of a run. `RequestWriter` writes what
is sent, `Assembly` puts together what comes, `judge` and `Patience` decide about faults.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flue_ci.core.errors import ModelError, UsageError
from flue_ci.core.events import Notice, Observer, TextDelta, TurnRestarted
from flue_ci.core.messages import ModelRequest, Reply, Usage
from flue_ci.core.ports import Model
from flue_ci.core.text import human_seconds, one_line
from flue_ci.models.claude.errors import ErrorResponse, Patience, RetryableError, classify_error
from flue_ci.models.claude.lazy_import import lazy_imports, unload
from flue_ci.models.claude.request import ClaudeSettings, RequestWriter, unsupported_setting
from flue_ci.models.claude.stream import MessageAccumulator, ProtocolError
from flue_ci.models.prices import cost

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic, AsyncStream

__all__ = ["Claude", "ClaudeSettings", "preload"]

CONNECT_SECONDS = 30.0
CHECK_SECONDS = 20.0
READ_OUT_SECONDS = 2.0


def preload() -> None:
    """Import the SDK without collecting garbage meanwhile: 2,900 modules hold none, and looking for it costs 0.2 s."""
    collects = gc.isenabled()
    gc.disable()
    try:
        _import_sdk()
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _import_sdk() -> None:
    if "anthropic" in sys.modules:
        return
    try:
        with lazy_imports("anthropic"):
            from anthropic import (  # noqa: F401 (all that is used here)
                APIConnectionError,
                APIStatusError,
                AsyncAnthropic,
                AsyncStream,
                CredentialsError,
                Timeout,
            )
    except Exception:  # noqa: BLE001 (an SDK of another shape: the ordinary way takes longer and always works)
        unload("anthropic")
        import anthropic  # noqa: F401


class Claude(Model):
    """`clock` gives seconds, `sleep` waits, `chance` is in [0, 1). Raises `UsageError` for impossible settings."""

    def __init__(
        self,
        settings: ClaudeSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if problem := unsupported_setting(settings):
            raise UsageError(problem[0].upper() + problem[1:])
        self._settings = replace(settings, api_key=settings.api_key.strip() if settings.api_key else None)
        self._writer = RequestWriter(settings)
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._client: AsyncAnthropic | None = None
        self._building = threading.Lock()

    @property
    def name(self) -> str:
        return self._settings.model

    def prepare(self) -> None:
        """Import the SDK and make its client: most of a second, to be spent in a thread while something else waits.

        Raises `ModelError` for credentials that cannot be used.
        """
        with self._building:
            if self._client is None:
                preload()
                self._client = self._new_client()

    def _new_client(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic, CredentialsError, Timeout

        try:
            return AsyncAnthropic(
                api_key=self._settings.api_key,  # None: the SDK looks for a token or a workload identity
                base_url=self._settings.base_url,
                max_retries=0,  # `Patience` alone decides
                timeout=Timeout(None, connect=CONNECT_SECONDS),  # the rest is timed here, by what the silence means
                open_telemetry=False,
            )
        except CredentialsError as error:
            raise ModelError(f"There is no usable key: {self._said(error)}", hint="Set ANTHROPIC_API_KEY.") from None

    async def turn(self, request: ModelRequest, observe: Observer) -> Reply:
        """See `Model`. Usage includes what the server reported for attempts that broke."""
        body = self._writer.body(request)
        patience = Patience(self._settings.retry_timeout_seconds, clock=self._clock, chance=self._chance)
        broken = Usage()
        while True:
            assembly = MessageAccumulator(lambda text: observe(TextDelta(text=text)))
            try:
                await self._attempt(body, assembly)
                used = replace(broken + self._spent(assembly), turns=1)
                return assembly.reply(used)
            except (RetryableError, ProtocolError) as error:
                fault = error if isinstance(error, RetryableError) else RetryableError(f"the model's API sent {error}")
            if assembly.started:
                broken += self._spent(assembly)
            if assembly.streamed:
                observe(TurnRestarted(reason=fault.reason))
            seconds = patience.wait(fault, began=assembly.started)
            observe(Notice(text=f"{fault.reason}; trying again in {human_seconds(seconds)}"))
            await self._sleep(seconds)

    async def check(self) -> None:
        """Ask the API for the model by name: are address, key and name good? Free, no retries. Raises `ModelError`."""
        client = await self._ready()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await client.get(f"/v1/models/{quote(self.name, safe='')}", cast_to=object)
        except TimeoutError:
            raise ModelError(f"The model's API did not answer within {human_seconds(CHECK_SECONDS)}") from None
        except Exception as error:  # noqa: BLE001 (the vendor's failures are translated)
            translated = self._translated(error)
            reason = translated.reason if isinstance(translated, RetryableError) else None
            raise ModelError(f"Cannot reach {reason}") if reason else translated from None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _ready(self) -> AsyncAnthropic:
        if self._client is None:
            await asyncio.to_thread(self.prepare)
        assert self._client is not None
        return self._client

    async def _attempt(self, body: bytes, assembly: MessageAccumulator) -> None:
        """One request, to the end of its stream. Raises `RetryableError`, `ProtocolError`, `ModelError`."""
        stream = await self._begin(await self._ready(), body)
        async with stream:
            kind = stream.response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise ModelError(
                    f"The server answered with {kind or 'no content type'} instead of a stream of events",
                    hint="Check ANTHROPIC_BASE_URL: the server there does not speak the Messages API.",
                )
            events = stream.raw_events(stream.response)
            while not assembly.ended and (data := await self._next(events)) is not None:
                self._take(data, assembly)
            if not assembly.ended:
                raise RetryableError("the model's answer ended before it was complete")
            await _read_out(events)

    async def _begin(self, client: AsyncAnthropic, body: bytes) -> AsyncStream[object]:
        """Send the request and wait for the response's headers."""
        from anthropic import AsyncStream

        limit = self._settings.first_byte_seconds
        try:
            async with asyncio.timeout(limit):
                return await client.post(
                    "/v1/messages", content=body, cast_to=object, stream=True, stream_cls=AsyncStream[object]
                )
        except TimeoutError:
            raise RetryableError(f"the model's API did not answer within {human_seconds(limit)}") from None
        except Exception as error:  # noqa: BLE001 (the vendor's failures are translated)
            raise self._translated(error) from None

    async def _next(self, events: Any) -> str | None:
        """The data of the next event (a ping has some, too); None at the end of the stream."""
        limit = self._settings.idle_seconds
        try:
            async with asyncio.timeout(limit):
                event = await anext(events, None)
        except TimeoutError:
            raise RetryableError(f"the model's answer stopped for {human_seconds(limit)}") from None
        except Exception as error:  # noqa: BLE001 (a broken stream raises errors of three libraries, none the SDK's)
            raise RetryableError(f"the model's answer broke off ({self._said(error)})") from None
        return None if event is None else str(event.data)

    def _take(self, data: str, assembly: MessageAccumulator) -> None:
        if not data:
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise ProtocolError("an event that is not JSON") from None
        if isinstance(event, dict) and event.get("type") == "error":
            raise self._judged(200, event, {})
        assembly.take(event)

    def _spent(self, assembly: MessageAccumulator) -> Usage:
        """The attempt's tokens, priced by the name asked for or, behind a gateway's alias, by the one that answered."""
        tokens = assembly.tokens()
        price = cost(self.name, tokens, self._settings.prices)
        return replace(tokens, cost_usd=cost(assembly.model, tokens) if price is None else price)

    def _translated(self, error: Exception) -> RetryableError | ModelError:
        """An SDK error before the stream began, in our words."""
        from anthropic import APIConnectionError, APIStatusError, CredentialsError

        if isinstance(error, APIStatusError):
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return self._judged(error.status_code, error.body, headers)
        if isinstance(error, APIConnectionError):
            cause = error.__cause__ or error
            if _is_untrusted(cause):
                return ModelError(
                    f"The certificate of the model's API is not trusted: {self._said(cause)}",
                    hint="Behind a proxy of your own, set SSL_CERT_FILE to its certificate.",
                )
            return RetryableError(f"the model's API cannot be reached ({self._said(cause)})")
        if isinstance(error, CredentialsError | TypeError) and self._settings.api_key is None:
            return ModelError("There is no key for the model's API", hint="Set ANTHROPIC_API_KEY.")
        raise error

    def _judged(self, status: int, body: object, headers: dict[str, str]) -> RetryableError | ModelError:
        answer = _answer(status, body, headers)
        return classify_error(replace(answer, message=self._hidden(answer.message)), self.name)

    def _said(self, error: BaseException) -> str:
        words = one_line(self._hidden(str(error)), 200)
        return f"{type(error).__name__}: {words}" if words else type(error).__name__

    def _hidden(self, text: str) -> str:
        """`text` without the key: a server might repeat it."""
        return text.replace(self._settings.api_key, "***") if self._settings.api_key else text


async def _read_out(events: Any) -> None:
    """Read the bytes after the last event: only a response read to its end leaves its connection to the next turn."""
    try:
        async with asyncio.timeout(READ_OUT_SECONDS):
            while await anext(events, None) is not None:
                pass
    except Exception:  # noqa: BLE001, S110 (the turn is complete; what breaks now costs a new connection, no more)
        pass


def _answer(status: int, body: object, headers: dict[str, str]) -> ErrorResponse:
    """The API's error body, or whatever a proxy on the way sent instead."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        words = (
            body if isinstance(body, str) and not body.lstrip().startswith("<") else ""
        )  # a proxy's page says nothing
        return ErrorResponse(status=status, message=words, headers=headers)
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return ErrorResponse(
        status=status,
        type=str(error.get("type") or ""),
        code=code if isinstance(code, str) else "",
        message=str(error.get("message") or ""),
        headers=headers,
    )


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False

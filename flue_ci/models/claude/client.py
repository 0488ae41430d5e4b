"""Anthropic's Messages API as a `Model`, by the official SDK: one streamed request a turn, repeated until complete.

The SDK is imported late: it is the slowest import of a run. `RequestWriter` writes what is sent, `MessageAccumulator`
puts together what comes, `classify_error` and `TurnRetry` decide about faults.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from flue_ci.core.errors import Diagnostic, ModelError, UsageError
from flue_ci.core.events import Notice, Observer, TextDelta, TurnRestarted
from flue_ci.core.messages import Conversation, Reply, Usage
from flue_ci.core.network_variables import lasting_fault, route, variable_flaw
from flue_ci.core.ports import Model, ModelOptions
from flue_ci.core.text import human_seconds, one_line
from flue_ci.models.claude import lazy_import
from flue_ci.models.claude.errors import ErrorResponse, ProtocolError, RetryableError, TurnRetry, classify_error
from flue_ci.models.claude.request import ClaudeSettings, RequestWriter, unsupported_setting
from flue_ci.models.claude.stream import MessageAccumulator
from flue_ci.models.known_models import cost
from flue_ci.models.registry import DEFAULT_MODEL, OWN_HOST
from flue_ci.settings import Settings

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic, AsyncStream

CONNECT_SECONDS = 30.0
CHECK_SECONDS = 20.0
READ_OUT_SECONDS = 2.0
_FOREIGN_HINT = (
    "Check ANTHROPIC_BASE_URL or `model.base_url`, and the proxies on the way: the Messages API is not what answered."
)
_NO_ANSWER = "the model's API did not answer within"
_T = TypeVar("_T")


class Claude(Model):
    """One model of Anthropic's. `clock` gives seconds, `sleep` waits, `chance` is in [0, 1). Raises `UsageError` for
    settings that the API would refuse."""

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
        self._settings = replace(settings, api_key=(settings.api_key or "").strip() or None)
        self._writer = RequestWriter(settings.options)
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._client: AsyncAnthropic | None = None
        self._client_lock = threading.Lock()

    @classmethod
    def from_options(cls, options: ModelOptions, settings: Settings) -> Claude:
        """See `ModelAdapter`. Times that the settings do not give are the defaults of `ClaudeSettings`."""
        if flaw := variable_flaw(settings.environ):
            raise UsageError(flaw.message, hint=flaw.hint)
        address = (options.base_url or settings.anthropic_base_url).strip().rstrip("/")
        address = address.removesuffix("/messages").removesuffix("/v1")  # the client adds them
        own = ClaudeSettings(
            options=replace(options, base_url=address or None),
            api_key=settings.anthropic_api_key or None,  # None: the SDK looks for ANTHROPIC_AUTH_TOKEN
        )
        if settings.retry_timeout_seconds:
            own = replace(own, retry=replace(own.retry, timeout=settings.retry_timeout_seconds))
        if settings.idle_seconds:
            own = replace(own, first_byte_seconds=settings.idle_seconds, idle_seconds=settings.idle_seconds)
        return cls(own)

    @staticmethod
    def missing_keys(settings: Settings) -> tuple[str, ...]:
        """See `ModelAdapter`."""
        if settings.anthropic_api_key.strip() or settings.anthropic_auth_token.strip():
            return ()
        return ("ANTHROPIC_API_KEY",)

    @classmethod
    async def diagnose(cls, settings: Settings, *, offline: bool) -> Diagnostic:
        """See `ModelAdapter`. Asks the API for the default model."""
        if not settings.anthropic_api_key:
            return Diagnostic(
                key="Anthropic", message="ANTHROPIC_API_KEY is not set", hint="export ANTHROPIC_API_KEY=…"
            )
        if flaw := variable_flaw(settings.environ):
            return Diagnostic(key="Anthropic", message=flaw.message, hint=flaw.hint)
        if offline:
            return Diagnostic(key="Anthropic", severity="ok", message="the key is set (not asked)")
        try:
            model = cls.from_options(ModelOptions(name=DEFAULT_MODEL), settings)
            try:
                await model.check()
            finally:
                await model.close()
        except (ModelError, UsageError) as error:
            return Diagnostic(key="Anthropic", message=str(error), hint=error.hint)
        address = settings.anthropic_base_url or OWN_HOST
        message = f"{address} answers, the key is good for {DEFAULT_MODEL}"
        return Diagnostic(key="Anthropic", severity="ok", message=message)

    @staticmethod
    def preload() -> None:
        """See `ModelAdapter`."""
        lazy_import.preload()

    @property
    def name(self) -> str:
        return self._settings.options.name

    def prepare(self) -> None:
        """Imports the SDK and makes its client: most of a second, to be spent in a thread while something else waits.

        Raises `ModelError` for credentials that cannot be used.
        """
        with self._client_lock:
            if self._client is None:
                lazy_import.preload()
                self._client = self._new_client()

    def _new_client(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic, CredentialsError, DefaultAsyncHttpxClient, Timeout

        try:
            return AsyncAnthropic(
                api_key=self._settings.api_key,  # None: the SDK looks for a token or a workload identity
                base_url=self._settings.options.base_url,
                max_retries=0,  # `TurnRetry` alone decides
                timeout=Timeout(None, connect=CONNECT_SECONDS),  # the rest is timed here, by what the silence means
                open_telemetry=False,
                # The conversation goes to the address that was asked for, and to no other that this one names.
                http_client=DefaultAsyncHttpxClient(follow_redirects=False),
            )
        except CredentialsError as error:
            reason = self._describe(error)
            raise ModelError(f"There is no usable key: {reason}", hint="Set ANTHROPIC_API_KEY.") from None
        except Exception as error:  # noqa: BLE001 (the vendor's failures have no common class)
            variable = "SSL_CERT_FILE" if isinstance(error, OSError) else "HTTPS_PROXY, ALL_PROXY and NO_PROXY"
            reason = f"The client of the model's API cannot be made: {self._describe(error)}"
            raise ModelError(reason, hint=f"Check {variable}.") from None

    async def turn(self, request: Conversation, observe: Observer) -> Reply:
        """See `Model`. Usage includes what the server reported for attempts that broke."""
        body = self._writer.body(request)
        retry = TurnRetry(self._settings.retry, clock=self._clock, chance=self._chance)
        earlier = Usage()
        while True:
            message = MessageAccumulator(lambda text: observe(TextDelta(text=text)))
            try:
                await self._attempt(body, message)
                return message.reply(replace(earlier + self._usage(message), turns=1))
            except RetryableError as error:
                if message.has_begun:
                    earlier += self._usage(message)
                if message.has_content:
                    observe(TurnRestarted(reason=error.reason))
                seconds = retry.next_wait(error, has_begun=message.has_begun)
                observe(Notice(text=f"{error.reason}; trying again in {human_seconds(seconds)}"))
            await self._sleep(seconds)

    async def check(self) -> None:
        """Asks the API for the model by name: are address, key and name good? Free, no retries. Raises `ModelError`."""
        client = await self._ready()
        try:
            asked = client.get(f"/v1/models/{quote(self.name, safe='')}", cast_to=object)
            answer = await self._bounded(asked, CHECK_SECONDS, _NO_ANSWER, self._translate)
        except RetryableError as error:
            raise ModelError(error.reason[0].upper() + error.reason[1:]) from None
        if not isinstance(answer, dict) or "id" not in answer:
            raise self._foreign("something else than the description of a model")

    def _foreign(self, answer: str) -> ModelError:
        """For an answer that is not the API's."""
        return ModelError(f"{self._address} answered with {answer}", hint=_FOREIGN_HINT)

    @property
    def _address(self) -> str:
        return self._settings.options.base_url or f"https://{OWN_HOST}"

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _ready(self) -> AsyncAnthropic:
        if self._client is None:
            await asyncio.to_thread(self.prepare)
        assert self._client is not None
        return self._client

    async def _attempt(self, body: bytes, message: MessageAccumulator) -> None:
        """One request, to the end of its stream. Raises `RetryableError`, `ModelError`."""
        stream = await self._begin(await self._ready(), body)
        async with stream:
            content_type = stream.response.headers.get("content-type", "")
            if not content_type.startswith("text/event-stream"):
                raise self._foreign(f"{one_line(content_type, 60) or 'no content type'} instead of a stream of events")
            events = stream.raw_events(stream.response)
            while not message.is_complete and (data := await self._next(events)) is not None:
                self._add(data, message)
            if not message.is_complete:
                raise RetryableError("the model's answer ended before it was complete")
            await self._read_out(events)

    async def _begin(self, client: AsyncAnthropic, body: bytes) -> AsyncStream[object]:
        """Sends the request and waits for the response's headers."""
        from anthropic import AsyncStream

        sent = client.post("/v1/messages", content=body, cast_to=object, stream=True, stream_cls=AsyncStream[object])
        return await self._bounded(sent, self._settings.first_byte_seconds, _NO_ANSWER, self._translate)

    async def _next(self, events: Any) -> str | None:
        """The data of the next event (a ping has some, too); None at the end of the stream."""
        seconds, silence = self._settings.idle_seconds, "the model's answer stopped for"
        event = await self._bounded(anext(events, None), seconds, silence, self._broken_stream)
        return str(event.data) if event else None

    async def _read_out(self, events: Any) -> None:
        """Reads the bytes after the last event: only a response read to its end leaves its connection to the next
        turn. The message is complete, so what breaks now costs a new connection and no more."""
        try:
            async with asyncio.timeout(READ_OUT_SECONDS):
                while await self._next(events) is not None:
                    pass
        except (TimeoutError, RetryableError):
            pass

    def _add(self, data: str, message: MessageAccumulator) -> None:
        if not data:
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise ProtocolError("an event that is not JSON") from None
        if isinstance(event, dict) and event.get("type") == "error":
            raise self._classify(200, event, {})
        if not message.has_begun and not (isinstance(event, dict) and isinstance(event.get("type"), str)):
            raise self._foreign("events of another API")
        message.add(event)

    def _usage(self, message: MessageAccumulator) -> Usage:
        """The attempt's tokens, priced by the name asked for or, behind a gateway's alias, by the one that answered."""
        tokens = message.tokens()
        if message.is_complete and not (tokens.output_tokens and tokens.total_tokens > tokens.output_tokens):
            return replace(tokens, cost_usd=None, has_counts=False)  # a gateway that does not report them
        cost_usd = cost("anthropic", self.name, tokens, self._settings.options.prices)
        if cost_usd is None:
            cost_usd = cost("anthropic", message.model, tokens)
        return replace(tokens, cost_usd=cost_usd)

    async def _bounded(
        self, work: Awaitable[_T], seconds: float, silence: str, translate: Callable[[Exception], Exception]
    ) -> _T:
        """The result of `work`. What the SDK and the libraries below it raise is translated, and `silence` ends after
        `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await work
                except Exception as error:  # noqa: BLE001 (the vendor's failures have no common class)
                    raise translate(error) from None
        except TimeoutError:
            raise RetryableError(f"{silence} {human_seconds(seconds)}") from None

    def _broken_stream(self, error: Exception) -> RetryableError:
        return RetryableError(f"the model's answer broke off ({self._describe(error)})")

    def _translate(self, error: Exception) -> Exception:
        """An SDK error before the stream began, in our words; another error as it is."""
        from anthropic import APIConnectionError, APIResponseValidationError, APIStatusError, CredentialsError

        if isinstance(error, APIStatusError):
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return self._classify(error.status_code, error.body, headers)
        if isinstance(error, APIConnectionError):
            cause = error.__cause__ or error
            if fault := lasting_fault(self._describe(cause), self._address):
                return ModelError(f"The model's API cannot be reached: {fault.message}", hint=fault.hint)
            if type(cause).__name__ in ("UnsupportedProtocol", "InvalidURL"):
                return ModelError(f"The address of the model's API: {self._describe(cause)}", hint=_FOREIGN_HINT)
            return RetryableError(f"the model's API cannot be reached{route(self._address)} ({self._describe(cause)})")
        if isinstance(error, CredentialsError | TypeError) and self._settings.api_key is None:
            return ModelError("There is no key for the model's API", hint="Set ANTHROPIC_API_KEY.")
        if isinstance(error, ValueError | APIResponseValidationError):
            return self._foreign("what cannot be read as JSON")
        return error

    def _classify(self, status: int, body: object, headers: dict[str, str]) -> RetryableError | ModelError:
        response = _error_response(status, body, headers)
        return classify_error(replace(response, message=self._mask_key(response.message)), self.name)

    def _describe(self, error: BaseException) -> str:
        text = one_line(self._mask_key(str(error)), 200)
        return f"{type(error).__name__}: {text}".removesuffix(": ")

    def _mask_key(self, text: str) -> str:
        """`text` without the key: a server might repeat it."""
        key = self._settings.api_key
        return text.replace(key, "***") if key else text


def _error_response(status: int, body: object, headers: dict[str, str]) -> ErrorResponse:
    """The API's error body, or what a proxy on the way sent instead."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        is_page = isinstance(body, str) and body.lstrip().startswith("<")  # a proxy's page explains nothing
        message = body if isinstance(body, str) and not is_page else ""
        return ErrorResponse(status=status, message=message, headers=headers, is_page=is_page)
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    kind, code, message = (str(value or "") for value in (error.get("type"), code, error.get("message")))
    return ErrorResponse(status=status, type=kind, code=code, message=message, headers=headers)

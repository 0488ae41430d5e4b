"""How a conversation is written down for the Messages API: the bytes of one request, and which settings go together.

Pure. A later request of a conversation begins with the bytes of the earlier ones, so that the prompt cache always hits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flue_ci.core.messages import JSON, Message, ModelRequest, Prompt, Reply, ToolResult, ToolResults, ToolSpec
from flue_ci.models.capabilities import ADAPTIVE, ALWAYS_THINK, Effort, Thinking, conflict
from flue_ci.models.prices import Prices, family

_CACHED: JSON = {"type": "ephemeral"}
# A breakpoint finds cached entries at most 20 blocks back, itself included. The automatic breakpoint on the last block
# therefore misses what the previous request wrote when the turn between them was larger than this.
_REACH = 18
_THINKING_BLOCKS = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeSettings:
    """What spec and environment say about the model. None: the model's (or the SDK's) own default.

    `thinking`: `summarized` (default) shows a summary of it as progress, `omitted` does not, `between_tools` is the
    least there is on claude-sonnet-5-5, `none` turns it off where a model allows it. `retry_timeout_seconds` bounds the
    time without any answer, `first_byte_seconds` the wait for a response to begin, `idle_seconds` silence within it.
    """

    model: str
    max_output_tokens: int = 32_000
    effort: Effort | None = None
    thinking: Thinking | None = None
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    prices: Prices | None = None
    retry_timeout_seconds: float = 300.0
    first_byte_seconds: float = 180.0
    idle_seconds: float = 120.0


def unsupported_setting(settings: ClaudeSettings) -> str:
    """What is wrong with the settings, as a sentence about known models; empty when nothing is."""
    return conflict(settings.model, settings.effort, settings.thinking) or _bad_address(settings)


def _bad_address(settings: ClaudeSettings) -> str:
    if settings.base_url is not None:
        address = urlsplit(settings.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            return "the base URL of the model's API is not an http(s) URL"
    if settings.api_key is not None and not (settings.api_key.isascii() and settings.api_key.strip().isprintable()):
        return "the API key contains characters that no key has"  # never show it
    return ""


def thinking_field(settings: ClaudeSettings) -> JSON | None:
    """The request's `thinking`, or None to leave it away."""
    model, wish = family(settings.model), settings.thinking
    if wish == "between_tools":
        return {"type": "between_tools"}
    if wish == "none":
        return {"type": "disabled"}
    if wish is None and not (model in ADAPTIVE or model.startswith(ALWAYS_THINK)):
        return None
    # Text between tool calls comes inside of thinking blocks, empty unless asked for.
    return {"type": "adaptive", "display": wish or "summarized"}


def encode_json(value: JSON) -> bytes:
    """Compact JSON. Half characters (lone surrogates), which no server takes, become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return whole_characters(text).encode()


def whole_characters(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class RequestWriter:
    """Writes the requests of one conversation. What was written is kept: a long conversation costs no more per turn."""

    def __init__(self, settings: ClaudeSettings) -> None:
        head: dict[str, JSON] = {"model": settings.model, "max_tokens": settings.max_output_tokens, "stream": True}
        if thinking := thinking_field(settings):
            head["thinking"] = thinking
        if settings.effort:
            head["output_config"] = {"effort": settings.effort}
        # On the request itself it marks the last block, so that no message changes when the conversation grows.
        head["cache_control"] = _CACHED
        self._head = head
        self._prefix: tuple[str, tuple[ToolSpec, ...], bytes] | None = None
        self._written: list[tuple[Message, bytes]] = []

    def body(self, request: ModelRequest) -> bytes:
        """The request's body, messages last."""
        anchor = anchor_of(request.messages)
        messages: list[bytes] = []
        for index, entry in enumerate(request.messages):
            plain = self._message(index, entry)
            messages.append(encode_json(_message(entry, marked=True)) if index == anchor else plain)
        return self._opening(request) + b",".join(message for message in messages if message) + b"]}"

    def _opening(self, request: ModelRequest) -> bytes:
        """Everything before the first message."""
        if self._prefix is None or self._prefix[:2] != (request.system, request.tools):
            fields = dict(self._head)
            if request.tools:
                tools = [_tool(spec) for spec in request.tools]
                fields["tools"] = [*tools[:-1], {**tools[-1], "cache_control": _CACHED}]
            if request.system.strip():
                fields["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHED}]
            self._prefix = (request.system, request.tools, encode_json(fields)[:-1] + b',"messages":[')
        return self._prefix[2]

    def _message(self, index: int, entry: Message) -> bytes:
        if index < len(self._written) and self._written[index][0] is entry:
            return self._written[index][1]
        del self._written[index:]
        message = _message(entry)
        self._written.append((entry, encode_json(message) if message else b""))
        return self._written[-1][1]


def anchor_of(entries: Iterable[Message]) -> int | None:
    """The entry that needs a breakpoint of its own: where the request before the latest very large turn ended."""
    anchor = end_of_request = None
    since, before = 0, None
    for index, entry in enumerate(entries):
        if isinstance(entry, Reply) and before is not None and not isinstance(before, Reply):
            end_of_request, since = index - 1, 0
        since += _size(entry)
        if end_of_request is not None and since > _REACH:
            anchor = end_of_request
        before = entry
    return anchor


def _size(entry: Message) -> int:
    if isinstance(entry, ToolResults):
        return len(entry.results)
    return len(entry.blocks) if isinstance(entry, Reply) else 1


def _message(entry: Message, *, marked: bool = False) -> JSON | None:
    """One entry as a message; None for a turn of the model without content, which the API would refuse."""
    if isinstance(entry, Reply):
        blocks = _blocks(entry)
        return {"role": "assistant", "content": blocks} if blocks else None
    if isinstance(entry, Prompt):
        # The API refuses a text without a visible character.
        content: list[JSON] = [{"type": "text", "text": entry.text if entry.text.strip() else "(no text)"}]
    else:
        content = [_result(result) for result in entry.results]
    if marked and content:
        content[-1] = {**content[-1], "cache_control": _CACHED}
    return {"role": "user", "content": content} if content else None


def _blocks(reply: Reply) -> list[Mapping[str, JSON]]:
    """The turn as the model gave it. Thinking at its very end is refused by the API, except in a turn that goes on."""
    end = len(reply.blocks)
    while reply.stop_reason != "pause_turn" and end and reply.blocks[end - 1].get("type") in _THINKING_BLOCKS:
        end -= 1
    return [dict(block) for block in reply.blocks[:end]]


def _result(result: ToolResult) -> JSON:
    block: dict[str, JSON] = {"type": "tool_result", "tool_use_id": result.call_id}
    block["content"] = result.content if result.content.strip() else "(no output)"
    if result.is_error:
        block["is_error"] = True
    return block


def _tool(spec: ToolSpec) -> dict[str, JSON]:
    return {"name": spec.name, "description": spec.description, "input_schema": dict(spec.input_schema)}

"""What a Messages server is told to say: turns of content blocks, faults, and how both look as events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.messages_rules import signature

JSON = dict[str, Any]


def text(words: str) -> JSON:
    return {"type": "text", "text": words}


def thinking(words: str) -> JSON:
    """A thinking block as the API signs it. Empty words: what `display: omitted` sends."""
    return {"type": "thinking", "thinking": words, "signature": signature(words)}


def tool(name: str, input: JSON | None = None, *, id: str = "", raw: str | None = None) -> JSON:
    """A tool call. `raw` is sent in place of its input's JSON: broken or torn. Without `id` the server numbers it."""
    block = {"type": "tool_use", "id": id, "name": name, "input": input or {}}
    return block if raw is None else {**block, "raw": raw}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer. `stop_reason` is `tool_use` or `end_turn` by default, `usage` an estimate by the cache's rules."""

    blocks: Sequence[JSON] = ()
    stop_reason: str | None = None
    stop_details: JSON | None = None
    usage: Mapping[str, int] | None = None

    @property
    def ending(self) -> str:
        return self.stop_reason or ("tool_use" if any(b["type"] == "tool_use" for b in self.blocks) else "end_turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request.

    `status`: answers with `status` and `body` (None: the API's own error body) and `headers`.
    `drop`: closes the connection; `after` is the number of events sent before, -1 drops before the response's headers.
    `end`: ends the response properly, after `after` events. `error`: sends an `error` event then.
    `malformed`: an event whose data is not JSON. `silence`: nothing for `seconds` (or until the client
    leaves), then the rest.
    With `ping_seconds` there is a ping in every such period of the silence.
    A request with a fault uses no scripted turn up, except `silence` that was waited for.
    """

    kind: Literal["status", "drop", "end", "error", "malformed", "silence"]
    status: int = 500
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "the server was told to fail"
    after: int = 0
    error_type: str = "overloaded_error"
    seconds: float = 3600.0
    ping_seconds: float | None = None


def error_body(type: str, message: str) -> JSON:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_test"}


def encoded(event: JSON) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def events_of(message: JSON, turn: Turn) -> Iterator[JSON]:
    """The events of a streamed message, as the API orders them."""
    start = {**message["usage"], "output_tokens": 1}
    yield {
        "type": "message_start",
        "message": {**message, "content": [], "stop_reason": None, "stop_details": None, "usage": start},
    }
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        empty, deltas = _deltas(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": turn.ending, "stop_sequence": None, "stop_details": turn.stop_details}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": message["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


def _deltas(block: JSON) -> tuple[JSON, list[JSON]]:
    """How a block begins, and the pieces that complete it."""
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
    if block["type"] == "thinking":
        words = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*words, signed]
    if block["type"] in ("tool_use", "server_tool_use"):
        raw = block["raw"] if "raw" in block else json.dumps(block["input"]) if block["input"] else ""
        parts = ["", *_pieces(raw)]
        kept = {key: value for key, value in block.items() if key != "raw"}
        return {**kept, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []


def _pieces(words: str) -> list[str]:
    size = max(len(words) // 8, 24)
    return [words[at : at + size] for at in range(0, len(words), size)]

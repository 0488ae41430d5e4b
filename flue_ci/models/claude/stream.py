"""Puts the events of one streamed message together: text to show at once, and the complete turn at the end.

Pure. Tool input is joined once, at its end: parsing it at every piece costs seconds for large files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flue_ci.core.messages import JSON, Reply, StopReason, ToolCall, Usage
from flue_ci.models.claude.request import whole_characters

_STOPS: dict[str, StopReason] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "pause_turn": "pause_turn",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_exceeded",
}
_CUT = ("max_tokens", "refusal", "model_context_window_exceeded")
# Piece of a block: the kind of delta, and the field of the block that it continues.
_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "input",
}
_DEEPEST = 100  # levels of nested input; no tool needs more, and deeper ones break whoever writes them down
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class ProtocolError(ValueError):
    """An event that does not belong where it came, or lacks what it must have."""


@dataclass(slots=True)
class _Block:
    """A content block as it began, and the pieces that came for its fields."""

    began: Mapping[str, JSON]
    pieces: dict[str, list[str]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.began.get("type"))

    def joined(self, name: str) -> str:
        first = self.began.get(name)
        text = (first if isinstance(first, str) else "") + "".join(self.pieces.get(name, ()))
        return text if text.isascii() else whole_characters(text)


class MessageAccumulator:
    """One attempt at a turn. `show` is told visible text, thinking included, as it comes."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown_block: int | None = None
        self._blocks: dict[int, _Block] = {}
        self._counts: dict[str, int] = {}
        self._model = ""
        self._stop = ""
        self._details: Mapping[str, Any] = {}
        self.started = False
        self.ended = False

    @property
    def streamed(self) -> bool:
        """True when any content came."""
        return bool(self._blocks)

    @property
    def model(self) -> str:
        return self._model

    def take(self, event: Any) -> None:
        """Take one event in. Unknown kinds are left alone, as the API asks of its clients. Raises `ProtocolError`."""
        try:
            self._take(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"an event without what it must have ({type(error).__name__}: {error})") from None

    def _take(self, event: Any) -> None:
        kind = event["type"]
        if kind == "message_start":
            self.started = True
            self._model = str(event["message"].get("model") or "")
            self._count(event["message"].get("usage"))
        elif kind == "content_block_start":
            block = _Block(dict(event["content_block"]))
            self._blocks[int(event["index"])] = block
            self._display(int(event["index"]), block.joined(block.kind) if block.kind in ("text", "thinking") else "")
        elif kind == "content_block_delta":
            self._continue(int(event["index"]), event["delta"])
        elif kind == "message_delta":
            self._stop = str(event["delta"].get("stop_reason") or self._stop)
            self._details = event["delta"].get("stop_details") or {}
            self._count(event.get("usage"))
        elif kind == "message_stop":
            if not self._stop:
                raise ProtocolError("a message that ended without a reason")
            self.ended = True

    def _continue(self, index: int, delta: Mapping[str, Any]) -> None:
        kind = delta["type"]
        name = _DELTAS.get(kind)
        if name is None:
            return
        piece = delta["partial_json" if name == "input" else name]
        if not isinstance(piece, str):
            raise ProtocolError(f"a {kind} that is not text")
        self._blocks[index].pieces.setdefault(name, []).append(piece)
        if name in ("text", "thinking"):
            self._display(index, piece)

    def _display(self, index: int, piece: str) -> None:
        if not piece:
            return
        if self._shown_block not in (None, index):
            self._show("\n\n")
        self._shown_block = index
        self._show(piece)

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        # Counts are cumulative: the latest holds.
        for name in _COUNTS:
            if isinstance(value := (usage or {}).get(name), int):
                self._counts[name] = value

    def tokens(self) -> Usage:
        """What the server said so far; neither a turn nor a cost."""
        return Usage(
            input_tokens=self._counts.get("input_tokens", 0),
            output_tokens=self._counts.get("output_tokens", 0),
            cache_read_tokens=self._counts.get("cache_read_input_tokens", 0),
            cache_write_tokens=self._counts.get("cache_creation_input_tokens", 0),
        )

    def reply(self, usage: Usage) -> Reply:
        """The turn; only after `ended`. Raises `ProtocolError` for a tool call without name or id."""
        blocks: list[Mapping[str, JSON]] = []
        calls: list[ToolCall] = []
        texts: list[str] = []
        order = sorted(self._blocks)
        for index in order:
            block = self._blocks[index]
            if block.kind == "tool_use":
                call = _call(block)
                if self._stop in _CUT and index == order[-1] and (call.input is None or not block.joined("input")):
                    continue  # torn: the limit came before the end of its input
                calls.append(call)
                blocks.append(
                    {**block.began, "input": call.input if call.input is not None else {"INVALID_JSON": call.raw}}
                )
            elif block.kind == "text":
                if words := block.joined("text"):
                    texts.append(words)
                if words.strip():  # the API refuses to see its own blank texts again
                    blocks.append({**block.began, "text": words})
            else:
                blocks.append(_other(block))
        return Reply(
            text="\n\n".join(texts),
            calls=tuple(calls),
            stop_reason=_STOPS.get(self._stop, "other"),
            stop_detail=_detail(self._stop, self._details),
            usage=usage,
            blocks=tuple(blocks),
            model=self._model,
        )


def _call(block: _Block) -> ToolCall:
    id, name = block.began.get("id"), block.began.get("name")
    if not (isinstance(id, str) and id and isinstance(name, str) and name):
        raise ProtocolError("a tool call without an id or a name")
    raw = block.joined("input")
    value = _object(raw) if raw else dict(block.began.get("input") or {})
    return ToolCall(id=id, name=name, input=value, raw="" if value is not None else raw)


def _object(raw: str) -> dict[str, JSON] | None:
    """The JSON object in `raw`; None when it is broken, absurd or something else."""
    try:
        value = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or _deeper(value, _DEEPEST):
        return None
    return _whole(value) if "\\ud" in raw.lower() else value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # JSON has no word for it, so it could not be sent back
        raise ValueError(f"{digits} is too large")
    return number


def _deeper(value: JSON, levels: int) -> bool:
    """True when more than `levels` arrays and objects are nested in each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_deeper(item, levels - 1) for item in inner))


def _whole(value: JSON) -> JSON:
    """`value` without half characters in its strings."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, dict):
        return {whole_characters(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _other(block: _Block) -> dict[str, JSON]:
    """Thinking and whatever else comes, with the pieces in their places."""
    whole = dict(block.began)
    for name in block.pieces:
        whole[name] = (_object(block.joined(name)) or {}) if name == "input" else block.joined(name)
    return whole


def _detail(stop: str, details: Mapping[str, Any]) -> str:
    said = details.get("explanation") or details.get("category") if isinstance(details, Mapping) else None
    return f"{stop}: {said}" if said else stop

"""Puts the events of one streamed message together: text to show at once, and the complete turn at the end.

Pure. Tool input is joined once, at its end: parsing it at every piece costs seconds for large files.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flue_ci.core.messages import JSON, Reply, StopReason, ToolCall, Usage
from flue_ci.models.claude.errors import ProtocolError
from flue_ci.models.claude.request import encode_json, whole_characters

_STOPS: dict[str, StopReason] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "pause_turn": "pause_turn",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_exceeded",
}
# The endings that may come in the middle of a block.
_CUT_OFF = ("max_tokens", "refusal", "model_context_window_exceeded")
# Kind of delta → the field of the block that it continues.
_DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "input",
}
_MAX_DEPTH = 100  # levels of nested input; no tool needs more, and deeper ones exceed the JSON encoder's recursion
# The API's counts → ours.
_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


@dataclass(slots=True)
class _Block:
    """A content block: what it started with, and the pieces that came for its fields."""

    start: Mapping[str, JSON]
    pieces: dict[str, list[str]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.start.get("type"))

    def text_of(self, name: str) -> str:
        """The field's text as it is so far."""
        first = self.start.get(name)
        return whole_characters((first if isinstance(first, str) else "") + "".join(self.pieces.get(name, ())))


class MessageAccumulator:
    """One attempt at a turn. `show` is called with the visible text, thinking included, as it comes.

    `has_begun`: the message has started; `is_complete`: it has ended; `model`: the name of the one that answers.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._current_block: int | None = None
        self._blocks: dict[int, _Block] = {}
        self._counts: dict[str, int] = {}
        self.model = ""
        self._stop_reason = ""
        self._details: Mapping[str, Any] = {}
        self.has_begun = False
        self.is_complete = False

    @property
    def has_content(self) -> bool:
        """True when any content came."""
        return bool(self._blocks)

    def add(self, event: Any) -> None:
        """Adds one event. Unknown kinds are ignored, as the API asks of its clients. Raises `ProtocolError`."""
        try:
            self._add(event)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProtocolError(f"an event without what it must have ({type(error).__name__}: {error})") from None

    def _add(self, event: Any) -> None:
        kind = event["type"]
        if kind == "message_start":
            self.has_begun = True
            self.model = str(event["message"].get("model") or "")
            self._count(event["message"].get("usage"))
        elif kind == "content_block_start":
            index, block = int(event["index"]), _Block(dict(event["content_block"]))
            self._blocks[index] = block
            if block.kind in ("text", "thinking"):
                self._display(index, block.text_of(block.kind))
        elif kind == "content_block_delta":
            self._continue(int(event["index"]), event["delta"])
        elif kind == "message_delta":
            self._stop_reason = str(event["delta"].get("stop_reason") or self._stop_reason)
            self._details = event["delta"].get("stop_details") or {}
            self._count(event.get("usage"))
        elif kind == "message_stop":
            if not self._stop_reason:
                raise ProtocolError("a message that ended without a reason")
            self.is_complete = True

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
        if self._current_block not in (None, index):
            self._show("\n\n")
        self._current_block = index
        self._show(piece)

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        """Counts are cumulative: the latest holds."""
        for name, field_name in _COUNTS.items():
            if usage and isinstance(count := usage.get(name), int):
                self._counts[field_name] = count

    def tokens(self) -> Usage:
        """The tokens that the server reported so far, without turn and cost."""
        return Usage(**self._counts, has_counts=True)

    def reply(self, usage: Usage) -> Reply:
        """The turn; only when `is_complete`. Raises `ProtocolError` for a tool call without name or id."""
        blocks: list[Mapping[str, JSON]] = []
        calls: list[ToolCall] = []
        texts: list[str] = []
        order = sorted(self._blocks)
        for index in order:
            block = self._blocks[index]
            if block.kind == "tool_use":
                call = _call(block)
                has_no_end = call.input is None or not block.text_of("input")
                if index == order[-1] and has_no_end and self._stop_reason in _CUT_OFF:
                    continue
                calls.append(call)
                blocks.append({**block.start, "input": call.input_block})
            elif block.kind == "text":
                text = block.text_of("text")
                texts.append(text)
                if text.strip():  # the API refuses to see its own blank texts again
                    blocks.append({**block.start, "text": text})
            else:
                blocks.append(_other(block))
        return Reply(
            text="\n\n".join(text for text in texts if text),
            calls=tuple(calls),
            stop_reason=_STOPS.get(self._stop_reason, "other"),
            stop_detail=_detail(self._stop_reason, self._details),
            usage=usage,
            blocks=tuple(blocks),
            model=self.model,
        )


def _call(block: _Block) -> ToolCall:
    id, name = block.start.get("id"), block.start.get("name")
    if not (isinstance(id, str) and id and isinstance(name, str) and name):
        raise ProtocolError("a tool call without an id or a name")
    raw = block.text_of("input")
    if not raw:
        return ToolCall(id=id, name=name, input=dict(block.start.get("input") or {}))
    value = _object(raw)
    return ToolCall(id=id, name=name, input=value, raw=raw if value is None else "")


def _object(raw: str) -> dict[str, JSON] | None:
    """The JSON object in `raw`; None when it is not valid, nested too deeply, or something else."""
    try:
        value = json.loads(raw, parse_constant=_finite_float, parse_float=_finite_float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or _is_deeper(value, _MAX_DEPTH):
        return None
    if "\\ud" in raw.lower():  # an escaped surrogate, perhaps half of a character
        whole: dict[str, JSON] = json.loads(encode_json(value))
        return whole
    return value


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):  # JSON has no word for it, so it could not be sent back
        raise ValueError(f"{digits} is not a JSON number")
    return number


def _is_deeper(value: JSON, levels: int) -> bool:
    """True when more than `levels` arrays and objects are nested in each other."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in value)


def _other(block: _Block) -> dict[str, JSON]:
    """Thinking and other kinds of blocks, with the pieces in their places."""
    fields = dict(block.start)
    for name in block.pieces:
        text = block.text_of(name)
        fields[name] = text if name != "input" else _object(text) or {}
    return fields


def _detail(stop_reason: str, details: Mapping[str, Any]) -> str:
    explanation = (details.get("explanation") or details.get("category")) if isinstance(details, Mapping) else None
    return f"{stop_reason}: {explanation or ''}".removesuffix(": ")

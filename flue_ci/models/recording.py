"""The file that holds the model's side of a run: its format, writing a turn down, and reading it back strictly.

It is JSON Lines. The first line is a header, every other line one turn, in order:

    {"flue_ci_recording": 1, "model": "claude-sonnet-5-5"}
    {"reply": {"text": "I run the tests.", "calls": [{"name": "bash", "input": {"command": "pytest -q"}}]}}
    {"reply": {"text": "Done: the parser accepts empty input."}}

That is all that a recording written by hand needs. `reply` may also have `stop_reason`, `stop_detail`, `model`, `shown`
(what was streamed; default: `text`), `blocks`, `usage` (`turns`, `input_tokens`, `output_tokens`, `cache_read_tokens`,
`cache_write_tokens`, `cost_usd`); a call its `id` and, when its JSON was broken, `raw` in place of `input`. A turn may
have `seen`, what was new to the model in its request; without it nothing is compared. Each part of it may be left away:

    {"seen": {"entries": 3, "tools": ["bash"], "system": "…", "new": [
        {"prompt": "…"}, {"results": [{"is_error": true, "note": "exit 1", "content": "…"}]}]}, "reply": …}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, get_args

from flue_ci.core.errors import UsageError
from flue_ci.core.messages import JSON, Message, ModelRequest, Prompt, Reply, StopReason, ToolCall, ToolResults, Usage

VERSION = 1
KEPT_CHARS = 4000  # of a tool result: enough to show where two differ

_TURN_KEYS = frozenset({"reply", "seen"})
_SEEN_KEYS = frozenset({"entries", "tools", "system", "new"})
_CALL_KEYS = frozenset({"id", "name", "input", "raw"})
_REPLY_KEYS = frozenset({"text", "calls", "stop_reason", "stop_detail", "usage", "blocks", "model", "shown"})
_USAGE_KEYS = frozenset(field.name for field in fields(Usage))


class RecordedTurn(NamedTuple):
    """One line of the file: the reply, what was streamed of it, and what the model had been told."""

    reply: Reply
    displayed_text: str
    request_summary: Mapping[str, Any] | None


def header(model: str) -> dict[str, JSON]:
    return {"flue_ci_recording": VERSION, "model": model}


def summarize_request(request: ModelRequest) -> dict[str, JSON]:
    """What was new to the model in `request`: the entries since its last reply, and the names of the tools."""
    since = max((index + 1 for index, entry in enumerate(request.messages) if isinstance(entry, Reply)), default=0)
    seen: dict[str, JSON] = {"entries": len(request.messages), "tools": [spec.name for spec in request.tools]}
    if since == 0:
        seen["system"] = request.system
    return {**seen, "new": [_entry_json(entry) for entry in request.messages[since:]]}


def _entry_json(entry: Message) -> JSON:
    if isinstance(entry, Prompt):
        return {"prompt": entry.text}
    assert isinstance(entry, ToolResults)
    return {
        "results": [
            {"is_error": result.is_error, "note": result.note, "content": _clip(result.content)}
            for result in entry.results
        ]
    }


def _clip(text: str) -> str:
    return text if len(text) <= KEPT_CHARS else f"{text[: KEPT_CHARS // 2]}\n[…]\n{text[-KEPT_CHARS // 2 :]}"


def reply_json(reply: Reply, shown: str) -> dict[str, JSON]:
    line: dict[str, JSON] = {
        "text": reply.text,
        "calls": [_call_json(call) for call in reply.calls],
        "stop_reason": reply.stop_reason,
        "stop_detail": reply.stop_detail,
        "usage": asdict(reply.usage),
        "blocks": [dict(block) for block in reply.blocks],
        "model": reply.model,
    }
    return line if shown == reply.text else {**line, "shown": shown}


def _call_json(call: ToolCall) -> dict[str, JSON]:
    if call.input is None:
        return {"id": call.id, "name": call.name, "raw": call.raw}
    return {"id": call.id, "name": call.name, "input": dict(call.input)}


def load(path: Path) -> tuple[str, list[RecordedTurn]]:
    """The model's name and the turns."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"Cannot read the recording {path}: {error.strerror}") from None
    header = _object(path, 1, lines[0] if lines else b"")
    version = header.get("flue_ci_recording")
    if version is None:
        raise UsageError(f"{path}:1: this is not a recording", hint="`flue-ci run --record FILE` makes one.")
    if version != VERSION:
        raise UsageError(f"{path}:1: a recording of version {version!r}; this flue-ci reads version {VERSION}")
    turns = [_turn(path, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    return str(header.get("model") or "recorded"), turns


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{path}:{number}: this line is not JSON; the file is cut off or not a recording") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}:{number}: expected a JSON object")
    return value


def _turn(path: Path, number: int, line: bytes) -> RecordedTurn:
    """One line as a turn. `UsageError` names line and key."""
    value = _object(path, number, line)
    try:
        _only(value, _TURN_KEYS, "a turn")
        written = value["reply"]
        _only(written, _REPLY_KEYS, "`reply`")
        reply = _reply(written, turn=number - 1)
        shown, seen = written.get("shown", reply.text), value.get("seen")
        if not isinstance(shown, str):
            raise TypeError("`shown` is not text")
        if seen is not None:
            _check_seen(seen)
        return RecordedTurn(reply, shown, seen)
    except KeyError as error:
        raise UsageError(f"{path}:{number}: {error} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}:{number}: not a recorded turn: {error}") from None


def _check_seen(seen: Any) -> None:
    """Notice here, where the line is known, what could not be compared later."""
    _only(seen, _SEEN_KEYS, "`seen`")
    texts = [*seen.get("tools", []), seen.get("system", "")]
    for entry in seen.get("new", []):
        _only(entry, frozenset({"prompt", "results"}), "an entry of `seen`")
        texts.append(entry.get("prompt", ""))
        for result in entry.get("results", []):
            _only(result, frozenset({"is_error", "note", "content"}), "a result of `seen`")
            texts += [result.get("note", ""), result.get("content", "")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a part of `seen` is not text")


def _only(value: Any, known: frozenset[str], what: str) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{what} is not an object")
    if unknown := set(value) - known:
        raise ValueError(f"{what} has no `{min(unknown)}`; it has {', '.join(sorted(known))}")


def _reply(written: Mapping[str, Any], turn: int) -> Reply:
    text = written.get("text", "")
    calls = tuple(_calls(written.get("calls", []), turn))
    stop = written.get("stop_reason", "tool_use" if calls else "end_turn")
    if not isinstance(text, str) or stop not in get_args(StopReason):
        raise ValueError(f"`stop_reason` is one of {', '.join(get_args(StopReason))}, and `text` is text")
    usage = written.get("usage", {})
    _only(usage, _USAGE_KEYS, "`usage`")
    if not all(
        isinstance(amount, int | float) or (name, amount) == ("cost_usd", None) for name, amount in usage.items()
    ):
        raise TypeError("`usage` holds numbers")
    blocks = written.get("blocks")
    return Reply(
        text=text,
        calls=calls,
        stop_reason=stop,
        stop_detail=str(written.get("stop_detail", stop)),
        usage=Usage(**{"turns": 1, **usage}),
        blocks=tuple(_blocks(text, calls) if blocks is None else [dict(block) for block in blocks]),
        model=str(written.get("model", "")),
    )


def _calls(written: list[Mapping[str, Any]], turn: int) -> Iterator[ToolCall]:
    for number, call in enumerate(written, 1):
        _only(call, _CALL_KEYS, "a call")
        id, name = call.get("id", f"call_{turn}_{number}"), call["name"]
        if "raw" in call:
            yield ToolCall(id=id, name=name, input=None, raw=str(call["raw"]))
        else:
            yield ToolCall(id=id, name=name, input=dict(call["input"]))


def _blocks(text: str, calls: tuple[ToolCall, ...]) -> Iterator[dict[str, JSON]]:
    if text.strip():
        yield {"type": "text", "text": text}
    for call in calls:
        yield {
            "type": "tool_use",
            "id": call.id,
            "name": call.name,
            "input": {"INVALID_JSON": call.raw} if call.input is None else dict(call.input),
        }

"""The file that holds the model's side of a run: its format, a turn as a line of it, and reading it back strictly.

It is JSON Lines. The first line is a header, every other line one turn, in order:

    {"flue_ci_recording": 1, "model": "claude-sonnet-5-5"}
    {"reply": {"text": "I run the tests.", "calls": [{"name": "bash", "input": {"command": "pytest -q"}}]}}
    {"reply": {"text": "Done: the parser accepts empty input."}}

That is all that a recording written by hand needs. `reply` may also have `stop_reason`, `stop_detail`, `model`, `shown`
(what was streamed; default: `text`), `blocks`, `usage` (`turns`, `input_tokens`, `output_tokens`, `cache_read_tokens`,
`cache_write_tokens`, `cost_usd`); a call its `id` and, when its JSON was not valid, `raw` in place of `input`. A turn
may have `seen`, what was new to the model in its request; without it nothing is compared. Each part of it is optional:

    {"seen": {"entries": 3, "tools": ["bash"], "system": "…", "new": [
        {"prompt": "…"}, {"results": [{"is_error": true, "note": "exit 1", "content": "…"}]}]}, "reply": …}
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from flue_ci.core.conversation import read_value
from flue_ci.core.errors import UsageError
from flue_ci.core.messages import JSON, Conversation, Message, Prompt, Reply, ToolResults, Usage

VERSION = 1
RESULT_CHARS = 4000  # of a tool result: enough to show where two differ

_TURN_KEYS = frozenset({"reply", "seen"})
_SEEN_KEYS = frozenset({"entries", "tools", "system", "new"})
_CALL_KEYS = frozenset({"id", "name", "input", "raw"})
_REPLY_KEYS = frozenset({"text", "calls", "stop_reason", "stop_detail", "usage", "blocks", "model", "shown"})
_USAGE_KEYS = frozenset(field.name for field in fields(Usage))


class RecordedTurn(NamedTuple):
    """One line of the file: the reply, the text that was streamed of it, and what was new in the request."""

    reply: Reply
    displayed_text: str
    request_summary: Mapping[str, Any] | None


def header(model: str) -> dict[str, JSON]:
    """The first line. `model` is the model's name."""
    return {"flue_ci_recording": VERSION, "model": model}


def summarize_request(request: Conversation) -> dict[str, JSON]:
    """What was new to the model in `request`: the messages since its last reply, and the names of the tools."""
    since = max((index + 1 for index, entry in enumerate(request.messages) if isinstance(entry, Reply)), default=0)
    summary: dict[str, JSON] = {"entries": len(request.messages), "tools": [spec.name for spec in request.tools]}
    system = {} if since else {"system": request.system}
    return {**summary, **system, "new": [_summarize(message) for message in request.messages[since:]]}


def _summarize(message: Message) -> JSON:
    if isinstance(message, Prompt):
        return {"prompt": message.text}
    assert isinstance(message, ToolResults)
    parts = ((result.is_error, result.note, _clip(result.content)) for result in message.results)
    return {"results": [{"is_error": is_error, "note": note, "content": content} for is_error, note, content in parts]}


def _clip(text: str) -> str:
    half = RESULT_CHARS // 2
    if len(text) <= RESULT_CHARS:
        return text
    return f"{text[:half]}\n[…]\n{text[-half:]}"


def turn_to_json(reply: Reply, displayed_text: str, request: Conversation) -> dict[str, JSON]:
    """The line of one turn."""
    line = asdict(reply)
    for call in line["calls"]:
        del call["raw" if call["input"] is not None else "input"]
    if displayed_text != reply.text:
        line["shown"] = displayed_text
    return {"seen": summarize_request(request), "reply": line}


def load(path: Path) -> tuple[str, list[RecordedTurn]]:
    """The model's name and the turns. Raises `UsageError` with the line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"Cannot read the recording {path}: {error.strerror}") from None
    first = _object(path, 1, b"".join(lines[:1]))
    version = first.get("flue_ci_recording")
    if version is None:
        raise UsageError(f"{path}:1: this is not a recording", hint="`flue-ci run --record FILE` makes one.")
    if version != VERSION:
        raise UsageError(f"{path}:1: a recording of version {version!r}; this flue-ci reads version {VERSION}")
    turns = [_turn(path, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    return str(first.get("model") or "recorded"), turns


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
        _check_keys(value, _TURN_KEYS, "a turn")
        reply_fields, summary = value["reply"], value.get("seen")
        _check_keys(reply_fields, _REPLY_KEYS, "`reply`")
        text = reply_fields.pop("shown", reply_fields.get("text", ""))
        if summary is not None:
            _check_summary(summary)
        return RecordedTurn(_reply(reply_fields, turn=number - 1), read_value(str, text, "reply.shown"), summary)
    except KeyError as error:
        raise UsageError(f"{path}:{number}: {error} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}:{number}: not a recorded turn: {error}") from None


def _check_summary(summary: Any) -> None:
    """Raises here, where the line is known, for what could not be compared later."""
    _check_keys(summary, _SEEN_KEYS, "`seen`")
    texts = [*summary.get("tools", []), summary.get("system", "")]
    for entry in summary.get("new", []):
        _check_keys(entry, frozenset({"prompt", "results"}), "an entry of `seen`")
        texts.append(entry.get("prompt", ""))
        for result in entry.get("results", []):
            _check_keys(result, frozenset({"is_error", "note", "content"}), "a result of `seen`")
            texts += [result.get("note", ""), result.get("content", "")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a part of `seen` is not text")


def _check_keys(value: Any, keys: frozenset[str], name: str) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not an object")
    if unknown := set(value) - keys:
        raise ValueError(f"{name} has no `{min(unknown)}`; it has {', '.join(sorted(keys))}")


def _reply(reply_fields: Mapping[str, Any], turn: int) -> Reply:
    """The reply, with what the file leaves away."""
    calls = [_call(call, f"call_{turn}_{number}") for number, call in enumerate(reply_fields.get("calls", ()), 1)]
    stop_reason = reply_fields.get("stop_reason", "tool_use" if calls else "end_turn")
    usage, blocks = reply_fields.get("usage", {}), reply_fields.get("blocks")
    _check_keys(usage, _USAGE_KEYS, "`usage`")
    values = {"text": "", "stop_reason": stop_reason, "stop_detail": stop_reason, "model": "", **reply_fields}
    values |= {"calls": calls, "usage": asdict(Usage(turns=1)) | usage, "blocks": blocks or []}
    reply: Reply = read_value(Reply, values, "reply")
    return replace(reply, blocks=tuple(_blocks(reply))) if blocks is None else reply


def _call(call: Mapping[str, Any], id: str) -> dict[str, JSON]:
    _check_keys(call, _CALL_KEYS, "a call")
    if "raw" in call:
        return {"id": id, "name": call["name"], **call, "input": None}
    return {"id": id, "name": call["name"], **call, "input": dict(call["input"]), "raw": ""}


def _blocks(reply: Reply) -> Iterator[dict[str, JSON]]:
    """The blocks of a reply that has none in the file, as Anthropic's API has them."""
    if reply.text.strip():
        yield {"type": "text", "text": reply.text}
    for call in reply.calls:
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.input_block)}

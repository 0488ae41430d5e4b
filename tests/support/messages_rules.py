"""What the Messages API refuses, as far as an agent loop can meet it: pure checks, with the API's own error types.

Nothing here knows HTTP. Sources: Anthropic's Messages reference, migration guide and prompt caching page (2026-11).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_OUTPUT = {
    "claude-sonnet-5-5": 128_000,
    "claude-opus-5-5": 128_000,
    "claude-fable-5-1": 128_000,
    "claude-haiku-5-5": 128_000,
    "claude-opus-5": 128_000,
    "claude-sonnet-5": 128_000,
    "claude-opus-4-5": 64_000,
    "claude-sonnet-4-6": 64_000,
    "claude-sonnet-4-5": 64_000,
    "claude-haiku-4-5": 64_000,
}
_STRICT = ("claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-1")  # no sampling, no forced tools, always thinking
_KNOWN_FIELDS = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "thinking", "output_config"),
        *("cache_control", "metadata", "stop_sequences", "temperature", "top_p", "top_k", "service_tier"),
        *("container", "diagnostics", "inference_geo", "speed"),
    )
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_LOOK_BACK = 20  # content blocks, the marked one included

JSON = dict[str, Any]


class Refused(Exception):
    """The request breaks a rule: `status` and the `type` of the error body."""

    def __init__(self, message: str, status: int = 400, type: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.type = type


def check(body: Any, models: frozenset[str]) -> None:
    """Raise `Refused` for the first rule that a request body breaks."""
    if not isinstance(body, dict):
        raise Refused("The request body is not valid JSON: expected an object")
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise Refused(f"{name}: Field required")
    for name in body:
        if name not in _KNOWN_FIELDS:
            raise Refused(f"{name}: Extra inputs are not permitted")
    model = body["model"]
    if model not in models:
        raise Refused(f"model: {model}", 404, "not_found_error")
    _check_settings(body, model)
    _check_prefix(body)
    _check_messages(body["messages"])
    if body["messages"][-1]["role"] == "assistant" and model in _STRICT:
        raise Refused(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    if sum(1 for _ in _markers(body)) > 4:
        count = sum(1 for _ in _markers(body))
        raise Refused(f"A maximum of 4 blocks with cache_control may be provided. Found {count}.")


def _check_settings(body: JSON, model: str) -> None:
    most = MAX_OUTPUT.get(model)
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise Refused("max_tokens: Input should be greater than or equal to 1")
    if most is not None and body["max_tokens"] > most:
        raise Refused(
            f"max_tokens: {body['max_tokens']} > {most}, the maximum allowed number of output tokens for {model}"
        )
    thinking = (body.get("thinking") or {}).get("type")
    effort = (body.get("output_config") or {}).get("effort")
    if effort not in (None, "low", "medium", "high", "xhigh", "max"):
        raise Refused("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if thinking == "between_tools" and (model != "claude-sonnet-5-5" or effort in ("xhigh", "max")):
        raise Refused('"thinking.type.between_tools" is not supported for this model or effort.')
    if model in _STRICT:
        for name in ("temperature", "top_p", "top_k"):
            if name in body:
                raise Refused(f"`{name}` is not supported for this model.")
        if thinking in ("enabled", "disabled"):
            raise Refused(
                f'"thinking.type.{thinking}" is not supported for this model. '
                'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
            )
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            raise Refused("tool_choice: forced tool use is not supported for this model.")


def _check_prefix(body: JSON) -> None:
    system = body.get("system") or []
    for index, block in enumerate(system if isinstance(system, list) else []):
        if not block.get("text", "").strip():
            raise Refused(f"system.{index}: text content blocks must be non-empty")
    names: set[str] = set()
    for index, tool in enumerate(body.get("tools") or []):
        if not _TOOL_NAME.fullmatch(str(tool.get("name", ""))):
            raise Refused(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool["name"] in names:
            raise Refused("tools: Tool names must be unique.")
        names.add(tool["name"])
        if tool.get("input_schema", {}).get("type") != "object":
            raise Refused(f"tools.{index}.custom.input_schema.type: Field required")


def blocks_of(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _merged(messages: list[JSON]) -> Iterator[tuple[int, str, list[JSON]]]:
    """(index of the first message, role, blocks) of turns: neighbours of one role count as one, as in the API."""
    turn: list[JSON] = []
    start, role = 0, ""
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant"):
            raise Refused(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if turn and message["role"] != role:
            yield start, role, turn
            turn = []
        if not turn:
            start, role = index, message["role"]
        blocks = blocks_of(message.get("content", []))
        if not blocks:
            raise Refused(f"messages.{index}: all messages must have non-empty content")
        turn = turn + blocks
    if turn:
        yield start, role, turn


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: at least one message is required")
    if messages[0].get("role") != "user":
        raise Refused('messages: first message must use the "user" role')
    open_calls: list[str] = []
    for index, role, blocks in _merged(messages):
        _check_blocks(index, blocks)
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        missing = [call for call in open_calls if call not in results]
        if missing:
            raise Refused(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a `tool_result` block in the next message."
            )
        for result in results:
            if result not in open_calls or results.count(result) > 1:
                raise Refused(
                    f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {result}. "
                    "Each `tool_result` block must have a `tool_use` block in the previous message."
                )
        kinds = [block["type"] for block in blocks]
        if role == "user" and "tool_result" in kinds[len(results) :]:
            raise Refused(f"messages.{index}: `tool_result` blocks must come first in the message")
        if role == "assistant" and kinds[-1] in ("thinking", "redacted_thinking"):
            raise Refused(f"messages.{index}: The final block in an assistant message cannot be `thinking`.")
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if open_calls:
        raise Refused(f"messages: `tool_use` ids were found without `tool_result` blocks: {', '.join(open_calls)}")


def _check_blocks(index: int, blocks: list[JSON]) -> None:
    for position, block in enumerate(blocks):
        where = f"messages.{index}.content.{position}"
        kind = block.get("type")
        if kind == "text" and not block.get("text"):
            raise Refused(f"{where}: text content blocks must be non-empty")
        if kind == "text" and not block["text"].strip():
            raise Refused(f"{where}: text content blocks must contain non-whitespace text")
        if kind == "tool_use" and not isinstance(block.get("input"), dict):
            raise Refused(f"{where}.tool_use.input: Input should be a valid dictionary")
        if kind == "thinking" and block.get("signature") != signature(block.get("thinking", "")):
            raise Refused(f"{where}: Invalid `signature` in `thinking` block")
        if kind not in ("text", "tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use"):
            raise Refused(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")


def signature(thinking: str) -> str:
    """What this server signs a thinking block with, so that it recognises a block that comes back changed."""
    return "sig" + hashlib.sha256(thinking.encode()).hexdigest()[:40]


def _cacheable(body: JSON) -> Iterator[JSON]:
    """All blocks in the order in which the API renders them."""
    yield from body.get("tools") or []
    system = body.get("system") or []
    yield from blocks_of(system)
    for message in body["messages"]:
        yield from blocks_of(message["content"])


def _markers(body: JSON) -> Iterator[JSON]:
    if body.get("cache_control"):
        yield body
    for block in _cacheable(body):
        if block.get("cache_control"):
            yield block


class PromptCache:
    """Prompt caching by its rules: exact prefix, marked positions, 20 blocks of look-back. A token is 4 bytes."""

    def __init__(self) -> None:
        self._written: set[bytes] = set()

    def usage(self, body: JSON) -> Mapping[str, int]:
        """The three counts of input tokens of this request, as the API reports them; its prefixes are remembered."""
        digest = hashlib.sha256(str(body["model"]).encode())
        prefixes: list[bytes] = []
        sizes: list[int] = [0]
        marked: list[int] = []
        for position, block in enumerate(_cacheable(body)):
            plain = json.dumps({key: value for key, value in block.items() if key != "cache_control"}).encode()
            digest.update(plain)
            prefixes.append(digest.digest())
            sizes.append(sizes[-1] + len(plain) // 4)
            if block.get("cache_control"):
                marked.append(position)
        if body.get("cache_control"):
            marked.append(len(prefixes) - 1)
        read = max((self._hit(prefixes, position) for position in marked), default=0)
        end = max((position + 1 for position in marked), default=0)
        self._written |= {prefixes[position] for position in marked}
        return {
            "input_tokens": sizes[-1] - sizes[end],
            "cache_creation_input_tokens": max(sizes[end] - sizes[read], 0),
            "cache_read_input_tokens": sizes[read],
        }

    def _hit(self, prefixes: list[bytes], position: int) -> int:
        """Length, in blocks, of the longest cached prefix that a marker at `position` finds."""
        for candidate in range(position, max(position - _LOOK_BACK, -1), -1):
            if prefixes[candidate] in self._written:
                return candidate + 1
        return 0

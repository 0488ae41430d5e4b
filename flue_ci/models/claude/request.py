"""How a conversation is written down for the Messages API: the bytes of one request, and which settings go together.

Pure. A later request of a conversation begins with the bytes of the earlier ones, so that the prompt cache always hits.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

from flue_ci.core.messages import JSON, Conversation, Message, Prompt, Reply, ToolResult, ToolResults, ToolSpec
from flue_ci.core.ports import ModelOptions
from flue_ci.core.retry import RetryPolicy
from flue_ci.core.text import one_line
from flue_ci.models.known_models import ADAPTIVE, ALWAYS_THINK, conflict, family

_EPHEMERAL: JSON = {"type": "ephemeral"}
# A breakpoint finds cached entries at most 20 blocks back, itself included. The automatic breakpoint on the last block
# therefore misses what the previous request wrote when the turn between them was larger than this.
_REACH = 18
_RETRY = RetryPolicy(timeout=300.0)
_THINKING_BLOCKS = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeSettings:
    """The options of the spec, and what the environment gives.

    `retry.timeout` bounds the seconds without any answer, `first_byte_seconds` the wait for a response to begin,
    `idle_seconds` the silence within it. Without `api_key` and `options.base_url` the SDK looks for its own.
    """

    options: ModelOptions
    api_key: str | None = field(default=None, repr=False)
    retry: RetryPolicy = _RETRY
    first_byte_seconds: float = 180.0
    idle_seconds: float = 120.0


def unsupported_setting(settings: ClaudeSettings) -> str:
    """What is wrong with the settings, as a sentence; empty when nothing is known to be."""
    options, key = settings.options, settings.api_key
    if problem := conflict("anthropic", options.name, options.effort, options.thinking):
        return problem
    if options.base_url is not None:
        try:
            address = urlsplit(options.base_url)
            is_address = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            name = one_line(options.base_url.rpartition("@")[2], 60)
            return (
                f"the base URL of the model's API (ANTHROPIC_BASE_URL, `model.base_url`) is not an http(s) URL: {name}"
            )
    if key is not None and not (key.isascii() and key.strip().isprintable()):
        return "the API key contains characters that no key has"  # never show it
    return ""


def thinking_field(options: ModelOptions) -> JSON | None:
    """The request's `thinking`, or None to leave it away."""
    model, thinking = family(options.name), options.thinking
    if thinking == "between_tools":
        return {"type": "between_tools"}
    if thinking == "none":
        return {"type": "disabled"}
    if thinking is None and not (model in ADAPTIVE or model.startswith(ALWAYS_THINK)):
        return None
    # Text between tool calls comes inside of thinking blocks, empty unless a display of them is requested.
    return {"type": "adaptive", "display": thinking or "summarized"}


def encode_json(value: JSON) -> bytes:
    """Compact JSON. Lone surrogates, which no server accepts, become U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return whole_characters(text).encode()


def whole_characters(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class RequestWriter:
    """Writes the requests of one conversation. Keeps what it wrote: a long conversation costs no more per turn."""

    def __init__(self, options: ModelOptions) -> None:
        head: dict[str, JSON] = {"model": options.name, "max_tokens": options.max_output_tokens, "stream": True}
        if thinking := thinking_field(options):
            head["thinking"] = thinking
        if options.effort:
            head["output_config"] = {"effort": options.effort}
        # On the request itself it marks the last block, so that no message changes when the conversation grows.
        head["cache_control"] = _EPHEMERAL
        self._head = head
        self._messages: list[tuple[Message, bytes]] = []

    def body(self, request: Conversation) -> bytes:
        """The request's body, messages last."""
        bodies = [self._message(index, message) for index, message in enumerate(request.messages)]
        anchor = find_anchor(request.messages)
        if anchor is not None:
            bodies[anchor] = encode_json(_message(request.messages[anchor], breakpoint=True))
        return self._opening(request) + b",".join(body for body in bodies if body) + b"]}"

    def _opening(self, request: Conversation) -> bytes:
        """Everything before the first message."""
        fields = dict(self._head)
        if request.tools:
            tools = [_tool(spec) for spec in request.tools]
            fields["tools"] = [*tools[:-1], {**tools[-1], "cache_control": _EPHEMERAL}]
        if request.system.strip():
            fields["system"] = [{"type": "text", "text": request.system, "cache_control": _EPHEMERAL}]
        return encode_json(fields)[:-1] + b',"messages":['

    def _message(self, index: int, message: Message) -> bytes:
        if index >= len(self._messages) or self._messages[index][0] is not message:
            body = _message(message)
            self._messages[index:] = [(message, encode_json(body) if body else b"")]
        return self._messages[index][1]


def find_anchor(messages: Sequence[Message]) -> int | None:
    """The message that needs a breakpoint of its own: the last one of the request before the latest very large turn.

        prompt  reply  results  reply  results      turns begin after the messages marked ^, which ended a request
             ^               ^               ^

    A turn is what came between two requests. When it has more blocks than a breakpoint reaches back, the breakpoint
    at its end does not find the cache entry at its beginning.
    """
    ends = [
        index
        for index, (message, following) in enumerate(pairwise(messages))
        if isinstance(following, Reply) and not isinstance(message, Reply)
    ]
    anchor = None
    for end, next_end in pairwise([*ends, len(messages) - 1]):
        if sum(_block_count(message) for message in messages[end + 1 : next_end + 1]) > _REACH:
            anchor = end
    return anchor


def _block_count(message: Message) -> int:
    if isinstance(message, ToolResults):
        return len(message.results)
    return len(message.blocks) if isinstance(message, Reply) else 1


def _message(message: Message, *, breakpoint: bool = False) -> JSON | None:
    """One message as the API has it; None for a turn of the model without content, which the API would refuse."""
    if isinstance(message, Reply):
        blocks = _blocks(message)
        return {"role": "assistant", "content": blocks} if blocks else None
    if isinstance(message, Prompt):
        # The API refuses a text without a visible character.
        text = message.text if message.text.strip() else "(no text)"
        content: list[JSON] = [{"type": "text", "text": text}]
    else:
        content = [_result(result) for result in message.results]
    if breakpoint and content:
        content[-1] = {**content[-1], "cache_control": _EPHEMERAL}
    return {"role": "user", "content": content} if content else None


def _blocks(reply: Reply) -> list[Mapping[str, JSON]]:
    """The turn as the model gave it. Thinking at its very end is refused by the API, except in a turn that goes on."""
    end = len(reply.blocks)
    while reply.stop_reason != "pause_turn" and end and reply.blocks[end - 1].get("type") in _THINKING_BLOCKS:
        end -= 1
    return [dict(block) for block in reply.blocks[:end]]


def _result(result: ToolResult) -> JSON:
    content = result.content if result.content.strip() else "(no output)"  # the API refuses blank text
    block = {"type": "tool_result", "tool_use_id": result.call_id, "content": content}
    return {**block, "is_error": True} if result.is_error else block


def _tool(spec: ToolSpec) -> dict[str, JSON]:
    return {"name": spec.name, "description": spec.description, "input_schema": dict(spec.input_schema)}

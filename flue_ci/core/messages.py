"""The conversation with a model, as values: messages, tools and their results, usage, and the engine's outcome.

They know neither the model's vendor nor the sandbox; adapters translate. What happens meanwhile is in `events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = Any  # a value that `json` can write


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and money. `input_tokens` are those that were neither read from nor written to the cache.

    `cost_usd` is None when it is not known: the model has no price here, or its server did not report the tokens.
    `has_counts`: it did so for each turn; otherwise the counts hold what it did report.
    """

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = 0.0
    has_counts: bool = True

    @property
    def known_tokens(self) -> int | None:
        """All tokens; None where the server did not report them."""
        return self.total_tokens if self.has_counts else None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    def __add__(self, other: Usage) -> Usage:
        unknown = self.cost_usd is None or other.cost_usd is None
        return Usage(
            turns=self.turns + other.turns,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cost_usd=None if unknown else (self.cost_usd or 0.0) + (other.cost_usd or 0.0),
            has_counts=self.has_counts and other.has_counts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model sees it. `input_schema` is a JSON Schema of type object."""

    name: str
    description: str
    input_schema: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A complete tool call. `input` is None when its JSON was not valid; `raw` then holds the text that came."""

    id: str
    name: str
    input: Mapping[str, JSON] | None
    raw: str = ""

    @property
    def input_block(self) -> Mapping[str, JSON]:
        """The input as models accept it again: always an object."""
        return {"INVALID_JSON": self.raw} if self.input is None else self.input


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The answer to one call. `content` is for the model; `note` is one short line for people (exit code, number of
    matches)."""

    call_id: str
    content: str
    is_error: bool = False
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Text from our side of the conversation."""

    text: str


StopReason = Literal["end_turn", "tool_use", "max_tokens", "pause_turn", "refusal", "context_exceeded", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One complete turn of the model.

    `text` is its visible text; `calls` holds complete calls only, in their order. `blocks` is the turn as the vendor
    wants to see it again (thinking included, incomplete tool calls left out): JSON values that only the adapter
    interprets. `stop_detail` is the vendor's own word, with its explanation for a refusal.
    """

    text: str
    calls: tuple[ToolCall, ...]
    stop_reason: StopReason
    stop_detail: str = ""
    usage: Usage
    blocks: tuple[Mapping[str, JSON], ...]
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResults:
    """The results of all calls of one turn, in the order of the calls."""

    results: tuple[ToolResult, ...]


Message = Prompt | Reply | ToolResults


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A prefix that stays byte-identical (system, tools) and the messages so far: the request for one turn and, when it
    has ended with any message, all that is needed to go on with it later."""

    system: str
    tools: tuple[ToolSpec, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an engine ended.

    `status`: `finished` (the agent ended it), `gave-up` (the agent cannot do it), `limit` (`reason` names the limit:
    `turns`, `minutes`, `tokens`, `cost_usd`; in words when it was counted by an estimate or cannot be counted),
    `failed` (the model's side ended it: refusal, context window, no usable answer). `summary` is the agent's last text;
    `result` its typed answer, or None.
    """

    status: Literal["finished", "gave-up", "limit", "failed"]
    reason: str
    summary: str = ""
    result: JSON = None
    hint: str = ""
    usage: Usage = field(default_factory=Usage)

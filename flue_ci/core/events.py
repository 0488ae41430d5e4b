"""Progress events: what observers (terminal, transcript, progress comment) receive while a run works, in order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flue_ci.core.messages import Conversation, Reply, ToolCall, ToolResult, Usage
from flue_ci.core.proposals import Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A stage of the run begins: `prepare`, `upload`, `setup`, `agent`, `collect`, `verify`,
    `checks`."""

    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded:
    """It has ended, also when it failed, after `seconds`."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something people should know while they wait: a retry, a warning."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model is told before its first turn. `context` is the discussion; it follows the prompt and is empty
    where there is none."""

    system: str
    prompt: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """A request goes to the model. Turns count from 1."""

    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of the model's visible text. Pieces of a turn that is repeated after a fault are followed by
    `TurnRestarted`."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRestarted:
    """The turn's stream broke. The text that came of it is void, and no tool of it ran."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded:
    """The complete reply; `total` is the usage of all turns so far."""

    turn: int
    reply: Reply
    total: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A call begins. Calls of one turn may overlap."""

    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEnded:
    """Its result, as the model gets it."""

    call: ToolCall
    result: ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalMade:
    """A tool call proposed something for publication, accepted or not."""

    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationEnded:
    """The engine has ended, also when it failed. This is all that was exchanged with the model."""

    conversation: Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarted:
    """A command that the host runs: setup or check."""

    kind: Literal["setup", "check"]
    name: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutput:
    """A piece of its output. It may end in the middle of a character."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnded:
    """How it ended. `exit_code` is 124 when it `timed_out`. Not `known`: the sandbox did not say how it ended."""

    kind: Literal["setup", "check"]
    name: str
    exit_code: int
    timed_out: bool
    seconds: float
    known: bool = True


TurnEvent = Prompt | TurnStarted | TextDelta | TurnRestarted | TurnEnded | ToolStarted | ToolEnded | ProposalMade
CommandEvent = CommandStarted | CommandOutput | CommandEnded
ProgressEvent = StageStarted | StageEnded | Notice | TurnEvent | ConversationEnded | CommandEvent
Observer = Callable[[ProgressEvent], None]

"""Progress events as lines of text, for terminals and logs alike."""

from __future__ import annotations

from flue_ci.core.events import (
    CommandEnded,
    CommandStarted,
    Notice,
    ProgressEvent,
    StageEnded,
    StageStarted,
    ToolEnded,
    TurnEnded,
    TurnRestarted,
)
from flue_ci.core.messages import ToolCall
from flue_ci.core.text import human_seconds, one_line, plain
from flue_ci.report.stages import describe_activity

_SHORTEST_STAGE = 0.5  # seconds; a shorter stage's time is not worth a line


def format_event(event: ProgressEvent) -> list[str]:
    """The lines of an event; none for those that only move the status line."""
    match event:
        case StageStarted(stage=stage):
            return [f"▸ {describe_activity(stage)}"]
        case StageEnded(stage=stage, seconds=seconds) if stage != "agent" and seconds >= _SHORTEST_STAGE:
            return [f"    {human_seconds(seconds)}"]
        case Notice(text=text):
            return [f"  ! {one_line(text, 400)}"]
        case TurnRestarted(reason=reason):
            return [f"  ! the turn is repeated: {one_line(reason, 300)}"]
        case TurnEnded(reply=reply) if reply.text.strip() and reply.calls:  # the last text is the result's summary
            return [f"  {line}".rstrip() for line in plain(reply.text).strip().splitlines()]
        case ToolEnded():
            return [_tool_line(event)]
        case CommandStarted(command=command):
            return [f"  $ {one_line(command, 160)}"]
        case CommandEnded():
            return [_command_line(event)]
    return []


def _tool_line(event: ToolEnded) -> str:
    result, mark, note = event.result, "·", ""
    if result.is_error:
        mark = "✗"
    if result.note:
        note = f" → {one_line(result.note, 80)}"
    return f"  {mark} {describe_call(event.call, 100)}{note} ({human_seconds(result.seconds)})"


def _command_line(event: CommandEnded) -> str:
    mark, ending = "✗", f"exit code {event.exit_code}"
    if has_passed(event):
        mark = "✓"
    if event.timed_out:
        ending = "timed out"
    return f"  {mark} {one_line(event.name)}: {ending} ({human_seconds(event.seconds)})"


def has_passed(event: CommandEnded) -> bool:
    """Whether a command exited with 0, in time."""
    return event.exit_code == 0 and not event.timed_out


def output_lines(data: bytes) -> list[str]:
    """The whole lines of a command's output, indented."""
    return [f"    {decode_line(line)}" for line in data.removesuffix(b"\n").split(b"\n")]


def decode_line(data: bytes) -> str:
    """One line of output as text of bounded length; of a line that was overwritten, its last state."""
    return plain(data.decode("utf-8", "replace").rsplit("\r", 1)[-1])[:2_000]


def describe_call(call: ToolCall, limit: int) -> str:
    """A tool call in one line: `bash pytest -q`. `limit` bounds the part after the name, in characters."""
    return f"{one_line(call.name, 40)} {_subject(call, limit)}"


def _subject(call: ToolCall, limit: int) -> str:
    arguments = call.input or {}
    for key in ("command", "path", "pattern", "reason", "summary"):
        text = arguments.get(key)
        if isinstance(text, str):
            if key == "pattern" and isinstance(arguments.get("path"), str):
                text += f" in {arguments['path']}"
            return one_line(text, limit)
    return ""

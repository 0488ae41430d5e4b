"""Progress events as lines of text, for terminals and logs alike."""

from flue_ci.core import events
from flue_ci.core.messages import ToolCall
from flue_ci.core.text import human_seconds, one_line, plain
from flue_ci.report.stages import describe_activity

_SHORTEST_STAGE = 0.5  # seconds; a shorter stage's time is not worth a line


def format_event(event: events.ProgressEvent) -> list[str]:
    """The lines of an event; none for those that only move the status line."""
    match event:
        case events.StageStarted(stage=stage):
            return [f"▸ {describe_activity(stage)}"]
        case events.StageEnded(stage=stage, seconds=seconds) if stage != "agent" and seconds >= _SHORTEST_STAGE:
            return [f"    {human_seconds(seconds)}"]
        case events.Notice(text=text):
            return [f"  ! {one_line(text, 400)}"]
        case events.TurnRestarted(reason=reason):
            return [f"  ! the turn is repeated: {one_line(reason, 300)}"]
        case events.TurnEnded(reply=reply) if reply.text.strip() and reply.calls:  # the last text is the summary
            return [f"  {line}".rstrip() for line in plain(reply.text).strip().splitlines()]
        case events.ToolEnded():
            return [_tool_line(event)]
        case events.CommandStarted(command=command):
            return [f"  $ {one_line(command, 160)}"]
        case events.CommandEnded():
            return [_command_line(event)]
    return []


def _tool_line(event: events.ToolEnded) -> str:
    result = event.result
    mark = "✗" if result.is_error else "·"
    note = f" → {one_line(result.note, 80)}" if result.note else ""
    return f"  {mark} {describe_call(event.call, 100)}{note} ({human_seconds(result.seconds)})"


def _command_line(event: events.CommandEnded) -> str:
    mark = "✓" if has_passed(event) else "✗"
    ending = f"exit code {event.exit_code}"
    if event.timed_out:
        ending = "timed out"
    elif not event.known:
        ending = "exit code not known"
    return f"  {mark} {one_line(event.name)}: {ending} ({human_seconds(event.seconds)})"


def has_passed(event: events.CommandEnded) -> bool:
    """Whether a command exited with 0, in time."""
    return event.known and event.exit_code == 0 and not event.timed_out


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
        if isinstance(text := arguments.get(key), str):
            if key == "pattern" and isinstance(arguments.get("path"), str):
                text += f" in {arguments['path']}"
            return one_line(text, limit)
    return ""

"""Progress events as lines of text, for terminals and logs alike."""

from flue_ci.core import events
from flue_ci.core.text import human_seconds, one_line, plain
from flue_ci.report.stages import describe_activity, describe_call
from flue_ci.terminal.screen import Line

_SHORTEST = 0.1  # seconds; of what is over sooner nobody wants to know how long it took
_BUSY_STAGES = ("setup", "agent", "checks")  # they have lines of their own from the beginning


class Story:
    """The lines of a run, event by event. The line of a short stage waits for its end, so that it has its time, or for
    the first line of what happens in it."""

    def __init__(self, mark: str = "▸") -> None:
        self._mark, self._title = mark, ""

    def tell(self, event: events.ProgressEvent) -> list[Line]:
        """The lines that this event completes; none for those that only move a status line."""
        match event:
            case events.StageStarted(stage=stage):
                lines = self._take()
                self._title = f"{self._mark} {describe_activity(stage)}"
                if stage in _BUSY_STAGES:
                    lines += self._take()
                return lines
            case events.StageEnded(seconds=seconds):
                return [line._replace(text=_with_time(line.text, seconds)) for line in self._take()]
        lines = [Line(line, _style(event)) for line in format_event(event)]
        if lines:
            return [*self._take(), *lines]
        return []

    def _take(self) -> list[Line]:
        title, self._title = self._title, ""
        return [Line(title, "bold")] if title else []


def human_time(seconds: float) -> str:
    """`0.4s`; "" for a time that means nothing."""
    if seconds < _SHORTEST:
        return ""
    return human_seconds(seconds)


def _with_time(line: str, seconds: float) -> str:
    """The line with its time at the end: `…the changes (0.4s)`."""
    if time := human_time(seconds):
        return f"{line} ({time})"
    return line


def format_event(event: events.ProgressEvent) -> list[str]:
    """The lines of what happens within a stage."""
    match event:
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


def _style(event: events.ProgressEvent) -> str:
    match event:
        case events.Notice() | events.TurnRestarted():
            return "yellow"
        case events.ToolEnded(result=result) if result.is_error:
            return "red"
        case events.CommandEnded() if not has_passed(event):
            return "red"
    return ""


def _tool_line(event: events.ToolEnded) -> str:
    result = event.result
    mark = "✗" if result.is_error else "·"
    note = f" → {one_line(result.note, 80)}" if result.note else ""
    return _with_time(f"  {mark} {describe_call(event.call, 100)}{note}", result.seconds)


def _command_line(event: events.CommandEnded) -> str:
    mark = "✓" if has_passed(event) else "✗"
    exit_code = f"exit code {event.exit_code}"
    if event.timed_out:
        exit_code = "timed out"
    elif not event.known:
        exit_code = "exit code not known"
    return _with_time(f"  {mark} {one_line(event.name)}: {exit_code}", event.seconds)


def has_passed(event: events.CommandEnded) -> bool:
    """Whether a command exited with 0, in time."""
    return event.known and event.exit_code == 0 and not event.timed_out


def output_lines(data: bytes) -> list[str]:
    """The whole lines of a command's output, indented."""
    return [f"    {decode_line(line)}" for line in data.removesuffix(b"\n").split(b"\n")]


def decode_line(data: bytes) -> str:
    """One line of output as text of bounded length; of a line that was overwritten, its last state."""
    return plain(data.decode("utf-8", "replace").rsplit("\r", 1)[-1])[:2_000]

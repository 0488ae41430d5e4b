"""The progress of a run on standard error: live with rich on a terminal, plain lines elsewhere.

Events come without secrets and with whole lines of output, see `run.session`; every line is made printable where it is
printed.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from flue_ci.core import events
from flue_ci.core.messages import Usage
from flue_ci.core.text import human_cost, human_seconds, human_tokens, one_line, plain, printable
from flue_ci.report.conclusion import exit_words
from flue_ci.report.stages import describe_activity, describe_call
from flue_ci.run.session import View
from flue_ci.terminal.screen import Line, Screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
_SHORTEST = 0.1  # seconds; of what is over sooner nobody wants to know how long it took
_BUSY_STAGES = ("setup", "agent", "checks")  # they have lines of their own from the beginning


class QuietView:
    """Shows nothing."""

    def observe(self, event: events.ProgressEvent) -> None:
        pass

    def close(self) -> None:
        pass


class PlainView:
    """One line an event, for logs. Text of the model is printed when its turn is complete, so lines never tear."""

    def __init__(self, out: TextIO) -> None:
        self._screen, self._out, self._story = Screen(out), out, Story()

    def observe(self, event: events.ProgressEvent) -> None:
        lines = self._story.tell(event)
        if isinstance(event, events.CommandOutput):
            lines += [Line(line) for line in output_lines(event.data)]
        self._screen.show(lines)

    def close(self) -> None:
        self._out.flush()


class LiveView:
    """The same lines above a status line with elapsed time, turns, tokens and cost, redrawn four times a second."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self._screen, self._story = Screen(console.file, console), Story()
        self._start = time.monotonic()
        self._stage, self._activity, self._usage, self._turn = "prepare", "", Usage(), 0
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._status, console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def observe(self, event: events.ProgressEvent) -> None:
        self._update(event)
        self._screen.show(self._story.tell(event))

    def close(self) -> None:
        self._live.stop()

    def _update(self, event: events.ProgressEvent) -> None:
        match event:
            case events.StageStarted(stage=stage):
                self._stage, self._activity = stage, ""
            case events.TurnStarted(turn=turn):
                self._turn, self._activity = turn, "thinking"
            case events.TextDelta(text=text) if text.strip():
                self._activity = f"“{one_line(text, 60)}”"
            case events.CommandStarted(command=command):
                self._activity = one_line(command, 60)
            case events.CommandOutput(data=data) if data.strip():
                self._activity = one_line(decode_line(data.strip().splitlines()[-1]), 60)
            case events.TurnEnded(total=total):
                self._usage = total
            case events.ToolStarted(call=call):
                self._activity = describe_call(call, 60)

    def _status(self) -> Text:
        from rich.text import Text

        usage = self._usage
        parts = [human_seconds(time.monotonic() - self._start), self._stage]
        if self._turn:
            parts.append(f"turn {self._turn}")
        if usage.known_tokens != 0:
            parts += [human_tokens(usage.known_tokens), human_cost(usage.cost_usd)]
        if self._activity:
            parts.append(self._activity)
        frame = str(self._spinner.render(time.monotonic()))
        text = printable(f" {' · '.join(parts)}")
        return Text.assemble(frame, text, style="cyan", no_wrap=True, overflow="ellipsis")


def make_view(*, quiet: bool, out: TextIO | None = None) -> View:
    """Live on a terminal, plain elsewhere."""
    stream = out or sys.stderr
    if quiet:
        return QuietView()
    if console := Screen(stream).console:
        return LiveView(console)
    return PlainView(stream)


class Story:
    """The lines of a run, event by event, for terminals and logs alike. The line of a short stage waits for its end, so
    that it has its time, or for the first line of what happens in it."""

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
        return [*self._take(), *lines] if lines else []

    def _take(self) -> list[Line]:
        title, self._title = self._title, ""
        return [Line(title, "bold")] if title else []


def human_time(seconds: float) -> str:
    """`0.4s`; "" for a time that means nothing."""
    return "" if seconds < _SHORTEST else human_seconds(seconds)


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
    ending = exit_words(event.exit_code, timed_out=event.timed_out, known=event.known)
    return _with_time(f"  {mark} {one_line(event.name)}: {ending}", event.seconds)


def has_passed(event: events.CommandEnded) -> bool:
    """Whether a command exited with 0, in time."""
    return event.known and event.exit_code == 0 and not event.timed_out


def output_lines(data: bytes) -> list[str]:
    """The whole lines of a command's output, indented."""
    return [f"    {decode_line(line)}" for line in data.removesuffix(b"\n").split(b"\n")]


def decode_line(data: bytes) -> str:
    """One line of output as text of bounded length; of a line that was overwritten, its last state."""
    return plain(data.decode("utf-8", "replace").rsplit("\r", 1)[-1])[:2_000]

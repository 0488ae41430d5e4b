"""The story of a run on the terminal: live with rich when somebody watches, plain grouped lines otherwise. Writes to
standard error.

Events come without secrets and with whole lines of output, see `session`; every line is made printable where it is
printed.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from flue_ci.core.events import (
    CommandEnded,
    CommandOutput,
    CommandStarted,
    Notice,
    ProgressEvent,
    StageEnded,
    StageStarted,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnEnded,
    TurnRestarted,
    TurnStarted,
)
from flue_ci.core.messages import ToolCall, Usage
from flue_ci.core.text import human_cost, human_count, human_seconds, one_line, plain, printable
from flue_ci.report.stages import describe_activity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class View(Protocol):
    """Shows a run as it happens. `close` leaves the terminal as it was."""

    def observe(self, event: ProgressEvent) -> None: ...

    def close(self) -> None: ...


class QuietView:
    """Shows nothing."""

    def observe(self, event: ProgressEvent) -> None:
        pass

    def close(self) -> None:
        pass


class PlainView:
    """One line an event, for logs. Text of the model is printed when its turn is complete, so lines never tear."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def observe(self, event: ProgressEvent) -> None:
        lines = output_lines(event.data) if isinstance(event, CommandOutput) else format_event(event)
        for line in lines:
            print(printable(line), file=self._out, flush=True)

    def close(self) -> None:
        self._out.flush()


class LiveView:
    """The same lines above a status line with elapsed time, turns, tokens and cost, redrawn four times a second."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._start = time.monotonic()
        self._stage, self._doing, self._usage, self._turn = "prepare", "", Usage(), 0
        self._spinner = 0
        self._live = Live(get_renderable=self._status, console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def observe(self, event: ProgressEvent) -> None:
        self._follow(event)
        for line in format_event(event):
            self._print(line, _style(event))

    def close(self) -> None:
        self._live.stop()

    def _print(self, line: str, style: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        inner = line.lstrip(" ")
        self._console.print(Padding(Text(printable(inner), style=style), (0, 0, 0, len(line) - len(inner))))

    def _follow(self, event: ProgressEvent) -> None:
        match event:
            case StageStarted(stage=stage):
                self._stage, self._doing = stage, ""
            case TurnStarted(turn=turn):
                self._turn, self._doing = turn, "thinking"
            case TextDelta(text=text) if text.strip():
                self._doing = f"“{one_line(text, 60)}”"
            case CommandStarted(command=command):
                self._doing = one_line(command, 60)
            case CommandOutput(data=data) if data.strip():
                self._doing = one_line(_decoded(data.strip().splitlines()[-1]), 60)
            case TurnEnded(total=total):
                self._usage = total
            case ToolStarted(call=call):
                self._doing = describe_call(call, 60)

    def _status(self) -> Text:
        from rich.text import Text

        self._spinner += 1
        usage = self._usage
        parts = [f"{'⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'[self._spinner % 10]} {human_seconds(time.monotonic() - self._start)}", self._stage]
        if self._turn:
            parts += [f"turn {self._turn}", f"{human_count(usage.total_tokens)} tokens", human_cost(usage.cost_usd)]
        shown = printable(" · ".join([*parts, self._doing] if self._doing else parts))
        return Text(shown, style="cyan", no_wrap=True, overflow="ellipsis")


def _style(event: ProgressEvent) -> str:
    match event:
        case StageStarted():
            return "bold"
        case StageEnded():
            return "dim"
        case Notice() | TurnRestarted():
            return "yellow"
        case ToolEnded(result=result) if result.is_error:
            return "red"
        case CommandEnded() if not _passed(event):
            return "red"
    return ""


def format_event(event: ProgressEvent) -> list[str]:
    """The lines that tell an event; none for what only moves the status line."""
    match event:
        case StageStarted(stage=stage):
            return [f"▸ {describe_activity(stage)}"]
        case StageEnded(stage=stage, seconds=seconds) if stage != "agent" and seconds >= 0.5:
            return [f"    {human_seconds(seconds)}"]
        case Notice(text=text):
            return [f"  ! {one_line(text, 400)}"]
        case TurnRestarted(reason=reason):
            return [f"  ! the turn is repeated: {one_line(reason, 300)}"]
        case TurnEnded(reply=reply) if reply.text.strip() and reply.calls:  # the last words are the result's summary
            return [f"  {line}".rstrip() for line in plain(reply.text).strip().splitlines()]
        case ToolEnded(call=call, result=result):
            mark = "✗" if result.is_error else "·"
            note = f" → {one_line(result.note, 80)}" if result.note else ""
            return [f"  {mark} {describe_call(call, 100)}{note} ({human_seconds(result.seconds)})"]
        case CommandStarted(command=command):
            return [f"  $ {one_line(command, 160)}"]
        case CommandEnded(exit_code=code, timed_out=timed_out, seconds=seconds, name=name):
            mark = "✓" if _passed(event) else "✗"
            how = "timed out" if timed_out else f"exit code {code}"
            return [f"  {mark} {one_line(name)}: {how} ({human_seconds(seconds)})"]
    return []


def output_lines(data: bytes) -> list[str]:
    """The whole lines of a command's output, as they are shown."""
    return [f"    {_decoded(line)}" for line in data.removesuffix(b"\n").split(b"\n")]


def _passed(event: CommandEnded) -> bool:
    return event.exit_code == 0 and not event.timed_out


def describe_call(call: ToolCall, limit: int) -> str:
    """A tool call in one line: `bash pytest -q`."""
    return f"{one_line(call.name, 40)} {_subject(call, limit)}"


def _subject(call: ToolCall, limit: int) -> str:
    """What a call is about, in a few words."""
    given = call.input or {}
    for key in ("command", "path", "pattern", "reason", "summary"):
        if isinstance(given.get(key), str):
            more = f" in {given['path']}" if key == "pattern" and isinstance(given.get("path"), str) else ""
            return one_line(given[key] + more, limit)
    return ""


def _decoded(data: bytes) -> str:
    return plain(data.decode("utf-8", "replace").rsplit("\r", 1)[-1])[:2_000]


def make_view(*, quiet: bool, out: TextIO | None = None) -> View:
    """Live on a terminal, plain elsewhere."""
    stream = out or sys.stderr
    if quiet:
        return QuietView()
    if stream.isatty():
        from rich.console import Console

        return LiveView(Console(file=stream, highlight=False, markup=False, emoji=False))
    return PlainView(stream)

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
from flue_ci.core.text import human_cost, human_count, human_seconds, one_line, printable
from flue_ci.run.session import View
from flue_ci.terminal.lines import decode_line, describe_call, format_event, has_passed, output_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class QuietView:
    """Shows nothing."""

    def observe(self, event: events.ProgressEvent) -> None:
        pass

    def close(self) -> None:
        pass


class PlainView:
    """One line an event, for logs. Text of the model is printed when its turn is complete, so lines never tear."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def observe(self, event: events.ProgressEvent) -> None:
        lines = output_lines(event.data) if isinstance(event, events.CommandOutput) else format_event(event)
        for line in lines:
            print(printable(line), file=self._out, flush=True)

    def close(self) -> None:
        self._out.flush()


class LiveView:
    """The same lines above a status line with elapsed time, turns, tokens and cost, redrawn four times a second."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self._console = console
        self._start = time.monotonic()
        self._stage, self._activity, self._usage, self._turn = "prepare", "", Usage(), 0
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._status, console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def observe(self, event: events.ProgressEvent) -> None:
        self._update(event)
        for line in format_event(event):
            self._print(line, _style(event))

    def close(self) -> None:
        self._live.stop()

    def _print(self, line: str, style: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        text = line.lstrip(" ")
        self._console.print(Padding(Text(printable(text), style=style), (0, 0, 0, len(line) - len(text))))

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
            parts += [f"turn {self._turn}", f"{human_count(usage.total_tokens)} tokens", human_cost(usage.cost_usd)]
        if self._activity:
            parts.append(self._activity)
        frame = str(self._spinner.render(time.monotonic()))
        text = printable(f" {' · '.join(parts)}")
        return Text.assemble(frame, text, style="cyan", no_wrap=True, overflow="ellipsis")


def _style(event: events.ProgressEvent) -> str:
    match event:
        case events.StageStarted():
            return "bold"
        case events.StageEnded():
            return "dim"
        case events.Notice() | events.TurnRestarted():
            return "yellow"
        case events.ToolEnded(result=result):
            return "red" if result.is_error else ""
        case events.CommandEnded():
            return "" if has_passed(event) else "red"
    return ""


def make_view(*, quiet: bool, out: TextIO | None = None) -> View:
    """Live on a terminal, plain elsewhere."""
    stream = out or sys.stderr
    if quiet:
        return QuietView()
    if stream.isatty():
        from rich.console import Console

        return LiveView(Console(file=stream, highlight=False, markup=False, emoji=False))
    return PlainView(stream)

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
from flue_ci.core.text import human_cost, human_seconds, human_tokens, one_line, printable
from flue_ci.report.stages import describe_call
from flue_ci.run.session import View
from flue_ci.terminal.lines import Story, decode_line, output_lines
from flue_ci.terminal.screen import Line, Screen

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

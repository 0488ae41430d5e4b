"""The progress of a run in the log of GitHub Actions: a group for each turn and command, and no line that is a workflow
command."""

from flue_ci.core.events import CommandEnded, CommandOutput, CommandStarted, ProgressEvent, StageStarted, TurnEnded
from flue_ci.core.text import human_cost, human_count, one_line, plural, printable
from flue_ci.gate.workflow_commands import WorkflowLog
from flue_ci.report.stages import describe_activity
from flue_ci.terminal.lines import describe_call, format_event, output_lines

_MAX_CALLS = 3  # of one turn, in its title


class ActionsView:
    """Events as log lines. A turn's group is opened when its reply is complete, so that the title can say what it
    does; what failed is repeated outside of the groups, which a reader sees folded."""

    def __init__(self, log: WorkflowLog) -> None:
        self._log = log
        self._open = False

    def observe(self, event: ProgressEvent) -> None:
        match event:
            case StageStarted(stage=stage):
                self.close()
                self._log.line(f"▸ {describe_activity(stage)}")
            case TurnEnded():
                self._open_group(_turn(event))
                self._lines(format_event(event))
            case CommandStarted(kind=kind, command=command):
                self._open_group(f"{kind.capitalize()}: {one_line(command, 160)}")
            case CommandOutput(data=data):
                self._lines(output_lines(data))
            case CommandEnded():
                self.close()
                self._lines(format_event(event))
            case _:
                self._lines(format_event(event))

    def _lines(self, lines: list[str]) -> None:
        for line in lines:
            self._log.line(printable(line))

    def _open_group(self, title: str) -> None:
        self.close()
        self._log.group(title)
        self._open = True

    def close(self) -> None:
        if self._open:
            self._log.end_group()
            self._open = False


def _turn(event: TurnEnded) -> str:
    """`Turn 3 · bash pytest -q · 12.1K tokens, $0.03 so far`."""
    calls = [describe_call(call, 80) for call in event.reply.calls[:_MAX_CALLS]]
    subject = ", ".join(calls) or "last words"
    more = len(event.reply.calls) - _MAX_CALLS
    if more > 0:
        subject += f", and {plural(more, 'more call')}"
    usage = f"{human_count(event.total.total_tokens)} tokens, {human_cost(event.total.cost_usd)} so far"
    return " · ".join([f"Turn {event.turn}", subject, usage])

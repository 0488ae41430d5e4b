"""The progress of a run in the log of GitHub Actions: a group for each turn and command, and no line that is a workflow
command."""

from collections import deque
from collections.abc import Iterable

from flue_ci.core import events
from flue_ci.core.text import human_cost, human_tokens, one_line, plain, plural, printable
from flue_ci.gate.workflow_commands import WorkflowLog
from flue_ci.report.stages import describe_call
from flue_ci.terminal.progress import Story, has_passed, output_lines

_MAX_CALLS = 3  # of one turn, in its title
_HEAD, _TAIL = 20, 40  # lines of a call's output, in its group
_FAILED_CALL, _FAILED_COMMAND = 5, 20  # last lines of what failed, outside of the groups
_LINE_CHARS = 2_000


class ActionsView:
    """Events as log lines. A turn's group is opened when its reply is complete, so that the title can say what it
    does; what failed is repeated outside of the groups, which a reader sees folded."""

    def __init__(self, log: WorkflowLog) -> None:
        self._log, self._story = log, Story("●")  # beside a group stands a triangle
        self._open, self._turn = False, 0
        self._failures: list[str] = []  # of the open group
        self._output: deque[str] = deque(maxlen=_FAILED_COMMAND)  # the last lines of the present command

    def observe(self, event: events.ProgressEvent) -> None:
        lines = [line.text for line in self._story.tell(event)]
        match event:
            case events.StageStarted() | events.StageEnded() | events.Notice() | events.TurnRestarted():
                self.close()
                self._print(lines)
            case events.TurnEnded():
                self._begin_turn(event, lines)
            case events.ToolEnded():
                self._end_call(event, lines)
            case events.CommandStarted(kind=kind, command=command):
                self.close()
                self._print(lines[:-1])  # the stage's, if it was still to come
                self._open_group(f"{kind.capitalize()}: {one_line(command, 160)}")
                self._output.clear()
            case events.CommandOutput(data=data):
                output = output_lines(data)
                self._output += output
                self._print(output)
            case events.CommandEnded():
                self.close()
                self._print(lines)
                if not has_passed(event):
                    self._print(f"  {line}" for line in self._output)

    def _begin_turn(self, event: events.TurnEnded, lines: list[str]) -> None:
        self._turn = event.turn
        if event.reply.calls:
            self._open_group(_turn_title(event))
            self._print(lines)
        else:  # the last words are the report's
            self.close()
            self._print([_turn_title(event)])

    def _end_call(self, event: events.ToolEnded, lines: list[str]) -> None:
        if not self._open:  # a notice has closed the group
            self._open_group(f"Turn {self._turn}, continued")
        text = plain(event.result.content).removesuffix(f"[{event.result.note}]").strip("\n")
        output = [f"      {line}"[:_LINE_CHARS] for line in text.split("\n") if text]
        self._print(lines)
        self._print(_excerpt(output))
        if event.result.is_error:
            self._failures += [*lines, *output[-_FAILED_CALL:]]

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._log.line(printable(line))

    def _open_group(self, title: str) -> None:
        self.close()
        self._log.group(title)
        self._open = True

    def close(self) -> None:
        """Ends the group, if one is open, and shows what failed in it."""
        if self._open:
            self._log.end_group()
            self._open = False
        self._print(self._failures)
        self._failures = []


def _excerpt(lines: list[str]) -> list[str]:
    surplus = len(lines) - _HEAD - _TAIL
    if surplus <= 1:
        return lines
    return [*lines[:_HEAD], f"      … {surplus:,} lines are left out …", *lines[-_TAIL:]]


def _turn_title(event: events.TurnEnded) -> str:
    """`Turn 3 · bash pytest -q · 12.1K tokens, $0.03 so far`."""
    calls = [describe_call(call, 80) for call in event.reply.calls[:_MAX_CALLS]]
    subject = ", ".join(calls) or "last words"
    more = len(event.reply.calls) - _MAX_CALLS
    if more > 0:
        subject += f", and {plural(more, 'more call')}"
    parts = [f"Turn {event.turn}", subject]
    if event.total.known_tokens is None:
        parts.append("tokens and cost unknown")
    elif event.total.known_tokens:
        parts.append(f"{human_tokens(event.total.known_tokens)}, {human_cost(event.total.cost_usd)} so far")
    return " · ".join(parts)

"""One run as a process: signals cancel it, the folder and the view follow it, and every ending leaves its files.

Events lose their secrets here, once, before anything cuts or formats them.
"""

import asyncio
import codecs
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, TextIO

from flue_ci.core.events import CommandOutput, Notice, Observer, ProgressEvent
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Report
from flue_ci.run.pipeline import run_agent
from flue_ci.run.plan import PreparedRun, RunResult
from flue_ci.safety.redact import Redactor, StreamRedactor, added_lines

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_OUTPUT_BYTES = 1_000_000  # of one command's output, to observers; the report keeps its head and tail
_PACKAGE = str(Path(__file__).parents[1])
_OUTPUT_END = "\n[… the rest of the output is not shown; the report keeps its head and tail]\n"


class View(Protocol):
    """Shows a run as it happens. `close` leaves the terminal as it was."""

    def observe(self, event: ProgressEvent) -> None: ...

    def close(self) -> None: ...


class Phase(IntEnum):
    """How far a run is, for signals: each phase follows the one before."""

    RUN = 0
    REPORT = 1  # the report exists, nothing is left to be stopped
    FILES = 2  # its files are written


@dataclass(slots=True)
class Signals:
    """The number of the first signal that came (0: none), and the phase of the run."""

    first: int = 0
    phase: Phase = Phase.RUN

    def advance(self, phase: Phase) -> None:
        """The run reached `phase`, the one after the present one."""
        assert phase == self.phase + 1
        self.phase = phase

    def interrupt(self) -> None:
        """From now on a signal raises `KeyboardInterrupt`: while nothing has started, and when all is saved."""

        def handle(number: int, _: object) -> None:
            self.first = self.first or number
            raise KeyboardInterrupt

        for number in SIGNALS:
            signal.signal(number, handle)

    @contextmanager
    def cancel(self, task: asyncio.Task[object], say: Callable[[str], None]) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP cancel `task` once; later ones only say that the end is under way."""
        loop = asyncio.get_running_loop()

        def handle(number: int) -> None:
            if self.first or self.phase > Phase.RUN:
                say("already stopping: the sandbox is being ended")
                return
            self.first = number
            say(f"{signal.Signals(number).name}: stopping, saving what there is")
            task.cancel()

        def handle_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            """The errors of the SDKs' own tasks reach us by what we await, or are consequences of requests that were
            cancelled: by a signal, or when a sandbox ended that was only being prepared."""
            if not self.first and not _is_foreign(context):
                loop.default_exception_handler(context)

        for number in SIGNALS:
            loop.add_signal_handler(number, handle, number)
        loop.set_exception_handler(handle_exception)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            self.interrupt()


def _is_foreign(context: dict[str, Any]) -> bool:
    """Whether what asyncio complains of is a task that another package started."""
    coroutine = getattr(context.get("future"), "get_coro", lambda: None)()
    code = getattr(coroutine, "cr_code", None)
    return code is not None and not code.co_filename.startswith(_PACKAGE)


class EventRedactor:
    """Takes the secrets out of events. Of a command's output only the first `MAX_OUTPUT_BYTES` are passed on, because
    no log can hold what a broken test can write."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._begin()

    def _begin(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._output = StreamRedactor(self._redact)
        self._bytes = 0

    def __call__(self, event: ProgressEvent) -> list[ProgressEvent]:
        """What observers may learn now: none, one or two events."""
        if isinstance(event, CommandOutput):
            return self._feed(event.data)
        rest = _output_events(self._output.feed(self._decode(b"", final=True)) + self._output.end())
        self._begin()
        return [*rest, self._redact.redact_value(event)]

    def _feed(self, data: bytes) -> list[ProgressEvent]:
        if self._bytes >= MAX_OUTPUT_BYTES:
            return []
        self._bytes += len(data)
        text = self._output.feed(self._decode(data))
        if self._bytes >= MAX_OUTPUT_BYTES:
            text += self._output.end() + _OUTPUT_END
        return _output_events(text)


def _output_events(text: str) -> list[ProgressEvent]:
    return [CommandOutput(data=text.encode("utf-8", "surrogateescape"))] if text else []


def redacting_observer(redact: Redactor, *observers: Observer) -> Observer:
    """Passes each event without its secrets to the observers, in this order."""
    redact_event = EventRedactor(redact)

    def observe(event: ProgressEvent) -> None:
        for each in redact_event(event):
            for observer in observers:
                observer(each)

    return observe


async def run_and_save(run: PreparedRun, folder: RunFolder, observe: Observer, signals: Signals) -> RunResult:
    """Runs the agent; the report is in the folder when this returns, and its page is still to be made. The report comes
    without secrets, the patch as it is. Call it where signals cancel the task."""
    for note in run.notes:
        observe(Notice(text=note))
    result = await run_agent(run.plan, run.services, observe)
    signals.advance(Phase.REPORT)
    report = replace(result.report, notes=(*result.report.notes, *run.report_notes))
    report = _with_secret_note(report, b"".join((result.patch, *result.other_patches.values())), run.redact)
    folder.add_patches(result.other_patches)
    report = folder.save(report, result.patch, page=False)
    signals.advance(Phase.FILES)
    return replace(result, report=report)


def _with_secret_note(report: Report, patch: bytes, redact: Redactor) -> Report:
    """A patch is never altered; that it adds something like a key is noted, because people see it redacted."""
    kinds = redact.patterns_in(added_lines(patch).decode("utf-8", "replace"))
    if not kinds:
        return report
    subject = f"the patch adds what looks like a secret ({', '.join(kinds)})"
    return replace(report, notes=(*report.notes, f"look before you apply: {subject}; it is masked where shown"))


async def run_interactively(run: PreparedRun, folder: RunFolder, view: View, signals: Signals) -> RunResult:
    """`run_and_save` for a terminal, from which signals come and which may be closed."""

    def show(event: ProgressEvent) -> None:
        try:
            view.observe(event)
        except OSError:
            redirect_to_null(sys.stderr)  # the terminal or pipe is gone; the run and its files go on

    observe = redacting_observer(run.redact, folder.observe, show)
    task = asyncio.current_task()
    assert task is not None
    with signals.cancel(task, lambda text: observe(Notice(text=text))):
        result = await run_and_save(run, folder, observe, signals)
        try:
            view.close()
        except OSError:
            redirect_to_null(sys.stderr)
    return result


def redirect_to_null(stream: TextIO) -> None:
    """Points a stream to nothing, so that the next line does not fail as well."""
    with open(os.devnull, "w") as null:  # noqa: PTH123 (a device, not a path)
        os.dup2(null.fileno(), stream.fileno())

"""One run as a process: signals cancel it, the folder and the view follow it, and every ending leaves its files.

What they are told has lost its secrets here, once, before anybody cuts or formats it.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO

from flue_ci.assembly import PreparedRun
from flue_ci.core.events import CommandOutput, Notice, Observer, ProgressEvent
from flue_ci.report.folder import RunFolder
from flue_ci.report.report import Report
from flue_ci.run.pipeline import run_agent
from flue_ci.safety.redact import Redactor, StreamRedactor, added_lines
from flue_ci.terminal.progress import View

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOWN_BYTES = 1_000_000


@dataclass(slots=True)
class Signals:
    """The first signal that came (0: none). `over`: the run has ended; `saved`: its files are written."""

    first: int = 0
    over: bool = False
    saved: bool = False

    def interrupt(self) -> None:
        """From now on a signal raises `KeyboardInterrupt`: while nothing has started, and when all is saved."""

        def arrived(number: int, _: object) -> None:
            self.first = self.first or number
            raise KeyboardInterrupt

        for number in SIGNALS:
            signal.signal(number, arrived)

    @contextmanager
    def cancel(self, task: asyncio.Task[object], say: Callable[[str], None]) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP cancel `task` once; later ones only say that the end is under way."""
        loop = asyncio.get_running_loop()

        def arrived(number: int) -> None:
            if self.first or self.over:
                say("already stopping: the sandbox is being ended")
                return
            self.first = number
            say(f"{signal.Signals(number).name}: stopping, saving what there is")
            task.cancel()

        def unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            """What the SDKs' own tasks die of when their requests are cancelled is no news."""
            if not self.first:
                loop.default_exception_handler(context)

        for number in SIGNALS:
            loop.add_signal_handler(number, arrived, number)
        loop.set_exception_handler(unheard)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            self.interrupt()


class EventRedactor:
    """Takes the secrets out of events. Of a command's output only the first `SHOWN_BYTES` are passed on, because no log
    can hold what a broken test can write."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._begin()

    def _begin(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._output = StreamRedactor(self._redact)
        self._seen = 0

    def __call__(self, event: ProgressEvent) -> list[ProgressEvent]:
        """What observers may be told now: none, one or two events."""
        if isinstance(event, CommandOutput):
            return self._part(event.data)
        rest = _shown(self._output.feed(self._decode(b"", final=True)) + self._output.end())
        self._begin()
        return [*rest, self._redact.redact_value(event)]

    def _part(self, data: bytes) -> list[ProgressEvent]:
        if self._seen >= SHOWN_BYTES:
            return []
        self._seen += len(data)
        told = self._output.feed(self._decode(data))
        if self._seen >= SHOWN_BYTES:
            told += (
                f"{self._output.end()}\n[… the rest of the output is not shown; the report keeps its head and tail]\n"
            )
        return _shown(told)


def _shown(text: str) -> list[ProgressEvent]:
    return [CommandOutput(data=text.encode("utf-8", "surrogateescape"))] if text else []


def redacting_observer(redact: Redactor, folder: RunFolder, *watchers: Observer) -> Observer:
    """An observer that tells the folder and the watchers, in this order, what is left of an event without secrets."""
    clean = EventRedactor(redact)

    def observe(event: ProgressEvent) -> None:
        for shown in clean(event):
            folder.observe(shown)
            for watch in watchers:
                watch(shown)

    return observe


async def run_and_save(
    assembly: PreparedRun, folder: RunFolder, observe: Observer, signals: Signals
) -> tuple[Report, bytes]:
    """Runs the job; the report is in the folder when this returns. The report comes without secrets, the patch as it
    is. Call it where signals cancel the task."""
    for note in assembly.notes:
        observe(Notice(text=note))
    report, patch = await run_agent(assembly.job, assembly.kit, observe)
    signals.over = True
    report = folder.save(_flagged(report, patch, assembly.redact), patch)
    signals.saved = True
    return report, patch


def _flagged(report: Report, patch: bytes, redact: Redactor) -> Report:
    """A patch is never altered; that it brings what looks like a key is said, because people see it redacted."""
    kinds = redact.patterns_in(added_lines(patch).decode("utf-8", "replace"))
    if not kinds:
        return report
    note = (
        f"look before you apply: the patch adds what looks like a secret ({', '.join(kinds)}); it is masked where shown"
    )
    return replace(report, notes=(*report.notes, note))


async def run_interactively(
    assembly: PreparedRun, folder: RunFolder, view: View, signals: Signals
) -> tuple[Report, bytes]:
    """`drive` for somebody at a terminal, who may send signals and close the terminal."""

    def show(event: ProgressEvent) -> None:
        try:
            view.observe(event)
        except OSError:
            redirect_to_null(sys.stderr)  # the terminal or pipe is gone; the run and its files go on

    observe = redacting_observer(assembly.redact, folder, show)
    task = asyncio.current_task()
    assert task is not None
    with signals.cancel(task, lambda text: observe(Notice(text=text))):
        done = await run_and_save(assembly, folder, observe, signals)
        try:
            view.close()
        except OSError:
            redirect_to_null(sys.stderr)
    return done


def redirect_to_null(stream: TextIO) -> None:
    """Points a stream to nothing, so that the next line does not fail as well."""
    with open(os.devnull, "w") as nothing:  # noqa: PTH123 (a device, not a path)
        os.dup2(nothing.fileno(), stream.fileno())

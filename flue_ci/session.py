"""One run as a process: signals cancel it, the folder and the view follow it, and every ending leaves its files."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from flue_ci.console import View
from flue_ci.outcome import Notice, Progress
from flue_ci.record import RunFolder
from flue_ci.render import markdown
from flue_ci.report import Report
from flue_ci.run import run_agent
from flue_ci.wiring import Assembly

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Signals:
    """The first signal that came (0: none)."""

    first: int = 0

    @contextmanager
    def cancel(self, task: asyncio.Task[object], say: Callable[[str], None]) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP cancel `task` once; later ones only say that the end is under way."""
        loop = asyncio.get_running_loop()

        def arrived(number: int) -> None:
            if self.first:
                say("already stopping: the sandbox is being ended")
                return
            self.first = number
            say(f"{signal.Signals(number).name}: stopping, saving what there is")
            task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, arrived, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


async def supervise(assembly: Assembly, folder: RunFolder, view: View, signals: Signals) -> tuple[Report, bytes]:
    """Runs the job; the report is in the folder when this returns."""

    def observe(event: Progress) -> None:
        folder.observe(event)
        try:
            view.observe(event)
        except OSError:
            _mute()  # the terminal or pipe is gone; the run and its files go on

    task = asyncio.current_task()
    assert task is not None
    with signals.cancel(task, lambda text: observe(Notice(text=text))):
        for note in assembly.notes:
            observe(Notice(text=note))
        report, patch = await run_agent(assembly.job, assembly.kit, observe)
    view.close()
    folder.save(report, markdown(report, patch), patch)
    if folder.trouble:
        report = replace(report, notes=(*report.notes, folder.trouble), exit_code=report.exit_code or 1)
    return report, patch


def _mute() -> None:
    """Points standard error to nothing, so that the next line does not fail as well."""
    with open(os.devnull, "w") as nothing:  # noqa: PTH123 (a device, not a path)
        os.dup2(nothing.fileno(), sys.stderr.fileno())

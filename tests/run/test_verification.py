"""The end of a clean sandbox, and which changes make setup run again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flue_ci.core.changes import ChangedFile
from flue_ci.core.errors import SandboxError
from flue_ci.core.events import Notice, ProgressEvent
from flue_ci.run.commands import HostCommand
from flue_ci.run.verification import CleanSandbox, touches_setup
from tests.test_assembly import NONE, plan


class Failing:
    """A provider whose sandboxes never come into being."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def open(self, *_: object) -> Any:
        raise self._error


@pytest.mark.parametrize(("error", "notices"), [(ZeroDivisionError("a bug"), 1), (SandboxError("no room"), 0)])
async def test_an_error_that_nobody_waited_for_does_not_stop_the_end(error: Exception, notices: int) -> None:
    events: list[ProgressEvent] = []
    clean = CleanSandbox(plan(NONE), Failing(error), events.append)  # type: ignore[arg-type]
    clean.start(None)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await clean.close()
    await clean.close()
    assert clean.usage is None
    texts = {event.text for event in events if isinstance(event, Notice)}
    assert len(texts) == notices
    assert not texts or "a bug" in texts.pop()


@pytest.mark.parametrize(
    ("path", "command", "again"),
    [
        ("src/a.py", "pip install -e '.[test]'", False),
        ("src/a.py", "pip install '.[test]'", True),
        ("src/a.py", "npm ci", False),
        ("web/package.json", "npm ci", True),
        ("a.ts", "npm run build", True),
        ("tools/i.sh", "cd tools && ./i.sh", True),
        ("libs/core/a.py", "pip install ./libs/core", True),
        ("src/test.py", "test -f x", False),
    ],
)
def test_setup_runs_again_for_what_it_depends_on(path: str, command: str, again: bool) -> None:
    setup = [HostCommand(kind="setup", name="setup", run=command, timeout=1)]
    assert touches_setup([ChangedFile(path=path, kind="modified")], setup) == again

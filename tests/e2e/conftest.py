"""A fresh world for each test of whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.flow import Flow, counting
from tests.support.e2b_server import E2BServer
from tests.support.messages_server import MessagesServer
from tests.support.starter import Starter, running_starter

MakeFlow = Callable[..., Flow]


@pytest.fixture
def make_flow(tmp_path: Path) -> Iterator[MakeFlow]:
    """`make_flow(script, faults=…, e2b=True)`: servers that live as long as the test, and a repository."""
    with ExitStack() as stack:

        def make(script: Any = None, *, faults: Any = None, e2b: bool = False, **more: Any) -> Flow:
            model = stack.enter_context(
                MessagesServer(counting(3) if script is None else script, faults=faults, **more)
            )
            sandboxes = stack.enter_context(E2BServer()) if e2b else None
            return Flow(home=tmp_path / "flow", model=model, sandboxes=sandboxes)

        yield make


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    with running_starter() as server:
        yield server

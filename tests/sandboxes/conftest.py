"""What the tests of the local sandbox share: programs that stand in front of the machine's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The first directory of PATH; where the user that root becomes sees it too, hence not in /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        yield Path(directory)


@pytest.fixture
def machines_network(programs: Path) -> None:
    """An open network of a local sandbox is the machine's: pasta does not work here."""
    (programs / "pasta").write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    (programs / "pasta").chmod(0o755)

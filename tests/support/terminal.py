"""A command at a terminal of its own, with somebody who answers its question."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.fork_server import fork_server

SECONDS = 60.0
PROMPT = b"[y/N]"


def at_terminal(arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, answer: bytes = b"") -> tuple[int, str]:
    """The exit code of `flue-ci ARGUMENTS` and all that was shown. `answer` is typed once, at the prompt; 0x04 is the
    end of the input."""
    ours, theirs = pty.openpty()
    process = fork_server().start(arguments, env=env, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, end = b"", time.monotonic() + SECONDS
    try:
        while select.select([ours], [], [], max(end - time.monotonic(), 0))[0]:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # the terminal has no other end any more
                break
            if not data:
                break
            shown += data
            if answer and PROMPT in shown:
                os.write(ours, answer)
                answer = b""
        return process.wait(max(end - time.monotonic(), 1)), shown.decode(errors="replace")
    finally:
        process.kill()
        os.close(ours)

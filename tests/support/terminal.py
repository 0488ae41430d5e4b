"""A command at a terminal of its own, with somebody who answers its question."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 60.0
PROMPT = b"[y/N]"


def at_terminal(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, answer: bytes = b"") -> tuple[int, str]:
    """The exit code and all that was shown. `answer` is typed once, at the prompt; 0x04 is the end of the input."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, env=dict(env), cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
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
        process.wait()
        os.close(ours)

"""One command in an E2B sandbox: the script around it, and the listener that hears its output and its ending.

E2B kills only the leader at a deadline, and keeps a command's stream open as long as any child holds its output. So the
command runs under `timeout`, which makes a process group of its own, writes both streams to standard output (keeping
their order), and leaves standard error to the script around it, which says there how the command ended. (Not by bash's
job control: its `wait -f` was seen to spin for ever, once in some hundred commands.)
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Callable
from typing import Literal

from flue_ci.core.text import HeadTail

KILL_AFTER = 5  # seconds between SIGTERM and SIGKILL at the deadline
LONGEST = 100_000  # bytes of command text that go on the command line; one argument may have 128 KiB
_QUIET = 0.3  # seconds of silence after which the output of a finished command counts as complete
_DRAIN = 3.0  # seconds for which a finished command's background children may go on talking to us

_SCRIPT = """\
cd -- {cwd} 2>/dev/null || {{
  [ -d {cwd} ] && flue_w=denied || flue_w=missing
  printf '\\n%s %s\\n' {token} "$flue_w" >&2; exit 1
}}
flue_p=
flue_end() {{
  [ -z "$flue_p" ] || {{ kill -TERM -- "-$flue_p"; sleep 0.3; kill -KILL -- "-$flue_p"; }} 2>/dev/null
  exit 143
}}
trap flue_end TERM
( trap - INT QUIT; exec timeout -k {kill_after} {seconds} /bin/bash -l -c {command} ) </dev/null 2>&1 &
flue_p=$!
printf '\\n%s start %s\\n' {token} "$flue_p" >&2
wait "$flue_p"
flue_s=$?
if [ "$flue_s" = 124 ] && [ "$SECONDS" -ge {whole} ]; then
  flue_n=$((10 * {kill_after}))
  while kill -0 -- "-$flue_p" && [ $((flue_n -= 1)) -gt 0 ]; do sleep 0.1; done
  kill -KILL -- "-$flue_p"
fi 2>/dev/null
printf '\\n%s exit %s\\n' {token} "$flue_s" >&2
exit "$flue_s"
"""


class RemoteCommand:
    """What is run and what is heard of it. `token` tells our own lines on standard error from anything else there."""

    def __init__(self, text: str, timeout: float, limit: int, on_output: Callable[[bytes], None] | None) -> None:
        self.text = text.encode(errors="replace").decode()
        self.timeout = timeout
        self.token = f"flue-{secrets.token_hex(8)}"
        self.output = HeadTail(limit)
        self.pid: int | None = None  # of the script; set by whoever starts it
        self.job: int | None = None  # of the command's process group
        self.ran = False  # we heard from the script
        self.exit_code: int | None = None
        self.cwd_problem: Literal["", "missing", "denied"] = ""
        self.trouble: Exception | None = None  # what `on_output` raised
        self.over = asyncio.Event()  # the command has ended, whatever its children do
        self._on_output = on_output
        self._heard = ""

    @property
    def file(self) -> str:
        """Where the text goes that is too long for a command line (or cannot stand there); empty when it need not."""
        long = len(self.text.encode()) > LONGEST or "\0" in self.text
        return f"/tmp/.{self.token}" if long else ""  # noqa: S108 (in the sandbox, and with a random name)

    def script(self, cwd: str) -> str:
        """The script to run. `cwd` is absolute; empty for the home of whoever runs it."""
        inner = f'eval "$(cat {self.file}; rm -f {self.file})"' if self.file else self.text
        return _SCRIPT.format(
            cwd=shlex.quote(cwd) if cwd else '"$HOME"',
            token=self.token,
            kill_after=KILL_AFTER,
            seconds=f"{self.timeout:.3f}",
            whole=int(self.timeout),
            command=shlex.quote(inner),
        )

    def on_stdout(self, text: str) -> None:
        data = text.encode(errors="replace")
        self.output.add(data)
        if self._on_output is not None and self.trouble is None:
            try:
                self._on_output(data)
            except Exception as error:  # noqa: BLE001 (the SDK would swallow it; `exec` raises it)
                self.trouble = error
                self.over.set()

    def on_script_output(self, text: str) -> None:
        """Standard error: our script's own lines, and noise of the shell around it."""
        *lines, self._heard = (self._heard + text).split("\n")
        self._heard = self._heard[-200:]
        for line in lines:
            token, _, said = line.partition(" ")
            if token == self.token:
                self._take(said)

    def _take(self, said: str) -> None:
        self.ran = True
        word, _, number = said.partition(" ")
        if word in ("missing", "denied"):
            self.cwd_problem = "missing" if word == "missing" else "denied"
            self.over.set()
        elif word == "start" and number.isdigit():
            self.job = int(number)
        elif word == "exit" and number.isdigit():
            self.end(int(number))

    def end(self, exit_code: int) -> None:
        if self.exit_code is None:
            self.exit_code = exit_code
        self.over.set()

    async def drain(self, stream: asyncio.Task[None]) -> None:
        """After the end: wait for what is still on its way, but not for children that keep the stream open."""
        until = asyncio.get_running_loop().time() + _DRAIN
        while not stream.done() and asyncio.get_running_loop().time() < until:
            before = self.output.total
            await asyncio.wait([stream], timeout=_QUIET)
            if self.output.total == before:
                return

    def kill_script(self) -> str:
        """A script that ends the command with its children. Ours passes SIGTERM on; the rest is for when it cannot."""
        group = f"; kill -KILL -- -{self.job}" if self.job else ""
        return f"kill -TERM {self.pid}; sleep 0.5{group}; kill -KILL {self.pid}; rm -f {self.file or '/dev/null/none'}"

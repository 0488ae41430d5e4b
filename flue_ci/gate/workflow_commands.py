"""The protocols between a job of GitHub Actions and its runner: workflow commands in the log, outputs, summary.

The only place that writes them, so that nothing untrusted ever does. `GITHUB_ENV` and `GITHUB_PATH` are never written.
Standard library only, Python 3.9. Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import IO

SUMMARY_BYTES = 1_048_576  # of one step
OUTPUT_BYTES = 100_000  # of one output; all of a job together may have 1 MB
_BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_COMMAND = re.compile(r"##(?=\[)")


def workflow_command(name: str, message: str = "", **properties: str | int) -> str:
    """`::name key=value::message`, escaped. Underscores in the names of properties are left as they are."""
    given = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if str(value))
    return f"::{name}{f' {given}' if given else ''}::{_data(_whole(message))}"


def error_annotation(file: str, line: int, column: int, message: str) -> str:
    """An error at a line of a file of the repository; `line` 0 is the file as a whole."""
    place: dict[str, str | int] = {"file": file} | ({"line": line, "col": column} if line else {})
    return workflow_command("error", message, **place)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(_whole(text)).replace(":", "%3A").replace(",", "%2C")


def _whole(text: str) -> str:
    """Text that can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()


class WorkflowLog:
    """The job's log. `line` takes anybody's text and `command` our own commands; the runner executes only these.

    The runner obeys no command between `::stop-commands::TOKEN` and `::TOKEN::`. It is stopped from the first line on,
    and resumed only for a command of ours, with another token each time: one that was seen is of no use.
    """

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._token = ""

    def line(self, text: str) -> None:
        """Writes untrusted text, as many lines as it has."""
        if not self._token:
            self._token = secrets.token_hex(16)
            self._write(f"::stop-commands::{self._token}")
        for part in _BREAKS.split(_whole(text)):
            self._write(_inert(part))

    def command(self, command: str) -> None:
        """Writes a command that `workflow_command` made."""
        if self._token:
            self._write(f"::{self._token}::")
            self._token = ""
        self._write(command)

    def group(self, title: str) -> None:
        self.command(workflow_command("group", title))

    def end_group(self) -> None:
        self.command("::endgroup::")

    def _write(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def _inert(line: str) -> str:
    """A line that no runner takes for a command, whether or not commands are stopped: `##[` is one anywhere in a line,
    `::` only at its beginning."""
    line = _COMMAND.sub("# #", line)
    return f"  ·{line.lstrip()}" if line.lstrip().startswith("::") else line


def mask(out: IO[str], value: str) -> None:
    """Has the runner hide a value in what is logged from now on, each of its lines."""
    for line in value.splitlines():
        if line.strip():
            print(workflow_command("add-mask", line.strip()), file=out, flush=True)


def write_output(path: str | os.PathLike[str], name: str, value: str) -> None:
    """Adds a step's output. A value that is too long ends with a note. Raises `OSError`."""
    text = _whole(value)
    if len(text.encode()) > OUTPUT_BYTES:
        text = text.encode()[:OUTPUT_BYTES].decode("utf-8", "ignore") + "\n[cut]"
    delimiter = f"end_{secrets.token_hex(16)}"
    while delimiter in text or delimiter in name:
        delimiter = f"end_{secrets.token_hex(16)}"
    with open(path, "a", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 (Path.open has no newline in 3.9)
        file.write(f"{name}<<{delimiter}\n{text}\n{delimiter}\n")


def append_summary(path: str | os.PathLike[str], markdown: str) -> bool:
    """Adds to the step's summary; False, and nothing written, when there is no room. Raises `OSError`."""
    data = _whole(markdown).encode() + b"\n"
    file = Path(path)
    if (file.stat().st_size if file.exists() else 0) + len(data) > SUMMARY_BYTES:
        return False
    with file.open("ab") as summary:
        summary.write(data)
    return True

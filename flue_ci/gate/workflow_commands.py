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
# What .NET passes over when it compares texts; at the beginning of a line its TrimStart takes white space away as well.
_UNSEEN = (
    r"\0-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
)
_COMMAND = re.compile(rf"(^[\s{_UNSEEN}]*(?=:[{_UNSEEN}]*:)|#[{_UNSEEN}]*#[{_UNSEEN}]*(?=\[))")


def workflow_command(name: str, message: str = "", **properties: str | int) -> str:
    """`::name key=value::message`, escaped. Underscores in the names of properties are left as they are."""
    pairs = ",".join(f"{key}={_escape_property(str(value))}" for key, value in properties.items() if str(value))
    name = f"{name} {pairs}" if pairs else name
    return f"::{name}::{_escape_data(_encodable(message))}"


def error_annotation(file: str, line: int, column: int, message: str) -> str:
    """An error at a line of a file of the repository; `line` 0 is the file as a whole."""
    if not line:
        return workflow_command("error", message, file=file)
    return workflow_command("error", message, file=file, line=line, col=column)


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(_encodable(text)).replace(":", "%3A").replace(",", "%2C")


def _encodable(text: str) -> str:
    """The text with `?` for lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


class WorkflowLog:
    """The job's log. `line` takes untrusted text and `command` our own commands; the runner executes only these.

    Commands are never stopped: `::stop-commands::` and its end are two lines for people to skip, at every group. A line
    is written so that it is no command to the parser of actions/runner (ActionCommand.cs), which takes `::name::` at
    the beginning of a line, after white space, and `##[name]` anywhere in it.
    """

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def line(self, text: str) -> None:
        """Writes untrusted text, as many lines as it has."""
        for part in _BREAKS.split(_encodable(text)):
            self._write(_defuse(part))

    def command(self, command: str) -> None:
        """Writes a command that `workflow_command` made."""
        self._write(command)

    def group(self, title: str) -> None:
        """Begins a group of lines that people can fold. The title may be untrusted."""
        self.command(workflow_command("group", _defuse(title)))

    def end_group(self) -> None:
        """Ends the group."""
        self.command("::endgroup::")

    def _write(self, line: str) -> None:
        self._out.write(f"{line}\n")  # in one piece, so that nothing comes between a line and its end
        self._out.flush()


def _defuse(line: str) -> str:
    """The line with a backslash where it would be a command: `\\::error::x`, `##\\[error]x`."""
    return _COMMAND.sub(r"\1\\", line)


def mask(out: IO[str], value: str) -> None:
    """Tells the runner to hide each line of a value in the log from now on."""
    for line in value.splitlines():
        if line.strip():
            print(workflow_command("add-mask", line.strip()), file=out, flush=True)


def write_output(path: str | os.PathLike[str], name: str, value: str) -> None:
    """Adds a step's output. A value that is too long ends with a note. Raises `OSError`."""
    text = _encodable(value)
    if len(text.encode()) > OUTPUT_BYTES:
        text = text.encode()[:OUTPUT_BYTES].decode("utf-8", "ignore") + "\n[cut]"
    delimiter = f"end_{secrets.token_hex(16)}"  # drawn after the text was written, which cannot hold it
    with open(path, "a", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 (Path.open has no newline in 3.9)
        file.write(f"{name}<<{delimiter}\n{text}\n{delimiter}\n")


def append_summary(path: str | os.PathLike[str], markdown: str) -> bool:
    """Adds to the step's summary; False, and nothing written, when there is no room. Raises `OSError`."""
    data = _encodable(markdown).encode() + b"\n"
    with Path(path).open("ab") as summary:
        if summary.tell() + len(data) > SUMMARY_BYTES:
            return False
        summary.write(data)
    return True

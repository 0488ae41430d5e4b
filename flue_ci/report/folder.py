"""The run's folder: `transcript.jsonl`, written as it happens, and at the end `report.json`, `report.md` and
`changes.patch`.

The folder may lie in a checkout that somebody else filled, and holds what only its owner should read: no link there is
followed. A full disk loses no run: what cannot be written here is written to a temporary folder.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Final

from flue_ci.core.errors import EXIT_FAILED, FlueError
from flue_ci.core.events import CommandOutput, ConversationEnded, ProgressEvent, TextDelta
from flue_ci.core.text import human_bytes
from flue_ci.report.markdown import markdown
from flue_ci.report.report import Report, from_json, to_json
from flue_ci.safety.redact import Redactor

TRANSCRIPT_VERSION = 1
PATCH: Final = "changes.patch"
REFUSED_PATCH: Final = "changes.refused.patch"
LARGEST = 200_000_000  # bytes of a file that is read back
# What they add up to is in the event that ends them; the conversation has a file of its own.
_STREAMED = (TextDelta, CommandOutput, ConversationEnded)


class RunFolder:
    """`path` is made when missing, for its owner only. Raises `OSError` only from the constructor."""

    def __init__(self, path: Path, redact: Redactor) -> None:
        self.path = path
        self.trouble = ""  # why something could not be written, for people
        self.redact = redact
        self._start = time.monotonic()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (
            "report.json",
            "report.md",
            PATCH,
            REFUSED_PATCH,
        ):  # a former run's files must not pass for this one's
            (path / name).unlink(missing_ok=True)
        self._transcript: IO[bytes] | None = _create(path / "transcript.jsonl")

    def observe(self, event: ProgressEvent) -> None:
        """Adds one line to the transcript: `{"v", "t" (seconds since the start), "event", "data" (its fields)}`. The
        event is without secrets already."""
        if self._transcript is None or isinstance(event, _STREAMED):
            return
        line = {
            "v": TRANSCRIPT_VERSION,
            "t": round(time.monotonic() - self._start, 3),
            "event": _snake(type(event).__name__),
        }
        try:
            self._transcript.write(json.dumps(line | {"data": asdict(event)}).encode() + b"\n")
            self._transcript.flush()
        except OSError as error:
            self.trouble = f"the transcript ends early: {error}"
            self._close()

    def save(self, report: Report, patch: bytes) -> Report:
        """Writes the files; returns the report as they tell it, without secrets. The patch itself is kept as it is.

        Falls back to a temporary folder when this one takes no more; `trouble` then says so.
        """
        self._close()
        report = self.redact.redact_value(report)
        try:
            _write_all(self.path, self._files(report, patch))
        except OSError as error:
            taken = f"{self.path} takes no files ({error})"
            try:
                spare = Path(tempfile.mkdtemp(prefix="flue-ci-report-"))
                self.trouble = f"{taken}; the report is in {spare} instead"
                _write_all(spare, self._files(report, patch))
                self.path = spare
            except OSError as again:
                self.trouble = f"{taken}, nor does {tempfile.gettempdir()} ({again.strerror}): it is only shown here"
        return self._told(report)

    def _files(self, report: Report, patch: bytes) -> dict[str, bytes]:
        report = self._told(report)
        files = {name: patch for name in [_patch_name(report)] if name}
        shown = markdown(report, self.redact.redact_value(patch))
        return files | {"report.json": to_json(report).encode() + b"\n", "report.md": shown.encode()}

    def _told(self, report: Report) -> Report:
        """A run whose files are not all where they belong says so, and does not end with 0."""
        if not self.trouble:
            return report
        return replace(report, notes=(*report.notes, self.trouble), exit_code=report.exit_code or EXIT_FAILED)

    def _close(self) -> None:
        if self._transcript is not None:
            transcript, self._transcript = self._transcript, None
            try:
                transcript.close()
            except OSError as error:
                self.trouble = f"the transcript ends early: {error}"


def load(folder: Path) -> tuple[Report, bytes]:
    """A saved run: the report and its patch. Raises `FlueError` when there is none or it is damaged."""
    try:
        report = from_json(_read(folder / "report.json"))
        name = _patch_name(report)
        return report, _read(folder / name) if name else b""
    except OSError as error:
        raise FlueError(
            f"{folder} holds no saved run: {error.strerror} ({error.filename})", hint="give the folder that --out named"
        ) from error


def _patch_name(report: Report) -> str | None:
    return REFUSED_PATCH if report.changes.refused else report.changes.patch


def _write_all(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        part = folder / f"{name}.part"
        try:
            with _create(part) as file:
                file.write(data)
            part.replace(folder / name)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def _create(path: Path) -> IO[bytes]:
    """A new file that only its owner may read, in place of whatever has the name; a link is not followed."""
    path.unlink(missing_ok=True)
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))


def _read(path: Path) -> bytes:
    """Raises `OSError` for a link, and `FlueError` for what is no file or larger than `LARGEST`."""
    no_wait = os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would keep us waiting
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_wait)) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            raise FlueError(f"{path} is no file of at most {human_bytes(LARGEST)}")
        return file.read(LARGEST)


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")

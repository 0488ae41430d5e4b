"""The run's folder: `transcript.jsonl`, written as it happens, and at the end `report.json`, `report.md` and
`changes.patch`.

Everything goes through the redactor. A full disk loses no run: what cannot be written here is written to a temporary
folder.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

from flue_ci.errors import FlueError
from flue_ci.outcome import CommandOutput, Progress, TextDelta
from flue_ci.redact import Redactor
from flue_ci.report import Report, from_json, to_json

TRANSCRIPT_VERSION = 1
PATCH, REFUSED_PATCH = "changes.patch", "changes.refused.patch"
_STREAMED = (TextDelta, CommandOutput)  # what they add up to is in the event that ends them


class RunFolder:
    """`path` is made when missing. Raises `OSError` only from the constructor."""

    def __init__(self, path: Path, redact: Redactor) -> None:
        self.path = path
        self.trouble = ""  # why something could not be written, for people
        self._redact = redact
        self._start = time.monotonic()
        path.mkdir(parents=True, exist_ok=True)
        for name in (
            "report.json",
            "report.md",
            PATCH,
            REFUSED_PATCH,
        ):  # a former run's files must not pass for this one's
            (path / name).unlink(missing_ok=True)
        self._transcript: IO[str] | None = (path / "transcript.jsonl").open("w", encoding="utf-8")

    def observe(self, event: Progress) -> None:
        """Adds one line to the transcript: `{"v", "t" (seconds since the start), "event", …fields}`."""
        if self._transcript is None or isinstance(event, _STREAMED):
            return
        line = {
            "v": TRANSCRIPT_VERSION,
            "t": round(time.monotonic() - self._start, 3),
            "event": _snake(type(event).__name__),
        }
        try:
            self._transcript.write(json.dumps(line | {"data": self._redact.walk(asdict(event))}) + "\n")
            self._transcript.flush()
        except OSError as error:
            self.trouble = f"the transcript ends early: {error}"
            self._close()

    def save(self, report: Report, markdown: str, patch: bytes) -> None:
        """Writes the files. Falls back to a temporary folder when this one takes no more; `trouble` then says so."""
        self._close()
        files = {name: patch for name in [_patch_name(report)] if name}
        files |= {"report.json": self.as_json(report).encode(), "report.md": self._redact(markdown).encode()}
        try:
            _write_all(self.path, files)
        except OSError as error:
            self.trouble = f"{self.path} takes no files ({error})"
            spare = Path(tempfile.mkdtemp(prefix="flue-ci-report-"))
            try:
                _write_all(spare, files)
            except OSError as again:
                self.trouble += f", and neither does {spare} ({again.strerror}): the report is only shown here"
            else:
                self.trouble += f"; the report is in {spare} instead"
                self.path = spare

    def as_json(self, report: Report) -> str:
        """The report's JSON without secrets."""
        return json.dumps(self._redact.walk(json.loads(to_json(report))), indent=2) + "\n"

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
        report = from_json((folder / "report.json").read_bytes())
        name = _patch_name(report)
        return report, (folder / name).read_bytes() if name else b""
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
            part.write_bytes(data)
            part.replace(folder / name)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")

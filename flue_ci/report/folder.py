"""The folder of a run: `transcript.jsonl` and `conversation.json` from the run itself, at its end `report.json`,
`report.md`, `changes.patch`, a `changes-NAME.patch` for each other work in git, and the page `report.html`.

Only the owner may read the files. The folder may lie in a checkout that others filled: no link in it is followed. When
it takes no more files, for example because the disk is full, the report is written to a temporary folder.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Final

from flue_ci.core.conversation import conversation_to_json
from flue_ci.core.errors import EXIT_FAILED, FlueError
from flue_ci.core.events import CommandOutput, ConversationEnded, ProgressEvent, TextDelta
from flue_ci.core.private_file import create_private_file, write_private_file
from flue_ci.core.text import human_bytes, plain
from flue_ci.report.diffs import cut_long_files
from flue_ci.report.markdown import markdown
from flue_ci.report.page.timeline import Timeline, read_timeline
from flue_ci.report.report import Report, from_json, to_json
from flue_ci.safety.redact import Redactor

TRANSCRIPT_VERSION = 1
PATCH: Final = "changes.patch"
REFUSED_PATCH: Final = "changes.refused.patch"
CONVERSATION = "conversation.json"
PAGE: Final = "report.html"
TRANSCRIPT: Final = "transcript.jsonl"
_PUBLIC_FILES = ("report.json", "report.md", PAGE, PATCH, REFUSED_PATCH, TRANSCRIPT, CONVERSATION)
_OTHER_PATCH = re.compile(r"(?:changes-[a-z0-9-]{1,60}|commit-[0-9]{2})\.patch")
MAX_BYTES = 200_000_000  # of a file that is read back
_PIECES = (TextDelta, CommandOutput)  # their sum is in the event that ends them


class RunFolder:
    """`path` is made when missing, for its owner only. Raises `OSError` only from the constructor, also while another
    run writes into the folder.

    `trouble` is the reason, for people, why something could not be written; empty when all was.
    """

    def __init__(self, path: Path, redact: Redactor) -> None:
        self.path = path
        self.trouble = ""
        self.redact = redact
        self._start = time.monotonic()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int | None = _lock(path)
        for name in (*_PUBLIC_FILES, *_other_patches(path)):
            (path / name).unlink(missing_ok=True)  # the files of a former run must not pass for those of this one
        self._transcript_path = path / TRANSCRIPT
        self._transcript: IO[bytes] | None = create_private_file(self._transcript_path)

    def observe(self, event: ProgressEvent) -> None:
        """Adds one line to the transcript: `{"v", "t" (seconds since the start), "event", "data" (its fields)}`; or
        writes the conversation. The event has no secrets any more."""
        if isinstance(event, ConversationEnded):
            try:
                _write_all(self.path, {CONVERSATION: conversation_to_json(event.conversation).encode() + b"\n"})
            except (OSError, ValueError) as error:
                self.trouble = f"{CONVERSATION} cannot be written: {error}"
            return
        if self._transcript is None or isinstance(event, _PIECES):
            return
        name = re.sub(r"(?<=.)(?=[A-Z])", "_", type(event).__name__).lower()
        seconds = round(time.monotonic() - self._start, 3)
        line = {"v": TRANSCRIPT_VERSION, "t": seconds, "event": name, "data": asdict(event)}
        try:
            self._transcript.write(json.dumps(line).encode() + b"\n")
            self._transcript.flush()
        except OSError as error:
            self.trouble = f"the transcript ends early: {error}"
            self._close()

    def add_patches(self, patches: Mapping[str, bytes]) -> None:
        """Writes the patches of other work, by file name, unchanged."""
        try:
            _write_all(self.path, patches)
        except OSError as error:
            self.trouble = f"other work of the agent is lost: {self.path} takes no files ({error})"

    def save(self, report: Report, patch: bytes, *, page: bool = True) -> Report:
        """Writes the files; returns the report as it stands in them, without secrets. The patch is written unchanged.
        `page`: also the page, which takes longer than all the others.

        When the folder takes no files, a temporary one is used; `trouble` and a note in the report then say so.
        """
        try:
            return self._save(report, patch, page=page)
        finally:
            self._unlock()

    def _save(self, report: Report, patch: bytes, *, page: bool) -> Report:
        self._close()
        report = self.redact.redact_value(report)
        try:
            _write_all(self.path, self._files(report, patch))
        except OSError as error:
            reason = f"{self.path} takes no files ({error})"
            try:
                fallback = Path(tempfile.mkdtemp(prefix="flue-ci-report-"))
                self.trouble = f"{reason}; the report is in {fallback} instead"
                _write_all(fallback, self._files(report, patch))
                self.path = fallback
            except OSError as again:
                self.trouble = f"{reason}, nor does {tempfile.gettempdir()} ({again.strerror}): it is only shown here"
                return self._with_trouble(report)
        report = self._with_trouble(report)
        return self.add_page(report, patch) if page else report

    def add_page(self, report: Report, patch: bytes) -> Report:
        """Writes the page of a report that was saved. No run fails for it: what goes wrong is a note in the report."""
        try:
            write_page(self.path, report, self._readable(patch), self.redact, self._transcript_path)
        except Exception as error:  # noqa: BLE001 (a boundary: the other files are the run's result)
            note = self.redact(f"{PAGE} could not be written: {type(error).__name__}: {error}")
            if note not in report.notes:
                report = replace(report, notes=(*report.notes, note))
            try:
                _write_all(self.path, self._files(report, patch))
            except OSError:
                pass  # the files without that note are there
        return report

    def _files(self, report: Report, patch: bytes) -> dict[str, bytes]:
        report = self._with_trouble(report)
        text = self.redact(markdown(report, self._readable(patch)))
        files = {"report.json": to_json(report).encode() + b"\n", "report.md": text.encode()}
        if name := _patch_name(report):
            files[name] = patch
        return files

    def _readable(self, patch: bytes) -> bytes:
        return self.redact.redact_value(cut_long_files(patch))

    def _with_trouble(self, report: Report) -> Report:
        """Files that are missing are an error, also after a success."""
        if not self.trouble or self.trouble in report.notes:
            return report
        return replace(report, notes=(*report.notes, self.trouble), exit_code=report.exit_code or EXIT_FAILED)

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _close(self) -> None:
        transcript, self._transcript = self._transcript, None
        try:
            if transcript:
                transcript.close()
        except OSError as error:
            self.trouble = f"the transcript ends early: {error}"


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder until it is closed or the process ends. Raises `BlockingIOError` while another
    run holds it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BlockingIOError(errno.EAGAIN, "another run is writing into it") from None
    except OSError:  # a file system without locks
        pass
    return lock


def copy_public_files(folder: Path, to: Path, redact: Redactor) -> None:
    """Copies the files of a run, and nothing else that lies there, to the folder `to` for people who may read the
    repository. What was refused may hold anything: it loses its secrets here. Raises `OSError`."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(mode=0o700, parents=True)
    for name in (*_PUBLIC_FILES, *_other_patches(folder)):
        try:
            data = _read(folder / name)
        except FileNotFoundError:
            continue
        if name == REFUSED_PATCH:
            data = redact.redact_value(data)
        write_private_file(to / name, data)


def load(folder: Path) -> tuple[Report, bytes]:
    """The report of a saved run and its patch. Raises `FlueError` when there is none, `UsageError` for a broken one."""
    try:
        report = from_json(_read(folder / "report.json"))
        name = _patch_name(report)
        return report, _read(folder / name) if name else b""
    except OSError as error:
        message = f"{folder} holds no saved run: {error.strerror} ({error.filename})"
        hint = "give the folder of a finished run: `--out` named it, in a workflow the input `out`"
        raise FlueError(message, hint=hint) from error


def load_timeline(folder: Path, redact: Redactor) -> Timeline:
    """What happened in a saved run, without secrets; nothing when there is no transcript that can be read."""
    try:
        with _open(folder / TRANSCRIPT) as file:
            return read_timeline(file, lambda text: redact(plain(text)))
    except (OSError, FlueError):
        return Timeline()


def write_page(folder: Path, report: Report, patch: bytes, redact: Redactor, transcript: Path | None = None) -> Path:
    """Writes the page of a run into its folder; returns its path. Report and patch have no secrets any more. A
    transcript that is no file is not read. Raises `OSError`."""
    from flue_ci.report.page.render import render_page
    from flue_ci.safety.redact import redact_html

    try:
        file = _open(transcript or folder / TRANSCRIPT)
    except (OSError, FlueError):  # none, a link, a pipe
        page = render_page(report, patch, None, redact)
    else:
        with file:
            page = render_page(report, patch, file, redact)
    write_private_file(folder / PAGE, redact_html(page, redact).encode("utf-8", "backslashreplace"))
    return folder / PAGE


def other_patch(name: str) -> str:
    """The file for the patch of other work with that name (`[a-z0-9-]`)."""
    return f"changes-{name}.patch"


def commit_patch(number: int) -> str:
    """The file for the patch of the agent's commit with that number, from 1."""
    return f"commit-{number:02}.patch"


def load_commits(folder: Path, report: Report) -> tuple[tuple[str, bytes], ...]:
    """Messages and patches of the agent's commits. Raises `FlueError` when a file is not there."""
    names = [commit_patch(number) for number, _ in enumerate(report.changes.commits, start=1)]
    try:
        patches = [_read(folder / name) for name in names]
    except OSError as error:
        raise FlueError(f"{error.filename} cannot be read: {error.strerror}") from error
    return tuple((commit.message, patch) for commit, patch in zip(report.changes.commits, patches, strict=True))


def _other_patches(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("c*-*.patch") if _OTHER_PATCH.fullmatch(path.name))


def _patch_name(report: Report) -> str | None:
    return REFUSED_PATCH if report.changes.refused else report.changes.patch


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        write_private_file(folder / name, data)


def _read(path: Path) -> bytes:
    """Raises `OSError` for a link, and `FlueError` for anything but a file of at most `MAX_BYTES`."""
    with _open(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise FlueError(f"{path} is no file of at most {human_bytes(MAX_BYTES)}")
        return file.read(MAX_BYTES)


def _open(path: Path) -> IO[bytes]:
    """Raises `OSError` for a link, and `FlueError` for anything else that is no file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a pipe would block
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FlueError(f"{path} is no file of at most {human_bytes(MAX_BYTES)}")
    return file

"""Models that need no network: `Recorder` writes down what another answers, `Replay` answers from what was written.

With a replay the tools run for real. `recording` has the format of the file; here is what a replay has to agree in.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from flue_ci.core.errors import ModelError, UsageError
from flue_ci.core.events import Notice, Observer, ProgressEvent, TextDelta, TurnRestarted
from flue_ci.core.messages import Conversation, Reply
from flue_ci.core.ports import Model
from flue_ci.core.private_file import create_private_file
from flue_ci.core.text import one_line
from flue_ci.models.recording import RecordedTurn, header, load, summarize_request, turn_to_json

_EXIT = re.compile(r"\bexit(?:ed|s)?(?: with)?(?: code)? (-?\d+)\b")
_NUMBER = re.compile(r"\d+")
_HEX = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,}\b")


class Recorder:
    """A model whose turns are written to `path`, each as soon as it is complete; an existing file is replaced.
    Only the owner may read the file: it holds the conversation.

    Nothing of the transport is written, so no key. `redact` takes the secrets out of a JSON value. When writing fails
    half-way the run goes on, with a notice. Raises `UsageError` when the file cannot be written at all.
    """

    def __init__(self, model: Model, path: Path, *, redact: Callable[[object], object] = lambda value: value) -> None:
        self.name = model.name
        self._model = model
        self._path = path
        self._redact = redact
        self._file: TextIOWrapper | None = None
        try:
            self._file = TextIOWrapper(_open(path), encoding="utf-8")
            self._write(header(model.name))
        except OSError as error:
            self._close_file()
            raise UsageError(f"Cannot write the recording {path}: {error.strerror}") from None

    def prepare(self) -> None:
        self._model.prepare()

    async def turn(self, request: Conversation, observe: Observer) -> Reply:
        """The other model's turn."""
        pieces: list[str] = []

        def collect(event: ProgressEvent) -> None:
            if isinstance(event, TextDelta):
                pieces.append(event.text)
            elif isinstance(event, TurnRestarted):
                pieces.clear()
            observe(event)

        reply = await self._model.turn(request, collect)
        try:
            self._write(turn_to_json(reply, "".join(pieces), request))
        except OSError as error:
            self._close_file()
            observe(Notice(text=f"The recording {self._path} ends here: {error.strerror}"))
        return reply

    async def close(self) -> None:
        self._close_file()
        await self._model.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(self._redact(line)) + "\n")
            self._file.flush()

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # it was flushed line by line; what could not be written has been reported
                self._file.close()
            self._file = None


def _open(path: Path) -> IO[bytes]:
    """A new file for the owner only; a device or pipe of that name is written to and not replaced. Follows no link."""
    if path.exists() and not path.is_file():
        return open(path, "wb", opener=lambda name, flags: os.open(name, flags & ~os.O_CREAT | os.O_NOFOLLOW))
    return create_private_file(path)


class Replay:
    """A model that answers from the recording in `path`. Raises `UsageError`, with the line, for another file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name, self._turns = load(path)
        self._next = 0
        self._has_warned = False

    def prepare(self) -> None:
        """Nothing: the file is read already."""

    async def turn(self, request: Conversation, observe: Observer) -> Reply:
        """The recorded turn. Raises `ModelError` when there is none, or when the request no longer fits it."""
        if self._next == len(self._turns):
            raise ModelError(
                f"The recording ends after turn {self._next}: {self._path}",
                hint="The run takes more turns than the recorded one; record it again with --record.",
            )
        turn = self._turns[self._next]
        self._next += 1
        if turn.request_summary is not None:
            self._compare(turn.request_summary, request, observe)
        self._check_tools(turn, request)
        for line in turn.displayed_text.splitlines(keepends=True):
            observe(TextDelta(text=line))
        return turn.reply

    async def close(self) -> None:
        """Nothing is open."""

    def _compare(self, summary: Mapping[str, Any], request: Conversation, observe: Observer) -> None:
        if text := difference(summary, summarize_request(request)):
            raise ModelError(
                f"The recording no longer fits at turn {self._next}: {text}",
                hint=f"Something changed since it was made; record it again with --record ({self._path}).",
            )
        if summary.get("system") not in (None, request.system) and not self._has_warned:
            self._has_warned = True
            observe(Notice(text="The instructions are not those of the recording; its answers are used."))

    def _check_tools(self, turn: RecordedTurn, request: Conversation) -> None:
        """Refuses a call of a tool that was offered when recorded and is not offered now. A call of a tool that was
        never offered is the model's own error, and is replayed."""
        current = {spec.name for spec in request.tools}
        recording = set((turn.request_summary or {}).get("tools", ()))
        for call in turn.reply.calls:
            if call.name in recording - current:
                raise ModelError(
                    f"The recording no longer fits at turn {self._next}: it calls `{call.name}`, not offered now",
                    hint=f"Tools now: {', '.join(sorted(current)) or 'none'}.",
                )


def difference(recording: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Where a replay left its recording, in words; empty while it fits. `recording` may have gaps.

    Must agree: the number of entries; each prompt, later ones up to numbers, which count time and turns; the number of
    results, and of each result whether it is an error, and its exit code. Need not: the text of results (times, names
    of temporary files and versions change), other notes, the system prompt, tools that are not called.
    """
    old, new = recording.get("new", current["new"]), current["new"]
    for before, after in zip(old, new, strict=False):
        if text := _entry_difference(before, after, is_first=current["entries"] == 1):
            return text
    entries = recording.get("entries", current["entries"] - len(new) + len(old))
    if len(old) != len(new) or entries != current["entries"]:
        return f"a conversation of {entries} entries was recorded, this one has {current['entries']}"
    return ""


def _entry_difference(recording: Mapping[str, Any], current: Mapping[str, Any], *, is_first: bool) -> str:
    if recording.keys() != current.keys():
        return f"{' and '.join(recording)} recorded, {' and '.join(current)} now"
    if "prompt" in current:
        old, new = recording["prompt"], current["prompt"]
        if old.split() == new.split() or (not is_first and _rough(old) == _rough(new)):
            return ""
        return f"another prompt. {_first_difference(old, new)}"
    old, new = recording["results"], current["results"]
    if len(old) != len(new):
        return f"{len(old)} tool results recorded, {len(new)} now"
    for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
        if text := _ending_difference(before, after):
            lines = _first_difference(before.get("content", ""), after["content"])
            return f"tool call {number} {text}. {lines}"
    return ""


def _ending_difference(recording: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """How a call ended otherwise than it did; what was not recorded is not compared."""
    old, new = _exit_code(recording), _exit_code(current)
    is_same_kind = recording.get("is_error", current["is_error"]) == current["is_error"]
    if is_same_kind and old in ("", new):
        return ""
    before = "failed" if recording.get("is_error") else "succeeded"
    after = "failed" if current["is_error"] else "succeeded"
    return f"{before}{old} when recorded, {after}{new} now"


def _exit_code(result: Mapping[str, Any]) -> str:
    """` with exit code 1`; empty when the note has none."""
    match = _EXIT.search(result.get("note", ""))
    return f" with exit code {match[1]}" if match else ""


def _rough(text: str) -> str:
    """`text` without what differs from run to run."""
    return " ".join(_NUMBER.sub("0", _HEX.sub("0", text)).split())


def _first_difference(recording: str, current: str) -> str:
    """The first lines that differ by more than numbers, side by side."""
    pairs = list(zip_longest(recording.splitlines(), current.splitlines(), fillvalue="(nothing)"))
    for number, (before, after) in enumerate(pairs, 1):
        if _rough(before) != _rough(after):
            return f"Line {number} recorded: {one_line(before)} / now: {one_line(after)}"
    for before, after in pairs:
        if before != after:
            return f"Recorded: {one_line(before)} / now: {one_line(after)}"
    return "The text is the same."

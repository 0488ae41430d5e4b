"""Models that need no network: one that keeps what another answers, and one that answers from what was kept.

With a replay the tools run for real. `recording` knows the file; here is decided what a replay has to agree in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from flue_ci.core.errors import ModelError, UsageError
from flue_ci.core.events import Notice, Observer, ProgressEvent, TextDelta, TurnRestarted
from flue_ci.core.messages import ModelRequest, Reply
from flue_ci.core.ports import Model
from flue_ci.core.text import one_line
from flue_ci.models.recording import RecordedTurn, header, load, reply_json, summarize_request

_EXIT = re.compile(r"\bexit(?:ed|s)?(?: with)?(?: code)? (-?\d+)\b")
_NUMBER = re.compile(r"\d+")
_HEX = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,}\b")


class Recorder(Model):
    """A model whose turns are kept in `path`, each as soon as it is complete; a file that is there is replaced.

    Nothing of the transport is written, so no key. `clean` takes the secrets out of a JSON value. When writing fails
    half-way the run goes on and says so. Raises `UsageError` when the file cannot be written at all.
    """

    def __init__(self, model: Model, path: Path, *, clean: Callable[[object], object] = lambda value: value) -> None:
        self._model = model
        self._path = path
        self._clean = clean
        self._file: TextIOWrapper | None = None
        try:
            self._file = path.open("w", encoding="utf-8")
            self._write(header(model.name))
        except OSError as error:
            self._shut()
            raise UsageError(f"Cannot write the recording {path}: {error.strerror}") from None

    @property
    def name(self) -> str:
        return self._model.name

    def prepare(self) -> None:
        self._model.prepare()

    async def turn(self, request: ModelRequest, observe: Observer) -> Reply:
        shown: list[str] = []

        def watch(event: ProgressEvent) -> None:
            if isinstance(event, TextDelta):
                shown.append(event.text)
            elif isinstance(event, TurnRestarted):
                shown.clear()
            observe(event)

        reply = await self._model.turn(request, watch)
        try:
            self._write({"seen": summarize_request(request), "reply": reply_json(reply, "".join(shown))})
        except OSError as error:
            self._shut()
            observe(Notice(text=f"The recording {self._path} ends here: {error.strerror}"))
        return reply

    async def close(self) -> None:
        self._shut()
        await self._model.close()

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(self._clean(line)) + "\n")
            self._file.flush()

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # it was flushed line by line; what could not be written has been told


class Replay(Model):
    """A model that answers from the recording in `path`. Raises `UsageError`, with the line, for another file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.recorded, self._turns = load(path)
        self._next = 0
        self._told_of_system = False

    @property
    def name(self) -> str:
        return self.recorded

    def prepare(self) -> None:
        pass

    async def turn(self, request: ModelRequest, observe: Observer) -> Reply:
        """The recorded turn. Raises `ModelError` when there is none, or when the request no longer fits it."""
        if self._next == len(self._turns):
            raise ModelError(
                f"The recording ends after turn {self._next}: {self._path}",
                hint="The run takes more turns than the recorded one; record it again with --record.",
            )
        turn = self._turns[self._next]
        self._next += 1
        if turn.request_summary is not None:
            if found := difference(turn.request_summary, summarize_request(request)):
                raise ModelError(
                    f"The recording no longer fits at turn {self._next}: {found}",
                    hint=f"Something changed since it was made; record it again with --record ({self._path}).",
                )
            if turn.request_summary.get("system") not in (None, request.system) and not self._told_of_system:
                self._told_of_system = True
                observe(Notice(text="The instructions are not those of the recording; its answers are used."))
        self._offered(turn, request)
        for piece in turn.displayed_text.splitlines(keepends=True):
            observe(TextDelta(text=piece))
        return turn.reply

    async def close(self) -> None:
        pass

    def _offered(self, turn: RecordedTurn, request: ModelRequest) -> None:
        """Refuse a call of a tool that was offered and is not any more; one that never was is the model's own error."""
        now = {spec.name for spec in request.tools}
        then = set((turn.request_summary or {}).get("tools", ()))
        for call in turn.reply.calls:
            if call.name in then - now:
                raise ModelError(
                    f"The recording no longer fits at turn {self._next}: it calls `{call.name}`, not offered now",
                    hint=f"Tools now: {', '.join(sorted(now)) or 'none'}.",
                )


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Where a replay left its recording, in words; empty while it fits. `then` may have gaps.

    Must agree: the number of entries; each prompt, later ones up to numbers, which count time and turns; the number of
    results, and of each result whether it is an error, and its exit code. Need not: the text of results (times, names
    of temporary files and versions change), other notes, the system prompt, tools that are not called.
    """
    old, new = then.get("new", now["new"]), now["new"]
    for before, after in zip(old, new, strict=False):
        if found := _entry_difference(before, after, first=now["entries"] == 1):
            return found
    if len(old) != len(new) or then.get("entries", now["entries"]) != now["entries"]:
        recorded = then.get("entries", now["entries"] - len(new) + len(old))
        return f"a conversation of {recorded} entries was recorded, this one has {now['entries']}"
    return ""


def _entry_difference(then: Mapping[str, Any], now: Mapping[str, Any], *, first: bool) -> str:
    if then.keys() != now.keys():
        return f"{' and '.join(then)} recorded, {' and '.join(now)} now"
    if "prompt" in now:
        old, new = then["prompt"], now["prompt"]
        same = old.split() == new.split() if first else _rough(old) == _rough(new)
        return "" if same else f"another prompt. {_first_difference(old, new)}"
    if len(then["results"]) != len(now["results"]):
        return f"{len(then['results'])} tool results recorded, {len(now['results'])} now"
    for number, (before, after) in enumerate(zip(then["results"], now["results"], strict=True), 1):
        if found := _ending_difference(before, after):
            lines = _first_difference(before.get("content", ""), after["content"])
            return f"tool call {number} {found}. {lines}"
    return ""


def _ending_difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How a call ended otherwise than it did; what was not recorded is not compared."""
    old, new = (_EXIT.search(result.get("note", "")) for result in (then, now))
    exits = "" if old is None else f" with exit code {old[1]}", "" if new is None else f" with exit code {new[1]}"
    if then.get("is_error", now["is_error"]) == now["is_error"] and (old is None or exits[0] == exits[1]):
        return ""
    was, is_now = ("failed" if result.get("is_error") else "succeeded" for result in (then, now))
    return f"{was}{exits[0]} when recorded, {is_now}{exits[1]} now"


def _rough(line: str) -> str:
    """`line` without what differs from run to run."""
    return " ".join(_NUMBER.sub("0", _HEX.sub("0", line)).split())


def _first_difference(then: str, now: str) -> str:
    """The first lines that differ by more than numbers, side by side."""
    old, new = then.splitlines(), now.splitlines()
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else "(nothing)"
        after = new[index] if index < len(new) else "(nothing)"
        if _rough(before) != _rough(after):
            return f"Line {index + 1} recorded: {one_line(before)} / now: {one_line(after)}"
    for before, after in zip(old, new, strict=False):
        if before != after:
            return f"Recorded: {one_line(before)} / now: {one_line(after)}"
    return "The text is the same."

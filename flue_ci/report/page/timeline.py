"""Reads `transcript.jsonl` for the page: what happened, in order, of bounded size however large the file is.

The file may come from a stranger's artifact. A value that is missing or of another type counts as empty, so that
transcripts of other versions can be read too.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final, TypeVar

from markupsafe import escape

from flue_ci.core.events import Prompt
from flue_ci.core.messages import Usage
from flue_ci.core.text import clip_middle, one_line
from flue_ci.report.conclusion import exit_words
from flue_ci.report.report import MAX_NUMBER

MAX_BYTES = 64_000_000  # of the file; what stands behind them is not read
MAX_LINE = 4_000_000
MAX_LINES = 50_000
MAX_ITEMS = 2_000  # turns, calls, commands and the rest together
MAX_TEXT = 8_000  # characters of one text: its head and its tail
MAX_PROMPT = 60_000  # of what the model was told
MAX_ALL_TEXT = 1_000_000  # bytes of HTML: texts of the model and of calls
_MARGIN = 2_000  # a secret at a cut is whole when it is looked for
_SUBJECTS = ("command", "path", "pattern", "reason", "summary")
_T = TypeVar("_T", bound=str | int | float)
Clean = Callable[[str], str]  # makes a text of a stranger fit for people: printable, and without secrets


@dataclass(slots=True, kw_only=True)
class Call:
    """A call of a tool. `inputs` are its arguments by name, as text; `seconds` is None while there is no result."""

    name: str
    subject: str
    inputs: dict[str, str]
    output: str = ""
    note: str = ""
    seconds: float | None = None
    is_error: bool = False


@dataclass(slots=True, kw_only=True)
class Turn:
    """One turn of the model: `usage` is its own, `cost_usd` what all turns so far cost. `seconds` is the model's
    time."""

    kind: Final = "turn"
    number: int
    text: str
    usage: Usage
    cost_usd: float | None
    seconds: float
    calls: list[Call] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Command:
    """A command of the host, as it ended. Its output is in the report."""

    kind: Final = "command"
    name: str
    command: str
    ending: str = "did not end"
    has_passed: bool = False
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Stage:
    """A stage of the run. `seconds` is None for one that did not end."""

    kind: Final = "stage"
    name: str
    seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Note:
    """Something that people were told meanwhile."""

    kind: Final = "note"
    text: str


@dataclass(slots=True, kw_only=True)
class Timeline:
    """`briefing` is what the model was told before its first turn. `omission` says, for people, what of the transcript
    is not here; empty when all is."""

    items: list[Turn | Command | Stage | Note] = field(default_factory=list)
    briefing: Prompt = field(default_factory=lambda: Prompt(system="", prompt="", context=""))
    omission: str = ""

    @property
    def turns(self) -> list[Turn]:
        return [item for item in self.items if isinstance(item, Turn)]


def read_timeline(file: IO[bytes], clean: Clean) -> Timeline:
    """The timeline of a transcript. Raises `OSError`."""
    reader = _Reader(clean)
    for line in _lines(file, reader):
        reader.add(line)
    _share_out(reader.timeline)
    return reader.timeline


def _lines(file: IO[bytes], reader: "_Reader") -> Iterator[bytes]:
    size = lines = 0
    while line := file.readline(MAX_LINE):
        size, lines = size + len(line), lines + 1
        if size > MAX_BYTES or lines > MAX_LINES or reader.count >= MAX_ITEMS:
            reader.timeline.omission = "The rest is in transcript.jsonl: there is too much of it for a page."
            return
        if line.endswith(b"\n"):
            yield line
        else:
            reader.timeline.omission = "A line that is too long, or was not written to its end, is left out."


class _Reader:
    """Puts the events together. An event that belongs to nothing is left out."""

    def __init__(self, clean: Clean) -> None:
        self.timeline = Timeline()
        self.count = 0
        self._clean = clean
        self._calls: dict[str, Call] = {}
        self._turn_start = 0.0
        self._add = {
            "stage_started": self._start_stage,
            "stage_ended": self._end_stage,
            "notice": self._note,
            "turn_restarted": self._restart_turn,
            "turn_started": self._start_turn,
            "turn_ended": self._end_turn,
            "tool_ended": self._end_call,
            "command_started": self._start_command,
            "command_ended": self._end_command,
            "prompt": self._brief,
        }

    def add(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        name = pick(event, "event", default="")
        if name in self._add:
            self._add[name](event)
        elif not name:
            self.timeline.omission = "A damaged line is left out."

    def _text(self, event: object, *path: str, limit: int = MAX_TEXT) -> str:
        return _fit(pick(event, "data", *path, default=""), self._clean, limit)

    def _line(self, event: object, *path: str, limit: int = 300) -> str:
        return one_line(self._text(event, *path), limit)

    def _append(self, item: Turn | Command | Stage | Note) -> None:
        self.timeline.items.append(item)
        self.count += 1

    def _last(self, kind: type[Any]) -> Any:
        return next((item for item in reversed(self.timeline.items) if isinstance(item, kind)), None)

    def _start_stage(self, event: object) -> None:
        self._append(Stage(name=self._line(event, "stage")))

    def _end_stage(self, event: object) -> None:
        stage = self._last(Stage)
        if stage and stage.name == self._line(event, "stage"):
            stage.seconds = pick(event, "data", "seconds", default=0.0)

    def _note(self, event: object) -> None:
        self._append(Note(text=self._text(event, "text")))

    def _restart_turn(self, event: object) -> None:
        self._append(Note(text=f"The turn is repeated: {self._text(event, 'reason')}"))

    def _start_turn(self, event: object) -> None:
        self._turn_start = pick(event, "t", default=0.0)

    def _end_turn(self, event: object) -> None:
        data = pick_mapping(event, "data")
        turn = Turn(
            number=pick(data, "turn", default=0),
            text=self._text(event, "reply", "text"),
            usage=_usage(pick_mapping(data, "reply", "usage")),
            cost_usd=_usage(pick_mapping(data, "total")).cost_usd,
            seconds=max(pick(event, "t", default=0.0) - self._turn_start, 0.0),
        )
        self._append(turn)
        self._calls.clear()
        calls = pick_mapping(data, "reply").get("calls")
        if not isinstance(calls, list):
            return
        for call in calls:
            if self.count < MAX_ITEMS:
                turn.calls.append(self._call(call))
                self._calls[pick(call, "id", default="")] = turn.calls[-1]
                self.count += 1

    def _call(self, call: object) -> Call:
        arguments = pick_mapping(call, "input") or {"INVALID_JSON": pick(call, "raw", default="")}
        inputs = {}
        for name, value in list(arguments.items())[:20]:
            text = value
            if not isinstance(text, str):
                text = json.dumps(value, ensure_ascii=False)
            inputs[one_line(self._clean(name), 60)] = _fit(text, self._clean)
        name = one_line(self._clean(pick(call, "name", default="")), 60)
        subject = next((inputs[each] for each in _SUBJECTS if each in inputs), "")
        return Call(name=name, subject=one_line(subject, 160), inputs=inputs)

    def _end_call(self, event: object) -> None:
        call = self._calls.get(pick(event, "data", "call", "id", default=""))
        if call:
            call.output = self._text(event, "result", "content")
            call.note = self._line(event, "result", "note")
            call.seconds = pick(event, "data", "result", "seconds", default=0.0)
            call.is_error = pick(event, "data", "result", "is_error", default=False)

    def _start_command(self, event: object) -> None:
        self._append(Command(name=self._line(event, "name"), command=self._text(event, "command")))

    def _end_command(self, event: object) -> None:
        command = self._last(Command)
        if command is None or command.name != self._line(event, "name"):
            return
        data = pick_mapping(event, "data")
        command.seconds = pick(data, "seconds", default=0.0)
        code = data.get("exit_code")
        is_known = type(code) is int and abs(code) < MAX_NUMBER and pick(data, "known", default=True)
        command.ending = exit_words(code, timed_out=pick(data, "timed_out", default=False), known=is_known)
        command.has_passed = command.ending == "exit code 0"

    def _brief(self, event: object) -> None:
        names = ("system", "prompt", "context")
        self.timeline.briefing = Prompt(**{name: self._text(event, name, limit=MAX_PROMPT) for name in names})


def pick(value: object, *path: str, default: _T) -> _T:
    """What stands at `path` inside of mappings when it has the type of `default`; else `default`. A number is finite
    and from 0 to `MAX_NUMBER`."""
    item = pick_mapping(value, *path[:-1]).get(path[-1])
    if isinstance(default, float) and type(item) is int:
        item = float(min(item, MAX_NUMBER))
    if type(item) is not type(default):
        return default
    if isinstance(item, int | float) and not 0 <= item <= MAX_NUMBER:  # also NaN
        return default
    return item


def pick_mapping(value: object, *path: str) -> Mapping[str, Any]:
    """The mapping at `path`; an empty one when there is none."""
    for name in path:
        if not isinstance(value, dict):
            return {}
        value = value.get(name)
    return value if isinstance(value, dict) else {}


def _usage(value: Mapping[str, Any]) -> Usage:
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    has_counts = pick(value, "has_counts", default=True)
    usage = Usage(
        turns=1, cost_usd=None, has_counts=has_counts, **{name: pick(value, name, default=0) for name in names}
    )
    if value.get("cost_usd") is None:
        return usage
    return replace(usage, cost_usd=pick(value, "cost_usd", default=0.0))


def _fit(text: str, clean: Clean, limit: int = MAX_TEXT) -> str:
    """A clean text of about `limit` characters at most."""
    half = limit // 2
    if len(text) <= limit + 2 * _MARGIN:
        return clip_middle(clean(text), limit, half)
    head, tail = clean(text[: half + _MARGIN])[:half], clean(text[-half - _MARGIN :])[-half:]
    return f"{head}\n[… {len(text) - limit:,} characters left out …]\n{tail}"


def _share_out(timeline: Timeline) -> None:
    """Cuts the longest texts until all of them together have about `MAX_ALL_TEXT` bytes at most."""
    calls = [call for turn in timeline.turns for call in turn.calls]
    sizes = [(len(text), len(escape(text).encode("utf-8", "replace"))) for text in _texts(timeline, calls) if text]
    limit = MAX_TEXT
    while limit > 100 and sum(html * min(limit / size, 1) for size, html in sizes) > MAX_ALL_TEXT:
        limit //= 2
    if limit == MAX_TEXT:
        return
    for turn in timeline.turns:
        turn.text = clip_middle(turn.text, limit, limit // 2)
    for call in calls:
        call.output = clip_middle(call.output, limit, limit // 2)
        call.inputs = {name: clip_middle(text, limit, limit // 2) for name, text in call.inputs.items()}


def _texts(timeline: Timeline, calls: list[Call]) -> Iterator[str]:
    for turn in timeline.turns:
        yield turn.text
    for call in calls:
        yield call.output
        yield from call.inputs.values()

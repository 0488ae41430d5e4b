"""The story of a run, as lines of a log and above a live status."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flue_ci.core.events import (
    CommandEnded,
    CommandOutput,
    CommandStarted,
    Notice,
    ProgressEvent,
    StageEnded,
    StageStarted,
    ToolEnded,
    ToolStarted,
)
from flue_ci.core.messages import ToolCall, ToolResult
from flue_ci.terminal.progress import LiveView, PlainView, QuietView, make_view

NASTY = "\x1b[2J\x1b]0;x\x07\x9b\u202e"
EVENTS: list[ProgressEvent] = [
    StageStarted(stage=NASTY + "s"),
    Notice(text=NASTY + "n"),
    ToolStarted(call=ToolCall(id="1", name=NASTY + "bash", input={"command": NASTY + "ls"})),
    ToolEnded(
        call=ToolCall(id="1", name=NASTY + "bash", input={"command": NASTY + "ls"}),
        result=ToolResult(call_id="1", content="", is_error=True, note=NASTY + "bad"),
    ),
    CommandStarted(kind="check", name=NASTY, command=NASTY + "pytest"),
    CommandOutput(data=f"{NASTY}one\nbar\rtwo\n".encode() + b"\xff\n"),
    CommandEnded(kind="check", name=NASTY + "tests", exit_code=1, timed_out=False, seconds=1.0),
]


def printed(events: list[ProgressEvent]) -> str:
    out = io.StringIO()
    view = make_view(quiet=False, out=out)
    assert isinstance(view, PlainView)
    for event in events:
        view.observe(event)
    view.close()
    return out.getvalue()


def test_a_log_has_one_line_an_event_and_the_output_below_its_command() -> None:
    assert printed(EVENTS).splitlines() == [
        "▸ s",
        "  ! n",
        "  ✗ bash ls → bad",
        "  $ pytest",
        "    one",
        "    two",
        "    \ufffd",
        "  ✗ tests: exit code 1 (1.0s)",
    ]


def test_a_short_stage_has_its_time_at_the_end_of_its_line() -> None:
    stages = [("prepare", 1.24), ("upload", 0.03), ("agent", 7.0), ("collect", 0.6), ("checks", 0.5)]
    events = [event for name, seconds in stages for event in both(name, seconds)]
    assert printed([*events[:1], Notice(text="again"), *events[1:]]).splitlines() == [
        "▸ Starting the sandbox and reading the repository",
        "  ! again",
        "▸ Copying the repository in",
        "▸ Agent at work",
        "▸ Collecting the changes (0.6s)",
        "▸ Checking",
    ]


def both(stage: str, seconds: float) -> tuple[ProgressEvent, ...]:
    return StageStarted(stage=stage), StageEnded(stage=stage, seconds=seconds)


def test_in_a_job_of_github_actions_no_line_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    events = [Notice(text="##[error]x"), CommandOutput(data=b"::set-env name=a::b\n")]
    assert printed(events).splitlines() == ["  ! ##\\[error]x", "    \\::set-env name=a::b"]


@pytest.mark.parametrize("event", EVENTS)
def test_the_live_view_shows_an_event_without_moving_the_cursor(event: ProgressEvent) -> None:
    """The terminal is real enough for rich; what it writes itself are the sequences that `Live` needs."""
    out = io.StringIO()
    view = LiveView(Console(file=out, force_terminal=True, width=100, highlight=False, markup=False, emoji=False))
    try:
        view.observe(event)
    finally:
        view.close()
    assert not any(text in out.getvalue() for text in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e"))


def test_the_live_view_names_the_tool_that_runs_and_colours_by_the_event() -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, force_terminal=True, width=100, highlight=False, color_system="standard"))
    view.observe(EVENTS[2])
    view.observe(Notice(text="✗ is only a sign here"))
    view.observe(EVENTS[3])
    view.close()
    assert "bash ls" in out.getvalue()
    assert "\x1b[33m  ! ✗ is only a sign here" in out.getvalue()
    assert "\x1b[31m  ✗ bash" in out.getvalue()


def test_quiet_is_quiet() -> None:
    assert isinstance(make_view(quiet=True, out=io.StringIO()), QuietView)

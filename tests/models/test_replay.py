"""Recording what a model answers, and playing it back: the same turns, and a clear word when it no longer fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import ModelError, UsageError
from flue_ci.core.messages import Conversation, Message, Prompt, Reply, ToolResult, ToolResults, ToolSpec, Usage
from flue_ci.models.replay import Recorder, Replay
from flue_ci.safety.redact import Redactor
from tests.support.conversations import SYSTEM, TOOLS, Watcher, claude, request
from tests.support.messages_server import API_KEY, Fault, MessagesServer, Turn, text, thinking, tool

SCRIPT = (
    Turn(blocks=[thinking("Hm."), text("I run the tests."), tool("bash", {"command": "pytest -q"}, id="t1")]),
    Turn(blocks=[tool("bash", raw='{"command": "ec', id="t2"), tool("read", {}, id="t3")]),
    Turn(blocks=[text("Fixed line 3.")]),
)
FIRST = ToolResult(call_id="t1", content="1 failed in 0.31s\nE  assert 2 == 3", is_error=True, note="exit 1")
SECOND = (
    ToolResult(call_id="t2", content="broken JSON", is_error=True),
    ToolResult(call_id="t3", content="def add(a, b):", note="12 lines"),
)


def entries_of(
    replies: list[Reply], first: ToolResult = FIRST, second: tuple[ToolResult, ...] = SECOND
) -> list[Message]:
    """The conversation after `replies`."""
    ours: list[Message] = [Prompt(text="Fix the tests."), ToolResults(results=(first,)), ToolResults(results=second)]
    return [entry for pair in zip(ours, replies, strict=False) for entry in pair] + ours[
        len(replies) : len(replies) + 1
    ]


@pytest.fixture
async def recording(tmp_path: Path) -> tuple[Path, list[Reply], str]:
    """A recorded conversation of three turns, with a fault in it: the file, the replies, and what was shown."""
    path = tmp_path / "run.jsonl"
    watcher = Watcher()
    replies: list[Reply] = []
    with MessagesServer(SCRIPT, faults={1: Fault(kind="drop", after=9)}) as server:
        recorder = Recorder(claude(server), path)
        for _ in SCRIPT:
            replies.append(await recorder.turn(request(*entries_of(replies)), watcher))
        await recorder.close()
    return path, replies, watcher.final_text


async def play(path: Path, first: ToolResult = FIRST, second: tuple[ToolResult, ...] = SECOND, **other: Any) -> Watcher:
    """Play all of it with these results. What was told."""
    watcher = Watcher()
    replay = Replay(path)
    replies: list[Reply] = []
    for _ in range(3):
        later = Conversation(
            system=other.get("system", SYSTEM),
            tools=other.get("tools", TOOLS),
            messages=tuple(entries_of(replies, first, second)),
        )
        replies.append(await replay.turn(later, watcher))
    return watcher


Recording = tuple[Path, list[Reply], str]


async def test_a_replay_gives_the_same_replies_usage_text_and_name(recording: Recording) -> None:
    path, replies, final_text = recording
    replay = Replay(path)
    watcher = Watcher()
    again: list[Reply] = []
    for _ in replies:
        again.append(await replay.turn(request(*entries_of(again)), watcher))
    assert again == replies
    assert watcher.text == final_text
    assert replay.name == "claude-sonnet-5-5"
    assert sum((reply.usage.cost_usd or 0 for reply in again), 0.0) > 0


async def test_a_recording_of_a_replay_is_the_recording(recording: Recording, tmp_path: Path) -> None:
    path, replies, _ = recording
    copy = Recorder(Replay(path), tmp_path / "copy.jsonl")
    again: list[Reply] = []
    for _ in replies:
        again.append(await copy.turn(request(*entries_of(again)), Watcher()))
    await copy.close()
    assert (tmp_path / "copy.jsonl").read_bytes() == path.read_bytes()


async def test_a_turn_is_in_the_file_as_soon_as_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with MessagesServer(SCRIPT) as server:
        recorder = Recorder(claude(server), path)
        assert len(path.read_text().splitlines()) == 1
        await recorder.turn(request(), Watcher())
        assert len(path.read_text().splitlines()) == 2
        await recorder.close()


async def test_no_secret_gets_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    redact = Redactor(["hunter2-hunter2"]).redact_value
    with MessagesServer([Turn(blocks=[text("The password is hunter2-hunter2.")])]) as server:
        recorder = Recorder(claude(server), path, redact=redact)
        reply = await recorder.turn(request(Prompt(text="hunter2-hunter2?")), Watcher())
        await recorder.close()
    assert "hunter2" in reply.text
    assert "hunter2" not in path.read_text()
    assert API_KEY not in path.read_text()


async def test_a_full_disk_ends_the_recording_but_not_the_run() -> None:
    watcher = Watcher()
    with MessagesServer(SCRIPT) as server, Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        with pytest.raises(UsageError, match="No space left"):
            Recorder(claude(server), Path("/dev/full"))
        recorder = Recorder(claude(server), Path("/dev/null"))
        recorder._file = full  # the disk fills up later
        reply = await recorder.turn(request(), watcher)
        await recorder.close()
    assert reply.text == "I run the tests."
    assert watcher.notices == ["The recording /dev/null ends here: No space left on device"]


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    with MessagesServer([]) as server, pytest.raises(UsageError, match="Cannot write the recording"):
        Recorder(claude(server), tmp_path / "missing" / "run.jsonl")


async def test_outputs_may_differ_in_times_names_and_wording(recording: Recording) -> None:
    other = ToolResult(
        call_id="t1", content="1 failed in 9.99s\nin /tmp/tmpabc\nE  assert 2 == 4", is_error=True, note="exit 1"
    )
    watcher = await play(recording[0], other, (SECOND[0], ToolResult(call_id="t3", content="x", note="1 line")))
    assert watcher.notices == []


async def test_other_instructions_are_told_once_and_played_on(recording: Recording) -> None:
    watcher = await play(recording[0], system="You are somebody else.")
    assert len(watcher.notices) == 1
    assert "instructions" in watcher.notices[0]


def with_fields(result: ToolResult, **fields: Any) -> ToolResult:
    values = {name: getattr(result, name) for name in ("call_id", "content", "is_error", "note")}
    return ToolResult(**{**values, **fields})


DIVERGENCES: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "a command that now works": (
        lambda: {"first": with_fields(FIRST, content="2 passed in 0.2s", is_error=False, note="exit 0")},
        ["at turn 2", "tool call 1 failed with exit code 1 when recorded, succeeded with exit code 0 now",
         "Line 1 recorded: 1 failed in 0.31s / now: 2 passed in 0.2s"],
    ),
    "another exit code": (
        lambda: {"first": with_fields(FIRST, content="1 failed in 7.00s\nsegfault", note="exit 139")},
        ["at turn 2", "exit code 1 when recorded, failed with exit code 139 now", "Line 2 recorded: E assert"],
    ),
    "a file that is missing now": (
        lambda: {"second": (SECOND[0], with_fields(SECOND[1], content="no such file", is_error=True))},
        ["at turn 3", "tool call 2 succeeded when recorded, failed now", "def add(a, b):", "no such file"],
    ),
    "fewer results": (lambda: {"second": SECOND[:1]}, ["at turn 3", "2 tool results recorded, 1 now"]),
    "a tool that is gone": (lambda: {"tools": TOOLS[1:]}, ["at turn 1", "`bash`, not offered now"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "parts"), DIVERGENCES.values(), ids=DIVERGENCES.keys())
async def test_a_replay_that_no_longer_fits_says_where_and_how(
    recording: Recording, change: Callable[[], dict[str, Any]], parts: list[str]
) -> None:
    with pytest.raises(ModelError) as error:
        await play(recording[0], **change())
    for words in parts:
        assert words in str(error.value)
    assert "--record" in error.value.hint or "Tools now" in error.value.hint


async def test_another_prompt_is_another_run(recording: Recording) -> None:
    with pytest.raises(ModelError, match=r"another prompt\. Line 1 recorded: Fix the tests\. / now: Write a poem\."):
        await Replay(recording[0]).turn(request(Prompt(text="Write a poem.")), Watcher())


async def test_numbers_matter_in_the_task_but_not_in_later_reminders(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    async def run(model: Any, issue: int, turns: int) -> None:
        first = await model.turn(request(Prompt(text=f"Fix #{issue}.")), Watcher())
        entries = (Prompt(text=f"Fix #{issue}."), first, Prompt(text=f"{turns} turns left."))
        await model.turn(request(*entries), Watcher())

    with MessagesServer([Turn(blocks=[text("a")])] * 2) as server:
        await run(Recorder(claude(server), path), 7, 3)
    await run(Replay(path), 7, 5)
    with pytest.raises(ModelError, match=r"Recorded: Fix #7\. / now: Fix #8\."):
        await run(Replay(path), 8, 3)


async def test_another_course_of_the_conversation_is_noticed(recording: Recording) -> None:
    path, replies, _ = recording
    replay = Replay(path)
    await replay.turn(request(*entries_of([])), Watcher())
    with pytest.raises(ModelError, match="at turn 2: results recorded, prompt now"):
        await replay.turn(request(Prompt(text="Fix the tests."), replies[0], Prompt(text="Go on.")), Watcher())
    replay = Replay(path)
    await replay.turn(request(*entries_of([])), Watcher())
    with pytest.raises(ModelError, match="a conversation of 3 entries was recorded, this one has 4"):
        await replay.turn(request(*entries_of(replies[:1]), Prompt(text="Hurry.")), Watcher())


async def test_a_recording_that_is_used_up_says_so(recording: Recording) -> None:
    path, replies, _ = recording
    replay = Replay(path)
    for number in range(3):
        await replay.turn(request(*entries_of(replies[:number])), Watcher())
    with pytest.raises(ModelError, match="The recording ends after turn 3"):
        await replay.turn(request(*entries_of(replies)), Watcher())


async def test_a_recording_can_be_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "demo.jsonl"
    path.write_text(
        '{"flue_ci_recording": 1, "model": "claude-sonnet-5-5"}\n'
        '{"reply": {"text": "I look.\\n\\nThen I run.", "calls": [{"name": "bash", "input": {"command": "ls"}}, '
        '{"name": "read", "input": {}}]}}\n\n'
        '{"seen": {"new": [{"results": [{"is_error": false}, {}]}]}, '
        '"reply": {"text": "Done.", "usage": {"cost_usd": 0.01}}}\n'
    )
    replay, watcher = Replay(path), Watcher()
    first = await replay.turn(request(), watcher)
    answers = tuple(ToolResult(call_id=call.id, content="x", note="exit 0") for call in first.calls)
    last = await replay.turn(request(Prompt(text="?"), first, ToolResults(results=answers)), watcher)
    assert [call.id for call in first.calls] == ["call_1_1", "call_1_2"]
    assert first.stop_reason == "tool_use"
    assert [block["type"] for block in first.blocks] == ["text", "tool_use", "tool_use"]
    assert first.blocks[2]["input"] == {}
    assert last.stop_reason == "end_turn"
    assert last.usage == Usage(turns=1, cost_usd=0.01)
    assert watcher.text == "I look.\n\nThen I run.Done."


async def test_a_hand_written_expectation_that_is_not_met_is_told(tmp_path: Path) -> None:
    path = tmp_path / "demo.jsonl"
    path.write_text(
        '{"flue_ci_recording": 1}\n{"reply": {"calls": [{"name": "bash", "input": {}}]}}\n'
        '{"seen": {"new": [{"results": [{"is_error": true}]}]}, "reply": {"text": "Done."}}\n'
    )
    replay = Replay(path)
    first = await replay.turn(request(), Watcher())
    answers = ToolResults(results=(ToolResult(call_id=first.calls[0].id, content="fine"),))
    with pytest.raises(ModelError, match="failed when recorded, succeeded now"):
        await replay.turn(request(Prompt(text="?"), first, answers), Watcher())


HEADER = '{"flue_ci_recording": 1, "model": "m"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ":1: this line is not JSON"),
        ("\x7fELF\x02\x01", ":1: this line is not JSON"),
        ('{"type": "transcript"}\n', ":1: this is not a recording"),
        ('{"flue_ci_recording": 9}\n', ":1: a recording of version 9"),
        ("[]\n", ":1: expected a JSON object"),
        (HEADER + '{"reply": {"text": "a"}}\n{"reply": {"te', ":3: this line is not JSON; the file is cut off"),
        (HEADER + '{"answer": {}}\n', ":2: not a recorded turn: a turn has no `answer`"),
        (HEADER + '{"seen": {}}\n', ":2: 'reply' is missing"),
        (HEADER + '{"reply": {"txt": "a"}}\n', "`reply` has no `txt`"),
        (HEADER + '{"reply": {"text": 7}}\n', ":2: not a recorded turn"),
        (HEADER + '{"reply": []}\n', "`reply` is not an object"),
        (HEADER + '{"reply": {"stop_reason": "bored"}}\n', "reply.stop_reason is not one of end_turn, "),
        (HEADER + '{"reply": {"calls": [{"input": {}}]}}\n', ":2: 'name' is missing"),
        (HEADER + '{"reply": {"calls": [{"name": "bash"}]}}\n', ":2: 'input' is missing"),
        (HEADER + '{"reply": {"calls": [{"name": "bash", "input": "ls"}]}}\n', ":2: not a recorded turn"),
        (HEADER + '{"reply": {"usage": {"tokens": 5}}}\n', "`usage` has no `tokens`"),
        (HEADER + '{"reply": {"usage": {"input_tokens": "5"}}}\n', "reply.usage.input_tokens is not a whole number"),
        (HEADER + '{"reply": {"blocks": ["x"]}}\n', ":2: not a recorded turn"),
        (HEADER + '{"reply": {}, "seen": {"new": [{"prompt": 5}]}}\n', "a part of `seen` is not text"),
        (HEADER + '{"reply": {}, "seen": {"new": [{"results": [7]}]}}\n', "a result of `seen` is not an object"),
        (HEADER + '{"reply": {}, "seen": 7}\n', "`seen` is not an object"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        Replay(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_missing_recording_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read the recording .*No such file"):
        Replay(tmp_path / "none.jsonl")


async def test_a_tool_that_was_never_offered_is_the_models_own_error_and_is_played(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with MessagesServer([Turn(blocks=[tool("fly", {"to": "moon"})])]) as server:
        await Recorder(claude(server), path).turn(request(), Watcher())
    more = (*TOOLS, ToolSpec(name="new", description="A tool of a later version.", input_schema={"type": "object"}))
    later = Conversation(system=SYSTEM, tools=more, messages=(Prompt(text="Fix it."),))
    assert [call.name for call in (await Replay(path).turn(later, Watcher())).calls] == ["fly"]


async def test_a_long_result_is_kept_only_as_far_as_it_shows_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with MessagesServer([SCRIPT[0], SCRIPT[2]]) as server:
        recorder = Recorder(claude(server), path)
        first = await recorder.turn(request(), Watcher())
        huge = ToolResults(results=(with_fields(FIRST, content="y" * 1_000_000),))
        await recorder.turn(request(Prompt(text="Fix it."), first, huge), Watcher())
        await recorder.close()
    assert path.stat().st_size < 20_000
    assert json.loads(path.read_text().splitlines()[2])["seen"]["new"][0]["results"][0]["is_error"] is True

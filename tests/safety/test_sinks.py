"""What leaves the process: events lose their secrets once and whole, errors too, and nothing absurd breaks them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from flue_ci.agent.tools.bash import Bash
from flue_ci.agent.tools.tool import ToolContext
from flue_ci.agent.tools.toolbox import Toolbox
from flue_ci.core.events import CommandEnded, CommandOutput, Notice, ProgressEvent, ToolStarted
from flue_ci.core.messages import ToolCall, ToolResult, Usage
from flue_ci.models.claude.stream import MessageAccumulator
from flue_ci.run.session import MAX_OUTPUT_BYTES, EventRedactor
from flue_ci.safety.redact import Redactor
from tests.support.fork_server import fork_server
from tests.support.scripted import MemorySandbox

SECRET = "hunter2hunter2"
ENDED = CommandEnded(kind="check", name="tests", exit_code=0, timed_out=False, seconds=1.0)


def output(events: list[ProgressEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, CommandOutput))


def cleaned(*events: ProgressEvent) -> list[ProgressEvent]:
    clean = EventRedactor(Redactor([SECRET]))
    return [shown for event in events for shown in clean(event)]


def test_a_secret_is_masked_before_anybody_cuts_the_text() -> None:
    assert cleaned(Notice(text="y" * 395 + SECRET)) == [Notice(text="y" * 395 + "***")]


def test_a_secret_that_comes_in_two_pieces_is_masked() -> None:
    pieces = [CommandOutput(data=data) for data in (b"a hunter2", b"hunter2\nb hunt", b"er2hunter2")]
    shown = cleaned(*pieces, ENDED)
    assert output(shown) == b"a ***\nb ***"
    assert shown[-1] == ENDED


def test_output_without_end_is_cut_and_says_so() -> None:
    line = b"x" * 99 + b"\n"
    pieces = [CommandOutput(data=line * 1_000)] * 30
    shown = cleaned(*pieces, ENDED, CommandOutput(data=b"next\n"))
    assert len(output(shown)) < MAX_OUTPUT_BYTES + 200
    assert b"the rest of the output is not shown" in output(shown)
    assert output(shown).endswith(b"next\n")


def flue(repo: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME")}
    return fork_server().run(arguments, env=kept | {"LC_ALL": "C.UTF-8"} | environ, cwd=repo, timeout=120)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", f"no\x1b[2J{SECRET}", "--sandbox", "local"),
        ("run", "a", "--sandbox", "local", "--set", f"\x1b[2J{SECRET}=1"),
        ("show", f"\x1b[2J{SECRET}"),
        ("init", f"\x1b[2J{SECRET}"),
        (f"\x1b[2J{SECRET}",),
    ],
)
def test_errors_show_neither_secrets_nor_sequences(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = flue(tmp_path, *arguments, MY_TOKEN=SECRET)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert SECRET not in done.stderr
    assert done.stderr.strip()


def test_what_a_repository_says_is_printed_without_sequences_and_whatever_its_names(tmp_path: Path) -> None:
    folder = tmp_path / ".flue" / "agents"
    folder.mkdir(parents=True)
    for name in (b"x\x1b[2J.yml", b"bad\xff.yml"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("version: 1\nprompt: x\nbogus: 1\n")
    for arguments in (["validate"], ["list"], ["doctor", "--offline"]):
        done = flue(tmp_path, *arguments)
        assert done.returncode in (1, 2), done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "bad\\udcff" in done.stdout


DEEP: object = "x"
for _ in range(900):
    DEEP = [DEEP]


def call_of(raw: str) -> ToolCall:
    """A streamed call whose input is `raw`."""
    assembly = MessageAccumulator(lambda _: None)
    block = {"type": "tool_use", "id": "t1", "name": "bash"}
    for event in (
        {"type": "message_start", "message": {"model": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": raw}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ):
        assembly.add(event)
    return assembly.reply(Usage()).calls[0]


async def result_of(call: ToolCall) -> ToolResult:
    context = ToolContext(sandbox=MemorySandbox(), workdir="/w", command_seconds=60)
    (result,), _ = await Toolbox([Bash()], context).run([call], lambda event: None)
    return result


@pytest.mark.parametrize(
    "raw", ['{"command": "true", "timeout": 1e999}', json.dumps({"command": "true", "x": DEEP})], ids=["inf", "deep"]
)
async def test_absurd_arguments_are_told_to_the_model(raw: str) -> None:
    call = call_of(raw)
    assert call.input is None
    result = await result_of(call)
    assert result.is_error
    assert "Send the call again" in result.content


@pytest.mark.parametrize("timeout", [10**400, float("inf")])
async def test_a_timeout_beyond_all_numbers_is_the_longest_that_is_allowed(timeout: float) -> None:
    result = await result_of(ToolCall(id="1", name="bash", input={"command": "true", "timeout": timeout}))
    assert not result.is_error


@pytest.mark.parametrize("timeout", [-(10**400), float("nan"), float("-inf")])
async def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    result = await result_of(ToolCall(id="1", name="bash", input={"command": "true", "timeout": timeout}))
    assert result.is_error
    assert "more than 0" in result.content


def test_nested_arguments_of_a_replay_reach_the_observers() -> None:
    (shown,) = cleaned(ToolStarted(call=ToolCall(id="1", name="bash", input={"x": DEEP})))
    assert "nested too deep" in str(shown)

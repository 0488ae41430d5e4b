"""The Claude model over the real SDK against a server that refuses what the API refuses: requests, replies, caching."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flue_ci.core.errors import ModelError, UsageError
from flue_ci.core.messages import Prompt, Reply, ToolCall, ToolResult, ToolResults, Usage
from flue_ci.models.claude.client import Claude
from tests.support.conversations import Watcher, claude, claude_settings, converse, request, results
from tests.support.messages_server import API_KEY, Fault, MessagesServer, Turn, text, thinking, tool

ROOT = Path(__file__).parents[2]
MODELS = ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5")


def ten_turns() -> list[Turn]:
    working = [
        Turn(blocks=[thinking(f"Step {number}."), text("Looking."), tool("bash", {"command": f"make {number}"})])
        for number in range(9)
    ]
    return [*working, Turn(blocks=[text("All done.")])]


async def one(turn: Turn, watcher: Watcher | None = None, **settings: Any) -> Reply:
    with MessagesServer([turn]) as server:
        model = claude(server, **settings)
        try:
            return await model.turn(request(), watcher or Watcher())
        finally:
            await model.close()


async def test_a_turn_becomes_a_reply_with_text_calls_usage_and_cost() -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 200,
        "cache_read_input_tokens": 5000,
        "cache_creation_input_tokens": 400,
    }
    turn = Turn(blocks=[text("I will look."), tool("bash", {"command": "ls -la"}, id="toolu_1")], usage=usage)
    reply = await one(turn)
    assert reply.text == "I will look."
    assert reply.calls == (ToolCall(id="toolu_1", name="bash", input={"command": "ls -la"}),)
    assert reply.stop_reason == "tool_use"
    assert reply.model == "claude-sonnet-5-5"
    assert dataclasses.replace(reply.usage, cost_usd=None) == Usage(
        turns=1,
        input_tokens=1000,
        output_tokens=200,
        cache_read_tokens=5000,
        cache_write_tokens=400,
        cost_usd=None,
    )
    assert reply.usage.cost_usd == pytest.approx((1000 * 2 + 200 * 10 + 5000 * 0.1 + 400 * 2.5) / 1e6)


async def test_text_and_summarized_thinking_are_shown_while_they_come_and_only_text_is_the_reply() -> None:
    watcher = Watcher()
    reply = await one(Turn(blocks=[thinking("Let me see. " * 9), text("The bug is in line 3.")]), watcher)
    assert watcher.text == "Let me see. " * 9 + "\n\n" + "The bug is in line 3."
    assert len(watcher.events) > 3
    assert reply.text == "The bug is in line 3."


async def test_thinking_goes_back_unchanged_with_its_signature() -> None:
    with MessagesServer(ten_turns()) as server:
        replies = await converse(claude(server), 2)
        message = server.requests[1].json["messages"][1]
    assert message == {"role": "assistant", "content": list(replies[0].blocks)}
    assert message["content"][0]["signature"]


async def test_ten_requests_are_each_a_prefix_of_the_next_byte_for_byte() -> None:
    with MessagesServer(ten_turns()) as server:
        await converse(claude(server), 10)
        bodies = [entry.raw for entry in server.requests]
    assert len(bodies) == 10
    for earlier, later in itertools.pairwise(bodies):
        assert earlier.endswith(b"]}")
        assert later.startswith(earlier[:-2])


async def test_two_runs_of_one_job_send_the_same_bytes() -> None:
    bodies = []
    for _ in range(2):
        with MessagesServer(ten_turns()) as server:
            await converse(claude(server), 3)
            bodies.append([entry.raw for entry in server.requests])
    assert bodies[0] == bodies[1]


async def test_every_turn_reads_from_the_cache_all_that_the_turn_before_has_sent() -> None:
    with MessagesServer(ten_turns()) as server:
        replies = await converse(claude(server), 10)
    for before, after in itertools.pairwise(replies):
        assert after.usage.cache_read_tokens == before.usage.cache_read_tokens + before.usage.cache_write_tokens
        assert after.usage.input_tokens == 0


@pytest.mark.parametrize("calls", [11, 30])
async def test_a_turn_with_many_parallel_calls_does_not_miss_the_cache(calls: int) -> None:
    crowd = Turn(blocks=[tool("bash", {"command": f"echo {number}"}) for number in range(calls)])
    single = Turn(blocks=[tool("bash", {"command": "true"})])
    with MessagesServer([single, crowd, single, crowd, single, single]) as server:
        replies = await converse(claude(server), 6)
        markers = [len(re.findall(rb'"cache_control"', entry.raw)) for entry in server.requests]
    assert len(replies[1].calls) == calls
    assert [call.input for call in replies[1].calls] == [{"command": f"echo {number}"} for number in range(calls)]
    assert max(markers) == 4
    for before, after in itertools.pairwise(replies):
        assert after.usage.cache_read_tokens == before.usage.cache_read_tokens + before.usage.cache_write_tokens


async def test_system_tools_and_the_whole_request_are_cache_breakpoints() -> None:
    with MessagesServer(ten_turns()) as server:
        await converse(claude(server), 1)
        body = server.requests[0].json
    assert body["cache_control"] == body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert ["cache_control" in entry for entry in body["tools"]] == [False, True]
    assert "tool_choice" not in body
    assert len(server.requests[0].raw) < 8000


async def test_one_connection_serves_all_turns() -> None:
    with MessagesServer(ten_turns()) as server:
        model = claude(server)
        await converse(model, 10)
        await model.close()
        assert server.connections == 1


async def test_results_are_one_message_and_errors_and_empty_output_are_told() -> None:
    turn = Turn(blocks=[tool("bash", {"command": "a"}, id="t1"), tool("bash", {"command": "b"}, id="t2")])
    with MessagesServer([turn, Turn(blocks=[text("ok")])]) as server:
        model = claude(server)
        first = await model.turn(request(), Watcher())
        answers = ToolResults(
            results=(
                ToolResult(call_id="t1", content="", note="exit 0"),
                ToolResult(call_id="t2", content="boom", is_error=True),
            )
        )
        await model.turn(request(Prompt(text="Fix it."), first, answers, Prompt(text="Two turns left.")), Watcher())
        messages = server.requests[1].json["messages"]
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "(no output)"},
        {"type": "tool_result", "tool_use_id": "t2", "content": "boom", "is_error": True},
    ]
    assert messages[3] == {"role": "user", "content": [{"type": "text", "text": "Two turns left."}]}


async def test_a_turn_without_content_is_not_sent_back() -> None:
    silent = Turn(blocks=[], stop_reason="end_turn")
    musing = Turn(blocks=[thinking("Hm.")])
    blank = Turn(blocks=[text("  \n")])
    with MessagesServer([silent, musing, blank, Turn(blocks=[text("ok")])]) as server:
        replies = await converse(claude(server), 4)
        roles = [message["role"] for message in server.requests[3].json["messages"]]
    assert [reply.calls for reply in replies[:3]] == [(), (), ()]
    assert replies[3].text == "ok"
    assert roles == ["user"] * 4


async def test_text_that_is_only_whitespace_is_refused_by_the_api_and_therefore_replaced() -> None:
    with MessagesServer([Turn(blocks=[text("ok")])]) as server:
        reply = await claude(server).turn(request(Prompt(text=" \n ")), Watcher())
    assert reply.text == "ok"


async def test_half_characters_from_either_side_do_not_break_the_conversation() -> None:
    lone = Turn(blocks=[tool("bash", raw='{"command": "echo \\ud800 \\ud83d\\ude00"}', id="t1")])
    with MessagesServer([lone, Turn(blocks=[text("ok")])]) as server:
        model = claude(server)
        first = await model.turn(request(), Watcher())
        answers = results(first, "bad \udcff byte")
        await model.turn(request(Prompt(text="Fix it."), first, answers), Watcher())
        content = server.requests[1].json["messages"][2]["content"][0]["content"]
    assert first.calls[0].input == {"command": "echo \ufffd 😀"}
    assert content == "bad \ufffd byte"


async def test_a_call_without_arguments_has_an_empty_input() -> None:
    reply = await one(Turn(blocks=[tool("read", {}, id="t1")]))
    assert reply.calls == (ToolCall(id="t1", name="read", input={}),)


async def test_a_megabyte_of_tool_input_arrives_whole() -> None:
    content = "line\n" * 200_000
    reply = await one(Turn(blocks=[tool("bash", {"command": content})]))
    assert reply.calls[0].input == {"command": content}


@pytest.mark.parametrize("raw", ['{"command": "ls', '{"command": NaN}', '["ls"]', "{}}", "[" * 100_000])
async def test_broken_json_in_a_call_is_a_call_without_input_and_can_be_sent_back(raw: str) -> None:
    cut_off = Turn(blocks=[tool("bash", raw=raw, id="t1")])
    with MessagesServer([cut_off, Turn(blocks=[text("ok")])]) as server:
        replies = await converse(claude(server), 2)
        message = server.requests[1].json["messages"][1]["content"][0]
    assert replies[0].calls == (ToolCall(id="t1", name="bash", input=None, raw=raw),)
    assert message == {"type": "tool_use", "id": "t1", "name": "bash", "input": {"INVALID_JSON": raw}}
    assert replies[1].text == "ok"


@pytest.mark.parametrize("torn", ['{"command": "rm -rf ', ""])
async def test_a_call_torn_by_the_output_limit_is_left_out_and_the_complete_one_before_it_stays(torn: str) -> None:
    blocks = [text("Both."), tool("bash", {"command": "ls"}, id="t1"), tool("bash", raw=torn, id="t2")]
    with MessagesServer([Turn(blocks=blocks, stop_reason="max_tokens"), Turn(blocks=[text("ok")])]) as server:
        replies = await converse(claude(server), 2)
    assert replies[0].stop_reason == "max_tokens"
    assert [call.id for call in replies[0].calls] == ["t1"]
    assert [block.get("id") for block in replies[0].blocks] == [None, "t1"]


async def test_a_call_that_was_complete_when_the_output_limit_came_is_kept() -> None:
    turn = Turn(blocks=[tool("bash", {"command": "ls"}, id="t1")], stop_reason="max_tokens")
    assert [call.id for call in (await one(turn)).calls] == ["t1"]


async def test_a_lone_torn_call_leaves_a_conversation_that_can_go_on() -> None:
    torn = Turn(blocks=[thinking("Hm."), tool("bash", raw='{"comm')], stop_reason="max_tokens")
    with MessagesServer([torn, Turn(blocks=[text("ok")])]) as server:
        replies = await converse(claude(server), 2)
    assert replies[0].calls == ()
    assert replies[1].text == "ok"


@pytest.mark.parametrize(
    ("vendor", "ours", "detail"),
    [
        ("end_turn", "end_turn", "end_turn"),
        ("max_tokens", "max_tokens", "max_tokens"),
        ("pause_turn", "pause_turn", "pause_turn"),
        ("model_context_window_exceeded", "context_exceeded", "model_context_window_exceeded"),
        ("stop_sequence", "other", "stop_sequence"),
        ("a_reason_of_2027", "other", "a_reason_of_2027"),
    ],
)
async def test_stop_reasons_are_translated_and_unknown_ones_are_stated(vendor: str, ours: str, detail: str) -> None:
    reply = await one(Turn(blocks=[text("Well.")], stop_reason=vendor))
    assert (reply.stop_reason, reply.stop_detail) == (ours, detail)


async def test_a_refusal_is_a_reply_with_its_explanation() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "This could enable malware."}
    reply = await one(Turn(stop_reason="refusal", stop_details=details))
    assert reply.stop_reason == "refusal"
    assert reply.stop_detail == "refusal: This could enable malware."


async def test_cancelling_in_the_middle_of_a_stream_closes_the_connection() -> None:
    turn = Turn(blocks=[text("words " * 50)])
    with MessagesServer([turn], faults={1: Fault(kind="silence", after=4)}) as server:
        watcher = Watcher()
        task = asyncio.create_task(claude(server).turn(request(), watcher))
        async with asyncio.timeout(20):
            while not watcher.events:
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.client_left.wait, 10)


async def test_cancelling_before_the_response_closes_the_connection() -> None:
    with MessagesServer([Turn()], faults={1: Fault(kind="silence", after=-1)}) as server:
        task = asyncio.create_task(claude(server).turn(request(), Watcher()))
        async with asyncio.timeout(20):
            while not server.requests:
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.client_left.wait, 10)


@pytest.mark.parametrize(
    ("settings", "thinking_sent", "effort_sent"),
    [
        ({}, {"type": "adaptive", "display": "summarized"}, None),
        ({"effort": "max"}, {"type": "adaptive", "display": "summarized"}, {"effort": "max"}),
        ({"thinking": "omitted"}, {"type": "adaptive", "display": "omitted"}, None),
        ({"thinking": "between_tools", "effort": "low"}, {"type": "between_tools"}, {"effort": "low"}),
        ({"model": "claude-haiku-5-5", "thinking": "none"}, {"type": "disabled"}, None),
        ({"model": "claude-haiku-4-5"}, None, None),
        ({"model": "house-model"}, None, None),
    ],
)
async def test_thinking_and_effort_follow_the_model_and_the_spec(
    settings: dict[str, Any], thinking_sent: object, effort_sent: object
) -> None:
    with MessagesServer([Turn(blocks=[text("ok")])], models=["house-model", *MODELS]) as server:
        await claude(server, **settings).turn(request(), Watcher())
        body = server.requests[0].json
    assert body.get("thinking") == thinking_sent
    assert body.get("output_config") == effort_sent


@pytest.mark.parametrize(
    "settings",
    [
        {"thinking": "none"},
        {"thinking": "between_tools", "effort": "xhigh"},
        {"thinking": "between_tools", "model": "claude-opus-5-5"},
        {"thinking": "none", "model": "claude-fable-5-1"},
        {"thinking": "none", "effort": "max", "model": "claude-haiku-5-5"},
        {"effort": "low", "model": "claude-haiku-4-5-20251001"},
        {"thinking": "summarized", "model": "claude-sonnet-4-5"},
        {"base_url": "api.example.com"},
        {"base_url": "ftp://api.example.com"},
        {"api_key": "sk-ant-\nX-Evil: 1"},
        {"api_key": "schlüssel"},
    ],
)
def test_settings_that_the_api_would_refuse_are_refused_before_anything_is_sent(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        Claude(claude_settings(**settings))
    assert len(str(error.value)) > 20
    assert "sk-ant" not in str(error.value)


async def test_a_key_with_the_newline_of_its_file_works() -> None:
    assert (await one(Turn(blocks=[text("ok")]), api_key=API_KEY + "\n")).text == "ok"


async def test_an_unlisted_model_has_an_unknown_cost_unless_prices_are_given() -> None:
    with MessagesServer([Turn(blocks=[text("ok")])] * 2, models=["house-model"]) as server:
        reply = await claude(server, model="house-model").turn(request(), Watcher())
    assert reply.usage.cost_usd is None
    assert reply.usage.turns == 1


@pytest.mark.parametrize("usage", [{"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 0, "output_tokens": 9}])
async def test_the_cost_of_a_gateway_that_reports_no_usage_is_unknown(usage: dict[str, int]) -> None:
    assert (await one(Turn(blocks=[text("ok")], usage=usage))).usage.cost_usd is None


async def test_check_says_whether_key_and_model_are_good_without_spending_a_token() -> None:
    with MessagesServer([]) as server:
        await claude(server).check()
        with pytest.raises(ModelError, match="refused the key"):
            await claude(server, api_key="sk-ant-wrong").check()
        with pytest.raises(ModelError, match="does not know claude-sonet-5-5") as error:
            await claude(server, model="claude-sonet-5-5").check()
        assert error.value.hint == "Did you mean claude-sonnet-5-5?"
        assert server.requests == []
    with pytest.raises(ModelError, match="The model's API cannot be reached"):
        await claude(server).check()


def test_settings_do_not_print_the_key() -> None:
    assert "sk-ant" not in repr(claude_settings())


def test_importing_the_model_does_not_import_the_sdk() -> None:
    code = "import sys, flue_ci.models.claude, flue_ci.models.replay; print('anthropic' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert process.stdout.strip() == "False"


def test_the_server_runs_by_itself_from_a_script_file(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"turns": [{"blocks": [text("ok")], "usage": {"output_tokens": 5}}]}))
    command = [sys.executable, "-m", "tests.support.messages_server", "--script", str(script), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            settings = claude_settings(api_key="any", base_url=url)
            for _ in range(2):  # by history: a second run gets the same first turn
                assert asyncio.run(Claude(settings).turn(request(), Watcher())).text == "ok"
        finally:
            process.terminate()

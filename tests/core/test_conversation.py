"""A conversation written as JSON is read back equal, and nothing else is read as one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.conversation import conversation_from_json, conversation_to_json
from flue_ci.core.errors import UsageError
from flue_ci.core.messages import Conversation, Prompt, Reply, ToolCall, ToolResult, ToolResults, ToolSpec, Usage

SPEC = ToolSpec(name="bash", description="Run.", input_schema={"type": "object", "properties": {"b": {}, "a": {}}})
REPLY = Reply(
    text="I look.",
    calls=(
        ToolCall(id="t1", name="bash", input={"z": 1, "a": [1.5, None, True]}),
        ToolCall(id="t2", name="bash", input=None, raw='{"comm'),
    ),
    stop_reason="tool_use",
    stop_detail="tool_use",
    usage=Usage(turns=1, input_tokens=5, cost_usd=None),
    blocks=({"type": "thinking", "thinking": "", "signature": "x=="}, {"type": "vendor", "deep": [{"k": []}]}),
    model="m",
)
RESULTS = ToolResults(
    results=(
        ToolResult(call_id="t1", content="half \udcff character", seconds=0.25, note="exit 0"),
        ToolResult(call_id="t2", content="", is_error=True),
    )
)
WHOLE = Conversation(system="s\n", tools=(SPEC,), messages=(Prompt(text="do"), REPLY, RESULTS, Prompt(text="more")))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), json_values, max_size=3)
calls = st.builds(ToolCall, id=st.text(), name=st.text(), input=st.none() | objects, raw=st.text())
counts = st.integers(min_value=0)
usages = st.builds(Usage, turns=counts, input_tokens=counts, cost_usd=st.none() | st.floats(0, 100))
replies = st.builds(
    Reply,
    text=st.text(),
    calls=st.lists(calls, max_size=2).map(tuple),
    stop_reason=st.sampled_from(["end_turn", "tool_use", "other"]),
    usage=usages,
    blocks=st.lists(objects, max_size=2).map(tuple),
)
results = st.builds(ToolResult, call_id=st.text(), content=st.text(), is_error=st.booleans(), seconds=st.floats(0, 9))
messages = st.one_of(
    st.builds(Prompt, text=st.text()),
    replies,
    st.builds(ToolResults, results=st.lists(results, max_size=2).map(tuple)),
)


def test_every_kind_of_message_comes_back_equal_and_with_its_keys_in_order() -> None:
    again = conversation_from_json(conversation_to_json(WHOLE))
    assert again == WHOLE
    assert conversation_to_json(again) == conversation_to_json(WHOLE)
    assert isinstance(again.messages[1], Reply)
    assert list(again.messages[1].calls[0].input or {}) == ["z", "a"]


@given(system=st.text(), entries=st.lists(messages, max_size=4))
def test_any_conversation_comes_back_equal(system: str, entries: list[Any]) -> None:
    conversation = Conversation(system=system, tools=(SPEC,), messages=tuple(entries))
    assert conversation_from_json(conversation_to_json(conversation)) == conversation


def broken(*path: str | int, value: object = ..., drop: bool = False) -> str:
    """The text of `WHOLE` with another value at `path`, or without it."""
    data = json.loads(conversation_to_json(WHOLE))
    inner = data
    for part in path[:-1]:
        inner = inner[part]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(data)


REPLY_AT = ("messages", 1, "reply")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", "its keys are not"),
        ('{"flue_ci_recording": 1}', "its keys are not"),
        ("[" * 100_000, "not a conversation"),
        (broken("flue_ci_conversation", value=2), "its version is 2"),
        (broken("more", value=1), "its keys are not"),
        (broken("system", value=None), "system is not text"),
        (broken("tools", value={}), "tools is not a list"),
        (broken("tools", 0, "name", drop=True), r"tools\[0\] does not have exactly the keys name, description"),
        (broken("messages", 0, value={"prompt": {"text": "a"}, "reply": {}}), r"messages\[0\] is not an object with"),
        (broken("messages", 0, value={"note": {}}), r"messages\[0\] is not an object with one key of prompt"),
        (broken("messages", 0, "prompt", "text", value=7), r"messages\[0\].prompt.text is not text"),
        (broken(*REPLY_AT, "stop_reason", value="bored"), "stop_reason is not one of end_turn"),
        (broken(*REPLY_AT, "usage", "turns", value=True), "usage.turns is not a whole number"),
        (broken(*REPLY_AT, "usage", "cost_usd", value="1"), "cost_usd is not a number or null"),
        (broken(*REPLY_AT, "calls", 0, "input", value="ls"), r"calls\[0\].input is not an object or null"),
        (broken(*REPLY_AT, "blocks", 0, value="x"), r"blocks\[0\] is not an object"),
        (broken("messages", 2, "results", "results", 0, "is_error", value=1), "is_error is not true or false"),
    ],
)
def test_a_text_that_is_no_conversation_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        conversation_from_json(text)

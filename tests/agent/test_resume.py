"""A conversation that was saved is gone on with in another process, with the bytes of the first."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from flue_ci.agent.loop import AgentLoop
from flue_ci.core.conversation import conversation_from_json, conversation_to_json
from flue_ci.core.events import ConversationEnded, ProgressEvent
from flue_ci.core.messages import Conversation
from flue_ci.core.ports import Limits, Task
from flue_ci.spec.result_schema import violations
from tests.support.conversations import claude
from tests.support.messages_server import API_KEY, MessagesServer, Turn, text, thinking, tool
from tests.support.scripted import MemorySandbox

ROOT = Path(__file__).parents[2]
TASK = Task(
    system="You repair what is broken.\n" * 20,
    prompt="Fix it. ½ → “quoted”",
    workdir="/home/user/repo",
    tools=("bash", "read", "write", "edit", "grep", "glob"),
    limits=Limits(minutes=None),
)
WORK = (
    Turn(blocks=[thinking("Hm."), text("I run it."), tool("bash", {"command": "make", "timeout": 5.0}, id="t1")]),
    Turn(blocks=[tool("bash", raw='{"command": "ec', id="t2"), tool("read", {"path": "nowhere"}, id="t3")]),
    Turn(blocks=[thinking("So."), text("Fixed line 3. ½")]),
)
GO_ON = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from flue_ci.agent.loop import AgentLoop
from flue_ci.core.conversation import conversation_from_json
from flue_ci.core.ports import ModelOptions
from flue_ci.models.registry import MODELS
from flue_ci.settings import Settings
from tests.agent.test_resume import TASK
from tests.support.scripted import MemorySandbox

path, url, key = sys.argv[1:]
conversation = conversation_from_json(Path(path).read_text())
options = ModelOptions(name="claude-sonnet-5-5", base_url=url)
model = MODELS.load("anthropic").from_options(options, Settings(anthropic_api_key=key))
task = replace(TASK, system=conversation.system, history=conversation.messages, prompt="And the tests?")
outcome = asyncio.run(AgentLoop(model, violations=lambda *_: []).run(task, MemorySandbox(), lambda event: None))
print(outcome.summary)
"""


async def converse(server: MessagesServer, task: Task = TASK) -> Conversation:
    events: list[ProgressEvent] = []
    await AgentLoop(claude(server), violations=violations).run(task, MemorySandbox(), events.append)
    (conversation,) = [event.conversation for event in events if isinstance(event, ConversationEnded)]
    return conversation


def go_on(path: Path, *turns: Turn) -> tuple[str, bytes]:
    """Goes on in a new process. What the agent said last, and the bytes of the first request."""
    with MessagesServer(turns) as server:
        process = subprocess.run(
            [sys.executable, "-c", GO_ON, str(path), server.url, API_KEY],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return process.stdout.strip(), server.requests[0].raw


async def test_a_second_process_sends_the_bytes_of_the_first_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "conversation.json"
    with MessagesServer(WORK) as server:
        conversation = await converse(server)
        last = server.requests[-1].raw
    path.write_text(conversation_to_json(conversation))
    assert conversation_from_json(path.read_text()) == conversation
    summary, first = go_on(path, Turn(blocks=[text("The tests, too.")]))
    assert summary == "The tests, too."
    assert len(last) > 3_000
    assert last.endswith(b"]}")
    assert first.startswith(last[:-2] + b",")
    assert "Fixed line 3. ½".encode() in first[len(last) :]


async def test_a_run_that_ended_at_a_limit_goes_on_with_the_bytes_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "conversation.json"
    with MessagesServer(WORK) as server:
        conversation = await converse(server, replace(TASK, limits=Limits(turns=1, minutes=None)))
        last = server.requests[-1].raw
    path.write_text(conversation_to_json(conversation))
    summary, first = go_on(path, Turn(blocks=[text("Done.")]))
    assert summary == "Done."
    assert first.startswith(last[:-2] + b",")

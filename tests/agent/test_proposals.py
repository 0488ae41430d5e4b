"""What an agent proposes for publication: the tools that it has for it, and the values that reach the report."""

from __future__ import annotations

from dataclasses import replace

from flue_ci.agent.loop import AgentLoop
from flue_ci.core.events import ProgressEvent, ProposalMade
from flue_ci.core.proposals import ChangeDescription, ProposalRules
from flue_ci.spec.result_schema import violations
from tests.agent.test_loop import TASK
from tests.support.scripted import MemorySandbox, ScriptedModel, call, reply


async def proposals(model: ScriptedModel, rules: ProposalRules) -> list[ProposalMade]:
    events: list[ProgressEvent] = []
    await AgentLoop(model, violations=violations).run(replace(TASK, rules=rules), MemorySandbox(), events.append)
    return [event for event in events if isinstance(event, ProposalMade)]


async def test_an_agent_without_permission_to_push_has_no_tool_for_it() -> None:
    model = ScriptedModel(reply("", call("describe_change", title="Greet")), reply("done"))
    assert await proposals(model, ProposalRules()) == []
    assert "describe_change" not in {tool.name for tool in model.requests[0].tools}


async def test_the_description_of_a_change_is_observed() -> None:
    model = ScriptedModel(
        reply("", call("describe_change", title="  Greet\nall ", body="Because.\n")),
        reply("", call("describe_change", "b", title=" \n")),
        reply("done"),
    )
    found = await proposals(model, ProposalRules(change=True))
    assert [event.proposal for event in found] == [ChangeDescription(title="Greet all", body="Because.")]

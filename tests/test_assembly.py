"""What an engine needs beyond the spec becomes part of the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flue_ci.agent.system_prompt import PromptParts, build_task
from flue_ci.assembly import add_requirements, secret_notes
from flue_ci.core.ports import EngineRequirements, Limits, Network, SandboxRequest
from flue_ci.run.commands import HostCommand
from flue_ci.run.plan import RunPlan

OPEN, NONE = Network(mode="open"), Network(mode="none")
NEEDS = EngineRequirements(hosts=("api.example.com",), env={"MODE": "ci"}, setup=("install engine",))


def plan(agent_network: Network, *setup: str) -> RunPlan:
    request = SandboxRequest(env={"A": "1"}, metadata={}, network=agent_network, agent_network=agent_network)
    return RunPlan(
        agent="a",
        instruction="",
        model="m",
        spec="a.yml",
        prompt=PromptParts(instructions="", prompt="", network=agent_network, tools=(), limits=Limits()),
        request=request,
        setup=tuple(HostCommand(kind="setup", name=each, run=each, timeout=1.0) for each in setup),
    )


def test_the_model_is_told_what_of_the_repository_is_missing() -> None:
    parts = replace(plan(NONE).prompt, notes=("submodule x is an empty directory inside: no address",))
    assert (
        "Of the repository:\n- submodule x is an empty directory inside: no address\n"
        in build_task(parts, "/r").system + "\n"
    )


def test_an_engine_without_needs_changes_nothing() -> None:
    before = plan(NONE, "true")
    assert add_requirements(before, EngineRequirements(), OPEN) is before


@pytest.mark.parametrize(
    ("network", "hosts"),
    [(NONE, ("api.example.com",)), (Network(mode="hosts", hosts=("a.test",)), ("a.test", "api.example.com"))],
)
def test_hosts_are_added_to_the_agents_network_only(network: Network, hosts: tuple[str, ...]) -> None:
    after = add_requirements(plan(network, "true"), NEEDS, OPEN)
    assert after.request.agent_network == Network(mode="hosts", hosts=hosts)
    assert after.prompt.network == after.request.agent_network, "the agent learns what it can reach"
    assert after.request.network == network


def test_an_open_network_stays_open() -> None:
    assert add_requirements(plan(OPEN), NEEDS, OPEN).request.agent_network == OPEN


def test_environment_and_setup_are_added_and_the_engine_is_set_up_first() -> None:
    after = add_requirements(plan(NONE, "make deps"), NEEDS, OPEN)
    assert after.request.env == {"A": "1", "MODE": "ci"}
    assert [command.run for command in after.setup] == ["install engine", "make deps"]


def test_setup_of_the_engine_alone_has_the_network_of_setup() -> None:
    after = add_requirements(plan(NONE), NEEDS, OPEN)
    assert (after.request.network, str(after.request.agent_network)) == (OPEN, "api.example.com")


def test_without_setup_the_agents_network_holds_from_the_start() -> None:
    after = add_requirements(plan(NONE), EngineRequirements(hosts=("api.example.com",)), OPEN)
    assert after.request.network == after.request.agent_network == Network(mode="hosts", hosts=("api.example.com",))


def test_secrets_that_are_too_short_to_be_masked_are_named() -> None:
    (note,) = secret_notes({"PIN": "12345", "PADDED": " abc \n  ", "DEPLOY_TOKEN": "hunter2hunter2"})
    assert "PIN, PADDED" in note
    assert not any(word in note for word in ("DEPLOY_TOKEN", "12345", "abc"))
    assert secret_notes({"DEPLOY_TOKEN": "hunter2hunter2"}) == ()

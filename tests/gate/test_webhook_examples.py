"""GitHub's own example payloads are read: every version of the server that they are of, every event that we support."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from flue_ci.gate import policy as gate
from flue_ci.gate.event import AFTER_CHECKS, AGENT_EVENTS, COMMENTS, parse_event
from flue_ci.spec.load import load_spec

ROOT = Path(__file__).parents[2]
PACKAGE = "@octokit/webhooks-examples@7.6.1"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """(event, payload) of all servers, from the npm package that Octokit makes of GitHub's documentation."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here, so GitHub's example payloads cannot be fetched")
    folder = tmp_path_factory.mktemp("examples")
    command = [npm, "pack", "--silent", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot fetch GitHub's example payloads: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on; what is packed comes by hash
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)
    return [
        (entry["name"], payload)
        for path in sorted(Path(folder).glob("package/*/index.json"))
        for entry in json.loads(path.read_text())
        for payload in entry["examples"]
    ]


def test_every_example_is_read_and_decided(examples: list[tuple[str, dict[str, Any]]]) -> None:
    seen: set[str] = set()
    for name, payload in examples:
        event = parse_event(name, payload, {"GITHUB_REPOSITORY": "", "GITHUB_REPOSITORY_ID": ""})
        decision = gate.decide(event, gate.GateSettings())
        if name not in AGENT_EVENTS:
            assert isinstance(decision, gate.Skip)
            continue
        seen.add(name)
        assert event.repo == payload["repository"]["full_name"]
        assert event.repo_id == payload["repository"]["id"]
        assert event.default_branch
        assert event.actor == payload["sender"]["login"]
        if name in COMMENTS or name in ("pull_request", "issues"):
            thing = payload.get("pull_request") or payload["issue"]
            assert event.number == thing["number"]
            assert event.url
        if name in COMMENTS:
            said = payload.get("comment") or payload["review"]
            assert event.author == said["user"]["login"]
            assert event.text == (said["body"] or "")
            assert event.asked_at
        if name == "pull_request":
            assert event.head_sha == payload["pull_request"]["head"]["sha"]
            assert event.is_pull_request
        if name in AFTER_CHECKS:
            assert event.checked_sha == payload[name]["head_sha"]
    assert {*COMMENTS, *AFTER_CHECKS, "pull_request", "issues", "push", "release", "workflow_dispatch"} <= seen


def agents_in(folder: Path) -> list[gate.AgentTriggers]:
    specs = [load_spec(path) for path in sorted(folder.glob("*.yml"))]
    return [
        gate.AgentTriggers(
            name=each.name, **{key: getattr(each.triggers, key) for key in ("comment", "labels", "events")}
        )
        for each in specs
    ]


def occasions(path: Path) -> list[tuple[str, str]]:
    """(event, action) of a workflow; "" for an event without actions."""
    events = yaml.safe_load(path.read_text(encoding="utf-8"))[True]  # YAML 1.1 takes `on` for a boolean
    return [(name, action) for name, value in events.items() for action in as_types(value) or [""]]


def as_types(value: object) -> list[str]:
    return list(value.get("types", [])) if isinstance(value, dict) else []


def labels_of(path: Path, agents: list[gate.AgentTriggers]) -> list[str]:
    """The labels that a workflow's `if` lets through, of those that specs name."""
    text = path.read_text(encoding="utf-8")
    exact = re.findall(r"github\.event\.label\.name == '([^']+)'", text)
    starts = tuple(re.findall(r"startsWith\(github\.event\.label\.name, '([^']+)'\)", text))
    return exact + [label for agent in agents for label in agent.labels if starts and label.startswith(starts)]


@pytest.mark.parametrize("agents_folder", ["examples/agents", ".flue/agents"])
def test_every_agent_is_started_by_every_workflow_that_names_it(
    examples: list[tuple[str, dict[str, Any]]], agents_folder: str
) -> None:
    """By a request that names it, by a label of its spec, or because the workflow says `agent:`."""
    agents = agents_in(ROOT / agents_folder)
    workflows = sorted((ROOT / "examples" / "workflows").glob("*.yml"))
    if agents_folder == ".flue/agents":
        workflows = [ROOT / ".github" / "workflows" / "flue.yml"]
    started: set[tuple[str, str]] = set()
    for path in workflows:
        (chosen,) = set(re.findall(r"^ +agent: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)) or {""}
        for name, action in occasions(path):
            if (name, action) == ("issue_comment", "edited"):
                continue  # a tick of our box starts no agent
            expected = [agent for agent in agents if chosen in ("", agent.name)]
            if action == "labeled":
                expected = [agent for agent in expected if set(agent.labels) & set(labels_of(path, agents))]
            assert expected, f"{path.name}: nothing listens to {name}.{action}"
            for agent in expected:
                assert start(examples, name, action, agent, agents, chosen) == agent.name, (path.name, name, action)
                started.add((agent.name, path.stem))
    assert {agent for agent, _ in started} == {agent.name for agent in agents}
    if agents_folder == "examples/agents":
        assert {("review", "forks"), ("review", "review"), ("triage", "triage"), ("docs", "nightly")} <= started


def start(
    examples: list[tuple[str, dict[str, Any]]],
    name: str,
    action: str,
    agent: gate.AgentTriggers,
    agents: list[gate.AgentTriggers],
    chosen: str,
) -> str:
    """The agent that GitHub's example of the event starts, with the request or the label that the agent listens to."""
    payload: dict[str, Any] = {"sender": {"login": "mona", "type": "User"}}  # GitHub has no example of `schedule`
    if name != "schedule":
        kind = name.removesuffix("_target")  # the same payload under another name
        fitting = [each for event, each in examples if event == kind and action in ("", each.get("action"))]
        fitting.sort(key=lambda each: each["sender"].get("type") != "User")
        payload = json.loads(json.dumps(fitting[0]))
    if name in COMMENTS:
        text = payload["review" if name == "pull_request_review" else "comment"]
        text |= {"body": f"/flue {agent.comment} please", "user": payload["sender"]}
    if action == "labeled":
        payload["label"] = {"name": agent.labels[0]}
    event = parse_event(name, payload, {})
    decision = gate.decide(event, gate.GateSettings(agent=chosen))
    assert isinstance(decision, gate.Allow), (name, action, decision)
    choice = gate.choose_agent(event, decision.command, agents, workflow_agent=chosen)
    assert isinstance(choice, gate.SelectedAgent), (name, action, agent.name, choice)
    return choice.agent.name

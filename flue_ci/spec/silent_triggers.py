"""Which triggers of the specs start nothing, because no workflow that uses flue-ci listens to their event, or several
agents would start. Judges files of one commit; what is not certain, such as a reusable workflow, counts as listening.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flue_ci.core.errors import Diagnostic, SpecError
from flue_ci.gate.event import EVENTS
from flue_ci.git.path_rules import is_inside_repository
from flue_ci.spec.load import find_specs, load_valid_specs
from flue_ci.spec.problems import Problems
from flue_ci.spec.schema import AgentSpec
from flue_ci.spec.yaml_document import MAX_BYTES, KeyPath, parse

# The types that GitHub means where a workflow names none, of the events where that is not all of them. Source: GitHub's
# page on events that trigger workflows, 2026-11.
_DEFAULT_TYPES = dict.fromkeys(("pull_request", "pull_request_target"), ("opened", "synchronize", "reopened"))
_COMMENTS = ("issue_comment.created", "pull_request_review_comment.created", "pull_request_review.submitted")
_LABEL_EVENTS = ("pull_request.labeled", "pull_request_target.labeled", "issues.labeled")
_WORKFLOWS = Path(".github/workflows")
_USES = re.compile(r"(?:\S*flue-ci\S*@|\./)")
_ANY = "*"  # of agents: what the workflow says is an expression


@dataclass(frozen=True, slots=True)
class _Workflow:
    """`events` are signatures such as `pull_request.opened`; `agents` are the names in `agent:` of its steps, "" for a
    step that leaves the choice to the specs."""

    file: str
    events: frozenset[str]
    agents: frozenset[str]


def silent_triggers_of(repo: Path, paths: Collection[Path]) -> list[Diagnostic]:
    """`find_silent_triggers` for those specs of a checkout that stand in `paths`, by the workflows beside them."""
    workflows = {
        file.name: file.read_bytes()
        for file in sorted((repo / _WORKFLOWS).glob("*.y*ml"))
        if is_inside_repository(repo, file) and file.stat().st_size <= MAX_BYTES
    }
    specs, own = load_valid_specs(find_specs(repo)), {path.resolve() for path in paths}
    own_files = {spec.document.file for path, spec in specs.items() if path.resolve() in own}
    return [each for each in find_silent_triggers([*specs.values()], workflows) if each.file in own_files]


def find_silent_triggers(specs: Sequence[AgentSpec], workflows: Mapping[str, bytes]) -> list[Diagnostic]:
    """A note for each trigger that starts nothing; an error for a spec of which no trigger starts anything. None where
    no workflow uses flue-ci, or one cannot be judged. `workflows` are files by name."""
    listening = []
    for file, text in workflows.items():
        try:
            workflow = _read(file, parse(text, file).data)
        except (SpecError, _NotCertain):
            return []
        if workflow.agents:
            listening.append(workflow)
    if not listening:
        return []
    return [problem for spec in specs for problem in _judge(spec, specs, listening)]


_TICK = "issue_comment.edited"  # of the box of `publish.when: ask`


class _NotCertain(Exception):
    """Events come to a workflow by another one."""


def _read(file: str, data: Mapping[str, object]) -> _Workflow:
    on, jobs, agents = data.get("on"), data.get("jobs"), set[str]()
    if isinstance(on, str | list):
        on = dict.fromkeys([on] if isinstance(on, str) else map(str, on))
    events = {signature for name, how in _items(on) for signature in _signatures(name, how)}
    for _, job in _items(jobs):
        for step in _list(dict(_items(job)).get("steps")):
            values, inputs = dict(_items(step)), dict(_items(dict(_items(step)).get("with")))
            uses = str(values.get("uses", ""))
            if not _USES.match(uses) or ("flue-ci" not in uses and "anthropic-api-key" not in inputs):
                continue
            agent = str(inputs.get("agent") or "")
            agents.add(_ANY if "${{" in agent else agent)
    if agents and "workflow_call" in events:
        raise _NotCertain
    return _Workflow(file, frozenset(events), frozenset(agents))


def _signatures(name: str, how: object) -> Iterable[str]:
    types = dict(_items(how)).get("types")
    if isinstance(types, str):
        types = [types]
    names = [str(each) for each in _list(types)] or _DEFAULT_TYPES.get(name) or EVENTS.get(name) or ()
    if name in ("issue_comment", "pull_request_review_comment") and not names:
        names = ["created"]
    return [f"{name}.{each}" for each in names] or [name]


def _items(value: object) -> Iterable[tuple[str, object]]:
    return [(str(key), each) for key, each in value.items()] if isinstance(value, dict) else []


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _judge(spec: AgentSpec, specs: Sequence[AgentSpec], workflows: Sequence[_Workflow]) -> list[Diagnostic]:
    problems, works = Problems(spec.document), 0
    for path, events in _triggers(spec):
        rivals = []
        if path[1] != "comment":
            rivals = [each.name for each in specs if each is not spec and _shares(each, spec, path, events)]
        trouble = _trouble(spec.name, events, rivals, workflows)
        if trouble:
            problems.add(path, *trouble)
        else:
            works += 1
    if spec.publish.when == "ask" and not any(_TICK in each.events for each in workflows):
        message = f"the box does nothing: {', '.join(each.file for each in workflows)} does not listen to {_TICK}"
        problems.add(("publish", "when"), message, "in its `on:`: issue_comment: {types: [created, edited]}")
    if works:
        return [replace(problem, severity="note") for problem in problems.in_file_order()]
    return [*problems.in_file_order()]


def _triggers(spec: AgentSpec) -> list[tuple[KeyPath, tuple[str, ...]]]:
    """The place of each trigger, with the events of which one is enough."""
    triggers = spec.triggers
    items: list[tuple[KeyPath, tuple[str, ...]]] = []
    if triggers.comment:
        items.append((("triggers", "comment"), _COMMENTS))
    items += [(("triggers", "labels", index), _LABEL_EVENTS) for index in range(len(triggers.labels))]
    items += [(("triggers", "events", index), (event,)) for index, event in enumerate(triggers.events)]
    return items


def _shares(other: AgentSpec, spec: AgentSpec, path: KeyPath, events: tuple[str, ...]) -> bool:
    if path[1] == "labels" and isinstance(path[2], int):
        return spec.triggers.labels[path[2]] in other.triggers.labels
    return events[0] in other.triggers.events


def _trouble(
    name: str, events: tuple[str, ...], rivals: list[str], workflows: Sequence[_Workflow]
) -> tuple[str, str] | None:
    """Why none of the events starts the agent, and what to do."""
    agents = {agent for each in workflows if each.events & set(events) for agent in each.agents}
    if agents & {name, _ANY} or ("" in agents and not rivals):
        return None
    if "" in agents:
        message = f"starts nothing, because {', '.join(rivals)} would start too"
        return message, f"set `agent: {name}` in a workflow of its own, one agent a job"
    event, _, kind = events[0].partition(".")
    files = ", ".join(each.file for each in workflows)
    if agents:
        return f"starts nothing: the workflows for it run {', '.join(sorted(agents))} only", "see `agent:` there"
    entry = {"schedule": 'schedule: [{cron: "17 3 * * 1-5"}]'}.get(event, f"{event}: {{types: [{kind}]}}")
    entry = entry.removesuffix(": {types: []}")
    return f"starts nothing: {files} does not listen to {events[0]}", f"add to `on:` of a workflow: {entry}"

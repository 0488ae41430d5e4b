"""Writes what `flue-ci init` starts with: a spec and the schema that editors check it by, and with `--github` the
workflow that answers comments, and that of an agent which starts by other events.

The texts are files of the package, in `starter_files`.
"""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path

from flue_ci.core.errors import UsageError
from flue_ci.core.permissions import READS, TICK, permission_lines, permissions_of, writes_contents
from flue_ci.core.text import AGENT_NAME, one_line
from flue_ci.spec.json_schema import config_schema, json_schema

SCHEMA = Path(".flue/schema.json")
WORKFLOWS = Path(".github/workflows")
KINDS = ("docs", "explain", "fix-tests", "review", "triage")  # agents that are ready to use
_EVENT_KINDS = ("docs", "review", "triage")  # of them, those that events start
_TASKS = {  # of agents whose task is what they are asked
    "explain": "Where are the settings read?",
    "triage": "It crashes when the file is empty.",
}
_PERMISSIONS = re.compile(r"^    permissions:\n(?:      .*\n)+", re.MULTILINE)  # of a job
_REQUEST = "contains(github.event.comment.body || github.event.review.body, '/flue')"
_NO_TICK = "github.event.action != 'edited'"
_BOX = "contains(github.event.changes.body.from, '<!-- flue-ci push')"
_TICK_LINES = {  # what is otherwise in a workflow that also answers ticks
    "issue_comment: {types: [created]}": "issue_comment: {types: [created, edited]}",
    "on the runner\n": "here\n",
    f"    {_REQUEST} && github.actor || github.run_id": (
        f"    ({_BOX} && github.event.comment.id) ||\n"
        f"    ({_NO_TICK} && {_REQUEST} && github.actor) ||\n    github.run_id"
    ),
    f"if: ${{{{ {_REQUEST} }}}}": f"if: ${{{{ {_NO_TICK} && {_REQUEST} }}}}",
}
_TASK = "Correct the spelling in README.md."


def starter_spec(name: str) -> str:
    """The text of a spec for the agent `name`: one of `KINDS`, or an agent that does what it is asked. Raises
    `UsageError` for what cannot be a name, or is nearly one of `KINDS`."""
    if not re.fullmatch(AGENT_NAME, name):
        message = f"{one_line(name, 60)!r} is not a name for an agent"
        raise UsageError(message, hint="lower-case letters, digits and -, such as fix-tests")
    if name in KINDS:
        return _read(f"agents/{name}.yml")
    if near := difflib.get_close_matches(name, KINDS, n=1, cutoff=0.85):
        message = f"there is no ready agent {name}; there are: {', '.join(KINDS)}"
        raise UsageError(message, hint=f"flue-ci init {near[0]}, or another name for an agent of your own")
    return _read("agent.yml").replace("{name}", name)


def starter_workflow(publishers: Collection[str] = ("comment",), waiting: Collection[str] = ()) -> str:
    """The text of the workflow for agents that publish so, with the least permissions for that. Where one writes code,
    it has two jobs: no job has both the model's key and the right to write code. `waiting` are the publishers that wait
    for a tick, which one more job answers. It answers comments only, and so has no permission for repairing CI."""
    budget = {"budget"} & set(publishers)
    publishers = set(publishers) - {"repair", "budget"}
    reads = {name: level for name, level in READS.items() if name != "checks"}  # those are for the agent
    tick = [TICK] if waiting else []
    if writes_contents(publishers):
        jobs = [permissions_of(["comment", *budget]), permissions_of([*publishers, "comment", *tick], reads)]
        text = _read("workflow-two-jobs.yml")
    else:
        jobs = [permissions_of({*publishers, *budget, "comment"})]
        text = _read("workflow.yml")
    if waiting:
        jobs.append(permissions_of([*waiting, "comment", *tick], reads))
        text = _with_tick(text)
    return _with_permissions(text, *jobs)


def _with_tick(workflow: str) -> str:
    """A workflow that also answers the tick of a box, in a job that has no keys and runs no agent."""
    for old, new in _TICK_LINES.items():
        assert old in workflow
        workflow = workflow.replace(old, new, 1)
    return f"{workflow}\n{_read('tick-job.yml')}"


def _with_permissions(workflow: str, *jobs: Mapping[str, str]) -> str:
    """A workflow with these permissions of its jobs, in their order."""
    blocks = iter(jobs)

    def block(_: re.Match[str]) -> str:
        lines = [f"      {line}\n" for line in permission_lines(next(blocks))]
        return "".join(["    permissions:\n", *lines])

    return _PERMISSIONS.sub(block, workflow)


def find_starter(repo: Path, name: str) -> Path | None:
    """The spec of that name that is there already."""
    folder = repo / ".flue" / "agents"
    for path in (folder / f"{name}.yml", folder / f"{name}.yaml"):
        if path.exists() or path.is_symlink():
            return path
    return None


def write_starter(repo: Path, name: str) -> Path:
    """Write a new `.flue/agents/NAME.yml` and return its path; beside the folder the schema that its first line names,
    where there is none yet. Raises `UsageError`, also when there is a spec of that name already."""
    text = starter_spec(name)
    if path := find_starter(repo, name):
        raise UsageError(f"{path} exists already", hint="choose another name: flue-ci init NAME")
    path = _write_new(repo / ".flue" / "agents" / f"{name}.yml", text)
    _write_missing(repo / SCHEMA, schema_text())
    return path


def trial_command(name: str) -> str:
    """The command that shows what a new agent would do."""
    if name in KINDS and name not in _TASKS:
        return f"flue-ci run {name} --dry-run"
    return f'flue-ci run {name} "{_TASKS.get(name, _TASK)}" --dry-run'


def schema_text(*, of_config: bool = False) -> str:
    """The text of `.flue/schema.json`, or the schema of `.flue/config.yml`."""
    return json.dumps(config_schema() if of_config else json_schema(), indent=2) + "\n"


def write_workflow(
    repo: Path, publishers: Collection[str] = ("comment",), waiting: Collection[str] = ()
) -> Path | None:
    """Write `.github/workflows/flue.yml` for agents that publish so, and return its path; None when there is one
    already, which stays as it is. Raises `UsageError` where it cannot be written."""
    return _write_missing(repo / WORKFLOWS / "flue.yml", starter_workflow(publishers, waiting))


def write_event_workflow(repo: Path, name: str) -> Path | None:
    """Write `.github/workflows/flue-NAME.yml`, which starts the ready agent `name` by the events of its spec, and
    return its path. None when the agent has no events, and for a file that is there already. Raises `UsageError`."""
    if name not in _EVENT_KINDS:
        return None
    return _write_missing(repo / WORKFLOWS / f"flue-{name}.yml", _read(f"workflow-{name}.yml"))


def _write_missing(path: Path, text: str) -> Path | None:
    if path.exists() or path.is_symlink():
        return None
    return _write_new(path, text)


def _write_new(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _read(name: str) -> str:
    return (files("flue_ci.spec") / "starter_files" / name).read_text(encoding="utf-8")

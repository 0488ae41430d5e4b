"""`flue-ci init`: writes an agent's spec and its workflows, and says what comes next."""

from pathlib import Path

from flue_ci.commands.publishers import REPAIR_WORKFLOW, local_publishers
from flue_ci.core.text import printable
from flue_ci.spec.load import display_path
from flue_ci.spec.starter import (
    WORKFLOWS,
    find_starter,
    trial_command,
    write_event_workflow,
    write_starter,
    write_workflow,
)
from flue_ci.terminal.screen import Line


def write_files(root: Path, name: str, *, github: bool) -> list[Line]:
    """Write the spec of the agent `name`, and with `github` its workflows, into the checkout `root`. Returns what was
    done as lines for a terminal. What is there already stays as it is; only without `github` there is then nothing to
    do. Raises `UsageError`."""
    verb, path = "Kept", find_starter(root, name)
    if path is None or not github:
        verb, path = "Wrote", write_starter(root, name)
    lines = [Line(f"{verb} {_display(path)}. Try it: ", copy=trial_command(name))]
    if github:
        lines += _write_workflows(root, name)
    return lines


def _write_workflows(root: Path, name: str) -> list[Line]:
    publishers, waiting = local_publishers(root)
    workflow = write_workflow(root, publishers, waiting)
    lines = []
    if workflow is None:
        text = f"Kept {_display(root / WORKFLOWS / 'flue.yml')}. What it lacks for {name} is said by: "
        lines.append(Line(text, copy="flue-ci validate"))
    else:
        lines.append(Line(f"Wrote {_display(workflow)}, which answers comments."))
    if by_events := write_event_workflow(root, name):
        lines.append(Line(f"Wrote {_display(by_events)}, which starts {name} by the events of its spec."))
    advice = (
        "Add the secrets ANTHROPIC_API_KEY and E2B_API_KEY to the repository, merge the files, see with "
        f"`flue-ci doctor --github` that nothing is missing, then comment on {_subject(name)}: "
    )
    lines.append(Line(advice, copy=f"/flue {name}"))
    if "repair" in publishers:
        lines.append(Line(f"CI is repaired by a workflow of its own, to copy: {REPAIR_WORKFLOW}"))
    return lines


def _subject(name: str) -> str:
    if name == "triage":
        return "an issue"
    return "a pull request"


def _display(path: Path) -> str:
    return printable(display_path(path))

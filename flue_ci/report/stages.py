"""The stages of a run in their order, as people read them: while one is running, and as a step in a checklist. And what
an agent does in its own, call by call."""

from flue_ci.core.messages import ToolCall
from flue_ci.core.text import one_line

_STAGES = {
    "prepare": ("Start the sandbox, fetch the commit", "Starting the sandbox and reading the repository"),
    "upload": ("Copy the repository in", "Copying the repository in"),
    "setup": ("Set up", "Setting up"),
    "agent": ("Let the agent work", "Agent at work"),
    "collect": ("Collect the changes", "Collecting the changes"),
    "verify": ("Put the changes into a clean sandbox", "Putting the changes into a clean sandbox"),
    "checks": ("Run the checks", "Checking"),
}
STEPS = {stage: step for stage, (step, _) in _STAGES.items()}


def describe_activity(stage: str) -> str:
    """What happens in that stage: `Copying the repository in`."""
    return _STAGES.get(stage, ("", stage))[1]


def describe_call(call: ToolCall, limit: int) -> str:
    """A tool call in one line: `bash pytest -q`. `limit` bounds the part after the name, in characters."""
    return f"{one_line(call.name, 40)} {_subject(call, limit)}"


def _subject(call: ToolCall, limit: int) -> str:
    arguments = call.input or {}
    for key in ("command", "path", "pattern", "reason", "summary"):
        if isinstance(text := arguments.get(key), str):
            if key == "pattern" and isinstance(arguments.get("path"), str):
                text += f" in {arguments['path']}"
            return one_line(text, limit)
    return ""

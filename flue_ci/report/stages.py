"""The stages of a run in their order, as people read them: while one is running, and as a step in a checklist."""

from __future__ import annotations

STEPS = {
    "prepare": "Start the sandbox, fetch the commit",
    "upload": "Copy the repository in",
    "setup": "Set up",
    "agent": "Let the agent work",
    "collect": "Collect the changes",
    "checks": "Run the checks",
}
_ACTIVITIES = {
    "prepare": "Starting the sandbox and reading the repository",
    "upload": "Copying the repository in",
    "setup": "Setting up",
    "agent": "Agent at work",
    "collect": "Collecting the changes",
    "checks": "Checking",
}


def describe_activity(stage: str) -> str:
    """What happens in that stage: `Copying the repository in`."""
    return _ACTIVITIES.get(stage, stage)

"""The stages of a run in their order, as people read them: while one is running, and as a step in a checklist."""

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

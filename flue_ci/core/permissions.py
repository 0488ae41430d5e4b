"""What each way of publishing needs on GitHub, and repairing CI: the one table of the least `permissions:` of a job.

`init --github` writes them, `doctor --github` and `--dry-run` compare with them, and a refusal names what is missing.
Source: https://docs.github.com/rest/authentication/permissions-required-for-github-apps
"""

from collections.abc import Iterable, Mapping

_LEVELS = ("none", "read", "write")
TICK = "tick"  # no publisher: the job that pushes fetches the saved change of a box (`publish.when: ask`)
# What a job reads before it publishes anything: in a private repository each of them has to be given.
READS = {"contents": "read", "checks": "read", "issues": "read", "pull-requests": "read"}
PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    "comment": {"issues": "write", "pull-requests": "write"},
    "commit": {"contents": "write"},
    "pull-request": {"contents": "write", "pull-requests": "write"},
    "suggest": {"pull-requests": "write"},
    "review": {"pull-requests": "write"},
    "labels": {"issues": "write", "pull-requests": "write"},
    "triage": {"issues": "write"},
    "check-run": {"checks": "write"},
    TICK: {"actions": "read"},
    "reply": {"issues": "write", "pull-requests": "write"},
    "repair": {"actions": "write"},
    "budget": {"checks": "write"},
}
_REASONS = {
    ("actions", "write"): "the failed jobs run again, and their logs",
    ("contents", "read"): "the commit that was asked about, and the specs",
    ("contents", "write"): "the commit, and its branch",
    ("checks", "read"): "what fails, so that the agent knows",
    ("checks", "write"): "what fails, and check runs, also those that keep the budget",
    ("issues", "read"): "the discussion",
    ("issues", "write"): "comments on issues, and reactions",
    ("actions", "read"): "the saved report, an artifact of the run that made it",
    ("pull-requests", "read"): "what the pull request is about",
    ("pull-requests", "write"): "comments on pull requests",
}


def permissions_of(publishers: Iterable[str], reads: Mapping[str, str] = READS) -> dict[str, str]:
    """The least permissions of a job with these publishers: `{"contents": "read", …}`, in the order of `reads`. A
    publisher that another package brings adds nothing: its own documentation says what it needs."""
    result = dict(reads)
    for publisher in publishers:
        for name, level in PERMISSIONS.get(publisher, {}).items():
            result[name] = max(result.get(name, "none"), level, key=_LEVELS.index)
    return result


def permission_lines(permissions: Mapping[str, str]) -> list[str]:
    """As they stand in a workflow below `permissions:`, each with its reason as a comment."""
    return [f"{name}: {level} # {_REASONS[name, level]}" for name, level in permissions.items()]


def writes_contents(publishers: Iterable[str]) -> bool:
    """Whether one of them needs the right to write code, which the agent's own job should not have."""
    return permissions_of(publishers)["contents"] == "write"


def missing_permissions(publisher: str, present: Mapping[str, str] | None = None) -> str:
    """What a job with the permissions `present` lacks for that publisher, as lines to copy into its workflow; "" for
    nothing. `present` None: nothing is known."""
    needs = PERMISSIONS.get(publisher, {})
    lacking = [
        f"  {name}: {level}"
        for name, level in needs.items()
        if _LEVELS.index((present or {}).get(name, "none")) < _LEVELS.index(level)
    ]
    return "\n".join(["permissions:", *lacking]) if lacking else ""

"""Which of GitHub's events start an agent, with their actions: the one table of `flue-ci validate` and of the gate.

Standard library only, Python 3.9. Source: GitHub's page on events that trigger workflows, 2026-11.
"""

from __future__ import annotations

_OF_PULL_REQUESTS = (
    *("opened", "edited", "closed", "reopened", "synchronize", "ready_for_review", "converted_to_draft", "labeled"),
    *("unlabeled", "assigned", "unassigned", "review_requested", "review_request_removed", "locked", "unlocked"),
    *("milestoned", "demilestoned", "enqueued", "dequeued", "auto_merge_enabled", "auto_merge_disabled"),
)
_OF_ISSUES = (
    *("opened", "edited", "pinned", "unpinned", "closed", "reopened", "assigned", "unassigned", "labeled"),
    *("unlabeled", "locked", "unlocked", "milestoned", "demilestoned", "typed", "untyped"),
)
# What `triggers.events` of a spec may name: each event with its actions, () for one that has none.
EVENTS: dict[str, tuple[str, ...]] = {
    "pull_request": _OF_PULL_REQUESTS,
    "pull_request_target": _OF_PULL_REQUESTS,
    "pull_request_review": ("submitted", "edited", "dismissed"),
    "issues": _OF_ISSUES,
    "release": ("published", "unpublished", "created", "edited", "deleted", "prereleased", "released"),
    "check_run": ("created", "rerequested", "completed", "requested_action"),
    "check_suite": ("completed",),
    "workflow_run": ("completed", "requested", "in_progress"),
    "merge_group": ("checks_requested",),
    "push": (),
    "schedule": (),
    "workflow_dispatch": (),
    "repository_dispatch": (),
}
# Events that bring a text, which may ask for an agent. A review can do both: ask, or start an agent as an event.
COMMENTS = ("issue_comment", "pull_request_review_comment", "pull_request_review")
AGENT_EVENTS = tuple(dict.fromkeys((*COMMENTS, *EVENTS)))
# Events without a person whose role could be asked for.
AUTOMATIC = ("schedule", "push", "merge_group")
# Events about the commit that GITHUB_SHA names: of a release, the commit of its tag.
WITH_COMMIT = ("push", "schedule", "workflow_dispatch", "merge_group", "release")
# Events about a commit that something else ran on; it may be the head of a pull request.
AFTER_CHECKS = ("workflow_run", "check_run", "check_suite")


def event_names() -> tuple[str, ...]:
    """The events as specs write them: `pull_request.opened`, `schedule`."""
    return tuple(
        f"{name}.{action}" if action else name for name, actions in EVENTS.items() for action in actions or ("",)
    )

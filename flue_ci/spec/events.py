"""The events of GitHub that can start an agent, each with its actions."""

from __future__ import annotations

from flue_ci.core.text import closest_match, one_line

# As of 2026-11, from GitHub's page on events that trigger workflows: those that an agent can work on.
EVENTS: dict[str, tuple[str, ...]] = {
    "pull_request": (
        "opened",
        "edited",
        "closed",
        "reopened",
        "synchronize",
        "ready_for_review",
        "converted_to_draft",
        "labeled",
        "unlabeled",
        "assigned",
        "unassigned",
        "review_requested",
        "review_request_removed",
        "locked",
        "unlocked",
        "milestoned",
        "demilestoned",
    ),
    "issues": (
        "opened",
        "edited",
        "deleted",
        "transferred",
        "pinned",
        "unpinned",
        "closed",
        "reopened",
        "assigned",
        "unassigned",
        "labeled",
        "unlabeled",
        "locked",
        "unlocked",
        "milestoned",
        "demilestoned",
    ),
    "pull_request_review": ("submitted", "edited", "dismissed"),
    "discussion": ("created", "edited", "labeled", "answered", "category_changed"),
    "release": ("published", "unpublished", "created", "edited", "deleted", "prereleased", "released"),
    "check_run": ("created", "rerequested", "completed", "requested_action"),
    "check_suite": ("completed",),
    "workflow_run": ("completed", "requested", "in_progress"),
    "merge_group": ("checks_requested",),
    "milestone": ("created", "closed", "opened", "edited", "deleted"),
    "push": (),
    "schedule": (),
    "workflow_dispatch": (),
    "repository_dispatch": (),
}
EVENTS["pull_request_target"] = EVENTS["pull_request"]
_COMMENT_EVENTS = ("issue_comment", "pull_request_review_comment", "discussion_comment", "commit_comment")

# How they are written in a spec.
NAMES = tuple(f"{name}.{action}" if action else name for name, actions in EVENTS.items() for action in actions or ("",))


def event_flaw(event: str) -> tuple[str, str] | None:
    """What is wrong with an event as a spec names it, and what to do; None when nothing is."""
    name, dot, action = event.partition(".")
    shown = one_line(event, 60)
    if name in _COMMENT_EVENTS:
        return "comments are no event here", "`triggers.comment` names the command that starts the agent"
    if name not in EVENTS:
        return f"`{shown}` is not a known event", _meant(event, (*EVENTS, *NAMES)) or f"known: {', '.join(EVENTS)}"
    if not dot and not EVENTS[name]:
        return None
    if not dot:
        return f"`{name}` needs an action", f"such as {name}.{EVENTS[name][0]}"
    if not EVENTS[name]:
        return f"`{name}` has no actions", f"write {name}"
    if action not in EVENTS[name]:
        return f"`{name}` has no action `{one_line(action, 40)}`", _meant(
            action, EVENTS[name]
        ) or f"known: {', '.join(EVENTS[name])}"
    return None


def _meant(word: str, known: tuple[str, ...]) -> str:
    near = closest_match(word, known)
    return f"did you mean `{near}`?" if near else ""

"""Checks an event as a spec names it: `pull_request.opened`, `schedule`. The table of events is `gate.event`."""

from __future__ import annotations

from flue_ci.core.errors import Diagnostic
from flue_ci.core.text import did_you_mean, one_line
from flue_ci.gate.event import EVENTS, event_names

_COMMENT_EVENTS = ("issue_comment", "pull_request_review_comment", "discussion_comment", "commit_comment")
# Events of GitHub that a workflow can start on but an agent cannot work on: why, and what to use instead.
_UNUSABLE = {
    "discussion": ("discussions can be neither read nor answered", "use an event of issues, such as issues.opened"),
    "milestone": ("it is about no issue and no commit", "use issues.milestoned or issues.demilestoned"),
    "issues.deleted": ("the issue is gone by then", "use issues.closed"),
    "issues.transferred": ("the issue is in another repository by then", "use issues.opened there"),
}


def event_flaw(event: str) -> Diagnostic | None:
    """What is wrong with an event as a spec names it; None when nothing is."""
    name, dot, action = event.partition(".")
    if name in _COMMENT_EVENTS:
        hint = "`triggers.comment` names the command that starts the agent"
        return Diagnostic(message="comments are no event here", hint=hint)
    for unusable in (event, name):
        if unusable in _UNUSABLE:
            reason, hint = _UNUSABLE[unusable]
            return Diagnostic(message=f"`{unusable}` starts no agent: {reason}", hint=hint)
    if name not in EVENTS:
        hint = did_you_mean(event, (*EVENTS, *event_names()), f"known: {', '.join(EVENTS)}")
        return Diagnostic(message=f"`{one_line(event, 60)}` is not a known event", hint=hint)
    actions = EVENTS[name]
    if actions and not dot:
        return Diagnostic(message=f"`{name}` needs an action", hint=f"such as {name}.{actions[0]}")
    if dot and not actions:
        return Diagnostic(message=f"`{name}` has no actions", hint=f"write {name}")
    if actions and action not in actions:
        hint = did_you_mean(action, actions, f"known: {', '.join(actions)}")
        return Diagnostic(message=f"`{name}` has no action `{one_line(action, 40)}`", hint=hint)
    return None

"""The gate as the action's first step: decides with the runner's own python3, before anything is installed.

A comment that is not for us costs no request and no download; one that is gets its 👀 at once. Standard library only,
Python 3.9. What it cannot know without the specs, such as unusual roles, it leaves to `request`.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flue_ci.core.text import one_line
from flue_ci.gate.event import Event, parse_event
from flue_ci.gate.policy import DEFAULT_ROLES, Allow, decide, read_gate_settings
from flue_ci.gate.workflow_commands import workflow_command, write_output

_SECONDS = 10.0
_LONGEST_WAIT = 5.0
_LARGEST = 2_000_000
_MOST_SPECS = 20


class GitHubApi:
    """GitHub's REST API, as far as the gate needs it. A redirect is not followed: the token would go with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._base = environ.get("GITHUB_API_URL") or "https://api.github.com"
        self._repo = environ.get("GITHUB_REPOSITORY", "")
        self._token = environ.get("FLUE_CI_GITHUB_TOKEN") or environ.get("GITHUB_TOKEN", "")

    def role(self, login: str) -> str:
        """The exact role in this repository. Raises `OSError` or `ValueError` for whatever is no clear answer."""
        found = self._ask("GET", f"/collaborators/{urllib.parse.quote(login, safe='')}/permission")
        role = found.get("role_name") or found.get("permission")
        if not isinstance(role, str):
            raise ValueError("an answer without a role")
        return role

    def some_spec_says(self, word: str) -> bool:
        """Whether the word occurs in an agent spec of the default branch. Raises like `role`."""
        files = self._ask("GET", "/contents/.flue/agents")
        names = [file["path"] for file in files if isinstance(file, dict) and str(file.get("path")).endswith("ml")]
        for name in names[:_MOST_SPECS]:
            content = self._ask("GET", f"/contents/{urllib.parse.quote(name)}").get("content")
            if word.encode() in base64.b64decode(str(content)):
                return True
        return len(names) > _MOST_SPECS

    def react(self, event: Event, content: str) -> None:
        """On the comment; on the pull request for a review, which takes none."""
        if event.comment_id:
            kind = "pulls" if event.comment_kind == "review" else "issues"
            self._ask("POST", f"/{kind}/comments/{event.comment_id}/reactions", {"content": content})
        elif event.number:
            self._ask("POST", f"/issues/{event.number}/reactions", {"content": content})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "flue-ci",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        request = urllib.request.Request(  # noqa: S310 (the scheme is the runner's own)
            f"{self._base}/repos/{self._repo}{path}", data=data, headers=headers, method=method
        )
        for last in (False, True):
            try:
                with _OPENER.open(request, timeout=_SECONDS) as answer:
                    return json.loads(answer.read(_LARGEST) or b"{}")
            except urllib.error.HTTPError as error:
                wait = error.headers.get("Retry-After") or ("1" if error.code >= 500 else "")
                if last or not wait.isdigit() or int(wait) > _LONGEST_WAIT:
                    raise
                time.sleep(int(wait))
        raise AssertionError("unreachable")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def main() -> None:
    """The step. Says at most one line, always leaves the outputs, and ends with 0 but for a bug of ours."""
    try:
        answer = decide_outputs(os.environ)
        for name, value in answer.items() if os.environ.get("GITHUB_OUTPUT") else ():
            write_output(os.environ["GITHUB_OUTPUT"], name, value)
    except Exception as bug:  # noqa: BLE001 (the boundary: a step that ends with a traceback helps nobody)
        print(workflow_command("error", f"the gate failed: {type(bug).__name__}: {bug}", title="flue-ci"), flush=True)
        sys.exit(3)
    if answer["proceed"] != "true":
        print(workflow_command("notice", answer["reason"], title="flue-ci"), flush=True)


def decide_outputs(environ: Mapping[str, str]) -> dict[str, str]:
    """The outputs of the step: `proceed conclusion reason run-token reacted`."""
    event, settings = _event(environ), read_gate_settings(environ)
    decision = decide(event, settings)
    if not isinstance(decision, Allow):
        return _outputs(decision.reason)
    if not event.is_comment:
        return _outputs("")
    api = GitHubApi(environ)
    refusal, sure = _refusal(event, api)
    reacted = _react(api, event, "confused" if refusal else "eyes") if refusal or sure else False
    return _outputs(refusal, reacted=reacted and not refusal)


def _event(environ: Mapping[str, str]) -> Event:
    try:
        payload = json.loads(Path(environ.get("GITHUB_EVENT_PATH", "")).read_bytes())
    except (OSError, ValueError, RecursionError):
        payload = None
    return parse_event(environ.get("GITHUB_EVENT_NAME", ""), payload, environ)


def _refusal(event: Event, api: GitHubApi) -> tuple[str, bool]:
    """Why this person may not ask ("" for none), and whether that is sure already. No clear answer means no.

    Bots and unusual roles are decided with the specs; but when no spec mentions roles, the usual ones hold, and a
    stranger's comment costs no installation.
    """
    who = one_line(event.actor, 60)
    if event.actor_kind not in ("User", ""):
        return "", False
    try:
        role = api.role(event.actor)
        if role in DEFAULT_ROLES:
            return "", True
        if role != "none" and api.some_spec_says("roles"):
            return "", False
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"the role of {who} could not be found out ({one_line(str(error), 200)}), so nothing is started", True
    return f"{who} has the role {one_line(role, 40)} here; agents take {', '.join(DEFAULT_ROLES)}", True


def _react(api: GitHubApi, event: Event, content: str) -> bool:
    """A courtesy: without it everything goes on."""
    try:
        api.react(event, content)
    except (OSError, ValueError):
        return False
    return True


def _outputs(reason: str, *, reacted: bool = False) -> dict[str, str]:
    skipped = bool(reason)
    return {
        "proceed": "false" if skipped else "true",
        "conclusion": "skipped" if skipped else "",
        "reason": one_line(reason, 1_000),
        "run-token": secrets.token_hex(16),
        "reacted": "true" if reacted else "false",
    }

"""The gate as the action's first step: decides with the runner's own python3, before anything is installed.

A comment that is not for us costs no request and no download; one that is gets its 👀 at once. Standard library only,
Python 3.9: so it has a REST client and a retry of its own, not `forges.github` and `core.retry`. What it cannot know
without the specs, such as unusual roles, it leaves to `action.authorize`.
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

from flue_ci.core.network_variables import client_variables, lasting_fault, route
from flue_ci.core.text import one_line
from flue_ci.gate import policy
from flue_ci.gate.comment_command import CommentCommand
from flue_ci.gate.event import COMMENTS, Event, parse_event, run_page
from flue_ci.gate.workflow_commands import append_summary, workflow_command, write_output

FORK_REFUSAL = (
    "GitHub gives comments on lines and reviews of a fork's pull request no secrets, and a token that only reads: this "
    "can neither be served nor answered there. Ask in a plain comment in the conversation of the pull request"
)
_DEFAULT_URL = "https://api.github.com"
_TIMEOUT_SECONDS = 10.0
_MAX_WAIT_SECONDS = 5.0
_MAX_RESPONSE_BYTES = 2_000_000
_MAX_SPECS = 20


class GitHubApi:
    """GitHub's REST API, as far as the gate needs it. A redirect is not followed: the token would go with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._base = environ.get("GITHUB_API_URL") or _DEFAULT_URL
        self._graphql_url = environ.get("GITHUB_GRAPHQL_URL") or f"{self._base}/graphql"
        self._repo = environ.get("GITHUB_REPOSITORY", "")
        self._token = environ.get("FLUE_CI_GITHUB_TOKEN") or environ.get("GITHUB_TOKEN", "")
        self._opener = urllib.request.build_opener(_NoRedirect)  # which looks at the variables of proxies now

    def role(self, login: str) -> str:
        """The exact role in this repository. Raises `OSError` or `ValueError` when there is no clear answer."""
        answer = self._request("GET", f"/collaborators/{urllib.parse.quote(login, safe='')}/permission")
        role = answer.get("role_name") or answer.get("permission")
        if not isinstance(role, str):
            raise ValueError("an answer without a role")
        return role

    def has_written(self, event: Event) -> bool:
        """Whether the comment of the event is by the account of our token. Raises like `role`.

        As `forges.github.client` finds it out: a job's token learns it from GraphQL, and has the name of all of them
        where that is closed to it.
        """
        if not self._token.startswith("ghs_"):
            return bool(self._send("GET", f"{self._base}/user").get("id") == event.author_id)
        query = {"query": "query{viewer{login databaseId}}"}
        try:
            viewer = self._send("POST", self._graphql_url, query)["data"]["viewer"]
        except urllib.error.HTTPError as error:
            if error.code not in (403, 404):
                raise
            viewer = {"login": "github-actions[bot]"}
        if viewer.get("databaseId"):
            return bool(viewer["databaseId"] == event.author_id)
        return bool(viewer["login"] == event.author)

    def some_spec_contains(self, word: str) -> bool:
        """Whether the word occurs, in any case, in an agent spec of the default branch. Raises like `role`.

        The specs are searched as text: there is no YAML reader in the standard library. A match in a comment, or more
        specs than are read, only means that the decision is left to the step that can read them.
        """
        files = self._request("GET", "/contents/.flue/agents")
        paths = [file["path"] for file in files if isinstance(file, dict) and str(file.get("path")).endswith("ml")]
        for path in paths[:_MAX_SPECS]:
            content = self._request("GET", f"/contents/{urllib.parse.quote(path)}").get("content")
            if word.lower().encode() in base64.b64decode(str(content)).lower():
                return True
        return len(paths) > _MAX_SPECS

    def react(self, event: Event, content: str) -> None:
        """Reacts to the comment; to the pull request for a review, which takes no reactions."""
        if event.comment_id:
            kind = {"review": "pulls"}.get(event.comment_kind, "issues")
            self._request("POST", f"/{kind}/comments/{event.comment_id}/reactions", {"content": content})
        elif event.number:
            self._request("POST", f"/issues/{event.number}/reactions", {"content": content})

    def answer(self, event: Event, body: str) -> None:
        """A comment below the one that asked, in its thread when it stands in one. Raises like `role`."""
        if event.thread:
            self._request("POST", f"/pulls/{event.number}/comments/{event.thread}/replies", {"body": body})
        elif event.number:
            self._request("POST", f"/issues/{event.number}/comments", {"body": body})

    def _request(self, method: str, path: str, body: object = None) -> Any:
        return self._send(method, f"{self._base}/repos/{self._repo}{path}", body)

    def _send(self, method: str, url: str, body: object = None, *, is_last: bool = False) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "flue-ci",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 (the runner's)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return json.loads(response.read(_MAX_RESPONSE_BYTES) or b"{}")
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After", "1" if error.code >= 500 else "")
            if is_last or not wait.isdigit() or int(wait) > _MAX_WAIT_SECONDS:
                raise
        time.sleep(int(wait))
        return self._send(method, url, body, is_last=True)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_ISSUES = "https://github.com/flue-ci/flue-ci/issues"
_NO_ANSWER = (OSError, ValueError, TypeError, KeyError, AttributeError)  # no connection, or another shape of JSON


def main() -> None:
    """The step. Prints at most one line, always leaves the outputs, and ends with 0 except for a bug of ours."""
    os.environ.update(client_variables(os.environ))
    try:
        outputs = decide_outputs(os.environ)
        if os.environ.get("GITHUB_OUTPUT"):
            for name, value in outputs.items():
                write_output(os.environ["GITHUB_OUTPUT"], name, value)
    except Exception as bug:  # noqa: BLE001 (the boundary: a step that ends with a traceback helps nobody)
        text = f"the gate failed: {type(bug).__name__}: {bug}\n→ run the job again; else report it: {_ISSUES}"
        print(workflow_command("error", text, title="flue-ci"), flush=True)
        sys.exit(3)
    if outputs["proceed"] != "true":
        is_request = outputs["reason"] == FORK_REFUSAL
        print(workflow_command("warning" if is_request else "notice", outputs["reason"], title="flue-ci"), flush=True)
        if is_request and os.environ.get("GITHUB_STEP_SUMMARY"):
            append_summary(os.environ["GITHUB_STEP_SUMMARY"], f"### ❌ Nothing was started\n\n{FORK_REFUSAL}.")


def report_failure() -> None:
    """The step after an installation that failed: an answer to the comment that got its 👀. The installation has left
    the reason in a file."""
    os.environ.update(client_variables(os.environ))
    event, api = _read_event(os.environ), GitHubApi(os.environ)
    try:
        file = Path(os.environ.get("RUNNER_TEMP", "")) / "flue-ci-install-failure"
        reason = one_line(file.read_text(encoding="utf-8", errors="replace"), 500)
    except OSError:
        reason = "the job was ended before it was installed; ask again"
    if os.environ.get("FLUE_CI_PUBLISH", "comment").strip() == "none":
        return
    link = ""
    if url := run_page(os.environ):
        link = f" · [log of the job]({url})"
    text = f"{policy.MARKER} help -->\n### ❌ flue-ci could not be installed{link}\n\n`{reason.replace('`', '')}`"
    try:
        api.answer(event, text)
    except _NO_ANSWER as error:
        print(f"this cannot be said in a comment: {_describe(error)}", flush=True)


def decide_outputs(environ: Mapping[str, str]) -> dict[str, str]:
    """The outputs of the step: `proceed conclusion reason run-token reacted`; without a token no agent is started."""
    event, settings = _read_event(environ), policy.read_gate_settings(environ)
    decision, api = policy.decide(event, settings), GitHubApi(environ)
    if isinstance(decision, policy.Skip):
        decision = _decide_for_bot(event, settings, decision, api)
    if not isinstance(decision, policy.Allow):
        return _outputs(decision.reason)
    if decision.tick is not None:
        return _decide_tick(event, api)
    if decision.command is not None:
        return _decide_request(event, api, decision.command)
    return _outputs(_review_refusal(api) if event.name in COMMENTS else "")


def _read_event(environ: Mapping[str, str]) -> Event:
    try:
        payload = json.loads(Path(environ.get("GITHUB_EVENT_PATH", "")).read_bytes())
    except (OSError, ValueError, RecursionError):
        payload = None
    return parse_event(environ.get("GITHUB_EVENT_NAME", ""), payload, environ)


def _decide_for_bot(event: Event, settings: policy.GateSettings, skip: policy.Skip, api: GitHubApi) -> policy.Decision:
    """A bot that the workflow does not name can ask when a spec of the default branch names it. `skip` is the decision
    without the specs, and stays for everybody else."""
    decision = policy.decide(event, settings.with_bot(event.actor))
    if not isinstance(decision, policy.Allow):
        return skip
    try:
        if api.some_spec_contains(event.actor):
            return decision
    except _NO_ANSWER as error:
        return policy.Skip(f"{skip.reason}; the agents could not be read: {_describe(error)}")
    return policy.Skip(f"{skip.reason}, and no agent names it in `triggers.bots`")


def _decide_request(event: Event, api: GitHubApi, command: CommentCommand) -> dict[str, str]:
    """A request that may turn out to be none, such as one in code, gets its 👀 when the whole text was read."""
    refusal, is_certain = _role_refusal(event, api)
    if not refusal and not (is_certain and (command.is_certain or event.from_fork)):
        return _outputs("")
    has_reacted = _react(api, event, "confused" if refusal else "eyes")
    if not has_reacted and (not refusal or not is_certain) and event.from_fork and event.name != "issue_comment":
        return _outputs(FORK_REFUSAL)
    return _outputs(refusal, has_reacted=has_reacted and not refusal)


def _decide_tick(event: Event, api: GitHubApi) -> dict[str, str]:
    """A box that somebody has ticked: the comment has to be ours, and the person one who may ask for an agent."""
    try:
        if not api.has_written(event):
            return _outputs("the box that was ticked is in a comment of another account")
    except _NO_ANSWER as error:
        return _outputs(f"whose comment this is could not be found out, so nothing is pushed: {_describe(error)}")
    refusal, _ = _role_refusal(event, api)
    has_reacted = _react(api, event, "confused" if refusal else "eyes")
    outputs = _outputs(refusal, has_reacted=has_reacted and not refusal)
    return outputs | {"run-token": ""}  # no run, no sandbox to look for afterwards


def _role_refusal(event: Event, api: GitHubApi) -> tuple[str, bool]:
    """Why this person may not ask ("" for no reason), and whether that is their role. No clear answer means no.

    Bots and unusual roles are decided with the specs. Most repositories have no spec that names `roles`: then the usual
    ones hold, and a stranger's comment costs no installation.
    """
    login = one_line(event.actor, 60)
    if not policy.is_person(event.actor_kind):
        return "", False
    try:
        role = api.role(event.actor)
        if role in policy.DEFAULT_ROLES:
            return "", True
        if role != "none" and api.some_spec_contains("roles"):
            return "", False
    except _NO_ANSWER as error:
        return f"the role of {login} could not be found out, so nothing is started: {_describe(error)}", False
    return f"{login} has the role {one_line(role, 40)} here; agents take {', '.join(policy.DEFAULT_ROLES)}", True


def _review_refusal(api: GitHubApi) -> str:
    """Why a review that asks for nothing starts no agent: no spec names reviews as an event. "" for no reason."""
    try:
        if api.some_spec_contains("pull_request_review"):
            return ""
    except _NO_ANSWER as error:
        return f"the agents could not be read, so nothing is started: {_describe(error)}"
    return "this review is not for us"


def _react(api: GitHubApi, event: Event, content: str) -> bool:
    """Whether GitHub took the reaction. It is a courtesy: everything goes on without it."""
    try:
        api.react(event, content)
    except (OSError, ValueError):
        return False
    return True


def _describe(error: Exception) -> str:
    """Why GitHub gave no answer, and what to do: of a rate limit, when it ends."""
    text = one_line(str(error), 200)
    if not isinstance(error, urllib.error.HTTPError):
        url = os.environ.get("GITHUB_API_URL") or _DEFAULT_URL
        if fault := lasting_fault(text, url):
            return f"{fault.message}. {fault.hint} Then ask again"
        return f"{text}{route(url)}. Ask again; GitHub may be out of reach"
    reset, wait = error.headers.get("x-ratelimit-reset", ""), error.headers.get("Retry-After", "")
    end = 0.0
    if error.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        end = float(reset)
    elif error.code in (403, 429) and wait.isdigit():
        end = time.time() + int(wait)
    if 0 < end < 1e11:
        clock = time.strftime("%H:%M:%S UTC on %Y-%m-%d", time.gmtime(end))
        return f"GitHub's rate limit for this token is used up until {clock}. Ask again then"
    if error.code in (401, 403, 404):
        return f"{text}. Look at the token and the job's `permissions:` (docs/action.md)"
    return f"{text}. Ask again; GitHub may have a problem"


def _outputs(refusal: str, *, has_reacted: bool = False) -> dict[str, str]:
    return {
        "proceed": str(not refusal).lower(),
        "conclusion": "skipped" if refusal else "",
        "reason": one_line(refusal, 1_000),
        "run-token": secrets.token_hex(16),
        "reacted": str(has_reacted).lower(),
    }

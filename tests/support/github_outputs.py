"""Assignees and check runs of the GitHub of the tests.

Follows https://docs.github.com/rest/issues/assignees (people who cannot be assigned are left out in silence) and
https://docs.github.com/rest/checks/runs (apps only, at most 50 annotations a request).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.support.github_refusal import Refusal

if TYPE_CHECKING:
    from tests.support.github_server import _Handler

JSON = dict[str, Any]
MAX_ANNOTATIONS = 50


def assign(handler: _Handler, body: JSON, number: str) -> JSON:
    handler._allow("issues", "pull_requests")
    things = handler.server.issues | handler.server.pulls
    if int(number) not in things:
        raise Refusal(404, "Not Found")
    thing = things[int(number)]
    present = thing.setdefault("assignees", [])
    logins = {account["login"] for account in present}
    for login in body["assignees"]:
        if handler.server.roles.get(login, "none") != "none" and login not in logins:
            present.append(handler.server.accounts[login])
    return {key: value for key, value in thing.items() if key not in ("base", "head", "draft", "requested_reviewers")}


def create_check_run(handler: _Handler, body: JSON) -> JSON:
    handler._allow("checks")
    output = body.get("output") or {}
    annotations = _annotations(output)
    number = handler.server._id()
    run = {
        "id": number,
        "node_id": f"CR_{number}",
        "name": body["name"],
        "head_sha": body["head_sha"],
        "external_id": body.get("external_id", ""),
        "status": body["status"],
        "conclusion": body["conclusion"],
        "html_url": f"{handler.server.url}/{handler.server.name}/runs/{number}",
        "output": {
            "title": output["title"],
            "summary": output["summary"],
            "text": output.get("text"),
            "annotations_count": len(annotations),
            "annotations_url": f"{handler.server.url}/annotations",
        },
    }
    handler.server.checks.append(run)
    handler.server.annotations[number] = annotations
    return run


def update_check_run(handler: _Handler, body: JSON, number: str) -> JSON:
    handler._allow("checks")
    run = next((run for run in handler.server.checks if run["id"] == int(number)), None)
    if run is None:
        raise Refusal(404, "Not Found")
    handler.server.annotations[int(number)] += _annotations(body["output"])
    run["output"] |= {key: value for key, value in body["output"].items() if key in ("title", "summary", "text")}
    run["output"]["annotations_count"] = len(handler.server.annotations[int(number)])
    return run


def list_commits(handler: _Handler, _: JSON) -> list[JSON]:
    """Of the default branch; those that changed `path`, when one is given."""
    path = parse_qs(urlsplit(handler.path).query).get("path", ["."])[0]
    folder = handler.server.root / f"{handler.server.name}.git"
    command = ["git", "log", "--format=%H", "main", "--", path]
    names = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    return [{"sha": name, "node_id": f"C_{name}"} for name in names]


def _annotations(output: JSON) -> list[JSON]:
    annotations: list[JSON] = output.get("annotations", [])
    if len(annotations) > MAX_ANNOTATIONS:
        raise Refusal(422, "Invalid request. No more than 50 items are allowed; 51 were supplied.")
    for each in annotations:
        if each["start_line"] < 1 or each["end_line"] < each["start_line"] or not each["message"]:
            raise Refusal(422, "Invalid request.")
    return annotations


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("POST", r"/issues/(\d+)/assignees", assign),
    ("POST", r"/check-runs", create_check_run),
    ("GET", r"/commits", list_commits),
    ("PATCH", r"/check-runs/(\d+)", update_check_run),
)

"""Pull requests of the GitHub of the tests: made, changed, listed by head, with reviewers and labels.

Follows https://docs.github.com/rest/pulls/pulls and https://docs.github.com/rest/pulls/review-requests. The words of
refusals are GitHub's, as people quote them (peter-evans/create-pull-request#1179 and #2399, cli/cli#1984).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.support.github_refusal import Refusal

if TYPE_CHECKING:
    from tests.support.github_server import GitHubServer, _Handler

JSON = dict[str, Any]
MAX_TITLE = 256


class Pulls:
    """`may_create`: the setting "Allow GitHub Actions to create and approve pull requests"; `has_drafts`: not every
    plan has them for private repositories."""

    def __init__(self) -> None:
        self.may_create = True
        self.has_drafts = True


def create(handler: _Handler, body: JSON) -> JSON:
    handler._allow("pull_requests")
    server = handler.server
    if not server.pull_settings.may_create:
        raise Refusal(403, "GitHub Actions is not permitted to create or approve pull requests.")
    head, base = body["head"], body["base"]
    _check_text(body)
    if body.get("draft") and not server.pull_settings.has_drafts:
        raise _invalid({"code": "custom", "message": "Draft pull requests are not supported in this repository."})
    base_sha, head_sha = _sha(server, base), _sha(server, head)
    for field, sha in (("base", base_sha), ("head", head_sha)):
        if not sha:
            raise _invalid({"field": field, "code": "invalid"})
    owner = server.name.partition("/")[0]
    for pull in server.pulls.values():
        if pull["state"] == "open" and (pull["head"]["ref"], pull["base"]["ref"]) == (head, base):
            message = f"A pull request already exists for {owner}:{head}."
            raise _invalid({"code": "custom", "message": message})
    if not _git(server, "rev-list", "-1", f"{base_sha}..{head_sha}"):
        raise _invalid({"code": "custom", "message": f"No commits between {base} and {head}"})
    number = server._id()
    _git(server, "update-ref", f"refs/pull/{number}/head", head_sha)
    home = server.repository()
    pull = server._thing(number, "github-actions[bot]", body["title"], body.get("body") or "") | {
        "node_id": f"PR_{number}",
        "html_url": f"{server.url}/{server.name}/pull/{number}",
        "draft": bool(body.get("draft")),
        "requested_reviewers": [],
        "base": {"ref": base, "sha": base_sha, "repo": home},
        "head": {"ref": head, "sha": head_sha, "repo": home},
    }
    server.pulls[number] = pull
    server.files[number] = []
    return pull


def update(handler: _Handler, body: JSON, number: str) -> JSON:
    handler._allow("pull_requests")
    pull = _pull(handler, number)
    _check_text(body)
    pull |= {name: body[name] for name in ("title", "body", "state") if name in body}
    return pull


def list_pulls(handler: _Handler, _: JSON) -> list[JSON]:
    """Newest first, as GitHub lists them by default."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
    pulls = list(handler.server.pulls.values())
    state = query.get("state", "open")
    if state != "all":
        pulls = [pull for pull in pulls if pull["state"] == state]
    if head := query.get("head"):
        owner, _, branch = head.partition(":")
        pulls = [
            pull
            for pull in pulls
            if pull["head"]["ref"] == branch and pull["head"]["repo"]["full_name"].partition("/")[0] == owner
        ]
    if query.get("direction") == "desc":  # the server turns such a list round
        return pulls
    return pulls[::-1]


def request_reviewers(handler: _Handler, body: JSON, number: str) -> JSON:
    handler._allow("pull_requests")
    pull, server = _pull(handler, number), handler.server
    reviewers = body.get("reviewers", [])
    if pull["user"]["login"] in reviewers:
        raise Refusal(422, "Review cannot be requested from pull request author.")
    if any(server.roles.get(login, "none") == "none" for login in reviewers) or body.get("team_reviewers"):
        raise Refusal(
            422,
            "Reviews may only be requested from collaborators. One or more of the users or teams you specified is not "
            f"a collaborator of the {server.name} repository.",
        )
    known = {account["login"] for account in pull.setdefault("requested_reviewers", [])}
    pull["requested_reviewers"] += [server.accounts[login] for login in reviewers if login not in known]
    return pull


def add_labels(handler: _Handler, body: JSON, number: str) -> list[JSON]:
    """A label that the repository does not have is made."""
    handler._allow("issues", "pull_requests")
    things = handler.server.issues | handler.server.pulls
    if int(number) not in things:
        raise Refusal(404, "Not Found")
    labels: list[JSON] = things[int(number)]["labels"]
    names = {label["name"].lower() for label in labels}
    labels += [
        {"id": handler.server._id(), "name": name, "color": "ededed", "default": False, "description": None}
        for name in body["labels"]
        if name.lower() not in names
    ]
    return labels


def _check_text(body: JSON) -> None:
    if not body.get("title", "x").strip():
        raise _invalid({"field": "title", "code": "missing_field"})
    if len(body.get("title", "")) > MAX_TITLE:
        raise _invalid({"field": "title", "code": "custom", "message": "title is too long (maximum is 256 characters)"})
    if len(body.get("body") or "") > 65_536:
        raise _invalid({"field": "body", "code": "custom", "message": "body is too long (maximum is 65536 characters)"})


def _invalid(error: JSON) -> Refusal:
    refusal = Refusal(422, "Validation Failed")
    refusal.errors = [{"resource": "PullRequest", **error}]
    return refusal


def _pull(handler: _Handler, number: str) -> JSON:
    if int(number) not in handler.server.pulls:
        raise Refusal(404, "Not Found")
    return handler.server.pulls[int(number)]


def _sha(server: GitHubServer, branch: str) -> str:
    return _git(server, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")


def _git(server: GitHubServer, *arguments: str) -> str:
    folder = server.root / f"{server.name}.git"
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip()


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("POST", r"/pulls", create),
    ("GET", r"/pulls", list_pulls),
    ("PATCH", r"/pulls/(\d+)", update),
    ("POST", r"/pulls/(\d+)/requested_reviewers", request_reviewers),
    ("POST", r"/issues/(\d+)/labels", add_labels),
)

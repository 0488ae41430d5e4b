"""Reviews as GitHub takes them: positions that must lie in the diff, threads with their ends, and who may end them.

The diff is the one of the merge base and the commit that is reviewed, with git's own defaults. A draft (`PENDING`) is
seen by its author only, of whom a pull request has one at most.
Source: https://docs.github.com/rest/pulls/reviews and GitHub's GraphQL schema.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import Any

from tests.support.github_graphql import project, selection
from tests.support.github_refusal import Refusal

JSON = dict[str, Any]
LONGEST_BODY = 65_536
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NOT_IN_DIFF = (
    "Pull request review thread line must be part of the diff and Pull request review thread diff hunk can't be blank"
)


class Unprocessable(Refusal):
    """A 422 with a list of what is wrong, which names no comment by its number."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(422, "Unprocessable Entity")
        self.errors = errors


@dataclass
class Reviews:
    """`resolved`: who ended a thread, by the id of its first comment. `reactions` of people: comment, login, content.
    `refuses_to_resolve`: threads that GitHub shows as ours to end, and then does not let us."""

    resolved: dict[int, str] = field(default_factory=dict)
    reactions: list[tuple[int, str, str]] = field(default_factory=list)
    refuses_to_resolve: set[int] = field(default_factory=set)


# Reviews


def create(handler: Any, given: JSON, number: str) -> JSON:
    handler._allow("pull_requests")
    server, pull = handler.server, _pull(handler, number)
    event = given.get("event")
    if event not in (None, "COMMENT", "APPROVE", "REQUEST_CHANGES"):
        raise Unprocessable(["Event is invalid"])
    body, comments = given.get("body") or "", given.get("comments") or []
    if event == "COMMENT" and not body and not comments:
        raise Unprocessable(["Body can't be blank"])
    if len(body) > LONGEST_BODY:
        raise Unprocessable(["Body is too long (maximum is 65536 characters)"])
    if any(review["state"] == "PENDING" for review in server.reviews if review["_number"] == int(number)):
        raise Unprocessable(["User can only have one pending review per pull request"])
    commit = given.get("commit_id") or pull["head"]["sha"]
    diff = read_diff(server, pull, commit)
    problems = [problem for comment in comments if (problem := _problem(comment, diff))]
    if problems:
        raise Unprocessable(sorted(set(problems)))
    me = server.bot
    review = {
        "id": server._id(),
        "_number": int(number),
        "user": me,
        "body": body,
        "state": "PENDING" if event is None else {"COMMENT": "COMMENTED"}.get(event, event),
        "commit_id": commit,
        "pull_request_url": f"{server.url}/api/v3/repos/{server.name}/pulls/{number}",
        "submitted_at": server.now(),
        "author_association": "NONE",
    }
    review["node_id"] = f"PRR_{review['id']}"
    review["html_url"] = f"{server.url}/{server.name}/pull/{number}#pullrequestreview-{review['id']}"
    server.reviews.append(review)
    if event is not None:
        for comment in comments:
            _add_line(server, int(number), comment, review)
    return review


def _add_line(server: Any, number: int, comment: JSON, review: JSON) -> None:
    line = server.say_on_line(number, review["user"]["login"], comment["body"], path=comment["path"])
    side = comment.get("side", "RIGHT")
    line |= {
        "line": comment["line"],
        "original_line": comment["line"],
        "side": side,
        "start_line": comment.get("start_line"),
        "original_start_line": comment.get("start_line"),
        "start_side": comment.get("start_side", side) if comment.get("start_line") else None,
        "commit_id": review["commit_id"],
        "original_commit_id": review["commit_id"],
        "pull_request_review_id": review["id"],
    }


def edit(handler: Any, given: JSON, number: str, identity: str) -> JSON:
    handler._allow("pull_requests")
    review = _review(handler, number, identity)
    if len(given["body"]) > LONGEST_BODY:
        raise Refusal(422, "Validation Failed")
    review["body"] = given["body"]
    return review


def delete(handler: Any, _: JSON, number: str, identity: str) -> JSON:
    handler._allow("pull_requests")
    review = _review(handler, number, identity)
    if review["state"] != "PENDING":
        raise Refusal(422, "Can not delete a non-pending pull request review")
    handler.server.reviews.remove(review)
    return review


def comments_of(handler: Any, _: JSON, number: str, identity: str) -> list[JSON]:
    review = _review(handler, number, identity)
    return [line for line in handler.server.lines if line.get("pull_request_review_id") == review["id"]]


def _review(handler: Any, number: str, identity: str) -> JSON:
    for review in handler.server.reviews:
        if review["id"] == int(identity) and review["_number"] == int(number):
            assert isinstance(review, dict)
            return review
    raise Refusal(404, "Not Found")


def _pull(handler: Any, number: str) -> JSON:
    pull = handler.server.pulls.get(int(number))
    if pull is None:
        raise Refusal(404, "Not Found")
    assert isinstance(pull, dict)
    return pull


# Positions

Hunk = tuple[range, range]  # lines of the old and of the new file


def read_diff(server: Any, pull: JSON, commit: str) -> dict[str, list[Hunk]]:
    """The hunks of each file by its new name. Refuses a commit that is none of the pull request."""
    base, head = pull["base"]["sha"], pull["head"]["sha"]
    listing = _git(server, "rev-list", head, f"^{base}").split()
    if commit not in listing:
        raise Unprocessable(["Commit is not part of the pull request"])
    text = _git(server, "diff", "--no-color", "-M", "-U3", _git(server, "merge-base", base, commit).strip(), commit)
    diff: dict[str, list[Hunk]] = {}
    for part in re.split(r"(?m)^(?=diff --git )", text)[1:]:
        names = re.search(r'(?m)^(?:\+\+\+ "?b/(.+?)"?|rename to (.+))\t?$', part)
        old = re.search(r'(?m)^--- "?a/(.+?)"?\t?$', part)
        name = next((group for match in (names, old) if match for group in match.groups() if group), "")
        diff[_unquoted(name)] = [_ranges(match) for match in _HUNK.finditer(part) if part[match.start() - 1] == "\n"]
    return diff


def _unquoted(name: str) -> str:
    if "\\" not in name:
        return name
    return name.encode("latin-1").decode("unicode_escape").encode("latin-1").decode()


def _ranges(match: re.Match[str]) -> Hunk:
    old, old_count, new, new_count = (int(value) if value else 1 for value in match.groups())
    return range(old, old + old_count), range(new, new + new_count)


def _problem(comment: JSON, diff: dict[str, list[Hunk]]) -> str:
    unknown = set(comment) - {"path", "position", "body", "line", "side", "start_line", "start_side"}
    if unknown:
        return f"{sorted(unknown)[0]} is not a permitted key"
    if not comment.get("body"):
        return "Body can't be blank"
    if len(comment["body"]) > LONGEST_BODY:
        return "Body is too long (maximum is 65536 characters)"
    if comment.get("path") not in diff:
        return "Path could not be resolved"
    side, line, start = comment.get("side", "RIGHT"), comment.get("line"), comment.get("start_line")
    start_side = comment.get("start_side", side)
    if side not in ("LEFT", "RIGHT") or start_side not in ("LEFT", "RIGHT"):
        return "Side is invalid"
    hunk = next((hunk for hunk in diff[comment["path"]] if line in hunk[side == "RIGHT"]), None)
    if hunk is None:
        return _NOT_IN_DIFF
    if start is None:
        return ""
    if start_side == side and start >= line:
        return "Pull request review thread start line must precede the end line."
    if start not in hunk[start_side == "RIGHT"]:
        return "Pull request review thread start line must be part of the same hunk as the line."
    return ""


def current_line(server: Any, pull: JSON, line: JSON) -> int | None:
    """Where the line of a comment is in the diff of now; None: it is outdated."""
    if not (commit := line.get("original_commit_id")):
        return line["line"] if isinstance(line["line"], int) else None
    head, side, number = pull["head"]["sha"], line["side"], line["original_line"]
    if side == "RIGHT" and commit != head:
        text = _git(server, "diff", "--no-color", "-U0", commit, head, "--", line["path"])
        shift = 0
        for match in _HUNK.finditer(text):
            old, new = _ranges(match)
            if number in old or "deleted file mode" in text:
                return None
            if old.start + (len(old) == 0) > number:
                break
            shift += len(new) - len(old)
        number += shift
    hunks = read_diff(server, pull, head).get(line["path"], [])
    is_shown = any(number in hunk[side == "RIGHT"] for hunk in hunks)
    return number if is_shown else None


# Threads


def graphql(handler: Any, given: JSON) -> JSON:
    """The whole answer. Only what the query names is in it."""
    handler.server.graphql_queries.append(given["query"])
    tree = selection(given["query"])
    if given["query"].lstrip().startswith("mutation"):
        return _resolve_all(handler, given, tree)
    variables = given["variables"]
    pull = handler.server.pulls.get(variables["number"])
    if pull is None:
        message = f"Could not resolve to a PullRequest with the number of {variables['number']}."
        error = {"type": "NOT_FOUND", "path": ["repository", "pullRequest"], "message": message}
        return {"data": {"repository": {"pullRequest": None}}, "errors": [error]}
    size, start = min(int(variables.get("first", 100)), 100), int(variables.get("after") or 0)
    lines = [line for line in handler.server.lines if line["_number"] == pull["number"]]
    roots = [line for line in lines if not line.get("in_reply_to_id")]
    threads = [_thread(handler, pull, root, lines) for root in roots[start : start + size]]
    end = start + len(threads)
    reviews = [_review_node(handler, each) for each in handler.server.reviews if each["_number"] == pull["number"]]
    info = {"hasNextPage": end < len(roots), "endCursor": str(end) if threads else None}
    node = {
        "headRefOid": pull["head"]["sha"],
        "reviews": {"nodes": reviews[-100:]},
        "reviewThreads": {"totalCount": len(roots), "pageInfo": info, "nodes": threads},
    }
    return {"data": project({"repository": {"pullRequest": node}}, tree)}


def _review_node(handler: Any, review: JSON) -> JSON:
    return {
        "fullDatabaseId": str(review["id"]),
        "body": review["body"],
        "state": review["state"],
        "url": review.get("html_url", ""),
        "viewerDidAuthor": review["user"]["login"] == handler.server.bot["login"],
        "commit": {"oid": review.get("commit_id", "")},
    }


def _thread(handler: Any, pull: JSON, root: JSON, lines: list[JSON]) -> JSON:
    server, state = handler.server, handler.server.review_state
    comments = [root, *(line for line in lines if line.get("in_reply_to_id") == root["id"])]
    line, resolver = current_line(server, pull, root), state.resolved.get(root["id"])
    return {
        "id": f"PRRT_{root['id']}",
        "isResolved": resolver is not None,
        "isOutdated": line is None,
        "resolvedBy": {"login": resolver.removesuffix("[bot]")} if resolver else None,
        "viewerCanResolve": resolver is None and _may_resolve(server),
        "viewerCanUnresolve": resolver is not None and _may_resolve(server),
        "path": root["path"],
        "line": line,
        "originalLine": root.get("original_line", root["line"]),
        "diffSide": root.get("side", "RIGHT"),
        "comments": {"totalCount": len(comments), "nodes": [_comment(server, each) for each in comments[:50]]},
    }


def _comment(server: Any, line: JSON) -> JSON:
    user = line["user"]
    voters = [login for identity, login, content in server.review_state.reactions if identity == line["id"]]
    return {
        "fullDatabaseId": str(line["id"]),
        "url": line["html_url"],
        "body": line["body"],
        "createdAt": line["created_at"],
        "viewerDidAuthor": user["login"] == server.bot["login"],
        "author": {"__typename": user["type"], "login": user["login"].removesuffix("[bot]")},
        "originalCommit": {"oid": line.get("original_commit_id", "")},
        "reactions": {"nodes": [{"user": {"login": login}} for login in voters]},
    }


def _may_resolve(server: Any) -> bool:
    return all(server.permissions.get(name) == "write" for name in ("contents", "pull_requests"))


def _resolve_all(handler: Any, given: JSON, tree: JSON) -> JSON:
    """Each alias is tried for itself; what failed is null, with an error."""
    server = handler.server
    data, errors = {}, []
    for alias, (name, arguments, inner) in tree.items():
        assert name in ("resolveReviewThread", "unresolveReviewThread"), name
        variable = re.search(r"threadId:\s*(?:\$(\w+)|\"([^\"]+)\")", arguments)
        assert variable, arguments
        identity = given["variables"][variable[1]] if variable[1] else variable[2]
        root = next((line for line in server.lines if f"PRRT_{line['id']}" == identity), None)
        data[alias] = None
        if root is None:
            message = f"Could not resolve to a node with the global id of '{identity}'"
            errors.append({"type": "NOT_FOUND", "path": [alias], "message": message})
        elif not _may_resolve(server) or root["id"] in server.review_state.refuses_to_resolve:
            errors.append({"type": "FORBIDDEN", "path": [alias], "message": "Resource not accessible by integration"})
        else:
            if name.startswith("un"):
                server.review_state.resolved.pop(root["id"], None)
            else:
                server.review_state.resolved.setdefault(root["id"], server.bot["login"])
            data[alias] = project(
                {"thread": {"id": identity, "isResolved": root["id"] in server.review_state.resolved}}, inner
            )
    return {"data": data} | ({"errors": errors} if errors else {})


def _git(server: Any, *arguments: str) -> str:
    where = server.root / f"{server.name}.git"
    command = ["git", "-c", "core.quotePath=false", *arguments]
    return subprocess.run(command, cwd=where, check=True, capture_output=True).stdout.decode("utf-8", "replace")


ROUTES = (
    ("POST", r"/pulls/(\d+)/reviews", create),
    ("PUT", r"/pulls/(\d+)/reviews/(\d+)", edit),
    ("DELETE", r"/pulls/(\d+)/reviews/(\d+)", delete),
    ("GET", r"/pulls/(\d+)/reviews/(\d+)/comments", comments_of),
)

"""GitHub's JSON as our values, for example `parse.comment(item, "issue")`. Fields that are missing or of another type
become empty: answers differ by the age and kind of the server."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from flue_ci.core.discussion import Account, Annotation, Comment, FileDiff, Issue, PullRequest, Review

T = TypeVar("T")


def is_same_comment(data: Mapping[str, Any], body: str, me: Account) -> bool:
    """Whether `data` is a comment with that body which `me` wrote; kinds of line ends do not count."""
    author = account(data.get("user"))
    same_author = author.id == me.id if me.id else author.login == me.login
    return same_author and _normalize(text(data, "body")) == _normalize(body)


def _normalize(body: str) -> str:
    return body.replace("\r\n", "\n").strip()


def _value(data: Any, name: str, kind: type[T]) -> T | None:
    if isinstance(data, dict) and isinstance(value := data.get(name), kind):
        return value
    return None


def text(data: Any, name: str) -> str:
    """The text `name` of a JSON object, or ""."""
    return _value(data, name, str) or ""


def number(data: Any, name: str) -> int:
    """The integer `name` of a JSON object, or 0."""
    return _value(data, name, int) or 0


def mapping(data: Any, name: str) -> Mapping[str, Any]:
    """The object `name` of a JSON object, or an empty one."""
    return _value(data, name, dict) or {}


def flag(data: Any, name: str) -> bool:
    """Whether `name` of a JSON object is true."""
    return _value(data, name, bool) is True


def items(data: Any, name: str) -> list[Mapping[str, Any]]:
    """The objects in the list `name` of a JSON object."""
    return [item for item in _value(data, name, list) or () if isinstance(item, dict)]


def texts(data: Any, name: str) -> list[str]:
    """The texts in the list `name` of a JSON object."""
    return [item for item in _value(data, name, list) or () if isinstance(item, str)]


def account(data: Any) -> Account:
    """A user, a bot or an organization; an empty account for one that was deleted (null)."""
    login, kind = text(data, "login"), text(data, "type")
    return Account(id=number(data, "id"), login=login, kind=kind or "User")


def fields(data: Any, *names: str, **renames: str) -> dict[str, Any]:
    """The texts `names` of a JSON object, and those that it has under another name: `url="html_url"`."""
    return {name: text(data, renames.get(name, name)) for name in (*names, *renames)}


def _thread(data: Mapping[str, Any]) -> dict[str, Any]:
    """What an issue and a pull request have in common."""
    return {
        "number": number(data, "number"),
        "author": account(data.get("user")),
        "labels": tuple(text(label, "name") for label in _value(data, "labels", list) or ()),
        **fields(data, "title", "body", "state", "created_at", url="html_url"),
    }


def pull(data: Mapping[str, Any]) -> PullRequest:
    """Source: https://docs.github.com/rest/pulls/pulls#get-a-pull-request"""
    base, head = mapping(data, "base"), mapping(data, "head")
    head_repo = mapping(head, "repo")
    return PullRequest(
        **_thread(data),
        base_ref=text(base, "ref"),
        base_repo_id=number(mapping(base, "repo"), "id"),
        head_ref=text(head, "ref"),
        head_sha=text(head, "sha"),
        head_repo=text(head_repo, "full_name"),
        head_repo_id=number(head_repo, "id") or None,
        draft=flag(data, "draft"),
        reviewers=(
            *(text(item, "login") for item in items(data, "requested_reviewers")),
            *(text(item, "slug") for item in items(data, "requested_teams")),
        ),
    )


def issue(data: Mapping[str, Any]) -> Issue:
    """Source: https://docs.github.com/rest/issues/issues#get-an-issue"""
    return Issue(**_thread(data), is_pull_request=bool(data.get("pull_request")))


def comment(
    data: Mapping[str, Any], kind: Literal["issue", "review"], minimized_ids: frozenset[str] = frozenset()
) -> Comment:
    """A comment of that kind. `minimized_ids` are the node ids of comments that people have hidden."""
    return Comment(
        id=number(data, "id"),
        kind=kind,
        author=account(data.get("user")),
        is_minimized=data.get("node_id") in minimized_ids,
        line=number(data, "line") or None,
        reply_to=number(data, "in_reply_to_id") or None,
        **fields(data, "body", "created_at", "updated_at", "path", url="html_url", hunk="diff_hunk"),
    )


def review(data: Mapping[str, Any], minimized_ids: frozenset[str]) -> Review:
    """A review as a whole. Source: https://docs.github.com/rest/pulls/reviews"""
    return Review(
        id=number(data, "id"),
        author=account(data.get("user")),
        is_minimized=data.get("node_id") in minimized_ids,
        **fields(data, "body", "state", "submitted_at", url="html_url"),
    )


def file(data: Mapping[str, Any]) -> FileDiff:
    """A changed file of a pull request. Source: https://docs.github.com/rest/pulls/pulls#list-pull-requests-files"""
    additions, deletions = number(data, "additions"), number(data, "deletions")
    texts = fields(data, "status", "patch", path="filename", old_path="previous_filename")
    return FileDiff(additions=additions, deletions=deletions, **texts)


def annotation(data: Mapping[str, Any]) -> Annotation:
    """A line of a failing check. Source: https://docs.github.com/rest/checks/runs#list-check-run-annotations"""
    texts = fields(data, "path", "message", "title", level="annotation_level")
    return Annotation(line=number(data, "start_line"), **texts)

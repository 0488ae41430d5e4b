"""GitHub's JSON as our values. Fields that are missing or of another type become empty: answers differ by the age and
kind of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from flue_ci.core.discussion import Account, Annotation, Comment, FileDiff, Issue, PullRequest, Review

T = TypeVar("T")


def is_same_comment(data: Mapping[str, Any], body: str, me: Account) -> bool:
    """Whether `data` is a comment with that body which `me` wrote; kinds of line ends do not count."""
    author = parse_account(data.get("user"))
    same_author = author.id == me.id if me.id else author.login == me.login
    return same_author and _normalize(parse_text(data, "body")) == _normalize(body)


def _normalize(body: str) -> str:
    return body.replace("\r\n", "\n").strip()


def _value(data: Any, name: str, kind: type[T]) -> T | None:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, kind) else None


def parse_text(data: Any, name: str) -> str:
    """The text `name` of a JSON object, or ""."""
    return _value(data, name, str) or ""


def parse_number(data: Any, name: str) -> int:
    """The integer `name` of a JSON object, or 0."""
    return _value(data, name, int) or 0


def parse_object(data: Any, name: str) -> Mapping[str, Any]:
    """The object `name` of a JSON object, or an empty one."""
    return _value(data, name, dict) or {}


def parse_account(data: Any) -> Account:
    """A user, a bot or an organization; an empty account for one that was deleted (null)."""
    login, kind = parse_text(data, "login"), parse_text(data, "type")
    return Account(id=parse_number(data, "id"), login=login, kind=kind or "User")


def _labels(data: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(parse_text(label, "name") for label in _value(data, "labels", list) or ())


def parse_pull(data: Mapping[str, Any]) -> PullRequest:
    """Source: https://docs.github.com/rest/pulls/pulls#get-a-pull-request"""
    base, head = parse_object(data, "base"), parse_object(data, "head")
    head_repo = parse_object(head, "repo")
    return PullRequest(
        number=parse_number(data, "number"),
        title=parse_text(data, "title"),
        body=parse_text(data, "body"),
        author=parse_account(data.get("user")),
        url=parse_text(data, "html_url"),
        state=parse_text(data, "state"),
        labels=_labels(data),
        base_ref=parse_text(base, "ref"),
        base_repo_id=parse_number(parse_object(base, "repo"), "id"),
        head_ref=parse_text(head, "ref"),
        head_sha=parse_text(head, "sha"),
        head_repo=parse_text(head_repo, "full_name"),
        head_repo_id=parse_number(head_repo, "id") or None,
        created_at=parse_text(data, "created_at"),
    )


def parse_issue(data: Mapping[str, Any]) -> Issue:
    """Source: https://docs.github.com/rest/issues/issues#get-an-issue"""
    return Issue(
        number=parse_number(data, "number"),
        title=parse_text(data, "title"),
        body=parse_text(data, "body"),
        author=parse_account(data.get("user")),
        url=parse_text(data, "html_url"),
        state=parse_text(data, "state"),
        labels=_labels(data),
        created_at=parse_text(data, "created_at"),
        is_pull_request=bool(data.get("pull_request")),
    )


def parse_comment(
    data: Mapping[str, Any], kind: Literal["issue", "review"], minimized_ids: frozenset[str] = frozenset()
) -> Comment:
    """A comment of that kind. `minimized_ids` are the node ids of comments that people have hidden."""
    return Comment(
        id=parse_number(data, "id"),
        kind=kind,
        author=parse_account(data.get("user")),
        body=parse_text(data, "body"),
        created_at=parse_text(data, "created_at"),
        updated_at=parse_text(data, "updated_at"),
        url=parse_text(data, "html_url"),
        is_minimized=data.get("node_id") in minimized_ids,
        path=parse_text(data, "path"),
        line=parse_number(data, "line") or None,
        hunk=parse_text(data, "diff_hunk"),
        reply_to=parse_number(data, "in_reply_to_id") or None,
    )


def parse_review(data: Mapping[str, Any], minimized_ids: frozenset[str]) -> Review:
    """A review as a whole. Source: https://docs.github.com/rest/pulls/reviews"""
    return Review(
        id=parse_number(data, "id"),
        author=parse_account(data.get("user")),
        body=parse_text(data, "body"),
        state=parse_text(data, "state"),
        submitted_at=parse_text(data, "submitted_at"),
        url=parse_text(data, "html_url"),
        is_minimized=data.get("node_id") in minimized_ids,
    )


def parse_file(data: Mapping[str, Any]) -> FileDiff:
    """A changed file of a pull request. Source: https://docs.github.com/rest/pulls/pulls#list-pull-requests-files"""
    return FileDiff(
        path=parse_text(data, "filename"),
        old_path=parse_text(data, "previous_filename"),
        status=parse_text(data, "status"),
        additions=parse_number(data, "additions"),
        deletions=parse_number(data, "deletions"),
        patch=parse_text(data, "patch"),
    )


def parse_annotation(data: Mapping[str, Any]) -> Annotation:
    """A line of a failing check. Source: https://docs.github.com/rest/checks/runs#list-check-run-annotations"""
    return Annotation(
        path=parse_text(data, "path"),
        line=parse_number(data, "start_line"),
        level=parse_text(data, "annotation_level"),
        message=parse_text(data, "message"),
        title=parse_text(data, "title"),
    )

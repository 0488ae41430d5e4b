"""GitHub's answers as our words. What is missing or of another type is empty: answers differ by age and server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flue_ci.core.discussion import Account, Annotation, Comment, FileDiff, Issue, PullRequest, Review


def is_ours(found: Mapping[str, Any], body: str, me: Account) -> bool:
    author = account_of(found.get("user"))
    ours = author.id == me.id if me.id else author.login == me.login
    return ours and text_of(found, "body").replace("\r\n", "\n").strip() == body.replace("\r\n", "\n").strip()


def text_of(found: Any, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def number_of(found: Any, name: str) -> int:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, int) else 0


def part_of(found: Any, name: str) -> Mapping[str, Any]:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}


def account_of(found: Any) -> Account:
    return Account(id=number_of(found, "id"), login=text_of(found, "login"), kind=text_of(found, "type") or "User")


def labels_of(found: Mapping[str, Any]) -> tuple[str, ...]:
    labels = found.get("labels")
    return tuple(text_of(label, "name") for label in labels) if isinstance(labels, list) else ()


def pull_of(found: Mapping[str, Any]) -> PullRequest:
    base, head = part_of(found, "base"), part_of(found, "head")
    head_repo = part_of(head, "repo")
    return PullRequest(
        number=number_of(found, "number"),
        title=text_of(found, "title"),
        body=text_of(found, "body"),
        author=account_of(found.get("user")),
        url=text_of(found, "html_url"),
        state=text_of(found, "state"),
        draft=bool(found.get("draft")),
        labels=labels_of(found),
        base_ref=text_of(base, "ref"),
        base_sha=text_of(base, "sha"),
        base_repo_id=number_of(part_of(base, "repo"), "id"),
        head_ref=text_of(head, "ref"),
        head_sha=text_of(head, "sha"),
        head_repo=text_of(head_repo, "full_name"),
        head_repo_id=number_of(head_repo, "id") or None,
        created=text_of(found, "created_at"),
    )


def issue_of(found: Mapping[str, Any]) -> Issue:
    return Issue(
        number=number_of(found, "number"),
        title=text_of(found, "title"),
        body=text_of(found, "body"),
        author=account_of(found.get("user")),
        url=text_of(found, "html_url"),
        state=text_of(found, "state"),
        labels=labels_of(found),
        created=text_of(found, "created_at"),
        is_pull_request=bool(found.get("pull_request")),
    )


def comment_of(
    found: Mapping[str, Any], kind: Literal["issue", "review"], hidden: frozenset[str] = frozenset()
) -> Comment:
    line, to = found.get("line"), found.get("in_reply_to_id")
    return Comment(
        id=number_of(found, "id"),
        kind=kind,
        author=account_of(found.get("user")),
        body=text_of(found, "body"),
        created=text_of(found, "created_at"),
        updated=text_of(found, "updated_at"),
        url=text_of(found, "html_url"),
        minimized=found.get("node_id") in hidden,
        path=text_of(found, "path"),
        line=line if isinstance(line, int) else None,
        hunk=text_of(found, "diff_hunk"),
        reply_to=to if isinstance(to, int) else None,
    )


def review_of(found: Mapping[str, Any], hidden: frozenset[str]) -> Review:
    return Review(
        id=number_of(found, "id"),
        author=account_of(found.get("user")),
        body=text_of(found, "body"),
        state=text_of(found, "state"),
        submitted=text_of(found, "submitted_at"),
        url=text_of(found, "html_url"),
        minimized=found.get("node_id") in hidden,
    )


def file_of(found: Mapping[str, Any]) -> FileDiff:
    return FileDiff(
        path=text_of(found, "filename"),
        old_path=text_of(found, "previous_filename"),
        status=text_of(found, "status"),
        added=number_of(found, "additions"),
        deleted=number_of(found, "deletions"),
        patch=text_of(found, "patch"),
    )


def annotation_of(found: Mapping[str, Any]) -> Annotation:
    return Annotation(
        path=text_of(found, "path"),
        line=number_of(found, "start_line"),
        level=text_of(found, "annotation_level"),
        message=text_of(found, "message"),
        title=text_of(found, "title"),
    )

"""GitHub's answers as our words. What is missing or of another type is empty: answers differ by age and server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flue_ci.core.discussion import Account, Annotation, Comment, FileDiff, Issue, PullRequest, Review


def is_ours(found: Mapping[str, Any], body: str, me: Account) -> bool:
    author = parse_account(found.get("user"))
    ours = author.id == me.id if me.id else author.login == me.login
    return ours and parse_text(found, "body").replace("\r\n", "\n").strip() == body.replace("\r\n", "\n").strip()


def parse_text(found: Any, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def parse_number(found: Any, name: str) -> int:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, int) else 0


def parse_object(found: Any, name: str) -> Mapping[str, Any]:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}


def parse_account(found: Any) -> Account:
    return Account(
        id=parse_number(found, "id"), login=parse_text(found, "login"), kind=parse_text(found, "type") or "User"
    )


def parse_labels(found: Mapping[str, Any]) -> tuple[str, ...]:
    labels = found.get("labels")
    return tuple(parse_text(label, "name") for label in labels) if isinstance(labels, list) else ()


def parse_pull(found: Mapping[str, Any]) -> PullRequest:
    base, head = parse_object(found, "base"), parse_object(found, "head")
    head_repo = parse_object(head, "repo")
    return PullRequest(
        number=parse_number(found, "number"),
        title=parse_text(found, "title"),
        body=parse_text(found, "body"),
        author=parse_account(found.get("user")),
        url=parse_text(found, "html_url"),
        state=parse_text(found, "state"),
        draft=bool(found.get("draft")),
        labels=parse_labels(found),
        base_ref=parse_text(base, "ref"),
        base_sha=parse_text(base, "sha"),
        base_repo_id=parse_number(parse_object(base, "repo"), "id"),
        head_ref=parse_text(head, "ref"),
        head_sha=parse_text(head, "sha"),
        head_repo=parse_text(head_repo, "full_name"),
        head_repo_id=parse_number(head_repo, "id") or None,
        created_at=parse_text(found, "created_at"),
    )


def parse_issue(found: Mapping[str, Any]) -> Issue:
    return Issue(
        number=parse_number(found, "number"),
        title=parse_text(found, "title"),
        body=parse_text(found, "body"),
        author=parse_account(found.get("user")),
        url=parse_text(found, "html_url"),
        state=parse_text(found, "state"),
        labels=parse_labels(found),
        created_at=parse_text(found, "created_at"),
        is_pull_request=bool(found.get("pull_request")),
    )


def parse_comment(
    found: Mapping[str, Any], kind: Literal["issue", "review"], hidden: frozenset[str] = frozenset()
) -> Comment:
    line, to = found.get("line"), found.get("in_reply_to_id")
    return Comment(
        id=parse_number(found, "id"),
        kind=kind,
        author=parse_account(found.get("user")),
        body=parse_text(found, "body"),
        created_at=parse_text(found, "created_at"),
        updated_at=parse_text(found, "updated_at"),
        url=parse_text(found, "html_url"),
        is_minimized=found.get("node_id") in hidden,
        path=parse_text(found, "path"),
        line=line if isinstance(line, int) else None,
        hunk=parse_text(found, "diff_hunk"),
        reply_to=to if isinstance(to, int) else None,
    )


def parse_review(found: Mapping[str, Any], hidden: frozenset[str]) -> Review:
    return Review(
        id=parse_number(found, "id"),
        author=parse_account(found.get("user")),
        body=parse_text(found, "body"),
        state=parse_text(found, "state"),
        submitted_at=parse_text(found, "submitted_at"),
        url=parse_text(found, "html_url"),
        is_minimized=found.get("node_id") in hidden,
    )


def parse_file(found: Mapping[str, Any]) -> FileDiff:
    return FileDiff(
        path=parse_text(found, "filename"),
        old_path=parse_text(found, "previous_filename"),
        status=parse_text(found, "status"),
        additions=parse_number(found, "additions"),
        deletions=parse_number(found, "deletions"),
        patch=parse_text(found, "patch"),
    )


def parse_annotation(found: Mapping[str, Any]) -> Annotation:
    return Annotation(
        path=parse_text(found, "path"),
        line=parse_number(found, "start_line"),
        level=parse_text(found, "annotation_level"),
        message=parse_text(found, "message"),
        title=parse_text(found, "title"),
    )

"""GitHub's answers as our words. What is missing or of another type is empty: answers differ by age and server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flue_ci.discussion import Account, Annotation, Comment, FileDiff, Issue, PullRequest, Review


def said_of(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer or "")
    errors = answer.get("errors")
    more = "; ".join(str(each.get("message", each)) if isinstance(each, dict) else str(each) for each in errors or ())
    return f"{answer.get('message', '')}{f' ({more})' if more else ''}"


def is_ours(found: Mapping[str, Any], body: str, me: Account) -> bool:
    author = account_of(found.get("user"))
    ours = author.id == me.id if me.id else author.login == me.login
    return ours and str(found.get("body", "")).replace("\r\n", "\n").strip() == body.strip()


def text_of(found: Any, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def account_of(found: Any) -> Account:
    if not isinstance(found, dict):
        return Account()
    return Account(id=int(found.get("id") or 0), login=text_of(found, "login"), kind=text_of(found, "type") or "User")


def labels_of(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        text_of(label, "name") if isinstance(label, dict) else str(label) for label in found.get("labels") or ()
    )


def pull_of(found: Mapping[str, Any]) -> PullRequest:
    base, head = found.get("base") or {}, found.get("head") or {}
    head_repo = head.get("repo") or {}
    return PullRequest(
        number=int(found["number"]),
        title=text_of(found, "title"),
        body=text_of(found, "body"),
        author=account_of(found.get("user")),
        url=text_of(found, "html_url"),
        state=text_of(found, "state"),
        draft=bool(found.get("draft")),
        labels=labels_of(found),
        base_ref=text_of(base, "ref"),
        base_sha=text_of(base, "sha"),
        base_repo_id=int((base.get("repo") or {}).get("id") or 0),
        head_ref=text_of(head, "ref"),
        head_sha=text_of(head, "sha"),
        head_repo=text_of(head_repo, "full_name"),
        head_repo_id=head_repo.get("id"),
        created=text_of(found, "created_at"),
    )


def issue_of(found: Mapping[str, Any]) -> Issue:
    return Issue(
        number=int(found["number"]),
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
        id=int(found["id"]),
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
        id=int(found["id"]),
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
        added=int(found.get("additions") or 0),
        deleted=int(found.get("deletions") or 0),
        patch=text_of(found, "patch"),
    )


def annotation_of(found: Mapping[str, Any]) -> Annotation:
    return Annotation(
        path=text_of(found, "path"),
        line=int(found.get("start_line") or 0),
        level=text_of(found, "annotation_level"),
        message=text_of(found, "message"),
        title=text_of(found, "title"),
    )

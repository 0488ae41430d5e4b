"""What a reviewer is told about its review: the diff, what changed since the last one, and the earlier findings. Pure.

The same bytes for the same review. What people may have edited stands in blocks that are marked as untrusted.
"""

import re
from collections.abc import Sequence

from flue_ci.core.review_scope import EarlierFinding, ReviewScope
from flue_ci.core.text import clip, first_few, one_line, plural
from flue_ci.safety.sanitize import sanitize_for_model

_MAX_PATHS, _MAX_FINDINGS = 60, 150
_TEXT, _SHORT, _WHOLE = 400, 160, 6_000  # characters of an open finding, of a dismissed one, of the one asked about


def review_text(scope: ReviewScope) -> str:
    """The section for the task; empty where nothing is known."""
    if scope.files is None:
        return ""
    parts = [
        "# About this review\n"
        f"What is reviewed: `git diff {scope.base[:12]} {scope.head[:12]}`. Comments can stand on its lines only."
    ]
    if scope.since and scope.since != scope.head:
        names = first_few(scope.changed_paths, _MAX_PATHS) or "no file"
        parts.append(
            f"You have reviewed this pull request before, at {scope.since[:12]}. Since then these changed: {names}. "
            f"Review that (`git diff {scope.since[:12]} {scope.head[:12]}` shows it, if the commit is here); the rest "
            "of the diff is context. Then look at the open findings below in those files."
        )
    elif scope.since:
        parts.append("You have reviewed this very commit before: look for what is new to you.")
    rejections = [each for each in scope.findings if each.state == "dismissed"]
    parts += _findings(
        [each for each in scope.findings if each.state == "open"],
        "Open findings of yours. Note each one that is still there again, with its id (`finding`): one whose lines "
        "have changed counts as mended when you have looked at its file and do not note it. Of one that is gone "
        "although its lines are the same, say so with close_finding.",
        _TEXT,
        scope.asked_about,
    )
    parts += _findings(rejections, "Dismissed by people of this repository: do not raise these again.", _SHORT, "")
    if scope.asked_about:
        parts.append(
            f"You are asked in the thread of finding {scope.asked_about}: your answer goes there. If what was said "
            "convinces you that the finding is a mistake, withdraw it with close_finding."
        )
    return "\n\n".join(parts)


def _findings(findings: Sequence[EarlierFinding], title: str, length: int, asked_about: str) -> list[str]:
    if not findings:
        return []
    lines = []
    for finding in sorted(findings[-_MAX_FINDINGS:], key=lambda each: (each.id == asked_about, each.path, each.id)):
        place = finding.path or "a file that is gone"
        if finding.line:
            place += f":{finding.line}"
        room = _WHOLE if finding.id == asked_about else length
        text = clip(sanitize_for_model(finding.text).text.strip(), room)
        text = re.sub(r"<(?=\s*(?:/\s*)?untrusted)", "&lt;", text, flags=re.IGNORECASE)
        facts = f"{finding.id} · {one_line(place, 300)} · {finding.severity} {finding.category}"
        lines.append(f'{facts}\n<untrusted source="finding">\n{text}\n</untrusted>')
    if len(findings) > _MAX_FINDINGS:
        lines.append(f"({plural(len(findings) - _MAX_FINDINGS, 'older one')} left out)")
    return [f"## {title}", *lines]

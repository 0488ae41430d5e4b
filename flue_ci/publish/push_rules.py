"""What may be pushed without a person who looks at it first: no protected file, nothing that looks like a secret, and
only what the checks have passed in a clean sandbox. Pure but for the links of the base.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from flue_ci.agent.tools.globs import glob_expression
from flue_ci.agent.tools.tool import ToolError
from flue_ci.core.changes import ChangedFile
from flue_ci.core.commits import TreeEntry
from flue_ci.core.text import first_few, one_line, plural
from flue_ci.git.path_rules import fold_path
from flue_ci.git.protected import is_protected
from flue_ci.report.diffs import read_patch, without_binary
from flue_ci.report.report import Publishing, Report
from flue_ci.safety.redact import added_lines
from flue_ci.workspace.tree_entries import is_text

# What nobody can open by `publish.allow`: it runs on the forge with the rights of the repository.
_NEVER = re.compile(r"(?:^|/)(?:\.github(?:/(?:workflows|actions)(?:/|$)|$)|action\.ya?ml(?:/|$))")


def protected_changes(
    files: Iterable[ChangedFile], publishing: Publishing, folders: Collection[str] = ()
) -> dict[str, str]:
    """The reason for each changed path, old names included, that is never pushed. `folders` are where links of the
    repository with protected names lead."""
    protect, allow = _Globs(publishing.protect, protects=True), _Globs(publishing.allow, protects=False)
    reasons: dict[str, str] = {}
    for path in dict.fromkeys(name for file in files for name in (file.old_path, file.path) if name):
        if _NEVER.search(fold_path(path.replace("\\", "/"))):
            reasons[path] = "it is a workflow or an action"
        elif allow.match(path):
            continue
        elif is_protected(path, folders):
            reasons[path] = "it runs or configures something by itself"
        elif glob := protect.match(path) or protect.match(fold_path(path)):
            reasons[path] = f"the spec protects {glob}"
    return reasons


class _Globs:
    """Patterns that mean a path, or a folder that it lies in. Those that protect do so without case. One that cannot
    be read, which validation lets nobody write, protects everything and allows nothing."""

    def __init__(self, globs: Sequence[str], *, protects: bool) -> None:
        self._patterns = {glob: _compile(glob, protects=protects) for glob in globs}

    def match(self, path: str) -> str:
        """The first pattern that means the path; "" for none."""
        parts = path.split("/")
        folders = ["/".join(parts[:count]) for count in range(1, len(parts))]
        names = [path, *folders, *(f"{folder}/" for folder in folders)]
        return next((glob for glob, rule in self._patterns.items() if any(map(rule.fullmatch, names))), "")


def _compile(glob: str, *, protects: bool) -> re.Pattern[str]:
    try:
        if protects:
            return re.compile(glob_expression(glob), re.IGNORECASE)
        return re.compile(glob_expression(glob))
    except ToolError:
        if protects:
            return re.compile(r"(?s:.*)")
        return re.compile(r"(?!)")


def refused_by_report(report: Report, publishing: Publishing, patch: bytes) -> str:
    """Why nothing of this run is to be pushed or suggested; "" for no reason."""
    if report.changes.refused:
        return "the changes were refused"
    if not report.changes.files or not patch:
        return "nothing was changed"
    if publishing.when != "always":
        return refused_by_checks(report)
    if report.conclusion == "cancelled":
        return "the run was interrupted"
    return ""


def refused_by_checks(report: Report) -> str:
    """Why `when: checks-pass` does not let these changes through; "" when it does."""
    if report.conclusion in ("failed", "partial", "cancelled") and all(check.passed for check in report.checks):
        return f"the run did not end well: {report.reason}"
    failures = [check.name for check in report.checks if not check.passed]
    if failures:
        verb = "was not run or did not pass" if len(failures) == 1 else "were not run or did not pass"
        noun = "the check" if len(failures) == 1 else "the checks"
        return f"{noun} {first_few([one_line(name, 60) for name in failures], 3)} {verb}"
    verification = report.verification
    is_clean = verification and verification.where == "fresh" and verification.ready and verification.isolated
    if report.checks and not is_clean:
        return "the checks did not run in a clean sandbox, and only there they count: verify: fresh in the spec"
    return ""


def secret_in(
    patch: bytes, entries: Iterable[TreeEntry], redact: Callable[[str], str], binary_paths: Collection[str] = ()
) -> str:
    """Where the changes add what is a secret of this run or looks like one: a path, or `the patch`; "" for nowhere. Of
    texts the added lines and the names count, of other files all bytes, and of the `binary_paths`, whose lines the
    patch does not show."""
    parts = re.split(r"(?m)^(?=diff --git )", without_binary(patch))
    if _holds_secret("".join(parts), redact):
        for part in parts:
            if _holds_secret(part, redact):
                return read_patch(part)[0].path
        return "the patch"
    for entry in entries:
        if entry.content is not None and (entry.path in binary_paths or not is_text(entry.content)):
            text = entry.content.decode("utf-8", "replace")
            if redact(text) != text:
                return entry.path
    return ""


def _holds_secret(patch: str, redact: Callable[[str], str]) -> bool:
    """Without the names of objects, which are long hexadecimal numbers."""
    lines = [line for line in patch.split("\n") if not line.startswith("index ")]
    text = added_lines("\n".join(lines).encode()).decode()
    return redact(text) != text


def describe_protected(reasons: Mapping[str, str]) -> str:
    """The paths with their reasons, for people."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        by_reason.setdefault(reason, []).append(one_line(path, 100))
    words = [f"{first_few(paths, 5)} ({reason})" for reason, paths in by_reason.items()]
    return f"{plural(len(reasons), 'protected path')} among the changes: {'; '.join(words)}"

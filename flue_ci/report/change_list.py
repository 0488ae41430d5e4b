"""The changed files of a report: small diffs open, larger ones folded, very many by directory; what nobody reads line
by line comes last. Pure."""

from collections import Counter
from collections.abc import Sequence

from flue_ci.core.text import plural
from flue_ci.report.diffs import FileDiff
from flue_ci.report.links import Commit
from flue_ci.report.report import Changes
from flue_ci.safety.markdown import code_block, details, escape, html, inline_code

OPEN_CHANGED_LINES = 80  # of all files together, up to which their diffs are open
OPEN_FILES = 10  # up to which each file has its line
_OPEN_CHARS = 12_000  # of the diffs that are open: lines may be long
_MAX_DIRECTORIES = 8


def changes_section(
    changes: Changes, diffs: Sequence[FileDiff], commit: Commit, *, has_patch: bool, rows: int = 200
) -> str:
    """The files with their diffs; or why the changes were refused. `diffs` are those of `diffs.file_diffs`; one
    without hunks is only named. `rows` bounds each list."""
    if changes.refused:
        note = " What came back is kept in `changes.refused.patch`." if has_patch else ""
        return f"**The changes were refused:** {escape(changes.refused)}.{note}"
    if not diffs:
        return ""
    parts = [f"#### {plural(len(diffs), 'file')}{_numbers(changes.added, changes.deleted, separator=', ')}"]
    if changes.protected:
        rest = len(changes.protected) - 5
        names = [*map(inline_code, changes.protected[:5]), *([f"{rest} more"] if rest > 0 else [])]
        parts.append(f"⚠️ **Protected paths**, which run or configure something by themselves: {', '.join(names)}")
    code = [diff for diff in diffs if not diff.kind]
    other = [diff for diff in diffs if diff.kind]
    parts += _code(code, commit, rows, is_only=len(diffs) == 1)
    parts += _other(other, commit, rows)
    return "\n\n".join(parts)


def _code(diffs: Sequence[FileDiff], commit: Commit, rows: int, *, is_only: bool) -> list[str]:
    if len(diffs) > OPEN_FILES:
        return [_directories(diffs), _fold_all(plural(len(diffs), "file"), diffs, commit, rows)]
    lines = sum(diff.additions + diff.deletions for diff in diffs)
    if lines > OPEN_CHANGED_LINES or sum(len(diff.hunks) for diff in diffs) > _OPEN_CHARS:
        return [fold_diff(diff, commit) for diff in diffs]
    parts = []
    for diff in diffs:
        line = _file_line(diff, commit, has_numbers=not is_only)
        parts.append(f"{line}\n\n{code_block(diff.hunks, 'diff')}" if diff.hunks else line)
    return parts


def _other(diffs: Sequence[FileDiff], commit: Commit, rows: int) -> list[str]:
    if len(diffs) <= 3:
        return [fold_diff(diff, commit) for diff in diffs]
    kinds = Counter(diff.kind for diff in diffs)
    words = ", ".join(plural(count, kind if kind.endswith("file") else f"{kind} file") for kind, count in kinds.items())
    return [_fold_all(f"{words}{_sums(diffs)}", diffs, commit, rows)]


def _fold_all(summary: str, diffs: Sequence[FileDiff], commit: Commit, rows: int) -> str:
    """All files in one fold."""
    content = []
    for diff in diffs[:rows]:
        if diff.hunks:
            content.append(fold_diff(diff, commit))
        elif content and content[-1].startswith("- "):
            content[-1] += f"\n- {_file_line(diff, commit)}"
        else:
            content.append(f"- {_file_line(diff, commit)}")
    if len(diffs) > rows:
        content.append(f"… and {plural(len(diffs) - rows, 'more file')}")
    return details(summary, "\n\n".join(content))


def fold_diff(diff: FileDiff, commit: Commit) -> str:
    """A file whose diff is folded; one without lines is only a line."""
    if not diff.hunks:
        return _file_line(diff, commit)
    facts = [*map(html, _words(diff)), _numbers(diff.additions, diff.deletions).strip()]
    summary = f"<code>{html(diff.path)}</code> {' · '.join(filter(None, facts))}".strip()
    path = diff.old_path or diff.path
    link = f"{commit.file_link(path)}\n\n" if path in commit.paths else ""
    return details(summary, f"{link}{code_block(diff.hunks, 'diff')}")


def _file_line(diff: FileDiff, commit: Commit, *, has_numbers: bool = True) -> str:
    name = commit.file_link(diff.path)
    if diff.old_path:
        name = f"{commit.file_link(diff.old_path)} → {inline_code(diff.path)}"
    facts = [escape(word) for word in _words(diff)]
    if has_numbers or diff.words:
        facts.append(_numbers(diff.additions, diff.deletions).strip())
    return " ".join(filter(None, [name, " · ".join(filter(None, facts))]))


def _words(diff: FileDiff) -> list[str]:
    return [*diff.words, *([diff.kind] if diff.kind else [])]


def _sums(diffs: Sequence[FileDiff]) -> str:
    return _numbers(sum(diff.additions for diff in diffs), sum(diff.deletions for diff in diffs))


def _numbers(additions: int, deletions: int, separator: str = " ") -> str:
    """` +2 −1`, without what there is not."""
    numbers = " ".join(f"{sign}{count:,}" for sign, count in (("+", additions), ("−", deletions)) if count)
    return f"{separator}{numbers}" if numbers else ""


def _directories(diffs: Sequence[FileDiff]) -> str:
    """How many files and lines changed below which directories, as deep as it takes to tell them apart."""
    groups = _groups(diffs, 1)
    for depth in range(2, 7):
        if len(groups) > 1 or len(deeper := _groups(diffs, depth)) > _MAX_DIRECTORIES:
            break
        groups = deeper
    largest = sorted(groups.items(), key=lambda item: -len(item[1]))
    lines = ["| | files | lines |", "|:--|--:|--:|"]
    for name, files in largest[:_MAX_DIRECTORIES]:
        lines.append(f"| {inline_code(name)} | {len(files):,} | {_sums(files)} |")
    if len(largest) > _MAX_DIRECTORIES:
        count = sum(len(files) for _, files in largest[_MAX_DIRECTORIES:])
        lines.append(f"| {len(largest) - _MAX_DIRECTORIES} more | {count:,} | |")
    return "\n".join(lines)


def _groups(diffs: Sequence[FileDiff], depth: int) -> dict[str, list[FileDiff]]:
    groups: dict[str, list[FileDiff]] = {}
    for diff in diffs:
        directories = diff.path.split("/")[:-1][:depth]
        groups.setdefault("/".join([*directories, ""]) or "./", []).append(diff)
    return groups

"""A typed result as tables, and the findings of a review in a line. Pure; all words in it are an agent's."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flue_ci.core.text import plural
from flue_ci.report.words import shorten_markdown
from flue_ci.safety.markdown import code_block, details, inline_code

# The marks of `report.findings`, and the words that others have for the same.
_MARKS = {"🔴": "critical blocker fatal severe error", "🟠": "high major", "🟡": "medium moderate warning warn"}
_MARKS |= {"🔵": "low minor", "⚪": "info information informational note nit trivial style suggestion none"}
_RANKS = {word: (rank, mark) for rank, (mark, words) in enumerate(_MARKS.items()) for word in words.split()}
_SEVERITY_KEYS = ("severity", "level", "priority", "impact", "risk", "importance")
_FINDINGS = re.compile(
    r"findings?|issues?|problems?|comments?|bugs?|defects?|vulnerabilit(?:y|ies)|violations?|warnings?|concerns?|review",
    re.IGNORECASE,
)
_PATH_KEYS, _LINE_KEYS = ("path", "file", "filename", "file_path"), ("line", "line_number", "start_line", "lineno")
_MAX_ROWS, _MAX_COLUMNS, _LONGEST_CELL = 50, 8, 300
_Row = Mapping[str, Any]


def find_findings(result: Any) -> list[_Row] | None:
    """The findings in the result of a review: a list of objects that has their name, or severities; None for none."""
    lists = {"": result}
    if isinstance(result, Mapping):
        lists = {str(key): value for key, value in result.items()}
    for name, value in lists.items():
        rows = _rows(value)
        if rows and any(_severity(row) for row in rows):
            return rows
        if rows is not None and _FINDINGS.fullmatch(name.rpartition("_")[2]):
            return rows
    return None


def describe_findings(findings: Sequence[_Row]) -> str:
    """`1 finding, high`, `3 findings, 1 high, 2 low`, `no findings`; the gravest first."""
    if not findings:
        return "no findings"
    counts = Counter(severity for row in findings if (severity := _severity(row)))
    text = plural(len(findings), "finding")
    words = sorted(counts, key=lambda word: _RANKS[word])
    if len(words) == 1 and counts[words[0]] == len(findings):
        return f"{text}, {'' if len(findings) == 1 else 'all '}{words[0]}"
    return ", ".join([text, *(f"{counts[word]} {word}" for word in words)])


def result_section(result: Any) -> str:
    """The result: values in one table, each list of objects in its own, anything else, and what is cut, as folded
    JSON. Empty for None."""
    if result is None:
        return ""
    if not isinstance(result, Mapping):
        result = {"result": result}
    tables, lines = [], []
    rest = {key: value for key, value in result.items() if _is_cut(value)}
    for key, value in result.items():
        rows = _rows(value)
        if rows and _is_table(rows):
            tables.append((key, _table(rows)))
        elif _is_cell(value):
            lines.append(f"| {_name(key)} | {_cell(key, value) or '–'} |")
        else:
            rest[key] = value
    parts = [table if len(result) == 1 else f"**{_name(key)}**\n\n{table}" for key, table in tables]
    if len(lines) > _MAX_ROWS:
        lines[_MAX_ROWS:] = []
        rest = result
    if lines:
        parts.insert(0, "\n".join(["| | |", "|:--|:--|", *lines]))
    if rest:
        block = code_block(json.dumps(rest, indent=2, ensure_ascii=False), "json")
        parts.append(
            details("The result as JSON" if len(rest) == len(result) else "More of the result, as JSON", block)
        )
    return "\n\n".join(parts)


def _rows(value: Any) -> list[_Row] | None:
    """A list of objects; None for anything else."""
    return value if isinstance(value, list) and all(isinstance(row, Mapping) for row in value) else None


def _severity(row: _Row) -> str:
    for key, value in row.items():
        if str(key).lower() in _SEVERITY_KEYS and isinstance(value, str) and value.strip().lower() in _RANKS:
            return value.strip().lower()
    return ""


def _is_table(rows: Sequence[_Row]) -> bool:
    keys = {key for row in rows for key in row}
    return 0 < len(keys) <= _MAX_COLUMNS and all(_is_cell(value) for row in rows for value in row.values())


def _is_cell(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _MAX_COLUMNS and all(_is_cell(each) and not isinstance(each, list) for each in value)
    return value is None or isinstance(value, str | int | float)


def _is_cut(value: Any) -> bool:
    """Whether a table shows less than all of it."""
    if isinstance(value, list):
        return len(value) > _MAX_ROWS or any(map(_is_cut, value))
    if isinstance(value, Mapping):
        return any(map(_is_cut, value.values()))
    return isinstance(value, str) and (len(value) > _LONGEST_CELL or "\n" in value.strip())


def _table(rows: Sequence[_Row]) -> str:
    keys = [*dict.fromkeys(key for row in rows for key in row)]
    path = next((key for key in keys if str(key).lower() in _PATH_KEYS), None)
    line = next((key for key in keys if str(key).lower() in _LINE_KEYS), None)
    if path is not None and line is not None:
        keys.remove(line)
    lines = [f"| {' | '.join(_name(key) for key in keys)} |", f"|{':--|' * len(keys)}"]
    for row in rows[:_MAX_ROWS]:
        cells = [_cell(key, row.get(key)) for key in keys]
        if path is not None and isinstance(row.get(path), str):
            cells[keys.index(path)] = _place(row[path], row.get(line or ""))
        lines.append(f"| {' | '.join(cells)} |")
    if len(rows) > _MAX_ROWS:
        lines.append(f"\n… and {plural(len(rows) - _MAX_ROWS, 'more row')}")
    return "\n".join(lines)


def _place(path: str, line: Any) -> str:
    if isinstance(line, int) and line > 0:
        path += f":{line}"
    return inline_code(path)


def _cell(key: object, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(key, each) for each in value)
    if not isinstance(value, str):
        return shorten_markdown(str(value))
    if str(key).lower() in _PATH_KEYS:
        return inline_code(value)
    text = shorten_markdown(value, _LONGEST_CELL)
    if str(key).lower() in _SEVERITY_KEYS and value.strip().lower() in _RANKS:
        text = f"{_RANKS[value.strip().lower()][1]} {text}"
    return text


def _name(key: object) -> str:
    return shorten_markdown(str(key).replace("_", " "), 60)

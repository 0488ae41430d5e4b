"""A report as Markdown: header, summary, stat table, checks, typed result, diffs, outputs, footer. Pure.

`report.md` is this text; the pull-request comment and the job summary are built from the same sections.
"""

from __future__ import annotations

import json
import re

from flue_ci.changes import ChangedFile
from flue_ci.report import Changes, CommandResult, Report
from flue_ci.text import human_cost, human_count, human_seconds, plain, plural
from flue_ci.verdict import ended

MARKS = {"success": "✅", "no-op": "➖", "skipped": "⏭️", "partial": "⏸️", "failed": "❌", "cancelled": "🛑"}
_KINDS = {
    "added": "added",
    "modified": "",
    "deleted": "deleted",
    "renamed": "renamed",
    "copied": "copied",
    "type-changed": "type changed",
    "mode-changed": "mode changed",
}


def markdown(report: Report, patch: bytes = b"") -> str:
    """The whole report. `patch` is shown file by file, collapsed."""
    parts = [
        header(report),
        plain(report.summary).strip(),
        failure_section(report),
        changes_section(report.changes),
        commands_section("Checks", report.checks),
        commands_section("Setup", report.setup) if any(not result.passed for result in report.setup) else "",
        result_section(report),
        diff_section(patch) if not report.changes.refused else "",
        notes_section(report),
        footer(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def header(report: Report) -> str:
    """One line that says what happened, and for what."""
    task = f"\n> {_escape(' '.join(plain(report.instruction).split()))[:300]}" if report.instruction else ""
    took = human_seconds(report.timings.get("total", 0.0))
    return f"### {MARKS[report.conclusion]} {_escape(report.agent)}: {_escape(plain(report.reason))} · {took}{task}"


def failure_section(report: Report) -> str:
    if report.failure is None:
        return ""
    hint = plain(report.failure.hint)
    shown = f"**Failed at {report.failure.stage}.** {_escape(plain(report.failure.message))}"
    return shown + (f"\n\n{fenced(hint)}" if "\n" in hint else f"\n\n{_escape(hint)}" if hint else "")


def changes_section(changes: Changes) -> str:
    """The stat table; a refusal with its reason."""
    if changes.refused:
        kept = "What came back is kept in `changes.refused.patch`."
        return f"**The changes were refused:** {_escape(changes.refused)}. {kept}"
    if not changes.files:
        return ""
    rows = "\n".join(f"| {_cell(file)} | {_count(file, '+')} | {_count(file, '−')} |" for file in changes.files[:200])
    more = f"\n\n… and {plural(len(changes.files) - 200, 'more file')}" if len(changes.files) > 200 else ""
    return (
        f"| {plural(len(changes.files), 'file')} | +{changes.added} | −{changes.deleted} |\n|:--|--:|--:|\n{rows}{more}"
    )


def commands_section(title: str, results: tuple[CommandResult, ...]) -> str:
    """One row a command with the exit code that the host recorded, then the output of those that failed."""
    if not results:
        return ""
    rows = "\n".join(
        f"| {'✅' if result.passed else '❌'} {_escape(result.name)} | {_code(result.command)} | "
        f"{'timeout' if result.timed_out else result.exit_code} | {human_seconds(result.seconds)} |"
        for result in results
    )
    outputs = [
        _details(f"Output of {_html(result.name)}, {ended(result)}", fenced(result.output.rstrip()))
        for result in results
        if not result.passed and result.output.strip()
    ]
    table = f"| {title} | command | exit code | time |\n|:--|:--|--:|--:|\n{rows}"
    return "\n\n".join([table, *outputs])


def result_section(report: Report) -> str:
    if report.result is None:
        return ""
    return f"**Result**\n\n{fenced(json.dumps(report.result, indent=2, ensure_ascii=False), 'json')}"


def diff_section(patch: bytes) -> str:
    """The patch, one collapsed block per file."""
    blocks = []
    for part in re.split(r"(?m)^(?=diff --git )", without_binary(patch)):
        if part.startswith("diff --git "):
            name = part.split("\n", 1)[0].removeprefix("diff --git ")
            shown = part if len(part) <= 100_000 else part[:100_000] + "\n… cut; all of it is in changes.patch"
            blocks.append(_details(_diff_title(name), fenced(shown.rstrip(), "diff")))
    return "\n".join(blocks)


def notes_section(report: Report) -> str:
    if not report.notes:
        return ""
    lines = "\n".join(f"- {_escape(plain(note))}" for note in report.notes[:30])
    return _details("Notes", lines)


def footer(report: Report) -> str:
    """Model, turns, tokens, cost, time, sandbox and its network, spec."""
    usage, used = report.usage, report.sandbox
    of_them = f"{human_count(usage.cache_read_tokens)} cached, {human_count(usage.output_tokens)} out"
    tokens = f"{human_count(usage.total_tokens)} tokens ({of_them})"
    network = " · ".join(f"{phase}: {mode}" for phase, mode in used.network.items())
    secrets = f" · secrets inside: {', '.join(used.secrets)}" if used.secrets else ""
    base = f"{report.base.ref or 'detached'}@{report.base.sha[:9]}{' + uncommitted work' if report.base.dirty else ''}"
    line = (
        f"{report.model or 'no model'} · {plural(usage.turns, 'turn')} · {tokens} · {human_cost(usage.cost_usd)} · "
        f"{used.provider or 'no'} sandbox `{used.template}` · network {network}{secrets} · base {base} · {report.spec}"
    )
    return f"<sub>{line}</sub>"


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def without_binary(patch: bytes) -> str:
    """The patch for people: the data of binary files, which is one letter soup a file, is left out."""
    text = patch.decode("utf-8", "replace")
    return re.sub(
        r"(?m)^GIT binary patch\n(?:(?:literal|delta) \d+\n(?:[A-Za-z].*\n)*\n)+",
        "Binary data, in changes.patch\n",
        text,
    )


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _diff_title(name: str) -> str:
    middle = len(name) // 2
    old, new = name[:middle], name[middle + 1 :]
    same = old.removeprefix("a/") == new.removeprefix("b/")
    return f"<code>{_html(new.removeprefix('b/') if same else name)}</code>"


def _cell(file: ChangedFile) -> str:
    note = "binary" if file.binary else _KINDS[file.kind]
    moved = f"{_code(file.old_path)} → " if file.old_path else ""
    return f"{moved}{_code(file.path)}{f' ({note})' if note else ''}"


def _count(file: ChangedFile, sign: str) -> str:
    number = file.added if sign == "+" else file.deleted
    return "" if file.binary else f"{sign}{number}"


def _code(text: str) -> str:
    """Inline code that survives backticks, line breaks and table cells."""
    line = " ".join(plain(text).split()).replace("|", "\\|")
    line = line if len(line) <= 200 else line[:199] + "…"
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

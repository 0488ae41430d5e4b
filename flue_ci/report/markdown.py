"""A report as Markdown: header, summary, stat table, checks, typed result, diffs, outputs, footer. Pure.

It is given a report without secrets; every text in it is somebody else's, and goes through a function of `markup`.
`report.md` is this text; the pull-request comment and the job summary are built from the same sections.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from flue_ci.core.changes import ChangedFile
from flue_ci.core.text import human_cost, human_count, human_seconds, one_line, plain, plural
from flue_ci.report.conclusion import describe_ending
from flue_ci.report.report import Changes, CommandResult, Report
from flue_ci.safety.markdown import code_block, details, escape, html, inline_code, untrusted_markdown
from flue_ci.safety.sanitize import summarize_removals

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
    task = f"\n> {_word(report.instruction)}" if report.instruction else ""
    diffs = [] if report.changes.refused else diff_blocks(patch)
    parts = [f"{title(report)}{task}", *sections(report, diffs, hosts=_hosts(report), kept=bool(patch)), footer(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def title(report: Report) -> str:
    """One line that says what happened and how long it took."""
    took = human_seconds(report.timings.get("total", 0.0))
    agent = f"{_word(report.agent)}: " if report.agent else ""  # it may have ended before one was chosen
    # Behind the colon, whatever follows is words and code spans: it begins no block.
    reason = untrusted_markdown(f": {one_line(report.reason, 1_000)}").removeprefix(":").lstrip()
    return f"### {MARKS[report.conclusion]} {agent}{reason} · {took}"


def sections(report: Report, diffs: Sequence[str], *, hosts: Collection[str], kept: bool, rows: int = 200) -> list[str]:
    """What stands between header and footer; some are empty. `hosts` are those that links may lead to, `kept` says that
    a patch lies beside the report, `rows` bounds each table."""
    setup = report.setup if any(not result.passed for result in report.setup) else ()
    found = Counter[str]()
    said = untrusted_markdown(report.summary, hosts, found)
    if found:
        note = f"shown as text in what the agent said: {summarize_removals(found)}"
        report = replace(report, notes=(*report.notes, note))
    return [
        said,
        failure_section(report),
        changes_section(report.changes, kept=kept, rows=rows),
        commands_section("Checks", report.checks[:rows]),
        commands_section("Setup", setup[:rows]),
        result_section(report),
        "\n".join(diffs),
        notes_section(report),
    ]


def _hosts(report: Report) -> tuple[str, ...]:
    home = urlsplit(report.trigger.run_url).hostname if report.trigger else None
    return (*((home,) if home else ()), *report.publish.links)


def failure_section(report: Report) -> str:
    if report.failure is None:
        return ""
    hint = plain(report.failure.hint)
    shown = f"**Failed at {_word(report.failure.stage)}.** {escape(report.failure.message)}"
    return shown + (f"\n\n{code_block(hint)}" if "\n" in hint else f"\n\n{escape(hint)}" if hint else "")


def changes_section(changes: Changes, *, kept: bool, rows: int = 200) -> str:
    """The stat table; a refusal with its reason, and where what came back is `kept`."""
    if changes.refused:
        where = " What came back is kept in `changes.refused.patch`." if kept else ""
        return f"**The changes were refused:** {escape(changes.refused)}.{where}"
    if not changes.files:
        return ""
    shown = [f"| {_cell(file)} | {_count(file, '+')} | {_count(file, '−')} |" for file in changes.files[:rows]]
    more = f"\n\n… and {plural(len(changes.files) - rows, 'more file')}" if len(changes.files) > rows else ""
    head = f"| {plural(len(changes.files), 'file')} | +{changes.added} | −{changes.deleted} |\n|:--|--:|--:|\n"
    apply = "\n\nTo apply: `git apply --3way changes.patch`, from the report's folder." if kept else ""
    return f"{head}{chr(10).join(shown)}{more}{apply}"


def commands_section(title: str, results: tuple[CommandResult, ...]) -> str:
    """One row a command with the exit code that the host recorded, then the output of those that failed."""
    if not results:
        return ""
    rows = "\n".join(
        f"| {'✅' if result.passed else '❌'} {_word(result.name)} | {inline_code(result.command)} | "
        f"{'timeout' if result.timed_out else result.exit_code} | {human_seconds(result.seconds)} |"
        for result in results
    )
    outputs = [
        details(
            f"Output of <code>{html(result.name)}</code>, {describe_ending(result)}", code_block(result.output.rstrip())
        )
        for result in results
        if not result.passed and result.output.strip()
    ]
    table = f"| {title} | command | exit code | time |\n|:--|:--|--:|--:|\n{rows}"
    return "\n\n".join([table, *outputs])


def result_section(report: Report) -> str:
    if report.result is None:
        return ""
    return f"**Result**\n\n{code_block(json.dumps(report.result, indent=2, ensure_ascii=False), 'json')}"


def diff_blocks(patch: bytes) -> list[str]:
    """The patch, one collapsed block per file."""
    blocks = []
    for part in re.split(r"(?m)^(?=diff --git )", without_binary(patch)):
        if part.startswith("diff --git "):
            name = part.split("\n", 1)[0].removeprefix("diff --git ")
            shown = part if len(part) <= 100_000 else part[:100_000] + "\n… cut; all of it is in changes.patch"
            blocks.append(details(_diff_title(name), code_block(shown.rstrip(), "diff")))
    return blocks


def notes_section(report: Report) -> str:
    if not report.notes:
        return ""
    lines = "\n".join(f"- {escape(one_line(note, 1_000))}" for note in report.notes[:30])
    return details("Notes", lines)


def footer(report: Report) -> str:
    """Model, turns, tokens, cost, time, sandbox and its network, spec."""
    usage, used = report.usage, report.sandbox
    of_them = f"{human_count(usage.cache_read_tokens)} cached, {human_count(usage.output_tokens)} out"
    tokens = f"{human_count(usage.total_tokens)} tokens ({of_them})"
    network = " · ".join(f"{phase}: {mode}" for phase, mode in used.network.items())
    base = f"{report.base.ref or 'detached'}@{report.base.sha[:9]}{' + uncommitted work' if report.base.dirty else ''}"
    parts = [
        _word(report.model or "no model"),
        plural(usage.turns, "turn"),
        tokens,
        human_cost(usage.cost_usd),
        f"{_word(used.provider)} sandbox {inline_code(used.template)}" if used.template else "no sandbox",
        f"network {_word(network)}" if network else "",
        f"secrets inside: {', '.join(inline_code(name) for name in used.secrets)}" if used.secrets else "",
        f"base {_word(base)}" if report.base.sha else "",
        _word(report.spec) + (f" at {report.trigger.spec_sha[:9]}" if report.trigger and report.spec else ""),
    ]
    return f"<sub>{' · '.join(part for part in parts if part)}</sub>"


def without_binary(patch: bytes) -> str:
    """The patch for people: the data of binary files, which is one letter soup a file, is left out."""
    text = patch.decode("utf-8", "replace")
    return re.sub(
        r"(?m)^GIT binary patch\n(?:(?:literal|delta) \d+\n(?:[A-Za-z].*\n)*\n)+",
        "Binary data, in changes.patch\n",
        text,
    )


def _word(text: str) -> str:
    return escape(one_line(text, 300))


def _diff_title(name: str) -> str:
    middle = len(name) // 2
    old, new = name[:middle], name[middle + 1 :]
    same = old.removeprefix("a/") == new.removeprefix("b/")
    return f"<code>{html(new.removeprefix('b/') if same else name)}</code>"


def _cell(file: ChangedFile) -> str:
    note = "binary" if file.binary else _KINDS[file.kind]
    moved = f"{inline_code(file.old_path)} → " if file.old_path else ""
    return f"{moved}{inline_code(file.path)}{f' ({note})' if note else ''}"


def _count(file: ChangedFile, sign: str) -> str:
    number = file.added if sign == "+" else file.deleted
    return "" if file.binary else f"{sign}{number}"

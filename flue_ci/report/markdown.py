"""A report as Markdown: header, summary, stat table, checks, typed result, diffs, outputs, footer. Pure.

The report has no secrets any more. All text in it is untrusted and goes through a function of `safety.markdown`.
`report.md` is this text; the pull-request comment and the job summary are built from the same sections.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

from flue_ci.core.changes import ChangedFile
from flue_ci.core.text import clip, human_cost, human_count, human_seconds, one_line, plain, plural
from flue_ci.report.conclusion import describe_ending, describe_verification
from flue_ci.report.delivery import how_to_take
from flue_ci.report.link_policy import link_policy
from flue_ci.report.report import Changes, CommandResult, Report
from flue_ci.safety.markdown import code_block, details, escape, html, inline_code, untrusted_line, untrusted_markdown
from flue_ci.safety.sanitize import summarize_removals

_BINARY_LINE = re.compile(r"(?:(?:literal|delta) \d+|[A-Za-z][!-~]*)?\n")  # sizes, base85, and the blank line behind
MARKS = {"success": "✅", "no-op": "➖", "skipped": "⏭️", "partial": "⏸️", "failed": "❌", "cancelled": "🛑"}


def markdown(report: Report, patch: bytes = b"") -> str:
    """The whole report. `patch` is shown file by file, collapsed."""
    header = title(report)
    if report.instruction:
        header += f"\n> {_words(report.instruction)}"
    diffs = [] if report.changes.refused else diff_blocks(patch)
    middle = sections(report, diffs, has_patch=bool(patch))
    return "\n\n".join(part for part in (header, *middle, footer(report)) if part) + "\n"


def title(report: Report) -> str:
    """One line that says what happened and how long it took."""
    duration = human_seconds(report.timings.get("total", 0.0))
    reason = untrusted_line(report.reason)
    if report.agent:  # the run may have ended before one was chosen
        reason = f"{_words(report.agent)}: {reason}"
    return f"### {MARKS[report.conclusion]} {reason} · {duration}"


def sections(
    report: Report, diffs: Sequence[str], *, has_patch: bool, rows: int = 200, patch: str = "", server_url: str = ""
) -> list[str]:
    """The parts between header and footer; some are empty. `has_patch`: a patch lies beside the report, and `patch` is
    shown whole where it is small. `rows` bounds each table. `server_url` is the forge."""
    removals = Counter[str]()
    summary = untrusted_markdown(report.summary, link_policy(report, server_url), removals)
    if removals:
        note = f"shown as text in what the agent said: {summarize_removals(removals)}"
        report = replace(report, notes=(*report.notes, note))
    setup = report.setup
    if report.verification and all(result.passed for result in setup):
        setup = report.verification.setup
    if all(result.passed for result in setup):
        setup = ()
    result = ""
    if report.result is not None:
        result = f"**Result**\n\n{code_block(json.dumps(report.result, indent=2, ensure_ascii=False), 'json')}"
    notes = "\n".join(f"- {escape(one_line(note, 1_000))}" for note in report.notes[:30])
    return [
        summary,
        failure_section(report),
        changes_section(report.changes, has_patch=has_patch, rows=rows),
        how_to_take(report, patch) if has_patch and report.changes.files and not report.changes.refused else "",
        commands_section("Checks", report.checks[:rows]),
        verification_section(report),
        commands_section("Setup", setup[:rows]),
        result,
        "\n".join(diffs),
        details("Notes", notes) if notes else "",
    ]


def failure_section(report: Report) -> str:
    """Where it failed, and the hint: as a code block when it has several lines."""
    if not (failure := report.failure):
        return ""
    text = f"**Failed at {_words(failure.stage)}.** {escape(failure.message)}"
    if hint := plain(failure.hint):
        text += "\n\n" + (code_block(hint) if "\n" in hint else escape(hint))
    return text


def changes_section(changes: Changes, *, has_patch: bool, rows: int = 200) -> str:
    """The stat table and how to apply the patch; or why the changes were refused."""
    if changes.refused:
        note = " What came back is kept in `changes.refused.patch`." if has_patch else ""
        return f"**The changes were refused:** {escape(changes.refused)}.{note}"
    if not changes.files:
        return ""
    files = plural(len(changes.files), "file")
    table = [f"| {files} | +{changes.added} | −{changes.deleted} |", "|:--|--:|--:|"]
    text = "\n".join([*table, *map(_file_row, changes.files[:rows])])
    if len(changes.files) > rows:
        text += f"\n\n… and {plural(len(changes.files) - rows, 'more file')}"
    if changes.protected:
        rest = len(changes.protected) - 5
        names = [*map(inline_code, changes.protected[:5]), *([f"{rest} more"] if rest > 0 else [])]
        text += f"\n\n⚠️ **Protected paths**, which run or configure something by themselves: {', '.join(names)}"
    return text


def commands_section(title: str, results: tuple[CommandResult, ...]) -> str:
    """One row a command with the exit code that the host recorded, then the output of those that failed."""
    if not results:
        return ""
    table = [f"| {title} | command | exit code | time |", "|:--|:--|--:|--:|", *map(_command_row, results)]
    parts = ["\n".join(table)]
    for result in results:
        if not result.passed and result.output.strip():
            summary = f"Output of <code>{html(result.name)}</code>, {describe_ending(result)}"
            parts.append(details(summary, code_block(result.output.rstrip())))
    return "\n\n".join(parts)


def verification_section(report: Report) -> str:
    """What the checks rest on; empty without checks."""
    if report.verification is None or not report.checks:
        return ""
    return " ".join(escape(one_line(sentence, 2_000)) for sentence in describe_verification(report.verification))


def _command_row(result: CommandResult) -> str:
    if result.state == "not-run":
        return f"| ⬜ {_words(result.name)} | {inline_code(result.command)} | not run |  |"
    mark = "✅" if result.passed else "❌"
    code = str(result.exit_code)
    if result.timed_out:
        code = "timeout"
    elif result.state == "unknown":
        code = "exit code not known"
    command, duration = inline_code(result.command), human_seconds(result.seconds)
    return f"| {mark} {_words(result.name)} | {command} | {code} | {duration} |"


def diff_blocks(patch: bytes) -> list[str]:
    """The patch, one collapsed block per file."""
    blocks = []
    for part in re.split(r"(?m)^(?=diff --git )", without_binary(patch)):
        if part.startswith("diff --git "):
            names = part.split("\n", 1)[0].removeprefix("diff --git ")
            diff = clip(part, 100_000, "\n… cut; all of it is in changes.patch")
            blocks.append(details(_diff_title(names), code_block(diff.rstrip(), "diff")))
    return blocks


def footer(report: Report) -> str:
    """Model, turns, tokens, cost, time, sandbox and its network, spec."""
    usage, sandbox = report.usage, report.sandbox
    tokens = f"{human_count(usage.cache_read_tokens)} cached, {human_count(usage.output_tokens)} out"
    template = inline_code(sandbox.template)
    parts = [
        _words(report.model or "no model"),
        plural(usage.turns, "turn"),
        f"{human_count(usage.total_tokens)} tokens ({tokens})",
        human_cost(usage.cost_usd),
        f"{_words(sandbox.provider)} sandbox {template}" if sandbox.template else "no sandbox",
    ]
    if sandbox.seconds:
        parts[-1] += f" for {human_seconds(sandbox.seconds)}"
    if report.verification and (clean := report.verification.sandbox):
        parts[-1] += f" + a clean one for {human_seconds(clean.seconds)}"
    if sandbox.network:
        parts.append(f"network {_words(' · '.join(f'{phase}: {mode}' for phase, mode in sandbox.network.items()))}")
    if sandbox.secrets:
        parts.append(f"secrets inside: {', '.join(inline_code(name) for name in sandbox.secrets)}")
    if report.base.sha:
        base = f"{report.base.ref or 'detached'}@{report.base.sha[:9]}"
        parts.append(f"base {_words(base)}{' + uncommitted work' if report.base.dirty else ''}")
    if report.spec:
        commit = f" at {report.trigger.spec_sha[:9]}" if report.trigger else ""
        parts.append(_words(report.spec) + commit)
    return f"<sub>{' · '.join(parts)}</sub>"


def without_binary(patch: bytes) -> str:
    """The patch as text, with one line in place of the data of each binary file."""
    lines, in_data = [], False
    for line in StringIO(patch.decode("utf-8", "replace"), newline="\n"):
        in_data = in_data and _BINARY_LINE.fullmatch(line) is not None
        if line == "GIT binary patch\n":
            in_data = True
            lines.append("Binary data, in changes.patch\n")
        elif not in_data:
            lines.append(line)
    return "".join(lines)


def _words(text: str) -> str:
    return escape(one_line(text, 300))


def _diff_title(names: str) -> str:
    """The new name of `a/old b/new`; both when they differ."""
    middle = len(names) // 2
    old, new = names[:middle].removeprefix("a/"), names[middle + 1 :].removeprefix("b/")
    return f"<code>{html(new if old == new else names)}</code>"


def _file_row(file: ChangedFile) -> str:
    name = inline_code(file.path)
    if file.old_path:
        name = f"{inline_code(file.old_path)} → {name}"
    if file.binary:
        return f"| {name} (binary) |  |  |"
    kind = "" if file.kind == "modified" else f" ({file.kind.replace('-', ' ')})"
    return f"| {name}{kind} | +{file.added} | −{file.deleted} |"

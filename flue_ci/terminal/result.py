"""The result on standard output when a run is over: verdict, summary, diffstat, checks, figures, and where the files
are. Report and patch come without secrets; every line is made printable where it is printed."""

import sys
from pathlib import Path
from typing import TextIO

from flue_ci.core.changes import ChangedFile
from flue_ci.core.text import first_few, human_cost, human_count, human_seconds, one_line, plain, plural, printable
from flue_ci.report.conclusion import describe_verification
from flue_ci.report.folder import PATCH, REFUSED_PATCH
from flue_ci.report.markdown import MARKS, without_binary
from flue_ci.report.report import CommandResult, Report

_STYLES = {"success": "bold green", "partial": "bold yellow", "failed": "bold red", "cancelled": "bold red"}
Line = tuple[str, str]  # text and rich style


def print_result(
    report: Report, patch: bytes, folder: Path | None, *, diff: bool = False, out: TextIO | None = None
) -> None:
    """Prints the ending; in colour and with rendered Markdown on a terminal, as plain text elsewhere."""
    stream = out or sys.stdout
    body = _body(report, patch if diff else b"", folder)
    if not stream.isatty():
        for line, _ in [*_head(report), *_summary(report), *body]:
            print(printable(line), file=stream)
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.padding import Padding
    from rich.text import Text

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    for line, style in _head(report):
        console.print(Text(printable(line), style=style))
    if report.summary.strip():
        console.print(Padding(Markdown(plain(report.summary).strip(), hyperlinks=False), (0, 2)))
    for line, style in body:
        console.print(Text(printable(line), style=style), soft_wrap=True)


def _head(report: Report) -> list[Line]:
    seconds = human_seconds(report.timings.get("total", 0.0))
    verdict = f"{MARKS[report.conclusion]} {report.agent}: {report.reason} ({seconds})"
    return [("", ""), (verdict, _STYLES.get(report.conclusion, "bold")), ("", "")]


def _summary(report: Report) -> list[Line]:
    return [(f"  {line}".rstrip(), "") for line in report.summary.strip().splitlines()]


def _body(report: Report, patch: bytes, folder: Path | None) -> list[Line]:
    parts = [_failure(report), _result(report), _diff(patch), _stat(report), _checks(report), _figures(report)]
    parts.append(_files(report, folder))
    return [line for part in parts if part for line in (("", ""), *part)]


def _failure(report: Report) -> list[Line]:
    failure = report.failure
    if failure is None:
        return []
    first, *more = failure.message.splitlines() or [""]
    lines = [(f"  failed at {failure.stage}: {first}", "red"), *((f"  {line}", "red") for line in more)]
    hint = failure.hint.replace("\n", "\n    ")
    return lines + [(line, "") for line in f"  → {hint}".splitlines() if failure.hint]


def _result(report: Report) -> list[Line]:
    if report.result is None:
        return []
    import json

    text = json.dumps(report.result, indent=2, ensure_ascii=False)
    return [("  result", "bold"), *((f"  {line}", "") for line in text.splitlines())]


def _diff(patch: bytes) -> list[Line]:
    styles = {"+": "green", "-": "red", "@": "cyan", "d": "bold"}
    return [(f"  {line}", styles.get(line[:1], "")) for line in without_binary(patch).splitlines()]


def _stat(report: Report) -> list[Line]:
    changes = report.changes
    if changes.refused:
        return [(f"  changes refused: {changes.refused}", "red")]
    if not changes.files:
        return []
    width = min(max(len(_name(file)) for file in changes.files), 60)
    most = max((file.added + file.deleted for file in changes.files), default=1)
    lines = [(f"  {_name(file):<{width}} │ {_bar(file, most)}", "") for file in changes.files[:50]]
    if len(changes.files) > 50:
        lines.append((f"  … and {len(changes.files) - 50} more", ""))
    lines.append((f"  {plural(len(changes.files), 'file')} changed, +{changes.added} −{changes.deleted}", "bold"))
    if changes.protected:
        lines.append((f"  ⚠ protected paths, look at them: {first_few(changes.protected, 5)}", "yellow"))
    return lines


def _name(file: ChangedFile) -> str:
    return one_line(f"{file.old_path} → {file.path}" if file.old_path else file.path, 60)


def _bar(file: ChangedFile, most: int) -> str:
    if file.binary:
        return f"binary, {file.kind}"
    scale = min(1.0, 40 / max(most, 1))
    marks = "+" * round(file.added * scale) + "−" * round(file.deleted * scale)
    if marks:
        return f"{file.added + file.deleted:>4} {marks}"
    return file.kind


def _checks(report: Report) -> list[Line]:
    setup = report.setup
    if report.verification:
        setup += report.verification.setup
    failures = [result for result in setup if not result.passed]
    lines = [line for result in (*failures, *report.checks) for line in _check(result)]
    if report.verification and report.checks:
        lines += [(f"  {sentence}", "dim") for sentence in describe_verification(report.verification)]
    return lines


def _check(result: CommandResult) -> list[Line]:
    if result.state == "not-run":
        return [(f"  - {result.name}: {one_line(result.command, 80)} · not run", "yellow")]
    mark, style = ("✓", "green") if result.passed else ("✗", "red")
    ending = f"exit code {result.exit_code}"
    if result.timed_out:
        ending = "timed out"
    elif result.state == "unknown":
        ending = "exit code not known"
    parts = (f"{mark} {result.name}: {one_line(result.command, 80)}", ending, human_seconds(result.seconds))
    lines = [(f"  {' · '.join(parts)}", style)]
    if not result.passed:
        lines += [(f"      {line}", "dim") for line in result.output.rstrip().splitlines()[-20:]]
    return lines


def _figures(report: Report) -> list[Line]:
    usage, sandbox = report.usage, report.sandbox
    network = ", ".join(f"{phase} {mode}" for phase, mode in sandbox.network.items())
    figures = [
        report.model or "no model",
        plural(usage.turns, "turn"),
        f"{human_count(usage.total_tokens)} tokens",
        human_cost(usage.cost_usd),
        f"{sandbox.provider or 'no'} sandbox",
        f"network: {network}",
    ]
    if sandbox.seconds:
        figures[4] += f" for {human_seconds(sandbox.seconds)}"
    if report.verification and (clean := report.verification.sandbox):
        figures[4] += f" + a clean one for {human_seconds(clean.seconds)}"
    return [(f"  {' · '.join(figures)}", "dim")]


def _files(report: Report, folder: Path | None) -> list[Line]:
    if folder is None:
        return []
    lines = [(f"  report  {folder / 'report.md'}", "")]
    if report.changes.refused:
        lines.append((f"  refused {folder / REFUSED_PATCH}", ""))
    elif report.changes.patch:
        lines.append((f"  patch   git apply {folder / PATCH}", ""))
    return lines

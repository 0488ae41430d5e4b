"""The result on standard output when a run is over: verdict, summary, diffstat, checks, figures, and where the files
are. Report and patch come without secrets; every line is made printable where it is printed."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from flue_ci.core.changes import ChangedFile
from flue_ci.core.text import first_few, human_cost, human_tokens, one_line, plain, plural
from flue_ci.report.conclusion import describe_verification, exit_words
from flue_ci.report.diffs import without_binary
from flue_ci.report.findings import finding_lines
from flue_ci.report.folder import PATCH, REFUSED_PATCH
from flue_ci.report.markdown import MARKS
from flue_ci.report.publication import open_proposals, publication_rows, rejections
from flue_ci.report.report import CommandResult, Report
from flue_ci.terminal.progress import human_time
from flue_ci.terminal.screen import Line, Screen

_STYLES = {"success": "bold green", "partial": "bold yellow", "failed": "bold red", "cancelled": "bold red"}
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_COLUMNS = 100  # where there is no terminal


def print_result(
    report: Report, patch: bytes, folder: Path | None, *, diff: bool = False, out: TextIO | None = None
) -> None:
    """Prints the ending; in colour and with rendered Markdown on a terminal, as plain text elsewhere."""
    screen = Screen(out or sys.stdout)
    screen.show(_head(report))
    _show_summary(screen, plain(report.summary).strip())
    columns = screen.console.width if screen.console else _COLUMNS
    screen.show(_body(report, patch if diff else b"", folder, columns))


def _head(report: Report) -> list[Line]:
    verdict = f"{MARKS[report.conclusion]} {report.agent}: {report.reason}"
    if time := human_time(report.timings.get("total", 0.0)):
        verdict += f" ({time})"
    return [Line(""), Line(verdict, _STYLES.get(report.conclusion, "bold")), Line("")]


def _show_summary(screen: Screen, text: str) -> None:
    """The agent's words as rendered Markdown, or as they are where that would break a path or a command in two."""
    if text and screen.console:
        from flue_ci.terminal.rendered_markdown import RenderedMarkdown

        markdown = RenderedMarkdown(text)
        if markdown.is_whole(screen.console):
            screen.console.print(markdown)
            return
    screen.show(Line(f"  {line}".rstrip()) for line in text.splitlines())


def _body(report: Report, patch: bytes, folder: Path | None, columns: int) -> Iterator[Line]:
    parts = [_failure(report), _findings(report), _result(report), _diff(patch), _stat(report, columns)]
    parts += [_checks(report), _publications(report), _figures(report), _files(report, folder)]
    for part in parts:
        if part:
            yield Line("")
            yield from part


def _failure(report: Report) -> list[Line]:
    failure = report.failure
    if failure is None:
        return []
    first, *more = failure.message.splitlines() or [""]
    lines = [Line(f"  failed at {failure.stage}: {first}", "red"), *(Line(f"  {line}", "red") for line in more)]
    hint = failure.hint.replace("\n", "\n    ")
    return lines + [Line(line) for line in f"  → {hint}".splitlines() if failure.hint]


def _result(report: Report) -> list[Line]:
    if report.result is None:
        return []
    import json

    text = json.dumps(report.result, indent=2, ensure_ascii=False)
    return [Line("  result", "bold"), *(Line(f"  {line}", wrap=False) for line in text.splitlines())]


def _diff(patch: bytes) -> list[Line]:
    """The patch without the lines of hashes, which tell nobody anything."""
    lines, in_header = [], False
    for line in without_binary(patch).splitlines():
        in_header = line.startswith("diff --git ") or (in_header and not line.startswith("@@"))
        style = "bold" if in_header else _DIFF_STYLES.get(line[:1], "")
        if not in_header or not line.startswith("index "):
            lines.append(Line(f"  {line}", style, wrap=False))
    return lines


def _stat(report: Report, columns: int) -> list[Line]:
    from rich.cells import cell_len, set_cell_size

    changes = report.changes
    if changes.refused:
        return [Line(f"  changes refused: {changes.refused}", "red")]
    if not changes.files:
        return []
    names = [_name(file, max(columns // 2, 20)) for file in changes.files[:50]]
    width = max(map(cell_len, names))
    most = max(file.added + file.deleted for file in changes.files)
    room = max(min(columns - width - 12, 40), 1)
    lines = [
        Line(f"  {set_cell_size(name, width)} │ {_bar(file, most, room)}", wrap=False)
        for name, file in zip(names, changes.files, strict=False)
    ]
    if len(changes.files) > 50:
        lines.append(Line(f"  … and {len(changes.files) - 50} more"))
    lines.append(Line(f"  {plural(len(changes.files), 'file')} changed, +{changes.added} −{changes.deleted}", "bold"))
    if changes.protected:
        lines.append(Line(f"  ⚠ protected paths, look at them: {first_few(changes.protected, 5)}", "yellow"))
    return lines


def _name(file: ChangedFile, columns: int) -> str:
    """The path in so many columns; of a longer one the end, where files differ."""
    from rich.cells import cell_len

    name = one_line(f"{file.old_path} → {file.path}" if file.old_path else file.path, 1_000)
    if cell_len(name) <= columns:
        return name
    while cell_len(name) >= columns:
        name = name[1:]
    return f"…{name}"


def _bar(file: ChangedFile, most: int, room: int) -> str:
    """Number of changed lines, and a sign for each where the most changed file has no more than fit."""
    if file.binary:
        return f"binary, {file.kind}"
    scale = min(1.0, room / max(most, 1))
    marks = "+" * round(file.added * scale) + "−" * round(file.deleted * scale)
    return f"{file.added + file.deleted:>4} {marks}" if marks else file.kind


def _checks(report: Report) -> list[Line]:
    setup = report.setup
    if report.verification:
        setup += report.verification.setup
    failures = [result for result in setup if not result.passed]
    lines = [line for result in (*failures, *report.checks) for line in _check(result)]
    if report.verification and report.checks:
        lines += [Line(f"  {sentence}", "dim") for sentence in describe_verification(report.verification)]
    return lines


def _check(result: CommandResult) -> list[Line]:
    if result.state == "not-run":
        return [Line(f"  - {result.name}: {one_line(result.command, 80)} · not run", "yellow")]
    mark, style = ("✓", "green") if result.passed else ("✗", "red")
    ending = exit_words(result.exit_code, timed_out=result.timed_out, known=result.state != "unknown")
    command = one_line(result.command, 80)
    parts = [f"  {mark} {result.name}: {command}", ending, human_time(result.seconds)]
    lines = [Line(" · ".join(filter(None, parts)), style)]
    if not result.passed:
        output = result.output.rstrip().splitlines()[-20:]
        lines += [Line(f"      {line}", "dim", wrap=False) for line in output]
    return lines


def _findings(report: Report) -> list[Line]:
    """Each finding of a review with its place, the gravest first, as compilers write them."""
    styles = {"critical": "bold red", "high": "red", "medium": "yellow"}
    return [Line(f"  {words} [{severity}]", styles.get(severity, "")) for severity, words in finding_lines(report)]


def _publications(report: Report) -> list[Line]:
    """What was published, or refused, and which proposals were not accepted."""
    lines = []
    for row in publication_rows(report):
        words = " · ".join(filter(None, [row.name, row.commit, row.text, row.url]))
        lines.append(Line(f"  {row.mark} {words}"))
    lines += [Line(f"  proposed: {text}") for text in open_proposals(report)]
    return lines + [Line(f"  not accepted: {text}") for text in rejections(report)]


def _figures(report: Report) -> list[Line]:
    """Model, turns, tokens, cost, sandbox and network, as far as there were any."""
    usage, sandbox = report.usage, report.sandbox
    figures = [report.model]
    if usage.turns:
        figures.append(plural(usage.turns, "turn"))
    if usage.known_tokens != 0:
        figures += [human_tokens(usage.known_tokens), human_cost(usage.cost_usd)]
    if sandbox.provider:
        place = f"{sandbox.provider} sandbox"
        if time := human_time(sandbox.seconds):
            place += f" for {time}"
        if report.verification and (clean := report.verification.sandbox):
            place += " + a clean one"
            if time := human_time(clean.seconds):
                place += f" for {time}"
        figures.append(place)
    if sandbox.network:
        figures.append("network: " + ", ".join(f"{phase} {mode}" for phase, mode in sandbox.network.items()))
    line = " · ".join(filter(None, figures))
    return [Line(f"  {line}", "dim")] if line else []


def _files(report: Report, folder: Path | None) -> list[Line]:
    if folder is None:
        return []
    lines = [Line("  report  ", copy=str(folder / "report.md"))]
    if report.changes.refused:
        lines.append(Line("  refused ", copy=str(folder / REFUSED_PATCH)))
    elif report.changes.patch:
        lines.append(Line("  patch   ", copy=f"git apply {shlex.quote(str(folder / PATCH))}"))
    return lines

"""Builds the page of a run: the values that the template shows, each made fit for people first.

Nothing that a stranger wrote becomes markup: the template escapes every text, and what is markup is made here of
escaped parts. The page loads nothing, and its policy names the one style sheet and the one script that may work.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from types import CodeType
from typing import IO

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from flue_ci.core.text import clip, human_cost, human_count, human_seconds, one_line, plain, plural
from flue_ci.report.conclusion import describe_ending, describe_verification
from flue_ci.report.evidence import ran_no_tests, telling_line
from flue_ci.report.findings import findings_section
from flue_ci.report.links import Commit, link_policy
from flue_ci.report.markdown import title_and_summary
from flue_ci.report.page.colours import Highlighter
from flue_ci.report.page.diff import MAX_FILES, FileChange, file_changes
from flue_ci.report.page.timeline import Timeline, Turn, read_timeline
from flue_ci.report.page.words import words_to_html
from flue_ci.report.publication import publication_rows, rejections
from flue_ci.report.report import CommandResult, Report, SandboxUsed, Trigger
from flue_ci.report.result_table import result_section
from flue_ci.report.stages import describe_activity
from flue_ci.safety.markdown import LinkPolicy, untrusted_markdown
from flue_ci.safety.sanitize import summarize_removals

MAX_WORDS = 60_000  # characters of the answer, and of the typed result
MAX_TEXT = 10_000  # of any other text
MAX_OUTPUTS = 100_000  # of the outputs of all checks, or of one setup
MAX_COMMANDS = 200
MAX_NOTES = 100
_CUT = "\n\n… cut; all of it is in report.json"
_FOLDER = Path(__file__).parent
Redact = Callable[[str], str]
WIDTH, HEIGHT = 600, 72  # of one chart, in its own units
MAX_BARS = 200


def render_page(report: Report, patch: bytes, transcript: IO[bytes] | None, redact: Redact) -> str:
    """The page as HTML. `report` and `patch` have no secrets; the transcript may, and so may texts that cleaning joins
    together. Raises `OSError` when the transcript cannot be read."""

    def clean(text: str) -> str:
        return redact(plain(text))

    timeline = Timeline(omission="There is no transcript beside the report.")
    if transcript:
        timeline = read_timeline(transcript, clean)
    style, script = (_read(name) for name in ("page.css", "page.js"))
    headline, words = _headline(report, clean)
    answer, removals = _answer(replace(report, summary=words), clean)
    highlighter = Highlighter()
    changes = []
    if not report.changes.refused:
        patch = redact(patch.decode("utf-8", "replace")).encode()
        changes = file_changes(report.changes.files, patch, highlighter)
    values = {
        "report": report,
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        "style": Markup(style),  # noqa: S704 (ours)
        "script": Markup(script),  # noqa: S704 (ours)
        "headline": headline,
        "answer": words_to_html(answer, highlighter),
        "result": words_to_html(clean(clip(_result(report), MAX_WORDS, _CUT)), highlighter),
        "checks": _commands(report.checks),
        "evidence": _evidence(report),
        "publications": publication_rows(report),
        "rejections": [*rejections(report)],
        "setups": _setups(report),
        "charts": make_charts(timeline.turns),
        "chart_size": (WIDTH, HEIGHT),
        "files": changes,
        "folders": _folders(changes),
        "more_files": max(len(report.changes.files) - MAX_FILES, 0),
        "timeline": timeline,
        "figures": _figures(report),
        "facts": _facts(report),
        "notes": _notes(report, removals),
        "links": _links(report),
    }
    environment = _environment(clean)
    return Template.from_code(environment, compile_template(), environment.globals).render(values)


@cache
def compile_template() -> CodeType:
    """Takes a tenth of a second, once in a process."""
    return _environment(str).compile(_read("page.html.j2"), "page.html.j2", str(_FOLDER / "page.html.j2"))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _environment(clean: Callable[[str], str]) -> Environment:
    """Escapes every text. Filters have the names of our functions."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "clean": lambda text, limit=MAX_TEXT: clip(clean(text), limit, " [… cut]"),
        "code": lambda text: Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text)))),  # noqa: S704 (escaped)
        "line": lambda text, limit=300: one_line(clean(text), limit),
        "seconds": human_seconds,
        "count": human_count,
        "cost": human_cost,
        "plural": plural,
        "activity": describe_activity,
    }
    return environment


def _answer(report: Report, clean: Callable[[str], str]) -> tuple[str, Counter[str]]:
    """The agent's words without anything that acts, and what was shown as text for that."""
    removals = Counter[str]()
    text = clip(report.summary, MAX_WORDS, _CUT)
    return clean(untrusted_markdown(text, link_policy(report), removals)), removals


def _commands(results: tuple[CommandResult, ...]) -> list[dict[str, object]]:
    limit = min(MAX_TEXT, MAX_OUTPUTS // max(len(results), 1))
    return [_command(result, limit) for result in results[:MAX_COMMANDS]]


def _command(result: CommandResult, limit: int) -> dict[str, object]:
    """A command for the template, with the end of its output."""
    output = result.output
    if len(output) > limit:
        output = f"[… the beginning is in report.json]\n{output[-limit:]}"
    ending = describe_ending(result)
    if result.passed:
        ending = "exit code 0"
    return {
        "name": result.name,
        "command": clip(result.command, limit),
        "passed": result.passed,
        "was_run": result.state != "not-run",
        "ending": ending,
        "seconds": result.seconds,
        "output": output,
        "last_line": telling_line(result.output),
        "no_tests": result.passed and ran_no_tests(result.output),
    }


def _result(report: Report) -> str:
    """The typed result, and the findings of a review that are nowhere else."""
    findings = findings_section(report, Commit(url="", sha=""), LinkPolicy(), MAX_FILES)
    return "\n\n".join(filter(None, [result_section(report.result), findings]))


def _evidence(report: Report) -> list[str]:
    """What the checks rest on, in sentences."""
    if report.verification and report.checks:
        return describe_verification(report.verification)
    return []


def _setups(report: Report) -> list[tuple[str, list[dict[str, object]]]]:
    """The setup commands by the place where they ran."""
    places = [("In the agent's sandbox", report.setup)]
    if report.verification:
        places.append(("In the clean sandbox", report.verification.setup))
    return [(place, _commands(results)) for place, results in places if results]


def _folders(changes: list[FileChange]) -> list[tuple[str, list[FileChange]]]:
    """The files by folder, both in alphabetical order."""
    order = sorted(changes, key=lambda change: (change.folder, change.name))
    return [(folder, list(group)) for folder, group in groupby(order, key=lambda change: change.folder)]


def _headline(report: Report, clean: Callable[[str], str]) -> tuple[Markup, str]:
    """The title as the comment has it, as HTML, and the rest of the agent's words."""
    title, words = title_and_summary(report, Commit(url="", sha=""))
    line = re.sub(r"^#+ \S+ ", "", title)
    return words_to_html(clean(line), Highlighter()), words


def _figures(report: Report) -> list[tuple[str, str]]:
    """Short figures with their names; without those that mean nothing."""
    usage, seconds = report.usage, report.timings.get("total", 0.0)
    figures = [
        ("time", seconds, human_seconds(seconds)),
        ("turns", usage.turns, f"{usage.turns:,}"),
        ("tokens", usage.total_tokens, human_count(usage.total_tokens)),
        ("cost", usage.cost_usd, human_cost(usage.cost_usd)),
    ]
    if not usage.has_counts:
        figures[2:] = [("tokens", True, "unknown"), ("cost", True, "unknown")]
    return [(name, text) for name, value, text in figures if value]


def _facts(report: Report) -> list[tuple[str, str]]:
    """What people ask of a run, as names and texts."""
    base, usage, trigger = report.base, report.usage, report.trigger or Trigger(event="")
    branch = f"{base.ref or 'detached'}@{base.sha[:12]}".removesuffix("@")
    if base.dirty:
        branch += " and uncommitted work"
    spec = report.spec
    if trigger.spec_sha:
        spec += f" at {trigger.spec_sha[:12]}"
    tokens = f"{usage.input_tokens:,} read, {usage.cache_read_tokens:,} from the cache, "
    tokens += f"{usage.cache_write_tokens:,} into the cache, {usage.output_tokens:,} written"
    clean_sandbox = SandboxUsed(provider="")
    if report.verification and report.verification.sandbox:
        clean_sandbox = report.verification.sandbox
    facts = [
        ("Asked by", " · ".join(filter(None, (trigger.actor, trigger.event)))),
        ("Asked for", report.instruction),
        ("Repository", trigger.repo),
        ("Base", branch * bool(base.sha)),
        ("Spec", spec),
        ("Model", report.model),
        ("Tokens", tokens * bool(usage.known_tokens)),
        ("Sandbox", _describe_sandbox(report.sandbox)),
        ("Network", _describe_network(report.sandbox)),
        ("Clean sandbox", _describe_sandbox(clean_sandbox)),
        ("Its network", _describe_network(clean_sandbox)),
        ("Secrets inside", ", ".join(report.sandbox.secrets) or "none"),
        ("Time by stage", ", ".join(f"{name} {human_seconds(each)}" for name, each in report.timings.items())),
        ("Started", report.started),
        ("flue-ci", report.flue_ci),
    ]
    return [(name, text) for name, text in facts if text]


def _describe_sandbox(sandbox: SandboxUsed) -> str:
    parts = [sandbox.provider, sandbox.template, sandbox.id]
    if sandbox.seconds:
        parts.append(f"for {human_seconds(sandbox.seconds)}")
    return " · ".join(filter(None, parts)) * bool(sandbox.provider)


def _describe_network(sandbox: SandboxUsed) -> str:
    return ", ".join(f"{phase}: {mode}" for phase, mode in sandbox.network.items())


def _notes(report: Report, removals: Counter[str]) -> list[str]:
    notes = list(report.notes[:MAX_NOTES])
    if removals:
        notes.append(f"shown as text in what the agent said: {summarize_removals(removals)}")
    return notes


def _links(report: Report) -> list[tuple[str, str]]:
    """Addresses on the forge, with what they lead to. Another scheme than the web's could act."""
    if not (trigger := report.trigger):
        return []
    links = [("the job's log", trigger.run_url), ("where it was asked for", trigger.url)]
    return [(name, url) for name, url in links if url.startswith(("https://", "http://"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rectangle and its description."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One quantity over turns. `peak` is its largest value, which the top edge stands for, and `summary` says in words
    what the picture shows."""

    name: str
    peak: str
    summary: str
    bars: tuple[Bar, ...]


def make_charts(turns: Sequence[Turn]) -> list[Chart]:
    """Context, answers and cost over the turns, as numbers that the template draws in SVG: a chart for each quantity
    that was ever more than nothing, when there are two turns or more."""
    context = [_context(turn) for turn in turns]
    output = [turn.usage.output_tokens for turn in turns]
    cost = [turn.cost_usd or 0.0 for turn in turns]
    charts = [
        _chart("Context", context, [f"{human_count(value)} tokens" for value in context]),
        _chart("Output of each turn", output, [f"{human_count(value)} tokens" for value in output]),
        _chart("Cost so far", cost, [human_cost(value) for value in cost]),
    ]
    return [chart for chart in charts if chart.bars]


def _context(turn: Turn) -> int:
    """What the model read in that turn, in tokens."""
    return turn.usage.input_tokens + turn.usage.cache_read_tokens + turn.usage.cache_write_tokens


def _chart(name: str, values: Sequence[float], labels: Sequence[str]) -> Chart:
    peak = max(values, default=0)
    if len(values) < 2 or peak <= 0:
        return Chart(name=name, peak="", summary="", bars=())
    step = -(-len(values) // MAX_BARS)  # turns in one bar, which shows the largest of them
    starts = range(0, len(values), step)
    room = WIDTH / len(starts)
    bars = []
    for place, start in enumerate(starts):
        index = max(range(start, min(start + step, len(values))), key=values.__getitem__)
        height = round(HEIGHT * values[index] / peak, 1)
        bars.append(
            Bar(
                x=round(place * room, 2),
                y=round(HEIGHT - height, 1),
                width=round(min(room * 0.8, 28), 2),
                height=height,
                label=f"Turn {index + 1}: {labels[index]}",
            )
        )
    highest = labels[max(range(len(values)), key=values.__getitem__)]
    summary = f"{name}: {plural(len(values), 'turn')}, at most {highest}, {labels[-1]} at the end"
    return Chart(name=name, peak=highest, summary=summary, bars=tuple(bars))

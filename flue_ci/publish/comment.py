"""The comments on GitHub and the job's summary: a report within the size that there is, never with a broken block.

What does not fit is left out in a fixed order: outputs of commands, diffs, long texts; the header, the marker and the
footer stay. Pure; everything in it is somebody else's text and passes `markup`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from flue_ci.core.messages import Usage
from flue_ci.core.text import human_cost, human_count, human_seconds, one_line, plural
from flue_ci.gate.policy import MARKER, AgentTriggers
from flue_ci.report import markdown as render
from flue_ci.report.report import Report, Trigger
from flue_ci.safety.markdown import escape, inline_code

LONGEST_BODY = 65_000  # characters; GitHub takes 65,536
LONGEST_SUMMARY = 1_000_000  # bytes; GitHub takes 1 MiB a step
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MARKED = re.compile(rf"{MARKER} agent=({_NAME.pattern})(?: to=\d+)? -->")
_AT_WORK = "### ⏳"
_PREVIOUS = "<details><summary>The result before this one</summary>"
_STAGES = {
    "prepare": "Start the sandbox, fetch the commit",
    "upload": "Copy the repository in",
    "setup": "Set up",
    "agent": "Let the agent work",
    "collect": "Collect the changes",
    "checks": "Run the checks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is: the stages that are over with their seconds, the current one ("" between two), the usage."""

    finished_stages: tuple[tuple[str, float], ...] = ()
    current: str = ""
    usage: Usage = field(default_factory=Usage)


def marker(agent: str, in_thread: int | None = None) -> str:
    """The first line of every comment about an agent's runs, by which it is found again; in a thread, with the comment
    that asked."""
    if not _NAME.fullmatch(agent):
        raise ValueError(f"{agent!r} is no agent's name")
    return f"{MARKER} agent={agent}{f' to={in_thread}' if in_thread else ''} -->"


def is_ours(body: str, agent: str, in_thread: int | None = None) -> bool:
    """Whether a body begins with the agent's marker. Who wrote it has to be looked at as well."""
    return _first_line(body) == marker(agent, in_thread)


def killed_run_comment(body: str, run_url: str) -> str:
    """What to make of a comment that says that a run is at work, when that run's job was killed; "" for any other."""
    mark, agent = _first_line(body), _MARKED.fullmatch(_first_line(body))
    if not agent or not run_url or f"]({run_url})" not in body or not _rest(body).startswith(_AT_WORK):
        return ""
    return (
        f"{mark}\n### 🛑 {escape(agent[1])}: the job ended before it could answer · [log of the job]({run_url})"
        "\n\n"
        "It ran out of time or memory, somebody cancelled it twice, or it met a bug of flue-ci: the log says which. "
        "What the agent had done is lost; its sandbox is gone. Ask again, with a longer `timeout-minutes` for the job "
        "or smaller `limits` in the spec if it was time."
    )


def _first_line(body: str) -> str:
    return body.replace("\r\n", "\n").split("\n", 1)[0].strip()


def _rest(body: str) -> str:
    return body.replace("\r\n", "\n").partition("\n")[2].strip()


def report_comment(report: Report, patch: bytes, *, server_url: str, previous: str = "") -> str:
    """The report as a comment of at most `LONGEST_BODY` characters, in UTF-16 units as well.

    `previous` is the body of the comment that this one takes the place of: kept when this run has no result of its own.
    """
    top = f"{marker(report.agent, report.trigger.in_thread if report.trigger else None)}\n{header(report)}"
    kept = _kept(previous) if report.conclusion in ("failed", "cancelled") else ""
    return _fitted(report, patch, top, kept, hosts_of(report, server_url), fits=_fits_body)


def summary_page(report: Report, patch: bytes, *, server_url: str) -> str:
    """The report as a job's summary, of at most `LONGEST_SUMMARY` bytes."""
    return _fitted(report, patch, header(report), "", hosts_of(report, server_url), fits=_fits_summary)


def hosts_of(report: Report, server_url: str) -> tuple[str, ...]:
    """Where links and images may lead: the forge, and the hosts that the spec names."""
    return (urlsplit(server_url).hostname or "", *report.publish.links)


def header(report: Report) -> str:
    """What happened, for whom, how long it took, and where to see the rest."""
    line = render.title(report)
    trigger = report.trigger
    if trigger is None:
        return line
    parts = [f"for {inline_code(trigger.actor)}"] if trigger.actor else []
    parts += [f"on `{trigger.head_sha[:9]}`"] if trigger.head_sha else []
    parts += [f"[log of the job]({trigger.run_url})"] if trigger.run_url else []
    asked = f"\n> {escape(one_line(report.instruction, 300))}" if report.instruction.strip() else ""
    return f"{line}\n{' · '.join(parts)}{asked}"


def progress_comment(agent: str, standing: RunProgress, trigger: Trigger, instruction: str) -> str:
    """The comment while the run goes on: a checklist that follows its stages."""
    done = dict(standing.finished_stages)
    lines = []
    for stage, words in _STAGES.items():
        if stage in done:
            lines.append(f"- [x] {words} · {human_seconds(done[stage])}")
        elif stage == standing.current:
            lines.append(f"- [ ] **{words}** …{_used(standing.usage) if stage == 'agent' else ''}")
        elif stage not in ("setup", "checks"):  # not every agent has them
            lines.append(f"- [ ] {words}")
    who = f" for {inline_code(trigger.actor)}" if trigger.actor else ""
    link = f" · [log of the job]({trigger.run_url})" if trigger.run_url else ""
    asked = f"\n> {escape(one_line(instruction, 300))}" if instruction.strip() else ""
    return f"{marker(agent, trigger.in_thread)}\n{_AT_WORK} {escape(agent)}: at work{who}{link}{asked}\n\n" + "\n".join(
        lines
    )


def help_reply(agents: Sequence[AgentTriggers], *, trigger: str) -> str:
    """Which agents a comment can ask for."""
    lines = [f"- {inline_code(f'{trigger} {agent.comment}')}" for agent in agents if agent.comment]
    text = "\n".join(lines) or "There are none yet: no spec has a `triggers.comment`."
    return f"{MARKER} help -->\nAgents of this repository. What follows the name is the instruction.\n\n{text}"


def unknown_reply(name: str, near: str, agents: Sequence[AgentTriggers], *, trigger: str) -> str:
    """There is no such agent; the one that was probably meant, and all of them."""
    meant = f" Did you mean {inline_code(f'{trigger} {near}')}?" if near else ""
    known = ", ".join(inline_code(agent.comment or agent.name) for agent in agents)
    return f"{MARKER} help -->\nThere is no agent {inline_code(name)}.{meant} There are: {known or 'none'}."


def error_reply(reason: str, run_url: str) -> str:
    """Nothing was started for a comment that asked, although its author may ask."""
    link = f" · [log of the job]({run_url})" if run_url else ""
    return f"{MARKER} help -->\n### ❌ Nothing was started{link}\n\n{escape(one_line(reason, 1_000))}"


def _used(usage: Usage) -> str:
    if not usage.turns:
        return ""
    used = (plural(usage.turns, "turn"), f"{human_count(usage.total_tokens)} tokens", human_cost(usage.cost_usd))
    return f" {' · '.join(used)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lean:
    """What of a report is shown."""

    report: Report
    diffs: list[str]
    kept: str = ""
    rows: int = 200
    left_out: tuple[str, ...] = ()


def _fitted(
    report: Report, patch: bytes, top: str, kept: str, hosts: tuple[str, ...], *, fits: Callable[[str], bool]
) -> str:
    """The fullest body that fits: each step leaves out more."""
    diffs = [] if report.changes.refused else render.diff_blocks(patch)
    body = ""
    for lean in _steps(report, diffs, kept):
        middle = render.sections(lean.report, lean.diffs, hosts=hosts, kept=bool(patch), rows=lean.rows)
        note = f"_Left out here, for want of room: {', '.join(lean.left_out)}. The report has all of it._"
        parts = [top, *middle, lean.kept, note if lean.left_out else "", render.footer(lean.report)]
        body = "\n\n".join(part for part in parts if part)
        begin = len(MARKER) if body.startswith(MARKER) else 0
        body = body[:begin] + body[begin:].replace(MARKER, MARKER.replace(" ", ""))  # ours is the only one
        if fits(body):
            break
    return body


def _steps(report: Report, diffs: list[str], kept: str) -> Iterator[_Lean]:
    yield _Lean(report=report, diffs=diffs, kept=kept)
    yield _Lean(report=report, diffs=diffs)
    bare = replace(
        report,
        setup=tuple(replace(result, output="") for result in report.setup),
        checks=tuple(replace(result, output="") for result in report.checks),
    )
    outputs = ("the output of commands",)
    yield _Lean(report=bare, diffs=diffs, left_out=outputs)
    for count in (len(diffs) * 3 // 4, len(diffs) // 2, len(diffs) // 4, 10, 3, 1, 0):
        if count < len(diffs):
            fewer = f"the diffs of {plural(len(diffs) - count, 'file')}"
            yield _Lean(report=bare, diffs=diffs[:count], left_out=(*outputs, fewer))
    missing = (*outputs, *((f"the diffs of {plural(len(diffs), 'file')}",) if diffs else ()), "long texts")
    for length in (20_000, 5_000, 1_000, 200, 50):
        few = max(length // 200, 5)
        yield _Lean(report=_shortened(bare, length, few), diffs=[], rows=few, left_out=missing)


def _shortened(report: Report, length: int, few: int) -> Report:
    failure = report.failure
    if failure:
        failure = replace(failure, message=_clipped(failure.message, length), hint=_clipped(failure.hint, length))
    refused = report.changes.refused
    return replace(
        report,
        reason=_clipped(report.reason, length),
        summary=_clipped(report.summary, length),
        result=report.result if len(str(report.result)) <= length else None,
        failure=failure,
        notes=tuple(_clipped(note, 200) for note in report.notes[:few]),
        changes=replace(report.changes, refused=_clipped(refused, length) if refused else None),
        sandbox=replace(
            report.sandbox,
            secrets=report.sandbox.secrets[:few],
            network=dict(list(report.sandbox.network.items())[:few]),
        ),
    )


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} … (cut; all of it is in report.json)"


def _kept(previous: str) -> str:
    """The former result, without its marker and without what it had kept itself."""
    body = _rest(previous)
    if not body or body.startswith(_AT_WORK):
        return ""
    body = body.partition(_PREVIOUS)[0].strip()
    return f"{_PREVIOUS}\n\n{body}\n\n</details>"


def _fits_body(body: str) -> bool:
    return len(body.encode("utf-16-le", "surrogatepass")) // 2 <= LONGEST_BODY


def _fits_summary(body: str) -> bool:
    return len(body.encode("utf-8", "surrogatepass")) <= LONGEST_SUMMARY


__all__ = [
    "RunProgress",
    "error_reply",
    "help_reply",
    "is_ours",
    "killed_run_comment",
    "marker",
    "progress_comment",
    "report_comment",
    "summary_page",
    "unknown_reply",
]

"""The texts of comments on GitHub and of the job's summary: a report within a bound, never with a broken block.

What does not fit is left out in a fixed order: outputs of commands, diffs, long texts. The header, the marker and the
footer always stay. Pure; all text is untrusted and goes through `safety.markdown`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from flue_ci.core.messages import Usage
from flue_ci.core.text import clip, human_cost, human_count, human_seconds, one_line, plain, plural
from flue_ci.gate.policy import MARKER, AgentTriggers
from flue_ci.publish.earlier_answers import add_earlier, remember, split_answers, without_sign
from flue_ci.report import markdown as render
from flue_ci.report.report import CommandResult, Report, Trigger
from flue_ci.report.stages import STEPS
from flue_ci.safety.markdown import code_block, escape, inline_code

LONGEST_BODY = 65_400  # characters; GitHub takes 65,536
_LONGEST_ANSWER = 65_000  # so that a line about earlier answers always has room
LONGEST_SUMMARY = 1_000_000  # bytes; GitHub takes 1 MiB a step
_MARKER = re.compile(rf"{MARKER} agent=([a-z0-9][a-z0-9-]{{0,63}})(?: to=\d+)? -->")
_AT_WORK = "### ⏳"
_KILL_TEXT = (
    "It ran out of time or memory, somebody cancelled it twice, or it met a bug of flue-ci: the log says which. "
    "What the agent had done is lost; its sandbox is gone. Ask again, with a longer `timeout-minutes` for the job "
    "or smaller `limits` in the spec if it was time."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is: the stages that are over with their seconds, the current one ("" between two), the usage."""

    finished_stages: tuple[tuple[str, float], ...] = ()
    current: str = ""
    usage: Usage = field(default_factory=Usage)


def marker(agent: str, in_thread: int | None = None) -> str:
    """The first line of every comment about an agent's runs, by which the comment is recognized; in a thread with the
    id of the comment that asked. Raises `ValueError` for what is not the name of an agent."""
    thread = f" to={in_thread}" if in_thread else ""
    line = f"{MARKER} agent={agent}{thread} -->"
    if not _MARKER.fullmatch(line):
        raise ValueError(f"{agent!r} is no agent's name")
    return line


def is_ours(body: str, agent: str, in_thread: int | None = None) -> bool:
    """Whether a body begins with the agent's marker. Anybody can write one: look at the author too."""
    return _split_marker(body)[0] == marker(agent, in_thread)


def is_at_work(body: str) -> bool:
    """Whether a comment of ours shows a run that has not ended."""
    return _split_marker(body)[1].startswith(_AT_WORK)


def is_about_run(body: str, run_url: str) -> bool:
    """Whether the newest answer of a comment of ours is about that run, at work or over."""
    answer, _ = split_answers(_split_marker(body)[1])
    return body.startswith(MARKER) and bool(re.search(rf"\]\({re.escape(run_url)}[)#]", answer))


def killed_run_comment(body: str, run_url: str) -> str:
    """The new body of a comment about a run at work whose job was killed; "" for any other comment."""
    line, rest = _split_marker(body)
    match = _MARKER.fullmatch(line)
    answer, earlier = split_answers(rest)
    if not match or not run_url or f"]({run_url})" not in answer or not answer.startswith(_AT_WORK):
        return ""
    title = f"{escape(match[1])}: the job ended before it could answer"
    return add_earlier(f"{line}\n### 🛑 {title} · {_log_link(run_url)}\n\n{_KILL_TEXT}", earlier, LONGEST_BODY)


def _split_marker(body: str) -> tuple[str, str]:
    """The first line of a comment and the rest."""
    line, _, rest = body.replace("\r\n", "\n").partition("\n")
    return line.strip(), rest.strip()


def report_comment(report: Report, patch: bytes, *, server_url: str, previous: str = "") -> str:
    """The report as a comment of at most `LONGEST_BODY` characters, in UTF-16 units as well.

    `previous` is the body of the comment that this one replaces: its answers are kept below.
    """
    first = f"{marker(report.agent, report.trigger.in_thread if report.trigger else None)}\n"
    limit = 2 * (_LONGEST_ANSWER - len(first))
    return keep_answers(first + _fit(report, patch, server_url, encoding="utf-16-le", limit=limit), previous)


def keep_answers(body: str, previous: str) -> str:
    """The new body of a comment with the answers of its `previous` body below; a run at work is none."""
    answer, earlier = split_answers(_split_marker(previous)[1])
    if not answer.startswith(_AT_WORK):
        earlier = remember(answer, earlier)
    return add_earlier(without_sign(body), earlier, LONGEST_BODY)


def revised_comment(body: str, report: Report, patch: bytes, *, server_url: str) -> str:
    """The new body of the comment that shows this report already, after the report has changed; "" for the comment of
    another run."""
    answer, earlier = split_answers(_split_marker(body)[1])
    trigger = report.trigger
    if not trigger or not is_ours(body, report.agent, trigger.in_thread) or answer.startswith(_AT_WORK):
        return ""
    if not is_about_run(body, trigger.run_url):
        return ""
    return add_earlier(without_sign(report_comment(report, patch, server_url=server_url)), earlier, LONGEST_BODY)


def summary_page(report: Report, patch: bytes, *, server_url: str) -> str:
    """The report as a job's summary, of at most `LONGEST_SUMMARY` bytes."""
    return _fit(report, patch, server_url, encoding="utf-8", limit=LONGEST_SUMMARY)


def header(report: Report) -> str:
    """What happened, for whom, how long it took, and where to see the rest."""
    line = render.title(report)
    trigger = report.trigger
    if trigger is None:
        return line
    parts = []
    if trigger.actor:
        parts.append(f"for {inline_code(trigger.actor)}")
    if trigger.head_sha:
        parts.append(f"on `{trigger.head_sha[:9]}`")
    if trigger.run_url:
        parts.append(_log_link(trigger.run_url))
    return f"{line}\n{' · '.join(parts)}{_quote(report.instruction)}"


def progress_comment(agent: str, progress: RunProgress, trigger: Trigger, instruction: str) -> str:
    """The comment while the run goes on: a checklist of its stages."""
    seconds = dict(progress.finished_stages)
    lines = []
    for stage, step in STEPS.items():
        if stage in seconds:
            lines.append(f"- [x] {step} · {human_seconds(seconds[stage])}")
        elif stage == progress.current:
            usage = _describe_usage(progress.usage) if stage == "agent" else ""
            lines.append(f"- [ ] **{step}** …{usage}")
        elif stage not in ("setup", "verify", "checks"):  # not every agent has them
            lines.append(f"- [ ] {step}")
    title = f"{_AT_WORK} {escape(agent)}: at work"
    if trigger.actor:
        title += f" for {inline_code(trigger.actor)}"
    if trigger.run_url:
        title += f" · {_log_link(trigger.run_url)}"
    return "\n".join([marker(agent, trigger.in_thread), f"{title}{_quote(instruction)}", "", *lines])


def help_reply(agents: Sequence[AgentTriggers], *, trigger: str) -> str:
    """Which agents a comment can ask for."""
    lines = [f"- {inline_code(f'{trigger} {agent.comment}')}" for agent in agents if agent.comment]
    text = "\n".join(lines) or "There are none yet: no spec has a `triggers.comment`."
    return f"{MARKER} help -->\nAgents of this repository. What follows the name is the instruction.\n\n{text}"


def unknown_reply(name: str, near: str, agents: Sequence[AgentTriggers], *, trigger: str) -> str:
    """There is no agent `name`; `near` is the one that was probably meant, or ""."""
    suggestion = f" Did you mean {inline_code(f'{trigger} {near}')}?" if near else ""
    names = ", ".join(inline_code(agent.comment or agent.name) for agent in agents)
    return f"{MARKER} help -->\nThere is no agent {inline_code(name)}.{suggestion} There are: {names or 'none'}."


def error_reply(reason: str, run_url: str, *, hint: str = "", repeat: str = "") -> str:
    """Nothing was started for a comment that asked, although its author may ask. `hint` is what to do, `repeat` how to
    ask instead."""
    link = f" · {_log_link(run_url)}" if run_url else ""
    text = f"{MARKER} help -->\n### ❌ Nothing was started{link}\n\n{escape(one_line(reason, 1_000))}"
    if hint := plain(hint):
        text += "\n\n" + (code_block(hint) if "\n" in hint else escape(hint))
    if repeat:
        text += f"\n\nAsk again with {inline_code(repeat)}."
    return text


def killed_reply(run_url: str) -> str:
    """The answer to a comment whose job was killed before there was a comment about its run."""
    return f"{MARKER} help -->\n### 🛑 The job ended before it could answer · {_log_link(run_url)}\n\n{_KILL_TEXT}"


def _log_link(run_url: str) -> str:
    return f"[log of the job]({run_url})"


def _quote(instruction: str) -> str:
    if instruction.strip():
        return f"\n> {escape(one_line(instruction, 300))}"
    return ""


def _describe_usage(usage: Usage) -> str:
    if not usage.turns:
        return ""
    tokens = human_count(usage.total_tokens)
    return f" {plural(usage.turns, 'turn')} · {tokens} tokens · {human_cost(usage.cost_usd)}"


def _fit(report: Report, patch: bytes, server_url: str, *, encoding: str, limit: int) -> str:
    """The fullest text of at most `limit` bytes in `encoding`; no marker is in it."""
    top, text, whole = header(report), "", patch.decode("utf-8", "replace")
    for content, diffs, rows, bottom in _ever_smaller(report, patch):
        middle = render.sections(
            content, diffs, has_patch=bool(patch), rows=rows, patch=whole if diffs else "", server_url=server_url
        )
        parts = (top, *middle, bottom, render.footer(content))
        text = "\n\n".join(filter(None, parts)).replace(MARKER, MARKER.replace(" ", ""))
        if len(text.encode(encoding, "surrogatepass")) <= limit:
            break
    return text


def _ever_smaller(report: Report, patch: bytes) -> Iterator[tuple[Report, list[str], int, str]]:
    """Everything, and then less and less of it: the report, the diffs, the rows of a table, and the text below."""
    diffs = [] if report.changes.refused else render.diff_blocks(patch)
    yield report, diffs, 200, ""
    report = replace(report, checks=_without_output(report.checks), setup=_without_output(report.setup))
    if report.verification:
        setup = _without_output(report.verification.setup)
        report = replace(report, verification=replace(report.verification, setup=setup))
    omissions = "the output of commands"
    yield report, diffs, 200, _describe_omissions(omissions)
    for count in (len(diffs) * 3 // 4, len(diffs) // 2, len(diffs) // 4, 10, 3, 1, 0):
        if count < len(diffs):
            omissions = f"the output of commands, the diffs of {plural(len(diffs) - count, 'file')}"
            yield report, diffs[:count], 200, _describe_omissions(omissions)
    for length in (20_000, 5_000, 1_000, 200, 50):
        rows = max(length // 200, 5)
        yield _shorten(report, length, rows), [], rows, _describe_omissions(f"{omissions}, long texts")


def _without_output(results: tuple[CommandResult, ...]) -> tuple[CommandResult, ...]:
    return tuple(replace(result, output="") for result in results)


def _describe_omissions(omissions: str) -> str:
    return f"_Left out here, for want of room: {omissions}. The report has all of it._"


def _shorten(report: Report, length: int, count: int) -> Report:
    """The report with texts of at most `length` characters and lists of at most `count` items."""

    def cut(text: str, length: int = length) -> str:
        return clip(text, length, " … (cut; all of it is in report.json)")

    failure, sandbox, verification = report.failure, report.sandbox, report.verification
    return replace(
        report,
        reason=cut(report.reason),
        summary=cut(report.summary),
        result=report.result if len(str(report.result)) <= length else None,
        failure=failure and replace(failure, message=cut(failure.message), hint=cut(failure.hint)),
        notes=tuple(cut(note, 200) for note in report.notes[:count]),
        verification=verification and replace(verification, beside=verification.beside[-1:]),
        changes=replace(report.changes, refused=cut(report.changes.refused or "") or None),
        sandbox=replace(sandbox, secrets=sandbox.secrets[:count], network=dict([*sandbox.network.items()][:count])),
    )

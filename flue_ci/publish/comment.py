"""The texts of comments on GitHub and of the job's summary: a report within a bound, never with a broken block.

What does not fit is left out in a fixed order, and named: the diffs of files that nobody reads line by line, outputs of
commands, other diffs, long texts. The title, the marker and the footer always stay. Pure; all text is untrusted and
goes through `safety.markdown`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from flue_ci.core.messages import Usage
from flue_ci.core.text import AGENT_NAME, clip, human_seconds, one_line, plain, plural
from flue_ci.gate.policy import MARKER, AgentTriggers
from flue_ci.gate.push_box import replace_boxes
from flue_ci.publish.ask import box_of
from flue_ci.publish.earlier_answers import add_earlier, remember, split_answers, without_sign
from flue_ci.report import markdown as render
from flue_ci.report.diffs import FileDiff
from flue_ci.report.markdown import Page
from flue_ci.report.report import Report, Trigger
from flue_ci.report.stages import STEPS
from flue_ci.report.words import shorten_markdown
from flue_ci.safety.markdown import code_block, escape, inline_code

LONGEST_BODY = 65_400  # characters; GitHub takes 65,536
_LONGEST_ANSWER = 65_000  # so that a line about earlier answers always has room
_LONG_TEXT = 20_000  # characters of a text, in a report that has to be shortened
LONGEST_SUMMARY = 1_000_000  # bytes; GitHub takes 1 MiB a step
_MARKER = re.compile(rf"{MARKER} agent=({AGENT_NAME})(?: to=\d+)? -->")
_AT_WORK = "### ⏳"
_KILL_TEXT = (
    "It ran out of time or memory, somebody cancelled it twice, or it met a bug of flue-ci: the log says which. "
    "What the agent had done is lost; its sandbox is gone. Ask again, with a longer `timeout-minutes` for the job "
    "or smaller `limits` in the spec if it was time."
)
_LEAST_PART = 4_000  # bytes; a smaller part of a diff is not worth a place
_DIFF_FRAME = 600  # bytes around a diff, without its path
_EXAMPLE = "only what is in src/"  # an instruction that suits any agent
_BAR = 10  # signs
_MAX_PLAN = 15  # items


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is: the stages that are over with their seconds, the current one ("" between two), the usage.

    Of the agent: its plan (whether an item is done, and its words), its latest `sentence`, its last `steps`, for how
    many seconds it works, and its limits of turns and minutes (None: there is none).
    """

    finished_stages: tuple[tuple[str, float], ...] = ()
    current: str = ""
    usage: Usage = field(default_factory=Usage)
    plan: tuple[tuple[bool, str], ...] = ()
    sentence: str = ""
    steps: tuple[str, ...] = ()
    seconds: float = 0.0
    max_turns: int | None = None
    max_minutes: float | None = None


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
    if box := box_of(report, patch):
        report = replace(report, published=tuple(entry for entry in report.published if entry.state != "waiting"))
    limit = 2 * (_LONGEST_ANSWER - len(first))
    return keep_answers(first + _fit(report, patch, server_url, encoding="utf-16-le", limit=limit, box=box), previous)


def keep_answers(body: str, previous: str) -> str:
    """The new body of a comment with the answers of its `previous` body below; a run at work is none. A box that
    nobody has ticked ends with its answer."""
    answer, earlier = split_answers(_split_marker(replace_boxes(previous, ""))[1])
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


def progress_comment(agent: str, progress: RunProgress, trigger: Trigger, instruction: str) -> str:
    """The comment while the run goes on: what the agent does, and a checklist of the stages."""
    seconds = dict(progress.finished_stages)
    lines = []
    for stage, step in STEPS.items():
        if stage in seconds:
            duration = f" · {human_seconds(seconds[stage])}" if seconds[stage] >= render.LEAST_SECONDS else ""
            lines.append(f"- [x] {step}{duration}")
        elif stage == progress.current:
            lines.append(f"- [ ] **{step}** …")
            if stage == "agent":
                lines += [f"  - {inline_code(words)}" for words in progress.steps]
        elif stage not in ("setup", "verify", "checks"):  # not every agent has them
            lines.append(f"- [ ] {step}")
    title = f"{_AT_WORK} {escape(agent)}: at work"
    if trigger.actor:
        title += f" for {inline_code(trigger.actor)}"
    if trigger.run_url:
        title += f" · {_log_link(trigger.run_url)}"
    plan = [f"* {'✅' if is_done else '▫️'} {escape(one_line(words, 150))}" for is_done, words in progress.plan]
    if len(plan) > _MAX_PLAN:
        plan[_MAX_PLAN:] = [f"* … and {len(plan) - _MAX_PLAN} more"]
    sentence = f"💬 {escape(one_line(progress.sentence, 300))}" if progress.sentence else ""
    if plan:
        plan.insert(0, "**Plan**\n")
    parts = (title + render.quote(instruction), _bar(progress), sentence, "\n".join(plan), "\n".join(lines))
    return f"{marker(agent, trigger.in_thread)}\n" + "\n\n".join(filter(None, parts))


def _bar(progress: RunProgress) -> str:
    """`▰▰▰▱▱▱▱▱▱▱ 9 of 30 turns · 2 of 20 minutes · $0.07`; empty before the first turn or minute."""
    turns, minutes = progress.usage.turns, int(progress.seconds // 60)
    shares, parts = [0.0], []
    for count, limit, noun in ((turns, progress.max_turns, "turn"), (minutes, progress.max_minutes, "minute")):
        if limit and (turns or minutes):
            shares.append(min(count / limit, 1.0))
            parts.append(f"{count} of {plural(int(limit), noun)}")
        elif count:
            parts.append(plural(count, noun))
    cost = render.describe_cost(turns, progress.usage.cost_usd)
    if not parts or progress.current != "agent":
        return ""
    size = round(max(shares) * _BAR)
    bar = "▰" * size + "▱" * (_BAR - size)
    return " · ".join(filter(None, [f"{bar} {parts[0]}" if len(shares) > 1 else parts[0], *parts[1:], cost]))


def help_reply(agents: Sequence[AgentTriggers], *, trigger: str) -> str:
    """Which agents a comment can ask for, what each is for, and how to ask."""
    lines = []
    for agent in agents:
        command = f"{trigger} {agent.comment}"
        if agent.comment:
            description = f": {shorten_markdown(agent.description, 300)}" if agent.description.strip() else ""
            example = inline_code(f"{command} {_EXAMPLE}")
            lines.append(
                f"- **{escape(agent.name)}**{description}\\\n  {inline_code(command)}, or for example {example}"
            )
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


def killed_reply(run_url: str, *, has_box: bool = False) -> str:
    """The answer to a comment whose job was killed before there was a comment about its run; `has_box`: it was to push
    a saved change, and the box is open again."""
    text = _KILL_TEXT
    if has_box:
        text = (
            "It was to push the saved change, and cannot say whether it did. Nothing is lost: tick the box again. What "
            "is pushed already is not pushed twice."
        )
    return f"{MARKER} help -->\n### 🛑 The job ended before it could answer · {_log_link(run_url)}\n\n{text}"


def _log_link(run_url: str) -> str:
    return f"[log of the job]({run_url})"


def _fit(report: Report, patch: bytes, server_url: str, *, encoding: str, limit: int, box: str = "") -> str:
    """The fullest text of at most `limit` bytes in `encoding`; no marker is in it but that of `box`."""
    text = ""
    if len(report.summary) > limit:
        report = _shorten(report, _LONG_TEXT, 200)
    whole = replace(render.make_page(report, patch, server_url), box=box)
    for content, page, bottom in _ever_smaller(report, whole, encoding, limit):
        text = _text(content, page, bottom)
        if _size(text, encoding) <= limit:
            break
    return text


def _text(report: Report, page: Page, bottom: str) -> str:
    parts = (*render.sections(report, page), bottom, render.footer(report, page.commit))
    own = {page.box: page.box}
    return "\n\n".join(own.get(part) or part.replace(MARKER, MARKER.replace(" ", "")) for part in parts if part)


def _size(text: str, encoding: str) -> int:
    return len(text.encode(encoding, "surrogatepass"))


def _ever_smaller(report: Report, page: Page, encoding: str, limit: int) -> Iterator[tuple[Report, Page, str]]:
    """Everything, and then less and less of it: the report, what the page shows, and the text below."""
    if MARKER in page.patch:
        page = replace(page, patch="")  # without a space of the marker it would be another one to those who copy it
    yield report, page, ""
    page = replace(page, patch="")
    bare = replace(page, diffs=[replace(diff, hunks="") for diff in page.diffs])
    names = _describe_omissions(_names(page.diffs))
    room = limit - _size(_text(report, bare, names), encoding)
    diffs, left_out = _fill(page.diffs, room, encoding)
    if all(diff.kind for diff in left_out):
        yield report, replace(page, diffs=diffs), _describe_omissions(_names(left_out))
    omissions = []
    if any(result.output and not result.passed for result in (*report.checks, *report.setup)):
        omissions = ["the output of commands but for its end"]
    page, bare = replace(page, has_outputs=False), replace(bare, has_outputs=False)
    room = limit - _size(_text(report, bare, f"{names}{omissions}"), encoding)
    diffs, left_out = _fill(page.diffs, room, encoding)
    yield report, replace(page, diffs=diffs), _describe_omissions([*omissions, *_names(left_out)])
    omissions += _names(page.diffs)
    for length in (_LONG_TEXT, 5_000, 1_000, 200, 50):
        rows = max(length // 200, 5)
        bottom = _describe_omissions([*omissions, "long texts"])
        yield _shorten(report, length, rows), replace(bare, rows=rows), bottom


def _fill(diffs: Sequence[FileDiff], room: int, encoding: str) -> tuple[list[FileDiff], list[FileDiff]]:
    """The diffs that fit into `room` bytes, one of them in part; and those that do not. They come in their order, so
    that what people write goes before what tools write."""
    result, left_out = [], []
    for diff in diffs:
        size = _size(diff.hunks, encoding) + 8 * _size(diff.path, encoding) + _DIFF_FRAME
        if not diff.hunks or size <= room:
            result.append(diff)
            room -= size
            continue
        left_out.append(diff)
        part = ""
        if room > _LEAST_PART and not diff.kind:
            part = diff.hunks[: (room - size + _size(diff.hunks, encoding)) // 4].rpartition("\n")[0]
            part += "\n… cut; all of it is in changes.patch"
            room = 0
        result.append(replace(diff, hunks=part))
    return result, left_out


def _names(diffs: Sequence[FileDiff]) -> list[str]:
    """`the diffs of a.py, b.py and 7 more files`, in a list; empty for none."""
    names = [inline_code(diff.path) for diff in diffs if diff.hunks]
    if len(names) > 4:
        names[3:] = [f"{len(names) - 3} more files"]
    if len(names) > 1:
        names[-2:] = [f"{names[-2]} and {names[-1]}"]
    return [f"the diffs of {', '.join(names)}"] if names else []


def _describe_omissions(omissions: Sequence[str]) -> str:
    if not omissions:
        return ""
    return f"_Left out here, for want of room:_ {', '.join(omissions)}. _The report has all of it._"


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
        checks=tuple(replace(result, output=result.output[-length:]) for result in report.checks),
        setup=tuple(replace(result, output=result.output[-length:]) for result in report.setup),
        verification=verification and replace(verification, beside=verification.beside[-1:]),
        changes=replace(report.changes, refused=cut(report.changes.refused or "") or None),
        sandbox=replace(sandbox, secrets=sandbox.secrets[:count], network=dict([*sandbox.network.items()][:count])),
    )

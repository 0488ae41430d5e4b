"""A report as Markdown: the answer, what was asked, the agent's words, and what the host recorded, in sections. Pure.

The report has no secrets any more. All text in it is untrusted and goes through a function of `safety.markdown`; our
own links are made after that. `report.md` is this text; the pull-request comment and the job summary are built from
the same sections. Our headings have the levels 3 and 4, an agent's are smaller: no words of an agent look like ours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from flue_ci.core.text import human_cost, human_count, human_seconds, human_tokens, one_line, plain, plural
from flue_ci.report.change_list import changes_section
from flue_ci.report.conclusion import EXIT_CODES, describe_ending, describe_verification
from flue_ci.report.delivery import how_to_take
from flue_ci.report.diffs import FileDiff, file_diffs, without_binary
from flue_ci.report.evidence import ran_no_tests, telling_line
from flue_ci.report.findings import findings_section
from flue_ci.report.links import Commit, head_commit, link_places, link_policy, repository_url
from flue_ci.report.publication import publication_section
from flue_ci.report.report import CommandResult, Report
from flue_ci.report.result_table import describe_findings, find_findings, result_section
from flue_ci.report.words import (
    LONGEST_TITLE,
    first_sentence,
    fold_rest,
    render_pieces,
    shorten_markdown,
    with_smaller_headings,
)
from flue_ci.safety.markdown import LinkPolicy, code_block, details, escape, inline_code, untrusted_markdown
from flue_ci.safety.sanitize import summarize_removals

TAIL_LINES = 20  # of a failing command's output that stay open
LEAST_SECONDS = 0.05  # a shorter time means nothing
_LEAST_COST = 0.0005  # dollars
MARKS = {"success": "✅", "no-op": "➖", "skipped": "⏭️", "partial": "⏸️", "failed": "❌", "cancelled": "🛑"}
_ANSWER = "💬"  # nothing was changed, something was said


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows of a report. `policy` says where links may lead. `has_patch`: a patch lies beside the report,
    and `patch` is shown whole where it is small. `rows` bounds each list; `has_outputs`: the outputs of failing
    commands are there in full, not only their ends. `box` is a line of ours for people to tick, "" for none."""

    diffs: Sequence[FileDiff]
    commit: Commit
    policy: LinkPolicy
    has_patch: bool = False
    patch: str = ""
    rows: int = 200
    has_outputs: bool = True
    box: str = ""


def markdown(report: Report, patch: bytes = b"") -> str:
    """The whole report. `patch` is shown file by file."""
    page = make_page(report, patch)
    parts = (*sections(report, page), figures(report), footer(report, page.commit))
    return "\n\n".join(filter(None, parts)) + "\n"


def make_page(report: Report, patch: bytes, server_url: str = "") -> Page:
    """The page with everything on it. `server_url` is that of the forge, by default the one of the job's page."""
    commit = head_commit(report, server_url)
    diffs: Sequence[FileDiff] = ()
    if not report.changes.refused:
        diffs = file_diffs(report.changes.files, without_binary(patch))
    return Page(
        diffs=diffs,
        commit=commit,
        policy=link_policy(report, server_url),
        has_patch=bool(patch),
        patch=patch.decode("utf-8", "replace"),
    )


def sections(report: Report, page: Page) -> list[str]:
    """The parts from the title to the notes, above the footer; some are empty."""
    first, summary = title_and_summary(report, page.commit)
    words, removals = _clean_words(summary, page.policy)
    words = fold_rest(link_places(words, page.commit), "The rest of the answer")
    notes = report.notes[:30]
    if removals:
        notes = (*notes, f"shown as text in what the agent said: {summarize_removals(removals)}")
    entries = "\n".join(f"- {escape(one_line(note, 1_000))}" for note in notes)
    return [
        first + quote(report.instruction),
        failure_section(report),
        words,
        link_places(result_section(report.result), page.commit),
        findings_section(report, page.commit, page.policy, page.rows),
        publication_section(report),
        checks_section(report, page),
        setup_section(report, page),
        changes_section(report.changes, page.diffs, page.commit, has_patch=page.has_patch, rows=page.rows),
        page.box,
        how_to_take(report, page.patch) if page.has_patch and not report.changes.refused else "",
        details("Notes", entries) if entries else "",
    ]


@lru_cache(maxsize=4)  # a comment that has to be shortened is made again and again of the same words
def _clean_words(summary: str, policy: LinkPolicy) -> tuple[str, Mapping[str, int]]:
    """The agent's words as they are shown, and what was replaced in them."""
    removals = Counter[str]()
    return with_smaller_headings(untrusted_markdown(summary, policy, removals)), removals


def quote(instruction: str) -> str:
    """What was asked, in a line below the title; empty for nothing."""
    if not instruction.strip():
        return ""
    return f"\n\n> {escape(one_line(instruction, 300))}"


def failure_section(report: Report) -> str:
    """Where it failed, why, when the title does not say that, and the hint: as a code block when it has several
    lines."""
    if not (failure := report.failure):
        return ""
    parts = []
    if failure.message.strip() != report.reason.strip():
        parts.append(_lines(failure.message))
    if hint := plain(failure.hint):
        parts.append(_lines(hint))
    reason = "\n\n".join(parts)
    return f"**Failed at {escape(one_line(failure.stage, 300))}.** {reason}".strip()


def _lines(text: str) -> str:
    text = plain(text).strip("\n")
    return f"\n\n{code_block(text)}" if "\n" in text else escape(text)


def checks_section(report: Report, page: Page) -> str:
    """A line for each check with what proves it, and what the checks rest on; empty without checks."""
    if not report.checks:
        return ""
    place, sentences = "", ""
    if report.verification:
        place = {"fresh": "in a clean sandbox", "same": "in the agent's own sandbox"}[report.verification.where]
        if not report.verification.isolated:
            place = "on this machine"
        sentences = " ".join(escape(one_line(text, 2_000)) for text in describe_verification(report.verification))
    checks = report.checks[: page.rows]
    parts = ["#### Checks", _command_lines(checks, page, place)]
    if sentences:
        parts.append(f"<sub>{sentences}</sub>")
    return "\n\n".join(parts)


def setup_section(report: Report, page: Page) -> str:
    """The commands of setup when one failed; empty else."""
    setup = report.setup
    if report.verification and all(result.passed for result in setup):
        setup = report.verification.setup
    if all(result.passed for result in setup):
        return ""
    return f"#### Setup\n\n{_command_lines(setup[: page.rows], page, '')}"


def _command_lines(results: Sequence[CommandResult], page: Page, place: str) -> str:
    """Failing commands with the ends of their outputs; those that passed in the lines between."""
    parts: list[str] = []
    is_open = False  # whether the next line goes on with the paragraph of the last one
    for result in results:
        line = _command_line(result, place)
        if is_open:
            parts[-1] += f"\\\n{line}"
        else:
            parts.append(line)
        output = "" if result.passed else plain(result.output).strip("\n").rstrip()
        is_open = not output
        if output:
            parts += _output(output, page)
    return "\n\n".join(parts)


def _output(output: str, page: Page) -> list[str]:
    """The end of the output, open; and all of it, folded, when there is more."""
    lines = output.split("\n")
    tail = "\n".join(line[:500] for line in lines[-TAIL_LINES:])
    parts = [code_block(tail)]
    if page.has_outputs and len(tail) < len(output):
        summary = f"All of the output, {plural(len(lines), 'line')}"
        parts.append(details(summary, code_block(output)))
    return parts


def _command_line(result: CommandResult, place: str) -> str:
    """`✅ **tests** `pytest -q` → 0 · *12 passed in 0.3s* · in a clean sandbox`."""
    name = f"**{escape(one_line(result.name, 100))}**"
    if one_line(result.name) == one_line(result.command):
        name = ""
    subject = f"{name} {inline_code(result.command)}".strip()
    if result.state == "not-run":
        return f"⬜ {subject} · not run"
    mark, has_tests = "✅", not ran_no_tests(result.output)
    if not result.passed:
        mark = "❌"
    elif not has_tests:
        mark = "⚠️"
    parts = [f"{mark} {subject} → {_ending(result)}"]
    if not has_tests:
        parts.append("⚠️ **ran 0 tests**")
    if words := telling_line(result.output):
        parts.append(f"*{escape(words)}*")
    if result.seconds >= LEAST_SECONDS and not result.timed_out:
        parts.append(human_seconds(result.seconds))
    if place:
        parts.append(place)
    return " · ".join(parts)


def _ending(result: CommandResult) -> str:
    if result.state == "unknown":
        return "exit code not known"
    return describe_ending(result) if result.timed_out else str(result.exit_code)


def footer(report: Report, commit: Commit) -> str:
    """One line: agent, requester, commit, time, cost, network, secrets, and where to see more."""
    trigger, base = report.trigger, report.base
    subject = f"**{escape(one_line(report.agent, 100))}**" if report.agent else ""
    if trigger and trigger.actor:
        subject += f" for {inline_code(trigger.actor)}"
    if commit.sha:
        subject += f" on {commit.link}"
    elif base.sha:
        name = f"{base.ref or 'detached'}@{base.sha[:7]}"
        subject += f" on {inline_code(name)}{' + uncommitted work' if base.dirty else ''}"
    parts = [subject.strip(), describe_duration(report), describe_cost(report.usage.turns, report.usage.cost_usd)]
    parts.append(describe_network(report))
    if secrets := report.sandbox.secrets:
        parts.append(f"secrets inside: {', '.join(inline_code(name) for name in secrets)}")
    if trigger and trigger.run_url:
        parts.append(f"[log of the job]({trigger.run_url})")
    if report.spec:
        parts.append(_spec_link(report))
    return f"<sub>{' · '.join(filter(None, parts))}</sub>"


def _spec_link(report: Report) -> str:
    url, sha = repository_url(report), report.trigger.spec_sha if report.trigger else ""
    if not url or not sha:
        return f"spec {inline_code(report.spec)}"
    return f"[spec]({Commit(url=url, sha=sha).blob_url(report.spec)})"


def figures(report: Report) -> str:
    """What the run used, for those who look closely: model, turns, tokens, sandboxes. Without what it did not use."""
    usage, sandbox = report.usage, report.sandbox
    parts = []
    if report.model:
        parts.append(escape(one_line(report.model, 100)))
    if usage.turns:
        parts.append(plural(usage.turns, "turn"))
    if usage.known_tokens is None:
        parts.append(human_tokens(None))
    elif usage.total_tokens:
        tokens = f"{human_count(usage.cache_read_tokens)} cached, {human_count(usage.output_tokens)} out"
        parts.append(f"{human_count(usage.total_tokens)} tokens ({tokens})")
    if sandbox.template:
        parts.append(f"{escape(one_line(sandbox.provider, 100))} sandbox {inline_code(sandbox.template)}")
        if sandbox.seconds >= LEAST_SECONDS:
            parts[-1] += f" for {human_seconds(sandbox.seconds)}"
        if report.verification and (clean := report.verification.sandbox):
            parts[-1] += f" + a clean one for {human_seconds(clean.seconds)}"
    if sandbox.network:
        phases = " · ".join(f"{phase}: {mode}" for phase, mode in sandbox.network.items())
        parts.append(f"network {escape(one_line(phases, 300))}")
    return f"<sub>{' · '.join(parts)}</sub>" if parts else ""


def describe_duration(report: Report) -> str:
    """How long the run took; empty when that is next to nothing."""
    seconds = report.timings.get("total", 0.0)
    return human_seconds(seconds) if seconds >= LEAST_SECONDS else ""


def describe_cost(turns: int, cost_usd: float | None) -> str:
    """What the model cost; empty for nothing, and for a model that was not asked."""
    if not turns or (cost_usd is not None and cost_usd < _LEAST_COST):
        return ""
    return human_cost(cost_usd)


def describe_network(report: Report) -> str:
    """The network of the agent in words: `network closed`, `network open`, `network: packages.example.com`;
    empty when it never started."""
    network = report.sandbox.network
    mode = network.get("agent", "")
    if mode in ("none", "open"):
        return {"none": "network closed", "open": "network open"}[mode]
    return f"network: {escape(one_line(mode, 100))}" if mode else ""


def title_and_summary(report: Report, commit: Commit) -> tuple[str, str]:
    """The title, one line that says how the run ended, and the agent's words without the sentence that became it.

    It is what a review found, or the agent's first sentence, or, where the run did not end well or the agent said
    nothing, the reason that the host recorded. A sentence stays when it is cut in the title, or has what the title
    cannot have: a link, or a place in a file of `commit`.
    """
    mark, summary = MARKS[report.conclusion], report.summary
    if EXIT_CODES[report.conclusion] or report.conclusion == "skipped":
        return f"### {mark} {_reason(report)}", summary
    if not report.changes.files:
        mark = _ANSWER
        findings = find_findings(report.result)
        if findings is not None:
            words = describe_findings(findings)
            return f"### {mark} {words[0].upper()}{words[1:]}", summary
    sentence = first_sentence(summary)
    if sentence is None:
        return f"### {_mark_of_reason(report)} {_reason(report)}", summary
    words = render_pieces(sentence.pieces)
    beginning = summary.removesuffix(sentence.rest)
    if len(sentence.visible) <= LONGEST_TITLE and link_places(beginning, commit) == beginning:
        summary = sentence.rest
    return f"### {mark} {words}", summary


def _mark_of_reason(report: Report) -> str:
    """Words without a sentence, such as a list, are an answer as well."""
    if not report.changes.files and (report.summary.strip() or report.result is not None):
        return _ANSWER
    return MARKS[report.conclusion]


def _reason(report: Report) -> str:
    reason = shorten_markdown(one_line(report.reason, 1_000), 300)
    if report.agent:  # the run may have ended before one was chosen
        reason = f"{shorten_markdown(report.agent)}: {reason}"
    return reason

"""The transcript of a run as a folded section of a job's summary: a fold for each turn, with what the model said, its
calls, and the last lines of their outputs.

Pure; every text of a stranger stands in a code block or a code span.
"""

from collections.abc import Sequence

from flue_ci.core.text import human_cost, human_seconds, human_tokens, one_line, plural
from flue_ci.report.page.timeline import Call, Command, Note, Timeline, Turn
from flue_ci.safety.markdown import code_block, details, html, inline_code

LONGEST = 200_000  # bytes
_SHORTEST = 0.1  # seconds that are worth a number
_CALLS = 3  # of a turn, in its title
_OUTPUT_LINES, _OUTPUT_CHARS, _WORDS_CHARS = 10, 1_500, 4_000


def transcript_section(timeline: Timeline, limit: int = LONGEST) -> str:
    """The section in at most `limit` bytes; without turns there is none. Turns in the middle are left out first."""
    if not timeline.turns:
        return ""
    blocks = [block for item in timeline.items if (block := _block(item))]
    blocks = _within(blocks, limit - 1_000)
    if not blocks:
        return ""
    if timeline.omission:
        blocks.append(timeline.omission)
    return details(f"Transcript · {plural(len(timeline.turns), 'turn')}", "\n\n".join(blocks))


def _within(blocks: Sequence[str], limit: int) -> list[str]:
    """The first and the last blocks that fit together, with a line between them when some do not."""
    sizes = [len(block.encode("utf-8", "replace")) + 2 for block in blocks]
    if sum(sizes) <= limit:
        return list(blocks)
    first, last, room = 0, len(blocks), limit
    while first < last and room >= 0:
        at_end = (len(blocks) - last) <= first
        room -= sizes[last - 1 if at_end else first]
        if room >= 0 and at_end:
            last -= 1
        elif room >= 0:
            first += 1
    if first == 0 and last == len(blocks):
        return []
    return [*blocks[:first], f"… {last - first} more stand in `transcript.jsonl` …", *blocks[last:]]


def _block(item: object) -> str:
    match item:
        case Turn():
            return _turn(item)
        case Command(name=name, ending=ending):
            return f"- {_mark(is_good=item.has_passed)} {inline_code(name)}: {ending}{_time(item.seconds)}"
        case Note(text=text):
            return f"- ! {inline_code(text)}"
    return ""


def _turn(turn: Turn) -> str:
    titles = [f"<code>{html(one_line(f'{call.name} {call.subject}', 80))}</code>" for call in turn.calls[:_CALLS]]
    if len(turn.calls) > _CALLS:
        titles.append(plural(len(turn.calls) - _CALLS, "more call"))
    parts = [f"Turn {turn.number}", ", ".join(titles) or "last words"]
    if turn.usage.known_tokens != 0:
        parts.append(human_tokens(turn.usage.known_tokens))
    if turn.cost_usd:
        parts.append(f"{human_cost(turn.cost_usd)} so far")
    failures = sum(call.is_error for call in turn.calls)
    if failures:
        parts.append(f"{failures} failed")
    lines = [turn.text.strip()[:_WORDS_CHARS]]
    for call in turn.calls:
        lines += _call(call)
    text = "\n".join(line for line in lines if line)
    return details(" · ".join(parts), code_block(text)) if text else f"- {' · '.join(parts)}"


def _call(call: Call) -> list[str]:
    note = f" → {call.note}" if call.note else ""
    title = f"{_mark(is_good=not call.is_error)} {call.name} {call.subject}{note}{_time(call.seconds or 0.0)}"
    output = call.output.removesuffix(f"[{call.note}]").strip("\n")[-_OUTPUT_CHARS:].splitlines()
    lines = [f"    {line}" for line in output[-_OUTPUT_LINES:]]
    if len(output) > _OUTPUT_LINES:
        lines.insert(0, "    …")
    return [title, *lines]


def _mark(*, is_good: bool) -> str:
    return "✓" if is_good else "✗"


def _time(seconds: float) -> str:
    return f" ({human_seconds(seconds)})" if seconds >= _SHORTEST else ""

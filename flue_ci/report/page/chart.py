"""The charts of a run: context, answers and cost over its turns, as numbers that the template draws in SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from flue_ci.core.text import human_cost, human_count, plural
from flue_ci.report.page.timeline import Turn

WIDTH, HEIGHT = 600, 72  # of one chart, in its own units
MAX_BARS = 200


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
    """A chart for each quantity that was ever more than nothing, when there are two turns or more."""
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

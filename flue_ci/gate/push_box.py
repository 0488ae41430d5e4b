"""The box in a comment of ours that a person ticks to have the saved change pushed (`publish.when: ask`).

An edited comment counts in this one case only: when the edit did nothing but tick that box. What is to be pushed is
read from the text before the edit, and names the saved run by digests. Pure; standard library, Python 3.9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flue_ci.core.text import AGENT_NAME

_FIRST = re.compile(rf"<!-- flue-ci agent=({AGENT_NAME}) -->\n")
_BOX = re.compile(
    r"^- \[(?P<sign>[ x])\] <!-- flue-ci push workflow=(?P<workflow>[A-Za-z0-9_.-]{1,100}) "
    r"run=(?P<run>[1-9][0-9]{0,18}) attempt=(?P<attempt>[1-9][0-9]{0,5}) head=(?P<head>[0-9a-f]{40}) "
    r"artifact=(?P<artifact>[0-9a-f]{64}) patch=(?P<patch>[0-9a-f]{64}) -->[^\n]*$",
    re.MULTILINE,
)
_SIGN = len("- [")  # where the sign of a box is


@dataclass(frozen=True)
class PushBox:
    """What a box is about: the change that `agent` made at the commit `head`, in an attempt of a run of `workflow` (the
    name of its file). `artifact` and `patch` are SHA-256 in hexadecimal: of the archive with the report, and of its
    patch."""

    agent: str
    workflow: str
    run: int
    attempt: int
    head: str
    artifact: str
    patch: str


def box_line(box: PushBox, words: str) -> str:
    """The open box as a line of Markdown; "" for what cannot stand in one."""
    marker = (
        f"<!-- flue-ci push workflow={box.workflow} run={box.run} attempt={box.attempt} head={box.head} "
        f"artifact={box.artifact} patch={box.patch} -->"
    )
    line = f"- [ ] {marker} {words}"
    return line if _BOX.fullmatch(line) else ""


def find_tick(before: str, after: str) -> PushBox | None:
    """The box of a comment of ours that an edit has ticked, when it did nothing else."""
    before, after = _normalize(before), _normalize(after)
    first, boxes = _FIRST.match(before), list(_BOX.finditer(before))
    if not first or len(boxes) != 1:
        return None
    match = boxes[0]
    sign = match.start() + _SIGN
    if match["sign"] != " " or after != f"{before[:sign]}x{before[sign + 1 :]}":
        return None
    texts = {name: match[name] for name in ("workflow", "head", "artifact", "patch")}
    return PushBox(agent=first[1], run=int(match["run"]), attempt=int(match["attempt"]), **texts)


def replace_boxes(body: str, text: str) -> str:
    """The comment with `text` in place of each box, open or ticked."""
    return _BOX.sub(lambda _: text, _normalize(body))


def is_same_text(body: str, other: str) -> bool:
    """Whether two bodies are one comment: browsers change the kind of line ends, GitHub the end of the text."""
    return _normalize(body) == _normalize(other)


def _normalize(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip()

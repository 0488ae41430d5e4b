"""The tools by which an agent proposes a description of its changes, labels, triage, check runs and replies. Each
counts its own calls; nothing happens before the run is over."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from flue_ci.agent.tools.tool import ToolContext, ToolError, ToolOutput, built_in_spec
from flue_ci.core.messages import JSON
from flue_ci.core.proposals import (
    Annotation,
    ChangeDescription,
    CheckRunProposal,
    Conclusion,
    LabelProposal,
    Level,
    Proposal,
    ReplyProposal,
    TriageProposal,
)
from flue_ci.core.text import first_few, one_line

MAX_ANNOTATIONS = 200
MAX_LINE = 1_000_000
_TITLE_CHARS = 200


class _ProposalTool:
    """What these tools have in common: a run may make only some proposals of a kind."""

    writes = False

    def __init__(self) -> None:
        self._count = 0  # of those that were accepted

    def _too_many(self, limit: int) -> str:
        """The reason why one more is refused; empty when it is not."""
        return f"a run may propose {limit:,} of this kind" if self._count >= limit else ""

    def _answer(self, proposal: Proposal, note: str, *reasons: str) -> ToolOutput:
        """Refuses the proposal for the first of `reasons` that is not empty."""
        reason = next(filter(None, reasons), "")
        proposal = replace(proposal, accepted=not reason, reason=reason)
        if reason:
            return ToolOutput(text=f"Refused: {reason}.", note="refused", is_error=True, proposal=proposal)
        self._count += 1
        return ToolOutput(text="Noted; it is done when the run is over.", note=note, proposal=proposal)


def _unknown(kind: str, names: Sequence[str], choices: Sequence[str]) -> str:
    """The reason why these names are refused; empty when all are allowed."""
    unknown = [name for name in names if name not in choices]
    if not unknown:
        return ""
    choice = first_few(choices, 20) or "none"
    return f"{kind} {first_few([one_line(name, 60) for name in unknown], 3)} may not be used here, only: {choice}"


def _texts(arguments: Mapping[str, JSON], name: str) -> tuple[str, ...]:
    values = arguments.get(name, [])
    if not all(isinstance(value, str) for value in values):
        raise ToolError(f"{name!r} must be a list of texts.")
    return tuple(dict.fromkeys(values))


class DescribeChange:
    """Title and text for the commit or the pull request. The last call counts."""

    spec = built_in_spec("describe_change")
    writes = False

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result when there is no title."""
        title, body = one_line(arguments["title"], _TITLE_CHARS), arguments.get("body", "").strip()
        if not title:
            return ToolOutput(text="The title is empty.", note="refused", is_error=True)
        return ToolOutput(text="Noted.", note=title, proposal=ChangeDescription(title=title, body=body))


class AddLabel(_ProposalTool):
    """A label from `publish.labels` for the pull request or issue."""

    spec = built_in_spec("add_label")

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result for a label that is not in the list."""
        name = arguments["label"].strip()
        return self._answer(LabelProposal(name=name), name, _unknown("label", [name], context.rules.labels))


class Triage(_ProposalTool):
    """Labels, people and the older issue for an issue."""

    spec = built_in_spec("triage")

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result for names that are not in the lists, and for nothing."""
        labels, assignees = _texts(arguments, "labels"), _texts(arguments, "assignees")
        duplicate = arguments.get("duplicate_of")
        if not (labels or assignees or duplicate):
            raise ToolError("Nothing is proposed: give labels, assignees or duplicate_of.")
        explanation, rules = arguments.get("explanation", ""), context.rules
        return self._answer(
            TriageProposal(labels=labels, assignees=assignees, duplicate_of=duplicate, explanation=explanation),
            ", ".join((*labels, *assignees)),
            self._too_many(rules.triages),
            _unknown("label", labels, rules.labels),
            _unknown("login", assignees, rules.assignees),
            "duplicate_of is the number of an issue" if duplicate is not None and duplicate < 1 else "",
        )


class WriteCheckRun(_ProposalTool):
    """A check run with annotations on lines."""

    spec = built_in_spec("check_run")

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result for annotations that GitHub would refuse."""
        conclusion = arguments.get("conclusion", "neutral")
        if conclusion not in get_args(Conclusion):
            raise ToolError(f"'conclusion' must be one of {', '.join(get_args(Conclusion))}.")
        items = arguments.get("annotations", [])
        if len(items) > MAX_ANNOTATIONS:
            raise ToolError(f"There may be {MAX_ANNOTATIONS} annotations, not {len(items)}.")
        annotations = tuple(_annotation(item, number) for number, item in enumerate(items, start=1))
        title = one_line(arguments["title"], _TITLE_CHARS)
        if not title:
            raise ToolError("The title is empty.")
        proposal = CheckRunProposal(
            title=title, summary=arguments["summary"], conclusion=conclusion, annotations=annotations
        )
        return self._answer(proposal, title, self._too_many(context.rules.check_runs))


def _annotation(item: JSON, number: int) -> Annotation:
    """Raises `ToolError` for what is no annotation; `number` counts from 1."""
    if not isinstance(item, Mapping):
        raise ToolError(f"Annotation {number} is no object.")
    path, start = item.get("path"), item.get("start_line", item.get("line"))
    end = item.get("end_line", start)
    level, title, message = item.get("level", "notice"), item.get("title", ""), item.get("message")
    if not isinstance(path, str) or not path or path.startswith("/") or ".." in path.split("/"):
        raise ToolError(f"Annotation {number}: `path` must be a path relative to the repository.")
    if type(start) is not int or type(end) is not int or not 1 <= start <= end <= MAX_LINE:
        raise ToolError(f"Annotation {number}: `start_line` and `end_line` must be line numbers from 1, in order.")
    if level not in get_args(Level):
        raise ToolError(f"Annotation {number}: `level` must be one of {', '.join(get_args(Level))}.")
    if not isinstance(title, str) or not isinstance(message, str) or not message.strip():
        raise ToolError(f"Annotation {number}: `message` must be a text that is not empty.")
    return Annotation(path=path, start_line=start, end_line=end, level=level, title=title, message=message)


class WriteReply(_ProposalTool):
    """A comment of its own below the pull request or issue."""

    spec = built_in_spec("reply")

    async def call(self, arguments: Mapping[str, JSON], context: ToolContext) -> ToolOutput:
        """An error result for an empty reply, and for one too many."""
        body = arguments["body"].strip()
        reasons = ("it is empty" if not body else "", self._too_many(context.rules.replies))
        return self._answer(ReplyProposal(body=body), one_line(body, 60), *reasons)

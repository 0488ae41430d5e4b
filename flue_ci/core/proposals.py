"""What an agent wants published, as typed values.

A tool makes a proposal and accepts it or not by the rules of the run; after the run a publisher acts on those that were
accepted.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from flue_ci.core.review_scope import ReviewScope

Severity = Literal["critical", "high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Level = Literal["notice", "warning", "failure"]
Conclusion = Literal["neutral", "success", "failure"]  # of a check run
Side = Literal["RIGHT", "LEFT"]  # of a diff, as GitHub calls them: the new file, the old one


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A note on lines `start_line` to `end_line` (from 1) of a file at the head, for a check run."""

    path: str
    start_line: int
    end_line: int
    level: Level = "notice"
    title: str = ""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What every proposal has: whether the rules accept it, and if not, why."""

    accepted: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDescription(Verdict):
    """What the changes are for: the message of a commit, or title and text of a pull request."""

    kind: Literal["change"] = "change"
    title: str
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewComment(Verdict):
    """A finding on lines of the diff. `start_line` is None for a single line; `suggestion` are the lines that should
    stand in their place. `finding` is the id of an earlier finding that this one is again, or `new`.

    `in_summary`: the place is not in the diff, so that it stands in the review's own text. `fingerprint` recognizes it
    when it is found again, see `review_scope.fingerprint`.
    """

    kind: Literal["review_comment"] = "review_comment"
    path: str
    line: int
    start_line: int | None = None
    side: Side = "RIGHT"
    severity: Severity = "medium"
    category: str = ""
    title: str
    body: str = ""
    suggestion: str | None = None
    finding: str = ""
    in_summary: bool = False
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingOutcome(Verdict):
    """What became of an earlier finding: it is fixed, or it was a mistake (`withdrawn`)."""

    kind: Literal["finding_outcome"] = "finding_outcome"
    finding: str
    outcome: Literal["fixed", "withdrawn"]
    explanation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProposal(Verdict):
    """A label for the pull request or issue."""

    kind: Literal["label"] = "label"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriageProposal(Verdict):
    """What an issue needs: labels, people, and the number of the issue that it repeats."""

    kind: Literal["triage"] = "triage"
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    duplicate_of: int | None = None
    explanation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRunProposal(Verdict):
    """A check run at the head commit, with notes on lines."""

    kind: Literal["check_run"] = "check_run"
    title: str
    summary: str = ""
    conclusion: Conclusion = "neutral"
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyProposal(Verdict):
    """A comment of its own below the pull request or issue."""

    kind: Literal["reply"] = "reply"
    body: str


Proposal = (
    ChangeDescription
    | ReviewComment
    | FindingOutcome
    | LabelProposal
    | TriageProposal
    | CheckRunProposal
    | ReplyProposal
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRules:
    """What the agent may propose in this run. A number is the most of that kind, 0 for none. `review` is what the
    review is about, known when the run has begun."""

    change: bool = False
    review_comments: int = 0
    labels: tuple[str, ...] = ()
    triages: int = 0
    assignees: tuple[str, ...] = ()
    check_runs: int = 0
    replies: int = 0
    review: ReviewScope | None = None

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that the agent has for it."""
        wishes = {
            "describe_change": self.change,
            "review_comment": self.review_comments,
            "close_finding": self.review_comments,
            "add_label": self.labels,
            "triage": self.triages,
            "check_run": self.check_runs,
            "reply": self.replies,
        }
        return tuple(name for name, is_wanted in wishes.items() if is_wanted)

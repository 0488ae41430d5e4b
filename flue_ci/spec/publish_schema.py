"""What becomes of the result, as the spec says it: comment, changes, review, labels and other outputs."""

from typing import Annotated, Literal

from pydantic import Field

from flue_ci.core.registry import Registry
from flue_ci.spec.parts import Part, Texts, all_defaults, or_name

OTHER_PUBLISHERS = Registry(kind="publisher", group="flue_ci.publishers", built_in={})  # those of other packages
PUSHES = ("commit", "pull-request")  # what of `publish.changes` writes to a branch
DEFAULT_BRANCH_NAME = "flue/{agent}-{number}-{slug}"
MAX_REVIEW_COMMENTS = 30  # in one review
MAX_PROPOSALS = 50  # of one kind in one run
Changes = Annotated[Literal["patch", "commit", "pull-request", "suggest", "none"], or_name(OTHER_PUBLISHERS.knows)]
When = Literal["checks-pass", "always", "ask"]
Most = Annotated[int, Field(ge=1, le=MAX_PROPOSALS)]


class PullRequestSpec(Part):
    """The pull request that `publish.changes: pull-request` opens."""

    draft: bool = False
    reviewers: Texts = ()
    labels: Texts = ()
    forks: bool = False


class TriageSpec(Part):
    """What an agent may do with an issue."""

    max: Most = 1
    assignees: Texts = ()


class CheckRunSpec(Part):
    """Check runs with annotations that an agent may write."""

    max: Most = 1


class ReplySpec(Part):
    """Replies that an agent may write beside the comment with the report."""

    max: Most = 1


class RepairSpec(Part):
    """How often an agent may repair the CI of a branch."""

    attempts: int = Field(2, ge=1, le=10)


class PublishSpec(Part):
    """What flue-ci does with the result on GitHub."""

    comment: Literal["sticky", "new", "none"] = "sticky"
    changes: Changes = "patch"
    when: When | None = None
    branch: str = Field(DEFAULT_BRANCH_NAME, min_length=1, max_length=200)
    commits: Literal["squash", "keep"] = "squash"
    pull_request: PullRequestSpec = all_defaults(PullRequestSpec)
    review: bool = False
    labels: Texts = ()
    triage: TriageSpec | None = None
    check_run: CheckRunSpec | None = None
    reply: ReplySpec | None = None
    protect: Texts = ()
    allow: Texts = ()

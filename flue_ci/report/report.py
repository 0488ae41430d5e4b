"""The report: a whole run as one serialisable value. Everything that people see is rendered from it.

`from_json(to_json(report)) == report`, so that another process with other rights can publish it. The patch is a file
beside it, named in `changes.patch`.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from flue_ci.core.changes import ChangedFile
from flue_ci.core.errors import UsageError
from flue_ci.core.messages import Usage
from flue_ci.core.proposals import Proposal, ProposalRules

if TYPE_CHECKING:
    from pydantic import TypeAdapter

VERSION = 1
MAX_NUMBER = 10**15  # of a report that is read back: GitHub's ids are smaller, and so is whatever is counted
MAX_EXIT_CODE = 255
NO_EXIT_CODE = -1  # of a command that did not run
Conclusion = Literal["success", "no-op", "skipped", "partial", "failed", "cancelled"]
CONCLUSIONS: tuple[Conclusion, ...] = get_args(Conclusion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The state before the run. `ref` is the branch, or None when detached. `dirty`: uncommitted work was added to
    commit `sha`."""

    ref: str | None = None
    sha: str = ""
    dirty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherChanges:
    """Work beside the changes, such as another branch or a stash. `label` names it for people, `patch` is its file in
    the report folder; `files`, `added` and `deleted` are numbers. No check has run on it."""

    label: str
    patch: str
    files: int = 0
    added: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCommit:
    """A commit of the agent's that is to be kept. `patch` is the file in the report folder with all changes up to it,
    measured against the base."""

    message: str
    patch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The verified list; `patch` names the file that holds the patch, or is None when there is none.

    `refused` is the reason why the changes were not accepted; their bytes are then in `changes.refused.patch`.
    `protected` are the paths among them that run or configure something as soon as somebody works there. `other_work`
    is what the agent left elsewhere in git; `commits` are its commits, oldest first, where the spec keeps them.
    """

    files: tuple[ChangedFile, ...] = ()
    added: int = 0
    deleted: int = 0
    patch: Literal["changes.patch"] | None = None
    refused: str | None = None
    protected: tuple[str, ...] = ()
    other_work: tuple[OtherChanges, ...] = ()
    commits: tuple[AgentCommit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """A command that the host ran in the sandbox. `output` is text, bounded, head and tail.

    `state`: it `ended`; it was `not-run`; or it ended and the sandbox did not say how (`unknown`). Only one that ended
    can have passed; the others have an exit code that is not 0.
    """

    name: str
    command: str
    exit_code: int
    timed_out: bool = False
    seconds: float = 0.0
    output: str = ""
    state: Literal["ended", "not-run", "unknown"] = "ended"

    @property
    def passed(self) -> bool:
        """Exit code 0 in time."""
        return self.state == "ended" and self.exit_code == 0 and not self.timed_out


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxUsed:
    """`network` is the network by phase, as text; `secrets` are the names of those that were visible inside. `seconds`
    is how long it lived."""

    provider: str
    id: str = ""
    template: str = ""
    network: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the checks rest on.

    `where`: `fresh`, a second sandbox with the base and the changes and nothing else of the agent's, or `same`, the
    agent's own. Not `isolated`: both are folders of one machine. `ready`: the checks were started there. `sandbox` is
    the second one, when it was started; `setup` what setup did in it, and `setup_again` whether it ran once more after
    the changes. `root`: the ordinary user inside can become root without a password, so what ran there could speak for
    the checks. `unquiet` says what of the agent's could not be ended before the changes were collected. `beside` names
    what the checks of `same` saw beside the changes: at most 20 names and a count.
    """

    where: Literal["fresh", "same"]
    isolated: bool = True
    ready: bool = False
    sandbox: SandboxUsed | None = None
    setup: tuple[CommandResult, ...] = ()
    setup_again: bool = False
    root: bool = False
    unquiet: str = ""
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Where it failed, what happened, and what to do next (may be empty)."""

    stage: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What started the run on a forge. `repo` is `owner/name`; `number` the pull request or issue, None for neither.

    `comment_id` is the comment that asked for the run, `in_thread` the same when it is a review comment: the answer
    goes into its thread. `run_url` is the page of the job, `workflow` the name of its workflow's file, `spec_sha` the
    commit of spec, instructions and skills.
    """

    event: str
    actor: str = ""
    repo: str = ""
    repo_id: int = 0
    number: int | None = None
    is_pull_request: bool = False
    head_sha: str = ""
    from_fork: bool = False
    comment_id: int | None = None
    in_thread: int | None = None
    url: str = ""
    run_url: str = ""
    workflow: str = ""
    spec_sha: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPullRequest:
    """The pull request that the spec wants for the changes. `forks`: also in a run on a fork's pull request."""

    draft: bool = False
    reviewers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    forks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """How the spec wants the report to be published, see `PublishSpec`. `links` are hosts that links may lead to,
    besides the forge; `rules` what the agent may propose; `roles` who may tick the box of `when: ask`. `repair` is how
    often CI may be repaired in a row, 0 for no repair."""

    comment: Literal["sticky", "new", "none"] = "sticky"
    links: tuple[str, ...] = ()
    changes: str = "patch"
    when: Literal["checks-pass", "always", "ask"] = "checks-pass"
    branch: str = ""
    commits: Literal["squash", "keep"] = "squash"
    protect: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    pull_request: NewPullRequest = field(default_factory=NewPullRequest)
    rules: ProposalRules = field(default_factory=ProposalRules)
    roles: tuple[str, ...] = ()
    repair: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRecord:
    """What a review rests on, besides its proposals.

    It is of commit `head`; `since` is that of the last review, `changed_files` how many differ between the two.
    `looked_at` are paths that the agent's tools have shown to it, `moves` see `ReviewScope`. Not `complete`: it ended
    early, or was an answer in a thread. `asked_about` is the id of the finding in whose thread the agent was asked.
    """

    head: str
    since: str = ""
    changed_files: int = 0
    looked_at: tuple[str, ...] = ()
    moves: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False
    asked_about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publisher did with the report. `url` is the page where people find it; `detail` one line about it.

    `state`: it is `done`; it was `refused`, for the reason in `detail`; it waits for a person; or there was
    nothing to do. `commit` is the full
    name of the commit that was made; `verified` what the forge said of its signature, None when there is no commit.
    """

    publisher: str
    url: str = ""
    detail: str = ""
    state: Literal["done", "refused", "waiting", "nothing"] = "done"
    commit: str = ""
    verified: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Where the files of the run can be had on the forge: the artifact `name` of the run at `Trigger.run_url`, for
    `days` days; `url` is its page, and `digest` the SHA-256 of its archive in hexadecimal, "" before it is uploaded.
    `missing` is the reason why there is none. All empty: nobody knows of one, as in a local run."""

    name: str = ""
    url: str = ""
    digest: str = ""
    days: int = 0
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run. Times in seconds, money in US dollars, `started` in RFC 3339 (UTC). `references` are files of the base
    that the agent's answer names."""

    version: int = VERSION
    conclusion: Conclusion
    reason: str
    exit_code: int
    agent: str
    instruction: str = ""
    summary: str = ""
    result: Any = None
    base: Base = field(default_factory=Base)
    changes: Changes = field(default_factory=Changes)
    setup: tuple[CommandResult, ...] = ()
    checks: tuple[CommandResult, ...] = ()
    verification: Verification | None = None
    references: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    sandbox: SandboxUsed
    model: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    started: str = ""
    spec: str = ""
    flue_ci: str = ""
    trigger: Trigger | None = None
    publish: Publishing = field(default_factory=Publishing)
    proposals: tuple[Proposal, ...] = ()
    review: ReviewRecord | None = None
    published: tuple[Published, ...] = ()
    artifact: Artifact = field(default_factory=Artifact)


def to_json(report: Report) -> str:
    """The report as indented JSON, keys in the order of the class."""
    return json.dumps(asdict(report), indent=2)


def from_json(text: str | bytes) -> Report:
    """The report of `to_json`. Raises `UsageError` for anything else, also for another version, a number that is not
    finite, and one that no run could have written."""
    from pydantic import ValidationError

    try:
        version = json.loads(text, parse_constant=_finite, parse_float=_finite).get("version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"this is not a report: {error}") from error
    if version != VERSION:
        message = f"the report has version {version!r:.100}, this flue-ci reads version {VERSION}"
        raise UsageError(message, hint="use the flue-ci that wrote it")
    try:
        report = _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"the report is damaged at {place}: {first['msg']}") from error
    for place, number in _numbers(report):
        limit = MAX_EXIT_CODE if place.endswith("exit_code") else MAX_NUMBER
        if not 0 <= number <= limit:
            raise UsageError(f"the report is damaged at {place}: not a number from 0 to {limit:,}")
    return report


@cache
def _adapter() -> "TypeAdapter[Report]":
    from pydantic import TypeAdapter

    return TypeAdapter(Report)


def _finite(number: str) -> float:
    """Raises `ValueError` for `NaN`, `Infinity`, and a number that is too large to be another one, such as `1e400`."""
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number[:20]} is no finite number")
    return value


def _numbers(value: object, place: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a report with their places, without those of the agent's own answer, which mean nothing to us."""
    children: Iterator[tuple[object, object]] = iter(())
    if isinstance(value, CommandResult) and value.state == "not-run" and value.exit_code == NO_EXIT_CODE:
        value = replace(value, exit_code=0)
    if is_dataclass(value):
        children = ((each.name, getattr(value, each.name)) for each in fields(value) if each.type is not Any)
    elif isinstance(value, Mapping):
        children = iter(value.items())
    elif isinstance(value, tuple):
        children = iter(enumerate(value))
    elif isinstance(value, int | float):
        yield place, value
    for name, child in children:
        yield from _numbers(child, f"{place}.{name}".removeprefix("."))

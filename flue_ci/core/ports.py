"""The seams, on one page: what the core asks of a sandbox, a model, an engine and a forge. Adapters implement them,
`assembly` chooses.

Small protocols. What only some implementations can do gets a protocol of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from flue_ci.core.discussion import Account, Comment, Discussion, Issue, PullRequest
from flue_ci.core.events import Observer
from flue_ci.core.messages import Conversation, Message, Outcome, Reply
from flue_ci.core.proposals import ProposalRules

User = Literal["user", "root"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRule:
    """A header that the sandbox provider's egress proxy adds to requests to `host`; the value never enters the
    sandbox."""

    host: str
    header: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Egress of one phase: `open`, `none`, or only `hosts`. `inject` needs a provider with an egress proxy."""

    mode: Literal["open", "none", "hosts"] = "none"
    hosts: tuple[str, ...] = ()
    inject: tuple[HeaderRule, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.hosts) if self.mode == "hosts" else self.mode


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRequest:
    """What `open` of a provider needs. `env` is all that commands see beyond PATH, HOME, USER, LOGNAME, LANG and SHELL.

    `max_seconds` bounds the sandbox's whole life. `metadata` identifies this run exactly: a clean-up matches on all of
    it. `network` is in force from the start, `agent_network` from the agent's phase on (None: the same); the provider
    only checks the latter, `Sandbox.set_network` switches to it.
    """

    template: str = "base"
    max_seconds: float = 1800.0
    env: Mapping[str, str] = field(repr=False)
    metadata: Mapping[str, str]
    network: Network
    agent_network: Network | None = None

    @property
    def networks(self) -> tuple[Network, ...]:
        """Those of all phases, in their order."""
        return (self.network,) if self.agent_network is None else (self.network, self.agent_network)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxInfo:
    """A sandbox that runs. `home` is the absolute home directory of the ordinary user inside; `seconds_left` is how
    long it lives from now on, `has_root` whether that user is root or becomes root without a password; None where that
    is not known."""

    provider: str
    id: str
    template: str
    home: str
    seconds_left: float | None = field(default=None, compare=False)
    has_root: bool | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """How a command ended; a non-zero exit is a result, and so is a timeout (`timed_out`, exit code 124, children
    dead).

    `output` is standard output and standard error in the order of arrival, bounded: when more than the limit came,
    its head and its tail with a one-line marker between them, and `omitted` is the number of bytes left out. Death
    by signal N is exit code 128 + N. Not `known`: the machine did not say how the command ended; `exit_code` is then
    255, and the command counts as failed.
    """

    exit_code: int
    output: bytes
    omitted_bytes: int = 0
    timed_out: bool = False
    seconds: float = 0.0
    known: bool = True


class Sandbox(Protocol):
    """A machine the agent acts on. Everything in it is hostile.

    All paths are absolute, or relative to `info.home`. Methods may be called concurrently. Raises
    `SandboxLost` when the machine is gone or out of reach, `FileNotFoundError`, `IsADirectoryError`,
    `PermissionError` for file trouble, and nothing else. Cancelling a call leaves the sandbox usable and ends a
    running command's whole process group as far as the provider can.
    """

    @property
    def info(self) -> SandboxInfo: ...

    async def exec(  # noqa: PLR0913 (the contract on one line is worth more than a parameter object)
        self,
        command: str,
        *,
        timeout: float,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: User = "user",
        on_output: Callable[[bytes], None] | None = None,
        limit: int = 65_536,
        login: bool = True,
    ) -> ExecResult:
        """Run `command` with a login `bash`, standard input empty. `timeout` in seconds, finite and > 0.

        `login=False`: no file of the user's home, no `BASH_ENV` and no PATH of theirs has a say in the shell, which
        reads no start-up files; so run checks.

        At the deadline the command's process group gets SIGTERM, five seconds later SIGKILL. `cwd` defaults to the
        home; a missing `cwd` is `FileNotFoundError`. `user="root"` is for the host's own work out of the agent's
        reach (with its own `$HOME`). Any size of `command` works (long ones travel as a file). Background processes
        may outlive the command and do not hold it up.
        """

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        """The file's bytes. More than `limit` bytes: `ValueError` with the real size, nothing transferred as far as
        possible."""

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        """Write a file, creating parents, replacing what was there. A `Path` is a file of the host, streamed."""

    async def set_network(self, network: Network) -> None:
        """Switch egress for what runs from now on. May end processes that still run in the background."""

    async def end_processes(self) -> str:
        """End every process of the ordinary user that still runs, in whatever session, and make sure that none is
        left. Files and network stay. Empty when all is quiet; else what could not be done, or what is left."""

    async def close(self) -> None:
        """Kill the sandbox with everything in it. Idempotent, bounded (about six seconds), never raises."""


@runtime_checkable
class FileUploader(Protocol):
    """What some sandboxes can besides, where `write` as the ordinary user takes more than one request."""

    async def upload_file(self, data: Path) -> str:
        """A new file of the ordinary user's with the content of `data`, a file of the host. Returns its path, which
        nobody in the sandbox could know before. Raises what `Sandbox.write` does."""


class SandboxProvider(Protocol):
    """Starts sandboxes, and finds those that a crash left behind. `name` is the one it is registered under."""

    name: str

    def check(self, request: SandboxRequest) -> None:
        """Raise `SandboxError` for what this provider cannot do, in any phase, before anything happens or costs."""

    async def open(self, request: SandboxRequest, observe: Observer) -> Sandbox:
        """Start one. When this raises or is cancelled, nothing is left running."""

    async def list(self, metadata: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        """(id, metadata) of running sandboxes whose metadata contain all of `metadata`."""

    async def kill(self, sandbox_id: str) -> bool:
        """End one by its id, with everything in it. True when it was running."""


Effort = Literal["low", "medium", "high", "xhigh", "max"]
Thinking = Literal["summarized", "omitted", "between_tools", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars per million tokens. `cache_write` is for entries that live five minutes, the only ones we write."""

    input: float
    output: float
    cache_write: float
    cache_read: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What a spec asks of a model. None: the model's own default.

    `max_output_tokens` bounds one reply. `thinking`: `summarized` shows a summary of it as progress, `omitted` does
    not, `between_tools` is the least there is on some models, `none` turns it off where a model allows it. `base_url`
    is the address of the API. `prices` replace the table of prices, for models that are not in it.
    """

    name: str
    max_output_tokens: int = 32_000
    effort: Effort | None = None
    thinking: Thinking | None = None
    base_url: str | None = None
    prices: Prices | None = None


@runtime_checkable
class WithoutIsolation(Protocol):
    """A provider that can also run commands unprotected on this machine (`--no-isolation`)."""

    def without_isolation(self) -> SandboxProvider: ...


class Model(Protocol):
    """Answers one turn at a time."""

    @property
    def name(self) -> str:
        """The model's name as the vendor spells it."""

    def prepare(self) -> None:
        """Imports and opens what `turn` needs. Blocks; called in a thread while the sandbox starts, perhaps more than
        once. Raises `ModelError`. `turn` works without it."""

    async def turn(self, request: Conversation, observe: Observer) -> Reply:
        """One complete turn, its text observed as `TextDelta` while it comes.

        Faults that may pass are repeated inside, announced by a `Notice` and, when text had come already, a
        `TurnRestarted`; the usage then includes the broken attempts. Raises `ModelError`.
        """

    async def close(self) -> None:
        """Ends its connections. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What ends a run. None: no limit of that kind. `minutes` counts from the engine's start."""

    turns: int | None = 60
    minutes: float | None = 20.0
    tokens: int | None = 2_000_000
    cost_usd: float | None = None
    command_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What an engine is asked to do.

    `workdir` is the absolute path of the repository inside. `history` is an earlier conversation that `prompt` goes on
    with. `tools` are registered names. `result_schema` is a JSON Schema of type object that the result must fit.
    `rules` say what the agent may propose for publication.
    """

    system: str
    prompt: str
    workdir: str
    tools: tuple[str, ...]
    limits: Limits
    result_schema: Mapping[str, object] | None = None
    rules: ProposalRules = field(default_factory=ProposalRules)
    history: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequirements:
    """What an engine needs of the sandbox in the agent phase, beyond what the spec says: `hosts` it must reach,
    variables in `env`, and commands for `setup`, run before the spec's own."""

    hosts: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    setup: tuple[str, ...] = ()


class Engine(Protocol):
    """What acts: our loop over a model, or another agent's program inside the sandbox."""

    @property
    def requirements(self) -> EngineRequirements:
        """Known before the sandbox is requested."""

    async def prepare(self) -> None:
        """Gets ready while the sandbox starts. Raises `FlueError`."""

    async def run(self, task: Task, sandbox: Sandbox, observe: Observer) -> Outcome:
        """Returns an `Outcome` for every ending that the model or a limit causes; raises only `FlueError`."""


Reaction = Literal["eyes", "confused", "rocket", "+1", "-1"]


class Discussions(Protocol):
    """The pull requests and issues of one repository, and what people write below them. Texts come as they are:
    unsanitized."""

    async def me(self) -> Account:
        """The account that our own comments come from. `id` 0: it cannot be known, only the login."""

    async def pull(self, number: int) -> PullRequest: ...

    async def issue(self, number: int) -> Issue: ...

    async def pulls_of(self, sha: str) -> list[PullRequest]:
        """Open pull requests of this repository whose head is that commit, also those of forks."""

    async def discussion(self, number: int, pull: PullRequest | None) -> Discussion:
        """Everything that people wrote and that checks reported. `pull` None: `number` is an issue. Parts that this
        token may not read are missing, with a note."""

    async def comments(self, number: int, kind: Literal["issue", "review"] = "issue") -> list[Comment]:
        """All comments below an issue or pull request, or all on lines of its diff; oldest first."""

    async def comment(self, number: int, body: str) -> Comment:
        """A new comment. It is written once, also when the first answer got lost."""

    async def reply(self, number: int, to: int, body: str) -> Comment:
        """A comment in the thread of review comment `to`, written once."""

    async def edit(self, comment: Comment, body: str) -> Comment:
        """The comment with its new body. `ForgeError` with status 404 or 410: it was deleted."""

    async def react(self, number: int, comment: Comment | None, reaction: Reaction) -> None:
        """On a comment, or on the issue or pull request itself."""


@runtime_checkable
class Rereading(Protocol):
    """A forge that gives a single comment again."""

    async def reread(self, comment: Comment) -> Comment:
        """The comment as it is now. `ForgeError` with status 404 or 410: it was deleted."""


class Forge(Discussions, Protocol):
    """One repository on a forge, as one token sees it. Methods may be called concurrently.

    Each raises `ForgeError` (what was refused, which permission is missing, what to do) after bounded retries that
    honour `Retry-After`; a list is complete, whatever the number of its pages. Times are RFC 3339 in UTC. `requests`
    counts the requests sent.
    """

    requests: int

    async def role(self, login: str) -> str:
        """The exact `role_name` of a user in this repository (`admin`, `maintain`, `write`, `triage`, `read`, `none`,
        or a custom one); `none` for unknown users."""

    async def events_since(self, number: int, since: str) -> frozenset[str]:
        """The kinds of what was done to an issue or pull request at or after that time, as GitHub's issue events are
        named: `base_ref_changed`, `head_ref_force_pushed`."""

    async def head_at(self, pull: PullRequest, time: str) -> str:
        """The commit that the forge itself recorded as the head of the pull request's branch before that time, "" when
        it has no such record or does not show it."""

    async def was_checked_before(self, pull: PullRequest, time: str) -> bool:
        """Whether the present head was checked before that time, by a check suite or workflow run that names the pull
        request's own branch and is younger than it. False when none can be read."""

    async def commits_of(self, number: int) -> list[str]:
        """The commits of a pull request by their full names, oldest first; at most 250."""

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        """Comments (of both kinds) that the user wrote anywhere in this repository since then."""

    async def recent_runs(self, workflow: str, login: str, since: str) -> list[str]:
        """When that workflow (the name of its file) was started by the user, since then; newest first."""

    async def close(self) -> None:
        """Ends the connections. Idempotent."""

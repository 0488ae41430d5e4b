"""The seams, on one page: what the core asks of a sandbox, a model, an engine and a forge. Adapters implement them,
`wiring` chooses.

Small protocols. What only some implementations can do gets a protocol of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from flue_ci.core.discussion import Account, Comment, Discussion, Issue, PullRequest
from flue_ci.core.events import Observer
from flue_ci.core.messages import ModelRequest, Outcome, Reply

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

    `max_seconds` bounds the sandbox's whole life. `metadata` identifies this run exactly: whoever cleans up matches
    on all of it.
    """

    template: str = "base"
    max_seconds: float = 1800.0
    env: Mapping[str, str] = field(repr=False)
    metadata: Mapping[str, str]
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxInfo:
    """Who we got. `home` is the absolute home directory of the ordinary user inside."""

    provider: str
    id: str
    template: str
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """How a command ended; a non-zero exit is a result, and so is a timeout (`timed_out`, exit code 124, children
    dead).

    `output` is standard output and standard error in the order of arrival, bounded: when more than the limit came,
    its head and its tail with a one-line marker between them, and `omitted` is the number of bytes left out. Death
    by signal N is exit code 128 + N.
    """

    exit_code: int
    output: bytes
    omitted_bytes: int = 0
    timed_out: bool = False
    seconds: float = 0.0


class Sandbox(Protocol):
    """A machine the agent acts on. Everything in it is hostile.

    All paths given are absolute, or relative to `info.home`. Methods may be called concurrently. Raises
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
    ) -> ExecResult:
        """Run `command` with a login `bash`, standard input empty. `timeout` in seconds, finite and > 0.

        At the deadline the command's process group gets SIGTERM, five seconds later SIGKILL. `cwd` defaults to the
        home; a missing `cwd` is `FileNotFoundError`. `user="root"` is for the host's own work out of the agent's
        reach (with its own `$HOME`). Any size of `command` works (long ones travel as a file). Background processes
        may outlive the command and do not hold it up.
        """
        ...

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        """The file's bytes. More than `limit` bytes: `ValueError` with the real size, nothing transferred as far as
        possible."""
        ...

    async def write(self, path: str, data: bytes | Path, *, user: User = "user") -> None:
        """Write a file, creating parents, replacing what was there. A `Path` is a file of the host, streamed."""
        ...

    async def set_network(self, network: Network) -> None:
        """Switch egress for what runs from now on. May end processes that still run in the background."""
        ...

    async def end_processes(self) -> None:
        """End every process of the ordinary user that still runs. Files and network stay."""
        ...

    async def close(self) -> None:
        """Kill the sandbox with everything in it. Idempotent, bounded (about six seconds), never raises."""
        ...


class SandboxProvider(Protocol):
    """Starts sandboxes, and finds those that were left behind."""

    name: str

    def check(self, request: SandboxRequest) -> None:
        """Raise `SandboxError` for what this provider cannot do, before anything happens or costs."""
        ...

    async def open(self, request: SandboxRequest, observe: Observer) -> Sandbox:
        """Start one. When this raises or is cancelled, nothing is left running."""
        ...

    async def list(self, metadata: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        """(id, metadata) of running sandboxes whose metadata contain all the given pairs."""
        ...

    async def kill(self, sandbox_id: str) -> bool:
        """True when it was running."""
        ...


class Model(Protocol):
    """Answers one turn at a time."""

    @property
    def name(self) -> str: ...

    async def turn(self, request: ModelRequest, observe: Observer) -> Reply:
        """One complete turn. Recoverable faults are repeated inside (a `TurnRestarted` or `Notice` tells); raises
        `ModelError`."""
        ...

    async def close(self) -> None: ...


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
    """What an engine is asked to do. `workdir` is the absolute path of the repository inside. `result_schema` is a
    JSON Schema."""

    system: str
    prompt: str
    workdir: str
    tools: tuple[str, ...]
    limits: Limits
    result_schema: Mapping[str, object] | None = None


class Engine(Protocol):
    """What acts: our loop over a model, or another agent's program inside the sandbox."""

    async def run(self, task: Task, box: Sandbox, observe: Observer) -> Outcome:
        """Returns an `Outcome` for every ending that the model or a limit causes; raises only `FlueError`."""
        ...


Reaction = Literal["eyes", "confused", "rocket", "+1", "-1"]


class Discussions(Protocol):
    """The pull requests and issues of one repository, and what people write below them. Texts come as they are:
    unsanitized."""

    async def me(self) -> Account:
        """The account that our own comments come from. `id` 0: it cannot be known, only the login."""
        ...

    async def pull(self, number: int) -> PullRequest: ...

    async def issue(self, number: int) -> Issue: ...

    async def pulls_of(self, sha: str) -> list[PullRequest]:
        """Open pull requests of this repository whose head is that commit, also those of forks."""
        ...

    async def discussion(self, number: int, pull: PullRequest | None) -> Discussion:
        """Everything that people wrote and that checks reported. `pull` None: `number` is an issue. Parts that this
        token may not read are missing, with a note."""
        ...

    async def comments(self, number: int, kind: Literal["issue", "review"] = "issue") -> list[Comment]:
        """All comments below an issue or pull request, or all on lines of its diff; oldest first."""
        ...

    async def comment(self, number: int, body: str) -> Comment:
        """A new comment. It is written once, also when the first answer got lost."""
        ...

    async def reply(self, number: int, to: int, body: str) -> Comment:
        """A comment in the thread of review comment `to`, written once."""
        ...

    async def edit(self, comment: Comment, body: str) -> Comment:
        """The comment with its new body. `ForgeError` with status 404 or 410: it was deleted."""
        ...

    async def react(self, number: int, comment: Comment | None, reaction: Reaction) -> None:
        """On a comment, or on the issue or pull request itself."""
        ...


class Roles(Protocol):
    """What people may do in the repository."""

    async def role(self, login: str) -> str:
        """The exact `role_name` of a user in this repository (`admin`, `maintain`, `write`, `triage`, `read`, `none`,
        or a custom one); `none` for unknown users."""
        ...


class RateHistory(Protocol):
    """How often a person has started something. Times are RFC 3339 in UTC."""

    async def recent_requests(self, login: str, since: str) -> list[Comment]:
        """Comments (of both kinds) that the user wrote anywhere in this repository since then."""
        ...

    async def recent_runs(self, workflow: str, login: str, since: str) -> list[str]:
        """When that workflow (the name of its file) was started by the user, since then; newest first."""
        ...


class Forge(Discussions, Roles, RateHistory, Protocol):
    """One repository on a forge, as one token sees it. Methods may be called concurrently.

    Each raises `ForgeError` (what was refused, which permission is missing, what to do) after bounded retries that
    honour `Retry-After`; a list is complete, whatever the number of its pages. `requests` counts the requests sent.
    """

    requests: int

    async def close(self) -> None:
        """Ends the connections. Idempotent."""
        ...

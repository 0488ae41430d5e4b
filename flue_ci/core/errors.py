"""The failures that we expect. Each says what happened, what to do next, and carries the exit code of the process.

Anything that is not a `FlueError` is a bug of ours (exit code 3).
"""

from dataclasses import dataclass
from typing import Literal

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_LIMIT = 4


class FlueError(Exception):
    """An expected failure. `str(error)` is one line about what and where; `hint` is what to do next (may be empty)."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(FlueError):
    """The command line or the environment asks for something that cannot be."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """What is wrong (`message`), where, and what to do next (`hint`).

    `line` and `column` count from 1 in `file`; 0 means the file as a whole. `key` is the dotted path of a value, for
    example `sandbox.network.agent[0]`, or the name of what was examined; empty for the file as a whole. `severity`:
    `ok` and `note` are not errors.
    """

    message: str
    hint: str = ""
    severity: Literal["ok", "note", "error"] = "error"
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:"
        if self.line:
            text += f"{self.line}:{self.column}:"
        if self.key:
            text += f" {self.key}:"
        text += f" {self.message}"
        if self.hint:
            text += f" ({self.hint})"
        return text


class SpecError(UsageError):
    """A spec with problems; all of them, in the order of the file."""

    def __init__(self, problems: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.diagnostics = problems


class SandboxError(FlueError):
    """The sandbox could not be started, or refused something that it cannot do."""


class SandboxLost(SandboxError):
    """The sandbox is gone or out of reach. Never shown to the model as the result of a command."""


class ModelError(FlueError):
    """The model cannot be used: wrong key, unknown name, refused request, or out of reach for too long."""


class WorkspaceError(FlueError):
    """The repository could not be read, or could not be put into the sandbox."""


class ForgeError(FlueError):
    """GitHub refused something or is out of reach. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class BranchRefused(ForgeError):
    """A branch was not moved or made. `cause`: it has other commits by now (`moved`), there is one of that name
    (`exists`) or none (`missing`), the token lacks a right (`rights`), or a rule forbids it (`protected`)."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0, cause: str) -> None:
        super().__init__(message, hint=hint, status=status)
        self.cause = cause


class ChangesRefused(FlueError):
    """What came back from the sandbox breaks a rule. `patch` holds the bytes (possibly none), for people to look at."""

    def __init__(self, message: str, *, hint: str = "", patch: bytes = b"") -> None:
        super().__init__(message, hint=hint)
        self.patch = patch

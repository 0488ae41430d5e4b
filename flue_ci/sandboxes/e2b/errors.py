"""Calls to the E2B SDK: how long they may take, and what their failures mean.

The SDK wraps only a part of its failures: `httpx`, `connectrpc`, `pyqwest` and JSON failures come through raw. `e2b` is
imported late, because `--help` and the other sandboxes do not need it.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.network_variables import lasting_fault, route
from flue_ci.core.retry import RetryPolicy
from flue_ci.core.text import one_line

_NO_FILE = re.compile(
    "no such file|not a directory|path is a file|file name too long|too many levels of symbolic links|does not exist"
)
_NO_SPACE = re.compile("no space left on device|disk quota exceeded|input/output error")
_NO_ACCESS = re.compile("permission denied|operation not permitted|read-only file system")
KEY_HINT = "set E2B_API_KEY; a key is made at https://e2b.dev/dashboard under API Keys"
REACH_HINT = "check the network, E2B_DOMAIN and E2B_API_URL; https://status.e2b.dev shows whether E2B has trouble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the adapter waits, in seconds, and how often it tries again. Tests shorten the times."""

    ttl: float = 300.0  # after which E2B ends a sandbox whose life is not extended
    heartbeat: float = 80.0  # between extensions
    create: float = 120.0  # one attempt to start a sandbox
    pace: float = 1.0  # between two such attempts: small plans have one a second
    start: RetryPolicy = field(default=RetryPolicy(timeout=180.0))  # all attempts to start one
    kill_after: int = 5  # whole seconds between SIGTERM and SIGKILL when a command's time is over
    server_grace: float = 15.0  # after that time E2B itself kills our script: later than the script ever needs
    silence: float = 25.0  # of a command, after which its stream is renewed; E2B keeps exit codes for 30
    repeat: RetryPolicy = field(default=RetryPolicy(attempts=3, first_wait=0.3))  # calls that may be repeated
    reconnect: RetryPolicy = field(default=RetryPolicy(attempts=7, first_wait=0.3, max_wait=5.0))  # to a command
    kill: RetryPolicy = field(default=RetryPolicy(timeout=6.0, first_wait=0.3, growth=1.0))  # the end of a sandbox


class RequestRefusal(SandboxError):
    """E2B understood a request and declined it: nothing was started."""


class FileTooLarge(ValueError):
    """A file has more bytes than its reader takes."""


@asynccontextmanager
async def vendor_call(seconds: float | None = None) -> AsyncIterator[None]:
    """Goes around every call to the SDK, which may take `seconds`. Any failure in it becomes a `VendorError`.

    The SDK swallows a cancellation that comes while it reads an answer (about one in ten). It is raised here, so that
    no cancellation and no deadline of a caller gets lost.
    """
    task = asyncio.current_task()
    assert task
    cancellations = task.cancelling()
    failure: VendorError | None = None
    try:
        async with asyncio.timeout(seconds):
            yield
    except Exception as error:  # noqa: BLE001 (whatever the SDK raises)
        failure = VendorError(error)
    if task.cancelling() > cancellations:
        raise asyncio.CancelledError
    if failure:
        raise failure from failure.cause


class VendorError(Exception):
    """A call to the SDK that failed; `cause` is what it raised.

    `status` is the HTTP status of the control plane's answer (0: none, or unknown). `is_gone`: the sandbox has
    ended. `is_mismatch`: the SDK is not the one we know, or the server does not speak its protocol. `is_refusal`:
    E2B understood the request and declined it, or cannot be understood; `is_permanent`: the sandbox would answer
    the same again. `is_full`: its disk has no room, in bytes or in files. `is_turned_away`: the request surely
    did nothing. `exit_code` is what a command ended with, -1 after a signal or at E2B's deadline; None: it did not
    end.
    """

    def __init__(self, cause: Exception) -> None:
        text = "no answer in time" if isinstance(cause, TimeoutError) else type(cause).__name__
        super().__init__(str(cause) or text)
        self.cause = cause
        self.status = 0
        self.exit_code: int | None = None
        self.is_gone = self.is_permanent = self.is_missing_file = self.is_invalid_argument = False
        self.is_turned_away = self.is_full = False
        # `InvalidVersion` is of a library that only the SDK knows.
        is_odd_version = type(cause).__name__ == "InvalidVersion"
        self.is_mismatch = isinstance(cause, TypeError | AttributeError | KeyError | ImportError) or is_odd_version
        self.is_refusal = self.is_mismatch
        if self.is_mismatch:
            return
        import e2b

        self.is_gone = isinstance(cause, e2b.SandboxNotRunningException | e2b.SandboxNotFoundException)
        self.is_invalid_argument = isinstance(cause, e2b.InvalidArgumentException)
        self.is_missing_file = isinstance(cause, e2b.NotFoundException) and not self.is_gone
        is_closed = isinstance(cause, e2b.SandboxUnreachableException) and "port is not open" in str(cause)
        self.is_turned_away = is_closed or isinstance(cause, e2b.RateLimitException)
        is_wrong_key = isinstance(cause, e2b.AuthenticationException)
        self.is_full = isinstance(cause, e2b.NotEnoughSpaceException)
        self.is_permanent = self.is_gone or self.is_invalid_argument or is_wrong_key or self.is_full
        if is_wrong_key:
            self.status = 401
        elif self.is_gone:
            self.status = 404
        elif isinstance(status := getattr(cause, "status_code", None), int):
            self.status = status
        is_refused_status = 400 <= self.status < 500 and self.status not in (408, 409, 425, 429)
        self.is_refusal = is_refused_status or self.is_invalid_argument or isinstance(cause, e2b.TemplateException)
        # SandboxUnreachableException derives from TimeoutException, but is no deadline of a command.
        if isinstance(cause, e2b.CommandExitException):
            self.exit_code = cause.exit_code
        elif isinstance(cause, e2b.TimeoutException) and not self.is_gone:
            self.exit_code = None if isinstance(cause, e2b.SandboxUnreachableException) else -1

    def file_error(self, path: str) -> OSError | ValueError | None:
        """The file trouble that it stands for, or None."""
        text = str(self.cause).lower()
        if isinstance(self.cause, FileNotFoundError | IsADirectoryError | PermissionError | FileTooLarge):
            return self.cause
        if self.is_gone:
            return None
        if self.is_missing_file or _NO_FILE.search(text):
            return FileNotFoundError(f"no such file in the sandbox: {path}")
        if "is a directory" in text:
            return IsADirectoryError(f"is a directory in the sandbox: {path}")
        if self.is_full or _NO_SPACE.search(text):
            return PermissionError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if _NO_ACCESS.search(text):
            return PermissionError(f"not allowed in the sandbox: {path}")
        return None


def mask(text: str, secrets: tuple[str, ...]) -> str:
    """`text` as one printable line of at most 300 characters, with `***` in place of `secrets`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return one_line(text, 300)


def refusal_error(error: VendorError, text: str, template: str = "") -> RequestRefusal:
    """What E2B refused, for the person who can do something about it. `text` describes the error."""
    if error.is_mismatch and ("envdVersion" in text or isinstance(error.cause, ValueError)):
        hint = "bring the server that E2B_API_URL or E2B_DOMAIN names up to date, or build the template again"
        message = "E2B's answer does not say which daemon the sandbox has (envdVersion)"
        return RequestRefusal(f"{message}: {text}", hint=hint)
    if error.is_mismatch:
        hint = "install the e2b package that flue-ci asks for; the server may also not speak E2B's protocol"
        return RequestRefusal(f"the E2B SDK failed: {type(error.cause).__name__}: {text}", hint=hint)
    message, hint = "E2B refused the request", "check `sandbox` in the spec against what E2B said"
    if error.status == 401:
        message, hint = "E2B did not accept the API key", f"check E2B_API_KEY: {KEY_HINT}"
    elif error.status == 403:
        message = "E2B does not allow this"
        hint = "check that the key's team may use this template, and that its plan allows what the spec asks for"
    elif error.status == 404:
        message = f"E2B has no template {template!r}"
        hint = "check `sandbox.template`; your own are built with `e2b template build`, and `base` always works"
    elif "rules" in text.lower() or "transform" in text.lower():
        message = "E2B does not add headers for this team or template"
        hint = "drop `sandbox.network.inject`, ask E2B for network transform rules, or build the template again"
    elif "method not allowed" in text.lower():
        message = "this server's E2B API is older than the SDK"
        hint = "bring the server that E2B_API_URL or E2B_DOMAIN names up to date; the SDK asks for POST /v2/sandboxes"
    elif "timeout" in text.lower():
        message = "E2B refused the sandbox's lifetime"
        hint = "lower `sandbox.timeout`: a Hobby plan allows 1h, a Pro plan 24h"
    return RequestRefusal(f"{message}: {text}", hint=hint)


def template_error(error: SandboxLost) -> SandboxError | None:
    """For a sandbox that cannot run its first command: what its template lacks, or None."""
    cause = error.__cause__
    if isinstance(cause, VendorError) and cause.is_invalid_argument and "bash" in str(cause):
        hint = "use a template with bash in /bin; `base` has it"
        return SandboxError(f"the template of the sandbox has no bash: {one_line(str(cause), 200)}", hint=hint)
    return None


def network_error(error: VendorError, url: str) -> RequestRefusal | None:
    """What lies between this machine and `url` and will not pass by itself, or None. Nothing was started."""
    if not error.status and (fault := lasting_fault(str(error), url)):
        return RequestRefusal(f"E2B cannot be reached: {fault.message}", hint=fault.hint)
    return None


def unreachable_error(text: str, url: str) -> SandboxError:
    """There is no answer. `text` describes the last error."""
    return SandboxError(f"E2B cannot be reached{route(url)}: {text}", hint=REACH_HINT)


def unavailable_error(error: VendorError, text: str, duration: str, url: str) -> SandboxError:
    """No sandbox came within `duration`. `text` describes the last error."""
    message = f"E2B gave us no sandbox within {duration}{route(url)}: {text}"
    if error.status == 429:
        hint = "too many sandboxes run at once: let fewer jobs run in parallel (`concurrency:`), or look for leftovers"
        return SandboxError(message, hint=f"{hint} with `flue-ci sandboxes list`")
    return SandboxError(message, hint=REACH_HINT)

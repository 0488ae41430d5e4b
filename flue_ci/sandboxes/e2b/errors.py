"""What the E2B SDK's failures mean for us. They are told apart by class name: reading one loads no vendor package.

The SDK wraps only a part of them: `httpx`, `connectrpc`, `pyqwest` and JSON failures come through raw.
"""

from __future__ import annotations

from flue_ci.core.errors import SandboxError
from flue_ci.core.text import one_line

_GONE = {"e2b.SandboxNotRunningException", "e2b.SandboxNotFoundException"}
_MISSING_WORDS = (
    "no such file",
    "not a directory",
    "path is a file",
    "file name too long",
    "too many levels of symbolic links",
    "does not exist",
)
_DENIED_WORDS = ("permission denied", "operation not permitted", "read-only file system")
KEY_HINT = "set E2B_API_KEY; a key is made at https://e2b.dev/dashboard under API Keys"
REACH_HINT = "check the network, E2B_DOMAIN and E2B_API_URL; https://status.e2b.dev shows whether E2B has trouble"


def kinds(error: BaseException) -> set[str]:
    """`package.Class` for the error's class and all it derives from."""
    return {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}


def status_of(error: BaseException) -> int:
    """The HTTP status behind a failure of the control plane; 0 when there was none, or nobody knows."""
    names = kinds(error)
    if "e2b.AuthenticationException" in names:
        return 401
    if "e2b.RateLimitException" in names:
        return 429
    if "e2b.ServiceBusyException" in names:
        return 503
    if _GONE & names:
        return 404
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else 0


def is_gone(error: BaseException) -> bool:
    """The sandbox is known to be dead; asking again is no use. Looked at before timeouts: these derive from them."""
    return bool(_GONE & kinds(error))


def is_deadline(error: BaseException) -> bool:
    """E2B ended a command at the deadline that we gave it."""
    names = kinds(error)
    unsure = {"e2b.SandboxNotRunningException", "e2b.SandboxUnreachableException"}
    return "e2b.TimeoutException" in names and not unsure & names


def exit_code_of(error: BaseException) -> int | None:
    """The exit code that a failed command came back with; -1 for death by a signal. None: it is no such failure."""
    code = getattr(error, "exit_code", None)
    return code if "e2b.CommandExitException" in kinds(error) and isinstance(code, int) else None


def is_refusal(error: BaseException) -> bool:
    """The control plane understood the request and said no, or the SDK is not the one we know: asking again is no
    use."""
    if isinstance(error, TypeError | AttributeError | KeyError | ImportError):
        return True
    if kinds(error) & {"e2b.InvalidArgumentException", "e2b.TemplateException"}:
        return True
    status = status_of(error)
    return 400 <= status < 500 and status not in (408, 409, 425, 429)


def refusal(error: BaseException, text: str, template: str) -> SandboxError:
    """What to tell the person who can do something about a refused request. `text` is what E2B said, cleaned."""
    status = status_of(error)
    if isinstance(error, TypeError | AttributeError | KeyError | ImportError):
        hint = "install the e2b package that flue-ci asks for; the server may also not speak E2B's protocol"
        return SandboxError(f"the E2B SDK failed: {type(error).__name__}: {text}", hint=hint)
    if status == 401:
        return SandboxError(f"E2B did not accept the API key: {text}", hint=f"check E2B_API_KEY: {KEY_HINT}")
    if status == 403:
        hint = "check that the key's team may use this template, and that its plan allows what the spec asks for"
        return SandboxError(f"E2B does not allow this: {text}", hint=hint)
    if status == 404:
        hint = "check `sandbox.template`; your own are built with `e2b template build`, and `base` always works"
        return SandboxError(f"E2B has no template {template!r}: {text}", hint=hint)
    if "timeout" in text.lower():
        hint = "lower `sandbox.timeout`: a Hobby plan allows 1h, a Pro plan 24h"
        return SandboxError(f"E2B refused the sandbox's lifetime: {text}", hint=hint)
    return SandboxError(f"E2B refused the request: {text}", hint="check `sandbox` in the spec against what E2B said")


def was_refused(error: SandboxError) -> bool:
    """The request never started anything."""
    return error.__cause__ is not None and is_refusal(error.__cause__)


def gave_up(error: BaseException, text: str, waited: str) -> SandboxError:
    """What to tell when patience ended without a sandbox."""
    message = f"E2B gave us no sandbox within {waited}: {text}"
    if status_of(error) == 429:
        hint = "too many sandboxes run at once: let fewer jobs run in parallel (`concurrency:`), or look for leftovers"
        return SandboxError(message, hint=f"{hint} with `flue-ci sandboxes list`")
    return SandboxError(message, hint=REACH_HINT)


def file_error(error: BaseException, path: str) -> OSError | None:
    """The file trouble that a failure stands for, or None."""
    text = str(error).lower()
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
        return error
    if is_gone(error):
        return None
    if "e2b.NotFoundException" in kinds(error):
        return FileNotFoundError(f"no such file in the sandbox: {path}")
    if "is a directory" in text:
        return IsADirectoryError(f"is a directory in the sandbox: {path}")
    if any(words in text for words in _MISSING_WORDS):
        return FileNotFoundError(f"no such file in the sandbox: {path}")
    if any(words in text for words in _DENIED_WORDS):
        return PermissionError(f"not allowed in the sandbox: {path}")
    return None


def is_permanent(error: BaseException) -> bool:
    """Repeating the same call to the sandbox would give the same failure."""
    permanent = {"e2b.AuthenticationException", "e2b.InvalidArgumentException", "e2b.NotEnoughSpaceException"}
    return is_gone(error) or bool(permanent & kinds(error))


def describe(error: BaseException, secrets: tuple[str, ...]) -> str:
    """One printable line about a vendor's failure, without any of `secrets`."""
    text = str(error) or type(error).__name__
    for secret in sorted((secret for secret in secrets if secret), key=len, reverse=True):
        text = text.replace(secret, "***")
    return one_line(text, 300)

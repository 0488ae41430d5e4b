"""Files in the hands of the ordinary user: read and written by a command of that user, so that the kernel decides what
is allowed. E2B's own file API acts as root, whatever user it is told."""

import base64
import binascii
import errno
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from flue_ci.core.shell import load_script, shell_script
from flue_ci.core.text import human_bytes
from flue_ci.sandboxes.e2b.errors import FileTooLarge

# Of content that travels with its command: as base64 it has to fit into one variable, which Linux bounds to 128 KiB.
INLINE_BYTES = 90_000
# No file of the home is read by the shell, which is a login shell at E2B, and none that a variable of the spec names.
_ENVIRONMENT = {"HOME": "/nonexistent", "BASH_ENV": "", "ENV": ""}
_SECONDS = 600
_FULL = re.compile(r"(No space left on device|Disk quota exceeded|File too large|Input/output error)$")

Run = Callable[..., Awaitable[Any]]


async def read_file(run: Run, path: str, limit: int | None) -> bytes:
    """The content. `run` is the SDK's way to run a command to its end. Raises what `ports.Sandbox.read` does, and
    `RuntimeError` for an answer that is not whole."""
    size = ""
    if limit is not None:
        size = str(limit)
    word, rest, output = await _answer(run, "read_file.sh", {"flue_path": path, "flue_limit": size})
    if word == "large":
        raise FileTooLarge(f"{path} has {int(rest):,} bytes; the limit is {limit:,}")
    _raise_problem(word, rest, path)
    body, _, end = output.partition("\n")
    status = end.partition(" end ")[2]
    if word != "data" or not status.endswith("\n"):
        raise RuntimeError("the file came in part only")
    if status != "0 0\n":
        raise PermissionError(f"cannot be read in the sandbox: {path}")
    try:
        data = base64.b64decode(body, validate=True)
    except binascii.Error:
        raise RuntimeError("the file came in part only") from None
    if limit is not None and len(data) > limit:  # it grew meanwhile
        raise FileTooLarge(f"{path} has more than {human_bytes(limit)}: {len(data):,} bytes and counting")
    return data


async def write_file(run: Run, path: str, data: bytes, uploads: Sequence[str]) -> None:
    """Writes `data`, or the content of the last of `uploads`: files in the sandbox that are gone afterwards. Raises
    what `ports.Sandbox.write` does, and `RuntimeError` for an answer that is not whole."""
    values = {"flue_path": path, "flue_name": unpredictable_name()}
    values |= {"flue_source": "".join(uploads[-1:]), "flue_uploads": " ".join(uploads)}
    word, rest, _ = await _answer(run, "write_file.sh", values, flue_data=base64.b64encode(data).decode())
    _raise_problem(word, rest, path)
    if word != "written":
        raise RuntimeError("the file was perhaps not written")


def unpredictable_name() -> str:
    """For files where others can write too."""
    return f"flue-{secrets.token_hex(8)}"


async def _answer(run: Run, name: str, values: dict[str, str], **env: str) -> tuple[str, str, str]:
    """Of a script: the word and the rest of its report, and what it printed after that."""
    token = unpredictable_name()
    script = shell_script({**values, "flue_token": token}, load_script("flue_ci.sandboxes.e2b", name))
    result = await run(script, envs=_ENVIRONMENT | env, cwd="/", timeout=_SECONDS, request_timeout=60)
    report, _, output = result.stdout.partition(f"\n{token} ")[2].partition("\n")
    word, _, rest = report.partition(" ")
    return word, rest, output


def _raise_problem(word: str, message: str, path: str) -> None:
    """For a report of a problem. The system's own words stand at the end of the message, behind names of files."""
    if word != "problem":
        return
    if message.endswith("Is a directory"):
        raise IsADirectoryError(f"is a directory in the sandbox: {path}")
    if re.search(r"(No such file or directory|Not a directory|File exists|name too long|symbolic links)$", message):
        raise FileNotFoundError(f"no such file in the sandbox: {path}")
    if message.endswith("Not a regular file"):
        raise PermissionError(f"not a regular file in the sandbox: {path}")
    if re.search(r"(Permission denied|not permitted|Read-only file system|Text file busy)$", message):
        raise PermissionError(f"not allowed in the sandbox: {path}")
    if match := _FULL.search(message):  # the machine lives, and whoever works in it can make room
        raise PermissionError(errno.ENOSPC, match[0], path)
    raise RuntimeError(message)

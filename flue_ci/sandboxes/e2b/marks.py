"""Marks in the sandbox that tell whether a command has started whose request was not answered."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from flue_ci.core.shell import load_script, shell_script
from flue_ci.sandboxes.e2b.errors import vendor_call

_SECONDS = 20


def new_mark() -> str:
    """A file of which only one process can say that it made it; in memory, and with a name that nobody knows."""
    return f"/dev/shm/.flue-{secrets.token_hex(8)}"  # noqa: S108 (in the sandbox)


async def claim_mark(run: Callable[..., Awaitable[Any]], mark: str, token: str, user: str | None) -> str:
    """`claimed`: the command has not started, and never will; `started`; another word: not known. `run` is the SDK's
    way to run a command to its end, `user` who starts the command. Raises `VendorError`."""
    script = shell_script({"flue_mark": mark, "flue_token": token}, load_script("flue_ci.sandboxes.e2b", "claim.sh"))
    environment = {"HOME": "/nonexistent", "BASH_ENV": "", "ENV": ""}  # no start-up file of the user
    async with vendor_call(_SECONDS + 10):
        result = await run(script, envs=environment, user=user, cwd="/", timeout=_SECONDS, request_timeout=_SECONDS)
    return str(result.stdout.rpartition(f"\n{token} ")[2].strip())

"""`flue-ci sandboxes`: those that a crash left behind, found by our own metadata, so that no other is ever touched."""

import asyncio
import sys
from collections.abc import Mapping

from flue_ci.assembly import make_provider
from flue_ci.core.errors import EXIT_DONE, EXIT_FAILED
from flue_ci.sandboxes.registry import OWN_METADATA, SANDBOXES
from flue_ci.settings import read_settings
from flue_ci.terminal.screen import say


def find(provider: str, environ: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
    """(id, metadata) of running sandboxes that flue-ci started. Raises `FlueError` when the provider cannot be
    asked."""
    return asyncio.run(make_provider(provider, read_settings(environ)).list(OWN_METADATA))


def kill(provider: str, environ: Mapping[str, str], ids: tuple[str, ...]) -> int:
    """Ends those named, or all when none is named; prints one line each. An id that is not ours is refused. Returns
    the exit code."""
    return asyncio.run(_kill(provider, environ, OWN_METADATA, ids, "ended"))


def sweep(name: str, environ: Mapping[str, str], run: str) -> int:
    """Ends what one run left behind; prints a line for each. Returns the exit code.

    The last step of a job: without a key nothing can have been started, and that is no failure.
    """
    if SANDBOXES.load(name).missing_keys(read_settings(environ)):
        return EXIT_DONE
    return asyncio.run(_kill(name, environ, OWN_METADATA | {"run": run}, (), "ended, it was left over"))


async def _kill(
    name: str, environ: Mapping[str, str], metadata: Mapping[str, str], ids: tuple[str, ...], ended: str
) -> int:
    provider = make_provider(name, read_settings(environ))
    own = [sandbox_id for sandbox_id, _ in await provider.list(metadata)]
    for sandbox_id in ids or own:
        ending = "not a running sandbox of flue-ci, left alone"
        if sandbox_id in own:
            ending = ended if await provider.kill(sandbox_id) else "was gone already"
        say(f"{sandbox_id}: {ending}", sys.stdout)
    return EXIT_DONE if set(ids) <= set(own) else EXIT_FAILED

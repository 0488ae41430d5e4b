"""Sandboxes that a crash left behind: found by our own metadata, so that nobody else's is ever touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flue_ci.assembly import OURS, make_provider
from flue_ci.core.errors import EXIT_FAILED
from flue_ci.core.ports import SandboxProvider
from flue_ci.sandboxes.registry import SANDBOXES
from flue_ci.settings import read_settings


def find(provider: str, environ: Mapping[str, str]) -> list[tuple[str, Mapping[str, str]]]:
    """(id, metadata) of running sandboxes that flue-ci started. Raises `FlueError` when the provider cannot be
    asked."""
    return asyncio.run(make_provider(provider, read_settings(environ)).list(OURS))


def kill(provider: str, environ: Mapping[str, str], ids: tuple[str, ...]) -> int:
    """Ends those named, or all when none is named; prints one line each. An id that is not ours is refused. Returns
    the exit code."""
    return asyncio.run(_kill(provider, environ, ids))


def sweep(provider: str, environ: Mapping[str, str], run: str) -> int:
    """Ends what one run left behind, and nobody else's; prints a line for each. Returns the exit code.

    The last step of a job: without a key nothing can have been started, and that is no failure.
    """
    settings = read_settings(environ)
    if SANDBOXES.load(provider).missing_keys(settings):
        return 0
    return asyncio.run(_sweep(make_provider(provider, settings), run))


async def _sweep(provider: SandboxProvider, run: str) -> int:
    for sandbox_id, _ in await provider.list(OURS | {"run": run}):
        ended = await provider.kill(sandbox_id)
        print(f"{sandbox_id}: {'ended, it was left over' if ended else 'was gone already'}")
    return 0


async def _kill(name: str, environ: Mapping[str, str], ids: tuple[str, ...]) -> int:
    provider = make_provider(name, read_settings(environ))
    ours = [sandbox_id for sandbox_id, _ in await provider.list(OURS)]
    code = 0
    for sandbox_id in ids or ours:
        if sandbox_id not in ours:
            print(f"{sandbox_id}: not a running sandbox of flue-ci, left alone")
            code = EXIT_FAILED
        else:
            print(f"{sandbox_id}: {'ended' if await provider.kill(sandbox_id) else 'was gone already'}")
    return code

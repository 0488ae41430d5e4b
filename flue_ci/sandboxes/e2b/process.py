"""A command that runs in an E2B sandbox: started once, listened to across lost connections, ended with its children."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from flue_ci.core.errors import SandboxLost
from flue_ci.core.ports import User
from flue_ci.sandboxes.e2b import errors as failures
from flue_ci.sandboxes.e2b.command import RemoteCommand

SERVER_GRACE = 15.0  # seconds after which E2B itself kills the script: later than the script ever needs
OUR_GRACE = 30.0  # seconds after which we do not believe that anybody will answer
_TRIES = 3
_ENDING = 3.0  # seconds that ending a command may take


async def finish(work: Coroutine[Any, Any, object]) -> None:
    """Run `work`, which bounds itself, to its end even while we are being cancelled. Its failures do not matter."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled():
        task.exception()
    if cancelled:
        raise asyncio.CancelledError


async def bounded(task: asyncio.Future[Any], seconds: float) -> None:
    await asyncio.wait([task], timeout=seconds)


def account(user: User) -> str | None:
    """None is the template's own ordinary user."""
    return "root" if user == "root" else None


class RemoteProcess:
    """`vendor` is the SDK's sandbox; `lost` makes the error for a failure and what was being done."""

    def __init__(  # noqa: PLR0913 (everything that one command needs, once)
        self,
        vendor: Any,
        work: RemoteCommand,
        *,
        cwd: str,
        env: Mapping[str, str],
        user: User,
        lost: Callable[[Exception | None, str], SandboxLost],
        pause: float,
    ) -> None:
        self.work = work
        self._vendor, self._cwd, self._env, self._account = vendor, cwd, env, account(user)
        self._lost, self._pause = lost, pause

    async def wait(self) -> None:
        """Start it, and listen until its stream ends; take that up again when only the connection broke."""
        work, handle = self.work, await self._begin()
        while True:
            try:
                work.end((await handle.wait()).exit_code)
                return
            except Exception as error:  # noqa: BLE001 (a vendor's failures are translated here)
                code = failures.exit_code_of(error)
                if code is not None or failures.is_deadline(error):
                    work.end(-1 if code is None else code)
                    return
                if work.over.is_set():
                    return
                broken = error
            finally:
                with suppress(Exception):
                    await handle.disconnect()
            handle = await self._reconnect(broken)

    async def _begin(self) -> Any:
        """The SDK's handle of it. A command is never sent twice, unless E2B said that it did not take it."""
        for attempt in range(_TRIES):
            start = asyncio.ensure_future(self._start())
            try:
                handle = await asyncio.shield(start)
            except asyncio.CancelledError:
                # It may run already: its number is needed to end it.
                await finish(bounded(start, _ENDING))
                if start.done() and not start.cancelled() and start.exception() is None:
                    self.work.pid = start.result().pid
                    await start.result().disconnect()
                start.cancel()
                raise
            except Exception as error:
                if failures.status_of(error) != 429 or attempt == _TRIES - 1:
                    raise self._lost(error, "a command could not be started") from error
                await asyncio.sleep(self._pause * 2**attempt)
            else:
                self.work.pid = handle.pid
                return handle
        raise AssertionError("unreachable")

    async def _start(self) -> Any:
        return await self._vendor.commands.run(
            self.work.script(self._cwd),
            background=True,
            envs=dict(self._env),
            user=self._account,
            cwd="/",
            on_stdout=self.work.on_stdout,
            on_stderr=self.work.on_script_output,
            stdin=False,
            timeout=self.work.timeout + SERVER_GRACE,
            request_timeout=OUR_GRACE,
            retain_output=False,
        )

    async def _reconnect(self, broken: Exception) -> Any:
        """A new stream of a command that went on without us. What it wrote meanwhile is lost; the output says so."""
        for attempt in range(_TRIES):
            if failures.is_gone(broken):
                break
            await asyncio.sleep(self._pause * 2**attempt)
            try:
                handle = await self._vendor.commands.connect(
                    self.work.pid,
                    timeout=self.work.timeout + SERVER_GRACE,
                    request_timeout=10,
                    on_stdout=self.work.on_stdout,
                    on_stderr=self.work.on_script_output,
                    retain_output=False,
                )
            except Exception as error:  # noqa: BLE001 (as above)
                broken = error
                continue
            self.work.ran = True
            self.work.on_stdout("\n[… the connection was lost for a moment; output may be missing here …]\n")
            return handle
        doing = "the connection to a running command was lost, and its result with it"
        raise self._lost(broken, doing) from broken

    async def end(self) -> None:
        """End what may still run of it, as far as one short request can. Nothing to do after an ordinary end."""
        over = self.work.exit_code not in (None, -1) or self.work.cwd_problem
        if over or self.work.pid is None:
            return
        with suppress(Exception):
            async with asyncio.timeout(_ENDING):
                handle = await self._vendor.commands.run(
                    self.work.kill_script(), background=True, user=self._account, cwd="/", timeout=10, request_timeout=3
                )
                await handle.disconnect()

"""A command that runs in an E2B sandbox: started once, followed across lost connections, ended with its children."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from flue_ci.core.concurrency import finish
from flue_ci.core.errors import SandboxLost
from flue_ci.core.ports import User
from flue_ci.core.retry import Retry
from flue_ci.sandboxes.e2b.command import RemoteCommand
from flue_ci.sandboxes.e2b.errors import VendorError, vendor_call
from flue_ci.sandboxes.e2b.timeouts import Timeouts

SERVER_GRACE = 15.0  # seconds after the deadline when E2B itself kills the script: later than the script ever needs
OUR_GRACE = 30.0  # seconds after the deadline when no answer is expected any more
_END_SECONDS = 3.0  # that ending a command may take


def account(user: User) -> str | None:
    """The user's name for the SDK; None is the template's own ordinary user."""
    return "root" if user == "root" else None


class RemoteProcess:
    """`vendor` is the SDK's sandbox; `loss_error` makes the error for a failure and what was being done."""

    def __init__(  # noqa: PLR0913 (everything that one command needs, once)
        self,
        vendor: Any,
        command: RemoteCommand,
        *,
        cwd: str,
        env: Mapping[str, str],
        user: User,
        loss_error: Callable[[VendorError | None, str], SandboxLost],
        timeouts: Timeouts,
    ) -> None:
        self.command = command
        self._vendor, self._cwd, self._env, self._account = vendor, cwd, env, account(user)
        self._loss_error, self._timeouts = loss_error, timeouts

    async def wait(self) -> None:
        """Starts it, and listens until its stream ends; connects again when only the connection broke. Raises
        `SandboxLost`."""
        command, handle = self.command, await self._start()
        while True:
            try:
                async with vendor_call():
                    command.end((await handle.wait()).exit_code)
                return
            except VendorError as error:
                failure = error
                if error.exit_code is not None:
                    command.end(error.exit_code)
                if command.is_over.is_set():
                    return
            finally:
                await _disconnect(handle)
            handle = await self._reconnect(failure)

    async def _start(self) -> Any:
        """The SDK's handle of it. A command is never sent twice, unless E2B said that it did not take it."""
        retry = Retry(self._timeouts.repeat)
        while True:
            request = asyncio.ensure_future(self._send())
            try:
                handle = await asyncio.shield(request)
            except asyncio.CancelledError:
                # It may run already: its number is needed to end it.
                await finish(asyncio.wait([request], timeout=_END_SECONDS))
                if request.done() and not request.cancelled() and request.exception() is None:
                    self.command.pid = request.result().pid
                    await _disconnect(request.result())
                request.cancel()
                raise
            except VendorError as error:
                wait = retry.next_wait()
                if error.status != 429 or wait is None:
                    raise self._loss_error(error, "a command could not be started") from error
                await asyncio.sleep(wait)
            else:
                self.command.pid = handle.pid
                return handle

    async def _send(self) -> Any:
        async with vendor_call():
            return await self._vendor.commands.run(
                self.command.script(self._cwd),
                background=True,
                envs=dict(self._env),
                user=self._account,
                cwd="/",
                on_stdout=self.command.on_stdout,
                on_stderr=self.command.on_stderr,
                stdin=False,
                timeout=self.command.timeout + SERVER_GRACE,
                request_timeout=OUR_GRACE,
                retain_output=False,
            )

    async def _reconnect(self, failure: VendorError) -> Any:
        """A new stream of a command that went on without us. What it wrote meanwhile is lost; the output says so."""
        retry = Retry(self._timeouts.reconnect)
        while not failure.is_gone and (wait := retry.next_wait()) is not None:
            await asyncio.sleep(wait)
            try:
                async with vendor_call():
                    handle = await self._vendor.commands.connect(
                        self.command.pid,
                        timeout=self.command.timeout + SERVER_GRACE,
                        request_timeout=10,
                        on_stdout=self.command.on_stdout,
                        on_stderr=self.command.on_stderr,
                        retain_output=False,
                    )
            except VendorError as error:
                failure = error
                continue
            self.command.has_started = True
            self.command.on_stdout("\n[… the connection was lost for a moment; output may be missing here …]\n")
            return handle
        doing = "the connection to a running command was lost, and its result with it"
        raise self._loss_error(failure, doing) from failure

    async def end(self) -> None:
        """Ends what may still run of it, as far as one short request can. Nothing to do after an ordinary end."""
        is_over = self.command.exit_code not in (None, -1) or self.command.cwd_problem
        if is_over or self.command.pid is None:
            return
        with suppress(VendorError):
            async with vendor_call(_END_SECONDS):
                script = self.command.kill_script()
                handle = await self._vendor.commands.run(
                    script, background=True, user=self._account, cwd="/", timeout=10, request_timeout=3
                )
                await handle.disconnect()


async def _disconnect(handle: Any) -> None:
    with suppress(VendorError):
        async with vendor_call():
            await handle.disconnect()

"""The file tools act with the rights of the ordinary user, in few requests, and lose no change of others."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flue_ci.agent.tools.files import Edit, Read, Write
from flue_ci.agent.tools.tool import ToolContext, ToolError
from flue_ci.core.ports import ExecResult, Network, Sandbox, SandboxRequest, User
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.sandboxes.local.provider import LocalProvider
from tests.support.e2b_server import E2BServer

REQUEST = SandboxRequest(env={}, metadata={"flue-ci": "1", "run": "files"}, network=Network())


class Busy:
    """A sandbox in which something else appends to a file whenever it has been read, `times` times, and where no
    command replaces a piece by itself."""

    def __init__(self, box: Sandbox, times: int) -> None:
        self._box, self._times = box, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._box, name)

    async def exec(self, command: str, **options: Any) -> ExecResult:
        if "perl -e" in command:
            return ExecResult(exit_code=127, output=b"")
        return await self._box.exec(command, **options)

    async def read(self, path: str, *, limit: int | None = None, user: User = "user") -> bytes:
        data = await self._box.read(path, limit=limit, user=user)
        if self._times > 0:
            self._times -= 1
            await self._box.exec(f"echo 'of somebody else' >> {path}", timeout=20)
        return data


@pytest.fixture(params=["local", "e2b"])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
    if request.param == "local":
        sandbox: Sandbox = await LocalProvider(directory=tmp_path).open(REQUEST, lambda event: None)
        yield sandbox
        await sandbox.close()
        return
    with E2BServer() as server:
        provider = E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url)
        sandbox = await provider.open(REQUEST, lambda event: None)
        yield sandbox
        await sandbox.close()


def context(box: Sandbox) -> ToolContext:
    return ToolContext(sandbox=box, workdir=box.info.home, command_seconds=30)


async def edit(box: Sandbox, path: str, old: str, new: str) -> str:
    return (await Edit().call({"path": path, "old": old, "new": new}, context(box))).text


async def test_a_change_between_an_edits_read_and_its_write_is_not_lost(box: Sandbox) -> None:
    await box.write("notes", b"one\ntwo\n")
    busy = Busy(box, times=2)
    assert "Replaced 1" in await edit(busy, "notes", "two", "three")  # type: ignore[arg-type]
    assert await box.read("notes") == b"one\nthree\n" + b"of somebody else\n" * 2


async def test_a_file_that_never_rests_is_left_alone(box: Sandbox) -> None:
    await box.write("notes", b"one\ntwo\n")
    with pytest.raises(ToolError, match="changes all the time"):
        await edit(Busy(box, times=99), "notes", "two", "three")  # type: ignore[arg-type]
    assert b"three" not in await box.read("notes")


@pytest.mark.parametrize(("old", "new"), [("a\n", ""), ("z", "zz"), ("b\n", "longer\n"), ("a\nb\nz", "x")])
async def test_an_edit_at_any_place_leaves_the_rest(box: Sandbox, old: str, new: str) -> None:
    await box.write("file", b"a\nb\nz")
    await edit(box, "file", old, new)
    assert await box.read("file") == "a\nb\nz".replace(old, new).encode()


async def test_an_edit_keeps_mode_and_link_and_leaves_nothing_beside(box: Sandbox) -> None:
    await box.exec("mkdir d; printf one > d/file; chmod 750 d/file; ln -s d/file link", timeout=20)
    await edit(box, "link", "one", "two")
    listing = await box.exec("readlink link; stat -c %a d/file; ls -A d; cat d/file", timeout=20)
    assert listing.output == b"d/file\n750\nfile\ntwo"


async def test_an_edit_of_a_large_binary_file_goes_through(box: Sandbox) -> None:
    data = bytes(range(256)) * 12_000 + b"needle" + bytes(range(255, -1, -1))
    await box.write("large", data)
    await edit(box, "large", "needle", "pin")
    assert await box.read("large") == data.replace(b"needle", b"pin")


@pytest.mark.skipif(os.geteuid() != 0, reason="without root the test server keeps no user apart")
async def test_files_of_the_system_are_out_of_reach_of_every_tool(box: Sandbox) -> None:
    await box.exec("ln -s /etc/passwd link", timeout=20)
    for path in ("/etc/passwd", "link"):
        with pytest.raises((PermissionError, FileNotFoundError, ToolError)):
            await edit(box, path, "root", "toor")
        with pytest.raises((PermissionError, FileNotFoundError)):
            await Write().call({"path": path, "content": "exit 0\n"}, context(box))


async def test_at_e2b_a_call_is_one_request_also_the_edit_of_a_file_that_was_seen() -> None:
    with E2BServer() as server:
        provider = E2BProvider(api_key=server.api_key, api_url=server.url, sandbox_url=server.url)
        box = await provider.open(REQUEST, lambda event: None)
        before, run = len(server.requests), context(box)
        await Write().call({"path": "file", "content": "one\n"}, run)
        await Read().call({"path": "file"}, run)
        await Edit().call({"path": "file", "old": "one", "new": "two"}, run)
        await Edit().call({"path": "file", "old": "two", "new": "three"}, run)
        assert [request.route for request in server.requests[before:]] == ["start"] * 4
        await edit(box, "file", "three", "four")  # by somebody who has not seen it
        assert [request.route for request in server.requests[before:]] == ["start"] * 5
        await box.close()


async def test_a_file_that_changed_since_it_was_seen_is_read_again(box: Sandbox) -> None:
    run = context(box)
    await Write().call({"path": "file", "content": "one\ntwo\n"}, run)
    await box.exec("printf 'zero\\none\\ntwo\\n' > file", timeout=20)
    result = await Edit().call({"path": "file", "old": "two", "new": "2"}, run)
    assert result.note == "line 3"
    await box.exec("printf 'three\\n' >> file", timeout=20)
    await Edit().call({"path": "file", "old": "three", "new": "3"}, run)
    assert await box.read("file") == b"zero\none\n2\n3\n"
    await box.exec("rm file", timeout=20)
    with pytest.raises(FileNotFoundError):
        await Edit().call({"path": "file", "old": "3", "new": "4"}, run)


async def test_two_edits_in_one_second_have_two_times(box: Sandbox) -> None:
    run = context(box)
    await Write().call({"path": "file", "content": "1\n"}, run)
    times = []
    for number in range(1, 4):
        await Edit().call({"path": "file", "old": str(number), "new": str(number + 1)}, run)
        times.append(int((await box.exec("stat -c %Y file", timeout=20)).output))
    assert len(set(times)) == 3

"""What every sandbox does, as one pytest class. A test file subclasses `SandboxContract` and brings its `provider`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flue_ci.core.errors import SandboxError, SandboxLost
from flue_ci.core.events import ProgressEvent
from flue_ci.core.ports import HeaderRule, Network, Sandbox, SandboxProvider, SandboxRequest
from flue_ci.testing.sandbox_commands import (
    BINARY,
    HANG_SECONDS,
    HEARTBEAT,
    REQUEST,
    SandboxCommands,
    heartbeat_stops,
    read_eventually,
    run,
    text,
    wait_for_end,
)


def ignore(event: ProgressEvent) -> None:
    """An observer that does nothing."""


async def refusal(provider: SandboxProvider, request: SandboxRequest) -> str:
    """Why the request is refused, with the hint; empty when it is not. What is refused cannot be opened either."""
    try:
        provider.check(request)
    except SandboxError as error:
        with pytest.raises(SandboxError):
            await provider.open(request, ignore)
        return f"{error} {error.hint}"
    return ""


class SandboxContract(SandboxCommands):
    """The behaviour that `flue_ci.core.ports.Sandbox` and `SandboxProvider` describe. Use it so:

        class TestMySandbox(SandboxContract):
            @pytest.fixture
            def provider(self) -> SandboxProvider:
                return MyProvider(...)

    Override the fixture `provider`, and an attribute where your sandbox differs for a reason that you can name:
    `also_visible`, the names of variables that the provider itself sets inside; `root_is_apart = False` when the
    ordinary user can read and write root's files; `has_root = False` when nobody stands above that user;
    `host_is_apart = False` when the host's processes are visible. The fixture `sandbox` opens one with `REQUEST` for
    each test and closes it afterwards; override it as an asynchronous generator when more is to be prepared or checked.
    Needs `pytest-asyncio` with `asyncio_mode = "auto"`; the sandbox needs bash and the GNU core utilities, and starts
    some 100 times.
    """

    @pytest.fixture
    def provider(self) -> SandboxProvider:
        """The adapter. A new one for each test, or always the same."""
        raise NotImplementedError("override the fixture `provider`")

    @pytest.fixture
    async def sandbox(self, provider: SandboxProvider) -> AsyncIterator[Sandbox]:
        """A running sandbox that was opened with `REQUEST`."""
        sandbox = await provider.open(REQUEST, ignore)
        yield sandbox
        await sandbox.close()

    # Files

    async def test_bytes_come_back_as_they_were_written(self, sandbox: Sandbox) -> None:
        await sandbox.write("data", BINARY)
        assert await sandbox.read("data") == BINARY
        assert await sandbox.read(f"{sandbox.info.home}/data") == BINARY

    async def test_an_empty_file_is_empty(self, sandbox: Sandbox) -> None:
        await sandbox.write("empty", b"")
        assert await sandbox.read("empty") == b""

    async def test_writing_replaces_what_was_there(self, sandbox: Sandbox) -> None:
        await sandbox.write("file", b"a long text that has to go")
        await sandbox.write("file", b"short")
        assert await sandbox.read("file") == b"short"

    async def test_writing_makes_the_directories_on_the_way(self, sandbox: Sandbox) -> None:
        await sandbox.write("one/two/three/file", b"deep")
        assert await text(sandbox, "cat one/two/three/file; touch one/two/beside && echo mine") == "deepmine"

    async def test_a_file_of_the_host_is_sent(self, sandbox: Sandbox, tmp_path: Path) -> None:
        source = tmp_path / "large"
        source.write_bytes(BINARY * 5000)
        await sandbox.write("sub/large", source)
        assert await sandbox.read("sub/large") == BINARY * 5000

    async def test_names_are_kept_as_they_are(self, sandbox: Sandbox) -> None:
        names = ["with space", "ünï/漢字", "-dash", "it's", 'say "x"', "100%25", "a#b?c&d=e;f", "dot..dot"]
        for name in names:
            await sandbox.write(f"names/{name}", name.encode())
            assert await sandbox.read(f"names/{name}") == name.encode()
        listing = await text(sandbox, "cd names && find . -type f -printf '%P\\n'")
        assert sorted(listing.split("\n")) == sorted(names)

    async def test_commands_and_files_see_the_same_thing(self, sandbox: Sandbox) -> None:
        await sandbox.write("shared", b"one\n")
        assert await text(sandbox, "echo two >> shared && cat shared") == "one\ntwo"
        assert await sandbox.read("shared") == b"one\ntwo\n"

    async def test_a_link_is_followed(self, sandbox: Sandbox) -> None:
        await run(sandbox, "echo target > real && ln -s real link")
        assert await sandbox.read("link", limit=100) == b"target\n"

    async def test_a_missing_file_is_file_not_found(self, sandbox: Sandbox) -> None:
        for limit in (None, 10):
            with pytest.raises(FileNotFoundError, match="missing"):
                await sandbox.read("no/such/missing", limit=limit)

    async def test_reading_a_directory_is_is_a_directory(self, sandbox: Sandbox) -> None:
        await run(sandbox, "mkdir folder")
        for limit in (None, 10):
            with pytest.raises(IsADirectoryError, match="folder"):
                await sandbox.read("folder", limit=limit)

    async def test_writing_to_a_directory_is_is_a_directory(self, sandbox: Sandbox) -> None:
        await run(sandbox, "mkdir folder")
        with pytest.raises(IsADirectoryError, match="folder"):
            await sandbox.write("folder", b"no")

    async def test_a_file_on_the_way_is_file_not_found(self, sandbox: Sandbox) -> None:
        await sandbox.write("plain", b"a file")
        with pytest.raises(FileNotFoundError):
            await sandbox.write("plain/below", b"no")
        with pytest.raises(FileNotFoundError):
            await sandbox.read("plain/below")
        assert await sandbox.read("plain") == b"a file"

    async def test_a_file_over_the_limit_is_refused_with_its_size(self, sandbox: Sandbox) -> None:
        await sandbox.write("large", b"x" * 5001)
        with pytest.raises(ValueError, match=r"5,?001"):
            await sandbox.read("large", limit=5000)
        assert len(await sandbox.read("large", limit=5001)) == 5001

    async def test_an_endless_file_is_refused(self, sandbox: Sandbox) -> None:
        await run(sandbox, "ln -s /dev/zero endless; mkfifo pipe")
        async with asyncio.timeout(HANG_SECONDS):
            for name in ("endless", "pipe"):
                with pytest.raises((PermissionError, ValueError)):
                    await sandbox.read(name, limit=1000)

    # Files: with the rights of the ordinary user

    async def test_a_new_file_has_the_mode_of_the_user_and_an_old_one_keeps_its(self, sandbox: Sandbox) -> None:
        await sandbox.write("new", b"x")
        await run(sandbox, "touch touched; touch old; chmod 750 old")
        await sandbox.write("old", b"y")
        modes = await text(sandbox, "stat -c '%a %U' new touched old")
        new, touched, old = modes.splitlines()
        assert new == touched
        assert old.split()[0] == "750"

    async def test_a_link_is_written_through(self, sandbox: Sandbox) -> None:
        await run(sandbox, "mkdir folder; echo one > folder/file; ln -s folder/file link; ln -s folder/new dangling")
        for name in ("link", "dangling"):
            await sandbox.write(name, name.encode())
        assert await text(sandbox, "readlink link dangling; cat folder/file; echo; cat folder/new") == (
            "folder/file\nfolder/new\nlink\ndangling"
        )

    async def test_files_of_root_are_out_of_the_users_reach(self, sandbox: Sandbox) -> None:
        if not self.root_is_apart:
            pytest.skip("root's files are the user's here")
        home = (await sandbox.exec('echo "$HOME"', timeout=30, user="root")).output.decode().strip()
        await sandbox.write(f"{home}/own", b"of root", user="root")
        await run(sandbox, f"ln -s {home}/own link; ln -s {home} folder")
        for path in (f"{home}/own", "link", "folder/own", f"{home}/new", "folder/new"):
            with pytest.raises((PermissionError, FileNotFoundError)):
                await sandbox.read(path, limit=1000)
            with pytest.raises((PermissionError, FileNotFoundError)):
                await sandbox.write(path, b"of the user")
        assert await sandbox.read(f"{home}/own", user="root") == b"of root"

    async def test_files_of_the_system_are_out_of_the_users_reach(self, sandbox: Sandbox) -> None:
        if not self.root_is_apart:
            pytest.skip("the system's files may be the user's here")
        for path in ("/usr/bin/env", "/usr/bin/flue-new", "/etc/profile", "/etc/profile.d/flue.sh"):
            folder, _, name = path.rpartition("/")
            await run(sandbox, f"ln -sfn {path} link; ln -sfn {folder} folder")
            for way in (path, "link", f"folder/{name}"):
                with pytest.raises((PermissionError, FileNotFoundError)):
                    await sandbox.write(way, b"exit 0\n")

    async def test_large_binary_files_go_through(self, sandbox: Sandbox) -> None:
        data = BINARY * 9_000  # more than 9 MB
        await sandbox.write("large", data)
        assert await sandbox.read("large", limit=10_000_000) == data

    # Processes

    async def test_no_process_of_the_user_is_left_when_all_are_ended(self, sandbox: Sandbox) -> None:
        if not self.has_root:
            pytest.skip("nobody can end the ordinary user's processes here")
        await run(sandbox, f"(setsid bash -c '{HEARTBEAT}' &) >/dev/null 2>&1; {HEARTBEAT} &")
        await read_eventually(sandbox, "beats")
        async with asyncio.timeout(HANG_SECONDS):
            assert await sandbox.end_processes() == ""
        assert await heartbeat_stops(sandbox)
        assert await text(sandbox, "echo still here") == "still here"

    # Network and end

    async def test_switching_the_network_keeps_the_files(self, sandbox: Sandbox) -> None:
        await sandbox.write("before", b"kept")
        await sandbox.set_network(Network(mode="open"))
        await sandbox.set_network(Network(mode="none"))
        assert await sandbox.read("before") == b"kept"
        assert await text(sandbox, "cat before") == "kept"

    async def test_the_sandbox_says_who_it_is(self, sandbox: Sandbox) -> None:
        assert sandbox.info.provider
        assert sandbox.info.id
        assert await text(sandbox, "id -un; test -w ~ && echo writable") != ""

    async def test_a_closed_sandbox_is_lost(self, sandbox: Sandbox) -> None:
        await wait_for_end(sandbox.close())
        with pytest.raises(SandboxLost):
            await run(sandbox, "echo hello")
        with pytest.raises(SandboxLost):
            await sandbox.read("file")
        with pytest.raises(SandboxLost):
            await sandbox.write("file", b"x")
        with pytest.raises(SandboxLost):
            await sandbox.set_network(Network(mode="none"))

    async def test_closing_twice_and_at_once_is_fine(self, sandbox: Sandbox) -> None:
        await wait_for_end(asyncio.gather(sandbox.close(), sandbox.close()))
        await wait_for_end(sandbox.close())

    async def test_closing_ends_what_still_runs(self, sandbox: Sandbox) -> None:
        task = asyncio.create_task(sandbox.exec(f"{HEARTBEAT}", timeout=60))
        await read_eventually(sandbox, "beats")
        await wait_for_end(sandbox.close())
        with pytest.raises(SandboxLost):
            await wait_for_end(task)

    # The provider

    async def test_a_running_sandbox_is_listed_by_its_metadata(
        self, provider: SandboxProvider, sandbox: Sandbox
    ) -> None:
        listing = dict(await provider.list(REQUEST.metadata))
        assert REQUEST.metadata.items() <= listing[sandbox.info.id].items()
        others = await provider.list(dict(REQUEST.metadata) | {"run": "another"})
        assert sandbox.info.id not in dict(others)

    async def test_a_sandbox_that_is_killed_by_its_id_is_lost(
        self, provider: SandboxProvider, sandbox: Sandbox
    ) -> None:
        assert await provider.kill(sandbox.info.id) is True
        with pytest.raises(SandboxLost):
            await run(sandbox, "echo hello")
        assert sandbox.info.id not in dict(await provider.list(REQUEST.metadata))
        assert await provider.kill(sandbox.info.id) is False

    async def test_a_closed_sandbox_is_not_listed(self, provider: SandboxProvider, sandbox: Sandbox) -> None:
        await wait_for_end(sandbox.close())
        assert sandbox.info.id not in dict(await provider.list(REQUEST.metadata))

    @pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1])
    async def test_a_cancelled_start_leaves_nothing(self, provider: SandboxProvider, seconds: float) -> None:
        metadata = {"flue-ci": "1", "run": f"cancelled-after-{seconds}"}
        task = asyncio.create_task(provider.open(replace(REQUEST, metadata=metadata), ignore))
        await asyncio.sleep(seconds)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(result, BaseException):  # it was faster
            await result.close()
        assert await provider.list(metadata) == []

    @pytest.mark.parametrize(
        "network",
        [
            Network(mode="open"),
            Network(mode="hosts", hosts=("packages.example.com",)),
            Network(mode="hosts", hosts=("https://packages.example.com/simple",)),
            Network(mode="open", inject=(HeaderRule(host="a.example.com", header="X-Team", value="secret-value"),)),
            Network(mode="open", inject=(HeaderRule(host="a.example.com", header="X Team", value="secret-value"),)),
        ],
        ids=["open", "hosts", "no-host", "inject", "no-header"],
    )
    async def test_a_network_is_refused_before_the_start_in_every_phase_or_in_none(
        self, provider: SandboxProvider, network: Network
    ) -> None:
        first = await refusal(provider, replace(REQUEST, network=network))
        assert await refusal(provider, replace(REQUEST, agent_network=network)) == first
        assert "secret-value" not in first

"""Templates and disks that lack what others have: it is named, with what to do, or the work goes on without it."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flue_ci.agent.tools.files import Edit, Read
from flue_ci.agent.tools.tool import ToolContext, ToolError
from flue_ci.core.errors import SandboxError, SandboxLost, WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.collect import collect
from flue_ci.workspace.upload import upload
from tests.sandboxes.test_e2b_faults import REQUEST, provider_of
from tests.support.e2b_machine import MachineOptions
from tests.support.e2b_server import E2BServer
from tests.support.repos import Altered, Repo, new_repo, open_box, shell

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the test server makes such machines as root only")
SCREEN = bytes(range(256)) * 12_000  # 3 MB


@pytest.fixture
async def source(tmp_path: Path) -> Source:
    repo = new_repo(tmp_path / "repo", {"a": ("file", b"a\n"), "old.bin": ("file", SCREEN)})
    repo.put("new", b"new\n")
    repo.git("add", "-N", "new")
    return await _open(repo, tmp_path)


@pytest.fixture
async def large_source(tmp_path: Path) -> Source:
    """A source that does not fit into a command."""
    repo = new_repo(tmp_path / "repo", {"noise": ("file", random.Random(0).randbytes(100_000))})
    return await _open(repo, tmp_path)


async def _open(repo: Repo, tmp_path: Path) -> Source:
    (tmp_path / "scratch").mkdir()
    return await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")


@asynccontextmanager
async def machine(*without: str) -> AsyncIterator[Sandbox]:
    with E2BServer(machine=MachineOptions(without=without)) as server:
        box = await provider_of(server).open(REQUEST, lambda event: None)
        try:
            yield box
        finally:
            await box.close()


@needs_root
async def test_a_template_without_bash_is_no_lost_sandbox() -> None:
    with E2BServer(machine=MachineOptions(without=("bash",))) as server:
        with pytest.raises(SandboxError, match="the template of the sandbox has no bash") as caught:
            await provider_of(server).open(REQUEST, lambda event: None)
        assert not isinstance(caught.value, SandboxLost)
        assert (len(server.recorded("create")), server.sandboxes) == (1, {})


@needs_root
async def test_what_a_template_may_lack_is_not_missed(source: Source) -> None:
    async with machine("perl", "mktemp", "realpath", "stat", "cmp", "nproc") as box:
        workspace = await upload(source, box)
        await shell(box, "echo x >> a; cp old.bin new.bin; echo 1 >> old.bin", workspace.root)
        changes = await collect(workspace, source, box)
    assert [(file.path, file.binary) for file in changes.files] == [("a", False), ("new.bin", True), ("old.bin", True)]


async def assert_refused(source: Source, command: str, message: str) -> None:
    """A machine on which `command` ran takes no repository, and says why."""
    async with machine() as box:
        assert (await box.exec(command, timeout=20, user="root")).exit_code == 0
        with pytest.raises(WorkspaceError, match=message) as caught:
            await upload(source, box)
    assert "Is its disk full, or does its home belong to root" in caught.value.hint


@needs_root
@pytest.mark.family(3)
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("chown root /home/user; chmod 755 /home/user", "mkdir: .* Permission denied"),
        ("mount --bind /home/user /home/user && mount -o remount,bind,ro /home/user", "Read-only file system"),
        ("mount -t tmpfs -o size=64k,mode=777 tmpfs /home/user", "No space left on device"),
        ("mount -t tmpfs -o nr_inodes=4,mode=777 tmpfs /home/user", "No space left on device"),
        ("mount -t tmpfs -o size=4k tmpfs /tmp", "did not take a file: .*No space left on device: ./tmp/upload.tar"),
        ("mount -t tmpfs -o nr_inodes=9 tmpfs /root", "No space left on device"),
    ],
    ids=["root's home", "read-only", "full", "no inodes", "full /tmp", "no inodes for root"],
)
async def test_a_disk_that_takes_nothing_is_named(large_source: Source, command: str, message: str) -> None:
    await assert_refused(large_source, command, message)


@needs_root
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("chown root /home/user; chmod 755 /home/user", "mkdir: .* Permission denied"),
        ("mount --bind /home/user /home/user && mount -o remount,bind,ro /home/user", "Read-only file system"),
        ("mount -t tmpfs -o size=8k,mode=777 tmpfs /home/user", "No space left on device"),
    ],
    ids=["root's home", "read-only", "full"],
)
async def test_a_disk_that_takes_no_small_repository_is_named(source: Source, command: str, message: str) -> None:
    await assert_refused(source, command, message)


async def test_an_old_git_is_enough(source: Source, tmp_path: Path) -> None:
    old = 'git() { case "$*" in *from-file*) echo "error: unknown option"; return 129 ;; esac; command git "$@"; }'
    async with open_box("plain", tmp_path) as box:
        workspace = await upload(source, Altered(box, old))
        assert (await shell(box, "git status --porcelain", workspace.root)) == " A new\n"


@pytest.mark.parametrize("kind", ["plain", pytest.param("e2b", marks=needs_root)])
async def test_a_large_binary_file_is_called_one(tmp_path: Path, kind: str) -> None:
    async with open_box(kind, tmp_path) as box:
        await box.write("screen", SCREEN)
        context = ToolContext(sandbox=box, workdir=box.info.home, command_seconds=30)
        with pytest.raises(ToolError, match="This is a binary file"):
            await Read().call({"path": "screen"}, context)
        with pytest.raises(ToolError, match="does not occur"):
            await Edit().call({"path": "screen", "old": "nowhere", "new": "x"}, context)
        await box.exec("yes line | head -n 600000 > lines", timeout=20)
        assert (await Read().call({"path": "lines", "limit": 2}, context)).note == "lines 1–2 of 600000"

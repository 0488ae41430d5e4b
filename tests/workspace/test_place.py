"""Verified changes arrive in a clean sandbox exactly, whatever setup made of the same paths there."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.source import Source
from flue_ci.workspace.collect import collect
from flue_ci.workspace.place import place_changes
from flue_ci.workspace.upload import Workspace, upload
from tests.support.repos import EVERY_KIND, KINDS, Tree, new_source, open_box, shell, tree_inside
from tests.workspace.test_collect import EDITS

# Most are for each kind of sandbox, and those do the same: one of them in each run. Attacks are tried where root is
# somebody else, in both.
pytestmark = pytest.mark.family(1)
BASE: Tree = EVERY_KIND | {
    ".gitignore": ("file", b"*.log\n/build/\n*.pyc\n"),
    "lock": ("file", b"locked 1\n"),
    "src/a.py": ("file", b"A = 1\n"),
    "src/deep/b.py": ("file", b"B = 1\n"),
    "src/deep/c.py": ("file", b"C = 1\n"),
    ".gitattributes": ("file", b"* text eol=crlf export-subst ident\n*.secret export-ignore\n"),
}


@dataclass(frozen=True)
class Pair:
    """The agent's sandbox, and a clean one with the same source."""

    source: Source
    agent: Sandbox
    workspace: Workspace
    clean: Sandbox
    clean_workspace: Workspace

    async def work(self, command: str) -> ChangeSet:
        """What the agent does, collected."""
        await shell(self.agent, command, self.workspace.root)
        return await collect(self.workspace, self.source, self.agent)

    async def place(self, changes: ChangeSet) -> None:
        await place_changes(self.source, changes, self.clean_workspace, self.clean)

    async def sh(self, command: str) -> str:
        """A command in the clean sandbox."""
        return await shell(self.clean, command, self.clean_workspace.root)

    async def tree(self) -> Tree:
        return await tree_inside(self.clean, self.clean_workspace.root)


@pytest.fixture(params=KINDS)
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    _, source = await new_source(tmp_path, BASE)
    for name in ("agent", "clean"):
        (tmp_path / name).mkdir()
    async with AsyncExitStack() as stack:
        boxes = [
            await stack.enter_async_context(open_box(request.param, tmp_path / name)) for name in ("agent", "clean")
        ]
        spaces = [await upload(source, box) for box in boxes]
        yield Pair(source, boxes[0], spaces[0], boxes[1], spaces[1])


async def test_every_kind_of_change_arrives_exactly(pair: Pair) -> None:
    changes = await pair.work(EDITS + "echo x > x.secret; echo '$Id$ $Format:%H$' > ident")
    await pair.place(changes)
    inside = await tree_inside(pair.agent, pair.workspace.root)
    assert await pair.tree() == {path: entry for path, entry in inside.items() if path not in ("a.log", "build/x")}
    names = await pair.sh("git -c core.quotePath=false status --porcelain --untracked-files=all | cut -c 4-")
    assert "plain.txt" in names.split("\n")
    assert "new.txt" in names.split("\n")
    await pair.place(changes)  # once more changes nothing
    assert await pair.tree() == {path: entry for path, entry in inside.items() if path not in ("a.log", "build/x")}


async def test_no_changes_do_nothing(pair: Pair) -> None:
    changes = await pair.work("true")
    await pair.sh("echo mine > plain.txt")
    await pair.place(changes)
    assert (await pair.tree())["plain.txt"] == ("file", b"mine\n")


async def test_they_belong_to_the_user_with_plain_modes(pair: Pair) -> None:
    changes = await pair.work("mkdir -m 700 new; echo x > new/file; chmod 600 new/file; echo y > plain.txt")
    await pair.place(changes)
    assert await pair.sh("stat -c '%A %U' new new/file plain.txt; id -un") == (
        "drwxr-xr-x {0}\n-rw-r--r-- {0}\n-rw-r--r-- {0}\n{0}\n".format((await pair.sh("id -un")).strip())
    )
    await pair.sh("echo more >> new/file; rm plain.txt")


SETUPS = {
    "the same files": "echo locked 2 > lock; rm plain.txt; chmod 444 src/a.py; echo from setup > new",
    "directories": """
        rm lock src/a.py; mkdir -p lock/x src/a.py/y; : > lock/x/z; mkdir new; : > new/n; chmod 0 lock/x new""",
    "links to the outside": """
        mkdir ../outside; echo precious > ../outside/b.py; cp ../outside/b.py ../outside/a.py
        rm lock src/a.py; ln -s "$PWD/../outside/a.py" lock; ln -s ../../outside/a.py src/a.py
        ln -s ../outside/new new; rm -r src/deep; ln -s "$PWD/../outside" src/deep""",
    "files on the way": "rm -r src; echo a file > src; echo a file > added",
    "links that dangle or turn round": """
        rm -r src/deep lock; ln -s deep src/deep; ln -s /nowhere lock; ln -s added added""",
    "closed directories": "chmod 555 src src/deep .; chmod 000 src/deep",
    "a patched tree": "git rm -rq --cached src; git config core.autocrlf true; git config core.fsmonitor false",
}
WORK = """
    echo 'locked 3' > lock; echo 'A = 2' > src/a.py; rm src/deep/b.py; echo new > new; chmod +x plain.txt
    mkdir -p added/deep; echo 1 > added/deep/1; ln -s ../lock added/link
"""
EXPECTED: Tree = {
    "lock": ("file", b"locked 3\n"),
    "src/a.py": ("file", b"A = 2\n"),
    "new": ("file", b"new\n"),
    "plain.txt": ("exec", b"one\ntwo\nthree\n"),
    "added/deep/1": ("file", b"1\n"),
    "added/link": ("link", b"../lock"),
}


@pytest.mark.family(2)
@pytest.mark.parametrize("setup", SETUPS)
async def test_what_setup_made_of_the_same_paths_is_overwritten(pair: Pair, setup: str) -> None:
    changes = await pair.work(WORK)
    await pair.sh(SETUPS[setup])
    await pair.place(changes)
    await pair.sh("chmod u+rwx . src src/deep 2>/dev/null || :")
    tree = await pair.tree()
    assert {path: tree.get(path) for path in EXPECTED} == EXPECTED
    assert "src/deep/b.py" not in tree
    if setup == "links to the outside":
        assert await pair.sh("cd ../outside; cat a.py b.py; ls") == "precious\nprecious\na.py\nb.py\n"


async def test_a_directory_that_became_a_file_and_the_other_way_round(pair: Pair) -> None:
    changes = await pair.work(
        "rm -r src; echo file > src; rm lock; mkdir lock; echo x > lock/x; rm link; mkdir link; : > link/y"
    )
    await pair.sh("mkdir -p src/deep/__pycache__; : > src/deep/__pycache__/b.pyc")
    await pair.place(changes)
    tree = await pair.tree()
    assert (tree["src"], tree["lock/x"], tree["link/y"]) == (("file", b"file\n"), ("file", b"x\n"), ("file", b""))


async def test_empty_directories_go_and_others_stay(pair: Pair) -> None:
    changes = await pair.work("rm -r src/deep; rm 'dir with space/deep/er.txt'")
    await pair.sh("mkdir -p src/deep/cache; : > src/deep/cache/kept.pyc; mkdir elsewhere")
    await pair.place(changes)
    assert (
        await pair.sh("ls -d src/deep/cache/* elsewhere; ls 'dir with space'")
        == "elsewhere\nsrc/deep/cache/kept.pyc\nup\n"
    )


async def test_bytecode_of_the_base_is_not_taken_for_the_changed_file(pair: Pair) -> None:
    """Python recognises a changed file by its size and its time in whole seconds."""
    changes = await pair.work("echo 'A = 2' > src/a.py")
    await pair.sh("touch src/a.py; python3 -m compileall -q src")
    await pair.place(changes)
    assert await pair.sh("find src/a.py -newer src/__pycache__/a.*.pyc") == "src/a.py\n"
    assert await pair.sh("python3 -c 'import sys; sys.path[0] = \"src\"; import a; print(a.A)'") == "2\n"


@pytest.mark.family(1)
@pytest.mark.parametrize("pair", ["isolated", "e2b"], indirect=True)
async def test_start_up_files_of_setup_have_no_say(pair: Pair) -> None:
    changes = await pair.work("echo 'locked 3' > lock; echo new > new")
    await pair.sh(
        "mkdir ../bin; for name in tar rm xargs find; do printf '#!/bin/sh\\nexit 0\\n' > ../bin/$name; done;"
        "chmod +x ../bin/*; printf 'PATH=%s:$PATH\\ncd() { exit 0; }\\n' \"$(realpath ../bin)\" > ~/.bash_profile"
    )
    await pair.place(changes)
    assert (await pair.clean.read(f"{pair.clean_workspace.root}/new")) == b"new\n"
    assert (await pair.clean.read(f"{pair.clean_workspace.root}/lock")) == b"locked 3\n"


@pytest.mark.parametrize("gone", ['rm -rf "$PWD"', 'd=$PWD; cd ..; mv "$d" moved; ln -s moved "$d"'])
async def test_a_work_tree_that_setup_took_away_is_an_error(pair: Pair, gone: str) -> None:
    changes = await pair.work("echo x > new")
    await pair.sh(gone)
    with pytest.raises(WorkspaceError, match="setup deleted or replaced the work tree /"):
        await pair.place(changes)


@pytest.mark.parametrize("pair", ["e2b"], indirect=True)  # only there somebody else is root
async def test_what_cannot_be_written_is_named(pair: Pair) -> None:
    changes = await pair.work("echo x > src/a.py")
    await pair.clean.exec(f"chown root:root {pair.clean_workspace.root}/src", timeout=30, user="root")
    with pytest.raises(WorkspaceError, match=r"src/a\.py.*Permission denied"):
        await pair.place(changes)


async def test_many_and_big_files(pair: Pair) -> None:
    changes = await pair.work(
        "mkdir -p many/{0..9}; for n in $(seq 100); do echo $n > many/$((n % 10))/$n; done;"
        "head -c 3000000 /dev/urandom > big; rm -r src"
    )
    await pair.place(changes)
    sums = "find many big -type f -exec sha1sum {} + | sort"
    assert await pair.sh(sums) == await shell(pair.agent, sums, pair.workspace.root)
    assert await pair.sh("ls -d src || :") == "ls: cannot access 'src': No such file or directory\n"


def test_nothing_is_left_on_this_machine() -> None:
    """The archive travels through the sandbox's own /tmp, which without isolation is this machine's."""
    left = subprocess.run(["find", "/tmp", "-maxdepth", "1", "-name", "flue-ci-*.tar"], capture_output=True, check=True)
    assert left.stdout == b""

"""Root's git starts nothing that the agent left for it, in whatever repository or link; and the rest comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.upload import upload
from tests.support.repos import EVERY_KIND, Repo, copy_source, new_repo, open_box, shell
from tests.workspace.test_collect import IGNORE, Stage

# PROGRAM writes who runs it into a file that everybody may append to; DIRECTORY is the one where it lies.
TRAPS = {
    "fsmonitor": "git config core.fsmonitor PROGRAM",
    "filter": "git config filter.x.clean PROGRAM; git config filter.x.smudge PROGRAM; echo '* filter=x'>.gitattributes",
    "hooks": "git config core.hooksPath DIRECTORY; cp PROGRAM DIRECTORY/post-index-change",
    "textconv": "git config diff.x.textconv PROGRAM; git config diff.external PROGRAM; echo '* diff=x'> .gitattributes",
    "include": "git config include.path DIRECTORY/more; git config -f DIRECTORY/more core.fsmonitor PROGRAM",
}
INNER = "git init -q {0}; cd {0}; TRAP; echo x > x; git add x; git commit -qm x; echo y > y; touch x"
NEW = INNER.format("inner")
PLACES = {
    "new": NEW,
    "deep": "mkdir -p a/b; cd a/b; " + NEW,
    "where the base has a link to a repository": INNER.format("sub"),
    "with the commit of that link": "git clone -q . sub; cd sub; git checkout HEAD~1; TRAP; touch plain.txt; :>x",
    "where the base has a directory": INNER.format("'dir with space'"),
    "ignored": "mkdir build; cd build; " + NEW,
    "ignored and tracked": f"mkdir build; cd build; {NEW}; cd ../..; git add -f build/inner",
    "tracked": f"{NEW}; cd ..; git add inner",
    "a file for .git": NEW + "; mv .git ../../moved; echo 'gitdir: ../../moved' > .git",
    "a link for .git": NEW + "; mv .git ../../moved; ln -s ../../moved .git",
    "in capitals": NEW + "; mv .git .GIT",
    "behind a link": INNER.format("../outside") + '; ln -s ../outside "$OLDPWD/inner"',
    "without a work tree": "git init -q --bare bare; cd bare; TRAP",
    "in itself": "TRAP; git init -q",
    "in itself by a file": "TRAP; mv .git ../moved; echo 'gitdir: ../moved' > .git",
}
NOTE = "left out of the changes, because it is a repository of its own"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repo, Source]:
    top = tmp_path_factory.mktemp("linked")
    repo = new_repo(top / "repo", EVERY_KIND | IGNORE)
    # A link to another repository: the author of a pull request knows which commit has to be there.
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.line('rev-parse', 'HEAD')},sub")
    # And one whose commit comes last in order, but not its path.
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'f' * 40},a-link")
    repo.git("commit", "-qm", "two links")
    (top / "scratch").mkdir()
    return repo, asyncio.run(open_checkout(repo.path, history=5, scratch=top / "scratch"))


@pytest.fixture(params=("isolated", "e2b"))
async def linked(request: pytest.FixtureRequest, tmp_path: Path, opened: tuple[Repo, Source]) -> AsyncIterator[Stage]:
    repo, source = opened[0], copy_source(opened[1], tmp_path)
    async with open_box(request.param, tmp_path) as box:
        yield Stage(repo, source, box, await upload(source, box), tmp_path)


async def lay_trap(stage: Stage, place: str, trap: str) -> None:
    home = stage.box.info.home
    program = f"{home}/programs/run"
    await shell(stage.box, "mkdir programs; : > programs/ran; chmod 777 programs; chmod 666 programs/ran")
    script = f'#!/bin/bash\necho "$(id -u) $HOME" >> {home}/programs/ran\ncat\nexit 1\n'
    await stage.box.write(program, script.encode())
    await shell(stage.box, f"chmod 755 {program}; git config --global user.name x; git config --global user.email x@y")
    command = PLACES[place].replace("TRAP", TRAPS[trap].replace("PROGRAM", program))
    command = command.replace("DIRECTORY", f"{home}/programs")
    await stage.box.exec(f"{command} >/dev/null 2>&1", timeout=60, cwd=stage.workspace.root)
    await shell(stage.box, ": > programs/ran")


@pytest.mark.family(2)
@pytest.mark.parametrize("place", PLACES)
async def test_root_starts_nothing_in_a_repository_of_the_agent(linked: Stage, place: str) -> None:
    await lay_trap(linked, place, "fsmonitor")
    await linked.sh("echo more >> plain.txt; : > closed; chmod 000 closed; : > new; touch empty")
    with suppress(ChangesRefused):  # some of these places break a rule
        paths = {file.path for file in (await linked.collect()).files}
        assert paths >= {"plain.txt", "new", "closed"}
    assert await shell(linked.box, "cat programs/ran") == ""


@pytest.mark.family(2)
@pytest.mark.parametrize("trap", ["filter", "hooks", "textconv", "include"])
async def test_root_starts_nothing_of_any_kind(linked: Stage, trap: str) -> None:
    await lay_trap(linked, "where the base has a link to a repository", trap)
    await linked.sh("echo more >> plain.txt")
    changes = await linked.collect()
    assert [file.path for file in changes.files] == ["plain.txt"]
    assert changes.notes == (f"sub: {NOTE}",)
    assert await shell(linked.box, "cat programs/ran") == ""


async def test_a_repository_that_appears_while_root_collects_starts_nothing(linked: Stage) -> None:
    await lay_trap(linked, "where the base has a link to a repository", "fsmonitor")
    await linked.sh(
        "cp -r sub ../prepared; (while :; do for d in sub inner to empty; do mv -T $d ../away; cp -r ../prepared $d;"
        "rm -rf $d; mkdir $d; echo x > $d/x; rm -rf ../away; done; done) >/dev/null 2>&1 &"
    )
    for _ in range(4):
        with suppress(ChangesRefused, WorkspaceError):
            await linked.collect()
    assert await shell(linked.box, "cat programs/ran") == ""


async def test_a_link_to_a_repository_in_the_base_stays_whatever_becomes_of_it(linked: Stage) -> None:
    for command in ("rm -r sub", "echo x > sub", "rm sub; git init -q sub", "rm -r sub; ln -s /etc sub"):
        await linked.sh(command)
        changes = await linked.collect()
        assert changes == ChangeSet(tree=linked.source.tree, notes=(f"sub: {NOTE}",))
    await linked.sh("rm sub; mkdir sub")
    assert await linked.collect() == ChangeSet(tree=linked.source.tree)

"""What checks see beside the patch is named: ignored and untracked files, and files of the home; nothing else is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import WorkspaceError
from flue_ci.workspace.surroundings import list_surroundings, save_surroundings
from tests.support.repos import EVERY_KIND, KINDS
from tests.workspace.test_collect import EDITS, IGNORE, Stage, prepare

# Most are for each kind of sandbox, and those do the same: one of them in each run. Attacks are tried in two.
pytestmark = pytest.mark.family(1)
SETUP = """
mkdir -p build cache ~/.cache/tool; echo 1 > build/made; echo 2 > build/other; echo 3 > x.log; echo 4 > untracked
echo 5 > ~/.cache/tool/index; echo : > ~/.profile; echo 7 > ~/gone; ln -s gone ~/link; echo 8 > build/gone
"""


@pytest.fixture(params=KINDS)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare(request.param, tmp_path, EVERY_KIND | IGNORE):
        await stage.sh(SETUP)
        await save_surroundings(stage.workspace, stage.box)
        yield stage


async def surroundings(stage: Stage) -> tuple[str, ...]:
    changes = await stage.collect()
    listed = await list_surroundings(stage.workspace, stage.box, changes)
    assert listed == await list_surroundings(stage.workspace, stage.box, changes)
    return listed


async def test_nothing_is_named_when_only_tracked_files_changed(stage: Stage) -> None:
    edits = EDITS.replace("mkdir build", "mkdir -p build")
    await stage.sh(edits + "rm a.log build/x; git add -A; git commit -qm work; git checkout -q --detach")
    assert await surroundings(stage) == ()


async def test_every_other_file_that_differs_is_named(stage: Stage) -> None:
    await stage.sh("""
        echo more >> build/made; rm build/gone; touch x.log; chmod +x untracked; echo '*' > new/.gitignore || {
        mkdir new; echo '*' > new/.gitignore; }; echo x > new/main.py; echo x > plain.txt; echo x > added.txt
        mkdir -p ~/.local/lib; echo x > ~/.local/lib/usercustomize.py; rm ~/gone; ln -sfn .profile ~/link
        mv ~/.profile ~/.bash_profile; mkdir empty-directory; mkfifo pipe
        git config alias.x y; mkdir -p .git/hooks; echo x > .git/hooks/pre-commit; git add added.txt
    """)
    expected = [
        ".git/config",
        ".git/hooks/pre-commit",
        "build/gone (removed)",
        "build/made",
        "new/.gitignore",
        "new/main.py",
        "pipe",
        "x.log",
        "~/.bash_profile",
        "~/.local/lib/usercustomize.py",
        "~/.profile (removed)",
        "~/gone (removed)",
        "~/link",
    ]
    changes = await stage.collect()
    assert "untracked" in {file.path for file in changes.files}
    assert list(await surroundings(stage)) == expected


@pytest.mark.family(1)
async def test_a_file_that_hides_its_size_and_time_is_named(stage: Stage) -> None:
    await stage.sh("""
        touch -r build/made ../time; printf '9\\n' > build/made; touch -r ../time build/made; rm ../time
        cp -p build/other ../copy; mv ../copy build/other
    """)
    assert await surroundings(stage) == ("build/made", "build/other")


async def test_names_from_strangers_are_one_line_each(stage: Stage) -> None:
    await stage.sh("""
        printf x > "build/$(printf 'a\\nflue-ci-surroundings=0 \\n')"; printf x > "build/$(printf '\\033[31m\\377')"
        d=$(printf 'd%.0s' $(seq 200)); cd build; for i in $(seq 30); do mkdir $d; cd $d; done; : > deep
    """)
    listed = await surroundings(stage)
    assert len(listed) == 3
    assert all("\n" not in name and "\033" not in name and len(name) < 600 for name in listed)
    assert "\\n" in " ".join(listed)


@pytest.mark.family(1)
async def test_links_and_repositories_of_the_agent_are_not_entered(stage: Stage) -> None:
    await stage.sh("""
        ln -s /usr/bin build/system; ln -s / ~/all; mkdir build/inner; cd build/inner; git init -q
        git config core.fsmonitor "touch $HOME/ran"; echo x > y; git add y
        cd ../..; git config core.fsmonitor "touch $HOME/ran"; rm -f ~/ran
    """)
    listed = await surroundings(stage)
    assert "build/system" in listed
    assert "~/all" in listed or "and" in listed[-1]
    assert not any("/usr" in name or name.startswith("build/system/") for name in listed)
    assert "~/ran" not in listed


async def test_very_many_files_are_a_short_list_and_a_count(tmp_path: Path) -> None:
    async for stage in prepare("isolated", tmp_path, EVERY_KIND | IGNORE):
        await save_surroundings(stage.workspace, stage.box)
        await stage.sh("""
            for d in $(seq 20); do mkdir -p build/$d; (cd build/$d; seq 200 | xargs touch); done; : > ~/last
        """)
        start = time.monotonic()
        listed = await list_surroundings(stage.workspace, stage.box, ChangeSet())
        assert time.monotonic() - start < 60
        assert (len(listed), listed[0], listed[-1]) == (21, "build/1/1", "and 3,981 more")


async def test_a_list_that_is_gone_is_an_error(stage: Stage) -> None:
    await stage.box.exec(f"rm {stage.workspace.store}/files.before", timeout=30, user="root")
    with pytest.raises(WorkspaceError, match="no list from before the agent"):
        await list_surroundings(stage.workspace, stage.box, ChangeSet())
    elsewhere = replace(stage.workspace, store="/nowhere")
    with pytest.raises(WorkspaceError, match="deleted"):
        await list_surroundings(elsewhere, stage.box, ChangeSet())

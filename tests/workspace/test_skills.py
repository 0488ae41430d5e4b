"""The agent reads the trusted skills, whatever setup did to the folder, and cannot change them where it is not root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.workspace.place import place_skills
from flue_ci.workspace.surroundings import list_surroundings, save_surroundings
from tests.support.repos import EVERY_KIND, KINDS, shell
from tests.workspace.test_collect import Stage, prepare

NAME = ".flue/skills/tidy/SKILL.md"


@pytest.fixture(params=KINDS)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare(request.param, tmp_path, EVERY_KIND):
        yield stage


def skill(directory: Path) -> dict[str, Path]:
    (directory / "SKILL.md").write_text("trusted\n")
    (directory / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (directory / "run.sh").chmod(0o700)
    return {NAME: directory / "SKILL.md", ".flue/skills/tidy/run.sh": directory / "run.sh"}


SETUPS = {
    "nothing": "true",
    "skills of its own": "mkdir -p ~/.flue/skills/tidy/x; echo strange > ~/.flue/skills/tidy/SKILL.md; : > ~/.flue/y",
    "a link for the folder": "mkdir ~/else; echo precious > ~/else/kept; ln -s else ~/.flue",
    "a link for the file": f"mkdir -p ~/.flue/skills/tidy; echo precious > ~/kept; ln -s ../../../kept ~/{NAME}",
    "a file for the folder": "echo x > ~/.flue",
    "a closed folder": "mkdir -p ~/.flue/skills; chmod 000 ~/.flue/skills ~/.flue",
    "start-up files": "printf 'cat() { echo strange; }\\ntar() { :; }\\nexport -f cat tar\\n' >> ~/.bashrc",
}


@pytest.mark.family(3)
@pytest.mark.parametrize("setup", SETUPS)
async def test_what_setup_left_there_is_replaced(stage: Stage, setup: str) -> None:
    await shell(stage.box, SETUPS[setup])
    await place_skills(stage.source, stage.workspace, stage.box, skill(stage.directory))
    assert await stage.box.read(NAME) == b"trusted\n"
    assert await shell(stage.box, "find .flue -type f; .flue/skills/tidy/run.sh") in (
        f"{NAME}\n.flue/skills/tidy/run.sh\nran\n",
        f".flue/skills/tidy/run.sh\n{NAME}\nran\n",
    )
    assert "strange" not in await shell(stage.box, "cat -s kept else/kept 2>/dev/null || :")
    await place_skills(stage.source, stage.workspace, stage.box, {})
    assert await stage.box.read(NAME) == b"trusted\n"


@pytest.mark.parametrize("stage", ["e2b"], indirect=True)
async def test_nobody_but_root_changes_them(stage: Stage) -> None:
    await place_skills(stage.source, stage.workspace, stage.box, skill(stage.directory))
    await save_surroundings(stage.workspace, stage.box)
    for command in (
        f"echo x > ~/{NAME}",
        f"rm -f ~/{NAME}",
        "chmod -R u+w ~/.flue",
        "echo x > ~/.flue/skills/tidy/more",
        "rm -rf ~/.flue",
        "mv -T ~/.flue ~/.old",
    ):
        assert (await stage.box.exec(command, timeout=30)).exit_code != 0, command
    assert await stage.box.read(NAME) == b"trusted\n"
    assert await list_surroundings(stage.workspace, stage.box, await stage.collect()) == ()


async def test_a_process_that_puts_its_own_folder_there_again_and_again_does_not_win_root(stage: Stage) -> None:
    """Either the skills are there, or it is an error; never are they written to where a link leads."""
    loop = "while :; do rm -rf .flue; ln -s target .flue; rm -f .flue; mkdir .flue; done"
    await shell(stage.box, f"mkdir target; ({loop}) >/dev/null 2>&1 &")
    with suppress(WorkspaceError):
        await place_skills(stage.source, stage.workspace, stage.box, skill(stage.directory))
    assert await shell(stage.box, "ls -A target") == ""

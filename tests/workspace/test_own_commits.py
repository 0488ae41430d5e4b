"""The agent's commits are kept when they are one line on the base, and none of them when they are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.errors import ChangesRefused
from flue_ci.workspace.agent_history import MAX_COMMITS, collect_commits
from flue_ci.workspace.entry_rules import PatchLimits
from tests.support.repos import EVERY_KIND
from tests.workspace.test_collect import IGNORE, Stage, prepare

COMMIT = "echo {0} > {0}; git add {0}; git commit -qm 'add {0}'; "


@pytest.fixture(params=("isolated", "e2b"))
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare(request.param, tmp_path, EVERY_KIND | IGNORE):
        yield stage


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare("plain", tmp_path, EVERY_KIND | IGNORE):
        yield stage


@pytest.mark.family(1)
async def test_commits_come_with_their_messages_and_all_changes_up_to_them(both: Stage) -> None:
    await both.sh(
        f"{COMMIT.format('a')} git mv plain.txt moved.txt; chmod 755 empty; git add -A; "
        "git commit -qm 'Move\n\nBecause ünï.'; git commit -q --allow-empty -m nothing; rm tool.sh;"
        "git commit -qam last"
    )
    changes = await both.collect()
    commits = await collect_commits(both.workspace, both.source, both.box)
    assert [commit.message.rstrip() for commit in commits] == ["add a", "Move\n\nBecause ünï.", "last"]
    assert [len(commit.changes.files) for commit in commits] == [1, 3, 4]
    assert commits[-1].changes.tree == changes.tree


async def test_without_commits_there_are_none(plain: Stage) -> None:
    await plain.sh("echo x > plain.txt")
    assert await collect_commits(plain.workspace, plain.source, plain.box) == ()
    await plain.sh("rm -rf .git")
    assert await collect_commits(plain.workspace, plain.source, plain.box) == ()


MERGE = f"git switch -qc x; {COMMIT.format('a')} git switch -q -; {COMMIT.format('b')} git merge -q x"
REFUSALS = {
    "merge": (
        f"git switch -qc x; {COMMIT.format('a')} git switch -q -; {COMMIT.format('b')} git merge -q x",
        "one line",
    ),
    "orphan": (f"git checkout -q --orphan x; {COMMIT.format('a')}", "one line"),
    "many": (f"for n in $(seq {MAX_COMMITS + 1}); do git commit -q --allow-empty -m $n; done", "more than"),
    "grafts": (
        f"{COMMIT.format('a')}{COMMIT.format('b')} git replace --graft HEAD HEAD~2; git rm -q b; git commit -qm c; "
        "rm -f .git/objects/$(git rev-parse HEAD | sed 's,^..,&/,')",
        "missing or broken",
    ),
}


@pytest.mark.family(1)
@pytest.mark.parametrize("name", REFUSALS)
async def test_what_is_no_line_of_whole_commits_is_refused(plain: Stage, name: str) -> None:
    command, reason = REFUSALS[name]
    await plain.sh(command)
    with pytest.raises(ChangesRefused, match=reason):
        await collect_commits(plain.workspace, plain.source, plain.box)


async def test_large_patches_are_refused(plain: Stage) -> None:
    await plain.sh("seq 20000 > big; git add big; git commit -qm big")
    with pytest.raises(ChangesRefused, match="too large"):
        await collect_commits(plain.workspace, plain.source, plain.box, limits=PatchLimits(patch_bytes=10_000))

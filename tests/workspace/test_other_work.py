"""What the agent left on other branches, in stashes and in commits that no branch holds is found, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.changes import OtherWork
from flue_ci.workspace.agent_history import MAX_PATCHES, collect_other_work
from flue_ci.workspace.entry_rules import PatchLimits
from tests.support.repos import EVERY_KIND
from tests.workspace.test_collect import IGNORE, Stage, prepare

TOPIC = "git switch -qc topic; echo a > a; git add a; git commit -qm a; git switch -q main; "
COMMIT = "echo {0} > {0}; git add {0}; git commit -qm {0}; "


@pytest.fixture(params=("isolated", "e2b"))
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare(request.param, tmp_path, EVERY_KIND | IGNORE):
        yield stage


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare("plain", tmp_path, EVERY_KIND | IGNORE):
        yield stage


async def find(stage: Stage, **limits: int) -> tuple[tuple[OtherWork, ...], tuple[str, ...]]:
    changes = await stage.collect()
    if not changes.may_have_more:
        return (), ()
    return await collect_other_work(
        stage.workspace, stage.source, stage.box, result=changes.tree, limits=PatchLimits(**limits)
    )


def listing(works: tuple[OtherWork, ...]) -> dict[str, tuple[str, list[str]]]:
    return {work.label: (work.name, [file.path for file in work.changes.files]) for work in works}


@pytest.mark.family(1)
async def test_branches_stashes_and_detached_commits_are_found(both: Stage) -> None:
    await both.sh(
        f"git switch -qc Feature/Ünï_x; {COMMIT.format('a')} git switch -q -; git switch -qd; {COMMIT.format('b')}"
        "echo s >> plain.txt; echo new > untracked; rm empty; git stash -qu; git switch -q main; echo t > tool.sh;"
        f"git stash -q; git worktree add -q ../wt -b tree; cd ../wt; {COMMIT.format('c')} git switch -qd;"
        f"{COMMIT.format('d')}"
    )
    works, notes = await find(both)
    detached = [work for work in works if work.label.startswith("commit ")]
    assert sorted(file.path for work in detached for file in work.changes.files) == ["b", "c", "d"]
    assert listing(tuple(work for work in works if work not in detached)) == {
        "branch Feature/Ünï_x": ("feature-n-x", ["a"]),
        "branch tree": ("tree", ["c"]),
        "stash@{0}": ("stash-0", ["tool.sh"]),
        "stash@{1}": ("stash-1", ["b", "empty", "plain.txt", "untracked"]),
    }
    assert notes == ()


CONTAINED = {
    "HEAD's own branch": COMMIT.format("a"),
    "HEAD on another branch": "git switch -qc topic;" + COMMIT.format("a"),
    "a branch of the base": "git branch other; git branch third HEAD~1 2>/dev/null || :",
    "merged": f"{TOPIC}git merge -q topic",
    "picked": f"{TOPIC}{COMMIT.format('b')} git cherry-pick topic",
    "squashed and not committed": f"{TOPIC}git merge --squash topic",
    "amended": COMMIT.format("a") + "echo b > a; git commit -qa --amend -m b",
    "rebased": f"{TOPIC}{COMMIT.format('b')}git switch -q topic; git rebase -q main",
    "a stash that came back": "echo a > a; git stash -qu; git stash pop -q",
    "a stash that is there as well": "echo a > a; git stash -qu; git stash apply -q",
    "a look at an older commit": "git switch -qd; git switch -q main",
    "packed": COMMIT.format("a") + "git gc -q",
    "no repository": "rm -rf .git",
    "another repository": "rm -rf .git; git init -q; git checkout -qb x",
}


@pytest.mark.family(3)
@pytest.mark.parametrize("name", CONTAINED)
async def test_what_the_work_tree_holds_is_no_other_work(plain: Stage, name: str) -> None:
    await plain.sh(f"{{ {CONTAINED[name]}\n}} >&2")
    assert await find(plain) == ((), ())


async def test_uncommitted_work_of_the_user_is_not_reverted_on_a_branch(tmp_path: Path) -> None:
    async for stage in prepare("plain", tmp_path, EVERY_KIND, {"plain.txt": ("file", b"mine\n")}):
        await stage.sh(f"git stash -q; {TOPIC} git stash pop -q; echo setup > tool.sh")
        setup = (await stage.collect()).tree
        await stage.sh("echo b > b; echo s > empty; git add b; git stash -q")
        changes = await stage.collect()
        works, notes = await collect_other_work(
            stage.workspace, stage.source, stage.box, result=changes.tree, setup=(setup,)
        )
        assert listing(works) == {"branch topic": ("topic", ["a"]), "stash@{0}": ("stash-0", ["b", "empty"])}
        assert notes == ()


async def test_the_usual_run_asks_no_second_time(plain: Stage) -> None:
    await plain.sh("echo a > a; git add a; git commit -qm a; echo b > b; git log > /dev/null; git diff")
    assert not (await plain.collect()).may_have_more


async def test_other_work_passes_the_rules_of_the_changes(plain: Stage) -> None:
    await plain.sh(
        "git switch -qc topic; ln -s /etc/passwd bad; mkdir -p sub; git init -q sub; echo good > good;"
        "git -c user.name=a -c user.email=b -C sub commit -q --allow-empty -m x; git add -A; git commit -qm x;"
        "git switch -q main; rm -rf sub"
    )
    [work] = (await find(plain))[0]
    assert [file.path for file in work.changes.files] == ["good"]
    assert len(work.changes.notes) == 2


async def test_of_too_many_and_too_large_ones_the_rest_is_named(plain: Stage) -> None:
    await plain.sh(
        "echo 1 > big; git switch -qc a-big; git add big; git commit -qm big;"
        "head -c 300000 /dev/urandom > big; git commit -qam big; git switch -q main;"
        "main=$(git ls-tree main); big=$(git ls-tree a-big~1 big); for i in $(seq 22); do echo create refs/heads/a/$i "
        '$(git commit-tree -p main -m x $(printf \'%s\\n\' "$main" "${big/%big/x$i}" | git mktree));'
        "done | git update-ref --stdin; git branch a/x main;"
        "git branch A-1 $(git commit-tree -p main -m x a-big~1^{tree})"
    )
    works, notes = await find(plain, patch_bytes=100_000)
    assert len({work.name for work in works}) == len(works) == MAX_PATCHES
    assert any("a-big is lost with the sandbox: its patch is too large" in note for note in notes)
    assert notes[-1].startswith("13 more are lost") and notes[-1].endswith(": branch a/18, branch a/19, branch a/2, …")
    assert len(notes) == 2


HOSTILE = {
    "a program for everything": "git config core.fsmonitor PROGRAM; git config core.hooksPath /;"
    "git config diff.external PROGRAM;"
    "git config core.pager PROGRAM; git config diff.x.textconv PROGRAM; echo '* diff=x' > .git/info/attributes;"
    "git config core.sshCommand PROGRAM; git config extensions.partialClone x; git config remote.x.promisor true;"
    "git config remote.x.url ext::PROGRAM; git config alias.diff-tree '!PROGRAM'; git config core.gitProxy PROGRAM",
    "replacements and grafts": "git replace topic HEAD; git rev-parse topic HEAD | paste -sd' ' > .git/info/grafts",
    "a link as a ref": "ln -s /etc/passwd .git/refs/heads/passwd",
    "names that are options": "git update-ref refs/heads/--output=x topic; git update-ref 'refs/heads/-n' topic",
    "odd names": "printf '%s\\n' $(git rev-parse topic) > '.git/refs/heads/a b'; mkdir .git/refs/heads/..x;"
    "git rev-parse topic > '.git/refs/heads/$(PROGRAM)'; git rev-parse topic > '.git/refs/heads/`PROGRAM`'",
    "broken refs": "echo x > .git/refs/heads/x; echo 'ref: refs/heads/y' > .git/refs/heads/y",
    "alternates": "echo /nowhere > .git/objects/info/alternates; echo /etc >> .git/objects/info/alternates",
    "a forged log": "printf 'x\\tcheckout: moving from %040d to main\\n' 1 2 3 >> .git/logs/HEAD;"
    "head -c 100000 /dev/zero >> .git/logs/HEAD",
    "an index that lies": ": > .git/index; rm -f .git/config.lock",
}


@pytest.mark.family(2)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_repository_starts_nothing_and_hides_nothing(plain: Stage, name: str) -> None:
    program = plain.directory / "program"
    program.write_text(f"#!/bin/sh\ntouch {plain.directory}/started\n")
    program.chmod(0o755)
    trap = HOSTILE[name].replace("PROGRAM", str(program))
    await plain.sh(f"{TOPIC}{trap}; rm -f {plain.directory}/started")
    works, _ = await find(plain)
    assert [file.path for work in works for file in work.changes.files] == ["a"]
    assert not (plain.directory / "started").exists()


async def test_thousands_of_branches_end_in_time(plain: Stage) -> None:
    await plain.sh(
        f"{TOPIC}x=$(git rev-parse topic);"
        'for i in $(seq 1000); do echo "create refs/heads/b$i $x"; done | git update-ref --stdin'
    )
    works, notes = await find(plain)
    assert (len(works), notes) == (1, ())


async def test_a_branch_without_its_objects_is_named(plain: Stage) -> None:
    await plain.sh(
        f"git switch -qc topic; {COMMIT.format('a')} x=$(git rev-parse HEAD:a); git switch -q main;"
        "rm -f .git/objects/$(echo $x | cut -c 1-2)/$(echo $x | cut -c 3-)"
    )
    works, notes = await find(plain)
    assert works == ()
    assert notes == ("branch topic is lost with the sandbox: its objects are missing or broken",)

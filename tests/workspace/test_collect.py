"""What an agent does in a sandbox comes back exactly, whatever it does to git; or is refused with the reason."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.collect import collect
from flue_ci.workspace.entry_rules import PatchLimits
from flue_ci.workspace.upload import Workspace, upload
from tests.support.repos import (
    EVERY_KIND,
    KINDS,
    Altered,
    Repo,
    Tree,
    new_repo,
    new_source,
    open_box,
    read_tree,
    shell,
    tree_inside,
)

IGNORE = {".gitignore": ("file", b"*.log\n/build/\n")}


@dataclass(frozen=True)
class Stage:
    """A repository that is inside a sandbox."""

    repo: Repo
    source: Source
    box: Sandbox
    workspace: Workspace
    directory: Path

    async def sh(self, command: str) -> str:
        return await shell(self.box, command, self.workspace.root)

    async def collect(self, **limits: int) -> ChangeSet:
        return await collect(self.workspace, self.source, self.box, limits=PatchLimits(**limits))

    async def refused(self, **limits: int) -> ChangesRefused:
        with pytest.raises(ChangesRefused) as caught:
            await self.collect(**limits)
        return caught.value

    def result(self, changes: ChangeSet) -> Tree:
        """The files that one gets by applying the patch to the base with an ordinary git."""
        copy = Repo(self.directory / "applied")
        copy.path.mkdir()
        for path, entry in self.repo.tree().items():
            copy.write({path: entry})
        copy.git("init", "-q")
        copy.git("apply", "--binary", "--whitespace=nowarn", stdin=changes.patch)
        return read_tree(copy.path)


async def prepare(kind: str, directory: Path, tree: Tree, uncommitted: Tree | None = None) -> AsyncIterator[Stage]:
    if uncommitted:
        repo = new_repo(directory / "repo", tree)
        repo.write(uncommitted)
        (directory / "scratch").mkdir()
        source = await open_checkout(repo.path, history=5, scratch=directory / "scratch")
    else:
        repo, source = await new_source(directory, tree)
    async with open_box(kind, directory) as box:
        yield Stage(repo, source, box, await upload(source, box), directory)


@pytest.fixture(params=KINDS)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare(request.param, tmp_path, EVERY_KIND | IGNORE):
        yield stage


@pytest.fixture(params=("isolated", "plain"))
async def local(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare(request.param, tmp_path, EVERY_KIND | IGNORE):
        yield stage


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare("plain", tmp_path, EVERY_KIND | IGNORE):
        yield stage


@pytest.fixture
async def isolated(tmp_path: Path) -> AsyncIterator[Stage]:
    async for stage in prepare("isolated", tmp_path, EVERY_KIND | IGNORE):
        yield stage


EDITS = r"""
set -e
printf 'one\nTWO\nthree\n' > plain.txt
rm crlf.txt 'star*?[a].txt'
chmod -x tool.sh; chmod +x empty
printf 'a\r\nb\r\n' >> mixed.txt
printf '\0\1\2\377' >> picture.bin
ln -sfn tool.sh link
rm dangling; echo 'a file' > dangling
rm plain2 2>/dev/null || :
rm -- -dash; ln -s 'dir with space/deep/er.txt' ./-dash
mkdir -p 'neu ü/sub dir'; echo x > 'neu ü/sub dir/ä ö'
: > 'new empty'
printf 'no newline' > new.txt
printf '\0binary\0' > new.bin
git mv 'quote'"'"'"$(x)`y`.txt' 'renamed '"'"'"$(x)`y`.txt'
rm -r to-dir; mkdir to-dir; echo inside > to-dir/file
echo ignored > a.log; mkdir build; echo ignored > build/x
"""


@pytest.mark.family(2)
@pytest.mark.parametrize("how", ["uncommitted", "staged", "committed", "on another branch", "amended"])
async def test_every_kind_of_change_comes_back_exactly(stage: Stage, how: str) -> None:
    await stage.sh(EDITS)
    if how != "uncommitted":
        await stage.sh("git add -A")
    if how == "on another branch":
        await stage.sh("git switch -qc topic")
    if how in ("committed", "on another branch"):
        await stage.sh("git commit -qm work")
    if how == "amended":
        await stage.sh("git commit -q --amend -m amended")
    changes = await stage.collect()
    inside = await tree_inside(stage.box, stage.workspace.root)
    expected = {path: entry for path, entry in inside.items() if path not in ("a.log", "build/x")}
    assert stage.result(changes) == expected
    kinds = {file.path: file.kind for file in changes.files}
    assert kinds["plain.txt"] == "modified"
    assert kinds["crlf.txt"] == "deleted"
    assert (kinds["tool.sh"], kinds["empty"]) == ("mode-changed", "mode-changed")
    assert (kinds["dangling"], kinds["-dash"]) == ("type-changed", "type-changed")
    assert kinds["new.txt"] == "added"
    renamed = next(file for file in changes.files if file.kind == "renamed")
    assert renamed.old_path == "quote'\"$(x)`y`.txt"
    assert {file.path for file in changes.files if file.binary} == {"picture.bin", "new.bin"}
    counted = next(file for file in changes.files if file.path == "plain.txt")
    assert (counted.added, counted.deleted) == (1, 1)
    assert (await stage.collect()).patch == changes.patch


@pytest.mark.family(1)
async def test_no_change_is_an_empty_change_set(stage: Stage) -> None:
    await stage.sh(
        "touch *; cp -p plain.txt x; rm plain.txt; mv x plain.txt; git commit -q --allow-empty -m nothing; git gc -q"
    )
    assert await stage.collect() == ChangeSet(tree=stage.source.tree)


async def test_changes_are_measured_against_what_was_uncommitted(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.put("plain.txt", b"one\nmine\nthree\n")
    repo.put("untracked", b"mine\n")
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=5, scratch=tmp_path / "scratch")
    async with open_box("isolated", tmp_path) as box:
        workspace = await upload(source, box)
        assert await collect(workspace, source, box) == ChangeSet(tree=source.tree)
        await shell(box, "git add -A; git commit -qm all; echo four >> plain.txt", workspace.root)
        changes = await collect(workspace, source, box)
    assert [(file.path, file.added, file.deleted) for file in changes.files] == [("plain.txt", 1, 0)]


@pytest.mark.family(1)
async def test_work_can_be_collected_again_after_more_of_it(stage: Stage) -> None:
    await stage.sh("echo first > a")
    assert [file.path for file in (await stage.collect()).files] == ["a"]
    await stage.sh("echo second > b; rm a")
    assert [file.path for file in (await stage.collect()).files] == ["b"]
    await stage.sh("rm b")
    assert await stage.collect() == ChangeSet(tree=stage.source.tree)


async def test_a_change_that_hides_its_size_and_time_is_found(stage: Stage) -> None:
    await stage.sh(
        "touch -r plain.txt ../time; printf 'one\\nTWO\\nthree\\n' > plain.txt; touch -r ../time plain.txt;"
        "git update-index --assume-unchanged plain.txt; git update-index --skip-worktree tool.sh;"
        "touch -hr link ../time; ln -sfn empty.txt link; touch -hr ../time link; echo more >> tool.sh"
    )
    assert [file.path for file in (await stage.collect()).files] == ["link", "plain.txt", "tool.sh"]


@pytest.mark.family(1)
async def test_ignored_files_come_back_only_when_the_agent_tracks_them(local: Stage) -> None:
    await local.sh(
        "mkdir build; echo a > build/kept; echo b > build/not; echo c > x.log;"
        "git add -f build/kept x.log; git commit -qm x"
    )
    assert [file.path for file in (await local.collect()).files] == ["build/kept", "x.log"]


BYTECODE = "__pycache__/a.cpython-311.pyc", "sub/__pycache__/note", "old.pyo", "sub/Main.class"


@pytest.mark.family(1)
@pytest.mark.parametrize("how", ["", "git add -A", "git add -A && git commit -qm x"])
async def test_bytecode_that_the_base_does_not_have_is_never_in_the_patch(local: Stage, how: str) -> None:
    making = "".join(f"mkdir -p $(dirname {name}); printf '\\0' > {name};" for name in BYTECODE)
    await local.sh(f"{making} echo more >> plain.txt; echo x > pycache; echo y > first.class.txt; {how or ':'}")
    changes = await local.collect()
    assert [file.path for file in changes.files] == ["first.class.txt", "plain.txt", "pycache"]
    (note,) = changes.notes
    assert note.startswith("bytecode left out of the changes, name it in .gitignore: __pycache__/a.cpython-311.pyc, ")
    assert note.endswith(", and 1 more")


async def test_bytecode_alone_is_no_change_and_none_is_too_large(plain: Stage) -> None:
    await plain.sh("mkdir __pycache__; head -c 2000 /dev/zero > __pycache__/a.pyc")
    changes = await plain.collect(file_bytes=1000)
    assert (changes.files, changes.patch, len(changes.notes)) == ((), b"", 1)


async def test_bytecode_of_the_base_changes_and_goes_as_anything_else(tmp_path: Path) -> None:
    base: Tree = {"a.pyc": ("file", b"\0one"), "b.pyc": ("file", b"\0two")}
    async for stage in prepare("plain", tmp_path, base):
        await stage.sh("printf three > a.pyc; rm b.pyc; echo x > c.pyc")
        changes = await stage.collect()
        assert {file.path: file.kind for file in changes.files} == {"a.pyc": "modified", "b.pyc": "deleted"}


async def test_untracked_bytecode_of_a_checkout_stays_at_home(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.write({"__pycache__/a.pyc": ("file", b"\0"), "new.py": ("file", b"new\n")})
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=5, scratch=tmp_path / "scratch")
    async with open_box("plain", tmp_path) as box:
        workspace = await upload(source, box)
        assert await shell(box, "ls -A | grep py", workspace.root) == "new.py\n"


DECEPTIONS = {
    "configuration": """
        git config core.worktree /tmp; git config core.excludesFile /dev/stdin; git config core.hooksPath /tmp
        git config diff.external 'echo evil'; git config core.fsmonitor 'touch /tmp/ran'; git config core.fileMode false
        git config core.ignoreCase true; git config core.autocrlf true; git config diff.noprefix true
        git config filter.evil.clean 'echo evil'; git config diff.evil.textconv 'echo evil'
        git config core.bare true""",
    "global configuration": """
        printf '[core]\\n excludesFile = %s/all\\n attributesFile = %s/attributes\\n' "$HOME" "$HOME" > ~/.gitconfig
        echo '*' > ~/all; echo '* -diff filter=evil' > ~/attributes
        mkdir -p ~/.config/git; echo '*' > ~/.config/git/ignore; echo '* binary' > ~/.config/git/attributes""",
    "attributes": """
        printf '* text eol=crlf filter=evil diff=evil ident working-tree-encoding=UTF-16\\n' > .git/info/attributes
        printf '*.txt -diff\\n' > .gitattributes; git config filter.evil.clean 'echo evil'""",
    "hooks": """
        mkdir -p .git/hooks; cd .git/hooks
        printf '#!/bin/sh\\ntouch /tmp/ran\\n' | tee post-index-change pre-commit
        chmod +x *""",
    "excludes": "mkdir -p .git/info; echo '*' > .git/info/exclude",
    "no repository": "rm -rf .git",
    "a file for a repository": "rm -rf .git; echo 'gitdir: /etc' > .git",
    "a link for a repository": "mv .git ../elsewhere; ln -s ../elsewhere .git",
    "a new repository": "rm -rf .git; git init -q; git add -A; git -c user.name=x -c user.email=x@y commit -qm all",
    "alternates and replacements": """
        mkdir -p .git/objects/info; echo /tmp/evil > .git/objects/info/alternates
        git replace HEAD:plain.txt HEAD:empty || :; mkdir -p .git/info; git rev-parse HEAD > .git/info/grafts""",
    "damaged objects": """
        find .git/objects -type f -exec chmod u+w {} +
        find .git/objects -name '*.pack' -exec truncate -s 10 {} +""",
    "a damaged index": "echo garbage > .git/index",
    "a pipe for an index": "rm .git/index; mkfifo .git/index",
    "an index of lies": """
        git ls-files -s plain.txt | sed 's/plain.txt/..\\/outside/' | git update-index --index-info || :
        git update-index --add --cacheinfo "100644,$(git rev-parse HEAD:empty),no/such/file\"""",
    "a different head": "git checkout -q --orphan other; git rm -rq --cached .",
}


@pytest.mark.family(3)
@pytest.mark.parametrize("deception", DECEPTIONS)
async def test_the_agents_git_has_no_say(local: Stage, deception: str) -> None:
    if local.box.info.provider == "local" and local.workspace.store_has_objects and deception == "damaged objects":
        # Without isolation root is the same user, and the hard link is the same file: the damage must be noticed.
        await local.sh("echo more >> plain.txt;" + DECEPTIONS[deception])
        with pytest.raises((ChangesRefused, WorkspaceError)):
            await local.collect()
        return
    result = await local.box.exec(DECEPTIONS[deception], timeout=60, cwd=local.workspace.root)
    assert not result.timed_out
    await local.sh("printf 'more\\n' >> plain.txt; printf 'x\\r\\n' > new.txt")
    changes = await local.collect()
    found = {file.path: (file.kind, file.added, file.deleted) for file in changes.files}
    attributes = {".gitattributes": ("added", 1, 0)} if deception == "attributes" else {}
    assert found == {"plain.txt": ("modified", 1, 0), "new.txt": ("added", 1, 0)} | attributes
    inside = await tree_inside(local.box, local.workspace.root)
    result_tree = local.result(changes)
    assert result_tree["new.txt"] == ("file", b"x\r\n")
    assert result_tree["plain.txt"] == inside["plain.txt"]
    assert (await local.box.exec("test -e /tmp/ran", timeout=30)).exit_code == 1


async def test_environment_of_git_in_the_sandbox_has_no_say(plain: Stage) -> None:
    await plain.sh("echo more >> plain.txt")
    hostile = (
        "export GIT_DIR=/nowhere GIT_INDEX_FILE=/nowhere GIT_EXTERNAL_DIFF=false GIT_ALTERNATE_OBJECT_DIRECTORIES=/x"
    )
    changes = await collect(plain.workspace, plain.source, Altered(plain.box, hostile))
    assert [file.path for file in changes.files] == ["plain.txt"]


@pytest.mark.family(2)
@pytest.mark.parametrize(
    "gone",
    [
        'rm -rf "$PWD"',
        'd=$PWD; cd ..; rm -rf "$d"; ln -s /etc "$d"',
        'd=$PWD; cd ..; mv "$d" moved; ln -s moved "$d"',
        'd=$PWD; cd ..; rm -rf "$d"; echo file > "$d"',
    ],
    ids=["deleted", "link to elsewhere", "link to itself", "file"],
)
async def test_a_work_tree_that_is_gone_is_no_result(stage: Stage, gone: str) -> None:
    await stage.sh(gone)
    refused = await stage.refused()
    assert "the work tree in the sandbox was deleted or replaced" in str(refused)


@pytest.mark.family(1)
async def test_every_file_may_be_deleted_one_by_one(local: Stage) -> None:
    await local.sh("git ls-files -z | xargs -0 rm --")
    changes = await local.collect()
    assert {file.kind for file in changes.files} == {"deleted"}
    assert len(changes.files) == len(EVERY_KIND) + 1


@pytest.mark.family(1)
async def test_pipes_sockets_and_devices_do_not_hang_and_do_not_travel(local: Stage) -> None:
    await local.sh(
        "mkfifo pipe; rm plain.txt; mkfifo plain.txt; rm crlf.txt; mkdir crlf.txt; mkfifo crlf.txt/p; echo x > new"
    )
    found = {file.path: file.kind for file in (await local.collect()).files}
    assert found == {"plain.txt": "deleted", "crlf.txt": "deleted", "new": "added"}


async def test_files_without_permissions_are_read_all_the_same(local: Stage) -> None:
    await local.sh(
        "echo secret > hidden; chmod 000 hidden; echo more >> plain.txt; chmod 000 plain.txt;"
        "mkdir -p closed/inner; echo a > closed/a; echo b > closed/inner/b;"
        "chmod 000 closed/inner closed; chmod 000 empty"
    )
    found = {file.path: file.kind for file in (await local.collect()).files}
    assert found == {"hidden": "added", "plain.txt": "modified", "closed/a": "added", "closed/inner/b": "added"}


@pytest.mark.family(1)
@pytest.mark.parametrize("commits", ["with", "without"])
async def test_a_repository_inside_the_repository_is_left_out_and_named(stage: Stage, commits: str) -> None:
    await stage.sh("git init -q nested; echo x > nested/x; echo more >> plain.txt")
    if commits == "with":
        await stage.sh("cd nested; git add -A; git -c user.name=x -c user.email=x@y commit -qm x")
    changes = await stage.collect()
    assert [file.path for file in changes.files] == ["plain.txt"]
    assert changes.notes == ("nested: left out of the changes, because it is a repository of its own",)
    await stage.sh("git checkout -q plain.txt")
    assert await stage.collect() == ChangeSet(tree=stage.source.tree, notes=changes.notes)


async def test_tracked_files_stay_ours_although_somebody_made_a_repository_of_their_directory(stage: Stage) -> None:
    await stage.sh("cd 'dir with space'; git init -q; echo more >> deep/er.txt; echo x > deep/new; git add -A")
    changes = await stage.collect()
    paths = [file.path for file in changes.files]
    assert paths == ["dir with space/deep/er.txt", "dir with space/deep/new"]


@pytest.mark.family(1)
async def test_a_huge_file_is_left_out_by_name_and_the_rest_is_there(local: Stage) -> None:
    await local.sh("truncate -s 9G 'huge one'; echo more >> plain.txt; truncate -s 3M build.log")
    started = time.monotonic()
    changes = await local.collect(file_bytes=1_000_000)
    assert [file.path for file in changes.files] == ["plain.txt"]
    assert changes.notes == ("huge one: left out of the changes, because larger than 1.0 MB",)
    assert time.monotonic() - started < 60


@pytest.mark.family(1)
async def test_of_a_huge_patch_the_largest_new_files_are_left_out(local: Stage) -> None:
    await local.sh(
        "head -c 3000000 /dev/urandom > noise; mkdir d; echo x > 'd/new one'; echo more >> plain.txt; rm crlf.txt"
    )
    changes = await local.collect(patch_bytes=1_000_000)
    assert [file.path for file in changes.files] == ["crlf.txt", "d/new one", "plain.txt"]
    assert changes.notes == ("noise: left out of the changes, because they are too large together",)


async def test_a_huge_patch_of_one_file_of_the_base_leaves_it_as_it_was(plain: Stage) -> None:
    await plain.sh("head -c 3000000 /dev/urandom > plain.txt; echo x > new")
    changes = await plain.collect(patch_bytes=1_000_000)
    assert [file.path for file in changes.files] == []
    assert "new, plain.txt: left out" in changes.notes[0]


async def test_of_too_many_files_the_likely_ones_come(isolated: Stage) -> None:
    """Packages that are missing in .gitignore do not push out what was made beside the sources."""
    await isolated.sh(
        "echo more >> plain.txt; mkdir -p a_lot/sub small; (cd a_lot/sub; seq 1200 | split -a 4 -l 1 -);"
        " echo x > zz.new; echo x > 'dir with space/new'; echo x > small/new"
    )
    changes = await isolated.collect(files=1000)
    paths = {file.path for file in changes.files}
    assert paths >= {"plain.txt", "zz.new", "dir with space/new", "small/new"}
    assert len(paths) == 1000
    (crowd, *_) = changes.notes
    assert "and 201 more: left out of the changes" in crowd
    assert ".gitignore" in crowd


async def test_of_more_changed_files_than_may_be_those_of_the_base_come(isolated: Stage) -> None:
    await isolated.sh("echo more >> plain.txt; echo more >> crlf.txt; echo x > a_new")
    changes = await isolated.collect(files=2)
    assert [file.path for file in changes.files] == ["crlf.txt", "plain.txt"]
    assert "a_new: left out of the changes, because more than 2 files changed" in changes.notes[0]


BAD_ENTRIES = {
    r"""touch "$(printf 'line\nbreak')" """: "control characters",
    r"""touch "$(printf 'esc\033[31m')" """: "control characters",
    r"""touch "$(printf 'bidi\342\200\256txt')" """: "control characters",
    r"""touch "$(printf 'latin\351')" """: "not UTF-8",
    "ln -s /etc/passwd abs": "not relative",
    "ln -s ../../outside esc": "outside of the repository",
    "ln -s .git/config cfg": ".git directory",
    "mkdir -p s; ln -s .. s/b; ln -s s/b/../x a": "after a name",
    "mkdir .GIT; echo x > .GIT/config": "no repository may have",
    "mkdir 'git~1'; echo x > 'git~1/config'": ".git directory",
    r"""d=$(printf '.g\342\200\214it'); mkdir "$d"; echo x > "$d/config" """: ".git directory",
    "echo '[submodule \"x\"]' > .gitmodules": "submodules",
}


async def test_bad_entries_are_left_out_and_named_and_cost_nothing_else(isolated: Stage) -> None:
    await isolated.sh("\n".join([*BAD_ENTRIES, "echo more >> plain.txt; echo x > new"]))
    changes = await isolated.collect()
    assert [file.path for file in changes.files] == ["new", "plain.txt", "s/b"]
    for reason in BAD_ENTRIES.values():
        assert reason in " ".join(changes.notes)
    assert all(note.isprintable() for note in changes.notes)


@pytest.mark.family(1)
async def test_processes_that_go_on_writing_do_not_spoil_the_result(local: Stage) -> None:
    writer = (
        "( while :; do date +%N > busy; rm -f flicker; echo x > flicker; echo y >> grows; done ) > /dev/null 2>&1 &"
    )
    await local.sh(f"echo more >> plain.txt; {writer}")
    for _ in range(3):
        paths = {file.path for file in (await local.collect()).files}
        assert "plain.txt" in paths
        assert paths <= {"plain.txt", "busy", "flicker", "grows"}


BUSY = """
paths=()
if [[ " $* " = *" --replace "* ]]; then
  mapfile -d "" paths
  if [ "${#paths[@]}" -gt 1 ] || { [ "${paths[0]-}" = busy ] && [ "$(wc -c < "$count")" -lt "$failures" ]; }; then
    printf x >> "$count"
    echo 'error: open("busy"): No such file or directory' >&2
    exit 128
  fi
  exec /usr/bin/git "$@" < <([ "${#paths[@]}" = 0 ] || printf '%s\\0' "${paths[@]}")
fi
exec /usr/bin/git "$@"
"""


async def busy_tree(stage: Stage, failures: int = 0) -> Altered:
    """A sandbox where whatever git is to read in one go is gone when it comes to it, every time, as when a process
    replaces files again and again. Only one single path gets through; `busy` only after so many failures."""
    home = stage.box.info.home
    head = f"#!/bin/bash\nPATH=/usr/bin:/bin\ncount={home}/count failures={failures}\n"
    await stage.box.write(f"{home}/git", head.encode() + BUSY.encode())
    await shell(stage.box, f"chmod 755 {home}/git; : > {home}/count")
    return Altered(stage.box, f"type() {{ echo {home}/git; }}")


@pytest.mark.family(1)
@pytest.mark.parametrize("commit", [False, True], ids=["uncommitted", "committed"])
async def test_every_kind_of_change_comes_back_although_no_list_gets_through(local: Stage, commit: bool) -> None:
    await local.sh(f"{EDITS}\nmkfifo pipe; git add -f a.log; rm -r 'dir with space'; ln -s other 'dir with space'")
    await local.sh("mkdir -p other/deep; echo x > other/deep/er.txt")  # where the link leads, a path of the base exists
    if commit:
        await local.sh("git add -A; git commit -qm work")
    expected = await local.collect()
    busy = await collect(local.workspace, local.source, await busy_tree(local))
    assert {file.path for file in busy.files} >= {"a.log", "new.txt", "dir with space"}
    assert (busy.tree, busy.files, busy.patch) == (expected.tree, expected.files, expected.patch)
    assert await shell(local.box, "cat count") != ""


@pytest.mark.family(1)
async def test_a_file_that_looks_unchanged_is_read_although_no_list_gets_through(local: Stage) -> None:
    await local.sh(
        "touch -r plain.txt time; printf 'ONE\\ntwo\\nthree\\n' > plain.txt; touch -r time plain.txt; rm time; : > new"
    )
    changes = await collect(local.workspace, local.source, await busy_tree(local))
    assert [file.path for file in changes.files] == ["new", "plain.txt"]


@pytest.mark.family(1)
@pytest.mark.parametrize(("failures", "accepted"), [(10, True), (1000, False)])
async def test_a_file_that_cannot_be_read_now_is_tried_again_but_not_for_ever(
    local: Stage, failures: int, accepted: bool
) -> None:
    """Only `busy` cannot be read, so that it is taken later or left out; all others are in the patch."""
    await local.sh("echo more >> plain.txt; echo x > busy; echo y > zebra")
    box = await busy_tree(local, failures)
    changes = await collect(local.workspace, local.source, box)
    paths = {file.path for file in changes.files}
    if accepted:
        assert paths == {"busy", "plain.txt", "zebra"}
    else:
        assert paths == {"plain.txt", "zebra"}
        assert "busy: left out of the changes, because git cannot take it" in changes.notes[0]


async def test_a_base_that_was_deleted_is_reported(plain: Stage) -> None:
    await plain.sh(f"rm -rf '{plain.workspace.store}'; echo x > new")
    assert "the base for comparison was deleted" in str(await plain.refused())


async def test_a_full_disk_is_reported(plain: Stage) -> None:
    await plain.sh("head -c 300000 /dev/urandom > new")
    with pytest.raises((WorkspaceError, ChangesRefused)) as caught:
        await collect(plain.workspace, plain.source, Altered(plain.box, "ulimit -f 100"))
    assert caught.value.hint


async def test_a_patch_that_does_not_match_the_sandbox_is_refused(plain: Stage) -> None:
    await plain.sh("echo more >> plain.txt")
    swapped = "head() { command head \"$@\" | sed 's/^+more/+less/'; }"
    with pytest.raises(ChangesRefused, match="does not lead to the files that are in the sandbox"):
        await collect(plain.workspace, plain.source, Altered(plain.box, swapped))


UNTRACKED = "echo plain.txt >> .gitignore; echo '*.bin' > 'dir with space/.gitignore'; echo ':*' >> .gitignore; "


@pytest.mark.family(1)
@pytest.mark.parametrize("how", ["", "git add .gitignore", "git add .gitignore; git commit -qm x"])
async def test_a_file_that_the_agent_untracked_and_ignores_is_deleted(stage: Stage, how: str) -> None:
    await stage.sh(UNTRACKED + f"git rm -q --cached plain.txt link; {how or ':'}")
    kinds = {file.path: file.kind for file in (await stage.collect()).files}
    assert kinds == {".gitignore": "modified", "dir with space/.gitignore": "added", "plain.txt": "deleted"}


@pytest.mark.parametrize(
    "how", ["rm .git/index", "git read-tree --empty", ": > .git/index", "rm -rf .git; git init -q"]
)
async def test_an_index_that_says_nothing_deletes_nothing(plain: Stage, how: str) -> None:
    await plain.sh(f"{UNTRACKED} {how}")
    assert [file.kind for file in (await plain.collect()).files] == ["modified", "added"]

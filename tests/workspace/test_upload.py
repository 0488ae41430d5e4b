"""A checkout goes into each kind of sandbox as it is: files, history, what is uncommitted; and nothing else of it."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.core.shell import load_script
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.upload import Workspace, upload
from tests.support.repos import (
    ENVIRONMENT,
    EVERY_KIND,
    KINDS,
    Altered,
    Repo,
    common_packs,
    fake_git,
    new_repo,
    open_box,
    shell,
    tree_inside,
)


@pytest.fixture(params=KINDS)
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with open_box(request.param, tmp_path) as box:
        yield box


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with open_box("plain", tmp_path) as box:
        yield box


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


async def bring(
    repo: Repo, box: Sandbox, scratch: Path, history: int | None = 50, *, git_dirs: tuple[Path, ...] = ()
) -> tuple[Source, Workspace]:
    source = await open_checkout(repo.path, history=history, scratch=scratch, git_dirs=git_dirs)
    return source, await upload(source, box)


def make_dirty(repo: Repo) -> None:
    """Everything that `git status` knows, at once."""
    repo.put(".gitignore", b"*.log\n/build/\n")
    repo.put("tracked.log", b"tracked although ignored\n")
    repo.git("add", "-f", ".gitignore", "tracked.log")
    repo.git("commit", "-qm", "ignore")
    repo.put("plain.txt", b"one\nTWO\nthree\n")
    (repo.path / "crlf.txt").unlink()
    (repo.path / "tool.sh").chmod(0o644)
    (repo.path / "empty").chmod(0o755)
    repo.write({"link": ("link", b"tool.sh"), "dangling": ("file", b"a file now\n")})
    repo.put("picture.bin", bytes(reversed(range(256))) * 50)
    repo.put("tracked.log", b"changed\n")
    repo.put("staged.txt", b"staged\n")
    repo.put("staged and changed.txt", b"first\n")
    repo.git("add", "staged.txt", "staged and changed.txt", "picture.bin")
    repo.put("staged and changed.txt", b"second\r\n")
    repo.git("mv", "mixed.txt", "moved.txt")
    repo.git("rm", "-q", "--cached", "no newline at end.txt")
    repo.write(
        {"untracked ä.txt": ("file", b"new\n"), "new/exec": ("exec", b"#!/bin/sh\n"), "new/l": ("link", b"exec")}
    )
    repo.put("announced.txt", b"intent to add\n")
    repo.git("add", "-N", "announced.txt")
    repo.write({"noise.log": ("file", b"ignored\n"), "build/out": ("file", b"ignored\n")})


IGNORED = ("noise.log", "build/out")


async def test_every_kind_of_file_arrives_as_it_is(box: Sandbox, tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "my repo ü", EVERY_KIND)
    source, workspace = await bring(repo, box, scratch)
    assert await tree_inside(box, workspace.root) == EVERY_KIND
    assert (source.dirty, source.base, source.files) == (False, source.head, len(EVERY_KIND))
    assert await shell(box, "git status --porcelain", workspace.root) == ""
    assert await shell(box, "git rev-parse --abbrev-ref HEAD", workspace.root) == "main\n"
    assert await shell(box, "git fsck 2>&1", workspace.root) == ""
    assert "'" not in workspace.root
    assert " " not in workspace.root


@pytest.mark.family(1)
async def test_uncommitted_work_arrives_and_git_status_says_the_same(
    box: Sandbox, tmp_path: Path, scratch: Path
) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    make_dirty(repo)
    before = repo.status()
    source, workspace = await bring(repo, box, scratch)
    expected = {path: entry for path, entry in repo.tree().items() if path not in IGNORED}
    assert await tree_inside(box, workspace.root) == expected
    command = "git status --porcelain=v1 -z --untracked-files=all > ../status"
    await shell(box, command, workspace.root)
    assert await box.read(workspace.root.rpartition("/")[0] + "/status") == before
    assert b" A announced.txt\0" in before
    assert source.dirty
    assert source.base != source.head
    assert repo.status() == before
    assert await shell(box, "git rev-parse HEAD", workspace.root) == source.head + "\n"


@pytest.mark.family(1)
async def test_history_works_inside_and_ends_where_it_should(box: Sandbox, tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "repo")
    for number in range(6):
        repo.put("counter", b"".join(b"line %d\n" % n for n in range(number + 1)))
        repo.commit(f"number {number}")
    _, workspace = await bring(repo, box, scratch, history=3)
    assert await shell(box, "git log --format=%s", workspace.root) == "number 5\nnumber 4\nnumber 3\n"
    assert "number 4" in await shell(box, "git log -1 --format=%s -- counter HEAD~1; git show HEAD~1", workspace.root)
    assert len((await shell(box, "git blame counter", workspace.root)).splitlines()) == 6
    assert "+line 5" in await shell(box, "git diff HEAD~1", workspace.root)
    assert await shell(box, "git fsck 2>&1 && git gc -q 2>&1", workspace.root) == ""
    assert await shell(box, "git rev-parse --is-shallow-repository", workspace.root) == "true\n"
    assert await shell(
        box, "echo x > new; git add new; git commit -qm mine; git log -1 --format='%an <%ae>'", workspace.root
    ) == ("flue-ci agent <agent@flue-ci.invalid>\n")


@pytest.mark.family(1)
async def test_nothing_but_the_commit_and_its_history_travels(box: Sandbox, tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.git("switch", "-q", "-c", "other")
    repo.put("secret", b"only on another branch\n")
    repo.commit("secret")
    secret = repo.line("rev-parse", "HEAD:secret")
    repo.git("switch", "-q", "main")
    repo.git("gc", "-q")
    repo.git("remote", "add", "origin", "https://token:hunter2@example.com/x.git")
    repo.git("config", "http.extraHeader", "Authorization: hunter2")
    hook = repo.path / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho hunter2\n")
    hook.chmod(0o755)
    source, workspace = await bring(repo, box, scratch)
    assert "hunter2" not in await shell(box, "grep -rl hunter2 .git || :; git config --list", workspace.root)
    missing = await box.exec(f"git cat-file -e {secret}", timeout=30, cwd=workspace.root)
    assert missing.exit_code != 0
    done = await source.git.run("cat-file", "-e", secret, ok=None)
    assert done.code != 0
    assert await shell(
        box, "git branch --all --format='%(refname)'; git remote; ls .git/hooks 2>/dev/null || :", workspace.root
    ) == ("refs/heads/main\n")
    assert not (await shell(box, "ls -A ..; ls -A .git", workspace.root)).count("flue-ci-upload")


@pytest.mark.family(1)
async def test_a_shallow_clone_stays_a_valid_shallow_repository(box: Sandbox, tmp_path: Path, scratch: Path) -> None:
    origin = new_repo(tmp_path / "origin", EVERY_KIND)
    for number in range(5):
        origin.put("n", b"%d" % number)
        origin.commit(str(number))
    origin.git("clone", "-q", "--depth=3", f"file://{origin.path}", str(tmp_path / "repo"))
    _, workspace = await bring(Repo(tmp_path / "repo"), box, scratch)
    assert await shell(box, "git log --format=%s", workspace.root) == "4\n3\n2\n"
    assert await shell(box, "git fsck --full 2>&1 && git gc -q 2>&1", workspace.root) == ""
    assert await tree_inside(box, workspace.root) == EVERY_KIND | {"n": ("file", b"4")}


@pytest.mark.family(5)
@pytest.mark.parametrize("history", [None, 0, 1, 2, 3, 4, 50])
@pytest.mark.parametrize("clone_depth", [0, 2, 3])
async def test_depth_counts_as_in_git_fetch(
    tmp_path: Path, scratch: Path, history: int | None, clone_depth: int
) -> None:
    repo = new_repo(tmp_path / "repo", {"a": ("file", b"a\n")})
    for number in range(3):
        repo.git("switch", "-q", "-c", f"side{number}")
        repo.put(f"side{number}", b"x")
        repo.commit(f"side {number}")
        repo.git("switch", "-q", "main")
        repo.put(f"main{number}", b"x")
        repo.commit(f"main {number}")
        repo.git("merge", "-q", "--no-ff", "-m", f"merge {number}", f"side{number}")
    if clone_depth:
        repo.git("clone", "-q", f"--depth={clone_depth}", f"file://{repo.path}", str(tmp_path / "shallow"))
        repo = Repo(tmp_path / "shallow")
    reference = new_repo(tmp_path / "reference")
    depth = (f"--depth={history}",) if history else ("--update-shallow",)
    reference.git("fetch", "-q", *depth, f"file://{repo.path}", "main:refs/heads/copy")
    source = await open_checkout(repo.path, history=history, scratch=scratch)
    mine = (await source.git.run("rev-list", source.head)).out.split()
    assert sorted(mine) == sorted(reference.git("rev-list", "copy").split())
    await source.git.run("fsck", "--full", "--strict")


@pytest.mark.family(4)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "loose"])
@pytest.mark.parametrize("form", ["checkout", "subdirectory", "worktree", "detached", "sha256", "shared", "submodule"])
async def test_every_form_of_checkout_can_be_read(
    plain: Sandbox, tmp_path: Path, scratch: Path, form: str, packed: bool
) -> None:
    options = ("--object-format=sha256",) if form == "sha256" else ()
    repo = new_repo(tmp_path / "origin ü", EVERY_KIND, *options)
    repo.put("second", b"x\n")
    repo.commit("second")
    if packed:
        repo.git("gc", "-q")
    where, expected = repo.path, "main"
    if form == "subdirectory":
        where = repo.path / "dir with space/deep"
    elif form == "worktree":
        where, expected = tmp_path / "work tree", "topic"
        repo.git("worktree", "add", "-q", "-b", "topic", str(where))
    elif form == "detached":
        repo.git("checkout", "-q", "--detach", "HEAD~1")
        expected = ""
    elif form == "shared":
        where = tmp_path / "shared"
        repo.git("clone", "-q", "--shared", str(repo.path), str(where))
    elif form == "submodule":
        outer = new_repo(tmp_path / "outer", {"o": ("file", b"o")})
        outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.path), "sub")
        where = outer.path / "sub"
    git_dirs = (repo.path / ".git",) if form == "shared" else ()
    source, workspace = await bring(Repo(where), plain, scratch, git_dirs=git_dirs)
    wanted = dict(EVERY_KIND) if form == "detached" else EVERY_KIND | {"second": ("file", b"x\n")}
    assert await tree_inside(plain, workspace.root) == wanted
    assert (source.ref or "") == expected
    assert await shell(plain, "git fsck 2>&1; git status --porcelain", workspace.root) == ""
    branch = await shell(plain, "git symbolic-ref --short -q HEAD || :", workspace.root)
    assert branch.strip() == expected


async def test_a_checkout_may_be_packed_anew_after_its_packs_were_copied(
    plain: Sandbox, tmp_path: Path, scratch: Path
) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.git("gc", "-q")
    source = await open_checkout(repo.path, history=5, scratch=scratch)
    assert common_packs(repo, source)
    repo.put("later", b"x")
    repo.commit("later")
    repo.git("gc", "-q", "--prune=now")
    assert not common_packs(repo, source)
    workspace = await upload(source, plain)
    assert await tree_inside(plain, workspace.root) == EVERY_KIND
    await source.git.run("fsck", "--full", "--strict")


def fingerprint(top: Path) -> str:
    """Everything about a directory that a write would change, access times left out."""
    digest = hashlib.sha256()
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        digest.update(
            f"{path} {info.st_mode} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_nlink}\n".encode()
        )
    return digest.hexdigest()


async def test_the_checkout_is_only_read(plain: Sandbox, tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.git("gc", "-q")
    make_dirty(repo)
    for path in sorted(repo.path.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o555)
    before = fingerprint(repo.path)
    source = await open_checkout(repo.path, history=50, scratch=scratch)
    assert source.dirty
    assert common_packs(repo, source)
    await upload(source, plain)
    assert fingerprint(repo.path) == before
    for path in [repo.path, *repo.path.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


async def test_no_hook_filter_or_driver_of_the_checkout_runs(plain: Sandbox, tmp_path: Path, scratch: Path) -> None:
    mark = tmp_path / "ran"
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.put(".gitattributes", b"* filter=evil diff=evil text=auto eol=crlf ident\n")
    repo.commit("attributes")
    for key in ("filter.evil.clean", "filter.evil.smudge", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor"):
        repo.git("config", key, f"touch '{mark}'; cat")
    repo.git("config", "filter.evil.required", "true")
    hook = tmp_path / "hooks/post-index-change"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    hook.chmod(0o755)
    repo.git("config", "core.hooksPath", str(hook.parent))
    repo.write({"plain.txt": ("file", b"$Id$ changed\r\n"), "untracked": ("file", b"new\r\n")})
    mark.unlink(missing_ok=True)
    source, workspace = await bring(repo, plain, scratch)
    assert not mark.exists()
    inside = await tree_inside(plain, workspace.root)
    assert inside["plain.txt"] == EVERY_KIND["plain.txt"]
    assert "untracked" not in inside
    assert inside["no newline at end.txt"] == EVERY_KIND["no newline at end.txt"]
    assert not source.dirty
    assert any("with a git filter" in note and "plain.txt" in note and "untracked" in note for note in source.notes)


FILTERS = {
    "in the tree": ("", "*.key filter=secret\n"),
    "beside the tree": ("*.key filter=secret\n", ""),
    "by a macro": ("", "[attr]hidden filter=secret\n*.key hidden\n"),
    "in other case": ("", "*.key filter=SECRET\n"),
}


@pytest.mark.family(4)
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("driver", ["clean", "smudge", "process"])
async def test_what_a_filter_made_readable_stays_here(
    plain: Sandbox, tmp_path: Path, scratch: Path, kind: str, driver: str
) -> None:
    """As with git-crypt: git has stored one thing, the disk has another, and the times say that it may have changed."""
    repo = new_repo(tmp_path / "repo", {"a.key": ("file", b"sealed\n"), "plain": ("file", b"one\n")})
    beside, inside = FILTERS[kind]
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/attributes").write_text(beside)
    repo.put(".gitattributes", inside.encode())
    repo.commit("attributes")
    section = "SECRET" if kind == "in other case" else "secret"
    repo.git("config", f"filter.{section}.{driver}", "tr a-z n-za-m")
    repo.write({"a.key": ("file", b"opened\n"), "new.key": ("file", b"fresh\n"), "plain": ("file", b"two\n")})
    source, workspace = await bring(repo, plain, scratch)
    inside_files = await tree_inside(plain, workspace.root)
    assert (inside_files["a.key"], inside_files["plain"]) == (("file", b"sealed\n"), ("file", b"two\n"))
    assert "new.key" not in inside_files
    assert any("2 files with a git filter" in note for note in source.notes)
    everything = await shell(
        plain, "git grep -l . $(git rev-list --all) ; git grep -h . $(git rev-list --all)", workspace.root
    )
    assert "opened" not in everything
    assert "fresh" not in everything


async def test_a_filter_that_is_not_set_up_changes_nothing(plain: Sandbox, tmp_path: Path, scratch: Path) -> None:
    """What is on the disk is then what git would store, for git runs nothing."""
    repo = new_repo(tmp_path / "repo", {"a.key": ("file", b"sealed\n"), "b.key": ("file", b"sealed\n")})
    repo.put(".gitattributes", b"*.key filter=absent\nb.key -filter\n")
    repo.commit("attributes")
    repo.git("config", "filter.other.clean", "false")
    repo.put("a.key", b"changed\n")
    _, workspace = await bring(repo, plain, scratch)
    assert (await tree_inside(plain, workspace.root))["a.key"] == ("file", b"changed\n")


@pytest.mark.parametrize("setting", ["attributes", "autocrlf"])
async def test_line_ends_that_git_converts_do_not_make_a_clean_checkout_dirty(
    tmp_path: Path, scratch: Path, setting: str
) -> None:
    repo = new_repo(tmp_path / "repo", {"run.bat": ("file", b"one\ntwo\n"), "x": ("file", b"x\n")})
    if setting == "attributes":
        repo.put(".gitattributes", b"*.bat text eol=crlf\n")
        repo.commit("attributes")
    else:
        repo.git("config", "core.autocrlf", "true")
    for name in ("run.bat", "x"):
        (repo.path / name).unlink()
    repo.git("checkout", "--", ".")
    assert (repo.path / "run.bat").read_bytes() == b"one\r\ntwo\r\n"
    os.utime(repo.path / "run.bat", (1_000_000_000, 1_000_000_000))
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    assert not source.dirty
    assert source.base == source.head


async def test_lfs_files_stay_pointers_and_do_not_count_as_changed(
    plain: Sandbox, tmp_path: Path, scratch: Path
) -> None:
    content = b"large content\n" * 100
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()
    repo = new_repo(tmp_path / "repo", {"a.psd": ("file", pointer), "b.psd": ("file", pointer)})
    repo.put(".gitattributes", b"*.psd filter=lfs diff=lfs merge=lfs -text\n")
    repo.commit("lfs")
    repo.git("config", "filter.lfs.clean", "false")
    repo.put("a.psd", content)
    source, workspace = await bring(repo, plain, scratch)
    assert not source.dirty
    assert source.notes == ("files kept with Git LFS are pointer files inside",)
    assert (await tree_inside(plain, workspace.root))["a.psd"] == ("file", pointer)


@pytest.mark.family(1)
async def test_submodules_become_empty_directories_with_a_note(box: Sandbox, tmp_path: Path, scratch: Path) -> None:
    inner = new_repo(tmp_path / "inner", {"i": ("file", b"i")})
    repo = new_repo(tmp_path / "repo", {"o": ("file", b"o")})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "libs/inner")
    repo.commit("submodule")
    Repo(repo.path / "libs/inner").put("i", b"changed inside")
    source, workspace = await bring(repo, box, scratch)
    assert not source.dirty
    assert source.notes == ("submodules do not travel: their directories are empty inside",)
    assert await shell(box, "ls -A libs/inner; git status --porcelain", workspace.root) == ""
    assert "160000" in await shell(box, "git ls-files -s libs", workspace.root)


async def test_an_untracked_repository_inside_is_left_out_with_a_note(tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    new_repo(repo.path / "vendor/other", {"x": ("file", b"x")})
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    assert source.notes == ("1 untracked directory with a repository inside left out: vendor/other/",)
    assert not source.dirty


async def test_a_partial_clone_travels_without_history(plain: Sandbox, tmp_path: Path, scratch: Path) -> None:
    origin = new_repo(tmp_path / "origin", EVERY_KIND)
    origin.put("plain.txt", b"newer\n")
    origin.commit("second")
    origin.git("config", "uploadpack.allowFilter", "true")
    origin.git("clone", "-q", "--filter=blob:none", f"file://{origin.path}", str(tmp_path / "repo"))
    source, workspace = await bring(Repo(tmp_path / "repo"), plain, scratch)
    assert source.notes == ("the checkout is a partial clone: only its current commit travels, without history",)
    assert await shell(plain, "git log --format=%s; git fsck 2>&1", workspace.root) == "second\n"


async def test_rules_for_ignoring_from_outside_of_the_tree_count(
    plain: Sandbox, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg/git").mkdir(parents=True)
    (tmp_path / "xdg/git/ignore").write_text("*.mine\n")
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/exclude").write_text("*.ours\n")
    repo.write({"a.mine": ("file", b"x"), "a.ours": ("file", b"x")})
    source, workspace = await bring(repo, plain, scratch)
    assert not source.dirty
    assert await shell(plain, "touch b.mine b.ours; git status --porcelain", workspace.root) == ""


async def test_a_split_index_and_a_sparse_checkout_can_be_read(tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND | {"a/x": ("file", b"x"), "b/y": ("file", b"y")})
    repo.git("update-index", "--split-index")
    repo.git("sparse-checkout", "set", "--cone", "--sparse-index", "a")
    assert not (repo.path / "b").exists()
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    assert not source.dirty
    repo.put("a/x", b"changed")
    (scratch / "again").mkdir()
    dirty = await open_checkout(repo.path, history=1, scratch=scratch / "again")
    listed = await dirty.git.run("diff-tree", "-r", "--name-status", source.tree, dirty.tree)
    assert listed.out == b"M\ta/x\n"


async def test_a_second_upload_does_not_touch_the_first(plain: Sandbox, tmp_path: Path, scratch: Path) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    source, first = await bring(repo, plain, scratch)
    second = await upload(source, plain)
    assert second.root != first.root
    assert await tree_inside(plain, first.root) == await tree_inside(plain, second.root) == EVERY_KIND


@pytest.mark.parametrize(
    ("program", "message"), [("git", "the sandbox has no git"), ("tar", "the sandbox has no tar")], ids=["git", "tar"]
)
async def test_a_sandbox_without_a_needed_program_says_so(
    plain: Sandbox, tmp_path: Path, scratch: Path, program: str, message: str
) -> None:
    source = await open_checkout(new_repo(tmp_path / "repo", EVERY_KIND).path, history=1, scratch=scratch)
    without = Altered(plain, f'command() {{ [ "$2" != {program} ] && builtin command "$@"; }}')
    with pytest.raises(WorkspaceError, match=message) as caught:
        await upload(source, without)
    assert "template" in caught.value.hint


async def test_a_full_disk_in_the_sandbox_is_reported(plain: Sandbox, tmp_path: Path, scratch: Path) -> None:
    source = await open_checkout(new_repo(tmp_path / "repo", EVERY_KIND).path, history=1, scratch=scratch)
    with pytest.raises(WorkspaceError, match="could not be unpacked in the sandbox"):
        await upload(source, Altered(plain, "ulimit -f 1"))


@pytest.mark.parametrize(
    ("program", "option"), [("comm", "comm -z"), ("grep", "grep -z"), ("find", "find -fprintf"), ("base64", "base64")]
)
async def test_programs_that_are_too_simple_to_bring_changes_back_are_named_before_anything_is_spent(
    plain: Sandbox, tmp_path: Path, scratch: Path, program: str, option: str
) -> None:
    source = await open_checkout(new_repo(tmp_path / "repo", EVERY_KIND).path, history=1, scratch=scratch)
    simple = f'{program}() {{ case "$*" in *z*|*fprintf*|"") return 1 ;; esac; command {program} "$@"; }}'
    with pytest.raises(WorkspaceError, match=f"to bring changes back: {option}$") as caught:
        await upload(source, Altered(plain, simple))
    assert "busybox is not enough" in caught.value.hint


class TestRefusals:
    """What is not a usable checkout is refused with what to do."""

    async def refused(self, path: Path, scratch: Path) -> WorkspaceError:
        with pytest.raises(WorkspaceError) as caught:
            await open_checkout(path, history=1, scratch=scratch)
        assert caught.value.hint
        return caught.value

    async def test_a_plain_directory(self, tmp_path: Path, scratch: Path) -> None:
        (tmp_path / "plain").mkdir()
        assert "is not a git repository" in str(await self.refused(tmp_path / "plain", scratch))

    async def test_a_path_that_does_not_exist(self, tmp_path: Path, scratch: Path) -> None:
        with pytest.raises(WorkspaceError, match="does not exist"):
            await open_checkout(tmp_path / "nowhere", history=1, scratch=scratch)

    async def test_a_repository_without_commits(self, tmp_path: Path, scratch: Path) -> None:
        new = new_repo(tmp_path / "new")
        assert "no commits yet" in str(await self.refused(new.path, scratch))
        new.put("HEAD^{commit}", b"")  # which git takes for what it was asked for
        assert "no commits yet" in str(await self.refused(new.path, scratch))

    async def test_a_bare_repository(self, tmp_path: Path, scratch: Path) -> None:
        repo = new_repo(tmp_path / "repo", EVERY_KIND)
        repo.git("clone", "-q", "--bare", str(repo.path), str(tmp_path / "bare.git"))
        assert "is a bare repository" in str(await self.refused(tmp_path / "bare.git", scratch))

    async def test_the_inside_of_a_git_directory(self, tmp_path: Path, scratch: Path) -> None:
        repo = new_repo(tmp_path / "repo", EVERY_KIND)
        assert "inside a .git directory" in str(await self.refused(repo.path / ".git/objects", scratch))

    async def test_an_unresolved_merge(self, tmp_path: Path, scratch: Path) -> None:
        repo = new_repo(tmp_path / "repo", {"f": ("file", b"base\n")})
        repo.git("switch", "-q", "-c", "other")
        repo.put("f", b"theirs\n")
        repo.commit()
        repo.git("switch", "-q", "main")
        repo.put("f", b"ours\n")
        repo.commit()
        environment = {**os.environ, **ENVIRONMENT}
        merge = subprocess.run(
            ["git", "merge", "other"], cwd=repo.path, env=environment, capture_output=True, check=False
        )
        assert merge.returncode == 1
        assert str(await self.refused(repo.path, scratch)) == "f is in an unresolved merge conflict"

    async def test_too_much_untracked(self, tmp_path: Path, scratch: Path) -> None:
        repo = new_repo(tmp_path / "repo", EVERY_KIND)
        for name, size in (("core.dump", 150_000_000), ("video.mp4", 60_000_000)):
            with (repo.path / name).open("wb") as file:
                file.truncate(size)
        error = await self.refused(repo.path, scratch)
        assert "2 uncommitted files of 210 MB, more than 200 MB" in str(error)
        assert "core.dump (150 MB), video.mp4 (60.0 MB)" in error.hint

    async def test_a_damaged_repository(self, tmp_path: Path, scratch: Path) -> None:
        repo = new_repo(tmp_path / "repo", EVERY_KIND)
        blob = repo.line("rev-parse", "HEAD:plain.txt")
        (repo.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
        error = await self.refused(repo.path, scratch)
        assert "history" in str(error)
        assert "git fsck" in error.hint

    async def test_somebody_elses_checkout(
        self, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = subprocess.run(["which", "git"], capture_output=True, check=True).stdout.decode().strip()
        fake_git(tmp_path, f'GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec "{real}" "$@"', monkeypatch)
        error = await self.refused(new_repo_with(real, tmp_path / "repo"), scratch)
        assert "belongs to another user" in str(error)
        assert "safe.directory" in error.hint

    async def test_an_old_git(self, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_git(tmp_path, "echo git version 2.20.1", monkeypatch)
        error = await self.refused(tmp_path, scratch)
        assert str(error) == "git version 2.20.1 is too old"
        assert "2.34" in error.hint

    async def test_no_git_at_all(self, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert str(await self.refused(tmp_path, scratch)) == "git is not installed"


def new_repo_with(git: str, path: Path) -> Path:
    path.mkdir()
    for args in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([git, *args], cwd=path, env={**os.environ, **ENVIRONMENT}, check=True)
    return path


@pytest.mark.family(1)
async def test_an_edit_in_the_second_of_the_upload_is_seen(box: Sandbox, tmp_path: Path, scratch: Path) -> None:
    """Same size, same second: Python took the old bytecode, and a test of a good fix failed."""
    repo = new_repo(tmp_path / "repo", {"it.py": ("file", b"print(1)\n"), "use.py": ("file", b"import it\n")})
    _, workspace = await bring(repo, box, scratch)
    output = await shell(
        box, "python3 use.py; echo 'print(2)' > it.py; python3 use.py; git status --porcelain", workspace.root
    )
    assert output == "1\n2\n M it.py\n?? __pycache__/\n"
    age = await shell(box, "echo $(($(date +%s) - $(stat -c %Y use.py)))", workspace.root)
    assert 3_000 < int(age) < 4_200


async def test_of_very_many_files_those_of_the_last_second_get_a_time_before_it(plain: Sandbox, tmp_path: Path) -> None:
    """The others are older already; and git need not read any of them again."""
    repo = new_repo(tmp_path / "repo", {f"{n % 50}/{n}": ("file", b"") for n in range(5_001)})
    program = shlex.quote(load_script("flue_ci.workspace", "age_files.pl"))
    commands = [
        f"cd {repo.path}; touch -d @1700000007.5 1/1; touch -d @1700000008.5 2/2; touch -d @1700000009 3/3",
        f"git update-index -q --refresh; perl -e {program} -- 1700000008 20 && stat -c %Y 1/1 2/2 3/3",
        "git diff-files; git fsck",
    ]
    assert await shell(plain, "\n".join(commands), "/") == "1700000007\n1700000007\n1700000007\n"


@pytest.mark.parametrize("options", [(), ("--object-format=sha256",)], ids=["sha1", "sha256"])
@pytest.mark.parametrize("prelude", ["", "perl() { return 1; }"], ids=["perl", "no perl"])
async def test_git_need_not_read_files_with_a_time_in_the_past_again(
    plain: Sandbox, tmp_path: Path, scratch: Path, prelude: str, options: tuple[str, ...]
) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND, *options)
    source = await open_checkout(repo.path, history=1, scratch=scratch)
    workspace = await upload(source, Altered(plain, prelude))
    commands = "git diff-files; find . -name .git -prune -o -type f -mmin -50 -print; git fsck 2>&1"
    assert await shell(plain, commands, workspace.root) == ""

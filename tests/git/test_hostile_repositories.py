"""A checkout that came from a stranger, `.git` included: reading it starts nothing, and no other file of this machine
travels.

Attributes, filters and drivers are in `test_upload`, addresses and refs of servers in `test_fetch`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.core.ports import Sandbox
from flue_ci.git.command import Git, TooMuchOutput, git_environment
from flue_ci.git.snapshot import MEMORY_BYTES
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.upload import upload
from tests.support.repos import EVERY_KIND, Repo, common_packs, new_repo, open_box, shell, tree_inside

SECRET = b"a secret that lies beside the checkout\n"
HOOKS = (
    "post-index-change",
    "post-checkout",
    "reference-transaction",
    "pre-auto-gc",
    "fsmonitor-watchman",
    "pre-commit",
)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Whatever runs leaves a file in here, with the name of what made it run."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return new_repo(tmp_path / "around" / "repo", EVERY_KIND)


@pytest.fixture
def secret(repo: Repo) -> Path:
    path = repo.path.parent / "id_rsa"
    path.write_bytes(SECRET)
    return path


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with open_box("plain", tmp_path) as box:
        yield box


async def opened(repo: Repo, tmp_path: Path, memory: int = MEMORY_BYTES, *git_dirs: Path) -> Source:
    (tmp_path / "scratch").mkdir()
    return await open_checkout(repo.path, history=50, scratch=tmp_path / "scratch", memory=memory, git_dirs=git_dirs)


async def refused(repo: Repo, tmp_path: Path, memory: int = MEMORY_BYTES) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await opened(repo, tmp_path, memory)
    assert str(caught.value).isprintable()
    assert SECRET.decode().strip() not in str(caught.value) + caught.value.hint
    return caught.value


async def travelled(source: Source) -> bytes:
    """Everything that goes into a sandbox, objects unpacked."""
    files = b"".join(path.read_bytes() for path in source.git_dir.rglob("*") if path.is_file())
    names = ["cat-file", "--batch", "--batch-all-objects", "--buffer"]
    return files + (await source.git.run(*names)).out


def commands(marks: Path) -> dict[str, str]:
    """Settings that make some git run a program, in a version or another."""
    run = lambda name: f"touch {marks}/{name};"  # noqa: E731
    simple = [
        *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy"),
        *("core.alternateRefsCommand", "sequence.editor", "gpg.program", "diff.external", "interactive.diffFilter"),
        *("uploadpack.packObjectsHook", "pager.status", "pager.config", "pager.rev-parse", "web.browser"),
        *("diff.evil.command", "diff.evil.textconv", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process"),
        *("merge.evil.driver", "remote.origin.uploadpack", "trace2.eventTarget", "core.hooksPath"),
    ]
    found = {key: run(key) for key in simple}
    found |= {
        f"alias.{name}": f"!{run(name)}" for name in ("status", "rev-parse", "config", "symbolic-ref", "cat-file")
    }
    found |= {"credential.helper": f"!{run('credential')}", "submodule.sub.update": f"!{run('submodule')}"}
    found |= {"remote.origin.url": f"ext::sh -c touch% {marks}/ext", "protocol.ext.allow": "always"}
    found |= {f"url.ext::sh -c touch% {marks}/instead .insteadOf": "https://", "status.submoduleSummary": "true"}
    return found | {"core.untrackedCache": "true", "core.preloadIndex": "true", "submodule.recurse": "true"}


def arm(repo: Repo, marks: Path, file: Path) -> None:
    """Put all of it into a file of settings, and into hooks and attributes what these settings need."""
    for key, value in commands(marks).items():
        repo.git("config", "--file", str(file), key, value)
    for name in HOOKS:
        hook = repo.path / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {marks}/hook-{name}\n")
        hook.chmod(0o755)
    (repo.path / ".git/info/attributes").write_text("* filter=evil diff=evil merge=evil\n")


@pytest.mark.parametrize("place", ["config", "an included file", "the work tree's config"])
async def test_no_setting_of_the_repository_starts_a_program(
    repo: Repo, tmp_path: Path, marks: Path, box: Sandbox, place: str
) -> None:
    repo.write({"plain.txt": ("file", b"changed\n"), "untracked": ("file", b"new\n")})
    module = (
        b'[submodule "sub"]\n\tpath = sub\n\turl = ext::sh -c touch% '
        + bytes(marks)
        + b"/module\n\tupdate = !touch x\n"
    )
    repo.put(".gitmodules", module)
    repo.git("add", ".gitmodules")
    if place == "config":
        arm(repo, marks, repo.path / ".git/config")
    elif place == "an included file":
        arm(repo, marks, repo.path / ".git/more")
        repo.git("config", "include.path", "more", env={"GIT_TRACE2_EVENT": "0"})
    else:
        repo.git("config", "extensions.worktreeConfig", "true")
        arm(repo, marks, repo.path / ".git/config.worktree")
    for mark in marks.iterdir():
        mark.unlink()  # arming it with git has set some off already
    source = await opened(repo, tmp_path)
    workspace = await upload(source, box)
    environment = git_environment(user_config=True)
    for arguments in (["rev-parse", "HEAD"], ["symbolic-ref", "--short", "HEAD"]):
        subprocess.run(["git", *arguments], cwd=repo.path, env=environment, check=True, capture_output=True)
    assert [mark.name for mark in marks.iterdir()] == []
    assert (await tree_inside(box, workspace.root))["plain.txt"] == EVERY_KIND["plain.txt"]
    assert b"touch" not in (source.git_dir / "config").read_bytes()


def test_the_same_settings_do_start_programs_where_nobody_minds(repo: Repo, marks: Path) -> None:
    arm(repo, marks, repo.path / ".git/config")
    environment = os.environ | git_environment(user_config=True)
    subprocess.run(["git", "status"], cwd=repo.path, env=environment, capture_output=True, check=False)
    assert "core.fsmonitor" in [mark.name for mark in marks.iterdir()]


ADDRESSES = {
    "a program": {"url": "ext::sh -c touch% {marks}/ext", "allow": "ext"},
    "a path with another server": {"url": "/etc", "uploadpack": "touch {marks}/uploadpack;", "allow": "file"},
    "ssh with another client": {"url": "ssh://localhost/x", "allow": "ssh"},
    "a helper": {"url": "https://localhost/x", "vcs": "ext", "allow": "ext"},
}


@pytest.mark.family(6)
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("missing", ["HEAD", "HEAD^{tree}", "HEAD:plain.txt"])
async def test_a_missing_object_is_not_fetched_from_where_the_repository_says(
    repo: Repo, tmp_path: Path, marks: Path, address: str, missing: str
) -> None:
    about = {key: value.format(marks=marks) for key, value in ADDRESSES[address].items()}
    name = repo.line("rev-parse", missing)
    repo.put("plain.txt", b"changed\n")
    settings = {"core.sshCommand": f"touch {marks}/ssh;", f"protocol.{about.pop('allow')}.allow": "always"}
    settings |= {f"remote.evil.{key}": value for key, value in about.items()} | {"remote.evil.promisor": "true"}
    settings |= {"core.repositoryFormatVersion": "1", "extensions.partialClone": "evil"}
    for key, value in settings.items():
        repo.git("config", key, value)
    (repo.path / ".git/objects" / name[:2] / name[2:]).unlink()
    await refused(repo, tmp_path)
    assert [mark.name for mark in marks.iterdir()] == []


# Other files of this machine


async def test_a_work_tree_that_is_a_directory_above_is_refused(repo: Repo, tmp_path: Path, secret: Path) -> None:
    repo.git("config", "core.worktree", str(secret.parent))
    error = await refused(repo, tmp_path)
    assert "another directory's" in str(error)
    repo.git("config", "--file", str(repo.path / ".git/config"), "core.worktree", str(repo.path))
    (tmp_path / "scratch").rmdir()
    assert (await opened(repo, tmp_path)).name == "repo"


@pytest.mark.parametrize("way", ["a link", "a setting", "a setting relative to the checkout", "an included setting"])
async def test_ignore_rules_are_the_users_or_the_repositorys_own(
    repo: Repo, tmp_path: Path, secret: Path, way: str
) -> None:
    if way == "a link":
        (repo.path / ".git/info/exclude").unlink(missing_ok=True)
        (repo.path / ".git/info/exclude").symlink_to(secret)
    elif way == "an included setting":
        (repo.path / "more").write_text(f"[core]\n\texcludesFile = {secret}\n")
        repo.git("config", "include.path", "../more")
    else:
        repo.git("config", "core.excludesFile", str(secret) if way == "a setting" else "../id_rsa")
    assert (await refused(repo, tmp_path)).hint


async def test_ignore_rules_of_the_repositorys_own_are_taken(repo: Repo, tmp_path: Path) -> None:
    repo.put("rules", b"*.secret\n")
    repo.put("x.secret", b"not to travel\n")
    repo.git("config", "core.excludesFile", "rules")
    source = await opened(repo, tmp_path)
    assert b"*.secret\n" in (source.git_dir / "info/exclude").read_bytes()
    assert b"not to travel" not in await travelled(source)


async def test_a_pack_that_is_a_link_to_another_file_does_not_travel(repo: Repo, tmp_path: Path, secret: Path) -> None:
    """Its index names an object that the commit has, so that it looks as if it could be copied."""
    repo.git("gc", "-q")
    packs = repo.path / ".git/objects/pack"
    repo.git("pack-objects", ".git/objects/pack/pack", stdin=repo.git("rev-parse", "HEAD:plain.txt"))
    small = min(packs.glob("*.pack"), key=lambda path: path.stat().st_size)
    small.unlink()
    small.symlink_to(secret)
    source = await opened(repo, tmp_path, MEMORY_BYTES, secret.parent)
    assert SECRET not in await travelled(source)
    assert not any(path.name == small.name for path in source.object_files())


async def test_no_pack_is_taken_from_a_directory_that_is_a_link(repo: Repo, tmp_path: Path) -> None:
    repo.git("gc", "-q")
    packs = repo.path / ".git/objects/pack"
    packs.rename(tmp_path / "elsewhere")
    packs.symlink_to(tmp_path / "elsewhere")
    source = await opened(repo, tmp_path, MEMORY_BYTES, tmp_path / "elsewhere")
    assert not common_packs(repo, source)
    await source.git.run("fsck", "--full", "--strict")


async def test_alternates_and_replacements_bring_nothing_else_along(repo: Repo, tmp_path: Path, box: Sandbox) -> None:
    other = new_repo(tmp_path / "private", {"secret": ("file", SECRET)})
    (repo.path / ".git/objects/info").mkdir(exist_ok=True)
    (repo.path / ".git/objects/info/alternates").write_text(f"{other.path}/.git/objects\n/nowhere\n")
    repo.git(
        "update-ref", f"refs/replace/{repo.line('rev-parse', 'HEAD:plain.txt')}", other.line("rev-parse", "HEAD:secret")
    )
    (repo.path / ".git/info/grafts").write_text(f"{repo.line('rev-parse', 'HEAD')} {other.line('rev-parse', 'HEAD')}\n")
    source = await opened(repo, tmp_path, MEMORY_BYTES, other.path)
    assert SECRET not in await travelled(source)
    assert await tree_inside(box, (await upload(source, box)).root) == EVERY_KIND


async def test_a_directory_that_became_a_link_is_a_link_and_not_what_is_behind(repo: Repo, tmp_path: Path) -> None:
    outside = tmp_path / "around" / "outside"
    outside.mkdir()
    (outside / "er.txt").write_bytes(SECRET)
    (repo.path / "dir with space/deep/er.txt").unlink()
    (repo.path / "dir with space/deep").rmdir()
    (repo.path / "dir with space/deep").symlink_to(outside)
    source = await opened(repo, tmp_path)
    assert source.dirty
    assert SECRET not in await travelled(source)


async def test_an_index_that_names_files_outside_brings_none_of_them(repo: Repo, tmp_path: Path, secret: Path) -> None:
    repo.git("rm", "-rq", "--cached", ".")
    repo.put("aa/id_rsa", b"x\n")
    repo.git("add", "aa/id_rsa")
    index = repo.path / ".git/index"
    content = index.read_bytes()[:-20].replace(b"aa/id_rsa", b"../id_rsa")
    content = content[: content.rindex(b"TREE")] if b"TREE" in content else content
    index.write_bytes(content + hashlib.sha1(content).digest())
    try:
        found = await travelled(await opened(repo, tmp_path))
    except WorkspaceError as error:
        found = str(error).encode()
    assert SECRET not in found


@pytest.mark.parametrize("file", ["index", "info/exclude"])
async def test_a_pipe_in_the_place_of_a_file_is_refused_and_does_not_hang(
    repo: Repo, tmp_path: Path, file: str
) -> None:
    (repo.path / ".git" / file).unlink(missing_ok=True)
    os.mkfifo(repo.path / ".git" / file)
    assert "not an ordinary file" in str(await refused(repo, tmp_path))


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"not a commit\n", SECRET, b"../../x\n" * 1000])
async def test_a_boundary_of_history_that_is_none_is_refused_without_being_repeated(
    repo: Repo, tmp_path: Path, content: bytes
) -> None:
    (repo.path / ".git/shallow").write_bytes(content)
    assert "damaged" in str(await refused(repo, tmp_path))


# Names


@pytest.mark.family(3)
@pytest.mark.parametrize(
    "name",
    ["$(touch${IFS}ran)", "';touch${IFS}ran;'", "`touch${IFS}ran`", "-x", "--upload-pack=touch", "a\u202eb", "ü/日本"],
)
async def test_a_branch_may_have_any_name_and_means_nothing_by_it(
    repo: Repo, tmp_path: Path, box: Sandbox, name: str
) -> None:
    repo.git("update-ref", f"refs/heads/{name}", "HEAD")
    repo.git("symbolic-ref", "HEAD", f"refs/heads/{name}")
    source = await opened(repo, tmp_path)
    workspace = await upload(source, box)
    assert source.ref == name
    assert await shell(
        box, "git symbolic-ref HEAD; git log --format=%s; ls -d ran ~/ran 2>&1 || :", workspace.root
    ) == (
        f"refs/heads/{name}\nfirst\nls: cannot access 'ran': No such file or directory\n"
        f"ls: cannot access '{box.info.home}/ran': No such file or directory\n"
    )


@pytest.mark.family(3)
@pytest.mark.parametrize("name", ["$(touch ran)", "a'; touch ran; '", "-rf", "…", "x\u202ey", ".git "])
async def test_a_directory_may_have_any_name_and_means_nothing_by_it(tmp_path: Path, box: Sandbox, name: str) -> None:
    repo = new_repo(tmp_path / "around" / name, {"a": ("file", b"a\n")})
    workspace = await upload(await opened(repo, tmp_path), box)
    assert workspace.root.removeprefix(box.info.home).lstrip("/").replace("-", "").isalnum()
    assert (await tree_inside(box, workspace.root)) == {"a": ("file", b"a\n")}


# Size


def bomb(repo: Repo, levels: int, width: int) -> str:
    """A tree of `width` ** `levels` files that is made of few objects."""
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"x\n").decode().strip()
    tree = (
        repo.git("mktree", stdin="".join(f"100644 blob {blob}\tf{n}\n" for n in range(width)).encode()).decode().strip()
    )
    for _ in range(levels - 1):
        entries = "".join(f"040000 tree {tree}\td{n}\n" for n in range(width))
        tree = repo.git("mktree", stdin=entries.encode()).decode().strip()
    return tree


async def test_a_commit_of_billions_of_files_ends_within_the_memory_that_git_gets(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", {"a": ("file", b"a\n")})
    commit = repo.line("commit-tree", "-m", "x", bomb(repo, levels=10, width=10))
    repo.git("update-ref", "HEAD", commit)
    await refused(repo, tmp_path, memory=300_000_000)


async def test_what_git_lists_is_bounded_also_without_a_limit_of_the_call(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo")
    tree = bomb(repo, levels=10, width=10)
    with pytest.raises(TooMuchOutput, match="more than 1000000 bytes"):
        await Git(cwd=repo.path).run("ls-tree", "-r", "-z", "--name-only", tree, limit=1_000_000)


async def test_a_tree_of_thousands_of_levels_is_refused(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", {"a": ("file", b"a\n")})
    stream = (
        b"commit refs/heads/main\ncommitter A <a@example.com> 1 +0000\ndata 1\nx\nM 644 inline "
        + b"d/" * 5000
        + b"f\ndata 1\nx\n"
    )
    repo.git("fast-import", "--quiet", "--force", stdin=stream)
    await refused(repo, tmp_path)

"""Submodules and the contents of Git LFS go into a sandbox when the spec asks for them, and what changes there comes
back."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flue_ci.core.ports import Sandbox
from flue_ci.git.contents import ContentOptions, add_checkout_contents
from flue_ci.git.source import Source, open_checkout
from flue_ci.settings import GitHubSettings
from flue_ci.workspace.apply import apply_patch
from flue_ci.workspace.collect import collect
from flue_ci.workspace.place import place_changes
from flue_ci.workspace.submodules import collect_submodules, submodule_works
from flue_ci.workspace.upload import Workspace, upload
from tests.support.repos import EVERY_KIND, Repo, new_repo, open_box, shell, tree_inside

ALL = ContentOptions(submodules=True, lfs=True)
NO_FORGE = GitHubSettings(server_url="http://127.0.0.1:9")
CONTENT = b"large content\n" * 100


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with open_box("plain", tmp_path) as box:
        yield box


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def pointer(content: bytes) -> bytes:
    oid = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()


def add_submodule(outer: Repo, inner: Repo, path: str) -> Repo:
    """The work tree of a new submodule."""
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), path)
    outer.commit("submodule")
    return Repo(outer.path / path)


async def open_all(repo: Repo, scratch: Path, options: ContentOptions = ALL) -> Source:
    source = await open_checkout(repo.path, history=50, scratch=scratch)
    return await add_checkout_contents(source, options, repo.path, NO_FORGE)


async def bring(repo: Repo, box: Sandbox, scratch: Path) -> tuple[Source, Workspace]:
    source = await open_all(repo, scratch)
    return source, await upload(source, box)


@pytest.mark.family(1)
@pytest.mark.parametrize("kind", ["isolated", "e2b"])
async def test_submodules_travel_as_they_are_and_their_changes_come_back(
    tmp_path: Path, scratch: Path, kind: str
) -> None:
    deep = new_repo(tmp_path / "deep", {"d": ("file", b"deep\n")})
    inner = new_repo(tmp_path / "inner", EVERY_KIND)
    add_submodule(inner, deep, "third/deep")
    repo = new_repo(tmp_path / "repo", {"o": ("file", b"o\n")})
    sub = add_submodule(repo, inner, "libs/in ü")
    sub.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    sub.put("plain.txt", b"changed at home\n")
    async with open_box(kind, tmp_path) as box:
        source, workspace = await bring(repo, box, scratch)
        root = f"{workspace.root}/libs/in ü"
        inside = await tree_inside(box, root)
        await shell(box, "rm ../tree.tar", root)
        assert inside["plain.txt"] == ("file", b"changed at home\n")
        assert inside["tool.sh"] == EVERY_KIND["tool.sh"]
        assert await shell(box, "cat third/deep/d; git -C third/deep rev-parse HEAD", root) == (
            f"deep\n{deep.line('rev-parse', 'HEAD')}\n"
        )
        assert await shell(box, "git status --porcelain", root) == " M plain.txt\n"
        assert source.notes == ()
        changes = await collect(workspace, source, box)
        assert (changes.files, changes.notes) == ((), ())
        assert await collect_submodules(workspace, source, box) == ({}, ())
        before, _ = await collect_submodules(workspace, source, box)
        command = (
            "echo new > new.txt; rm empty; echo x >> third/deep/d; git add -A; git commit -qm work; echo y >> ../../o"
        )
        await shell(box, command, root)
        changes = await collect(workspace, source, box)
        assert [file.path for file in changes.files] == ["o"]
        assert changes.notes == ()
        after, notes = await collect_submodules(workspace, source, box)
        works, more = await submodule_works(before, after)
    assert not [*notes, *more]
    assert {work.label: [file.path for file in work.changes.files] for work, _ in works} == {
        "submodule libs/in ü": ["empty", "new.txt"],
        "submodule libs/in ü/third/deep": ["d"],
    }
    assert [work.name for work, _ in works] == ["submodule-libs-in", "submodule-libs-in-third-deep"]
    sub.git("apply", stdin=works[0][0].changes.patch)
    assert (sub.path / "new.txt").read_bytes() == b"new\n"


async def test_a_submodule_that_is_not_there_is_named_and_the_rest_comes(tmp_path: Path, scratch: Path) -> None:
    inner = new_repo(tmp_path / "inner", {"i": ("file", b"i")})
    repo = new_repo(tmp_path / "repo", {"o": ("file", b"o")})
    for name in ("one", "two", "three", "four"):
        add_submodule(repo, inner, name)
    repo.git("submodule", "--quiet", "deinit", "-f", "two")
    moved = Repo(repo.path / "three")
    moved.put("later", b"x")
    moved.commit("later")
    (repo.path / "four/.git").write_text(f"gitdir: {inner.path}/.git\n")
    source = await open_all(repo, scratch)
    assert list(source.submodules) == ["one", "three"]
    four, three, two = source.notes
    assert four.startswith("submodule four is an empty directory inside: .git points to ")
    head, record = moved.line("rev-parse", "HEAD")[:12], inner.line("rev-parse", "HEAD")[:12]
    assert three == f"submodule three is at {head}, the commit records {record}"
    assert two.startswith("submodule two is an empty directory inside: its address ")


def lfs_repo(path: Path) -> Repo:
    """`a` is in the work tree, `b` in the store of git-lfs, `c` nowhere; `text.txt` only looks like a pointer."""
    files = {name: ("file", pointer(name.encode() + CONTENT)) for name in ("a.psd", "sub/b.psd", "c.psd", "text.txt")}
    repo = new_repo(path, files | {".gitattributes": ("file", b"*.psd filter=lfs diff=lfs merge=lfs -text\n")})
    (repo.path / "sub/b.psd").chmod(0o755)
    repo.commit("mode")
    repo.git("config", "filter.lfs.clean", "false")
    repo.put("a.psd", b"a.psd" + CONTENT)
    oid = hashlib.sha256(b"sub/b.psd" + CONTENT).hexdigest()
    store = repo.path / ".git/lfs/objects" / oid[:2] / oid[2:4]
    store.mkdir(parents=True)
    (store / oid).write_bytes(b"sub/b.psd" + CONTENT)
    return repo


async def test_contents_of_lfs_travel_and_are_no_change_until_they_are_changed(
    plain: Sandbox, tmp_path: Path, scratch: Path
) -> None:
    repo = lfs_repo(tmp_path / "repo")
    repo.put("staged", b"staged\n")
    repo.git("add", "staged")
    source, workspace = await bring(repo, plain, scratch)
    assert source.notes == (
        "1 file kept with Git LFS stays a pointer inside, because this checkout lacks the content and has no "
        "repository on the forge (git lfs pull brings them): c.psd",
    )
    inside = await tree_inside(plain, workspace.root)
    assert inside["a.psd"] == ("file", b"a.psd" + CONTENT)
    assert inside["sub/b.psd"] == ("exec", b"sub/b.psd" + CONTENT)
    assert inside["c.psd"] == ("file", pointer(b"c.psd" + CONTENT))
    assert inside["text.txt"] == ("file", pointer(b"text.txt" + CONTENT))
    assert await shell(plain, "git status --porcelain", workspace.root) == "A  staged\n"
    await shell(plain, "touch a.psd sub/b.psd; cp a.psd x; mv x a.psd", workspace.root)
    assert not (await collect(workspace, source, plain)).files
    await shell(plain, "chmod -x sub/b.psd; git add -A; git commit -qm all", workspace.root)
    changes = await collect(workspace, source, plain)
    assert [(file.path, file.kind) for file in changes.files] == [("sub/b.psd", "mode-changed")]
    await shell(plain, "rm sub/b.psd; echo more >> a.psd; echo new > new.psd", workspace.root)
    changes = await collect(workspace, source, plain)
    assert {file.path: file.kind for file in changes.files} == {
        "a.psd": "modified",
        "new.psd": "added",
        "sub/b.psd": "deleted",
    }
    await apply_patch(repo.path, source, changes.patch)
    assert (repo.path / "a.psd").read_bytes() == b"a.psd" + CONTENT + b"more\n"
    assert not (repo.path / "sub/b.psd").exists()
    async with open_box("plain", tmp_path) as clean:
        workspace = await upload(source, clean)
        await place_changes(source, changes, workspace, clean)
        assert await shell(clean, "tail -n 1 a.psd; ls sub 2>&1 | wc -l", workspace.root) == "more\n1\n"


async def test_no_link_leads_out_of_the_store_of_lfs(tmp_path: Path, scratch: Path) -> None:
    secret = b"known by its hash alone" * 10
    (tmp_path / "secret").write_bytes(secret)
    attributes = ("file", b"*.psd filter=lfs\n")
    repo = new_repo(tmp_path / "repo", {"s.psd": ("file", pointer(secret)), ".gitattributes": attributes})
    oid = hashlib.sha256(secret).hexdigest()
    store = repo.path / ".git/lfs/objects" / oid[:2] / oid[2:4]
    store.mkdir(parents=True)
    (store / oid).symlink_to(tmp_path / "secret")
    repo.git("update-index", "--assume-unchanged", "s.psd")
    (repo.path / "s.psd").unlink()
    (repo.path / "s.psd").symlink_to(tmp_path / "secret")
    source = await open_all(repo, scratch)
    assert source.lfs_files == ()

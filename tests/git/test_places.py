"""Where the `.git` of a checkout may lead: inside of it, and to git directories that name it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.git.places import outside_places
from flue_ci.git.source import open_checkout
from tests.support.repos import Repo, new_repo

SECRET = b"the other repository's secret\n"
OWN = {"a.txt": ("file", b"one\n")}
Attack = Callable[[Repo, Repo], Path]


@pytest.fixture
def victim(tmp_path: Path) -> Repo:
    """Another repository of this machine."""
    return new_repo(tmp_path / "private", {"secret.txt": ("file", SECRET)})


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return new_repo(tmp_path / "work" / "checkout", OWN)


def empty_git(repo: Repo) -> Path:
    """Moves the checkout's own `.git` away."""
    (repo.path / ".git").rename(repo.path.parent / "moved.git")
    return repo.path / ".git"


def gitfile(repo: Repo, victim: Repo) -> Path:
    empty_git(repo).write_text(f"gitdir: {victim.path}/.git\n")
    return repo.path / ".git"


def gitfile_of_another_worktree(repo: Repo, victim: Repo) -> Path:
    victim.git("worktree", "add", "-q", str(victim.path.parent / "other"))
    empty_git(repo).write_text(f"gitdir: {victim.path}/.git/worktrees/other\n")
    return repo.path / ".git"


def link(repo: Repo, victim: Repo) -> Path:
    empty_git(repo).symlink_to(victim.path / ".git")
    return repo.path / ".git"


def link_to_another_worktrees_file(repo: Repo, victim: Repo) -> Path:
    victim.git("worktree", "add", "-q", str(victim.path.parent / "other"))
    empty_git(repo).symlink_to(victim.path.parent / "other" / ".git")
    return repo.path / ".git"


def commondir(repo: Repo, victim: Repo) -> Path:
    (repo.path / ".git/commondir").write_text(f"{victim.path}/.git\n")
    (repo.path / ".git/HEAD").write_text("ref: refs/heads/main\n")
    return repo.path / ".git/commondir"


def worktree_of_nobody(repo: Repo, victim: Repo) -> Path:
    """A git directory beside the checkout that names it, and takes everything from somewhere else."""
    marker = empty_git(repo)
    forged = repo.path.parent / "worktrees" / "x"
    forged.mkdir(parents=True)
    (forged / "gitdir").write_text(f"{marker}\n")
    (forged / "commondir").write_text(f"{victim.path}/.git\n")
    (forged / "HEAD").write_text("ref: refs/heads/main\n")
    marker.write_text(f"gitdir: {forged}\n")
    return forged / "commondir"


def links_inside(repo: Repo, victim: Repo) -> Path:
    for name in ("objects", "refs", "HEAD"):
        path = repo.path / ".git" / name
        path.rename(repo.path.parent / name)
        path.symlink_to(victim.path / ".git" / name)
    return repo.path / ".git/HEAD"


def link_through_the_checkout(repo: Repo, victim: Repo) -> Path:
    """A link into the work tree, where the next one leads outside."""
    (repo.path / ".git/objects").rename(repo.path / "store")
    (repo.path / ".git/objects").symlink_to("../store")
    (repo.path / "store/pack").rmdir()
    (repo.path / "store/pack").symlink_to(victim.path / ".git/objects/pack")
    return repo.path / "store/pack"


def one_object(repo: Repo, victim: Repo) -> Path:
    name = victim.line("rev-parse", "HEAD:secret.txt")
    path = repo.path / ".git/objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim.path / ".git/objects" / name[:2] / name[2:])
    return path


def shallow(repo: Repo, victim: Repo) -> Path:
    (repo.path / ".git/shallow").symlink_to(victim.path / "secret.txt")
    return repo.path / ".git/shallow"


def grafts(repo: Repo, victim: Repo) -> Path:
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/grafts").symlink_to(victim.path / "secret.txt")
    return repo.path / ".git/info/grafts"


def alternates_with_refs(repo: Repo, victim: Repo) -> Path:
    alternates(repo, victim)
    (repo.path / ".git/HEAD").write_text(f"{victim.line('rev-parse', 'HEAD')}\n")
    return repo.path / ".git/objects/info/alternates"


def alternates(repo: Repo, victim: Repo, text: str = "{0}\n") -> Path:
    path = repo.path / ".git/objects/info/alternates"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.format(victim.path / ".git/objects"))
    return path


def quoted_alternates(repo: Repo, victim: Repo) -> Path:
    return alternates(repo, victim, '# a comment\n"{0}\\057."\n')


def relative_alternates(repo: Repo, _victim: Repo) -> Path:
    return alternates(repo, Repo(Path("../../../../private")))


def text_behind_the_quotes(repo: Repo, victim: Repo) -> Path:
    """git takes what follows the second quote, and one more character, for the next entry."""
    return alternates(repo, victim, '"/nowhere" {0}\n')


def text_behind_the_path(repo: Repo, victim: Repo) -> Path:
    return alternates(repo, victim, '"{0}"/x\n')


def quotes_over_two_lines(repo: Repo, victim: Repo) -> Path:
    return alternates(repo, victim, '"/no\nwhere"\n{0}\n')


def alternates_through_a_link(repo: Repo, victim: Repo) -> Path:
    """git removes `x/..` from the text, and never follows the link."""
    (repo.path / "deep/er/still/more/of/it").mkdir(parents=True)
    (repo.path / ".git/objects/x").symlink_to("../../deep/er/still/more/of/it")
    return alternates(repo, Repo(Path("x/../../../../../private")))


def a_git_directory_around_everything(repo: Repo, victim: Repo) -> Path:
    """The archive also had files for the directory that it was unpacked in, beside other repositories."""
    outer = victim.path.parent
    forged = outer / "worktrees/x"
    forged.mkdir(parents=True)
    (outer / "HEAD").write_text("ref: refs/heads/main\n")
    for name in ("objects", "refs"):
        (outer / name).symlink_to(victim.path / ".git" / name)
    empty_git(repo)
    (forged / "gitdir").write_text(f"{repo.path}/.git\n")
    (forged / "commondir").write_text("../..\n")
    (forged / "HEAD").write_text(f"{victim.line('rev-parse', 'HEAD')}\n")
    (repo.path / ".git").write_text(f"gitdir: {forged}\n")
    return outer / "objects"


ATTACKS: dict[str, Attack] = {
    "a gitfile": gitfile,
    "the gitfile of another work tree": gitfile_of_another_worktree,
    "a link": link,
    "a link to another work tree's gitfile": link_to_another_worktrees_file,
    "commondir": commondir,
    "a forged work tree": worktree_of_nobody,
    "links for objects and refs": links_inside,
    "a link that leads through the checkout": link_through_the_checkout,
    "a link for one object": one_object,
    "a link for shallow": shallow,
    "a link for grafts": grafts,
    "alternates and a head from there": alternates_with_refs,
    "alternates": alternates,
    "alternates in quotes": quoted_alternates,
    "relative alternates": relative_alternates,
    "alternates with text behind the quotes": text_behind_the_quotes,
    "alternates with text behind the path": text_behind_the_path,
    "alternates with quotes over two lines": quotes_over_two_lines,
    "alternates through a link": alternates_through_a_link,
    "a git directory around everything": a_git_directory_around_everything,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
async def test_another_repository_is_not_read(repo: Repo, victim: Repo, tmp_path: Path, attack: Attack) -> None:
    place = attack(repo, victim)
    with pytest.raises(WorkspaceError) as caught:
        await opened(repo, tmp_path)
    name = place.relative_to(repo.path) if place.is_relative_to(repo.path) else place
    assert str(name) in str(caught.value)
    assert "does not belong to this checkout" in str(caught.value)
    assert f"--allow-git-dir {shlex.quote(str(victim.path))}" in caught.value.hint
    assert not (tmp_path / "scratch/source.git").exists()


async def test_a_list_of_places_that_is_not_read_to_its_end_is_refused(
    repo: Repo, victim: Repo, tmp_path: Path
) -> None:
    alternates(repo, victim, "#\n" * 600_000 + "{0}\n")
    with pytest.raises(WorkspaceError, match="alternates is too large"):
        await opened(repo, tmp_path)


@pytest.mark.parametrize("attack", [gitfile, link, alternates_with_refs], ids=["gitfile", "link", "alternates"])
async def test_with_a_yes_it_is(repo: Repo, victim: Repo, tmp_path: Path, attack: Attack) -> None:
    attack(repo, victim)
    source = await opened(repo, tmp_path, victim.path)
    assert source.head == victim.line("rev-parse", "HEAD")


async def opened(repo: Repo, tmp_path: Path, *git_dirs: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "scratch").mkdir()
    return await open_checkout(repo.path, history=50, scratch=tmp_path / "scratch", git_dirs=git_dirs)


def test_what_a_place_takes_from_a_third_needs_a_yes_of_its_own(repo: Repo, victim: Repo, tmp_path: Path) -> None:
    between = tmp_path / "between"
    victim.git("clone", "-q", "--bare", "--shared", ".", str(between))
    alternates(repo, Repo(between))
    (repo.path / ".git/objects/info/alternates").write_text(f"{between}/objects\n")
    assert [place.directory for place in outside_places(repo.path)] == [between]
    assert [place.directory for place in outside_places(repo.path, [between])] == [victim.path / ".git"]
    assert outside_places(repo.path, [between, victim.path]) == ()


def test_alternates_of_a_work_trees_repository_need_a_yes(repo: Repo, victim: Repo, tmp_path: Path) -> None:
    alternates(repo, victim)
    repo.git("worktree", "add", "-q", str(tmp_path / "tree"))
    assert [place.directory for place in outside_places(tmp_path / "tree")] == [victim.path / ".git"]


def test_what_no_local_git_reads_is_left_alone(repo: Repo, victim: Repo) -> None:
    (repo.path / ".git/objects/info").mkdir(exist_ok=True)
    (repo.path / ".git/objects/info/http-alternates").write_text(f"{victim.path}/.git/objects\n")
    (repo.path / ".git/objects/info/alternates").write_text("/nowhere/objects\n\n# comment\n")
    for name in ("hooks", "logs"):
        if (repo.path / ".git" / name).exists():
            (repo.path / ".git" / name).rename(repo.path.parent / name)
        (repo.path / ".git" / name).symlink_to(victim.path)
    assert outside_places(repo.path) == ()


def plain(repo: Repo, _: Path) -> Path:
    return repo.path


def worktree(repo: Repo, where: Path) -> Path:
    repo.git("worktree", "add", "-q", str(where))
    return where


def relative_worktree(repo: Repo, where: Path) -> Path:
    """As git 2.48 writes them with `worktree.useRelativePaths`."""
    worktree(repo, where)
    inside = repo.path / ".git/worktrees" / where.name
    (inside / "gitdir").write_text("../../../../../tree/.git\n")
    (where / ".git").write_text(f"gitdir: {os.path.relpath(inside, where)}\n")
    assert Repo(where).line("rev-parse", "HEAD") == repo.line("rev-parse", "HEAD")
    return where


def submodule(repo: Repo, where: Path) -> Path:
    outer = new_repo(where, {"o": ("file", b"o")})
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.path), "sub")
    return where / "sub"


def sparse_submodule(repo: Repo, where: Path) -> Path:
    """`core.worktree` moves into `config.worktree`."""
    inner = submodule(repo, where)
    Repo(inner).git("sparse-checkout", "set", "--cone")
    return inner


def worktree_of_a_submodule(repo: Repo, where: Path) -> Path:
    inner = submodule(repo, where)
    Repo(inner).git("worktree", "add", "-q", str(where.parent / "deep"))
    return where.parent / "deep"


def through_a_linked_directory(repo: Repo, where: Path) -> Path:
    worktree(repo, where)
    (where.parent / "other way").symlink_to(where)
    return where.parent / "other way"


def head_as_a_link(repo: Repo, _: Path) -> Path:
    (repo.path / ".git/HEAD").unlink()
    (repo.path / ".git/HEAD").symlink_to("refs/heads/main")
    return repo.path


def own_store(repo: Repo, _: Path) -> Path:
    """Inside of the checkout everything may lead everywhere."""
    (repo.path / ".git").rename(repo.path / ".real")
    (repo.path / ".git").write_text("gitdir: .real\n")
    return repo.path


def hard_links(repo: Repo, where: Path) -> Path:
    repo.git("clone", "-q", "--local", str(repo.path), str(where))
    return where


@pytest.mark.family(5)
@pytest.mark.parametrize(
    "form",
    [
        plain,
        worktree,
        relative_worktree,
        submodule,
        sparse_submodule,
        worktree_of_a_submodule,
        through_a_linked_directory,
        head_as_a_link,
        own_store,
        hard_links,
    ],
)
async def test_every_ordinary_checkout_needs_no_yes(
    repo: Repo, tmp_path: Path, form: Callable[[Repo, Path], Path]
) -> None:
    where = form(repo, tmp_path / "tree")
    assert outside_places(where) == ()
    assert (await opened(Repo(where), tmp_path)).head == repo.line("rev-parse", "HEAD")


@pytest.mark.parametrize("option", ["--shared", "--reference", "--separate-git-dir"])
async def test_clones_that_lean_on_another_directory_get_the_option(repo: Repo, tmp_path: Path, option: str) -> None:
    where, value = tmp_path / "clone", {"--shared": [], "--reference": [str(repo.path)]}
    repo.git("clone", "-q", option, *value.get(option, [str(tmp_path / "sep.git")]), f"file://{repo.path}", str(where))
    directory = tmp_path / "sep.git" if option == "--separate-git-dir" else repo.path / ".git"
    if option == "--shared":
        Repo(where).git("-C", str(tmp_path), "clone", "-q", "-s", str(repo.path), "shared")
        where = tmp_path / "shared"
    assert [place.directory for place in outside_places(where)] == [directory]
    assert (await opened(Repo(where), tmp_path, directory)).head == repo.line("rev-parse", "HEAD")


@pytest.mark.parametrize("content", [b"", b"\0", b"gitdir: /\0x\n", b"gitdir: \n", b"nonsense\n", b"\xff" * 9])
def test_a_broken_gitfile_is_an_error_and_no_traceback(repo: Repo, content: bytes) -> None:
    empty_git(repo).write_bytes(content)
    outside_places(repo.path)


def test_links_in_a_circle_end(repo: Repo) -> None:
    (repo.path / ".git/circle").symlink_to("circle")
    (repo.path / ".git/refs/up").symlink_to("..")
    (repo.path / ".git/objects/info").mkdir(exist_ok=True)
    (repo.path / ".git/objects/info/alternates").write_text(f"{repo.path}/.git/objects\n")
    assert outside_places(repo.path) == ()


async def test_a_directory_that_is_reached_by_a_link_is_looked_at_as_well(
    repo: Repo, victim: Repo, tmp_path: Path
) -> None:
    alternates(repo, victim)
    (repo.path / "sub").mkdir()
    (tmp_path / "way").symlink_to(repo.path / "sub")
    with pytest.raises(WorkspaceError, match="does not belong"):
        await opened(Repo(tmp_path / "way"), tmp_path)


@pytest.mark.parametrize("kind", ["directory", "file"])
async def test_a_git_that_is_no_repository_does_not_open_the_one_around(
    victim: Repo, tmp_path: Path, kind: str
) -> None:
    inside = victim.path / "download"
    inside.mkdir()
    if kind == "directory":
        (inside / ".git").mkdir()
    else:
        (inside / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(WorkspaceError) as caught:
        await opened(Repo(inside), tmp_path)
    assert not (tmp_path / "scratch/source.git").exists()
    assert kind == "file" or f"--repo {victim.path}" in caught.value.hint


async def test_a_bare_repository_is_no_checkout(repo: Repo, victim: Repo, tmp_path: Path) -> None:
    """Not even one that calls another directory its work tree."""
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare = Repo(tmp_path / "bare")
    with pytest.raises(WorkspaceError, match="bare repository"):
        await opened(bare, tmp_path)
    (tmp_path / "scratch").rmdir()
    for key, value in {"core.bare": "false", "core.worktree": str(victim.path)}.items():
        bare.git("config", key, value)
    with pytest.raises(WorkspaceError, match=r"another directory's|inside a .git"):
        await opened(bare, tmp_path)

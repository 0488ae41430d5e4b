"""Patches from anywhere: what may be applied is applied, everything else is refused and kept."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from flue_ci.core.changes import ChangedFile, ChangeSet
from flue_ci.core.errors import ChangesRefused
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.entry_rules import PatchLimits
from flue_ci.workspace.verify import entries_digest, verify_patch
from tests.support.patches import MODIFY, added, binary, encoded, gitlink, link, varint
from tests.support.repos import EVERY_KIND, Repo, common_packs, new_repo, new_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The same for all: verifying changes nothing of it but adds objects."""
    return asyncio.run(new_source(tmp_path_factory.mktemp("verify"), EVERY_KIND))[1]


CORPUS: dict[str, tuple[bytes, str]] = {
    "parent directory": (added("../x"), "invalid path"),
    "parent in the middle": (added("a/../../x"), "invalid path"),
    "absolute": (added("/etc/x"), "invalid path|git refuses"),
    "dot git": (added(".git/config"), "invalid path"),
    "nested dot git": (added("a/.git/hooks/x"), "invalid path"),
    "upper case": (added(".GIT/config"), "invalid path"),
    "mixed case": (added("sub/.gIt/config"), "invalid path"),
    "through a new link": (link("out", "dir with space") + added("out/x"), "beyond a symbolic link"),
    "through a link of the base": (added("to-dir/x"), "beyond a symbolic link"),
    "wrong context": (MODIFY.replace(b" one", b" eins"), "does not apply"),
    "line ends converted": (MODIFY.replace(b"\n", b"\r\n"), "git refuses"),
    "garbage": (b"\x00\xff" * 1000, "not a patch"),
    "text": (b"please merge\n", "not a patch"),
    "text before a patch": (b"hello\n" + MODIFY, "not a patch"),
    "a patch of another kind": (b"--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n", "not a patch"),
    "cut inside a hunk": (MODIFY[:-8], "corrupt patch"),
    "cut inside a header": (MODIFY[:40], "git refuses"),
    "a header without end": (b"diff --git " + b"a" * 100_000, "git refuses"),
    "an impossible mode": (added("x", mode="104644x"), "git refuses|mode 104644x"),
    "a directory as a file": (added("x", mode="040000") + MODIFY, "mode 040000"),
    "numbers out of range": (MODIFY.replace(b"-1,3", b"-1,99999999999999999999"), "git refuses"),
    "a file that exists": (added("plain.txt"), "already exists"),
    "a file below a file": (added("plain.txt/x"), "git refuses"),
    "a deletion of what is not there": (
        b"diff --git a/no b/no\ndeleted file mode 100644\n--- a/no\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
        "git refuses",
    ),
    "a binary patch without data": (
        b"diff --git a/picture.bin b/picture.bin\nindex 1111111..2222222 100644\n"
        b"Binary files a/picture.bin and b/picture.bin differ\n",
        "git refuses",
    ),
    "a broken binary patch": (binary("x", 1000).replace(b"literal 1000\n", b"literal 1000\n~"), "git refuses"),
    "a binary patch of another length": (binary("x", 1000).replace(b"literal 1000", b"literal 999"), "git refuses"),
}

# One entry that breaks a rule.
BAD_ENTRIES: dict[str, tuple[bytes, str]] = {
    "short name": (added("git~1/config"), r"\.git directory"),
    "stream": (added(".git::$INDEX_ALLOCATION/config"), r"\.git directory"),
    "trailing dot": (added(".git./config"), r"\.git directory"),
    "zero width": (added(".g\u200cit/config"), r"\.git directory"),
    "short name of a higher number": (added("git~2/config"), r"\.git directory"),
    "a link out": (link("l", "../x"), "outside of the repository"),
    "a deep link out": (link("a/b/l", "../../../x"), "outside of the repository"),
    "an absolute link": (link("l", "/etc/passwd"), "not relative"),
    "a link for Windows": (link("l", "..\\x"), "not relative"),
    "a link to a drive": (link("l", "C:/x"), "not relative"),
    "a link into the repository's own": (link("l", ".git/hooks"), r"\.git directory"),
    "a link with a detour": (link("l", "a/../../x"), "after a name"),
    "a link to a line break": (link("l", "a\nb"), "no plain path"),
    "a link to nothing but length": (link("l", "a/" * 3000), "no path"),
    "a submodule": (gitlink("sub"), "submodule"),
    "gitmodules": (added(".gitmodules"), "submodules"),
    "gitmodules by another name": (added("GITMOD~1"), "submodules"),
    "nested gitmodules in capitals": (added("a/.GITMODULES"), "submodules"),
    "newline in a name": (added("", quoted="a\\nb"), "control characters"),
    "escape in a name": (added("", quoted="a\\033[1mb"), "control characters"),
    "invalid UTF-8": (added("", quoted="a\\351b"), "not UTF-8"),
    "direction marks": (added("a\u202etxt.exe"), "control characters"),
}


@pytest.mark.family(24)
@pytest.mark.parametrize("name", CORPUS)
async def test_a_hostile_or_broken_patch_is_refused_and_kept(source: Source, name: str) -> None:
    patch, reason = CORPUS[name]
    with pytest.raises(ChangesRefused, match=reason) as caught:
        await verify_patch(source, patch)
    assert caught.value.patch == patch
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.family(10)
@pytest.mark.parametrize("name", BAD_ENTRIES)
async def test_a_bad_entry_is_left_out_and_named_and_costs_nothing_else(source: Source, name: str) -> None:
    patch, reason = BAD_ENTRIES[name]
    honest = await verify_patch(source, MODIFY + added("new dir/ü.txt", b"a\nb\n"))
    changes = await verify_patch(source, MODIFY + patch + added("new dir/ü.txt", b"a\nb\n"))
    assert replace(changes, notes=()) == honest
    (note,) = changes.notes
    assert re.search(f": left out of the changes, because .*{reason}", note)
    assert note.isprintable()
    alone = await verify_patch(source, patch)
    assert (alone.files, alone.patch, alone.tree) == ((), b"", source.tree)


async def test_a_good_patch_gives_files_counts_and_a_patch_of_our_own(source: Source) -> None:
    changes = await verify_patch(source, MODIFY + added("new dir/ü.txt", b"a\nb\n"))
    assert changes.files == (
        ChangedFile(path="new dir/ü.txt", kind="added", added=2),
        ChangedFile(path="plain.txt", kind="modified", added=1, deleted=1),
    )
    assert b"index " in changes.patch
    assert (await verify_patch(source, changes.patch)) == changes


async def test_what_the_base_calls_generated_is_noted_and_what_the_patch_calls_so_is_not(tmp_path: Path) -> None:
    attributes = "[attr]made linguist-generated\n*.snap made\napi/** linguist-generated=true\n"
    attributes += "kept.lock -linguist-generated\n"
    inner = "*.txt linguist-generated=false\n*.py linguist-generated\n"
    files = {".gitattributes": attributes, "api/.gitattributes": inner, "plain.txt": "a\n"}
    repo = new_repo(tmp_path / "repo", {name: ("file", text.encode()) for name, text in files.items()})
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    names = ("api/a.c", "api/a.txt", "api/sub/b.py", "kept.lock", "other/x.snap", "src/a.py", "src/wild.py")
    patch = b"".join(map(added, names)) + added("src/.gitattributes", b"* linguist-generated\n")
    changes = await verify_patch(source, patch)
    values = {file.path: file.generated for file in changes.files}
    assert [values[name] for name in names] == [True, False, True, False, True, None, None]


@pytest.mark.parametrize("folder", ["a\nb", "a\rb", "a\x0bb", "a b"])
async def test_generated_files_are_found_beside_directories_of_odd_names(tmp_path: Path, folder: str) -> None:
    files = {".gitattributes": "*.txt linguist-generated\n", f"{folder}/c.txt": "one\n", f"{folder}/c.md": "one\n"}
    repo = new_repo(tmp_path / "repo", {name: ("file", text.encode()) for name, text in files.items()})
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    for name in (f"{folder}/c.txt", f"{folder}/c.md"):
        (repo.path / name).write_text("two\n")
    changes = await verify_patch(source, repo.git("diff", "--binary", "--full-index"))
    assert [file.generated for file in changes.files] == [None, True]


async def test_an_empty_patch_is_no_change(source: Source) -> None:
    assert await verify_patch(source, b"") == ChangeSet(tree=source.tree)


async def test_links_inside_the_repository_are_accepted(source: Source) -> None:
    patch = link("a/b/up", "../../plain.txt") + link("same", "./tool.sh") + link("to-nowhere", "not/there/yet")
    assert [file.path for file in (await verify_patch(source, patch)).files] == ["a/b/up", "same", "to-nowhere"]


async def test_what_a_patch_does_counts_and_not_what_its_header_says(source: Source) -> None:
    changes = await verify_patch(source, MODIFY.replace(b"+++ b/plain.txt", b"+++ b/tool.sh"))
    assert [(file.path, file.kind) for file in changes.files] == [("plain.txt", "deleted"), ("tool.sh", "modified")]


async def test_a_mode_beyond_gits_own_becomes_an_ordinary_one(source: Source) -> None:
    changes = await verify_patch(source, added("x", mode="100777"))
    assert b"new file mode 100755" in changes.patch


async def test_moving_a_link_so_that_it_leads_out_leaves_it_where_it_was(source: Source) -> None:
    patch = b"diff --git a/dir with space/up b/up\nsimilarity index 100%\nrename from dir with space/up\nrename to up\n"
    changes = await verify_patch(source, MODIFY + patch)
    assert [file.path for file in changes.files] == ["plain.txt"]
    assert "outside of the repository" in changes.notes[0]


async def test_a_submodule_of_the_base_can_be_neither_changed_nor_removed(tmp_path: Path) -> None:
    inner = new_repo(tmp_path / "inner", {"i": ("file", b"i")})
    repo = new_repo(tmp_path / "repo", {"o": ("file", b"o")})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    repo.commit("submodule")
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    commit = inner.line("rev-parse", "HEAD").encode()
    head = b"diff --git a/sub b/sub\n"
    old = b"-Subproject commit " + commit + b"\n"
    changed = b"--- a/sub\n+++ b/sub\n@@ -1 +1 @@\n" + old + b"+Subproject commit " + b"1" * 40 + b"\n"
    removed = b"deleted file mode 160000\n--- a/sub\n+++ /dev/null\n@@ -1 +0,0 @@\n" + old
    for patch in (
        head + b"index " + commit[:7] + b".." + b"1" * 7 + b" 160000\n" + changed,
        head + removed + added("sub/x"),
    ):
        changes = await verify_patch(source, patch)
        assert (changes.files, changes.tree) == ((), source.tree)
        assert changes.notes[0].startswith("sub: left out of the changes, because it is a repository inside")
    assert changes.notes[1] == "sub/x: left out of the changes, because sub was left out"


@pytest.mark.parametrize(
    ("limits", "patch", "stays", "note"),
    [
        (PatchLimits(files=1), added("a") + MODIFY, "plain.txt", "a: left .* more than 1 files changed"),
        (PatchLimits(file_bytes=10), added("a", b"x" * 20) + added("b"), "b", "a: left .* it has 20 B, more than 10 B"),
        (PatchLimits(total_bytes=30), added("a", b"x" * 20) + added("b", b"y" * 20), "a", "b: left .* more than 30 B"),
        (PatchLimits(patch_bytes=470), added("a", b"z") + added("b", b"z\n" * 90), "a", "b: left .* together"),
    ],
    ids=["files", "file", "total", "patch"],
)
async def test_what_is_too_much_is_left_out_new_files_first(
    source: Source, limits: PatchLimits, patch: bytes, stays: str, note: str
) -> None:
    changes = await verify_patch(source, patch, limits=limits)
    assert [file.path for file in changes.files] == [stays]
    assert re.match(note, changes.notes[0])
    assert len(changes.patch) <= limits.patch_bytes


async def test_a_patch_that_is_too_large_as_it_comes_is_refused(source: Source) -> None:
    with pytest.raises(ChangesRefused, match="a patch of 105 B, more than 50 B"):
        await verify_patch(source, MODIFY, limits=PatchLimits(patch_bytes=50))


async def test_a_small_patch_that_unpacks_to_gigabytes_is_not_taken(source: Source) -> None:
    bomb = binary("zeros", 20_000_000)
    assert len(bomb) < 40_000
    changes = await verify_patch(source, bomb + MODIFY, limits=PatchLimits(file_bytes=10_000_000))
    assert [file.path for file in changes.files] == ["plain.txt"]
    assert "zeros: left out of the changes, because it has 20.0 MB, more than 10" in changes.notes[0]
    many = b"".join(bomb.replace(b"zeros", b"zeros%d" % number) for number in range(300))
    with pytest.raises(ChangesRefused, match=r"the binary files of the patch have 6\.0 GB when unpacked"):
        await verify_patch(source, many)


async def test_a_small_difference_that_unpacks_to_gigabytes_runs_out_of_memory_and_not_ours(
    source: Source,
) -> None:
    size = len(EVERY_KIND["picture.bin"][1])
    copies = 4_000_000_000 // size
    delta = varint(size) + varint(copies * size) + (b"\xb0" + size.to_bytes(2, "little")) * copies
    blob = (await source.git.run("rev-parse", "HEAD:picture.bin")).line
    header = f"diff --git a/picture.bin b/picture.bin\nindex {blob}..{'1' * 40} 100644\nGIT binary patch\n"
    patch = header.encode() + f"delta {len(delta)}\n".encode() + encoded(delta)
    with pytest.raises(ChangesRefused, match="git refuses the patch"):
        await verify_patch(source, patch)


def pack_main_and_other_apart(repo: Repo) -> None:
    """So that the pack of the current commit can be copied as it is, next to one that must not be."""
    for revisions in (b"main\n", b"other\n^main\n"):
        repo.git("pack-objects", "--revs", ".git/objects/pack/pack", stdin=revisions)
    repo.git("prune-packed")


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "loose"])
async def test_a_patch_cannot_name_objects_of_the_checkout_that_do_not_belong_to_the_base(
    tmp_path: Path, packed: bool
) -> None:
    repo = new_repo(tmp_path / "repo", EVERY_KIND)
    repo.git("switch", "-q", "-c", "other")
    repo.put("secret", b"\x00only on another branch\n")
    repo.commit("secret")
    secret = repo.line("rev-parse", "HEAD:secret")
    repo.git("switch", "-q", "main")
    if packed:
        pack_main_and_other_apart(repo)
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    assert bool(common_packs(repo, source)) == packed
    patch = binary("stolen", 3, secret)
    with pytest.raises(ChangesRefused, match="git refuses"):
        await verify_patch(source, patch)


async def test_a_patch_with_another_result_than_expected_is_refused(source: Source) -> None:
    with pytest.raises(ChangesRefused, match="does not lead to the files"):
        await verify_patch(source, MODIFY, digest=entries_digest([]))

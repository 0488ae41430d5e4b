"""Patches that an attacker would send: each is refused, or does exactly what it says and nothing more.

`test_verify` has those that break one rule of ours or of git; here are the ones that combine, contradict or repeat.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.changes import ChangeSet
from flue_ci.core.errors import ChangesRefused, WorkspaceError
from flue_ci.core.ports import ExecResult
from flue_ci.git.command import read_objects
from flue_ci.git.source import Source, open_checkout
from flue_ci.workspace.collect import collect
from flue_ci.workspace.entry_rules import PatchLimits
from flue_ci.workspace.upload import Workspace, upload
from flue_ci.workspace.verify import verify_patch
from tests.support.patches import MODIFY, added, binary, encoded, link
from tests.support.repos import EVERY_KIND, Tree, common_packs, new_repo, open_box, read_tree, shell

BASE: Tree = EVERY_KIND | {"grü/x": ("file", b"x\n")}
Delta = Mapping[str, tuple[str, bytes] | None]  # what is different afterwards; None: gone


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def source(directory: Path) -> Source:
    """The same for all: verifying changes nothing of it but adds objects."""
    (directory / "scratch").mkdir()
    repo = new_repo(directory / "repo", BASE)
    return asyncio.run(open_checkout(repo.path, history=1, scratch=directory / "scratch"))


def removed(path: str) -> bytes:
    """A patch that deletes a file of the base."""
    lines = BASE[path][1].splitlines(keepends=True)
    mode = {"file": "100644", "exec": "100755", "link": "120000"}[BASE[path][0]]
    tail = b"" if lines[-1].endswith(b"\n") else b"\n\\ No newline at end of file\n"
    header = f"diff --git a/{path} b/{path}\ndeleted file mode {mode}\n--- a/{path}\n+++ /dev/null\n"
    header += f"@@ -1,{len(lines)} +0,0 @@\n"
    return header.encode() + b"".join(b"-" + line for line in lines) + tail


def moved(old: str, new: str, how: str = "rename", score: str = "100%") -> bytes:
    """`old` and `new` as they stand in the header, quotes included where there are any."""
    sides = [
        f'"{side}/{name[1:]}' if name.startswith('"') else f"{side}/{name}" for side, name in (("a", old), ("b", new))
    ]
    return f"diff --git {' '.join(sides)}\nsimilarity index {score}\n{how} from {old}\n{how} to {new}\n".encode()


def mode(path: str, old: str, new: str) -> bytes:
    return f"diff --git a/{path} b/{path}\nold mode {old}\nnew mode {new}\n".encode()


def plain_change(old: bytes, new: bytes, path: str = "plain.txt") -> bytes:
    """One line of `plain.txt` as its second."""
    name = path.encode()
    return b"diff --git a/%s b/%s\n--- a/%s\n+++ b/%s\n@@ -1,3 +1,3 @@\n one\n-%s\n+%s\n three\n" % (
        name,
        name,
        name,
        name,
        old,
        new,
    )


PLAIN = BASE["plain.txt"]
CHANGED = ("file", b"one\nTWO\nthree\n")
X = ("file", b"x\n")

CASES: dict[str, tuple[bytes, Delta | str]] = {
    # Names
    "a rename out of the repository": (moved("plain.txt", "../x"), "invalid path"),
    "a rename into .git": (moved("plain.txt", ".git/hooks/pre-commit"), "invalid path"),
    "a rename to .gitmodules": (moved("plain.txt", ".gitmodules"), "submodules"),
    "a rename with quoted names": (
        moved('"tab\\there"', '"n\\303\\266w \\"q\\".txt"'),
        {"tab\there": None, 'nöw "q".txt': BASE["tab\there"]},
    ),
    "a rename to a name with a tab": (moved("plain.txt", '"a\\tb"'), "control characters"),
    "a rename whose header says otherwise": (
        b"diff --git a/plain.txt b/plain.txt\nrename from plain.txt\nrename to other.txt\n",
        {"plain.txt": None, "other.txt": PLAIN},
    ),
    "a rename of what is not there": (moved("missing", "x"), "does not exist"),
    "a rename onto a file": (moved("plain.txt", "tool.sh"), "already exists"),
    "a copy": (moved("tool.sh", "dir with space/tool", "copy"), {"dir with space/tool": BASE["tool.sh"]}),
    "a copy onto a file": (moved("plain.txt", "tool.sh", "copy"), "already exists"),
    "a copy out of the repository": (moved("plain.txt", "../x", "copy"), "invalid path"),
    "a copy from outside": (moved("../../etc/passwd", "x", "copy"), "does not exist"),
    "a copy of .git": (moved(".git/config", "x", "copy"), "does not exist"),
    "two renames of one file": (
        moved("plain.txt", "a") + moved("plain.txt", "b"),
        {"plain.txt": None, "a": PLAIN, "b": PLAIN},
    ),
    "two renames that change places": (
        moved("plain.txt", "tool.sh") + moved("tool.sh", "plain.txt"),
        {"plain.txt": BASE["tool.sh"], "tool.sh": PLAIN},
    ),
    "a name of Windows that climbs": (added("", quoted="a\\\\..\\\\..\\\\x"), "not a plain relative one"),
    "a name of Windows in .git": (added("", quoted="a\\\\.git\\\\config"), r"\.git directory"),
    "a backslash as in units of systemd": (added("", quoted="dev\\\\x2ddisk.mount"), {"dev\\x2ddisk.mount": X}),
    "a stream of a file": (added("plain.txt:hidden"), {"plain.txt:hidden": X}),
    "gitmodules by its hashed short name": (added("gi7eb~12"), "submodules"),
    "gitmodules by a stream": (added(".gitmodules::$DATA"), "submodules"),
    "gitmodules with a zero width": (added(".git\u200cmodules"), "submodules"),
    "a name that begins like an option": (added("--upload-pack=touch x"), {"--upload-pack=touch x": X}),
    "a name with a NUL": (added("a").replace(b"b/a", b"b/a\0b"), {"a": X}),
    # One path, several entries
    "a file changed twice": (plain_change(b"two", b"2") + plain_change(b"2", b"dos"), "twice"),
    "a file changed twice from the same": (plain_change(b"two", b"2") + plain_change(b"two", b"dos"), "twice"),
    "a file added twice": (added("new") + added("new"), "twice"),
    "a file added and changed": (added("new", PLAIN[1]) + plain_change(b"two", b"dos", "new"), "twice"),
    "a file deleted and made again": (
        removed("plain.txt") + added("plain.txt", b"again\n"),
        {"plain.txt": ("file", b"again\n")},
    ),
    "a file made and deleted": (added("new", PLAIN[1]) + removed("plain.txt").replace(b"plain.txt", b"new"), "twice"),
    "a file deleted twice": (removed("plain.txt") * 2, "twice"),
    "a deletion that leaves lines": (
        removed("plain.txt").replace(b"-three\n", b" three\n").replace(b"+0,0", b"+1,1"),
        "still has contents",
    ),
    "a file added twice, named in two ways": (added("new") + added("", quoted="new"), {"new": X}),
    # Files, directories and links in each other's place
    "a file that becomes a directory": (
        removed("plain.txt") + added("plain.txt/x"),
        {"plain.txt": None, "plain.txt/x": X},
    ),
    "a directory before its file is gone": (
        added("plain.txt/x") + removed("plain.txt"),
        {"plain.txt": None, "plain.txt/x": X},
    ),
    "a directory that becomes a file": (removed("grü/x") + added("grü"), {"grü/x": None, "grü": X}),
    "a directory that becomes a link": (
        removed("grü/x") + link("grü", "dir with space"),
        {"grü/x": None, "grü": ("link", b"dir with space")},
    ),
    "a directory that is still there becomes a link": (link("grü", "dir with space"), "git refuses"),
    "a link that becomes a directory": (removed("to-dir") + added("to-dir/x"), {"to-dir": None, "to-dir/x": X}),
    "a file that becomes a link": (
        removed("plain.txt") + link("plain.txt", "tool.sh"),
        {"plain.txt": ("link", b"tool.sh")},
    ),
    "a link led elsewhere, and through it": (
        removed("link") + link("link", "grü") + added("link/y"),
        "beyond a symbolic link",
    ),
    "a chain of links that stays inside": (
        link("a", "b") + link("b", "c/d") + link("c", "grü"),
        {"a": ("link", b"b"), "b": ("link", b"c/d"), "c": ("link", "grü".encode())},
    ),
    "a chain of links that leaves": (link("a", "b") + link("b", "c") + link("c", "../x"), "outside of the repository"),
    "a chain of links that climbs": (link("d/up", "..") + link("e", "d/up/../x"), "after a name"),
    "through the second link of a chain": (link("a", "grü") + link("b", "a") + added("b/y"), "beyond a symbolic link"),
    "a link copied to where it leaves": (moved("dir with space/up", "up", "copy"), "outside of the repository"),
    # Modes
    "setuid": (added("x", mode="104755"), {"x": ("exec", b"x\n")}),
    "writable for all": (added("x", mode="100666"), {"x": X}),
    "a file that becomes executable": (mode("plain.txt", "100644", "100755"), {"plain.txt": ("exec", PLAIN[1])}),
    "a file that becomes setuid": (mode("plain.txt", "100644", "106777"), {"plain.txt": ("exec", PLAIN[1])}),
    "a file that turns into a link as it is": (mode("no newline at end.txt", "100644", "120000"), "does not match"),
    "a link that turns into a file as it is": (mode("link", "120000", "100644"), "does not match"),
    "a file that turns into a submodule": (mode("plain.txt", "100644", "160000"), "does not match"),
    "a file that turns into a directory": (mode("plain.txt", "100644", "040000"), "mode 040000"),
    "a device": (added("x", mode="020666"), "mode 020666"),
    "a mode in the index line": (MODIFY.replace(b"\n---", b"\nindex 1111111..2222222 160000\n---", 1), "wrong type"),
    # Case and spelling
    "the same name in capitals": (added("PLAIN.TXT"), {"PLAIN.TXT": X}),
    "over a link in capitals": (added("TO-DIR/y"), "leads over to-dir"),
    "over a new link in capitals": (link("Sub", ".") + added("sub/y"), "leads over Sub"),
    "a link in capitals over a directory": (link("GRÜ", "dir with space"), "leads over GRÜ"),
    "a link composed otherwise over a directory": (link("gru\u0308", "dir with space"), "leads over gru"),
    "a link with a dot over a directory": (link("grü.", "dir with space"), "leads over"),
    "a link in capitals over a file": (link("PLAIN.txt", "tool.sh"), {"PLAIN.txt": ("link", b"tool.sh")}),
    # Form
    "line ends of Windows in what is changed": (
        b"diff --git a/crlf.txt b/crlf.txt\n--- a/crlf.txt\n+++ b/crlf.txt\n@@ -1,2 +1,2 @@\n one\r\n-two\r\n+2\r\n",
        {"crlf.txt": ("file", b"one\r\n2\r\n")},
    ),
    "line ends of Windows in a header": (added("x").replace(b"x b/x\n", b"x b/x\r\n"), {"x": X}),
    "no newline at the end": (added("x", b"a\nb"), {"x": ("file", b"a\nb")}),
    "a hunk longer than it says": (MODIFY.replace(b"+TWO\n", b"+TWO\n+more\n"), "corrupt patch"),
    "a hunk shorter than it says": (MODIFY.replace(b"+TWO\n", b""), "corrupt patch"),
    "a hunk of negative length": (MODIFY.replace(b"+1,3", b"+1,-3"), "corrupt patch"),
    "hunks in the wrong order": (MODIFY + b"@@ -1,1 +1,1 @@\n-one\n+uno\n", "does not apply"),
    "the same hunk twice": (MODIFY + MODIFY[MODIFY.index(b"@@") :], "does not apply"),
    "text after a patch": (MODIFY + b"and so on\n", {"plain.txt": CHANGED}),
    "a mail around a second patch": (
        MODIFY + b"From: Ada\nSubject: more\n\n" + added("new"),
        {"plain.txt": CHANGED, "new": X},
    ),
    "a patch without git's header after one": (MODIFY + b"--- a/../x\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n", "invalid path"),
    "a header for nothing": (b"diff --git a/plain.txt b/plain.txt\n", "git refuses"),
    "headers that disagree": (added("x").replace(b"+++ b/x", b"+++ b/y"), "inconsistent"),
    "a wrong object in the header of text": (
        MODIFY.replace(b"\n---", b"\nindex 1111111..2222222 100644\n---", 1),
        {"plain.txt": CHANGED},
    ),
    "a binary file that is added": (binary("zeros", 1000), {"zeros": ("file", bytes(1000))}),
    "a binary patch cut short": (binary("zeros", 1000)[:-40], "git refuses"),
    "a binary patch for another file": (
        b"diff --git a/picture.bin b/picture.bin\nindex %s..%s 100644\nGIT binary patch\nliteral 9\n"
        % (b"1" * 40, b"2" * 40)
        + encoded(bytes(9)),
        "does not apply",
    ),
    "a patch in a patch": (added("x.patch", added("../y")), {"x.patch": ("file", added("../y"))}),
}

# Cases of which one entry is left out, and what stays of the rest.
LEFT_OUT: dict[str, Delta] = {
    "a rename to .gitmodules": {},
    "a rename to a name with a tab": {},
    "a name of Windows that climbs": {},
    "a name of Windows in .git": {},
    "gitmodules by its hashed short name": {},
    "gitmodules by a stream": {},
    "gitmodules with a zero width": {},
    "a chain of links that leaves": {"a": ("link", b"b"), "b": ("link", b"c")},
    "a chain of links that climbs": {"d/up": ("link", b"..")},
    "a link copied to where it leaves": {},
    "over a link in capitals": {},
    "over a new link in capitals": {"Sub": ("link", b".")},
    "a link in capitals over a directory": {},
    "a link composed otherwise over a directory": {},
    "a link with a dot over a directory": {},
}
REFUSED = {name: case for name, case in CASES.items() if isinstance(case[1], str) and name not in LEFT_OUT}
EXACT = {name: case for name, case in CASES.items() if not isinstance(case[1], str)}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_does_not_stay_inside_or_contradicts_itself_is_refused(source: Source, name: str) -> None:
    patch, reason = REFUSED[name]
    with pytest.raises(ChangesRefused, match=str(reason)) as caught:
        await verify_patch(source, patch)
    assert caught.value.patch == patch
    assert caught.value.hint
    assert str(caught.value).isprintable()


def with_git(source: Source, *args: str) -> bytes:
    command = ["git", f"--git-dir={source.git_dir}", *args]
    return subprocess.run(command, capture_output=True, check=True).stdout


async def files_of(source: Source, tree: str) -> Tree:
    """A tree as git's own objects have it."""
    kinds = {"100644": "file", "100755": "exec", "120000": "link"}
    blobs = {}
    for line in filter(None, with_git(source, "ls-tree", "-r", "-z", tree).split(b"\0")):
        about, _, name = line.decode().partition("\t")
        bits, _, blob = about.split(" ")
        blobs[name] = (kinds[bits], blob)
    contents = await read_objects(source.git, [blob for _, blob in blobs.values()])
    return {name: (kind, contents[blob]) for name, (kind, blob) in blobs.items()}


def applied(changes: ChangeSet, place: Path) -> Tree:
    """The files that one gets by applying the patch that goes on from here with an ordinary git."""
    copy = new_repo(place, BASE)
    if changes.patch:
        copy.git("apply", "--binary", "--whitespace=nowarn", stdin=changes.patch)
    return read_tree(place)


@pytest.mark.family(8)
@pytest.mark.parametrize("name", LEFT_OUT)
async def test_of_what_does_not_stay_inside_the_rest_does_exactly_what_it_says(
    source: Source, tmp_path: Path, name: str
) -> None:
    patch, reason = CASES[name]
    expected = BASE | {path: entry for path, entry in LEFT_OUT[name].items() if entry is not None}
    changes = await verify_patch(source, patch)
    assert await files_of(source, changes.tree) == expected
    assert applied(changes, tmp_path / "applied") == expected
    (note,) = changes.notes
    assert re.search(f"left out of the changes, because .*{reason}", note)
    assert note.isprintable()


@pytest.mark.family(16)
@pytest.mark.parametrize("name", EXACT)
async def test_what_is_accepted_does_exactly_what_it_says(source: Source, tmp_path: Path, name: str) -> None:
    patch, delta = EXACT[name]
    assert not isinstance(delta, str)
    expected = {path: entry for path, entry in (BASE | dict(delta)).items() if entry is not None}
    changes = await verify_patch(source, patch)
    assert await files_of(source, changes.tree) == expected
    assert applied(changes, tmp_path / "applied") == expected
    assert {path for file in changes.files for path in (file.path, file.old_path) if path} == set(delta)


async def test_of_ten_thousand_files_a_thousand_are_taken(source: Source) -> None:
    patch = b"".join(b"diff --git a/m/%d b/m/%d\nnew file mode 100644\n" % (n, n) for n in range(10_000))
    changes = await verify_patch(source, patch + MODIFY, limits=PatchLimits(files=1_000))
    assert len(changes.files) == 1_000
    assert "plain.txt" in {file.path for file in changes.files}
    assert "and 8,998 more: left out of the changes, because more than 1,000 files changed" in changes.notes[0]


def test_nothing_of_all_that_changed_the_repository_or_its_surroundings(source: Source, directory: Path) -> None:
    assert sorted(path.name for path in directory.iterdir()) == ["repo", "scratch"]
    assert read_tree(directory / "repo") == BASE
    assert not list(source.git_dir.glob("verify-*"))


# Size


def peak() -> int:
    """Bytes of the highest resident size of this process since the counter was cleared."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of memory")
async def test_gigabytes_are_refused_where_they_are_without_filling_memory_here(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo", BASE)
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    async with open_box("isolated", tmp_path) as box:
        workspace = await upload(source, box)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        await shell(box, "truncate -s 2G huge; echo more >> plain.txt", workspace.root)
        changes = await collect(workspace, source, box)
        assert [file.path for file in changes.files] == ["plain.txt"]
        assert "huge: left out of the changes, because larger than 50.0 MB" in changes.notes[0]
        await shell(box, "rm huge; for n in 1 2 3 4 5 6; do truncate -s 15M part$n; done", workspace.root)
        with pytest.raises(ChangesRefused, match=r"the binary files of the patch have [\d.]+ MB when unpacked"):
            await collect(workspace, source, box, limits=PatchLimits(total_bytes=40_000_000))
        assert peak() - before < 40_000_000


# What a sandbox asks for


class Asking:
    """A sandbox whose root answers as it likes: it needs an object, and keeps what it gets."""

    def __init__(self, name: str, kept: Path) -> None:
        self._name, self._kept = name, kept

    async def exec(self, command: str, **_: object) -> ExecResult:
        labels = (b"left-out", b"bytecode", b"oversize", b"unreadable", b"crowd")
        output = b"".join(b"flue-ci-%s=0 \n" % label for label in labels) + b"flue-ci-staged=" + b"1" * 64 + b"\n"
        if self._kept.exists():
            output = b""
        return ExecResult(exit_code=0, output=output, omitted_bytes=0, timed_out=False, seconds=0.0)

    async def read(self, path: str, **_: object) -> bytes:
        return f"{self._name}\n".encode()

    async def write(self, path: str, data: Path, **_: object) -> None:
        self._kept.write_bytes(data.read_bytes())


@pytest.mark.parametrize(("wanted", "given"), [("HEAD:plain.txt", True), ("other:secret", False), ("other", False)])
async def test_a_sandbox_gets_no_object_that_did_not_travel(tmp_path: Path, wanted: str, given: bool) -> None:
    repo = new_repo(tmp_path / "repo", BASE)
    repo.git("switch", "-q", "-c", "other")
    repo.put("secret", b"only on another branch\n")
    repo.commit("secret")
    repo.git("switch", "-q", "main")
    for revisions in (b"main\n", b"other\n^main\n"):  # so that the first pack is copied as it is
        repo.git("pack-objects", "--revs", ".git/objects/pack/pack", stdin=revisions)
    repo.git("prune-packed")
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")
    assert common_packs(repo, source)
    workspace = Workspace(root="/r", store="/s", store_has_objects=False)
    box = Asking(repo.line("rev-parse", wanted), tmp_path / "kept")
    with pytest.raises(WorkspaceError):
        await collect(workspace, source, box)  # type: ignore[arg-type]
    assert (tmp_path / "kept").exists() == given


@pytest.mark.parametrize(
    "names", [b"", b"left-out=1 A", b"left-out=1 =", b"left-out=99999999999999999999 ", b"left-out=x "]
)
async def test_a_list_of_names_that_is_none_is_an_error_and_no_bug(tmp_path: Path, names: bytes) -> None:
    repo = new_repo(tmp_path / "repo", BASE)
    (tmp_path / "scratch").mkdir()
    source = await open_checkout(repo.path, history=1, scratch=tmp_path / "scratch")

    class Root(Asking):
        async def exec(self, command: str, **_: object) -> ExecResult:
            return ExecResult(exit_code=0, output=b"flue-ci-" + names + b"\nflue-ci-staged=" + b"1" * 64 + b"\n")

    with pytest.raises(WorkspaceError, match="printed no names"):
        await collect(
            Workspace(root="/r", store="/s", store_has_objects=False),
            source,
            Root("x", tmp_path / "kept"),  # type: ignore[arg-type]
        )


# Whatever comes


PIECES = [patch for patch, _ in CASES.values() if len(patch) < 2000]
PIECES += [b"\n", b"\0", b"-- \n2.39\n", b"\\ No newline at end of file\n"]
SPLINTERS = [b"", b"\n", b"/", b"..", b"a/", b'"', b"\\", b"-", b"+", b"1", b"120000", b"0" * 40]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Patches put together, with bytes changed, doubled and left out."""
    patch = b"".join(draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(patch)))
        end = draw(st.integers(at, min(at + 30, len(patch))))
        patch = patch[:at] + draw(st.sampled_from([*SPLINTERS, patch[at:end] * 2])) + patch[end:]
    return patch


@given(mangled())
def test_any_patch_is_refused_or_gives_one_that_leads_to_the_same(source: Source, patch: bytes) -> None:
    async def verify() -> None:
        try:
            changes = await verify_patch(source, patch)
        except ChangesRefused:
            return
        again = await verify_patch(source, changes.patch)
        assert (again.tree, again.files) == (changes.tree, changes.files)

    asyncio.run(verify())

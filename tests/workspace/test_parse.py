"""What git prints is read exactly, and the rules for paths and links hold on their own."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.errors import WorkspaceError
from flue_ci.git.history import cut_points
from flue_ci.git.snapshot import parse_status
from flue_ci.workspace.verify import display_name, link_problem, parse_diff, path_problem

OLD, NEW = "1" * 40, "2" * 40


def test_each_status_letter_is_read_with_its_names() -> None:
    out = (
        f":000000 100644 {OLD} {NEW} A\0new\0"
        f":100644 000000 {OLD} {NEW} D\0tab\there\0"
        f":100644 100755 {OLD} {NEW} M\0ü\0"
        f":100644 120000 {OLD} {NEW} T\0l\0"
        f":100644 100644 {OLD} {NEW} R086\0old name\0new name\0"
        f":100644 100644 {OLD} {NEW} C100\0from\0to\0"
        "1\t0\tnew\0"
        "0\t7\ttab\there\0"
        "-\t-\tü\0"
        "1\t1\tl\0"
        "2\t3\t\0old name\0new name\0"
        "0\t0\t\0from\0to\0"
    ).encode()
    entries, counts = parse_diff(out)
    assert [(entry.status, entry.path, entry.old_path) for entry in entries] == [
        ("A", "new", None),
        ("D", "tab\there", None),
        ("M", "ü", None),
        ("T", "l", None),
        ("R", "new name", "old name"),
        ("C", "to", "from"),
    ]
    assert (entries[2].old_mode, entries[2].mode, entries[2].blob) == ("100644", "100755", NEW)
    assert counts == {
        "new": (1, 0, False),
        "tab\there": (0, 7, False),
        "ü": (0, 0, True),
        "l": (1, 1, False),
        "new name": (2, 3, False),
        "to": (0, 0, False),
    }


@given(
    st.lists(
        st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name), min_size=1, max_size=5, unique=True
    )
)
def test_any_bytes_may_be_a_name(names: list[bytes]) -> None:
    raw = b"".join(f":000000 100644 {OLD} {NEW} A".encode() + b"\0" + name + b"\0" for name in names)
    numbers = b"".join(b"3\t0\t" + name + b"\0" for name in names)
    entries, counts = parse_diff(raw + numbers)
    assert len(entries) == len(names)
    assert all(counts[entry.path] == (3, 0, False) for entry in entries)


def test_nothing_is_nothing() -> None:
    assert parse_diff(b"") == ([], {})


@pytest.mark.parametrize(
    "path",
    [
        "a", "a/b c/ü", ".github/x", ".gitignore", ".gitattributes", "git", "x.git/y", "a.git",
        "..a", "a..", ".gitmodulesx",
        "git~x", "日本語", "emoji 👩\u200d💻", "e\u0301", "a:b", "gitmodules",
    ],
)  # fmt: skip
def test_ordinary_paths_may_change(path: str) -> None:
    assert path_problem(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "../a", "a/../b", "/a", "a//b", "./a", "a/.", ".git", ".git/x", "a/.git", ".GIT/x",
        ".git /x", ".git./x", ".git. ./x", "git~1/x",
        "GIT~2/x", ".git::$DATA", ".git:x/y", ".g\u200cit/x", ".git\ufeff/x", "a\nb", "a\rb",
        "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b",
        "a\u202eb", "a\u2066b", "a\udcffb", ".gitmodules", "x/.gitModules", "gitmod~1", "GI7EBA~1",
    ],
)  # fmt: skip
def test_paths_that_mean_something_else_somewhere_may_not_change(path: str) -> None:
    problem = path_problem(path)
    assert problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", b"a"),
        ("l", b"a/b"),
        ("l", b"."),
        ("l", b"./a/"),
        ("a/l", b"../b"),
        ("a/b/l", b"../.."),
        ("a/l", b"./../b"),
        ("l", b"..a"),
    ],
)
def test_links_that_stay_inside_are_accepted(path: str, target: bytes) -> None:
    assert link_problem(path, target) is None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", b""), ("l", b"/"), ("l", b"/etc"), ("l", b".."), ("l", b"../x"), ("a/l", b"../../x"),
        ("a/b/l", b"./.././../../x"),
        ("l", b"a/.."), ("a/l", b"b/../../.."), ("l", b".git"), ("a/l", b"../.GIT/x"), ("l",
        b"a\\b"), ("l", b"c:x"), ("l", b"a\nb"),
        ("l", b"\xff"), ("l", b"a\0b"),
    ],
)  # fmt: skip
def test_links_that_may_lead_out_are_not(path: str, target: bytes) -> None:
    assert link_problem(path, target)


@given(st.text(max_size=300))
def test_a_shown_name_is_one_line_without_controls(name: str) -> None:
    line = display_name(name)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in line)


def test_a_shown_name_tells_what_is_odd_about_it() -> None:
    assert display_name("plain ü") == "plain ü"
    assert display_name("a\nb\udce9") == r"a\nb\\udce9"


def test_status_is_read_by_what_it_means_for_the_copy() -> None:
    blob = "3" * 40

    def entry(flags: str, modes: str, path: str) -> bytes:
        return f"1 {flags} N... {modes} {OLD} {blob} {path}\0".encode()

    out = (
        entry(".M", "100644 100644 100644", "content only")
        + entry(".M", "100644 100644 100755", "mode too")
        + entry("M.", "100644 100644 100644", "staged")
        + entry("AM", "000000 100644 100644", "staged and changed")
        + entry("D.", "100644 000000 000000", "removed")
        + entry(".D", "100644 100644 000000", "gone")
        + entry(".A", "000000 000000 100644", "announced")
        + entry("A.", "000000 160000 160000", "module")
        + b"? new file\0? nested/\0"
    )
    status = parse_status(out)
    assert status.changed == {
        b"content only": blob,
        b"mode too": "",
        b"staged and changed": blob,
        b"gone": "",
        b"announced": "",
    }
    assert status.staged == (blob, blob)
    assert status.any_staged
    assert status.intent_to_add == (b"announced",)
    assert (status.untracked, status.nested) == ((b"new file",), (b"nested/",))


def test_an_unmerged_entry_is_an_error_with_its_name() -> None:
    with pytest.raises(WorkspaceError, match=r"^a b is in an unresolved merge conflict$"):
        parse_status(f"u UU N... 100644 100644 100644 100644 {OLD} {OLD} {OLD} a b\0".encode())


HISTORY = {"e": ("d", "y"), "d": ("c",), "y": ("x",), "x": ("c",), "c": ("b",), "b": ("a",), "a": ()}


@pytest.mark.parametrize(
    ("depth", "points"),
    [(1, "e"), (2, "dy"), (3, "cx"), (4, "b"), (5, ""), (9, "")],
)
def test_history_is_cut_by_generations(depth: int, points: str) -> None:
    assert cut_points(HISTORY, "e", depth, frozenset()) == frozenset(points)


def test_a_history_that_was_cut_before_stays_cut_there() -> None:
    known = HISTORY | {"c": ()}
    assert cut_points(known, "e", 9, frozenset("c")) == frozenset("c")
    assert cut_points(known, "e", 2, frozenset("c")) == frozenset("dy")


def test_a_history_that_is_not_known_far_enough_is_not_guessed() -> None:
    assert cut_points({"e": ("d", "y"), "d": ("c",)}, "e", 3, frozenset()) is None

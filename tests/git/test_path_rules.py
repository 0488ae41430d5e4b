"""Which names and links may change, and how a name is printed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.git.path_rules import display_name, link_problem, path_problem


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


IGNORED = "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """`.git` as some file system takes it."""
    name = "".join(
        draw(st.sampled_from([letter.lower(), letter.upper()]))
        for letter in draw(st.sampled_from([".git", "git~1", "git~9"]))
    )
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(name)))
        name = name[:at] + draw(st.sampled_from(IGNORED)) + name[at:]
    name += draw(st.sampled_from(["", ".", " ", ". .", "...", "::$INDEX_ALLOCATION", ":x"]))
    before, after = (
        draw(st.sampled_from(["", "a/", "a/b/", "a\\"])),
        draw(st.sampled_from(["", "/config", "\\config", "/hooks/x"])),
    )
    return before + name + after


@given(disguised())
def test_no_disguise_of_the_git_directory_may_change(path: str) -> None:
    problem = path_problem(path)
    assert problem
    assert problem.isprintable()


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["a", "..", ".", "", ".git", "~", ":", "\\", "/", "\udcff", "\n"])).map("".join)
)
def test_any_path_is_judged(path: str) -> None:
    problem = path_problem(path)
    parts = path.split("/")
    if problem is None and path:
        assert "" not in parts
        assert ".." not in parts
        path.encode()
    assert problem is None or problem.isprintable()

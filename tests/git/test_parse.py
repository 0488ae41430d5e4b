"""git's listings of a checkout and of history, read from their bytes."""

from __future__ import annotations

import pytest

from flue_ci.core.errors import WorkspaceError
from flue_ci.git.history import cut_points
from flue_ci.git.snapshot import parse_status

OLD = "1" * 40


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
    assert status.disk_changes == {
        b"content only": blob,
        b"mode too": "",
        b"staged and changed": blob,
        b"gone": "",
        b"announced": "",
    }
    assert status.index_blobs == [blob, blob]
    assert status.index_changes
    assert status.intent_to_add == [b"announced"]
    assert (status.untracked_files, status.nested_repositories) == ([b"new file"], [b"nested/"])


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

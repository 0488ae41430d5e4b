"""What git prints is read exactly, and the rules for paths and links hold on their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flue_ci.git.diffs import parse_diff

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

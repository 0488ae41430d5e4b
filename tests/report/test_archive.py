"""An archive is hostile: what is odd in any of its entries refuses all of it, before much of it is unpacked."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_ci.core.errors import FlueError
from flue_ci.report.archive import MAX_FILES, MAX_UNPACKED_BYTES, read_archive
from tests.support.github_actions import archive

FILES = {"report.json": b"{}", "changes.patch": b"diff", "report.html": b"<p>"}
ALL, NONE = re.compile(".*"), re.compile("(?!)")
Edit = Callable[[zipfile.ZipFile], None]


def made(edit: Edit) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("report.json", b"{}")
        edit(file)
    return data.getvalue()


def entry(name: str, content: bytes = b"x", mode: int = 0, **more: int) -> Edit:
    def add(file: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.filename = name
        info.external_attr = mode << 16
        info.compress_type = more.get("method", zipfile.ZIP_DEFLATED)
        file.writestr(info, content)

    return add


def test_only_the_files_that_are_asked_for_are_unpacked() -> None:
    assert read_archive(archive(FILES), re.compile(r"report\.json|.*\.patch")) == {
        "report.json": b"{}",
        "changes.patch": b"diff",
    }


def test_an_archive_within_is_a_file_like_any_other() -> None:
    inner = archive({"../../evil": b"x"})
    assert read_archive(archive(FILES | {"more.zip": inner}), re.compile("more.zip")) == {"more.zip": inner}


NAMES = [
    "../x",
    "/etc/x",
    "a/b",
    "a\\b",
    "C:x",
    "..",
    ".",
    "",
    ".hidden",
    "a\nb",
    "a\0b",
    "ü",
    "a b",
    "x" * 150,
    "dir/",
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "edit",
    [
        *(entry(name) for name in NAMES),
        entry("report.json"),
        entry("REPORT.json"),
        entry("link", b"/etc/passwd", 0o120777),
        entry("pipe", b"", 0o010644),
        entry("folder", b"", 0o040755),
        entry("device", b"", 0o060644),
        entry("packed", method=zipfile.ZIP_BZIP2),
        entry("packed", method=zipfile.ZIP_LZMA),
    ],
    ids=[*(ascii(name)[:20] for name in NAMES), "twice", "other case", "link", "pipe", "folder", "device", "bz", "xz"],
)
def test_an_odd_entry_refuses_all_of_it(edit: Edit) -> None:
    with pytest.raises(FlueError, match="no archive of a report"):
        read_archive(made(edit), ALL)


def many(count: int) -> bytes:
    return archive({f"file-{number}": b"" for number in range(count)})


def test_very_many_entries_are_refused_before_they_are_listed() -> None:
    assert read_archive(many(MAX_FILES), NONE) == {}
    with pytest.raises(FlueError, match="more than 200 files"):
        read_archive(many(MAX_FILES + 1), NONE)
    data = bytearray(many(1_000))
    struct.pack_into("<2H", data, len(data) - 14, 5, 5)  # it says that it has few
    with pytest.raises(FlueError, match="very long names"):
        read_archive(bytes(data), NONE)
    with pytest.raises(FlueError, match="zip64"):
        read_archive(many(3)[:-22] + b"PK\6\7" + bytes(16) + many(3)[-22:], NONE)


def test_a_bomb_is_refused_by_what_it_says_and_cut_where_it_lies() -> None:
    data = bytearray(archive({"changes.patch": bytes(20_000_000)}))
    start = data.index(b"PK\1\2")
    struct.pack_into("<I", data, start + 24, MAX_UNPACKED_BYTES + 1)
    with pytest.raises(FlueError, match="unpacked it has more"):
        read_archive(bytes(data), ALL)
    struct.pack_into("<I", data, start + 24, 100)
    tracemalloc.start()
    with pytest.raises(FlueError):
        read_archive(bytes(data), ALL)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_entries_that_share_their_bytes_are_no_way_around_the_limit() -> None:
    data = bytearray(archive(FILES))
    for start in [match.start() for match in re.finditer(b"PK\1\2", data)]:
        struct.pack_into("<I", data, start + 24, MAX_UNPACKED_BYTES // 2)
    with pytest.raises(FlueError, match="unpacked it has more"):
        read_archive(bytes(data), NONE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"no zip at all" * 10,
        b"MZ" + archive(FILES),
        archive(FILES) + b"\n",
        archive(FILES) + archive(FILES),
        archive(FILES)[:-1],
        archive(FILES)[:-2] + b"\5\0hello",
        archive(FILES)[30:],
    ],
)
def test_what_is_no_plain_zip_is_refused(data: bytes) -> None:
    with pytest.raises(FlueError, match="no archive of a report"):
        read_archive(data, ALL)


def test_an_encrypted_entry_is_refused() -> None:
    data = bytearray(archive({"report.json": b"{}"}))
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(FlueError, match="encrypted"):
        read_archive(bytes(data), NONE)


@given(st.data())
def test_damage_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    whole = archive(FILES)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        files = read_archive(bytes(damaged), ALL)
    except FlueError:
        return
    assert all(FILES[name] == content for name, content in files.items())

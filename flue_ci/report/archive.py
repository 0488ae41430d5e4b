"""The archive of an artifact, read as hostile: whoever made it chose every byte.

Only a plain zip of files side by side is read, in memory; nothing is written, and an archive within it is a file like
any other. What is odd in any entry refuses all of it. Source: APPNOTE.TXT 6.3.10, sections 4.3 and 4.4.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection

from flue_ci.core.errors import FlueError
from flue_ci.core.text import human_bytes

MAX_FILES = 200
MAX_ARCHIVE_BYTES = 64_000_000
MAX_UNPACKED_BYTES = 200_000_000
_END = struct.Struct("<4s4H2LH")  # the end of the central directory, without a comment
_ZIP64_LOCATOR_BYTES = 20
_MAX_ENTRY = 46 + 200 + 200  # bytes of an entry of the central directory: name and extra fields are short
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", re.ASCII)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_archive(data: bytes, names: re.Pattern[str]) -> dict[str, bytes]:
    """The files of the archive whose names match. Raises `FlueError` for an archive that is not a plain one."""
    try:
        _check_end(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(archive.infolist())
            infos = [info for info in archive.infolist() if names.fullmatch(info.filename)]
            return {info.filename: _read(archive, info) for info in infos}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, OSError) as error:
        raise _refusal(f"it cannot be read ({type(error).__name__})") from None


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """At most as many bytes as the entry says are unpacked. (Without a number, `zipfile` unpacks up to 2 GiB first.)"""
    with archive.open(info) as file:
        return file.read(info.file_size)


def _check_end(data: bytes) -> None:
    """The directory has to be as small as its number of entries says, before it is read: each entry becomes an object
    of some hundred bytes. No comment, no second disk, no zip64: nothing that two readers could take differently."""
    if len(data) > MAX_ARCHIVE_BYTES:
        raise _refusal(f"it has more than {human_bytes(MAX_ARCHIVE_BYTES)}")
    if len(data) < _END.size or data[-_END.size :][:4] != b"PK\5\6":
        raise _refusal("its end is not that of a zip")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack(data[-_END.size :])
    if disk or first_disk or comment or here != count:
        raise _refusal("its end is odd")
    if data[: -_END.size][-_ZIP64_LOCATOR_BYTES:].startswith(b"PK\6\7"):
        raise _refusal("it is a zip64")
    if count > MAX_FILES or size > count * _MAX_ENTRY:
        raise _refusal(f"it has more than {MAX_FILES} files, or very long names")
    if offset + size != len(data) - _END.size:
        raise _refusal("there is something before its first file or behind its last one")


def _check_entries(entries: Collection[zipfile.ZipInfo]) -> None:
    spellings = {info.filename.lower() for info in entries}
    if len(spellings) != len(entries):
        raise _refusal("it has a name twice")
    for info in entries:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not _NAME.fullmatch(info.filename) or info.filename != info.orig_filename:
            raise _refusal("it has a name that none of our files has")
        if kind not in (0, stat.S_IFREG) or info.is_dir():
            raise _refusal("it has a link or something else that is no file")
        if info.flag_bits & 0x41 or info.compress_type not in _METHODS:
            raise _refusal("it has an entry that is encrypted or packed in an unusual way")
    if sum(info.file_size for info in entries) > MAX_UNPACKED_BYTES:
        raise _refusal(f"unpacked it has more than {human_bytes(MAX_UNPACKED_BYTES)}")


def _refusal(reason: str) -> FlueError:
    return FlueError(f"the artifact is no archive of a report: {reason}")

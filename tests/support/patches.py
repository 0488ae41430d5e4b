"""Patches in git's format, honest and otherwise, for a repository of `repos.EVERY_KIND`."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b85encode


def added(path: str, content: bytes = b"x\n", mode: str = "100644", quoted: str = "") -> bytes:
    """A patch that adds a file; `quoted` is the name as it stands in the header, when it differs."""
    name = quoted or path
    a, b = (f'"a/{name}"', f'"b/{name}"') if quoted else (f"a/{name}", f"b/{name}")
    lines = content.split(b"\n")
    tail = b"" if content.endswith(b"\n") else b"\\ No newline at end of file\n"
    lines = lines[:-1] if content.endswith(b"\n") else lines
    body = b"".join(b"+" + line + b"\n" for line in lines)
    header = f"diff --git {a} {b}\nnew file mode {mode}\n--- /dev/null\n+++ {b}\n@@ -0,0 +1,{len(lines)} @@\n"
    return header.encode() + body + tail


def link(path: str, target: str) -> bytes:
    return added(path, target.encode(), "120000")


def gitlink(path: str) -> bytes:
    return added(path, b"Subproject commit " + b"1" * 40 + b"\n", "160000")


MODIFY = (
    b"diff --git a/plain.txt b/plain.txt\n--- a/plain.txt\n+++ b/plain.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"
)


def binary(path: str, size: int, blob: str = "") -> bytes:
    """A binary patch that adds a file of zeros: small here, large when it is unpacked. `blob` is a name it claims."""
    content = bytes(size)
    blob = blob or hashlib.sha1(b"blob %d\0" % size + content).hexdigest()
    header = f"diff --git a/{path} b/{path}\nnew file mode 100644\nindex {'0' * 40}..{blob}\nGIT binary patch\n"
    return header.encode() + f"literal {size}\n".encode() + encoded(content)


def encoded(content: bytes) -> bytes:
    """Data of a binary patch, forwards; backwards there is nothing."""
    packed = zlib.compress(content, 9)
    lines = []
    for at in range(0, len(packed), 52):
        piece = packed[at : at + 52]
        length = chr(64 + len(piece)) if len(piece) <= 26 else chr(96 + len(piece) - 26)
        lines.append(length.encode() + b85encode(piece.ljust(-(-len(piece) // 4) * 4, b"\0")))
    return b"\n".join(lines) + b"\n\nliteral 0\nHcmV?d00001\n\n"


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, as git's deltas have it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])

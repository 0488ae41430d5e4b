"""Wheels made on the spot, and an index on loopback that serves them to the real pip and uv."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """`content` is the file, `requirement` the line that pins it by its hash."""

    name: str
    version: str
    content: bytes

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{hashlib.sha256(self.content).hexdigest()}\n"


def wheel(name: str, version: str, files: dict[str, str]) -> Wheel:
    """A wheel with `files`: the path in the archive and the text. The metadata is added."""
    info = f"{name}-{version}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, *about, f"{info}/RECORD"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in {**files, **about, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    return Wheel(name=name, version=version, content=content.getvalue())


def installed(name: str) -> Wheel:
    """A wheel of a pure package of this environment."""
    distribution = metadata.distribution(name)
    files = {
        str(path): path.read_text(encoding="utf-8")
        for path in distribution.files or ()
        if path.suffix in (".py", ".typed") and ".dist-info" not in str(path)
    }
    return wheel(name, distribution.version, files)


@dataclass(slots=True, kw_only=True)
class Index:
    """`url` is what UV_DEFAULT_INDEX and PIP_INDEX_URL take; `wheels` what it serves at the moment."""

    url: str
    wheels: list[Wheel] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Index]:
    """An index without wheels; it stops with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            last = self.path.rstrip("/").rsplit("/", 1)[-1]
            pages = {one.name: f'<a href="/files/{one.filename}">{one.filename}</a>'.encode() for one in index.wheels}
            files = {one.filename: one.content for one in index.wheels}
            found = pages.get(last, files.get(last))
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/html" if last in pages else "application/octet-stream")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index = Index(url=f"http://127.0.0.1:{server.server_port}/simple")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

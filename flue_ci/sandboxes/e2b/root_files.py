"""Files by E2B's file API, which acts as root whatever user is named: for our own work only. `files` is the SDK's."""

from pathlib import Path
from typing import Any

_SLOW_UPLOAD = 200_000  # bytes a second, below which an upload counts as stuck


def upload_seconds(data: bytes | Path) -> float:
    """That an upload may take."""
    size = data.stat().st_size if isinstance(data, Path) else len(data)
    return 60 + size / _SLOW_UPLOAD


async def look(files: Any, path: str) -> Any:
    """The SDK's description of what is at an absolute path, or of where a link there leads."""
    entry = await files.get_info(path, user="root")
    if entry.symlink_target and entry.symlink_target != path:
        return await files.get_info(entry.symlink_target, user="root")
    return entry


def check_entry(entry: Any, path: str, limit: int) -> None:
    """Before a byte is moved. A special file would never end, or never begin. Raises what `Sandbox.read` does."""
    kind = getattr(entry.type, "value", "")
    if kind == "dir":
        raise IsADirectoryError(f"is a directory in the sandbox: {path}")
    if not kind and entry.symlink_target == path:  # E2B says so of a link to nowhere
        raise FileNotFoundError(f"no such file in the sandbox: {path}")
    if kind not in ("file", "symlink"):
        raise PermissionError(f"not a regular file in the sandbox: {path}")
    if kind == "file" and entry.size > limit:
        raise ValueError(f"{path} has {entry.size:,} bytes; the limit is {limit:,}")


async def receive(files: Any, path: str, most: float) -> bytes:
    """The content, or a little more than `most` bytes of it."""
    data = bytearray()
    async with await files.read(path, format="stream", user="root") as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > most:
                break
    return bytes(data)


async def send(files: Any, path: str, data: bytes | Path, user: str | None) -> None:
    """Writes a file, which becomes that user's."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            await files.write(path, file, user=user)
    else:
        await files.write(path, data, user=user, use_octet_stream=True, request_timeout=upload_seconds(data))

"""Files that only their owner may read, because they hold keys or conversations."""

import os
from pathlib import Path
from typing import IO


def create_private_file(path: Path) -> IO[bytes]:
    """A new file of mode 0600 in place of a file or link of that name; what the link leads to is not touched. Raises
    `OSError`."""
    path.unlink(missing_ok=True)
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))


def write_private_file(path: Path, data: bytes) -> None:
    """The same with all of its content at once: readers see the former file or this one. Raises `OSError`."""
    part = path.with_name(f"{path.name}.part")
    try:
        with create_private_file(part) as file:
            file.write(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise

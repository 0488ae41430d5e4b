"""What files held when a tool last saw them, so that an edit of a file that was read is one request."""

MAX_BYTES = 20_000_000  # of all contents; the oldest go first


class FileContents:
    """Contents by absolute path. What the sandbox holds may be another thing by now: whoever writes compares first."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._size = 0

    def get(self, path: str) -> bytes | None:
        """The content as it was last seen; None when it is not known."""
        return self._contents.get(path)

    def put(self, path: str, data: bytes) -> None:
        """Remembers what the file holds."""
        self.forget(path)
        self._contents[path] = data
        self._size += len(data)
        while self._size > MAX_BYTES:
            self.forget(next(iter(self._contents)))

    def forget(self, path: str) -> None:
        """The file holds something else by now, or nothing."""
        self._size -= len(self._contents.pop(path, b""))

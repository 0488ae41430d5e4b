"""Log records of the SDKs (with `ANTHROPIC_LOG=debug`, or warnings) go where all our lines go: without secrets, one
line at a time. The SDKs' own handlers would print whole requests unchanged."""

import logging
from collections.abc import Callable


class _RedactingHandler(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """One record as one line."""
        try:
            self._write(f"[{record.name}] {self.format(record)}")
        except Exception:  # noqa: BLE001 (a log record never ends a run; `write` may be a pipe that is closed)
            return


def install_log_handler(write: Callable[[str], None]) -> None:
    """From now on `write` gets every record, and no other handler. It has to remove secrets and line ends. Call it
    before the SDKs are imported: they add no handler to a root logger that has one."""
    logging.getLogger().handlers = [_RedactingHandler(write)]


def set_level(level: str) -> None:
    """What the Anthropic SDK logs: `debug` or `info`, as in its own variable `ANTHROPIC_LOG`. Ignores other words."""
    if level in ("debug", "info"):
        for name in ("anthropic", "httpx"):
            logging.getLogger(name).setLevel(level.upper())

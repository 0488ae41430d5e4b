"""What the SDKs log (with `ANTHROPIC_LOG=debug`, or as a warning) goes the way of everything else that is said: without
secrets, one harmless line at a time. Their own handlers would print whole requests as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable


class _RedactingHandler(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """One record as one line."""
        try:
            self._say(f"[{record.name}] {self.format(record)}")
        except Exception:  # noqa: BLE001 (what is only logged never ends a run; `say` may be a pipe that is gone)
            return


def install_log_handler(say: Callable[[str], None]) -> None:
    """From now on `say` is told what is logged, and nobody else. Call it before the SDKs are imported: they leave a
    root logger alone that has a handler. `say` takes the secrets out and makes it one line."""
    logging.getLogger().handlers = [_RedactingHandler(say)]


def set_level(wish: str) -> None:
    """How much the Anthropic SDK says: `debug` or `info`, as its own variable `ANTHROPIC_LOG` has them."""
    if wish in ("debug", "info"):
        for name in ("anthropic", "httpx"):
            logging.getLogger(name).setLevel(wish.upper())

"""Work without garbage collection: importing two SDKs makes no garbage, and looking for it costs a fifth of it; making
the tree of a text makes little, and looking for it costs a third."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_active = 0


@contextmanager
def fast_startup() -> Iterator[None]:
    """No garbage collection within the block, from whichever thread. What exists at the end of the last such block is
    left out of later collections."""
    global _active  # noqa: PLW0603 (the collector is the process's own, too)
    with _lock:
        _active += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if not _active:
                gc.freeze()
                gc.enable()


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection within the block, from whichever thread."""
    global _active  # noqa: PLW0603 (see above)
    with _lock:
        _active += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if not _active:
                gc.enable()

"""Work without garbage collection: importing two SDKs makes no garbage, and looking for it costs a fifth of it; making
the tree of a text makes little, and looking for it costs a third."""

import gc
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

_lock = threading.Lock()
_active = 0


def fast_startup() -> AbstractContextManager[None]:
    """No garbage collection within the block, from whichever thread. What exists at its end is left out of later
    collections, unless another such block goes on."""
    return without_collection(freeze=True)


@contextmanager
def without_collection(*, freeze: bool = False) -> Iterator[None]:
    """No garbage collection within the block, from whichever thread. `freeze`: see `fast_startup`."""
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
                if freeze:
                    gc.freeze()
                gc.enable()

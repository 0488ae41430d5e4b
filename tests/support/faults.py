"""Fault switches of a test server: what goes wrong, on which route, how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

HOLD_SECONDS = 60.0  # the longest that `hold` waits


@dataclass(kw_only=True)
class Fault:
    """One thing that goes wrong on `route`, the next `times` times after `skip` requests went well (None: for ever).

    `status` answers with that HTTP status instead of acting, `body` as it is instead of the protocol's JSON,
    `retry_after` in seconds, `location` for redirects. `delay` waits first, also in front of a normal answer;
    `hold` waits until the test sets `released`. `drop` loses the connection: `before` anything is done, `after` all
    was done but nothing answered, or `during` the answer, `after_bytes` of it. `kill` ends the sandbox that is
    addressed when more than `after_bytes` of the request are in. `no_end` lets a command's stream end without its
    end event, `mute`: nothing of the stream is sent after its start, and it stays open. `end_code` is the exit code
    that this event has instead. `text`: only requests in whose body it stands (of the E2B server's `start` only).
    """

    route: str
    times: int | None = 1
    skip: int = 0
    status: int = 0
    message: str = "a fault that the test asked for"
    body: bytes | None = None
    retry_after: int | None = None
    location: str = ""
    delay: float = 0.0
    hold: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    drop: Literal["", "before", "during", "after"] = ""
    after_bytes: int = 0
    kill: bool = False
    no_end: bool = False
    mute: bool = False
    end_code: int | None = None
    text: bytes = b""


class Faults:
    """The faults that are still to come. `add` from the test's thread, `take` from the server's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, route: str, **what: object) -> Fault:
        fault = Fault(route=route, **what)  # type: ignore[arg-type]
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, route: str, data: bytes = b"") -> Fault | None:
        """The fault that this request meets, used up by it."""
        with self._lock:
            for fault in self._faults:
                if fault.route != route or fault.times == 0 or fault.text not in data:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

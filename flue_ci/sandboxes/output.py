"""The output of one command on its way to the caller; the same for all sandboxes."""

from collections.abc import Callable

from flue_ci.core.ports import ExecResult
from flue_ci.core.text import HeadTail


class CommandOutput(HeadTail):
    """Collects head and tail of the output, and passes every piece on to `on_output`.

    `error` is what `on_output` raised; after that it is called no more.
    """

    def __init__(self, limit: int, on_output: Callable[[bytes], None] | None) -> None:
        super().__init__(limit)
        self.error: Exception | None = None
        self._on_output = on_output

    def add(self, data: bytes) -> None:
        super().add(data)
        if self._on_output is None or self.error is not None:
            return
        try:
            self._on_output(data)
        except Exception as error:  # noqa: BLE001 (the callers of `add` are libraries and event loops, which swallow it)
            self.error = error

    def result(self, exit_code: int, *, timed_out: bool, seconds: float) -> ExecResult:
        """With what has been collected."""
        data, rest = self.value(), self.omitted_bytes
        return ExecResult(exit_code=exit_code, output=data, omitted_bytes=rest, timed_out=timed_out, seconds=seconds)

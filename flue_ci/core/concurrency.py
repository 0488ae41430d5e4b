"""Two idioms of asyncio: finish although cancelled, and run several together until the first error."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Awaitable[T]) -> T:
    """The result of `work`, which runs to its end even when the calling task is cancelled meanwhile.

    A cancellation is raised afterwards, in place of the result. `work` must bound its own time.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # marked as retrieved: the cancellation is what the caller learns
        raise asyncio.CancelledError
    return task.result()


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all, in order, run at the same time. The first error cancels the others and is raised itself."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def uncancel() -> None:
    """Forgets every cancellation of the current task, so that it can go on awaiting."""
    task = asyncio.current_task()
    while task and task.cancelling():
        task.uncancel()

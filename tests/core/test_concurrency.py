"""Work that is finished although its caller is cancelled, and work that ends with the first error."""

from __future__ import annotations

import asyncio

import pytest

from flue_ci.core.concurrency import finish, together


async def test_work_is_finished_although_the_caller_is_cancelled_twice() -> None:
    steps: list[str] = []

    async def work() -> str:
        await asyncio.sleep(0.05)
        steps.append("finished")
        return "result"

    task = asyncio.ensure_future(finish(work()))
    for _ in range(2):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["finished"]


async def test_finished_work_gives_its_result_or_its_error() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    assert await finish(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(ValueError, match="broken"):
        await finish(fail())


async def test_the_first_error_ends_the_others_and_is_raised_itself() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")

    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await together(slow(), fail())
    assert ended == ["slow"]
    assert await together(asyncio.sleep(0.01, "a"), asyncio.sleep(0, "b")) == ["a", "b"]

"""What every publisher does, as tests: subclass `PublisherContract` and give its fixtures."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from flue_ci.core.errors import FlueError

PATCH = b"diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-a\n+b\n"


class PublisherContract:
    """Fixtures of the subclass:

    `publisher`: a new one. `report`: a `Report` of a success. `target`: a `PublishTarget` where publishing works.
    `broken_target`: one where it cannot work, for example because a permission is missing.
    """

    async def test_it_says_whether_it_needs_a_forge(self, publisher: Any) -> None:
        assert isinstance(publisher.needs_forge, bool)

    async def test_it_returns_where_the_report_is(self, publisher: Any, report: Any, target: Any) -> None:
        entry = await publisher.publish(report, PATCH, target)
        assert isinstance(entry.detail, str) and "\n" not in entry.detail
        assert entry.url == "" or entry.url.startswith(("https://", "http://"))
        assert entry.url or entry.detail, "people cannot find what was published"

    async def test_it_works_without_a_forge_unless_it_needs_one(self, publisher: Any, report: Any, target: Any) -> None:
        if not publisher.needs_forge:
            await publisher.publish(report, PATCH, replace(target, forge=None, quick_forge=None, number=None))

    @pytest.mark.parametrize("conclusion", ["no-op", "partial", "failed", "cancelled"])
    async def test_it_takes_a_run_of_every_conclusion(
        self, publisher: Any, report: Any, target: Any, conclusion: str
    ) -> None:
        await publisher.publish(replace(report, conclusion=conclusion), b"", target)

    async def test_it_takes_any_text(self, publisher: Any, report: Any, target: Any) -> None:
        text = "<!-- \u202e `` ```\n</details> | ünï 🎉 \x1b[2J @ada" * 50
        await publisher.publish(replace(report, summary=text, reason=text, instruction=text), b"\xff\x00", target)

    async def test_a_failure_is_an_expected_error(self, publisher: Any, report: Any, broken_target: Any) -> None:
        with pytest.raises(FlueError) as failure:
            await publisher.publish(report, PATCH, broken_target)
        assert str(failure.value)

    async def test_progress_ends_with_the_report(self, publisher: Any, report: Any, target: Any) -> None:
        """Only for publishers that have `begin`."""
        before = asyncio.all_tasks()
        if hasattr(publisher, "begin"):
            publisher.begin(report.agent, lambda: "at work", target)
            await asyncio.sleep(0)
        await publisher.publish(report, PATCH, target)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

    async def test_progress_that_cannot_be_shown_is_no_error(
        self, publisher: Any, report: Any, broken_target: Any, target: Any
    ) -> None:
        """Only for publishers that have `begin`."""
        if hasattr(publisher, "begin"):
            publisher.begin(report.agent, lambda: "at work", broken_target)
            await asyncio.sleep(0.05)
        await publisher.publish(report, PATCH, target)

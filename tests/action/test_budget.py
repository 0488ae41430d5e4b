"""Reservations against limits: whatever the order of two runs, not both of them pass."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from flue_ci.action.budget import Reservation, reserve_cost
from flue_ci.core.budgets import CostRecord
from flue_ci.core.errors import FlueError, ForgeError
from flue_ci.report.report import SandboxUsed, Trigger, Verification
from flue_ci.spec.repository_config import BudgetSpec
from flue_ci.spec.schema import AgentSpec
from tests.support.reports import FULL

SPEC = AgentSpec.model_validate({"version": 1, "name": "fix", "limits": {"cost_usd": 2.0}})
TRIGGER = Trigger(event="push", number=7, run_url="https://forge.example/run/1")


class Ledger:
    """Keeps records in memory. Every call lets others go first."""

    def __init__(self) -> None:
        self.records: dict[int, CostRecord] = {}
        self.failure: ForgeError | None = None

    async def ledger(self) -> str:
        await asyncio.sleep(0)
        return "c0ffee"

    async def write_record(self, ledger: str, record: CostRecord) -> CostRecord:
        await asyncio.sleep(0)
        record = replace(record, id=len(self.records) + 1)
        self.records[record.id] = record
        return record

    async def update_record(self, record: CostRecord) -> None:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        self.records[record.id] = record

    async def records_since(self, ledger: str, since: str) -> list[CostRecord]:
        await asyncio.sleep(0)
        return list(self.records.values())


async def reserve(ledger: Any, limits: BudgetSpec, number: int = 7) -> Reservation:
    return await reserve_cost(ledger, limits, SPEC, replace(TRIGGER, number=number))


async def test_two_runs_at_once_never_both_pass() -> None:
    ledger = Ledger()
    limits = BudgetSpec(per_day_usd=3.0)
    results = await asyncio.gather(reserve(ledger, limits), reserve(ledger, limits), return_exceptions=True)
    assert sum(isinstance(result, Reservation) for result in results) < 2
    assert all(isinstance(result, Reservation | FlueError) for result in results)


async def test_each_limit_counts_its_own_runs() -> None:
    ledger = Ledger()
    limits = BudgetSpec(per_day_usd=100.0, per_pull_request_usd=3.0)
    await reserve(ledger, limits)
    await reserve(ledger, limits, number=8)
    with pytest.raises(FlueError, match=r"the budget of #7 is used up"):
        await reserve(ledger, limits)
    with pytest.raises(FlueError, match=r"the budget of this repository is used up"):
        await reserve(ledger, replace_limits(limits, per_day_usd=5.0), number=9)
    assert [record.counted_usd > 1 for record in ledger.records.values()] == [True, True, False, False]


def replace_limits(limits: BudgetSpec, **values: float) -> BudgetSpec:
    return limits.model_copy(update=values)


async def test_the_end_counts_model_and_sandboxes() -> None:
    ledger = Ledger()
    reservation = await reserve(ledger, BudgetSpec(per_day_usd=10.0))
    clean = Verification(where="fresh", sandbox=SandboxUsed(provider="e2b", seconds=1800.0))
    report = replace(FULL, sandbox=replace(FULL.sandbox, seconds=1800.0), verification=clean)
    words = await reservation.settle(report)
    assert ledger.records[1].spent_usd == pytest.approx(0.04 + 0.109)
    assert "$0.149" in words and "$10.00 of $10.00" in words


async def test_a_cost_that_is_not_known_or_not_written_counts_in_full() -> None:
    ledger = Ledger()
    reservation = await reserve(ledger, BudgetSpec(per_day_usd=10.0))
    unknown = replace(FULL, usage=replace(FULL.usage, cost_usd=None))
    assert "not known" in await reservation.settle(unknown)
    ledger.failure = ForgeError("gone", status=404)
    assert "could not be written: gone" in await reservation.settle(FULL)
    assert ledger.records[1].spent_usd is None

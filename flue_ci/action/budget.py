"""The repository's budget: a run reserves what it may cost before it starts, and settles what it has cost at the end.

The sum is read after the reservation is written, so that two runs at once cannot both pass. What cannot be read counts
as over.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flue_ci.core.budgets import CONFIG, CostRecord, LedgerForge
from flue_ci.core.errors import FlueError, ForgeError, SpecError
from flue_ci.core.ports import Forge
from flue_ci.core.text import human_cost
from flue_ci.report.report import Report, Trigger
from flue_ci.spec.repository_config import BudgetSpec
from flue_ci.spec.schema import AgentSpec

SANDBOX_USD_PER_HOUR = 0.109  # E2B's price of a default template: 2 vCPU and 0.5 GiB
_HOURS = 24
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a run may cost, as the forge has it. `balance` says what was left before it, for people."""

    forge: LedgerForge
    record: CostRecord
    balance: str

    async def settle(self, report: Report) -> str:
        """Writes what the run has cost; a sentence about it. A failure is such a sentence, too: the record then counts
        in full."""
        model = report.usage.cost_usd
        if model is None:
            amount = human_cost(self.record.reserved_usd)
            return f"Budget: what the model cost is not known, so {amount} count. {self.balance}"
        cost = round(model + sandbox_cost(report), 6)
        try:
            await self.forge.update_record(replace(self.record, spent_usd=cost))
        except ForgeError as error:
            amount = human_cost(self.record.reserved_usd)
            return f"Budget: {amount} count for this run, because what it cost could not be written: {error}"
        return f"Budget: this run cost {human_cost(cost)}, sandboxes included. {self.balance}"


def sandbox_cost(report: Report) -> float:
    """US dollars for the seconds of its sandboxes."""
    seconds = report.sandbox.seconds
    if report.verification and report.verification.sandbox:
        seconds += report.verification.sandbox.seconds
    return seconds / 3600 * SANDBOX_USD_PER_HOUR


async def reserve_cost(
    forge: Forge, limits: BudgetSpec, spec: AgentSpec, trigger: Trigger, time: datetime | None = None
) -> Reservation:
    """Reserves the run's `limits.cost_usd` and its sandboxes' time. Raises `FlueError` when that is more than what is
    left, and when it cannot be known."""
    if spec.limits.cost_usd is None:
        message = f"{CONFIG} limits what runs may cost, so the spec of {spec.name} needs `limits.cost_usd`"
        raise FlueError(message, hint="add it: what one run of this agent may cost at most, in US dollars")
    if not isinstance(forge, LedgerForge):
        raise FlueError("this forge keeps no records of cost, so the budget cannot be kept", hint="remove the limits")
    now = time or datetime.now(UTC)
    sandboxes = 2 if spec.checks and spec.verification.where == "fresh" else 1
    record = CostRecord(
        number=trigger.number or 0,
        agent=spec.name,
        run_url=trigger.run_url,
        started=now.strftime(_TIME),
        reserved_usd=round(spec.limits.cost_usd + sandboxes * spec.sandbox.timeout / 3600 * SANDBOX_USD_PER_HOUR, 6),
    )
    try:
        ledger = await forge.ledger()
        record = await forge.write_record(ledger, record)
        records = await forge.records_since(ledger, (now - timedelta(hours=_HOURS)).strftime(_TIME))
    except ForgeError as error:
        message = f"the budget in {CONFIG} cannot be kept, so nothing was started: {error}"
        raise FlueError(message, hint=error.hint or "the job needs `checks: write`") from error
    if record.id not in {other.id for other in records}:
        records.append(record)
    try:
        balance = _balance(limits, records, record)
    except FlueError:
        with suppress(ForgeError):  # a reservation that cannot be taken back counts until the day is over
            await forge.update_record(replace(record, spent_usd=0.0))
        raise
    return Reservation(forge=forge, record=record, balance=balance)


def _balance(limits: BudgetSpec, records: list[CostRecord], record: CostRecord) -> str:
    """What is left, in words. Raises `FlueError` when it is less than nothing."""
    same = [other for other in records if record.number and other.number == record.number]
    parts = []
    for name, limit, counting, noun in (
        ("per_day_usd", limits.per_day_usd, records, "this repository"),
        ("per_pull_request_usd", limits.per_pull_request_usd, same, f"#{record.number}"),
    ):
        if limit is None or not counting:
            continue
        runs = [other for other in counting if other.id != record.id]
        total = sum(run.counted_usd for run in runs)
        if total + record.reserved_usd > limit:
            raise _over(name, limit, runs, noun, record)
        parts.append(f"{human_cost(limit - total)} of {human_cost(limit)} for {noun}")
    return f"Before it, {' and '.join(parts)} were left for these {_HOURS} hours." if parts else ""


def _over(name: str, limit: float, runs: list[CostRecord], noun: str, record: CostRecord) -> FlueError:
    total = sum(run.counted_usd for run in runs)
    at_work = sum(run.spent_usd is None for run in runs)
    waiting = f" ({at_work} of these runs have not ended, and count in full)" if at_work else ""
    message = (
        f"the budget of {noun} is used up: {human_cost(total)} of {human_cost(limit)} in the last {_HOURS} hours"
        f"{waiting}, and this run may cost {human_cost(record.reserved_usd)}"
    )
    oldest = min((run.started for run in runs), default="")
    hint = f"raise `limits.{name}` in {CONFIG}, or lower the agent's `limits.cost_usd`"
    if oldest:
        end = datetime.fromisoformat(oldest) + timedelta(hours=_HOURS)
        hint = f"the oldest of these runs no longer counts from {end:%H:%M} UTC on; {hint}"
    return FlueError(message, hint=hint)


def unreadable(error: SpecError) -> FlueError:
    """Nothing is started while the limits cannot be read."""
    return FlueError(f"the limits in {CONFIG} cannot be read, so nothing was started: {error}", hint=error.hint)

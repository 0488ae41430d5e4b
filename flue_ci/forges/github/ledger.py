"""Records of what runs cost, as check runs of the commit that last changed `.flue/config.yml`: every run of the
repository finds that commit, and check runs can be written by a job that has `checks: write` and nothing more.

One name a day keeps the lists short. Source: https://docs.github.com/rest/checks/runs
"""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flue_ci.core.budgets import CONFIG, CostRecord
from flue_ci.core.concurrency import together
from flue_ci.core.errors import ForgeError
from flue_ci.core.text import human_cost
from flue_ci.forges.github import parse
from flue_ci.forges.github.http import PER_PAGE, ApiCalls

_FENCE = re.compile(r"```json\n(\{.{0,4000}\})\n```", re.DOTALL)
_MAX_USD = 1e9
_MAX_PAGES = 50  # of a day's records


class LedgerCalls(ApiCalls):
    """The part of `GitHub` that is a `LedgerForge`."""

    async def ledger(self) -> str:
        """The newest commit of the default branch that changed the file. A file that changes begins a new ledger."""
        commits = await self._list("find the budget's records", "/commits", path=CONFIG, max_pages=1)
        if not commits:
            raise ForgeError(f"{CONFIG} is not on the default branch", status=404)
        return parse.text(commits[0], "sha")

    async def write_record(self, ledger: str, record: CostRecord) -> CostRecord:
        """One request. When its answer is lost, the record may stand twice: then it counts twice."""
        body = {
            "name": _name(record.started[:10]),
            "head_sha": ledger,
            "status": "completed",
            "conclusion": "neutral",
            "output": _output(record),
        }
        data = await self._fetch("reserve the cost of this run", "/check-runs", "POST", body)
        return replace(record, id=parse.number(data, "id"))

    async def update_record(self, record: CostRecord) -> None:
        """One request."""
        path = f"/check-runs/{record.id}"
        await self._fetch("write what this run cost", path, "PATCH", {"output": _output(record)})

    async def records_since(self, ledger: str, since: str) -> list[CostRecord]:
        """One request for each day that has begun since then. A check run of that name that is no record counts as
        nothing: only an app with the right to write check runs can make one."""
        day, days = datetime.fromisoformat(since), []
        while day.date() <= datetime.now(UTC).date():
            days.append(f"{day:%Y-%m-%d}")
            day += timedelta(days=1)
        path = f"/commits/{ledger}/check-runs"

        async def read(name: str) -> list[dict[str, Any]]:
            query = {"check_name": name, "filter": "all"}
            items = await self._list("read the budget's records", path, key="check_runs", max_pages=_MAX_PAGES, **query)
            if len(items) >= _MAX_PAGES * PER_PAGE:  # what is not read would count as nothing
                raise ForgeError(f"there are more than {len(items) - 1:,} records of one day")
            return items

        items = [item for items in await together(*(read(_name(day)) for day in days)) for item in items]
        records = [record for item in items if (record := _record(item))]
        return [record for record in records if record.started >= since]


def _name(day: str) -> str:
    return f"budget of flue-ci, {day}"


def _output(record: CostRecord) -> dict[str, str]:
    title = f"{record.agent}: at most {human_cost(record.reserved_usd)}"
    if record.spent_usd is not None:
        title = f"{record.agent}: {human_cost(record.spent_usd)}"
    summary = f"What a run costs, for the limits of `{CONFIG}`: {record.run_url}"
    return {"title": title, "summary": summary, "text": f"```json\n{json.dumps(asdict(replace(record, id=0)))}\n```"}


def _record(data: dict[str, Any]) -> CostRecord | None:
    """The record in a check run, None for anything else."""
    match = _FENCE.search(parse.text(parse.mapping(data, "output"), "text"))
    try:
        values = json.loads(match[1]) if match else {}
        amount = values["spent_usd"]
        return CostRecord(
            id=parse.number(data, "id"),
            number=int(values["number"]),
            agent=str(values["agent"]),
            run_url=str(values["run_url"]),
            started=str(values["started"]),
            reserved_usd=_dollars(values["reserved_usd"]),
            spent_usd=None if amount is None else _dollars(amount),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _dollars(value: Any) -> float:
    """Raises `ValueError` for what no run can cost."""
    if not 0 <= (amount := float(value)) <= _MAX_USD:
        raise ValueError(value)
    return amount

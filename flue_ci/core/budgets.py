"""The words for money over time: what each run may cost and has cost, kept on the forge as records."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

CONFIG = ".flue/config.yml"  # where a repository says what its runs may cost


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecord:
    """What a run may cost (`reserved_usd`), and once it is over what it has cost (`spent_usd`, None before that).

    `id` is the forge's, 0 before it is written. `number` is the pull request or issue, 0 for none; `started` is in
    RFC 3339 (UTC); `run_url` the page of the run.
    """

    id: int = 0
    number: int = 0
    agent: str
    run_url: str = ""
    started: str
    reserved_usd: float
    spent_usd: float | None = None

    @property
    def counted_usd(self) -> float:
        """What counts: a record without an end counts in full."""
        return self.reserved_usd if self.spent_usd is None else self.spent_usd


@runtime_checkable
class LedgerForge(Protocol):
    """A forge that keeps records of what runs cost. Each raises `ForgeError`."""

    async def ledger(self) -> str:
        """Where the records are kept, for the other methods."""

    async def write_record(self, ledger: str, record: CostRecord) -> CostRecord:
        """A new record, with its id. It is written once."""

    async def update_record(self, record: CostRecord) -> None:
        """Replaces the record with that id."""

    async def records_since(self, ledger: str, since: str) -> list[CostRecord]:
        """The records of runs that started at or after that time (RFC 3339, UTC, at most some days ago)."""

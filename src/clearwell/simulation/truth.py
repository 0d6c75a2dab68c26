"""The truth about the planted faults, and whether what is found at a cut is exactly that.

Knows the faults, the model's windows and the cut, and no ledger: its verdict is independent of what it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from clearwell.errors import DataError
from clearwell.flows.model import Model
from clearwell.simulation.delivery import INSTANT
from clearwell.values.calendars import due_at

_FAULT_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "kind": pl.String,
    "incident": pl.String,
    "producer": pl.String,
    "event_type": pl.String,
    "event_id": pl.String,
    "account_type": pl.String,
    "account": pl.String,
    "currency": pl.String,
    "amount_minor": pl.Int64,
    "from_effective_at": INSTANT,
    "until_effective_at": INSTANT,
    "from_recorded_at": INSTANT,
    "until_recorded_at": INSTANT,
}
FAULT_SCHEMA = pl.Schema(_FAULT_COLUMNS)
"""The columns of a frame of planted faults: the fields of `PlantedFault`."""

AccountKey = tuple[str, str]
"""An account as it is printed, and a currency."""


@dataclass(frozen=True)
class PlantedFault:
    """One clearing account that a fault strands, and the event that is to blame.

    `amount_minor` is signed and in minor units: what stands in the account when its window has run out. The account
    stands open from the event at `from_effective_at`, recorded at `from_recorded_at`, until the event at `until_…`, or
    for ever (None): at a cut the first of the two is in the books and the second is not. `incident` is None for a
    fault by chance.
    """

    kind: str
    incident: str | None
    producer: str
    event_type: str
    event_id: str
    account_type: str
    account: str
    currency: str
    amount_minor: int
    from_effective_at: datetime
    until_effective_at: datetime | None
    from_recorded_at: datetime
    until_recorded_at: datetime | None

    @property
    def key(self) -> AccountKey:
        """The account and the currency."""
        return self.account, self.currency

    def stands_at(self, effective_at: datetime, recorded_at: datetime) -> bool:
        """Whether the account stands open by this fault in the books up to `effective_at` as known at `recorded_at`."""
        begun = self.from_effective_at <= effective_at and self.from_recorded_at <= recorded_at
        ended = (
            self.until_effective_at is not None
            and self.until_recorded_at is not None
            and self.until_effective_at <= effective_at
            and self.until_recorded_at <= recorded_at
        )
        return begun and not ended

    def due_at(self, model: Model, time_zone: str) -> datetime | None:
        """When the account's window has run out; None when the window is learned."""
        window = model.account_types[self.account_type].clears_within
        return None if window is None else due_at(window, self.from_effective_at, time_zone)


def planted_faults(frame: pl.DataFrame) -> Iterator[PlantedFault]:
    """The rows of a frame of `FAULT_SCHEMA` as values, in order."""
    for row in frame.select(FAULT_SCHEMA.names()).iter_rows(named=True):
        yield PlantedFault(**row)


def read_faults(path: Path) -> list[PlantedFault]:
    """The planted faults of a world's `faults.ndjson`. Raises DataError when it is none."""
    texts = {name: pl.String if dtype == INSTANT else dtype for name, dtype in FAULT_SCHEMA.items()}
    try:
        frame = pl.read_ndjson(path, schema=texts) if path.stat().st_size else pl.DataFrame(schema=texts)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError("truth_unreadable", f"{path}: expected planted faults as NDJSON, found: {error}") from error
    instants = [name for name, dtype in FAULT_SCHEMA.items() if dtype == INSTANT]
    return list(planted_faults(frame.with_columns(pl.col(instants).str.to_datetime(time_unit="us", time_zone="UTC"))))


@dataclass(frozen=True)
class Verdict:
    """What the truth and the findings at a cut have to say to each other.

    `overdue` are the faults that stand with their window run out: the money that must be found. `not_due` still stand
    within it; `over` stand no more, or not yet. `found` holds the keys of `overdue` that were found with exactly their
    money, and `unexplained` what was found and is not the money of any of them.
    """

    overdue: list[PlantedFault]
    not_due: list[PlantedFault]
    over: list[PlantedFault]
    found: set[AccountKey]
    unexplained: dict[AccountKey, int]

    @property
    def missed(self) -> list[PlantedFault]:
        """The planted faults that were not found with exactly their money."""
        return [fault for fault in self.overdue if fault.key not in self.found]

    @property
    def holds(self) -> bool:
        """Whether all that was planted is found, and nothing else."""
        return not self.missed and not self.unexplained


@dataclass(frozen=True)
class Books:
    """The cut and the model by which it is judged what is overdue."""

    effective_at: datetime
    recorded_at: datetime
    model: Model
    time_zone: str


def judge(faults: list[PlantedFault], books: Books, found: Mapping[AccountKey, int]) -> Verdict:
    """Hold what was found overdue at the cut, money by account and currency, against the truth."""
    verdict = Verdict([], [], [], set(), {})
    for fault in faults:
        if not fault.stands_at(books.effective_at, books.recorded_at):
            verdict.over.append(fault)
            continue
        due = fault.due_at(books.model, books.time_zone)
        overdue = due is not None and due <= books.effective_at
        (verdict.overdue if overdue else verdict.not_due).append(fault)
    expected = {fault.key: fault.amount_minor for fault in verdict.overdue}
    verdict.found.update(key for key, money in expected.items() if found.get(key) == money)
    verdict.unexplained.update({key: money for key, money in found.items() if expected.get(key) != money})
    return verdict

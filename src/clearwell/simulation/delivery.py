"""How events come from their producers: each has its own lag, and its share of events out of order and delivered twice.

Refuses to change an event: only when it existed (`occurred_at`) and when it arrives (`recorded_at`) is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
"""Durations in microseconds, as all instants here are whole microseconds since 1970 UTC."""

INSTANT = pl.Datetime("us", "UTC")
Instants = NDArray[np.int64]

_WRITING_SECONDS = 0.25
_LONGEST_WRITING = 10 * SECOND
_FILE_HOUR = 6 * HOUR
_BETWEEN_FILES = 20 * MINUTE
_READING_A_FILE = 2 * MINUTE


@dataclass(frozen=True)
class Producer:
    """How the events of one producer arrive. Lags are microseconds from `occurred_at` to `recorded_at`.

    `out_of_order` is the share of events that wait in a queue, anywhere up to the longest lag, so that later ones
    overtake them; `delivered_twice` the share that comes again. A producer with a `daily_file` brings the lines of a
    day together, the next morning, in one file per bank.
    """

    name: str
    usual_lag: int
    longest_lag: int
    out_of_order: float
    delivered_twice: float
    daily_file: bool = False


PRODUCERS = {
    producer.name: producer
    for producer in (
        Producer("charges", SECOND // 3, 80 * SECOND, 0.02, 0.0003),
        Producer("disbursements", 2 * SECOND, 80 * SECOND, 0.01, 0.0003),
        Producer("refunds", SECOND, 4 * MINUTE, 0.01, 0.0005),
        Producer("card_gateway", 40 * SECOND, 50 * MINUTE, 0.05, 0.002),
        Producer("disputes", 5 * SECOND, 4 * MINUTE, 0.01, 0.0005),
        Producer("dispute_decisions", 10 * MINUTE, 6 * HOUR, 0.1, 0.002),
        Producer("transfers", SECOND, 4 * MINUTE, 0.01, 0.0005),
        Producer("connected_accounts", 20 * SECOND, 50 * MINUTE, 0.03, 0.001),
        Producer("payouts", SECOND, 4 * MINUTE, 0.01, 0.0005),
        Producer("bank_gateway", 90 * SECOND, 50 * MINUTE, 0.05, 0.002),
        Producer("bank_statements", 0, 0, 0.0, 0.01, daily_file=True),
        Producer("treasury", SECOND, 2 * MINUTE, 0.01, 0.0005),
        Producer("treasury_desk", 10 * SECOND, 2 * MINUTE, 0.05, 0.001),
        Producer("network_schedules", MINUTE, 50 * MINUTE, 0.02, 0.001),
        Producer("network_funds", 10 * MINUTE, 6 * HOUR, 0.1, 0.002),
    )
}
"""The producers of the platform by name; no lag is so long that an event which is right comes beyond a window."""


def deliver(
    rng: np.random.Generator, producer: Producer, effective: Instants, bank: NDArray[np.int64] | None = None
) -> tuple[Instants, Instants]:
    """When events that are effective at these instants exist, and when they arrive: `occurred_at`, `recorded_at`.

    `bank` is the number of the bank of each line of a daily file.
    """
    count = len(effective)
    if producer.daily_file:
        place = np.zeros(count, dtype=np.int64) if bank is None else bank
        occurred = (effective // DAY + 1) * DAY + _FILE_HOUR + place * _BETWEEN_FILES
        return occurred, occurred + _READING_A_FILE
    writing = np.minimum(rng.exponential(_WRITING_SECONDS * SECOND, count), _LONGEST_WRITING)
    occurred = effective + writing.astype(np.int64)
    lag = producer.usual_lag * rng.lognormal(0.0, 0.8, count)
    waits = rng.random(count) < producer.out_of_order
    lag[waits] = rng.random(np.count_nonzero(waits)) * producer.longest_lag
    return occurred, occurred + np.minimum(lag, producer.longest_lag).astype(np.int64)


def delivered_again(rng: np.random.Generator, producer: Producer, events: pl.DataFrame) -> pl.DataFrame:
    """The events of a frame that come a second time, seconds to hours later; of a daily file all lines or none."""
    recorded = events["recorded_at"]
    if producer.daily_file:
        files = recorded.unique().sort()
        twice = files.filter(pl.Series(rng.random(len(files)) < producer.delivered_twice, dtype=pl.Boolean))
        again = events.filter(recorded.is_in(twice.implode()))
        return again.with_columns(pl.col("recorded_at") + pl.duration(minutes=30))
    rows = np.flatnonzero(rng.random(len(events)) < producer.delivered_twice)
    delay = pl.Series(rng.integers(SECOND, 2 * HOUR, len(rows))).cast(pl.Duration("us"))
    return events[rows].with_columns(pl.col("recorded_at") + delay)


def microseconds(instant: datetime) -> int:
    """An aware instant as whole microseconds since 1970 UTC."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

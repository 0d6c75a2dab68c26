"""A seeded world of the card platform, streamed in the order in which its events are delivered.

Memory holds one block of charges, one chunk, and the events that are made but not due yet: never the world.
Refuses any source of chance but the seed: equal options give equal events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.faults import FAULT_SCHEMA, plant
from clearwell.simulation.lifecycles import (
    DAY,
    EVENT_SCHEMA,
    HOUR,
    INSTANT,
    MINUTE,
    Instants,
    Pairs,
    Refunds,
    Sales,
    charge_pairs,
    draw_refunds,
    draw_sales,
    event_frame,
    payout_pairs,
    refund_pairs,
)
from clearwell.simulation.options import WorldOptions
from clearwell.simulation.platform import CURRENCIES, MINOR_PER_100_USD, draw_businesses

BLOCK_CHARGES = 50_000
"""Charges made at once. Part of the meaning of a seed: another block size gives other worlds."""

_SMALLEST_PAYOUT = 100
_STREAM_SCHEMA = pl.Schema({**EVENT_SCHEMA, "delivered_at": INSTANT})
# The first number after the seed keeps the generators of different purposes apart.
_CAST, _CHARGES, _PAYOUTS = 0, 1, 2


@dataclass(frozen=True)
class WorldChunk:
    """Events in delivery order (columns `EVENT_SCHEMA`), and faults planted meanwhile (`FAULT_SCHEMA`).

    A fault may be stated some chunks before or after its event is delivered.
    """

    events: pl.DataFrame
    faults: pl.DataFrame


def simulate(options: WorldOptions) -> Iterator[pl.DataFrame]:
    """The events of the world in frames of `chunk_events` rows (the last may be shorter), in delivery order.

    Rows are ordered by `occurred_at`, but for events that are delivered a second time. `effective_at`
    precedes `occurred_at` by a random lag, so a release can come before its creation. Columns:
    `EVENT_SCHEMA`.
    """
    for chunk in simulate_with_faults(options):
        yield chunk.events


def simulate_with_faults(options: WorldOptions) -> Iterator[WorldChunk]:
    """The same events as `simulate`, with the planted faults beside them."""
    world = _World(options)
    waiting, faults = pl.DataFrame(schema=EVENT_SCHEMA), pl.DataFrame(schema=FAULT_SCHEMA)
    for block in world.blocks():
        waiting, faults = pl.concat([waiting, block.events]), pl.concat([faults, block.faults])
        while len(waiting) >= options.chunk_events:
            yield WorldChunk(waiting.head(options.chunk_events), faults)
            waiting, faults = waiting.slice(options.chunk_events), faults.clear()
    if len(waiting) or len(faults):
        yield WorldChunk(waiting, faults)


class _World:
    """The state that passes from block to block: what is owed to businesses, and events not due yet."""

    def __init__(self, options: WorldOptions) -> None:
        self._options = options
        self._businesses = draw_businesses(self._generator(_CAST, 0), options.business_count)
        self._start = _microseconds(options.start)
        self._days = -(-options.span // timedelta(days=1))
        self._days_paid = 0
        # Owed in minor units by day, business, and home currency (0) or currency of sales abroad (1).
        self._owed = np.zeros((self._days, len(self._businesses), 2), dtype=np.int64)
        self._balance = np.zeros((len(self._businesses), 2), dtype=np.int64)
        self._clockwork = _daily_rhythm(options.span)
        self._pending = pl.DataFrame(schema=_STREAM_SCHEMA)

    def blocks(self) -> Iterator[WorldChunk]:
        """Frames of any length that follow one another in delivery order."""
        count = -(-self._options.charge_count // BLOCK_CHARGES)
        for number in range(count):
            last = number == count - 1
            end = self._instant_of((number + 1) * BLOCK_CHARGES / self._options.charge_count)
            events: list[pl.DataFrame] = []
            faults: list[pl.DataFrame] = []
            self._make_charges(number, events, faults)
            while self._days_paid < self._days and (last or self._day_start(self._days_paid + 1) <= end):
                self._pay_out(events, faults)
            yield WorldChunk(self._due(events, None if last else end), pl.concat([_no_faults(), *faults]))

    def _make_charges(self, number: int, events: list[pl.DataFrame], faults: list[pl.DataFrame]) -> None:
        rng = self._generator(_CHARGES, number)
        total = self._options.charge_count
        first, behind = number * BLOCK_CHARGES, min((number + 1) * BLOCK_CHARGES, total)
        shares = (first + (behind - first) * rng.random(behind - first)) / total
        sales = draw_sales(rng, self._businesses, self._instants_of(shares))
        refunds = draw_refunds(rng, sales)
        self._owe(sales, refunds)
        for pairs in (
            charge_pairs(rng, self._businesses, sales),
            refund_pairs(rng, self._businesses, sales, refunds),
        ):
            self._plant(pairs, rng, events, faults)

    def _owe(self, sales: Sales, refunds: Refunds) -> None:
        """Add sales to and take refunds from what is owed, on the days they are made."""
        day = np.minimum((sales.at - self._start) // DAY, self._days - 1)
        np.add.at(self._owed, (day, sales.business, sales.abroad), sales.gross - sales.fee)
        day = (refunds.at - self._start) // DAY
        within = day < self._days
        sale = refunds.sale[within]
        np.add.at(self._owed, (day[within], sales.business[sale], sales.abroad[sale]), -refunds.amount[within])

    def _pay_out(self, events: list[pl.DataFrame], faults: list[pl.DataFrame]) -> None:
        """On the morning after a day convert what was sold abroad, then pay out what is owed."""
        rng = self._generator(_PAYOUTS, self._days_paid)
        self._balance += self._owed[self._days_paid]
        self._days_paid += 1
        morning = self._day_start(self._days_paid) + 5 * HOUR
        converted = self._convert(rng, morning)
        if converted is not None:
            events.append(converted)
        payee = np.flatnonzero(self._balance[:, 0] >= _SMALLEST_PAYOUT)
        if len(payee):
            amount = self._balance[payee, 0]
            self._balance[payee, 0] = 0
            pairs = payout_pairs(rng, self._businesses, morning + HOUR, payee, amount)
            self._plant(pairs, rng, events, faults)

    def _convert(self, rng: np.random.Generator, morning: int) -> pl.DataFrame | None:
        seller = np.flatnonzero(self._balance[:, 1] >= _SMALLEST_PAYOUT)
        if not len(seller):
            return None
        home, abroad = self._businesses.currency[seller].T
        sold = self._balance[seller, 1]
        bought = sold * MINOR_PER_100_USD[home] // MINOR_PER_100_USD[abroad]
        self._balance[seller, 1] = 0
        self._balance[seller, 0] += bought
        return event_frame(
            rng,
            "conversion.executed",
            morning + rng.integers(0, 30 * MINUTE, len(seller)),
            properties={"business": self._businesses.ids.gather(seller)},
            amounts={"sold": (sold, CURRENCIES.gather(abroad)), "bought": (bought, CURRENCIES.gather(home))},
        )

    def _plant(
        self,
        pairs: Pairs,
        rng: np.random.Generator,
        events: list[pl.DataFrame],
        faults: list[pl.DataFrame],
    ) -> None:
        planted = plant(pairs, self._options.faults, rng, self._businesses.ids)
        events.extend(planted.events)
        faults.extend(planted.faults)

    def _due(self, events: list[pl.DataFrame], end: int | None) -> pl.DataFrame:
        """What is delivered before `end`, in order; the rest stays pending. Nothing made later is earlier."""
        frames = [frame for frame in (self._pending, *events) if len(frame)]
        stream = pl.concat([self._pending.clear(), *frames], how="diagonal")
        stream = stream.sort("delivered_at", maintain_order=True)
        cut = len(stream)
        if end is not None:
            cut = int(stream["delivered_at"].to_physical().search_sorted(end, side="left"))
        self._pending = _compacted(stream[cut:])
        return stream[:cut].drop("delivered_at")

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self._options.seed, purpose, number])

    def _day_start(self, day: int) -> int:
        return self._start + day * DAY

    def _instants_of(self, shares: NDArray[np.float64]) -> Instants:
        """When each share (0 to 1) of all charges has been made."""
        elapsed, done = self._clockwork
        return self._start + np.interp(shares, done, elapsed).astype(np.int64)

    def _instant_of(self, share: float) -> int:
        return int(self._instants_of(np.array([share]))[0])


def _daily_rhythm(span: timedelta) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of the curve "microseconds elapsed, share of charges made": a calm night, a busy evening."""
    points = max(2, span // timedelta(minutes=15) + 2)
    elapsed = np.linspace(0, span // timedelta(microseconds=1), points)
    rate = 1.0 - 0.7 * np.cos(2 * np.pi * (elapsed / DAY - 5 / 24))
    done = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)])
    return elapsed, done / done[-1]


def _microseconds(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _compacted(frame: pl.DataFrame) -> pl.DataFrame:
    """A copy that owns its text; a slice alone keeps alive the text of the whole frame it is cut from."""
    return pl.DataFrame(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), schema=frame.schema)


def _no_faults() -> pl.DataFrame:
    return pl.DataFrame(schema=FAULT_SCHEMA)

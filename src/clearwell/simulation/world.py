"""A seeded world of the card platform, streamed in the order in which its events are delivered.

Memory holds one block of charges, one chunk, and the events that are made but not due yet, such as refunds of the next
days: never the world.
Refuses any source of chance but the seed: equal options give equal events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.delivery import DAY, INSTANT, PRODUCERS, Instants, delivered_again, microseconds
from clearwell.simulation.events import EVENT_SCHEMA, STREAM_SCHEMA
from clearwell.simulation.faults import Plan, plant
from clearwell.simulation.lifecycles import Course
from clearwell.simulation.options import WorldOptions
from clearwell.simulation.platform import BRL, NETWORKS, draw_businesses
from clearwell.simulation.sales import (
    Disputes,
    Refunds,
    Sales,
    Transfers,
    charge_course,
    dispute_courses,
    draw_disputes,
    draw_refunds,
    draw_sales,
    draw_transfers,
    refund_course,
    transfer_course,
)
from clearwell.simulation.treasury import (
    SMALLEST_PAYOUT,
    Owed,
    conversion_course,
    draw_conversions,
    payout_course,
    settlement_course,
)
from clearwell.simulation.truth import FAULT_SCHEMA

BLOCK_CHARGES = 50_000
"""Charges made at once. Part of the meaning of a seed: another block size gives other worlds."""

# The first number after the seed keeps the generators of different purposes apart.
_CAST, _CHARGES, _MORNINGS = 0, 1, 2


@dataclass(frozen=True)
class WorldChunk:
    """Events in delivery order (columns `EVENT_SCHEMA`), and faults planted meanwhile (`FAULT_SCHEMA`).

    `recorded_at` is when each of the events arrives. A fault may be stated some chunks before or after its event.
    """

    events: pl.DataFrame
    faults: pl.DataFrame
    recorded_at: pl.Series


def simulate(options: WorldOptions) -> Iterator[pl.DataFrame]:
    """The events of the world in frames of `chunk_events` rows (the last may be shorter), in delivery order.

    An event is effective, then occurs, then is delivered, each after a random lag, so that a release can come before
    its creation; some come twice. Columns: `EVENT_SCHEMA`.
    """
    for chunk in simulate_with_faults(options):
        yield chunk.events


def simulate_with_faults(options: WorldOptions) -> Iterator[WorldChunk]:
    """The same events as `simulate`, with the planted faults and the instants of delivery beside them."""
    world = _World(options)
    waiting, faults = pl.DataFrame(schema=STREAM_SCHEMA), pl.DataFrame(schema=FAULT_SCHEMA)
    for events, planted in world.blocks():
        waiting, faults = pl.concat([waiting, events]), pl.concat([faults, planted])
        while len(waiting) >= options.chunk_events:
            yield _chunk(waiting.head(options.chunk_events), faults)
            waiting, faults = waiting.slice(options.chunk_events), faults.clear()
    if len(waiting) or len(faults):
        yield _chunk(waiting, faults)


def _chunk(stream: pl.DataFrame, faults: pl.DataFrame) -> WorldChunk:
    return WorldChunk(stream.select(EVENT_SCHEMA.names()), faults, stream["recorded_at"])


class _World:
    """The state that passes from block to block: what is owed to businesses, and events not due yet."""

    def __init__(self, options: WorldOptions) -> None:
        self._options = options
        self._businesses = draw_businesses(self._generator(_CAST, 0), options.business_count)
        self._names = {"business": self._businesses.ids, "seller": self._businesses.ids}
        self._start = microseconds(options.start)
        self._until = None if options.until is None else microseconds(options.until)
        self._days = -(-options.span // timedelta(days=1))
        self._days_over = 0
        # By business, and home currency (0) or currency of sales abroad (1); and sales in Brazil by network.
        self._owed = Owed((len(self._businesses), 2))
        self._sold_in_brazil = Owed((len(self._businesses), len(NETWORKS)))
        self._balance = np.zeros((len(self._businesses), 2), dtype=np.int64)
        self._clockwork = _daily_rhythm(options.span)
        self._pending = pl.DataFrame(schema=STREAM_SCHEMA)

    def blocks(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Frames of events (`STREAM_SCHEMA`), of any length, that follow one another in delivery order, and faults."""
        count = -(-self._options.charge_count // BLOCK_CHARGES)
        begin = self._start
        for number in range(count):
            if self._until is not None and begin > self._until:
                return
            last = number == count - 1
            end = self._instant_of((number + 1) * BLOCK_CHARGES / self._options.charge_count)
            events, faults = list[pl.DataFrame](), [pl.DataFrame(schema=FAULT_SCHEMA)]
            self._make_charges(number, events, faults)
            while self._days_over < self._days and (last or self._day_start(self._days_over + 1) <= end):
                self._begin_morning(events, faults)
            yield self._due(events, None if last else end), self._known(pl.concat(faults), "from_recorded_at")
            begin = end

    def _make_charges(self, number: int, events: list[pl.DataFrame], faults: list[pl.DataFrame]) -> None:
        rng, businesses = self._generator(_CHARGES, number), self._businesses
        total = self._options.charge_count
        first, behind = number * BLOCK_CHARGES, min((number + 1) * BLOCK_CHARGES, total)
        shares = (first + (behind - first) * rng.random(behind - first)) / total
        sales = draw_sales(rng, businesses, self._instants_of(shares))
        refunds = draw_refunds(rng, sales)
        disputes = draw_disputes(rng, sales, refunds)
        transfers = draw_transfers(rng, businesses, sales)
        self._owe_for_sales(sales, refunds)
        self._owe_for_disputes(sales, disputes)
        self._owe_for_transfers(sales, transfers)
        for course in (
            charge_course(rng, businesses, sales),
            refund_course(rng, businesses, sales, refunds),
            *dispute_courses(rng, businesses, sales, disputes),
            transfer_course(rng, businesses, sales, transfers),
        ):
            self._plant(course, rng, events, faults)

    def _owe_for_sales(self, sales: Sales, refunds: Refunds) -> None:
        self._owe(sales.at, (sales.business, sales.abroad), sales.gross - sales.fee)
        sale = refunds.sale
        self._owe(refunds.at, (sales.business[sale], sales.abroad[sale]), -refunds.amount)
        brazil = np.flatnonzero(sales.currency == BRL)
        day = np.minimum((sales.at[brazil] - self._start) // DAY, self._days - 1)
        self._sold_in_brazil.add(day, (sales.business[brazil], sales.network[brazil]), sales.gross[brazil])

    def _owe_for_disputes(self, sales: Sales, disputes: Disputes) -> None:
        sale, held = disputes.sale, disputes.amount + disputes.fee
        place = (sales.business[sale], sales.abroad[sale])
        self._owe(disputes.at, place, -held)
        self._owe(disputes.decided, place, np.where(disputes.won, held, 0))

    def _owe_for_transfers(self, sales: Sales, transfers: Transfers) -> None:
        sale = transfers.sale
        self._owe(transfers.at, (sales.business[sale], sales.abroad[sale]), -transfers.amount)
        self._owe(transfers.received, (transfers.seller, np.zeros_like(transfers.seller)), transfers.amount)

    def _owe(self, at: Instants, place: tuple[NDArray[np.int64], ...], amount: NDArray[np.int64]) -> None:
        """Add to what is owed on the days of these instants; what comes after the last day is paid out no more."""
        day = (at - self._start) // DAY
        within = day < self._days
        self._owed.add(day[within], tuple(index[within] for index in place), amount[within])

    def _begin_morning(self, events: list[pl.DataFrame], faults: list[pl.DataFrame]) -> None:
        """On the morning after a day convert what was sold abroad, pay out what is owed, and hear of settlements."""
        rng, businesses, day = self._generator(_MORNINGS, self._days_over), self._businesses, self._days_over
        self._balance += self._owed.take(day)
        self._days_over += 1
        start = self._day_start(self._days_over)
        conversions = draw_conversions(businesses, self._balance)
        self._balance[conversions.seller, 1] = 0
        self._balance[conversions.seller, 0] += conversions.bought
        payee = np.flatnonzero(self._balance[:, 0] >= SMALLEST_PAYOUT)
        amount = self._balance[payee, 0]
        self._balance[payee, 0] = 0
        for course in (
            conversion_course(rng, businesses, start, conversions),
            payout_course(rng, businesses, start, payee, amount),
            settlement_course(rng, businesses, start, self._sold_in_brazil.take(day)),
        ):
            self._plant(course, rng, events, faults)

    def _plant(
        self, course: Course, rng: np.random.Generator, events: list[pl.DataFrame], faults: list[pl.DataFrame]
    ) -> None:
        rates = self._options.rates_of(course.lifecycle.name)
        planted = plant(course, Plan(rates, self._options.incidents, self._names), rng)
        for step, frame in planted.events:
            again = delivered_again(rng, PRODUCERS[step.producer], frame)
            events += [frame, again] if len(again) else [frame]
        faults.extend(planted.faults)

    def _due(self, events: list[pl.DataFrame], end: int | None) -> pl.DataFrame:
        """What is delivered before `end`, in order; the rest stays pending. Nothing made later is earlier."""
        frames = [frame for frame in (self._pending, *events) if len(frame)]
        stream = pl.concat([self._pending.clear(), *frames], how="diagonal")
        stream = stream.sort("recorded_at", maintain_order=True)
        cut = len(stream)
        if end is not None:
            cut = int(stream["recorded_at"].to_physical().search_sorted(end, side="left"))
        self._pending = _compacted(stream[cut:])
        return self._known(stream[:cut], "recorded_at")

    def _known(self, frame: pl.DataFrame, column: str) -> pl.DataFrame:
        """The rows of which something has arrived by the end of the world."""
        if self._until is None:
            return frame
        return frame.filter(pl.col(column) <= pl.lit(self._until).cast(INSTANT))

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


def _compacted(frame: pl.DataFrame) -> pl.DataFrame:
    """A copy that owns its text; a slice alone keeps alive the text of the whole frame it is cut from."""
    return pl.DataFrame(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), schema=frame.schema)

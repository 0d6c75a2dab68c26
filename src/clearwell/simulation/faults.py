"""Planted faults: what can go wrong between an opening and a closing event, and the money it strands.

Each kind is one function that turns right events into wrong ones and states the truth about them.
Refuses to plant more than one fault in a lifecycle, so that no fault hides another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.identifiers import identifiers
from clearwell.simulation.lifecycles import HOUR, INSTANT, MINUTE, SECOND, Lifecycle, Pairs
from clearwell.simulation.options import FaultRates

FAULT_KINDS = tuple(rate.name for rate in fields(FaultRates))
_FAULT_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "kind": pl.String,
    "producer": pl.String,
    "event_type": pl.String,
    "event_id": pl.String,
    "account_type": pl.String,
    "account": pl.String,
    "currency": pl.String,
    "amount_minor": pl.Int64,
    "effective_at": INSTANT,
    "until": INSTANT,
}
FAULT_SCHEMA = pl.Schema(_FAULT_COLUMNS)
"""The columns of a frame of planted faults: the fields of `PlantedFault`."""


@dataclass(frozen=True)
class PlantedFault:
    """One clearing account that a fault leaves standing, and the event that is to blame.

    `amount_minor` is signed and in minor units: what the fault leaves in the account. `effective_at` is that
    of the event; for one that is missing or late, when it should have been. `until` is when a late event
    cleared the account after all, else None: the money stands there at the end. A duplicate delivery strands
    nothing. A wrong property strands two accounts and so gives two of these.
    """

    kind: str
    producer: str
    event_type: str
    event_id: str
    account_type: str
    account: str
    currency: str
    amount_minor: int
    effective_at: datetime
    until: datetime | None


@dataclass(frozen=True)
class Planted:
    """The events of some lifecycles as they come to pass, and the planted faults among them."""

    events: list[pl.DataFrame]
    faults: list[pl.DataFrame]


@dataclass(frozen=True)
class _Case:
    """Row-aligned lifecycles of which the event `event` goes wrong and `partner` is as it should be.

    `sign` is +1 when `event` opens the account and -1 when it closes it.
    """

    lifecycle: Lifecycle
    event: pl.DataFrame
    partner: pl.DataFrame
    sign: int
    rng: np.random.Generator
    businesses: pl.Series

    @property
    def _opening(self) -> pl.DataFrame:
        return self.event if self.sign > 0 else self.partner

    @property
    def stake(self) -> pl.Series:
        return self._opening[f"amount_{self.lifecycle.stake}"]

    @property
    def currency(self) -> pl.Series:
        return self._opening[f"currency_{self.lifecycle.stake}"]

    def fault(self, kind: str, event: pl.DataFrame, amount: pl.Series, until: pl.Series | None = None) -> pl.DataFrame:
        """State the truth: `amount` stands in the accounts that the rows of `event` name."""
        life = self.lifecycle
        account = pl.concat_str(
            pl.lit(f"{life.account_type}{{{life.subject}="),
            pl.col(f"property_{life.subject}"),
            pl.lit(", business="),
            pl.col("property_business"),
            pl.lit("}"),
        )
        return event.select(
            pl.lit(kind).alias("kind"),
            pl.lit(life.opening_producer if self.sign > 0 else life.closing_producer).alias("producer"),
            pl.col("type").alias("event_type"),
            pl.col("id").alias("event_id"),
            pl.lit(life.account_type).alias("account_type"),
            account.alias("account"),
            self.currency.alias("currency"),
            amount.alias("amount_minor"),
            "effective_at",
            pl.lit(None, INSTANT).alias("until") if until is None else until.alias("until"),
        )


def plant(pairs: Pairs, rates: FaultRates, rng: np.random.Generator, businesses: pl.Series) -> Planted:
    """Let each lifecycle go right, or wrong in one of `FAULT_KINDS` with the probability in `rates`.

    `businesses` are the ids, at least two, from which a wrong business is taken.
    """
    limits = np.cumsum([getattr(rates, kind) for kind in FAULT_KINDS])
    fate = np.searchsorted(limits, rng.random(len(pairs.opening)), side="right")
    right = pl.Series(fate == len(FAULT_KINDS))
    planted = Planted([pairs.opening.filter(right), pairs.closing.filter(right)], [])
    for number, kind in enumerate(FAULT_KINDS):
        rows = np.flatnonzero(fate == number)
        at_opening = rng.random(len(rows)) < (_SHARE_AT_OPENING if kind in _EITHER_SIDE else 0.0)
        for sign, chosen in ((1, rows[at_opening]), (-1, rows[~at_opening])):
            if len(chosen):
                opening, closing = pairs.opening[chosen], pairs.closing[chosen]
                event, partner = (opening, closing) if sign > 0 else (closing, opening)
                case = _Case(pairs.lifecycle, event, partner, sign, rng, businesses)
                outcome = _PLANTERS[kind](case)
                planted.events.extend(outcome.events)
                planted.faults.extend(outcome.faults)
    return planted


def planted_faults(frame: pl.DataFrame) -> Iterator[PlantedFault]:
    """The rows of a frame of `FAULT_SCHEMA` as values, in order."""
    for row in frame.select(FAULT_SCHEMA.names()).iter_rows(named=True):
        yield PlantedFault(**row)


def _missing_event(case: _Case) -> Planted:
    fault = case.fault("missing_event", case.event, -case.sign * case.stake)
    return Planted([case.partner], [fault])


def _wrong_property(case: _Case) -> Planted:
    """The closing event names another business: one account stays full, another falls below zero."""
    other = case.businesses.gather(_other_rows(case))
    changed = case.event.with_columns(property_business=other)
    faults = [
        case.fault("wrong_property", case.event, -case.sign * case.stake),
        case.fault("wrong_property", changed, case.sign * case.stake),
    ]
    return Planted([changed, case.partner], faults)


def _wrong_amount(case: _Case) -> Planted:
    """One amount of the closing event is off by one to nine minor units."""
    count = len(case.event)
    error = pl.Series(case.rng.integers(1, 10, count) * case.rng.choice(np.array([-1, 1]), count))
    column = f"amount_{case.lifecycle.disturbed}"
    changed = case.event.with_columns((pl.col(column) + error).alias(column))
    return Planted([changed, case.partner], [case.fault("wrong_amount", changed, case.sign * error)])


def _double_posting(case: _Case) -> Planted:
    """A retry some seconds or minutes later got a new id, so nothing recognises it as the same."""
    delay = _delay(case, SECOND, 5 * MINUTE)
    again = _later(case.event, delay).with_columns(id=identifiers(case.rng, "evt_", len(case.event)))
    fault = case.fault("double_posting", again, case.sign * case.stake)
    return Planted([case.event, case.partner, again], [fault])


def _duplicate_delivery(case: _Case) -> Planted:
    """The very same event comes twice; a ledger that knows ids takes no harm."""
    again = case.event.with_columns(delivered_at=pl.col("delivered_at") + _delay(case, SECOND, 2 * HOUR))
    fault = case.fault("duplicate_delivery", case.event, 0 * case.stake)
    return Planted([case.event, case.partner, again], [fault])


def _late_event(case: _Case) -> Planted:
    """The closing event happens long after the clearing window has run out."""
    target = case.partner["effective_at"] + _delay(case, *case.lifecycle.late_after)
    late = _later(case.event, target - case.event["effective_at"])
    fault = case.fault("late_event", case.event, -case.sign * case.stake, late["effective_at"])
    return Planted([late, case.partner], [fault])


def _other_rows(case: _Case) -> NDArray[np.int64]:
    """For each row the place of a business that is not the right one, all others being equally likely."""
    places = pl.DataFrame({"business": case.businesses}).with_row_index("place")
    right = case.event.select("property_business").join(
        places, left_on="property_business", right_on="business", how="left", maintain_order="left"
    )
    shift = case.rng.integers(1, len(case.businesses), len(right))
    return (right["place"].to_numpy().astype(np.int64) + shift) % len(case.businesses)


def _delay(case: _Case, shortest: int, longest: int) -> pl.Series:
    return pl.Series(case.rng.integers(shortest, longest, len(case.event))).cast(pl.Duration("us"))


def _later(event: pl.DataFrame, delay: pl.Series) -> pl.DataFrame:
    return event.with_columns(pl.col("effective_at", "occurred_at", "delivered_at") + delay)


_SHARE_AT_OPENING = 0.2
_EITHER_SIDE = ("missing_event", "double_posting", "duplicate_delivery")
_PLANTERS: dict[str, Callable[[_Case], Planted]] = {
    "missing_event": _missing_event,
    "wrong_property": _wrong_property,
    "wrong_amount": _wrong_amount,
    "double_posting": _double_posting,
    "duplicate_delivery": _duplicate_delivery,
    "late_event": _late_event,
}

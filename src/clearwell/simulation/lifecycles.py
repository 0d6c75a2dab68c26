"""The three things that open a clearing account and close it again: a charge, a refund and a payout.

Each becomes two row-aligned frames, the opening and the closing events, as they should be.
Refuses to make mistakes: `faults` does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.identifiers import identifiers
from clearwell.simulation.platform import (
    BANKS,
    CURRENCIES,
    MINOR_PER_100_USD,
    NETWORK_SHARES,
    NETWORKS,
    Businesses,
)
from clearwell.values.columns import amount_column, currency_column, property_column

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
"""Durations in microseconds, as all instants here are whole microseconds since 1970 UTC."""

INSTANT = pl.Datetime("us", "UTC")
PROPERTIES = ("charge", "business", "network", "refund", "payout", "bank")
AMOUNTS = ("gross", "net", "fee", "refunded", "paid_out", "sold", "bought")
_EVENT_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "type": pl.String,
    "id": pl.String,
    "effective_at": INSTANT,
    "occurred_at": INSTANT,
    **{property_column(name): pl.String for name in PROPERTIES},
    **{amount_column(name): pl.Int64 for name in AMOUNTS},
    **{currency_column(name): pl.String for name in AMOUNTS},
}
EVENT_SCHEMA = pl.Schema(_EVENT_COLUMNS)
"""The columns of a chunk of events."""

_SMALLEST_GROSS = 50
_REFUND_SHARE = 0.02
Instants = NDArray[np.int64]


@dataclass(frozen=True)
class Lifecycle:
    """How one clearing account type is opened and closed.

    The account's properties are `subject` and `business`. `stake` names the amount of the opening event,
    `disturbed` the amount of the closing event that a wrong amount changes, and `late_after` the shortest
    and longest time, in microseconds after the opening, of a closing event that is too late.
    """

    account_type: str
    subject: str
    opening_type: str
    opening_producer: str
    closing_type: str
    closing_producer: str
    stake: str
    disturbed: str
    late_after: tuple[int, int]


CHARGE = Lifecycle(
    account_type="charge_undisbursed",
    subject="charge",
    opening_type="charge.creation",
    opening_producer="charges",
    closing_type="charge.release",
    closing_producer="disbursements",
    stake="gross",
    disturbed="fee",
    late_after=(20 * MINUTE, 12 * HOUR),
)
REFUND = Lifecycle(
    account_type="refund_in_transit",
    subject="refund",
    opening_type="refund.created",
    opening_producer="refunds",
    closing_type="refund.settled",
    closing_producer="card_gateway",
    stake="refunded",
    disturbed="refunded",
    late_after=(60 * HOUR, 120 * HOUR),
)
PAYOUT = Lifecycle(
    account_type="payout_in_transit",
    subject="payout",
    opening_type="payout.created",
    opening_producer="payouts",
    closing_type="payout.paid",
    closing_producer="bank_gateway",
    stake="paid_out",
    disturbed="paid_out",
    # Two business days can be five or six days of the calendar; a week is late whatever the calendar says.
    late_after=(7 * DAY, 10 * DAY),
)


@dataclass(frozen=True)
class Pairs:
    """Lifecycles of one kind: `opening` and `closing` are row-aligned frames of events."""

    lifecycle: Lifecycle
    opening: pl.DataFrame
    closing: pl.DataFrame


@dataclass(frozen=True)
class Sales:
    """Charges before they are events, one row each: amounts in minor units, `abroad` 0 or 1."""

    at: Instants
    business: NDArray[np.int64]
    abroad: NDArray[np.int64]
    gross: NDArray[np.int64]
    fee: NDArray[np.int64]
    charge: pl.Series
    network: pl.Series


@dataclass(frozen=True)
class Refunds:
    """Refunds before they are events: `sale` is the row of the sale, `amount` in minor units."""

    at: Instants
    sale: NDArray[np.int64]
    amount: NDArray[np.int64]


def draw_sales(rng: np.random.Generator, businesses: Businesses, at: Instants) -> Sales:
    """Draw one sale for each instant: log-normal prices around what its business typically takes."""
    count = len(at)
    business = np.searchsorted(businesses.cumulative_share, rng.random(count), side="right")
    abroad = (rng.random(count) < businesses.share_abroad[business]).astype(np.int64)
    usd = businesses.typical_usd[business] * rng.lognormal(0.0, 0.8, count)
    per_usd = MINOR_PER_100_USD[businesses.currency[business, abroad]] / 100.0
    gross = np.maximum(np.rint(usd * per_usd).astype(np.int64), _SMALLEST_GROSS)
    network = np.searchsorted(np.cumsum(NETWORK_SHARES)[:-1], rng.random(count), side="right")
    return Sales(
        at=at,
        business=business,
        abroad=abroad,
        gross=gross,
        fee=gross * 29 // 1000 + 30,
        charge=identifiers(rng, "ch_", count),
        network=NETWORKS.gather(network),
    )


def charge_pairs(rng: np.random.Generator, businesses: Businesses, sales: Sales) -> Pairs:
    """The creation of each charge, and its release some seconds or minutes later (below nine minutes)."""
    released = sales.at + _lags(rng, len(sales.at), 20 * SECOND, (SECOND, 9 * MINUTE))
    currency = CURRENCIES.gather(businesses.currency[sales.business, sales.abroad])
    shared = {"charge": sales.charge, "business": businesses.ids.gather(sales.business)}
    opening = event_frame(
        rng,
        CHARGE.opening_type,
        sales.at,
        properties={**shared, "network": sales.network},
        amounts={"gross": (sales.gross, currency)},
    )
    closing = event_frame(
        rng,
        CHARGE.closing_type,
        released,
        properties=shared,
        amounts={"net": (sales.gross - sales.fee, currency), "fee": (sales.fee, currency)},
    )
    return Pairs(CHARGE, opening, closing)


def draw_refunds(rng: np.random.Generator, sales: Sales) -> Refunds:
    """Choose the sales that will be given back, most of them whole, hours or days after they were made."""
    sale = np.flatnonzero(rng.random(len(sales.at)) < _REFUND_SHARE)
    gross = sales.gross[sale]
    percent = np.where(rng.random(len(sale)) < 0.8, 100, rng.integers(20, 91, len(sale)))
    at = sales.at[sale] + _lags(rng, len(sale), 8 * HOUR, (15 * MINUTE, 4 * DAY))
    return Refunds(at=at, sale=sale, amount=gross * percent // 100)


def refund_pairs(rng: np.random.Generator, businesses: Businesses, sales: Sales, refunds: Refunds) -> Pairs:
    """The creation of each refund, and its settlement by the card network within a day and a half."""
    business = sales.business[refunds.sale]
    currency = CURRENCIES.gather(businesses.currency[business, sales.abroad[refunds.sale]])
    settled = refunds.at + _lags(rng, len(refunds.at), 2 * HOUR, (5 * MINUTE, 36 * HOUR))
    shared = {
        "refund": identifiers(rng, "re_", len(refunds.at)),
        "business": businesses.ids.gather(business),
    }
    charge, network = sales.charge.gather(refunds.sale), sales.network.gather(refunds.sale)
    amounts = {"refunded": (refunds.amount, currency)}
    opening = event_frame(
        rng, REFUND.opening_type, refunds.at, properties={**shared, "charge": charge}, amounts=amounts
    )
    closing = event_frame(rng, REFUND.closing_type, settled, properties={**shared, "network": network}, amounts=amounts)
    return Pairs(REFUND, opening, closing)


def payout_pairs(
    rng: np.random.Generator,
    businesses: Businesses,
    at: int,
    payee: NDArray[np.int64],
    amount: NDArray[np.int64],
) -> Pairs:
    """The payouts of one morning to the businesses `payee`, paid in the afternoon of the next weekday."""
    created = at + rng.integers(0, 30 * MINUTE, len(payee))
    today = (created // DAY).astype("datetime64[D]")
    weekday = np.busday_offset(today, 1, roll="backward").astype(np.int64)
    paid = weekday * DAY + 13 * HOUR + rng.integers(0, 4 * HOUR, len(payee))
    home = businesses.currency[payee, 0]
    shared = {"payout": identifiers(rng, "po_", len(payee)), "business": businesses.ids.gather(payee)}
    amounts = {"paid_out": (amount, CURRENCIES.gather(home))}
    opening = event_frame(rng, PAYOUT.opening_type, created, properties=shared, amounts=amounts)
    closing = event_frame(
        rng, PAYOUT.closing_type, paid, properties={**shared, "bank": BANKS.gather(home)}, amounts=amounts
    )
    return Pairs(PAYOUT, opening, closing)


def event_frame(
    rng: np.random.Generator,
    event_type: str,
    effective: Instants,
    *,
    properties: Mapping[str, pl.Series],
    amounts: Mapping[str, tuple[NDArray[np.int64], pl.Series]],
) -> pl.DataFrame:
    """One event per instant, with an id, and `occurred_at` a moment after `effective_at`.

    Beside the columns of `EVENT_SCHEMA` that this type has there is `delivered_at`, the order of the stream.
    """
    occurred = effective + _publication_lags(rng, len(effective))
    columns: dict[str, pl.Series] = {
        "id": identifiers(rng, "evt_", len(effective)),
        "effective_at": pl.Series(effective).cast(INSTANT),
        "occurred_at": pl.Series(occurred).cast(INSTANT),
        "delivered_at": pl.Series(occurred).cast(INSTANT),
    }
    columns |= {property_column(name): values for name, values in properties.items()}
    for name, (values, currency) in amounts.items():
        columns |= {amount_column(name): pl.Series(values), currency_column(name): currency}
    return pl.DataFrame(columns).with_columns(type=pl.lit(event_type))


def _lags(rng: np.random.Generator, count: int, median: int, limits: tuple[int, int]) -> Instants:
    return np.clip(rng.lognormal(np.log(median), 1.2, count), *limits).astype(np.int64)


def _publication_lags(rng: np.random.Generator, count: int) -> Instants:
    """Most events exist at once; two percent wait in a queue, so that a release can precede its creation."""
    usual = np.where(rng.random(count) < 0.02, 45 * SECOND, SECOND // 4)
    return (rng.exponential(1.0, count) * usual).astype(np.int64)

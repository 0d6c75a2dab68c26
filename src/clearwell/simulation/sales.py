"""What sales set in motion: charges, refunds, disputes, and transfers to the sellers of a marketplace.

Each is drawn first as plain columns, so that the world knows what is owed, and then becomes a course of events.
Refuses to make mistakes: `faults` does that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation.delivery import DAY, HOUR, MINUTE, SECOND, Instants
from clearwell.simulation.events import Content, event_frame
from clearwell.simulation.identifiers import identifiers
from clearwell.simulation.lifecycles import CHARGE, DISPUTE_LOST, DISPUTE_WON, REFUND, TRANSFER, Course
from clearwell.simulation.platform import CURRENCIES, MINOR_PER_100_USD, NETWORK_SHARES, NETWORKS, Businesses

_SMALLEST_GROSS = 50
_REFUND_SHARE = 0.02
_DISPUTE_SHARE = 0.003
_WON_SHARE = 0.4
_DISPUTE_FEE_USD = 15


@dataclass(frozen=True)
class Sales:
    """Charges before they are events, one row each: amounts in minor units, `abroad` 0 or 1.

    `currency` and `network` are places in `CURRENCIES` and `NETWORKS`.
    """

    at: Instants
    business: NDArray[np.int64]
    abroad: NDArray[np.int64]
    currency: NDArray[np.int64]
    gross: NDArray[np.int64]
    fee: NDArray[np.int64]
    charge: pl.Series
    network: NDArray[np.int64]


@dataclass(frozen=True)
class Refunds:
    """Refunds before they are events: `sale` is the row of the sale, `amount` in minor units."""

    at: Instants
    sale: NDArray[np.int64]
    amount: NDArray[np.int64]


@dataclass(frozen=True)
class Disputes:
    """Disputes before they are events: `amount` and `fee` are held from `at` until the decision at `decided`."""

    at: Instants
    decided: Instants
    won: NDArray[np.bool_]
    sale: NDArray[np.int64]
    amount: NDArray[np.int64]
    fee: NDArray[np.int64]


@dataclass(frozen=True)
class Transfers:
    """Transfers before they are events: `seller` is the row of the business that receives the amount."""

    at: Instants
    received: Instants
    sale: NDArray[np.int64]
    seller: NDArray[np.int64]
    amount: NDArray[np.int64]


def draw_sales(rng: np.random.Generator, businesses: Businesses, at: Instants) -> Sales:
    """Draw one sale for each instant: log-normal prices around what its business typically takes."""
    count = len(at)
    business = np.searchsorted(businesses.cumulative_share, rng.random(count), side="right")
    abroad = (rng.random(count) < businesses.share_abroad[business]).astype(np.int64)
    currency = businesses.currency[business, abroad]
    usd = businesses.typical_usd[business] * rng.lognormal(0.0, 0.8, count)
    gross = np.maximum(np.rint(usd * (MINOR_PER_100_USD[currency] / 100.0)).astype(np.int64), _SMALLEST_GROSS)
    return Sales(
        at=at,
        business=business,
        abroad=abroad,
        currency=currency,
        gross=gross,
        fee=gross * 29 // 1000 + 30,
        charge=identifiers(rng, "ch_", count),
        network=np.searchsorted(np.cumsum(NETWORK_SHARES)[:-1], rng.random(count), side="right"),
    )


def draw_refunds(rng: np.random.Generator, sales: Sales) -> Refunds:
    """Choose the sales that will be given back, most of them whole, hours or days after they were made."""
    sale = np.flatnonzero(rng.random(len(sales.at)) < _REFUND_SHARE)
    gross = sales.gross[sale]
    percent = np.where(rng.random(len(sale)) < 0.8, 100, rng.integers(20, 91, len(sale)))
    at = sales.at[sale] + lags(rng, len(sale), 8 * HOUR, (15 * MINUTE, 4 * DAY))
    return Refunds(at=at, sale=sale, amount=gross * percent // 100)


def draw_disputes(rng: np.random.Generator, sales: Sales, refunds: Refunds) -> Disputes:
    """Choose sales, none of them refunded, that a card holder disputes after days; decided two to 25 days later."""
    disputed = rng.random(len(sales.at)) < _DISPUTE_SHARE
    disputed[refunds.sale] = False
    sale = np.flatnonzero(disputed)
    at = sales.at[sale] + lags(rng, len(sale), 2 * DAY, (2 * HOUR, 10 * DAY))
    return Disputes(
        at=at,
        decided=at + lags(rng, len(sale), 8 * DAY, (2 * DAY, 25 * DAY)),
        won=rng.random(len(sale)) < _WON_SHARE,
        sale=sale,
        amount=sales.gross[sale],
        fee=_DISPUTE_FEE_USD * MINOR_PER_100_USD[sales.currency[sale]] // 100,
    )


def draw_transfers(rng: np.random.Generator, businesses: Businesses, sales: Sales) -> Transfers:
    """Choose the sales of marketplaces that belong to a seller, who gets most of the net amount within a day."""
    chosen = np.flatnonzero(rng.random(len(sales.at)) < businesses.share_transferred[sales.business])
    seller = businesses.sellers_of(rng, sales.currency[chosen])
    other = (seller >= 0) & (seller != sales.business[chosen])
    sale, seller = chosen[other], seller[other]
    at = sales.at[sale] + lags(rng, len(sale), 30 * MINUTE, (10 * MINUTE, 6 * HOUR))
    percent = rng.integers(70, 96, len(sale))
    return Transfers(
        at=at,
        received=at + lags(rng, len(sale), 20 * MINUTE, (MINUTE, 20 * HOUR)),
        sale=sale,
        seller=seller,
        amount=(sales.gross[sale] - sales.fee[sale]) * percent // 100,
    )


def charge_course(rng: np.random.Generator, businesses: Businesses, sales: Sales) -> Course:
    """The creation of each charge, and its release some seconds or minutes later (at most eight minutes)."""
    released = sales.at + lags(rng, len(sales.at), 20 * SECOND, (SECOND, 8 * MINUTE))
    currency = CURRENCIES.gather(sales.currency)
    shared = {"charge": sales.charge, "business": businesses.ids.gather(sales.business)}
    network = {"network": NETWORKS.gather(sales.network)}
    created, release = CHARGE.steps
    opening = event_frame(rng, created, sales.at, Content(shared | network, {"gross": (sales.gross, currency)}))
    amounts = {"net": (sales.gross - sales.fee, currency), "fee": (sales.fee, currency)}
    return Course(CHARGE, (opening, event_frame(rng, release, released, Content(shared, amounts))))


def refund_course(rng: np.random.Generator, businesses: Businesses, sales: Sales, refunds: Refunds) -> Course:
    """The creation of each refund, and its settlement by the card network within a day and a half."""
    currency = CURRENCIES.gather(sales.currency[refunds.sale])
    settled = refunds.at + lags(rng, len(refunds.at), 2 * HOUR, (5 * MINUTE, 36 * HOUR))
    shared = {
        "refund": identifiers(rng, "re_", len(refunds.at)),
        "business": businesses.ids.gather(sales.business[refunds.sale]),
    }
    charge = {"charge": sales.charge.gather(refunds.sale)}
    network = {"network": NETWORKS.gather(sales.network[refunds.sale])}
    amounts = {"refunded": (refunds.amount, currency)}
    created, settlement = REFUND.steps
    opening = event_frame(rng, created, refunds.at, Content(shared | charge, amounts))
    return Course(REFUND, (opening, event_frame(rng, settlement, settled, Content(shared | network, amounts))))


def dispute_courses(
    rng: np.random.Generator, businesses: Businesses, sales: Sales, disputes: Disputes
) -> tuple[Course, Course]:
    """The disputes that the business won, and those that it lost to the card holder."""
    courses = []
    for lifecycle, chosen in ((DISPUTE_WON, disputes.won), (DISPUTE_LOST, ~disputes.won)):
        sale, count = disputes.sale[chosen], int(np.count_nonzero(chosen))
        currency = CURRENCIES.gather(sales.currency[sale])
        shared = {
            "dispute": identifiers(rng, "dp_", count),
            "business": businesses.ids.gather(sales.business[sale]),
        }
        charge, network = sales.charge.gather(sale), NETWORKS.gather(sales.network[sale])
        amounts = {"disputed": (disputes.amount[chosen], currency), "dispute_fee": (disputes.fee[chosen], currency)}
        opened, decision = lifecycle.steps
        lost = {} if lifecycle is DISPUTE_WON else {"network": network}
        opening = event_frame(rng, opened, disputes.at[chosen], Content({**shared, "charge": charge}, amounts))
        closing = event_frame(rng, decision, disputes.decided[chosen], Content(shared | lost, amounts))
        courses.append(Course(lifecycle, (opening, closing)))
    return courses[0], courses[1]


def transfer_course(rng: np.random.Generator, businesses: Businesses, sales: Sales, transfers: Transfers) -> Course:
    """A marketplace sends a share of a charge to a seller, whose account has it soon after."""
    shared = {
        "transfer": identifiers(rng, "tr_", len(transfers.at)),
        "seller": businesses.ids.gather(transfers.seller),
    }
    from_sale = {
        "business": businesses.ids.gather(sales.business[transfers.sale]),
        "charge": sales.charge.gather(transfers.sale),
    }
    amounts = {"transferred": (transfers.amount, CURRENCIES.gather(sales.currency[transfers.sale]))}
    created, received = TRANSFER.steps
    opening = event_frame(rng, created, transfers.at, Content(shared | from_sale, amounts))
    return Course(TRANSFER, (opening, event_frame(rng, received, transfers.received, Content(shared, amounts))))


def lags(rng: np.random.Generator, count: int, median: int, limits: tuple[int, int]) -> Instants:
    """Log-normal durations in microseconds around `median`, none of them outside `limits`."""
    return np.clip(rng.lognormal(np.log(median), 1.2, count), *limits).astype(np.int64)

"""What the platform does each morning with what the day before brought: conversions, payouts, network settlements.

Keeps what is owed until then. Refuses to make mistakes: `faults` does that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearwell.simulation.delivery import DAY, HOUR, MINUTE, Instants
from clearwell.simulation.events import Content, event_frame
from clearwell.simulation.identifiers import identifiers
from clearwell.simulation.lifecycles import CONVERSION, PAYOUT, SETTLEMENT, Course
from clearwell.simulation.platform import BANKS, BRL, CURRENCIES, MINOR_PER_100_USD, NETWORKS, Businesses

SMALLEST_PAYOUT = 100
_MORNING = 5 * HOUR
_SETTLED_AFTER = (27, 32)


class Owed:
    """Amounts in minor units by day and place, for the days that have been touched and not been taken."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._days: dict[int, NDArray[np.int64]] = {}

    def add(self, day: NDArray[np.int64], place: tuple[NDArray[np.int64], ...], amount: NDArray[np.int64]) -> None:
        """Add each amount to what is owed on its day at its place (an index per dimension of the shape)."""
        for number in np.unique(day).tolist():
            here = day == number
            owed = self._days.setdefault(number, np.zeros(self._shape, dtype=np.int64))
            np.add.at(owed, tuple(index[here] for index in place), amount[here])

    def take(self, day: int) -> NDArray[np.int64]:
        """What is owed on that day, which is over now."""
        return self._days.pop(day, np.zeros(self._shape, dtype=np.int64))


@dataclass(frozen=True)
class Conversions:
    """What businesses change into their home currency, row by row: `seller` is the row of the business."""

    seller: NDArray[np.int64]
    sold: NDArray[np.int64]
    bought: NDArray[np.int64]


def draw_conversions(businesses: Businesses, balance: NDArray[np.int64]) -> Conversions:
    """All that was sold abroad, at fixed rates; `balance` has a row per business: home currency, and abroad."""
    seller = np.flatnonzero(balance[:, 1] >= SMALLEST_PAYOUT)
    home, abroad = businesses.currency[seller].T
    sold = balance[seller, 1]
    return Conversions(seller, sold, sold * MINOR_PER_100_USD[home] // MINOR_PER_100_USD[abroad])


def conversion_course(
    rng: np.random.Generator, businesses: Businesses, day_start: int, conversions: Conversions
) -> Course:
    """Each conversion is asked for at five in the morning, and the desk executes it within ten minutes."""
    count = len(conversions.seller)
    requested = day_start + _MORNING + rng.integers(0, 30 * MINUTE, count)
    home, abroad = businesses.currency[conversions.seller].T
    content = Content(
        {
            "conversion": identifiers(rng, "fx_", count),
            "business": businesses.ids.gather(conversions.seller),
        },
        {
            "sold": (conversions.sold, CURRENCIES.gather(abroad)),
            "bought": (conversions.bought, CURRENCIES.gather(home)),
        },
    )
    first, second = CONVERSION.steps
    opening = event_frame(rng, first, requested, content)
    executed = requested + rng.integers(MINUTE, 10 * MINUTE, count)
    return Course(CONVERSION, (opening, event_frame(rng, second, executed, content)))


def payout_course(
    rng: np.random.Generator,
    businesses: Businesses,
    day_start: int,
    payee: NDArray[np.int64],
    amount: NDArray[np.int64],
) -> Course:
    """The payouts of one morning, paid in the afternoon of the next weekday, and in the bank's file of that day."""
    created = day_start + _MORNING + HOUR + rng.integers(0, 30 * MINUTE, len(payee))
    paid = _next_weekday(created) * DAY + 13 * HOUR + rng.integers(0, 4 * HOUR, len(payee))
    booked = paid + rng.integers(MINUTE, 30 * MINUTE, len(payee))
    home = businesses.currency[payee, 0]
    payout = {"payout": identifiers(rng, "po_", len(payee))}
    business, bank = {"business": businesses.ids.gather(payee)}, {"bank": BANKS.gather(home)}
    amounts = {"paid_out": (amount, CURRENCIES.gather(home))}
    frames = (
        event_frame(rng, PAYOUT.steps[0], created, Content(payout | business, amounts)),
        event_frame(rng, PAYOUT.steps[1], paid, Content(payout | business | bank, amounts)),
        event_frame(rng, PAYOUT.steps[2], booked, Content(payout | bank, amounts, bank=home)),
    )
    return Course(PAYOUT, frames)


def settlement_course(
    rng: np.random.Generator, businesses: Businesses, day_start: int, sold: NDArray[np.int64]
) -> Course:
    """What the networks owe for a day's sales in Brazil, scheduled the next morning, and paid about 30 days later.

    `sold` is the gross of the day by business and network.
    """
    business, network = np.nonzero(sold)
    count = len(business)
    scheduled = day_start + _MORNING + 3 * HOUR + rng.integers(0, HOUR, count)
    days = rng.integers(*_SETTLED_AFTER, count)
    received = day_start + days * DAY + 12 * HOUR + rng.integers(0, 4 * HOUR, count)
    currency = CURRENCIES.gather(np.full(count, BRL))
    shared = {
        "settlement": identifiers(rng, "st_", count),
        "business": businesses.ids.gather(business),
    }
    amounts = {"settled": (sold[business, network], currency)}
    names = {"network": NETWORKS.gather(network)}
    bank = {"bank": BANKS.gather(np.full(count, BRL))}
    first, second = SETTLEMENT.steps
    opening = event_frame(rng, first, scheduled, Content(shared | names, amounts))
    return Course(SETTLEMENT, (opening, event_frame(rng, second, received, Content(shared | bank, amounts))))


def _next_weekday(at: Instants) -> NDArray[np.int64]:
    """The day, in days since 1970, of the next day that is no Saturday or Sunday."""
    today = (at // DAY).astype("datetime64[D]")
    return np.busday_offset(today, 1, roll="backward").astype(np.int64)

"""Completeness: which of a producer's own records have their event, and which events have no record, by plain loops.

A record that names no amount and has no event counts with the usual amount: the money that the events of the type move
on average. What is of a period is so by when it was made: a record by its time, an event by its `occurred_at`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clearwell.simulation.auditor.books import Books, Row
from clearwell.simulation.auditor.periods import ALL_TIME, Period
from clearwell.simulation.auditor.sections import sections, share_left
from clearwell.simulation.auditor.timeliness import moved


@dataclass(frozen=True)
class ProducerRecord:
    """A row of a producer's own database: the id of the event that it should have published, and when it was made.

    `amount` is what the event should move of `currency`, in minor units, whatever its sign; the two are told together
    or not at all. A record of two currencies is told as two of one id.
    """

    id: str
    at: datetime
    amount: int | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Claim:
    """What one record says in one currency, or an event that no record speaks of.

    `expected` is the money of the record, `found` that of its event; None where there is no record or no event.
    `estimated` says that the record named no amount and has no event, so that the usual amount stands for it. A record
    of which nothing is known at all has no currency.
    """

    id: str
    currency: str | None
    expected: int | None
    found: int | None
    estimated: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether the record has no event."""
        return self.found is None

    @property
    def is_unexpected(self) -> bool:
        """Whether the event has no record."""
        return self.expected is None

    @property
    def is_different(self) -> bool:
        """Whether the record's event moved another amount."""
        return self.expected is not None and self.found is not None and self.expected != self.found

    @property
    def is_matched(self) -> bool:
        """Whether record and event say the same."""
        return self.expected is not None and self.expected == self.found


@dataclass(frozen=True)
class Completeness:
    """The claims of one event type, and what follows from them."""

    books: Books
    event_type: str
    claims: tuple[Claim, ...]

    def rows(self) -> list[Row]:
        """One row per currency; what has no currency is in a row of its own."""
        declared = self.books.event_type(self.event_type)
        own = {
            "event_type": declared.name,
            "flow": declared.flow,
            "owner": self.books.team(declared.flow),
            "producer": declared.producer,
        }
        found = sections(self.claims, lambda item, _: item.currency, ("currency",))
        return [own | mark | _figures(items) for mark, items in found]


def completeness_of(
    books: Books, event_type: str, records: Sequence[ProducerRecord], period: Period = ALL_TIME
) -> Completeness:
    """Hold the records that were made in the period against the events of the type, by id.

    An event that is known by the cut but goes on the books later is there too, and so is one that is not of the period.
    Unexpected are the events of the books that occurred in the period and whose id no record has, of whatever time.
    """
    events = {item.event.id: moved(item) for item in books.known if item.event.type == event_type}
    usual = usual_amounts(books, event_type)
    claims = []
    for record in records:
        if period.holds(record.at):
            claims += _claims(record, events.get(record.id), usual)
    named = {record.id for record in records}
    for item in books.events:
        if item.event.type == event_type and period.holds(item.event.occurred_at) and item.event.id not in named:
            claims += [Claim(item.event.id, currency, None, amount) for currency, amount in _told(moved(item))]
    return Completeness(books, event_type, tuple(claims))


def usual_amounts(books: Books, event_type: str) -> dict[str, int]:
    """By currency the money that all events of the type moved, by the number of these events, rounded down."""
    own = [moved(item) for item in books.events if item.event.type == event_type]
    sums: dict[str, int] = {}
    for money in own:
        for currency, amount in money.items():
            sums[currency] = sums.get(currency, 0) + amount
    return {currency: amount // len(own) for currency, amount in sums.items()}


def _claims(record: ProducerRecord, money: Mapping[str, int] | None, usual: Mapping[str, int]) -> list[Claim]:
    if record.amount is not None and record.currency is not None:
        found = None if money is None else money.get(record.currency, 0)
        return [Claim(record.id, record.currency, abs(record.amount), found)]
    if money is not None:
        return [Claim(record.id, currency, amount, amount) for currency, amount in _told(money)]
    return [Claim(record.id, currency, amount, None, True) for currency, amount in _told(usual)]


def _told(money: Mapping[str, int]) -> list[tuple[str | None, int]]:
    """The currencies and their money; no currency and no money where there is none."""
    return [*money.items()] or [(None, 0)]


def _figures(claims: Sequence[Claim]) -> Row:
    records = [item for item in claims if not item.is_unexpected]
    matched = [item for item in records if item.is_matched]
    missing = [item for item in records if item.is_missing]
    different = [item for item in records if item.is_different]
    unexpected = [item for item in claims if item.is_unexpected]
    money, matched_money = _expected(records), _expected(matched)
    return {
        "record_count": len(records),
        "record_money": money,
        "matched_count": len(matched),
        "matched_money": matched_money,
        "missing_count": len(missing),
        "missing_money": _expected(missing),
        "missing_estimated": any(item.estimated for item in missing),
        "different_count": len(different),
        "different_money": sum(abs((item.expected or 0) - (item.found or 0)) for item in different),
        "unexpected_count": len(unexpected),
        "unexpected_money": sum(item.found or 0 for item in unexpected),
        "completeness": share_left(money - matched_money, money),
        "completeness_by_count": share_left(len(records) - len(matched), len(records)),
    }


def _expected(claims: Sequence[Claim]) -> int:
    return sum(item.expected or 0 for item in claims)

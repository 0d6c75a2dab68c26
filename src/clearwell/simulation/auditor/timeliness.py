"""Timeliness: of the money and the events that were recorded in a period, the share that came by its deadline.

An event counts once in each currency that it moved; one that moved nothing is in no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clearwell.simulation.auditor.books import Books, Row
from clearwell.simulation.auditor.events import Recorded, post
from clearwell.simulation.auditor.periods import ALL_TIME, Period
from clearwell.simulation.auditor.sections import PROPERTY, sections, share_left, start_of

TIMELINESS_BY = ("event_type", "flow", "owner", "producer", "currency")
"""What tells the rows of a report apart."""


def moved(recorded: Recorded) -> dict[str, int]:
    """The money that an event moved, by currency: what its entries brought somewhere, in minor units."""
    found: dict[str, int] = {}
    for entry in post(recorded):
        if entry.amount > 0:
            currency = entry.account[2]
            found[currency] = found.get(currency, 0) + entry.amount
    return found


def lag(recorded: Recorded) -> timedelta:
    """From when the data first existed to when it was recorded."""
    return recorded.recorded_at - recorded.event.occurred_at


def deadline(recorded: Recorded) -> timedelta | None:
    """How long the event had to arrive, by the model under which it was posted; None when that says nothing."""
    within = recorded.event_type.arrives_within
    return None if within is None else timedelta(seconds=within.seconds)


def is_late(recorded: Recorded) -> bool:
    """Whether the event came past its deadline."""
    limit = deadline(recorded)
    return limit is not None and lag(recorded) > limit


@dataclass(frozen=True)
class Arrival:
    """An event in one of the currencies that it moved, with the money."""

    recorded: Recorded
    currency: str
    money: int


def events_of(books: Books, period: Period) -> list[Recorded]:
    """The events of the cut that were recorded in the period."""
    return [item for item in books.events if period.holds(item.recorded_at)]


def arrivals(books: Books, period: Period) -> list[Arrival]:
    """The events of the cut that were recorded in the period, once for each currency."""
    found = []
    for recorded in events_of(books, period):
        found += [Arrival(recorded, currency, money) for currency, money in moved(recorded).items()]
    return found


def timeliness_rows(books: Books, period: Period = ALL_TIME, by: Sequence[str] = TIMELINESS_BY) -> list[Row]:
    """The rows of timeliness; `by` may also name `hour`, `day`, `week`, `month` (of recording) and `property_NAME`."""
    found = sections(arrivals(books, period), lambda item, name: _mark(books, item, name), by)
    return [own | _figures(items) for own, items in found]


def lags(books: Books, period: Period = ALL_TIME) -> dict[str, list[timedelta]]:
    """By event type the lags of all its events of the period, the shortest first, also of those without a deadline."""
    found: dict[str, list[timedelta]] = {}
    for recorded in events_of(books, period):
        found.setdefault(recorded.event.type, []).append(lag(recorded))
    return {name: sorted(found[name]) for name in sorted(found)}


def quantile(ordered: Sequence[timedelta], percent: int) -> timedelta:
    """The least of the values (sorted, not none) that at least so many percent of them do not exceed."""
    needed = -(-len(ordered) * percent // 100)
    return ordered[max(needed, 1) - 1]


def _mark(books: Books, item: Arrival, name: str) -> Any:
    event = item.recorded.event
    if name.startswith(PROPERTY):
        return event.properties.get(name.removeprefix(PROPERTY))
    declared = books.event_type(event.type)
    match name:
        case "event_type":
            return event.type
        case "flow":
            return declared.flow
        case "owner":
            return books.team(declared.flow)
        case "producer":
            return item.recorded.event_type.producer
        case "currency":
            return item.currency
        case _:
            return start_of(name, item.recorded.recorded_at, books.time_zone)


def _figures(items: Sequence[Arrival]) -> Row:
    judged = [item for item in items if deadline(item.recorded) is not None]
    late = [item for item in judged if is_late(item.recorded)]
    money, late_money = sum(item.money for item in judged), sum(item.money for item in late)
    return {
        "event_count": len(items),
        "money": sum(item.money for item in items),
        "judged_count": len(judged),
        "judged_money": money,
        "late_count": len(late),
        "late_money": late_money,
        "timeliness": share_left(late_money, money),
        "timeliness_by_count": share_left(len(late), len(judged)),
    }

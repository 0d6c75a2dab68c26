"""Arrivals: which events are of an event type, and which bring money into an account type, by plain loops."""

from __future__ import annotations

from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo

from clearwell.simulation.auditor.books import Books
from clearwell.simulation.auditor.events import Recorded, post


def arrived(books: Books, kind: Literal["event_type", "account_type"], name: str) -> list[Recorded]:
    """The events of the cut that are of this subject, in log order.

    Of an account type these are the events with an entry there that is more than zero.
    """
    if kind == "event_type":
        return [item for item in books.events if item.event.type == name]
    return [item for item in books.events if any(entry.account[0] == name and entry.amount > 0 for entry in post(item))]


def local_days(books: Books, events: list[Recorded]) -> list[date]:
    """The day on which each event occurred, by the clocks of the cut's zone."""
    return [item.event.occurred_at.astimezone(ZoneInfo(books.time_zone)).date() for item in events]

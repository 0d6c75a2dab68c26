"""Periods: [start, end) of an hour, day, week or month of a zone's clocks, or all time.

Refuses to count in hours of UTC: a day begins where the zone's clocks say so, and is 23 or 25 hours long when they
change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

PeriodKind = Literal["hour", "day", "week", "month", "all"]
PERIOD_KINDS: tuple[PeriodKind, ...] = ("hour", "day", "week", "month")
"""The kinds that have a start and an end."""


@dataclass(frozen=True)
class Period:
    """The instants from `start` up to but not including `end`, in UTC; both None: all time."""

    kind: PeriodKind
    start: datetime | None
    end: datetime | None

    def holds(self, instant: datetime) -> bool:
        """Whether the instant lies within."""
        return (self.start is None or self.start <= instant) and (self.end is None or instant < self.end)


ALL_TIME = Period("all", None, None)


def period_of(kind: PeriodKind, instant: datetime, time_zone: str) -> Period:
    """The period of this kind in which an instant (aware) lies, by the clocks of a zone. Weeks begin on Monday.

    A period begins when the clocks show its first time, and ends where the next one begins. Where that time comes
    twice, a day begins at the first of the two, and an hour at each; where it is skipped, at the change of the clocks.
    """
    if kind == "all":
        return ALL_TIME
    zone = ZoneInfo(time_zone)
    label = _truncated(kind, instant.astimezone(zone).replace(tzinfo=None, fold=0))
    labels = [_truncated(kind, label - timedelta(microseconds=1)), label, _following(kind, label)]
    labels.append(_following(kind, labels[-1]))
    begins = {begin for item in labels for begin in _begins(kind, item, zone)}
    start = max(begin for begin in begins if begin <= instant)
    return Period(kind, start, min(begin for begin in begins if begin > instant))


def periods_between(kind: PeriodKind, first: datetime, last: datetime, time_zone: str) -> Iterator[Period]:
    """The periods of this kind, from that of the instant `first` to that of the instant `last`."""
    period = period_of(kind, first, time_zone)
    yield period
    while period.end is not None and period.end <= last:
        period = period_of(kind, period.end, time_zone)
        yield period


def _begins(kind: PeriodKind, label: datetime, zone: ZoneInfo) -> list[datetime]:
    """When the clocks show the first time of a period: once or, for an hour, twice."""
    first, second = sorted(label.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None, fold=0) == label:
        return [first, second] if kind == "hour" else [first]
    while second - first > timedelta(microseconds=1):  # Skipped: the clocks change between the two.
        middle = first + (second - first) / 2
        if middle.astimezone(zone).utcoffset() == first.astimezone(zone).utcoffset():
            first = middle
        else:
            second = middle
    return [second]


def _truncated(kind: PeriodKind, local: datetime) -> datetime:
    hour = local.replace(minute=0, second=0, microsecond=0)
    if kind == "hour":
        return hour
    day = hour.replace(hour=0)
    if kind == "day":
        return day
    return day - timedelta(days=day.weekday()) if kind == "week" else day.replace(day=1)


def _following(kind: PeriodKind, label: datetime) -> datetime:
    if kind == "hour":
        return label + timedelta(hours=1)
    if kind == "month":
        return _truncated("month", label + timedelta(days=31))
    return label + timedelta(days=7 if kind == "week" else 1)

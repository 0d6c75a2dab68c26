"""Periods: an hour, day, week or month of a time zone, or all time, as spans of instants.

Reads what people write, such as `2026-03`, and steps from one to the next. An hour is physical time; days, weeks and
months begin at midnight, or where a change of clocks skips it, at the first instant of the day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

PeriodKind = Literal["hour", "day", "week", "month", "all"]
KINDS: tuple[PeriodKind, ...] = ("hour", "day", "week", "month", "all")
EXPECTED = "hour, day, week, month, all, or one such as 2026-03, 2026-W12, 2026-03-04 or 2026-03-04T15"

QUARTER_US = 900_000_000
"""Periods begin, and clocks change, at quarters of an hour, in every time zone of today."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMS = (
    (re.compile(r"[0-9]{4}-[0-9]{2}"), "month"),
    (re.compile(r"[0-9]{4}-W[0-9]{2}"), "week"),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"), "day"),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}"), "hour"),
)


@dataclass(frozen=True)
class Span:
    """The instants from `start_us` until before `end_us`, in microseconds since 1970; None is without end.

    `name` is how people write it.
    """

    kind: PeriodKind
    name: str
    start_us: int | None = None
    end_us: int | None = None

    @property
    def start(self) -> datetime:
        """The first instant. All time has none, and must not be asked."""
        assert self.start_us is not None
        return instant(self.start_us)

    @property
    def until(self) -> datetime:
        """The instant after the last. All time has none, and must not be asked."""
        assert self.end_us is not None
        return instant(self.end_us)


ALL_TIME = Span("all", "all")


def parse_period(text: str, at: datetime, time_zone: str) -> Span:
    """The span that `text` means: the one of a kind that holds `at`, or the one that it names.

    Raises ValueError that says what was expected.
    """
    return period_of(text, at, time_zone) if text in KINDS else parse_named(text, time_zone)


def parse_named(text: str, time_zone: str) -> Span:
    """The month, week, day or hour of this name. Raises ValueError that says what was expected."""
    for form, kind in _FORMS:
        if form.fullmatch(text):
            try:
                return _named(kind, text, time_zone)
            except (ValueError, OverflowError):
                break
    raise ValueError(f"expected {EXPECTED}, found {text!r}")


def period_of(kind: PeriodKind, at: datetime, time_zone: str) -> Span:
    """The period of a kind that holds the instant `at`."""
    if kind == "all":
        return ALL_TIME
    local = at.astimezone(ZoneInfo(time_zone))
    if kind == "hour":
        within = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        start = at.astimezone(UTC) - within
        return Span(kind, f"{local:%Y-%m-%dT%H}", micros(start), micros(start + timedelta(hours=1)))
    day = local.date()
    if kind == "week":
        day -= timedelta(days=day.weekday())
    elif kind == "month":
        day = day.replace(day=1)
    return _of_days(kind, day, time_zone)


def before(span: Span, time_zone: str) -> Span | None:
    """The period of the same kind before; None for all time."""
    if span.start_us is None:
        return None
    return period_of(span.kind, instant(span.start_us - 1), time_zone)


def following(kind: PeriodKind, first: datetime, last: datetime, time_zone: str) -> Iterator[Span]:
    """The periods of a kind from the one that holds `first` to the one that holds `last`, in order."""
    span = period_of(kind, first, time_zone)
    yield span
    while span.end_us is not None and span.end_us <= micros(last):
        span = period_of(kind, instant(span.end_us), time_zone)
        yield span


def micros(at: datetime) -> int:
    """An instant in microseconds since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def instant(micros_since_1970: int) -> datetime:
    """The instant so many microseconds after 1970, in UTC."""
    return _EPOCH + timedelta(microseconds=micros_since_1970)


def _named(kind: str, text: str, time_zone: str) -> Span:
    match kind:
        case "month":
            return _of_days("month", date.fromisoformat(f"{text}-01"), time_zone)
        case "week":
            return _of_days("week", date.fromisoformat(f"{text}-1"), time_zone)
        case "day":
            return _of_days("day", date.fromisoformat(text), time_zone)
        case _:
            return period_of(
                "hour", datetime.fromisoformat(f"{text}:00").replace(tzinfo=ZoneInfo(time_zone)), time_zone
            )


def _of_days(kind: PeriodKind, first: date, time_zone: str) -> Span:
    match kind:
        case "day":
            after, name = first + timedelta(days=1), first.isoformat()
        case "week":
            year, week, _day = first.isocalendar()
            after, name = first + timedelta(days=7), f"{year}-W{week:02}"
        case _:
            after, name = (first.replace(day=28) + timedelta(days=4)).replace(day=1), f"{first:%Y-%m}"
    return Span(kind, name, _start_of(first, time_zone), _start_of(after, time_zone))


def _start_of(day: date, time_zone: str) -> int:
    """The first instant of a local day. Where clocks skip midnight, that is the moment of the change."""
    zone = ZoneInfo(time_zone)
    midnight = datetime.combine(day, time(), zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).date() < day:  # Counted by the offset after the change, it is before the day.
        start = midnight.replace(fold=1).astimezone(UTC)
    local = start.astimezone(zone)
    skipped = datetime.combine(day, local.time(), UTC) - datetime.combine(day, time(), UTC)
    return micros(start - skipped if local.date() == day else start)

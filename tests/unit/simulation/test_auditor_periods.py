"""Periods follow the clocks of a zone, also where these change."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from clearwell.simulation.auditor import ALL_TIME, period_of, periods_between
from clearwell.simulation.auditor.periods import PERIOD_KINDS, PeriodKind


def at(text: str) -> datetime:
    """An instant, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "zone", "instant", "start", "end"),
    [
        ("hour", "UTC", "2026-03-04T05:06:07", "2026-03-04T05:00", "2026-03-04T06:00"),
        ("day", "UTC", "2026-03-04T00:00", "2026-03-04T00:00", "2026-03-05T00:00"),
        ("week", "UTC", "2026-03-04T05:06", "2026-03-02T00:00", "2026-03-09T00:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        # Half an hour off: hours begin where the clocks show them.
        ("hour", "Asia/Kolkata", "2026-03-04T05:29", "2026-03-04T04:30", "2026-03-04T05:30"),
        # Clocks go forward: a day of 23 hours, and one hour less in the month.
        ("day", "Europe/Amsterdam", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("month", "Europe/Amsterdam", "2026-03-29T12:00", "2026-02-28T23:00", "2026-03-31T22:00"),
        # Clocks go back: a day of 25 hours, and the hour that comes twice is two.
        ("day", "America/New_York", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("hour", "America/New_York", "2026-11-01T05:30", "2026-11-01T05:00", "2026-11-01T06:00"),
        ("hour", "America/New_York", "2026-11-01T06:30", "2026-11-01T06:00", "2026-11-01T07:00"),
        # Midnight is skipped: the day begins at one.
        ("day", "America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00", "2018-11-05T02:00"),
        # The day before is never again, as the clocks go from midnight back to eleven: it is one of 25 hours.
        ("day", "America/Sao_Paulo", "2019-02-17T02:30", "2019-02-16T02:00", "2019-02-17T03:00"),
        # Half an hour is skipped before the first time of a day: it begins at the change.
        ("day", "America/Toronto", "1919-03-31T12:00", "1919-03-31T04:30", "1919-04-01T04:00"),
        # Clocks go back by half an hour only: the hour is longer by that.
        ("hour", "Australia/Lord_Howe", "2026-04-04T15:10", "2026-04-04T14:00", "2026-04-04T15:30"),
        # A minute past midnight back to eleven: the day that has begun goes on.
        ("day", "America/St_Johns", "2010-11-07T02:45", "2010-11-07T02:30", "2010-11-08T03:30"),
    ],
)
def test_periods_begin_and_end_by_the_clocks(kind: PeriodKind, zone: str, instant: str, start: str, end: str) -> None:
    """A period begins where the clocks show its first time, and ends where the next one does."""
    period = period_of(kind, at(instant), zone)
    assert (period.kind, period.start, period.end) == (kind, at(start), at(end))
    assert period.holds(at(start))
    assert not period.holds(at(end))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Amsterdam", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata"])
@pytest.mark.parametrize("kind", PERIOD_KINDS)
def test_periods_leave_nothing_out_and_count_nothing_twice(kind: PeriodKind, zone: str) -> None:
    """Over a year with its changes of clocks one period ends where the next begins, and each holds its own instants."""
    first, last = at("2010-01-01T00:00"), at("2010-12-31T00:00")
    if kind == "hour":
        first, last = at("2010-10-25T00:00"), at("2010-11-10T00:00")
    found = list(periods_between(kind, first, last, zone))
    assert found[0].holds(first)
    assert found[-1].holds(last)
    for one, other in itertools.pairwise(found):
        assert one.end == other.start
    for period in found:
        assert period.start is not None
        assert period.end is not None
        for instant in (period.start, period.end - timedelta(microseconds=1)):
            assert period_of(kind, instant, zone) == period


def test_all_time_has_no_end() -> None:
    """All time is one period, whatever the instant."""
    assert period_of("all", at("2026-01-01T00:00"), "UTC") == ALL_TIME
    assert list(periods_between("all", at("2026-01-01T00:00"), at("2027-01-01T00:00"), "UTC")) == [ALL_TIME]
    assert ALL_TIME.holds(at("1900-01-01T00:00"))

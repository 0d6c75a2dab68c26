"""Periods: months, weeks, days and hours of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from clearwell.values.periods import following, parse_named


@pytest.mark.parametrize(
    ("text", "zone", "start", "until"),
    [
        ("2026-01", "UTC", (2026, 1, 1), (2026, 2, 1)),
        ("2026-12", "UTC", (2026, 12, 1), (2027, 1, 1)),
        ("2026-W01", "UTC", (2025, 12, 29), (2026, 1, 5)),
        ("2026-01-31", "America/New_York", (2026, 1, 31, 5), (2026, 2, 1, 5)),
        ("2026-03-29", "Europe/Amsterdam", (2026, 3, 28, 23), (2026, 3, 29, 22)),
        ("2026-01-31T23", "UTC", (2026, 1, 31, 23), (2026, 2, 1)),
    ],
)
def test_a_period_is_of_local_time(
    text: str, zone: str, start: tuple[int, int, int], until: tuple[int, int, int]
) -> None:
    """It begins and ends at the zone's own midnight or hour; a day of the change of clocks has 23 or 25."""
    period = parse_named(text, zone)
    assert (period.start, period.until) == (datetime(*start, tzinfo=UTC), datetime(*until, tzinfo=UTC))


def test_hours_of_a_day_follow_each_other() -> None:
    """Where clocks are set back, the hour that comes twice is two periods of one name, and none is left out."""
    day = parse_named("2026-10-25", "Europe/Amsterdam")
    hours = [*following("hour", day.start, day.until - timedelta(microseconds=1), "Europe/Amsterdam")]
    assert len(hours) == 25
    assert all(one.until == later.start for one, later in pairwise(hours))
    assert (hours[0].start, hours[-1].until) == (day.start, day.until)
    assert parse_named("2026-10-25T02", "Europe/Amsterdam") == hours[2]
    assert hours[3].name == hours[2].name


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-02-30", "2026-W60", "2026-01-01T24", "9999-12", "today", ""])
def test_what_is_no_period_is_refused(text: str) -> None:
    """The error says what was expected."""
    with pytest.raises(ValueError, match="expected hour, day"):
        parse_named(text, "UTC")

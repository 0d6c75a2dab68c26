"""Business days, against days that anyone can look up, and the two implementations against each other."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearwell.values.calendars import business_day_after, due_at, known_calendar
from clearwell.values.durations import BusinessDays, FixedDuration, Learned


def after(day: str, count: int, calendar: str) -> str:
    """Return the business day after one day, as text."""
    return str(business_day_after(np.array([day], dtype="datetime64[D]"), count, calendar)[0])


@pytest.mark.parametrize("code", ["BR", "NL", "US-NY", "BR-SP"])
def test_known(code: str) -> None:
    """Countries and their subdivisions are calendars."""
    assert known_calendar(code)


@pytest.mark.parametrize("code", ["", "XX", "br", "BRA", "US-ZZ", "US-", "Brazil", "NL-ZZ"])
def test_unknown(code: str) -> None:
    """Anything else is not a calendar."""
    assert not known_calendar(code)


@pytest.mark.parametrize(
    ("day", "count", "calendar", "expected"),
    [
        ("2026-01-08", 1, "NL", "2026-01-09"),
        ("2026-01-09", 1, "NL", "2026-01-12"),  # Friday to Monday
        ("2026-01-10", 1, "NL", "2026-01-12"),  # Saturday counts from Friday
        ("2026-01-11", 2, "NL", "2026-01-13"),  # so does Sunday
        ("2026-04-24", 1, "NL", "2026-04-28"),  # over King's Day, a Monday
        ("2026-04-27", 1, "NL", "2026-04-28"),  # opened on King's Day
        ("2025-12-24", 1, "NL", "2025-12-29"),  # over two days of Christmas and a weekend
        ("2026-12-31", 1, "NL", "2027-01-04"),  # over New Year into the next year
        ("2026-04-20", 1, "BR", "2026-04-22"),  # over Tiradentes' Day
        ("2026-02-16", 1, "BR", "2026-02-17"),  # Carnival is no public holiday of the whole country
        ("2023-11-17", 1, "BR", "2023-11-20"),  # Black Awareness Day is national since 2024 only
        ("2024-11-19", 1, "BR", "2024-11-21"),
        ("2024-02-02", 2, "CN", "2024-02-05"),  # Sunday 4 February 2024 was a working day in China
        ("2026-01-05", 250, "NL", "2026-12-29"),
    ],
)
def test_business_day_after(day: str, count: int, calendar: str, expected: str) -> None:
    """Weekends, holidays, changes of law, made-up working days and the turn of the year all count."""
    assert after(day, count, calendar) == expected


def test_shape_and_missing_days_are_kept() -> None:
    """The answer has the shape of the question; a missing day stays missing."""
    days = np.array([["2026-01-09", "NaT"], ["2025-12-31", "2026-01-10"]], dtype="datetime64[D]")
    expected = np.array([["2026-01-12", "NaT"], ["2026-01-02", "2026-01-12"]], dtype="datetime64[D]")
    np.testing.assert_array_equal(business_day_after(days, 1, "NL"), expected)
    assert business_day_after(days[:0], 1, "NL").shape == (0, 2)


def test_bad_arguments_are_refused() -> None:
    """An unknown calendar, a count below one and a day outside the years are refused."""
    for day, count, calendar in (("2026-01-01", 1, "XX"), ("2026-01-01", 0, "NL"), ("-0005-01-01", 1, "NL")):
        with pytest.raises(ValueError, match="expected"):
            after(day, count, calendar)
    assert after("0001-01-01", 1, "NL") == "0001-01-02"


@settings(max_examples=60, deadline=None)
@given(
    st.dates(date(2015, 1, 1), date(2030, 12, 31)),
    st.integers(1, 40),
    st.sampled_from(["NL", "BR", "US-NY", "CN", "AE"]),
)
def test_due_at_agrees_with_vectorised(day: date, count: int, calendar: str) -> None:
    """The scalar walk and the vectorised table give the same day, on any day, count and calendar."""
    opened = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    due = due_at(BusinessDays(count, calendar, "x"), opened, "UTC")
    assert due is not None
    assert str(due.date()) == after(str(day), count, calendar)
    assert due.time() == opened.time()


def test_due_at_uses_the_local_day() -> None:
    """Late Friday in UTC is Saturday in Amsterdam, and early Monday in UTC is Sunday in Sao Paulo."""
    window = BusinessDays(1, "NL", "1 business day")
    friday_late = datetime(2026, 1, 9, 23, 30, tzinfo=UTC)
    assert due_at(window, friday_late, "Europe/Amsterdam") == datetime(2026, 1, 11, 23, 30, tzinfo=UTC)
    monday_early = datetime(2026, 1, 12, 1, tzinfo=UTC)
    window = BusinessDays(1, "BR", "1 business day")
    assert due_at(window, monday_early, "America/Sao_Paulo") == datetime(2026, 1, 13, 1, tzinfo=UTC)


def test_due_at_keeps_the_local_time_when_clocks_change() -> None:
    """Ten o'clock stays ten o'clock; a skipped local time counts with the offset before the change."""
    window = BusinessDays(1, "NL", "1 business day")
    friday = datetime(2026, 3, 27, 9, tzinfo=UTC)  # 10:00 in Amsterdam
    assert due_at(window, friday, "Europe/Amsterdam") == datetime(2026, 3, 30, 8, tzinfo=UTC)
    # The clocks of Cairo are advanced on Friday 24 April 2026 at 00:00, so 00:30 is skipped.
    thursday = datetime(2026, 4, 22, 22, 30, tzinfo=UTC)
    assert due_at(window, thursday, "Africa/Cairo") == datetime(2026, 4, 23, 22, 30, tzinfo=UTC)


def test_due_at_fixed_and_learned() -> None:
    """A fixed window is physical time; a learned one has no due instant."""
    opened = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert due_at(FixedDuration(86_400, "1 day"), opened, "Europe/Amsterdam") == opened + timedelta(days=1)
    assert due_at(Learned(), opened, "UTC") is None
    with pytest.raises(ValueError, match="with a time zone"):
        due_at(Learned(), datetime(2026, 1, 1), "UTC")  # noqa: DTZ001

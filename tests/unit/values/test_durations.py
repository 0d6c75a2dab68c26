"""Durations as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.values.durations import LARGEST_DAYS, BusinessDays, FixedDuration, Learned, parse_duration

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


@given(st.integers(1, 5_000), st.sampled_from(sorted(SECONDS)))
def test_fixed_duration(count: int, unit: str) -> None:
    """Every count of a unit is so many seconds, in the singular and the plural."""
    for text in (f"{count} {unit}", f"{count} {unit}s"):
        assert parse_duration(text) == FixedDuration(count * SECONDS[unit], text)


def test_business_days_carry_their_calendar() -> None:
    """Business days keep the calendar and show it."""
    window = parse_duration("2 business days", "BR")
    assert window == BusinessDays(2, "BR", "2 business days")
    assert str(window) == "2 business days (BR)"
    assert parse_duration("1 business day", "US-NY") == BusinessDays(1, "US-NY", "1 business day")


def test_learned() -> None:
    """The word learned is a window."""
    assert parse_duration("learned") == Learned()


@pytest.mark.parametrize(
    ("text", "calendar", "message"),
    [
        ("ten minutes", None, "expected a duration such as .* found 'ten minutes'"),
        ("10 fortnights", None, "found '10 fortnights'"),
        ("10  minutes", None, "found '10  minutes'"),
        ("1.5 hours", None, "found '1.5 hours'"),
        ("-1 hours", None, "found '-1 hours'"),
        ("", None, "found ''"),
        ("0 days", None, "above zero"),
        (f"{LARGEST_DAYS + 1} days", None, "at most"),
        ("2 business days", None, "expected a calendar beside business days"),
        ("2 days", "BR", "beside business days only, found 'BR'"),
        ("learned", "BR", "beside business days only, found 'BR'"),
    ],
)
def test_refused(text: str, calendar: str | None, message: str) -> None:
    """What is no duration, or has its calendar out of place, is refused with what was expected and found."""
    with pytest.raises(ValueError, match=message):
        parse_duration(text, calendar)

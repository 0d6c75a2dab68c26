"""Instants as text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearwell.values.instants import format_instant, parse_cut_instant, parse_instant


@given(st.datetimes(timezones=st.just(UTC)))
def test_round_trip(instant: datetime) -> None:
    """Every instant reads back from its text."""
    assert parse_instant(format_instant(instant)) == instant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02 03:04+00:00", "2026-01-02T03:04:00Z"),
        ("2026-01-02T03:04:05.5-0300", "2026-01-02T06:04:05.500000Z"),
        ("2026-01-02T03:04:05.123456999Z", "2026-01-02T03:04:05.123456Z"),
    ],
)
def test_accepted_forms(text: str, expected: str) -> None:
    """Offsets are converted to UTC and digits beyond the microsecond are cut off."""
    instant = parse_instant(text)
    assert instant.tzinfo is UTC
    assert format_instant(instant) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-02", "2026-01-02T03:04:05", "2026-02-30T00:00:00Z", "2026-01-02T25:00:00Z",
     "0001-01-01T00:00:00+01:00", "20260102T030405Z", "2026-W01-1T00:00:00Z", "1767323045", "2026-01-02T03:04.5Z"],
)  # fmt: skip
def test_refused_forms(text: str) -> None:
    """A text without an offset, or that names no instant, is refused with the text found."""
    with pytest.raises(ValueError, match="expected an instant with an offset") as raised:
        parse_instant(text)
    assert repr(text) in str(raised.value)


def test_cut_accepts_bare_date() -> None:
    """A bare date as a cut is 00:00 UTC of that day."""
    assert parse_cut_instant("2026-01-02") == datetime(2026, 1, 2, tzinfo=UTC)
    assert parse_cut_instant("2026-01-02T01:00:00+01:00") == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-02-30", "today"])
def test_cut_refuses_other_text(text: str) -> None:
    """A day that does not exist and other text are refused."""
    with pytest.raises(ValueError, match="expected"):
        parse_cut_instant(text)


def test_format_refuses_no_zone() -> None:
    """A datetime without a time zone is not an instant."""
    with pytest.raises(ValueError, match="with a time zone"):
        format_instant(datetime(2026, 1, 2))  # noqa: DTZ001

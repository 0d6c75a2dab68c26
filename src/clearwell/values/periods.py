"""Periods: an hour, a day, a week from Monday, or a month, in a time zone, as `[start, until)` in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_EXPECTED = "expected a month (2026-01), a week (2026-W05), a day (2026-01-31) or an hour (2026-01-31T09)"
_FORMS = (
    re.compile(r"(?P<month>\d{4}-\d{2})"),
    re.compile(r"(?P<week>\d{4}-W\d{2})"),
    re.compile(r"(?P<day>\d{4}-\d{2}-\d{2})(?:T(?P<hour>\d{2}))?"),
)


@dataclass(frozen=True)
class Period:
    """From `start`, included, to `until`, not included; both in UTC."""

    start: datetime
    until: datetime


def parse_period(text: str, time_zone: str) -> Period:
    """The period that a text names, in the days of a time zone. Raises ValueError for any other text."""
    match = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
    if match is None:
        raise ValueError(f"{_EXPECTED}, found {text!r}")
    try:
        start, until = _local_bounds(match.groupdict())
        zone = ZoneInfo(time_zone)
        return Period(*(item.replace(tzinfo=zone).astimezone(UTC) for item in (start, until)))
    except (ValueError, OverflowError):
        raise ValueError(f"{_EXPECTED}, found {text!r}, which is not in the calendar") from None


def _local_bounds(parts: dict[str, str | None]) -> tuple[datetime, datetime]:
    if month := parts.get("month"):
        first = date.fromisoformat(f"{month}-01")
        following = (first + timedelta(days=31)).replace(day=1)
        return datetime.combine(first, time()), datetime.combine(following, time())
    if week := parts.get("week"):
        start = datetime.combine(date.fromisocalendar(int(week[:4]), int(week[-2:]), 1), time())
        return start, start + timedelta(days=7)
    start = datetime.combine(date.fromisoformat(parts.get("day") or ""), time())
    if parts.get("hour") is None:
        return start, start + timedelta(days=1)
    start = start.replace(hour=int(parts["hour"] or ""))
    return start, start + timedelta(hours=1)

"""Instants: aware datetimes in UTC, read from and written as ISO 8601.

A time without an offset is refused, because it does not name an instant. The precision is the microsecond.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time

_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_CLOCK_LENGTH = len("03:04:05.123456")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_instant(text: str) -> datetime:
    """Return the instant, in UTC. Digits beyond the microsecond are cut off, never rounded into the next one.

    Raises ValueError when the text is not ISO 8601 with an offset, or not an instant of the years 1 to 9999.
    """
    match = _INSTANT.fullmatch(text)
    if match is not None:
        day, clock, offset = match.groups()
        try:
            return datetime.fromisoformat(f"{day}T{clock[:_CLOCK_LENGTH]}{offset}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # It has the form but names no instant, such as 30 February; the message is the same.
    raise ValueError(f"expected an instant with an offset such as '2026-01-02T03:04:05Z', found {text!r}")


def parse_cut_instant(text: str) -> datetime:
    """Return the instant of a cut: as `parse_instant`, and a bare date means its 00:00 UTC.

    Raises ValueError.
    """
    if _DATE.fullmatch(text):
        try:
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        except ValueError:
            raise ValueError(f"expected a day of the calendar such as '2026-01-02', found {text!r}") from None
    return parse_instant(text)


def format_instant(instant: datetime) -> str:
    """Return e.g. `2026-01-02T03:04:05.123456Z`, without the fraction when it is zero.

    Raises ValueError for a datetime without a time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"expected a datetime with a time zone, found {instant!r}")
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"

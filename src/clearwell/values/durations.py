"""Durations as people write them: `10 minutes`, `2 business days` in a calendar, or `learned`.

Only reads and holds them; which day a business day falls on is the business of `calendars`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_FORM = re.compile(r"([0-9]{1,12}) (second|minute|hour|day|week|business day)s?")
_EXPECTED = "a duration such as '10 minutes', '3 days', '2 business days' or 'learned'"

LARGEST_DAYS = 36_600
"""No window is longer than about a century, so that adding one to an instant cannot overflow."""


@dataclass(frozen=True)
class FixedDuration:
    """A length of physical time in seconds; a day is always 86,400 of them."""

    seconds: int
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class BusinessDays:
    """A number of business days of a calendar, e.g. `BR` or `US-NY`."""

    days: int
    calendar: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} ({self.calendar})"


@dataclass(frozen=True)
class Learned:
    """A window to be learned from history; until then nothing is overdue."""

    text: str = "learned"

    def __str__(self) -> str:
        return self.text


ClearingWindow = FixedDuration | BusinessDays | Learned


def parse_duration(text: str, calendar: str | None = None) -> ClearingWindow:
    """Return the duration that `text` writes.

    Business days need a calendar and nothing else may have one. Raises ValueError saying what was expected
    and what was found. Whether the calendar exists is not asked here (see `calendars.known_calendar`).
    """
    if text == "learned":
        _refuse_calendar(text, calendar)
        return Learned()
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {_EXPECTED}, found {text!r}")
    count, unit = int(match[1]), match[2]
    days = count if unit == "business day" else count * _SECONDS[unit] / 86_400
    if not 0 < days <= LARGEST_DAYS:
        raise ValueError(f"expected a duration above zero and of at most {LARGEST_DAYS} days, found {text!r}")
    if unit != "business day":
        _refuse_calendar(text, calendar)
        return FixedDuration(count * _SECONDS[unit], text)
    if calendar is None:
        raise ValueError(f"expected a calendar beside business days, such as 'BR', found none beside {text!r}")
    return BusinessDays(count, calendar, text)


def _refuse_calendar(text: str, calendar: str | None) -> None:
    if calendar is not None:
        raise ValueError(f"expected a calendar beside business days only, found {calendar!r} beside {text!r}")

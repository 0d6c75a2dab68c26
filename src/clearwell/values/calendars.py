"""Business days by country (`BR`) or subdivision (`US-NY`): weekends, holidays and made-up working days.

The only module of values that needs large libraries; import it when a calendar is really used.
"""

from __future__ import annotations

import re
from calendar import isleap
from datetime import MAXYEAR, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import numpy.typing as npt

from clearwell.values.durations import ClearingWindow, FixedDuration, Learned

_CODE = re.compile(r"([A-Z]{2})(?:-([A-Z0-9]{1,3}))?")

# In every calendar there are more business days in a year than this, so a table of enough years can be built.
_FEWEST_PER_YEAR = 180

Days = npt.NDArray[np.datetime64]


def known_calendar(code: str) -> bool:
    """Return whether there is a calendar of this code: a two-letter country, or COUNTRY-SUBDIVISION."""
    try:
        _holidays(code)
    except ValueError:
        return False
    return True


def business_day_after(days: Days, count: int, calendar: str) -> Days:
    """Return the `count`-th business day after each day (datetime64[D], any shape; NaT stays NaT).

    A day that is no business day counts as the one before it: Saturday plus one business day is Monday.
    Raises ValueError for an unknown calendar, a count below one, and days not within the years 1 to 9999.
    """
    if count < 1:
        raise ValueError(f"expected a count of one or more business days, found {count}")
    result = np.full(days.shape, np.datetime64("NaT"), dtype="datetime64[D]")
    present = ~np.isnat(days)
    years = days.astype("datetime64[Y]")
    for year in np.unique(years[present]):
        here = present & (years == year)
        number = int(year.astype(np.int64)) + 1970
        table = _business_days(calendar, number - 1, number + 1 + count // _FEWEST_PER_YEAR)
        # The last business day on or before the day is the base from which the count runs.
        base = np.searchsorted(table, days[here].astype("datetime64[D]"), side="right") - 1
        result[here] = table[base + count]
    return result


def due_at(window: ClearingWindow, opened_at: datetime, time_zone: str) -> datetime | None:
    """Return the instant at which an episode opened at `opened_at` is due; None when the window is learned.

    A fixed window is physical time. Business days end at the same local time of day in `time_zone`, on the
    count-th business day after the local day of the opening. Where clocks change, a skipped local time counts
    with the offset before the change, and one that comes twice means the first. It walks day by day, apart
    from `business_day_after`, so that one can check the other. Raises ValueError for an unknown calendar and
    for a datetime without a time zone.
    """
    if opened_at.tzinfo is None:
        raise ValueError(f"expected a datetime with a time zone, found {opened_at!r}")
    if isinstance(window, Learned):
        return None
    if isinstance(window, FixedDuration):
        return opened_at + timedelta(seconds=window.seconds)
    local = opened_at.astimezone(ZoneInfo(time_zone))
    day, left = local.date(), window.days
    while day > date.min and not _is_business_day(window.calendar, day):
        day -= timedelta(days=1)
    while left:
        day += timedelta(days=1)
        left -= _is_business_day(window.calendar, day)
    due = datetime.combine(day, local.time().replace(fold=0), local.tzinfo)
    return due.astimezone(opened_at.tzinfo)


def _is_business_day(calendar: str, day: date) -> bool:
    return day in _business_days_of_year(calendar, day.year)


@lru_cache(maxsize=1024)
def _business_days_of_year(calendar: str, year: int) -> frozenset[date]:
    # An own instance per year: a shared one fills itself while it is read, which is not safe among threads.
    country = _holidays(calendar)
    first = date(year, 1, 1)
    days = (first + timedelta(days=offset) for offset in range(366 if isleap(year) else 365))
    return frozenset(day for day in days if country.is_working_day(day))


@lru_cache(maxsize=256)
def _business_days(calendar: str, first_year: int, last_year: int) -> Days:
    """Return the business days of these years, in order; the year 0 has none."""
    if first_year < 0 or last_year > MAXYEAR:
        raise ValueError(f"expected business days within the years 1 to {MAXYEAR}, found {first_year} to {last_year}")
    years = range(max(first_year, 1), last_year + 1)
    days = [day for year in years for day in sorted(_business_days_of_year(calendar, year))]
    return np.array(days, dtype="datetime64[D]")


def _holidays(code: str) -> holidays.HolidayBase:
    match = _CODE.fullmatch(code)
    if match is not None:
        try:
            return holidays.country_holidays(match[1], subdiv=match[2])
        except NotImplementedError:
            pass
    raise ValueError(f"expected the code of a calendar such as 'BR' or 'US-NY', found {code!r}")

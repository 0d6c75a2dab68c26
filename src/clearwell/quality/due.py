"""When episodes are due, for relations whose instants are microseconds: windows by account type, and business days.

A window of business days is as long as the calendar makes it: `business_windows` says how long, for every instant of
opening, as few rows as calendar and changes of clocks allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from clearwell.flows.model import Model
from clearwell.quality.windows import LearnedSeconds
from clearwell.values.durations import BusinessDays, FixedDuration, Learned
from clearwell.values.periods import QUARTER_US, Span, instant, micros, period_of

_DAY_US = 86_400_000_000
_SCHEMA = pa.schema(
    [("account_type", pa.string()), *((name, pa.int64()) for name in ("day", "from_us", "until_us", "window_us"))]
)


def fixed_windows(model: Model, learned: Mapping[str, LearnedSeconds]) -> dict[str, int]:
    """The windows of physical time, in seconds, by account type; `learned` has those that were learned and accepted."""
    windows = {name: item.clears_within for name, item in model.account_types.items()}
    fixed = {name: window.seconds for name, window in windows.items() if isinstance(window, FixedDuration)}
    return fixed | {
        name: learned[name].seconds
        for name, window in windows.items()
        if isinstance(window, Learned) and name in learned
    }


def of_values(rows: Iterable[tuple[str, str, int]]) -> pa.Table:
    """The rows of `cleared.VALUE_WINDOWS` for account types, values and seconds."""
    listed = [{"account_type": name, "value": value, "window_us": seconds * 1_000_000} for name, value, seconds in rows]
    schema = pa.schema([("account_type", pa.string()), ("value", pa.string()), ("window_us", pa.int64())])
    return pa.Table.from_pylist(listed, schema=schema)


def business_windows(model: Model, time_zone: str, first_us: int, last_us: int) -> pa.Table:
    """The rows of `cleared.BUSINESS_WINDOWS` for openings from `first_us` to `last_us`."""
    rows: list[dict[str, object]] = []
    for name, item in model.account_types.items():
        if isinstance(window := item.clears_within, BusinessDays):
            for day in _days(time_zone, first_us, last_us):
                for start, end, length in _pieces(window, day, time_zone):
                    rows.extend({"account_type": name, **row} for row in _by_utc_day(start, end, length))
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _days(time_zone: str, first_us: int, last_us: int) -> Iterator[Span]:
    day = period_of("day", instant(first_us), time_zone)
    while day.start_us is not None and day.end_us is not None and day.start_us <= last_us:
        yield day
        day = period_of("day", instant(day.end_us), time_zone)


def _pieces(window: BusinessDays, day: Span, time_zone: str) -> Sequence[tuple[int, int, int]]:
    """The parts of a local day within which the window has one length: from, until, and that length."""
    from clearwell.values.calendars import due_at  # The holidays of the world take long to import.

    assert day.start_us is not None
    assert day.end_us is not None

    def length(opened_us: int) -> int:
        due = due_at(window, instant(opened_us), time_zone)
        assert due is not None
        return micros(due) - opened_us

    due_day = period_of("day", instant(day.start_us + length(day.start_us)), time_zone)
    if _is_usual(day) and _is_usual(due_day):
        return [(day.start_us, day.end_us, length(day.start_us))]
    starts = range(day.start_us, day.end_us, QUARTER_US)
    return [(start, start + QUARTER_US, length(start)) for start in starts]


def _is_usual(day: Span) -> bool:
    assert day.start_us is not None
    assert day.end_us is not None
    return day.end_us - day.start_us == _DAY_US


def _by_utc_day(start_us: int, end_us: int, window_us: int) -> Iterator[dict[str, int]]:
    while start_us < end_us:
        day = start_us // _DAY_US
        until = min(end_us, (day + 1) * _DAY_US)
        yield {"day": day, "from_us": start_us, "until_us": until, "window_us": window_us}
        start_us = until

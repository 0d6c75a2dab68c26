"""Clearing by episode: what was due and has cleared, what cleared on time, and how long the rest has been overdue.

`clearing` answers the same from sums, for the present. This one needs every episode, and knows more of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ibis
from ibis.expr.types import IntegerValue, Table

from clearwell.quality.relations import MONEY, no_money, whole_steps
from clearwell.values.accounts import SEPARATOR

BUSINESS_WINDOWS = "due_windows"
"""The relation that says, for windows of business days, how long after its opening an episode is due.

`account_type`, `day` (since 1970, in UTC), `from_us` and `until_us` of opening, and `window_us`; each instant of a day
is in one row."""

VALUE_WINDOWS = "due_value_windows"
"""The relation of the windows that values have of their own: `account_type`, `value` and `window_us`."""

_DAY_US = 86_400_000_000
_HOUR_SECONDS, _DAY_SECONDS = 3_600, 86_400
AGES = (_HOUR_SECONDS, _DAY_SECONDS, 7 * _DAY_SECONDS, 30 * _DAY_SECONDS, 90 * _DAY_SECONDS)
"""Where the buckets of aging end, in seconds past due, unless others are asked for."""


def business_windows() -> Table:
    """The relation `BUSINESS_WINDOWS`."""
    names = ("day", "from_us", "until_us", "window_us")
    return ibis.table({"account_type": "string", **dict.fromkeys(names, "int64")}, name=BUSINESS_WINDOWS)


def value_windows() -> Table:
    """The relation `VALUE_WINDOWS`."""
    return ibis.table({"account_type": "string", "value": "string", "window_us": "int64"}, name=VALUE_WINDOWS)


def with_due(
    episodes: Table, window_seconds: Mapping[str, int], business: bool, places: Mapping[str, int] | None = None
) -> Table:
    """The episodes with `due_us`, null where the account type has no window.

    `window_seconds` are the windows of physical time by account type; with `business` others are looked up, and so are
    those of values of the property at its place, from 1, for the account types in `places`.
    """
    cases = [(episodes.account_type == name, seconds * 1_000_000) for name, seconds in sorted(window_seconds.items())]
    fixed: IntegerValue = ibis.cases(*cases, else_=ibis.null("int64")) if cases else ibis.null("int64")
    if places:
        columns, (episodes, fixed) = episodes.columns, _of_values(episodes, fixed, places)
    else:
        columns = episodes.columns
    if not business:
        return episodes.select(*columns, due_us=episodes.opened_us + fixed)
    rows, windows = episodes.mutate(day=whole_steps(episodes.opened_us, _DAY_US)), business_windows()
    found = rows.left_join(
        windows,
        [
            rows.account_type == windows.account_type,
            rows.day == windows.day,
            rows.opened_us >= windows.from_us,
            rows.opened_us < windows.until_us,
        ],
    )
    window_us = ibis.coalesce(windows.window_us, fixed)
    return found.select(*(rows[name] for name in columns), due_us=rows.opened_us + window_us)


def _of_values(episodes: Table, fixed: IntegerValue, places: Mapping[str, int]) -> tuple[Table, IntegerValue]:
    """The episodes with `fixed_us`, the window of their value, or else of their account type; and that column."""
    keys = [
        (episodes.account_type == name, episodes.account.split(SEPARATOR)[place - 1]) for name, place in places.items()
    ]
    rows = episodes.mutate(of_type_us=fixed, own_value=ibis.cases(*keys, else_=ibis.null("string")))
    own = value_windows()
    found = rows.left_join(own, [rows.account_type == own.account_type, rows.own_value == own.value])
    judged = found.select(
        *(rows[name] for name in episodes.columns), fixed_us=ibis.coalesce(own.window_us, rows.of_type_us)
    )
    return judged, judged.fixed_us


def clearing(episodes: Table, effective_us: int, by: Sequence[str] = ()) -> Table:
    """What is open and overdue at the cut, what was due and cleared, and on time; per account type, currency and `by`.

    `episodes` have `due_us`. The money of an episode is the greater of what came in and what went out.
    """
    is_due = (episodes.due_us <= effective_us).fill_null(False)
    is_open = episodes.balance != 0
    size = episodes.balance.abs().cast(MONEY)
    due_money = ibis.greatest(episodes.turnover, episodes.turnover - episodes.balance).cast(MONEY)
    rows = episodes.select(
        "account_type",
        "currency",
        *by,
        open_count=_one(is_open),
        open_money=size,
        overdue_count=_one(is_open & is_due),
        overdue_money=ibis.ifelse(is_due, size, no_money()),
        due_count=_one(is_due),
        due_money=ibis.ifelse(is_due, due_money, no_money()),
        on_time_count=_one(is_due & ~is_open & (episodes.last_us <= episodes.due_us)),
        on_time_money=ibis.ifelse(is_due & ~is_open & (episodes.last_us <= episodes.due_us), due_money, no_money()),
    )
    names = ("open", "overdue", "due", "on_time")
    return rows.group_by(["account_type", "currency", *by]).agg(
        **{f"{name}_count": rows[f"{name}_count"].sum().cast("int64") for name in names},
        **{f"{name}_money": rows[f"{name}_money"].sum().cast(MONEY) for name in names},
    )


def aging(episodes: Table, effective_us: int, limits: Sequence[int] = AGES, by: Sequence[str] = ()) -> Table:
    """The overdue accounts by how long they are past due: `bucket` counts the limits (in seconds) that lie behind."""
    overdue = episodes.filter(episodes.balance != 0, episodes.due_us <= effective_us)
    past_us = effective_us - overdue.due_us
    bucket = sum((_one(past_us > limit * 1_000_000) for limit in limits), start=ibis.literal(0, "int64"))
    rows = overdue.mutate(bucket=bucket)
    return rows.group_by(["account_type", "currency", "bucket", *by]).agg(
        open_count=rows.count(), open_money=rows.balance.abs().cast(MONEY).sum().cast(MONEY)
    )


def _one(condition: ibis.expr.types.BooleanValue) -> IntegerValue:
    return ibis.ifelse(condition, 1, 0).cast("int64")

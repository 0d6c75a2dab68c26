"""Clearing, cleared on time, and aging: of the episodes that opened in a period, by plain loops.

An episode is due when its window has run out by the cut; its money is its `due_money`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from clearwell.simulation.auditor.books import Books, Episode, Row
from clearwell.simulation.auditor.periods import ALL_TIME, Period
from clearwell.simulation.auditor.sections import PROPERTY, sections, share_left, start_of

CLEARING_BY = ("flow", "account_type", "owner", "currency")
"""What tells the rows of a report apart."""

LIMITS = (timedelta(hours=1), *(timedelta(days=days) for days in (1, 7, 30, 90)))
"""The upper limits of the usual buckets of aging."""

BEYOND = "more"
"""The bucket of what is past due longer than the last limit."""


def episodes_of(books: Books, period: Period) -> list[Episode]:
    """The episodes of clearing accounts whose first entry is effective in the period."""
    return [item for item in books.episodes if period.holds(item.first.effective_at)]


def is_overdue(books: Books, episode: Episode) -> bool:
    """Whether the account is open and its window has run out."""
    return episode.balance != 0 and books.is_due(episode)


def cleared_on_time(books: Books, episode: Episode) -> bool:
    """Whether the entry that returned to zero is effective by the instant at which the window ran out."""
    due = books.due_at(episode)
    return episode.balance == 0 and due is not None and episode.last.effective_at <= due


def clearing_rows(books: Books, period: Period = ALL_TIME, by: Sequence[str] = CLEARING_BY) -> list[Row]:
    """The rows of clearing; `by` may also name `hour`, `day`, `week`, `month` (of opening) and `property_NAME`."""
    found = sections(episodes_of(books, period), lambda item, name: _mark(books, item, name), by)
    return [own | _figures(books, items) for own, items in found]


def aging_rows(books: Books, period: Period = ALL_TIME, limits: Sequence[timedelta] = LIMITS) -> list[Row]:
    """The rows of aging: overdue accounts by account type, currency and how long they are past due, up to a limit.

    `limits` are in rising order. Buckets without an account have no row.
    """
    overdue = [item for item in episodes_of(books, period) if is_overdue(books, item)]
    rows = []
    for own, items in sections(overdue, lambda item, name: _mark(books, item, name), ("account_type", "currency")):
        buckets = [_bucket(books, item, limits) for item in items]
        for bucket in [*map(limit_name, limits), BEYOND]:
            inside = [item for item, name in zip(items, buckets, strict=True) if name == bucket]
            if inside:
                money = sum(abs(item.balance) for item in inside)
                rows.append(own | {"past_due": bucket, "open_count": len(inside), "open_money": money})
    return rows


def limit_name(limit: timedelta) -> str:
    """The name of the bucket that ends with the limit, in whole days, hours, minutes or seconds: `7 d`."""
    seconds = limit // timedelta(seconds=1)
    size, unit = next(item for item in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")) if seconds % item[0] == 0)
    return f"{seconds // size} {unit}"


def _bucket(books: Books, episode: Episode, limits: Sequence[timedelta]) -> str:
    due = books.due_at(episode)
    assert due is not None, "an account without a window is never overdue"
    for limit in limits:
        if books.cut.effective_at - due <= limit:
            return limit_name(limit)
    return BEYOND


def _mark(books: Books, episode: Episode, name: str) -> Any:
    account_type, _, currency = episode.account
    declared = books.model.account_types[account_type]
    if name.startswith(PROPERTY):
        return books.properties_of(episode.account).get(name.removeprefix(PROPERTY))
    match name:
        case "account_type":
            return account_type
        case "flow":
            return declared.flow
        case "owner":
            return declared.owner
        case "currency":
            return currency
        case _:
            return start_of(name, episode.first.effective_at, books.time_zone)


def _figures(books: Books, items: Sequence[Episode]) -> Row:
    due = [item for item in items if books.is_due(item)]
    overdue = [item for item in due if item.balance]
    on_time = [item for item in due if cleared_on_time(books, item)]
    money = sum(item.due_money for item in due)
    overdue_money = sum(abs(item.balance) for item in overdue)
    on_time_money = sum(item.due_money for item in on_time)
    return {
        "due_count": len(due),
        "due_money": money,
        "overdue_count": len(overdue),
        "overdue_money": overdue_money,
        "on_time_count": len(on_time),
        "on_time_money": on_time_money,
        "clearing": share_left(overdue_money, money),
        "clearing_by_count": share_left(len(overdue), len(due)),
        "cleared_on_time": share_left(money - on_time_money, money),
        "cleared_on_time_by_count": share_left(len(due) - len(on_time), len(due)),
    }

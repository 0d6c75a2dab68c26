"""Runs of the comparison of producers' records with the log, and every difference that they found.

A run counts from when it is whole; one that was interrupted is never seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from clearwell.catalog.tables import comparison_differences, comparisons
from clearwell.values.cuts import Cut
from clearwell.values.periods import Span
from clearwell.values.times import stored_text

_PAGE = 10_000


@dataclass(frozen=True)
class MissingMoney:
    """What is missing by a source's newest run: `record_count` records with `money` in minor units.

    `currency` is empty, and `money` 0, for records of which nobody can say what is usual. Estimated: the records have
    no amounts, and each counts with the usual money of an event of its type.
    """

    source: str
    flow: str
    event_type: str
    currency: str
    money: int
    record_count: int
    estimated: bool


def begin_comparison(connection: Connection, row: Mapping[str, Any]) -> int:
    """Add a run that is not whole yet; returns its number."""
    newest = connection.execute(select(func.max(comparisons.c.number))).scalar_one()
    number = (newest or 0) + 1
    connection.execute(insert(comparisons), [{**row, "number": number, "complete": False}])
    return number


def append_differences(connection: Connection, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add differences to a run that is not whole yet."""
    connection.execute(insert(comparison_differences), [{**row, "comparison": number} for row in rows])


def finish_comparison(connection: Connection, number: int) -> None:
    """Say that a run is whole."""
    connection.execute(update(comparisons).where(comparisons.c.number == number).values(complete=True))


def drop_comparison(connection: Connection, number: int) -> None:
    """Remove a run that could not be made whole."""
    connection.execute(delete(comparison_differences).where(comparison_differences.c.comparison == number))
    connection.execute(delete(comparisons).where(comparisons.c.number == number))


def comparison(connection: Connection, number: int) -> RowMapping:
    """The row of a run. Raises NoResultFound."""
    return connection.execute(select(comparisons).where(comparisons.c.number == number)).mappings().one()


def differences(connection: Connection, number: int, most: int | None = None) -> Iterator[RowMapping]:
    """The first `most` differences of a run, or all, in order of their place; read by pages."""
    after, left = 0, most
    own = select(comparison_differences).where(comparison_differences.c.comparison == number)
    while left is None or left > 0:
        page = own.where(comparison_differences.c.place > after).order_by(comparison_differences.c.place)
        rows = connection.execute(page.limit(_PAGE if left is None else min(_PAGE, left))).mappings().all()
        if not rows:
            return
        yield from rows
        after = rows[-1]["place"]
        left = None if left is None else left - len(rows)


def missing_money(connection: Connection, period: Span | None, cut: Cut) -> list[MissingMoney]:
    """What is missing of a period (None for all time), by the newest run of each source at or before a cut."""
    start, until = (stored_text(period.start), stored_text(period.until)) if period is not None else ("", "")
    newest = (
        select(func.max(comparisons.c.number))
        .where(comparisons.c.complete, comparisons.c.period_start == start, comparisons.c.period_until == until)
        .where(comparisons.c.cut_sequence <= cut.sequence)
        .where(comparisons.c.cut_effective_at <= stored_text(cut.effective_at))
        .group_by(comparisons.c.source)
    )
    rows = connection.execute(
        select(comparisons).where(comparisons.c.number.in_(newest)).order_by(comparisons.c.source)
    ).mappings()
    return [
        MissingMoney(
            row["source"], row["flow"], row["event_type"], currency, part["money"], part["count"], row["estimated"]
        )
        for row in rows
        for currency, part in sorted(json.loads(row["missing_money"]).items())
    ]

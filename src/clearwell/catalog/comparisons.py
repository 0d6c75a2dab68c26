"""Runs of the comparison of producers' records with the log, and every difference that they found.

A run counts from when it is whole; one that was interrupted is never seen.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, String, delete, func, insert, literal, literal_column, select, update

from clearwell.catalog.tables import attributions, comparison_differences, comparisons
from clearwell.errors import StorageError
from clearwell.values.cuts import Cut
from clearwell.values.periods import Span
from clearwell.values.times import stored_text

_PAGE = 10_000


class ComparisonReplacedError(StorageError):
    """A newer run of the same source has removed this one before it was whole."""


@dataclass(frozen=True)
class MissingMoney:
    """What is missing by a run of a source: `record_count` records with `money` in minor units.

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
    """Add a run that is not whole yet; returns its number.

    What earlier runs of the source left that never became whole is removed: they were killed. One that is still being
    written is told so by `ComparisonReplacedError`.
    """
    newest_number = connection.execute(select(func.max(comparisons.c.number))).scalar_one()
    left = select(comparisons.c.number).where(comparisons.c.source == row["source"], ~comparisons.c.complete)
    for number in connection.execute(left).scalars().all():
        drop_comparison(connection, number)
    number = (newest_number or 0) + 1
    connection.execute(insert(comparisons), [{**row, "number": number, "complete": False}])
    return number


def append_differences(connection: Connection, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add differences to a run that is not whole yet. Raises ComparisonReplacedError."""
    _change_unfinished(connection, number, complete=False)
    connection.execute(insert(comparison_differences), [{**row, "comparison": number} for row in rows])


def finish_comparison(connection: Connection, number: int) -> None:
    """Say that a run is whole. Raises ComparisonReplacedError."""
    _change_unfinished(connection, number, complete=True)


def _change_unfinished(connection: Connection, number: int, *, complete: bool) -> None:
    own = (comparisons.c.number == number) & ~comparisons.c.complete
    if connection.execute(update(comparisons).where(own).values(complete=complete)).rowcount != 1:
        raise ComparisonReplacedError(
            "comparison_replaced", "another comparison of the same source began before this one was kept: repeat it"
        )


def drop_comparison(connection: Connection, number: int) -> None:
    """Remove a run that could not be made whole."""
    connection.execute(delete(comparison_differences).where(comparison_differences.c.comparison == number))
    connection.execute(delete(comparisons).where(comparisons.c.number == number))


def comparison(connection: Connection, number: int) -> RowMapping:
    """The row of a whole run. Raises NoResultFound."""
    whole = comparisons.c.complete & (comparisons.c.number == number)
    return connection.execute(select(comparisons).where(whole)).mappings().one()


def event_type_of(connection: Connection, number: int) -> str | None:
    """The event type of a run; None where there is no such run, or it is not whole."""
    own = select(comparisons.c.event_type).where(comparisons.c.number == number, comparisons.c.complete)
    return connection.execute(own).scalar()


def missing_ids(connection: Connection, number: int) -> Iterator[str]:
    """The ids of the records that a run found to be missing."""
    own = comparison_differences.c
    for (name,) in connection.execute(select(own.id).where(own.comparison == number, own.kind == "missing")):
        yield name


def newest_comparisons(connection: Connection, source: str, before: int | None, most: int) -> Sequence[RowMapping]:
    """The rows of the newest `most` whole runs, of one source or all, the newest first; with `before`, older ones."""
    statement = select(comparisons).where(comparisons.c.complete).order_by(comparisons.c.number.desc()).limit(most)
    if source:
        statement = statement.where(comparisons.c.source == source)
    if before is not None:
        statement = statement.where(comparisons.c.number < before)
    return connection.execute(statement).mappings().all()


def differences(connection: Connection, number: int, most: int | None = None, after: int = 0) -> Iterator[RowMapping]:
    """The first `most` differences of a whole run, or all, in order of their place, beyond `after`; read by pages."""
    left = most
    whole = comparisons.c.complete & (comparisons.c.number == number)
    own = select(comparison_differences).join(comparisons).where(whole)
    while left is None or left > 0:
        page = own.where(comparison_differences.c.place > after).order_by(comparison_differences.c.place)
        rows = connection.execute(page.limit(_PAGE if left is None else min(_PAGE, left))).mappings().all()
        if not rows:
            return
        yield from rows
        after = rows[-1]["place"]
        left = None if left is None else left - len(rows)


def newest(connection: Connection, period: Span | None, cut: Cut) -> list[int]:
    """The numbers of the newest whole run of each source of a period (None for all time) at or before a cut."""
    start, until = (stored_text(period.start), stored_text(period.until)) if period is not None else ("", "")
    numbers = (
        select(func.max(comparisons.c.number))
        .where(comparisons.c.complete, comparisons.c.period_start == start, comparisons.c.period_until == until)
        .where(comparisons.c.cut_sequence <= cut.sequence)
        .where(comparisons.c.cut_effective_at <= stored_text(cut.effective_at))
        .group_by(comparisons.c.source)
    )
    return sorted(connection.execute(numbers).scalars())


def missing_money(connection: Connection, numbers: Collection[int]) -> list[MissingMoney]:
    """What is missing by these runs, in order of their sources."""
    return [
        _missing(row, currency, part["money"], part["count"])
        for row in _whole(connection, numbers)
        for currency, part in sorted(json.loads(row["missing_money"]).items())
    ]


def attributed_missing(
    connection: Connection, producers: Mapping[str, str], numbers: Collection[int]
) -> list[MissingMoney]:
    """What of `missing_money` is of records that are attributed to an incident now, as PRODUCER/ID.

    `producers` are those of event types. Of an estimate it is the share of the records.
    """
    found = []
    for row in _whole(connection, numbers):
        if row["missing_count"]:
            sums, count = _attributed_sums(connection, row["number"], producers[row["event_type"]])
            if row["estimated"]:
                estimates = json.loads(row["missing_money"])
                sums = {name: part["money"] * count // row["missing_count"] for name, part in estimates.items()}
            found += [_missing(row, currency, money, count) for currency, money in sorted(sums.items())]
    return found


def _attributed_sums(connection: Connection, number: int, producer: str) -> tuple[dict[str, int], int]:
    """Per currency the money of the missing records that are attributed, and how many of them there are."""
    own = comparison_differences.c
    amount = (own.currency, own.amount)  # Sums of these might not fit in the integers of a database.
    is_attributed = (
        select(attributions)
        .where(attributions.c.withdrawn_at == literal_column("''", String), attributions.c.rule == "missing")
        .where(attributions.c.subject == literal(f"{producer}/") + own.id)
        .exists()
    )
    statement = select(*amount, func.count()).where(own.comparison == number, own.kind == "missing", is_attributed)
    sums, count = dict[str, int](), 0
    for currency, money, records in connection.execute(statement.group_by(*amount)):
        count += records
        if currency is not None and money is not None:
            sums[currency] = sums.get(currency, 0) + abs(money) * records
    return sums, count


def _whole(connection: Connection, numbers: Collection[int]) -> Sequence[RowMapping]:
    """The rows of these runs, as far as they are whole, in order of their sources."""
    chosen = select(comparisons).where(comparisons.c.complete, comparisons.c.number.in_(numbers))
    return connection.execute(chosen.order_by(comparisons.c.source)).mappings().all()


def _missing(row: RowMapping, currency: str, money: int, count: int) -> MissingMoney:
    return MissingMoney(row["source"], row["flow"], row["event_type"], currency, money, count, row["estimated"])

"""Cross-sections: by which columns the rows of a metric are told apart, and the few values that matter most of many."""

from __future__ import annotations

import ibis
from ibis.expr.types import Table

from clearwell.quality.relations import whole_steps
from clearwell.values.periods import QUARTER_US, Span


def within(rows: Table, instant: str, span: Span) -> Table:
    """The rows whose `instant` (a column of microseconds) lies in the span."""
    conditions = []
    if span.start_us is not None:
        conditions.append(rows[instant] >= span.start_us)
    if span.end_us is not None:
        conditions.append(rows[instant] < span.end_us)
    return rows.filter(*conditions) if conditions else rows


def by_quarter(rows: Table, instant: str) -> Table:
    """The rows with `quarter`: how many quarters of an hour since 1970 `instant` (a column) lies."""
    return rows.mutate(quarter=whole_steps(rows[instant], QUARTER_US))


def of_top_values(rows: Table, name: str, count: str, most: int) -> Table:
    """The rows with `value`, the text of column `name` where it is one of the `most` with the greatest sum of `count`.

    Of the others `is_rest` is 1 and `value` null; rows without a text are apart from both.
    """
    totals = rows.group_by(name).agg(weight=rows[count].sum())
    ranked = totals.filter(totals[name].notnull())
    ranked = ranked.mutate(place=ibis.row_number().over(order_by=[ranked.weight.desc(), ranked[name]]))
    chosen = ranked.filter(ranked.place < most).select(value=ranked[name])
    joined = rows.left_join(chosen, rows[name] == chosen.value)
    is_rest = chosen.value.isnull() & rows[name].notnull()
    return joined.select(
        *(rows[column] for column in rows.columns if column != name),
        value=chosen.value,
        is_rest=ibis.ifelse(is_rest, 1, 0),
    )

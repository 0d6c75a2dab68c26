"""Timeliness: of the money that events moved, the share whose events were recorded by their deadline."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
from ibis.expr.types import Table

from clearwell.quality.relations import MONEY, no_money, whole_steps


def lags(log: Table, by: Sequence[str] = ()) -> Table:
    """How many events were recorded so many whole seconds after they occurred; per event type, and columns of `by`.

    `lag_seconds` is rounded down, and negative for an event that was recorded before it occurred.
    """
    seconds = whole_steps(log.recorded_us - log.occurred_us, 1_000_000)
    rows = log.mutate(event_type=log.type, lag_seconds=seconds)
    return rows.group_by(["event_type", *by, "lag_seconds"]).agg(event_count=rows.count())


def timeliness(moved: Table, by: Sequence[str] = ()) -> Table:
    """What events moved, what of it has a deadline, and what is late; per event type, currency, and columns of `by`.

    `moved` is as `relations.moved` gives it. Counts are of events, money is in minor units.
    """

    def where(condition: ibis.expr.types.BooleanValue) -> dict[str, ibis.expr.types.Value]:
        return {
            "count": ibis.ifelse(condition, moved.event_count, 0).sum().cast("int64"),
            "money": ibis.ifelse(condition, moved.money, no_money()).sum().cast(MONEY),
        }

    judged, late = where(moved.is_judged), where(moved.is_late)
    return moved.group_by(["event_type", "currency", *by]).agg(
        event_count=moved.event_count.sum().cast("int64"),
        money=moved.money.sum().cast(MONEY),
        judged_count=judged["count"],
        judged_money=judged["money"],
        late_count=late["count"],
        late_money=late["money"],
    )

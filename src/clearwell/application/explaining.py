"""What of the lost money at a cut is explained: the money of the subjects that are attributed to incidents.

Attributions are what people wrote, mostly after the cut. Those in force count that are there when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from clearwell.application.cutting import Evaluated, Known
from clearwell.application.workspace import Workspace
from clearwell.catalog import incidents
from clearwell.catalog.comparisons import attributed_missing
from clearwell.catalog.incidents import Rule
from clearwell.ledger.sums import EVENT_SUMS_SCHEMA, event_sums
from clearwell.quality import clearing
from clearwell.quality.finding_subjects import EVENT, accounts_named
from clearwell.quality.rows import rows_within, summed
from clearwell.values.periods import Span

_ACCOUNTS = "attributed_accounts"
_EVENTS_AT_ONCE = 200_000

Overdue = Callable[[pl.DataFrame], pl.DataFrame]
"""Gives the `overdue_money` of accounts with these keys, by account type, currency and `quarter`, in its order."""


@dataclass(frozen=True)
class Attributed:
    """The money of attributed subjects at one cut: frames of `attributed_money`, in order of `quarter`."""

    frames: Sequence[pl.DataFrame]
    missing: Callable[[Collection[int]], list[dict[str, Any]]]

    def rows(self, span: Span, comparisons: Collection[int]) -> list[dict[str, Any]]:
        """The rows of a period, as `quality.score.Measured` has them; what is missing is so by these comparisons."""
        return [row for frame in self.frames for row in rows_within(frame, span)] + self.missing(comparisons)


def attributed_at(workspace: Workspace, known: Known, overdue: Overdue) -> Attributed | None:
    """What is attributed, of the money at a cut; None without any attribution."""
    with workspace.catalog.read() as connection:
        rules = incidents.rules_in_force(connection)
    if not rules:
        return None
    frames = []
    if "uncleared" in rules:
        names = _subjects(workspace, "uncleared")["subject"]
        accounts = accounts_named(names, known.model.account_types.values()).select("account_type", "account")
        frames.append(_money(overdue(accounts.unique()), "account_type", "overdue_money"))
    if "late" in rules:
        frames.append(_money(_late(known, _subjects(workspace, "late")), "event_type", "late_money"))
    return Attributed(frames, lambda numbers: _missing(workspace, known, numbers) if "missing" in rules else [])


def attributions_changed_at(workspace: Workspace) -> datetime | None:
    """When a subject was last attributed, or withdrawn; None when none ever was."""
    with workspace.catalog.read() as connection:
        newest = incidents.newest_change(connection)
    return datetime.fromisoformat(newest) if newest else None


def overdue_on(books: Evaluated, accounts: pl.DataFrame) -> pl.DataFrame:
    """As `Overdue`, by the projections at the cut."""
    books.store.connection.register(_ACCOUNTS, accounts.to_arrow())
    query = clearing.overdue_by_quarter(_ACCOUNTS, books.kinds)
    found = pl.from_arrow(books.ask(query).to_arrow_table())
    books.store.connection.unregister(_ACCOUNTS)
    assert isinstance(found, pl.DataFrame)
    return found.with_columns(pl.col(summed(found)).cast(pl.Int128))


def _subjects(workspace: Workspace, rule: Rule) -> pl.DataFrame:
    with workspace.catalog.read() as connection:
        found = list(incidents.subjects_in_force(connection, rule))
    return pl.DataFrame(found, {"subject": pl.String, "sequence": pl.Int64}, orient="row")


def _money(frame: pl.DataFrame, subject: str, money: str) -> pl.DataFrame:
    return frame.select(subject, "currency", "quarter", pl.col(money).alias("attributed_money")).sort("quarter")


def _late(known: Known, subjects: pl.DataFrame) -> pl.DataFrame:
    """What of the money of these events is late. A sequence may be that of another event, where a log was cut short."""
    sums = [pl.DataFrame(schema=EVENT_SUMS_SCHEMA)]
    for part in subjects.drop_nulls().sort("sequence").iter_slices(_EVENTS_AT_ONCE):
        events = known.log.at(part["sequence"].to_numpy())
        if not events.is_empty():
            within = (pl.col("sequence") <= known.cut.sequence) & (pl.col("effective_at") <= known.cut.effective_at)
            named = events.with_columns(EVENT.alias("subject")).filter(within)
            sums.append(event_sums(named.join(part, on=["sequence", "subject"], how="semi"), known.models))
    return pl.concat(sums)


def _missing(workspace: Workspace, known: Known, numbers: Collection[int]) -> list[dict[str, Any]]:
    with workspace.catalog.read() as connection:
        found = attributed_missing(connection, known.producers, numbers)
    return [
        {"event_type": item.event_type, "currency": item.currency, "attributed_money": item.money}
        for item in found
        if item.currency
    ]

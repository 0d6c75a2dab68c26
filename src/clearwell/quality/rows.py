"""The rows of an answer: what an engine gave, put together by the sections that were asked for, with their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from clearwell.flows.model import Model
from clearwell.values.periods import KINDS, QUARTER_US, Span, instant, period_of

BY_MODEL = ("flow", "owner", "event_type", "account_type", "producer", "currency")
"""The cross-sections beside periods and properties."""

PROPERTY = "property:"
"""Begins the name of a cross-section that is a property for sure, also where the name alone is another's."""

BUCKETS = ("1 h", "1 d", "7 d", "30 d", "90 d")
"""The names of the buckets of aging that are not asked for otherwise; beyond the last there is `more`."""

_BUCKET, _VALUE, _LAG = "bucket", "value", "lag_seconds"
_PERCENTS = (50, 90, 99)


@dataclass(frozen=True)
class Subjects:
    """Whose everything is: the flow of each event type, flow and owner of each account type, the owner of each flow.

    As the newest model up to the cut says that has it.
    """

    events: Mapping[str, str]
    accounts: Mapping[str, tuple[str, str]]
    flows: Mapping[str, str]

    @classmethod
    def of(cls, models: Mapping[str, Model], model: Model) -> Subjects:
        """Those of `models`, by version and the oldest first, up to the `model` of the cut."""
        versions = list(models)
        earlier = [models[version] for version in versions[: versions.index(model.version)]]
        events: dict[str, str] = {}
        accounts: dict[str, tuple[str, str]] = {}
        flows: dict[str, str] = {}
        for known in (*earlier, model):
            accounts |= {name: (item.flow, item.owner) for name, item in known.account_types.items()}
            events |= {name: item.flow for name, item in known.event_types.items()}
            flows |= {flow.name: flow.owner for flow in known.flows}
        return cls(events, accounts, flows)

    def owners(self, subject: str) -> tuple[dict[str, str], dict[str, str]]:
        """Flow and owner by the names of a subject, `event_type` or `account_type`."""
        if subject == "event_type":
            return dict(self.events), {name: self.flows[flow] for name, flow in self.events.items()}
        flows = {name: flow for name, (flow, _owner) in self.accounts.items()}
        return flows, {name: owner for name, (_flow, owner) in self.accounts.items()}


def summed(frame: pl.DataFrame) -> list[str]:
    """The columns that are added up."""
    return [name for name in frame.columns if name.endswith(("_count", "money"))]


def rows_within(frame: pl.DataFrame, span: Span) -> list[dict[str, Any]]:
    """The rows of a period, per subject (the first column) and currency, of a frame in order of its `quarter`."""
    subject, quarter = frame.columns[0], frame["quarter"]
    if span.start_us is not None and span.end_us is not None:
        first, last = (int(quarter.search_sorted(-(-edge // QUARTER_US))) for edge in (span.start_us, span.end_us))
        frame = frame.slice(first, last - first)
    sums = frame.group_by(subject, "currency").agg(pl.col(summed(frame)).sum())
    return sums.sort(subject, "currency").to_dicts()


def rows(
    frame: pl.DataFrame, subjects: Subjects, by: Sequence[str], time_zone: str, buckets: Sequence[str] = BUCKETS
) -> list[dict[str, Any]]:
    """The rows in order of their sections: `by` and the currency, or event type (account type) with its owner.

    `frame` has the columns of `metrics.relation`. The rest of a property's values has `is_rest`, and comes last.
    """
    subject = "event_type" if "event_type" in frame.columns else "account_type"
    flows, owners = subjects.owners(subject)
    own = pl.col(subject)
    frame = frame.with_columns(
        flow=own.replace_strict(flows, return_dtype=pl.String), owner=own.replace_strict(owners, return_dtype=pl.String)
    )
    usual = [name for name in (subject, "producer", "flow", "owner") if name in frame.columns]
    names = [name for name in by or usual if name in (*BY_MODEL, *KINDS)]
    frame = frame.with_columns(_period(frame, kind, time_zone) for kind in names if kind in KINDS)
    if _VALUE in frame.columns:
        names += ["is_rest", _VALUE]
    apart = [name for name in ("currency", _BUCKET, _LAG) if name in frame.columns]
    names = list(dict.fromkeys([*names, *apart]))
    sums = frame.group_by(names).agg(pl.col(summed(frame)).sum()).sort(names, nulls_last=True)
    if _LAG in frame.columns:
        sums = _quantiles(sums, [name for name in names if name != _LAG])
    names_of_buckets = (*buckets, "more")
    return [_with_shares(row, names_of_buckets) for row in sums.iter_rows(named=True)]


def _quantiles(lags: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """How late events were, in seconds: by nearest rank, so that each figure is the lag of an event."""
    rank = pl.col("event_count").cum_sum()
    count = pl.col("event_count").sum()
    found = {
        f"lag_p{percent}_seconds": pl.col(_LAG).filter(rank * 100 >= count * percent).min() for percent in _PERCENTS
    }
    most = pl.col(_LAG).max().alias("lag_max_seconds")
    return lags.sort(_LAG).group_by(names).agg(count.alias("event_count"), most, **found).sort(names, nulls_last=True)


def _period(frame: pl.DataFrame, kind: str, time_zone: str) -> pl.Series:
    """The name of the period that each row's quarter lies in."""
    quarters = frame["quarter"]
    (known,) = (item for item in KINDS if item == kind)
    names = {item: period_of(known, instant(item * QUARTER_US), time_zone).name for item in quarters.unique()}
    return quarters.replace_strict(names, return_dtype=pl.String).alias(kind)


def _with_shares(row: dict[str, Any], buckets: Sequence[str]) -> dict[str, Any]:
    if "is_rest" in row:
        row["is_rest"] = bool(row["is_rest"])
    if _BUCKET in row:
        return {"past_due": buckets[int(row.pop(_BUCKET))], **row}
    if "lag_max_seconds" in row:
        return row
    if "late_money" in row:
        return row | {
            "timeliness": _share(row["late_money"], row["judged_money"]),
            "timeliness_by_count": _share(row["late_count"], row["judged_count"]),
        }
    return row | {
        "clearing": _share(row["overdue_money"], row["due_money"]),
        "clearing_by_count": _share(row["overdue_count"], row["due_count"]),
        "cleared_on_time": _share(row["due_money"] - row["on_time_money"], row["due_money"]),
        "cleared_on_time_by_count": _share(row["due_count"] - row["on_time_count"], row["due_count"]),
    }


def _share(lost: int, total: int) -> float | None:
    return 1 - lost / total if total > 0 else None

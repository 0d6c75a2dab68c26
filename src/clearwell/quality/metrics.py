"""The metrics as relations, ready for an engine: what is asked of a metric, at a cut, for a period, in sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import ibis
from ibis.expr.types import Table

from clearwell.flows.model import Model
from clearwell.quality import cleared, relations, sections, timeliness
from clearwell.quality.windows import WindowKinds
from clearwell.values import columns
from clearwell.values.periods import Span

Metric = Literal["timeliness", "lags", "clearing", "aging"]
METRICS: tuple[Metric, ...] = ("timeliness", "lags", "clearing", "aging")
OF_EVENTS: tuple[Metric, ...] = ("timeliness", "lags")
"""The metrics whose rows are of event types; those of the others are of account types."""


@dataclass(frozen=True)
class Scope:
    """The cut, as the relations need it: models by version, the one in force, windows, and where episodes come from.

    `episodes` is a relation as `relations.episodes` gives it: that itself, or one that is kept.
    """

    models: Mapping[str, Model]
    model: Model
    effective_us: int
    window_seconds: Mapping[str, int]
    kinds: WindowKinds
    episodes: Table | None = None


@dataclass(frozen=True)
class Sections:
    """What tells rows apart besides event type (or account type) and currency.

    The `most` frequent values of a property, or of `producer`, and quarters of an hour. `ages` are where the buckets of
    aging end, in seconds past due, in order.
    """

    property_name: str | None = None
    producers: bool = False
    quarters: bool = False
    most: int = 20
    ages: tuple[int, ...] = cleared.AGES


def relation(metric: Metric, scope: Scope, span: Span, wanted: Sections = Sections()) -> Table:
    """The rows of a metric for a period; `quarter`, `producer`, `value` and `is_rest` as far as they are wanted."""
    if metric in OF_EVENTS:
        return _of_events(metric, scope, span, wanted)
    accounts = sections.within(_episodes(scope), "opened_us", span)
    judged = cleared.with_due(accounts, scope.window_seconds, scope.kinds.business_days, scope.kinds.places)
    by = []
    if wanted.quarters:
        judged, by = sections.by_quarter(judged, "opened_us"), ["quarter"]
    if wanted.property_name is not None:
        own = relations.property_of(judged, scope.model.account_types.values(), wanted.property_name)
        judged, by = judged.mutate(section=own), [*by, "section"]
    rows = (
        cleared.clearing(judged, scope.effective_us, by)
        if metric == "clearing"
        else cleared.aging(judged, scope.effective_us, wanted.ages, by)
    )
    if wanted.property_name is None:
        return rows
    return sections.of_top_values(rows, "section", "due_count" if metric == "clearing" else "open_count", wanted.most)


def _of_events(metric: Metric, scope: Scope, span: Span, wanted: Sections) -> Table:
    by, keep = [], []
    if wanted.property_name is not None:
        keep.append(columns.property_column(wanted.property_name))
    if wanted.producers:
        keep.append("producer")
    rows = relations.events(scope.models)
    if metric == "timeliness":
        rows = relations.moved(rows, scope.models, keep)
    rows = sections.within(rows, "recorded_us", span)
    if wanted.quarters:
        rows, by = sections.by_quarter(rows, "recorded_us"), ["quarter"]
    measured = timeliness.timeliness if metric == "timeliness" else timeliness.lags
    found = measured(rows, [*by, *keep])
    if wanted.property_name is None:
        return found
    return sections.of_top_values(found, keep[0], "event_count", wanted.most)


CHOSEN_ACCOUNTS = "chosen_accounts"
"""A relation of accounts, by `account_type` and `account`: that of `episodes_among`."""


def episodes_among(scope: Scope) -> Table:
    """The episodes of the accounts of `CHOSEN_ACCOUNTS` alone."""
    chosen = ibis.table({"account_type": "string", "account": "string"}, name=CHOSEN_ACCOUNTS)
    return _episodes(scope).semi_join(chosen, ["account_type", "account"])


def _episodes(scope: Scope) -> Table:
    if scope.episodes is not None:
        return scope.episodes
    return relations.episodes(relations.entries(relations.events(scope.models), scope.models))

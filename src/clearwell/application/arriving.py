"""Whether events arrive as history lets one expect: per event type, by the hour or by the day, at a cut."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from clearwell.application.cutting import CutRequest, Known, known_at
from clearwell.application.workspace import Workspace
from clearwell.errors import UsageError
from clearwell.quality.expectations.arrivals import (
    ARRIVALS_SCHEMA,
    ArrivalFinding,
    ArrivalRules,
    Bucket,
    JudgedArrivals,
    counted,
    judge,
)
from clearwell.values.cuts import Cut
from clearwell.values.times import INSTANT

_COLUMNS = ("sequence", "type", "effective_at", "occurred_at", "recorded_at")


@dataclass(frozen=True)
class ArrivalsReport:
    """What was judged, in the order of the model's event types, and how."""

    cut: Cut
    rules: ArrivalRules
    event_types: list[JudgedArrivals]

    @property
    def findings(self) -> list[ArrivalFinding]:
        """All findings, the oldest first."""
        found = [finding for item in self.event_types for finding in item.findings]
        return sorted(found, key=lambda item: (item.start, item.event_type))


def arrivals(
    workspace: Workspace, request: CutRequest, bucket: Bucket = "hour", days: int = 7, event_type: str = ""
) -> ArrivalsReport:
    """Hold the last `days` before the cut against the history before them.

    Raises UsageError for an event type that the model does not have, and as `known_at` does.
    """
    known = known_at(workspace, request)
    names = list(known.model.event_types)
    if event_type and event_type not in names:
        raise UsageError(
            "event_type_unknown", f"expected an event type of the model ({', '.join(names)}), found {event_type!r}"
        )
    settings = workspace.settings.expectations
    until = known.cut.effective_at
    rules = ArrivalRules(bucket, days, until, known.time_zone, settings.quantile, settings.headroom)
    chosen = [event_type] if event_type else names
    frame = _counted(known, rules, chosen)
    found = [judge(frame.filter(pl.col("event_type") == name), name, rules) for name in chosen]
    return ArrivalsReport(known.cut, rules, found)


def _counted(known: Known, rules: ArrivalRules, names: list[str]) -> pl.DataFrame:
    """The events of the cut, counted file by file, so that no more than one is in memory."""
    within = pl.col("effective_at") <= pl.lit(known.cut.effective_at, INSTANT)
    parts = [pl.DataFrame(schema=ARRIVALS_SCHEMA)]
    for file in known.log.covering(1, known.cut.sequence):
        events = known.log.scan(file).select(_COLUMNS).filter(pl.col("sequence") <= known.cut.sequence, within)
        chosen = events.filter(pl.col("type").cast(pl.String).is_in(names))
        parts.append(known.log.collected(file, counted(chosen, rules)))
    return pl.concat(parts)
